"""Query strings and form bodies: from whatever a caller gives as ``params`` or ``data`` to pairs of text.

Pure functions, in three steps. *Read*: a mapping, pairs, a multi-dict or a structured object (attrs, dataclass, or one
with ``to_dict()``) becomes pairs of a name and a raw value. *Flatten*: each raw value becomes text, none or many.
*Encode*: the pairs become one string. `split` does the first two for a query, `pairs` for a form; `encode` and `form`
do the third.

>>> split({":owner": "octo", "q": "a b", "page": None, "tag": ["x", "y"], "archived": False})
([('q', 'a b'), ('tag', 'x'), ('tag', 'y'), ('archived', 'false')], {'owner': 'octo'})
>>> encode([("q", "a b"), ("q", "c&d")])
'q=a%20b&q=c%26d'

What structured objects there are, and what they say, is in `formation.http.entries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn, Protocol
from urllib.parse import urlencode

from formation.http.entries import BYTES, entries, unfold
from formation.http.values import percent, scalar, utf8


class ParamsEncoder(Protocol):
    """Flattens parameters, as ``params_encoder=``.

    Takes all of them in one mapping (a repeated name has a list, structured values are mappings, ``None`` and path
    parameters are out already) and returns flat pairs or a flat mapping, whose values are made text in the usual way.

    >>> def brackets(params):
    ...     for name, value in params.items():
    ...         if isinstance(value, dict):
    ...             yield from ((f"{name}[{key}]", inner) for key, inner in value.items())
    ...         else:
    ...             yield name, value
    >>> split({"filter": {"state": "open", "draft": False}}, brackets)
    ([('filter[state]', 'open'), ('filter[draft]', 'false')], {})
    """

    def __call__(self, params: Mapping[str, object], /) -> Iterable[tuple[str, object]] | Mapping[str, object]:
        """Return the parameters flat."""
        ...


def split(params: object, encoder: ParamsEncoder | None = None) -> tuple[list[tuple[str, str]], dict[str, object]]:
    """Split parameters into those of the query, as text, and those of the path, as they are.

    Args:
        params: ``None``, a mapping, a sequence of pairs, a multi-dict, or a structured object: attrs, dataclass, or one
            with ``to_dict()``, which goes before its fields. A name that starts with ``:`` is a parameter of the path.
            A value is str, int, float, bool (``true``, ``false``), Decimal, UUID, Enum (its value), date or datetime
            (ISO 8601), or a list or tuple of these, which repeats the name. ``None`` is left out; in the path it is
            kept, so that whoever fills the path can refuse it.
        encoder: flattens nested values; without one they are refused, for there is no standard way to write them.

    Returns:
        The pairs for the query, and the values for the path by their names without the colon.

    Raises:
        TypeError: anything else: it names the parameter.
    """
    query: list[tuple[str, object]] = []
    path: dict[str, object] = {}
    for name, value in entries(params):
        if name.startswith(":"):
            path[name[1:]] = value
        else:
            query.append((name, value))
    return _flatten(query, encoder), path


def pairs(data: object, encoder: ParamsEncoder | None = None) -> list[tuple[str, str]]:
    """Return the fields of a form as pairs of text: as `split`, but a name with ``:`` in front is like any other.

    >>> pairs({"name": "x", ":y": [1, 2.5], "z": None})
    [('name', 'x'), (':y', '1'), (':y', '2.5')]
    """
    return _flatten(entries(data), encoder)


def encode(query: Iterable[tuple[str, str]]) -> str:
    """Encode pairs as a query string.

    All but the unreserved characters of RFC 3986 section 2.3 is percent-encoded as UTF-8. A space becomes ``%20``, not
    ``+``: every reader takes ``%20`` for a space, but only a form reader takes ``+`` for one; and request signatures
    (AWS SigV4, OAuth 1) are made over ``%20``.

    >>> encode([("q", "a b+c"), ("when", "10:30")])
    'q=a%20b%2Bc&when=10%3A30'
    """
    return "&".join([f"{percent(name)}={percent(value)}" for name, value in query])


def form(data: object, encoder: ParamsEncoder | None = None) -> bytes:
    """Encode the fields of a form as an ``application/x-www-form-urlencoded`` body (WHATWG URL section 5).

    A space becomes ``+``, as browsers and requests send it. ``data`` is whatever `pairs` takes.

    >>> form({"q": "a b", "tag": ["x", "y"]})
    b'q=a+b&tag=x&tag=y'
    """
    return urlencode([(utf8(name), utf8(value)) for name, value in pairs(data, encoder)]).encode("ascii")


def _flatten(named: Sequence[tuple[str, object]], encoder: ParamsEncoder | None) -> list[tuple[str, str]]:
    if encoder is not None:
        made = encoder(_gathered(named))
        named = entries(made if isinstance(made, Mapping) else list(made))
    flat: list[tuple[str, str]] = []
    for name, value in named:
        if value is None:
            continue
        text = value if type(value) is str else scalar(value)
        if text is not None:
            flat.append((name, text))
        elif isinstance(value, Sequence) and not isinstance(value, BYTES):
            for item in value:
                if item is not None:
                    text = scalar(item)
                    flat.append((name, _refuse(name, item) if text is None else text))
        else:
            _refuse(name, value)
    return flat


def _gathered(named: Sequence[tuple[str, object]]) -> dict[str, object]:
    """One mapping of all parameters, for an encoder."""
    gathered: dict[str, object] = {}
    for name, value in named:
        if value is not None:
            unfolded = None if scalar(value) is not None else unfold(value)
            inner = value if unfolded is None else unfolded
            gathered[name] = [*_many(gathered[name]), *_many(inner)] if name in gathered else inner
    return gathered


def _many(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _refuse(name: str, value: object) -> NoReturn:
    expected = "expected str, int, float, bool, Decimal, UUID, Enum, date, datetime, or a list of these"
    if isinstance(value, BYTES):
        advice = "decode it first"
    elif isinstance(value, (set, frozenset)):
        advice = "a set has no order, so give sorted(...)"
    elif isinstance(value, Mapping) or unfold(value) is not None:
        advice = "nested parameters need params_encoder="
    else:
        advice = "convert it first"
    raise TypeError(f"parameter {name!r}: {expected}, got {value!r} ({type(value).__qualname__}): {advice}")
