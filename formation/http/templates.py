"""Templates of paths: ``/repos/{owner}/:repo/{+path}``, and the values that fill them.

>>> expand("/repos/{owner}/:repo", {"owner": "octo", "repo": "a/b"})
'/repos/octo/a%2Fb'

Theory of operation
-------------------
*A value cannot become syntax.* It is percent-encoded with nothing safe. What encoding cannot disarm (``.``, ``..``,
nothing at all) is refused.

A template is read once, as it stands in the program's text: `parse` gives the text before the first parameter, and each
parameter with the text after it; `fill` puts the values between.
"""

from __future__ import annotations

import re
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from formation.http.origins import scheme_and_host
from formation.http.values import percent, printed, scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# A parameter, or a brace that belongs to none. Names in braces may have dots and hyphens, as OpenAPI's do.
_tokens = re.compile(r"\{(\+?)([^\W\d][\w.-]*)\}|(?<![^/]):([^\W\d]\w*)|[{}]").finditer


class Token(NamedTuple):
    """A parameter: its name, whether its value may have slashes, and the text after it, up to the next one."""

    name: str
    slashes: bool
    after: str


def expand(template: str, values: Mapping[str, object]) -> str:
    """Fill the path parameters of a template.

    The parameters are ``:name`` at the start of a segment, ``{name}``, and ``{+name}``, whose value may have slashes.
    Only the path has parameters: the scheme and host of an absolute URL and the query stay as they are.

    Args:
        template: a path or a URL.
        values: by name: str, int, UUID, Enum (its value), date or datetime (ISO 8601). They are percent-encoded with
            nothing safe. A bool is refused: there is no one way to write it in a path, and mostly it is there by
            mistake (``user and user.id``). Values that the template does not name are ignored.

    Raises:
        TypeError: a parameter has no value, or one of another type.
        ValueError: a value, or a segment of a ``{+name}``, is ``None``, ``""``, ``"."`` or ``".."``: ``DELETE
            /batches/..`` would be ``DELETE /``, and encoding is no help, for transports decode ``%2e``. Or a brace is
            malformed.

    >>> expand("/repos/{owner}/{+path}?ref={x}", {"owner": "a b", "path": "src/é.py"})
    '/repos/a%20b/src/%C3%A9.py?ref={x}'
    >>> expand("/users/:id", {"id": ".."})
    Traceback (most recent call last):
    ValueError: path parameter 'id': expected a segment of a path, got '..': it would lead to another resource
    """
    if not isinstance(template, str):
        raise TypeError(f"expected a path as a str, got {template!r} ({type(template).__qualname__})")
    if "{" not in template and ":" not in template and "}" not in template:
        return template
    literal, tokens = parse(template)
    return fill(literal, tokens, values) if tokens else template


def names(template: str) -> tuple[str, ...]:
    """Return the names of a template's path parameters, each once, in order.

    >>> names("/repos/{owner}/:repo/{+path}?q={no}")
    ('owner', 'repo', 'path')
    """
    return tuple(dict.fromkeys(token.name for token in parse(template)[1]))


def pathname(template: str) -> str:
    """Return the path of a template, which is a call's name in logs: an origin and a query are no part of it.

    A query has values, so it would make a name of its own for each, and one of them may be a secret.

    >>> pathname("repos?page=2#top"), pathname("https://h/repos/{owner}?token=x"), pathname("")
    ('/repos', '/repos/{owner}', '/')
    """
    if template[:1] == "/" and "?" not in template and "#" not in template:  # nearly always, and fast
        return template
    found = scheme_and_host(template)
    path = template[found.end() if found else 0 :].partition("#")[0].partition("?")[0]
    return path if path[:1] == "/" else f"/{path}"


@lru_cache(maxsize=1024)  # templates are few, they stand in the program's text
def parse(template: str) -> tuple[str, tuple[Token, ...]]:
    """Return the text before the first parameter, and the parameters.

    Raises:
        ValueError: a brace is malformed.

    >>> parse("/users/{id}/posts")
    ('/users/', (Token(name='id', slashes=False, after='/posts'),))
    """
    found = scheme_and_host(template)
    start = found.end() if found else 0
    end = min((i for i in (template.find("?", start), template.find("#", start)) if i >= 0), default=len(template))
    matches = list(_tokens(template, start, end))
    for match in matches:
        if match.lastindex is None:
            raise ValueError(
                f"expected {{name}} or {{+name}}, got a lone {match[0]!r} at {match.start()} in {template!r}: "
                "a literal brace is written %7B or %7D"
            )
    if not matches:
        return template, ()
    ends = [match.start() for match in matches[1:]] + [len(template)]
    tokens = (
        Token(match[2] or match[3], bool(match[1]), template[match.end() : until])
        for match, until in zip(matches, ends, strict=True)
    )
    return template[: matches[0].start()], tuple(tokens)


def fill(literal: str, tokens: Iterable[Token], values: Mapping[str, object]) -> str:
    """Put the values between the pieces that `parse` has found; it raises what `expand` does.

    >>> fill(*parse("/users/{id}/posts"), {"id": 7})
    '/users/7/posts'
    """
    parts = [literal]
    for name, slashes, after in tokens:
        try:
            value = values[name]
        except KeyError:
            raise TypeError(f"missing path parameter {name!r}") from None
        text = value if type(value) is str else _text(name, value)
        if slashes:
            parts.append("/".join([_segment(name, part, value) for part in text.split("/")]))
        else:
            parts.append(_segment(name, text, value))
        parts.append(after)
    return "".join(parts)


def _text(name: str, value: object) -> str:
    plain = value
    while isinstance(plain, Enum):
        plain = plain.value
    is_plain = isinstance(plain, (str, int, date)) and not isinstance(plain, bool)
    if is_plain or isinstance(plain, printed()[0]):  # UUID
        return scalar(plain) or ""
    if plain is None:
        raise ValueError(f"path parameter {name!r}: expected a value, got {value!r}")
    raise TypeError(
        f"path parameter {name!r}: expected str, int, UUID, Enum or date, got {value!r} ({type(value).__qualname__}): "
        "convert it first"
    )


def _segment(name: str, text: str, value: object) -> str:
    if text in {"", ".", ".."}:
        raise ValueError(
            f"path parameter {name!r}: expected a segment of a path, got {value!r}: it would lead to another resource"
        )
    try:
        return percent(text)
    except ValueError as error:
        raise ValueError(f"path parameter {name!r}: {error}") from None
