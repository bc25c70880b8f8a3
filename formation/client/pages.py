"""Pages: one call after another, each to the URL that the one before names.

>>> from formation.http import Headers
>>> links(Headers({"Link": '</users?page=2>; rel="next", </users?page=9>; rel=last'}))
{'next': '/users?page=2', 'last': '/users?page=9'}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from formation.client.responses import Result
from formation.errors import ForeignURLError, PagesError
from formation.http.origins import origin, same_origin
from formation.http.redirects import target
from formation.http.secrets import SECRETS, redact
from formation.keys import SENSITIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from formation.errors import FormationError
    from formation.http.headers import Headers

MAX_PAGES: Final = 1000
"""Pages before somebody asks whether this ends: at 100 items a page, more than a person looks through."""

# A parameter of a link (RFC 8288, B.3). Possessive, so that no text is looked at twice.
_parameter = re.compile(
    r"""[ \t]*+ ; [ \t]*+ ([^\s=;,]*+) [ \t]*+
        (?: = [ \t]*+ (?: "((?:[^"\\]|\\.)*+)"? | ([^;,]*+) ) )? """,
    re.VERBOSE | re.DOTALL,
).match
_between = re.compile(r"[ \t,]*+").match
_path = re.compile(r"([a-z]+://[^/?]*)([^?]*)(.*)", re.DOTALL).fullmatch
_escaped = re.compile(r"\\(.)", re.DOTALL).sub


def links(headers: Headers) -> dict[str, str]:
    """Return the targets of the Link header by relation, in lower case (RFC 8288, 3); the first one wins.

    Links of something else than this page (``anchor``) are left out. What cannot be read is skipped up to the next
    comma.

    >>> from formation.http import Headers
    >>> links(Headers({"Link": '</a,b>; title="c, d; rel=prev"; REL="next last", nonsense, </e>; rel=first'}))
    {'next': '/a,b', 'last': '/a,b', 'first': '/e'}
    """
    found: dict[str, str] = {}
    for line in headers.getlist("Link"):
        for url, parameters in _parsed(line):
            if "anchor" not in parameters:
                for rel in parameters.get("rel", "").lower().split():
                    found.setdefault(rel, url)
    return found


def _parsed(line: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the links of a line: targets with their parameters. The position only moves on, so the time is linear."""
    at = 0
    while (at := _between(line, at).end()) < len(line):  # type: ignore[union-attr]  # it matches nothing as well
        if line[at] == "<":
            end = line.find(">", at)
            if end < 0:
                return
            parameters, after = _parameters(line, end + 1)
            yield line[at + 1 : end].strip(), parameters
            at = after
        comma = line.find(",", at)
        if comma < 0:
            return
        at = comma


def _parameters(line: str, at: int) -> tuple[dict[str, str], int]:
    """Read the parameters that begin there; the first of a name counts. Return them, and where they end."""
    parameters: dict[str, str] = {}
    while parameter := _parameter(line, at):
        name, quoted, token = parameter.groups()
        value = (token or "").strip() if quoted is None else _escaped(r"\1", quoted)
        parameters.setdefault(name.lower(), value)
        at = parameter.end()
    return parameters, at


def link_header(result: Result[Any]) -> str | None:
    """Return the URL of the next page, as the ``Link`` header says: ``Link: </users?page=2>; rel="next"``."""
    return links(result.headers).get("next")


class Turning:
    """Turns the pages: says which URL comes next, and that it may.

    Raises:
        TypeError: ``call`` or ``next_url`` cannot be called, or ``max_pages`` is no ``int``.
        ValueError: ``max_pages`` is less than 1.
    """

    def __init__(self, call: Any, next_url: Callable[[Result[Any]], str | None], max_pages: int) -> None:
        if not callable(call):
            if hasattr(call, "close"):  # a coroutine, which nobody is going to await
                call.close()
            raise TypeError(f"expected a function that makes the first call, got {call!r}: write pages(lambda: …)")
        if not callable(next_url):
            raise TypeError(f"expected next as a function of the result, got {next_url!r}")
        if isinstance(max_pages, bool) or not isinstance(max_pages, int):
            raise TypeError(f"expected max_pages as an int, got {max_pages!r}")
        if max_pages < 1:
            raise ValueError(f"expected max_pages of 1 or more, got {max_pages!r}")
        self._next_url = next_url
        self._max_pages = max_pages
        self._pages = 0
        self._seen: set[str] = set()

    def check(self, result: Any) -> Result[Any]:
        """Return what a call has returned, if it is a result."""
        if isinstance(result, Result):
            return result
        if hasattr(result, "close"):
            result.close()
        raise TypeError(f"expected a call that returns a result, got {result!r}: pages are neither streamed nor mixed")

    def after(self, result: Result[Any]) -> str | None:
        """Return the absolute URL of the page after ``result``, or ``None`` if that was the last one.

        Raises:
            ForeignURLError: it is of another origin than the first call, or not http(s).
            PagesError: it has been read already, or ``max_pages`` have.
            TypeError: ``next`` returned something else than a URL or ``None``.
        """
        self._pages += 1
        self._seen |= {result.request.target, result.url}
        named = self._next_url(result)
        if not named:
            return None
        if not isinstance(named, str):
            raise TypeError(f"expected next to return a URL, relative or absolute, or None, got {named!r}")
        # A redirect may have led elsewhere: relative URLs are relative to there, but the origin is that of the call.
        base = result.url or result.request.url
        url = target(base, named)
        hidden = SECRETS.union(result.ctx.get(SENSITIVE, ()))
        if url is None or not same_origin(result.request.url, url):
            error: FormationError = ForeignURLError(
                url=redact(url or named, hidden),
                base=origin(result.request.url),
                hint="a page may only name another one of the origin that the first call went to",
            )
        elif (repeated := url in self._seen) or self._pages >= self._max_pages:
            error = PagesError(url=redact(url, hidden), pages=self._pages, repeated=repeated)
        else:
            self._seen.add(url)
            return _literal(url)
        error.request, error.response = result.request, result.response
        raise error


def _literal(url: str) -> str:
    """Return the URL with nothing in its path that a client would take for a parameter."""
    site, path, rest = _path(url).groups()  # type: ignore[union-attr]  # an absolute URL
    return site + path.replace("/:", "/%3A").replace("{", "%7B").replace("}", "%7D") + rest
