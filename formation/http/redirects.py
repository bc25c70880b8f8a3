"""Redirects: where a response points, and what of the request may go there (RFC 9110, 15.4).

Pure: the loop that sends is in ``formation/client/follow.py``. What clients get wrong most often is here: a secret
header that travels to another host. All that is sensitive stays at home when the origin changes, or when https becomes
http.

>>> from formation.http import Request, Response
>>> asked = Request("POST", "https://h/login", content=b"me", headers={"Authorization": "Basic bWU6cHc="})
>>> hop = next_hop(asked, Response(303, {"Location": "//cdn.h/home#top"}))
>>> hop.method, hop.url, hop.content, "Authorization" in hop.headers
('GET', 'https://cdn.h/home', b'', False)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from formation.http.headers import SENSITIVE
from formation.http.origins import origin, same_origin

if TYPE_CHECKING:
    from collections.abc import Collection

    from formation.http.request import Request
    from formation.http.response import Response

MAX_REDIRECTS: Final = 10
"""Hops that are followed: more than any honest site needs, half of what browsers allow."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Of the body, besides what starts with Content-; all these go with it.
_OF_THE_BODY: Final = frozenset({"transfer-encoding", "trailer", "expect", "digest", "repr-digest"})
# What may not stand in a URL (RFC 3986, 2), as bytes read as latin-1.
_not_url = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]").sub


def next_hop(request: Request, response: Response, sensitive: Collection[str] = ()) -> Request | None:
    """Return the request that follows ``response``, or ``None`` if it is no redirect that can be followed.

    301 and 302 turn POST into GET; 303 turns anything but HEAD into GET; otherwise the method and the body stay, as
    with 307 and 308 always. It is not followed where the body would have to be sent again and cannot, or where Location
    is missing, ambiguous, no URL, or not http(s).

    Args:
        request: what was sent.
        response: what came back.
        sensitive: names of headers that stay at home, besides `SENSITIVE`.
    """
    status, method = response.status_code, request.method
    locations = set(response.headers.getlist("Location"))
    if status not in _REDIRECTS or len(locations) != 1:
        return None
    url = target(request.target, locations.pop())
    to_get = method != "HEAD" if status == 303 else method == "POST" and status in {301, 302}
    if url is None or not (to_get or request.replayable):
        return None
    hop = request.fork()
    hop.params = None
    if to_get:
        hop.method = "GET"
        hop.content = None
        for name in list(hop.headers):
            if name.lower().startswith("content-") or name.lower() in _OF_THE_BODY:
                del hop.headers[name]
    if not same_origin(request.url, url):  # another scheme is another origin, so this is https to http as well
        for name in ("Host", *SENSITIVE, *sensitive):
            hop.headers.popall(name, None)
        hop.cookies = None
        hop.auth = None
        hop.extensions["away"] = True  # a transport with secrets of its own keeps them, too
    hop.url = url
    return hop


def target(base: str, location: str) -> str | None:
    """Return the absolute URL of what a server names, or ``None`` if it names none that is http or https.

    A fragment is not sent, and user info is not the server's to set: both are dropped.

    >>> target("https://h/a/b?q=1", "../c d#e"), target("https://h/", "mailto:me@h")
    ('https://h/c%20d', None)
    """
    try:
        location = _quoted(location)
        given = urlsplit(location)
        absolute = given.scheme or location.startswith("//")
        if not location or (absolute and not given.netloc):  # "http:x" and "//", which urljoin takes for relative
            return None
        parts = urlsplit(urljoin(base, location))
        if parts.scheme not in {"http", "https"}:
            return None
        url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        origin(url)  # or a ValueError, where it has no host, no port, or one that parsers disagree about
    except ValueError:
        return None
    return url


def _quoted(location: str) -> str:
    """Percent-encode what servers put into Location and should not: spaces, controls, backslashes, UTF-8 as it is."""
    location = location.strip(" \t")
    try:
        raw = location.encode("latin-1")
    except UnicodeEncodeError:  # of a transport that reads headers as UTF-8
        raw = location.encode("utf-8", "surrogateescape")
    return _not_url(lambda found: f"%{ord(found[0]):02X}", raw.decode("latin-1"))
