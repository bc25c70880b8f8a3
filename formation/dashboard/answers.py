"""What is answered to whom: the routes, the same for WSGI and ASGI.

==============  =======================================================================================
``/``           the page; it has no data in it, so that everybody may have it and sign in there
``/events``     snapshots as server-sent events
``/snapshot``   one, as JSON, for scripts
``/login``      204 and a cookie for who has the token in ``Authorization``
==============  =======================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from formation.dashboard.guard import bears, refusal, set_cookie
from formation.dashboard.page import PLAIN, page

if TYPE_CHECKING:
    from formation.dashboard.guard import Asked


class Answer(NamedTuple):
    """A response. ``streams``: events follow, in the place of a body. ``is_json``: a snapshot does."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    streams: bool = False
    is_json: bool = False


def answer(asked: Asked, token: bytes | None, now: float) -> Answer:
    """Return what is answered."""
    if asked.method not in {"GET", "HEAD"}:
        return _said(405, "this can be looked at, and that is all", {"Allow": "GET, HEAD"})
    if asked.path == "":
        return _said(308, "it has a slash at the end", {"Location": f"./{quote(asked.mount.rpartition('/')[2])}/"})
    if asked.path == "/":
        if token is None and (why := refusal(asked, token, now)):
            return _said(403, why)
        return Answer(200, page().headers, page().html)
    if asked.path == "/login" and token is not None:
        if not bears(asked, token):
            return _no_token("the token is missing, or not the one")
        return Answer(204, PLAIN | {"Set-Cookie": set_cookie(asked, token, now)})
    if asked.path not in {"/events", "/snapshot"}:
        return _said(404, "there is /, /events and /snapshot")
    if why := refusal(asked, token, now):
        return _no_token(why) if token is not None else _said(403, why)
    if asked.path == "/snapshot":
        return Answer(200, PLAIN | {"Content-Type": "application/json"}, is_json=True)
    # X-Accel-Buffering: nginx would keep events back until it has 4 KB of them.
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    return Answer(200, PLAIN | headers, streams=True)


def _no_token(why: str) -> Answer:
    return _said(401, why, {"WWW-Authenticate": 'Bearer realm="formation"'})


def _said(status: int, why: str, headers: dict[str, str] | None = None) -> Answer:
    plain = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
    return Answer(status, PLAIN | plain, f"{why}\n".encode())
