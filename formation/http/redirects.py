"""Redirects: where a response points, and what of the request may go there (RFC 9110, 15.4).

Pure: the loop that sends is in ``formation/client/follow.py``. What clients get wrong most often is here: a secret header that
travels to another host. All that is sensitive stays at home when the origin changes, or when https becomes http.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from formation.http.headers import SENSITIVE
from formation.http.url import same_origin

if TYPE_CHECKING:
    from formation.http.request import Request
    from formation.http.response import Response

MAX_REDIRECTS: Final = 10
"""Hops that are followed: more than any honest site needs, half of what browsers allow."""

_KEEP: Final = frozenset({307, 308})
_REWRITE: Final = frozenset({301, 302, 303})
_OF_THE_BODY: Final = (
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Transfer-Encoding",
    "Digest",
)


def next_hop(request: Request, response: Response, sensitive: Collection[str] = ()) -> Request | None:
    """Return the request that follows ``response``, or ``None`` if it is no redirect that can be followed.

    301 and 302 turn POST into GET; 303 turns anything but HEAD into GET; 307 and 308 keep the method and the body. It is not
    followed where the body would have to be sent again and cannot, or where Location is missing, no URL, or not http(s).

    Args:
        request: what was sent.
        response: what came back.
        sensitive: names of headers and cookies that stay at home, besides `SENSITIVE`.
    """
    location = response.headers.get("Location")
    keep = response.status_code in _KEEP
    if not location or not (keep or response.status_code in _REWRITE):
        return None
    url = _target(request.target, location)
    if url is None or (keep and not request.replayable):
        return None
    hop = request.fork()
    hop.params.clear()
    if not keep and request.method != "HEAD" and (response.status_code == 303 or request.method == "POST"):  # noqa: PLR2004
        hop.method = "GET"
        hop.content = None
        for name in _OF_THE_BODY:
            hop.headers.popall(name, None)
    hop.headers.popall("Host", None)
    if not same_origin(request.url, url):  # another scheme is another origin, so this is https to http as well
        for name in (*SENSITIVE, *sensitive):
            hop.headers.popall(name, None)
        hop.cookies.clear()
        hop.auth = None
    hop.url = url
    return hop


def _target(base: str, location: str) -> str | None:
    """Return the absolute URL, or ``None``. A fragment is not sent, and user info in a Location is nobody's to set."""
    try:
        location = _quoted(location)
        if (given := urlsplit(location)).scheme and not given.netloc:  # "http:", which urljoin takes for relative
            return None
        parts = urlsplit(urljoin(base, location))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return None
        parts.port  # noqa: B018  raises ValueError if it is none
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _quoted(location: str) -> str:
    """Percent-encode what servers put into Location and should not: spaces, controls, UTF-8 read as latin-1."""
    raw = location.strip().encode("latin-1", "replace")
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in raw)  # noqa: PLR2004
