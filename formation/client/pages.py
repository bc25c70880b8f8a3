"""Pages: one call after another, each to the URL that the one before names.

>>> from formation.http import Headers
>>> links(Headers({"Link": '</users?page=2>; rel="next", </users?page=9>; rel=last'}))
{'next': '/users?page=2', 'last': '/users?page=9'}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from formation.errors import ForeignURLError, PagesError
from formation.http.url import same_origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.client.responses import Result
    from formation.http.headers import Headers

MAX_PAGES: Final = 1000
"""Pages before somebody asks whether this ends: at 100 items a page, more than a person looks through."""

_LINK: Final = re.compile(r'<([^<>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*")*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]+))', re.IGNORECASE)


def links(headers: Headers) -> dict[str, str]:
    """Return the targets of the Link header by relation (RFC 8288); the first one wins."""
    found: dict[str, str] = {}
    for line in headers.getlist("Link"):
        for target, parameters in _LINK.findall(line):
            rel = _REL.search(parameters)
            for name in (rel[1] or rel[2]).lower().split() if rel else ():
                found.setdefault(name, target)
    return found


def link_header(result: Result[Any]) -> str | None:
    """The URL of the next page, as the ``Link`` header says: ``Link: </users?page=2>; rel="next"``."""
    return links(result.headers).get("next")


class Turning:
    """Turns the pages: says which URL comes next, and that it may."""

    def __init__(self, next_url: Callable[[Result[Any]], str | None], max_pages: int) -> None:
        if max_pages < 1:
            message = f"expected max_pages of 1 or more, got {max_pages!r}"
            raise ValueError(message)
        self._next_url = next_url
        self._max_pages = max_pages
        self._seen: set[str] = set()

    def after(self, result: Result[Any]) -> str | None:
        """Return the absolute URL of the page after ``result``, or ``None`` if that was the last one.

        Raises:
            ForeignURLError: it is of another origin.
            PagesError: it has been read already, or ``max_pages`` have.
        """
        self._seen.add(result.url)
        target = self._next_url(result)
        if not target:
            return None
        url = urljoin(result.url, target)
        if not same_origin(result.url, url):
            raise ForeignURLError(url=url, base=result.url)
        if url in self._seen or len(self._seen) >= self._max_pages:
            raise PagesError(url=url, pages=len(self._seen), repeated=url in self._seen)
        return url
