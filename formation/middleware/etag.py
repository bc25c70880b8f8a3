"""Validators for responses that have none, and an answer without a body for who has it already."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from formation.http.body import Body
from formation.http.response import Response
from formation.http.validators import precondition
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, RES_HTTP, SIDE

_ABOUT_THE_BODY: Final = (
    "Accept-Ranges", "Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length",
    "Content-MD5", "Content-Range", "Content-Type", "Digest", "Repr-Digest", "Trailer", "Transfer-Encoding",
)  # fmt: skip
"""What a 304 leaves out (RFC 9110, 15.4.5): it says nothing new about the body, and may contradict what is kept."""

READ: Final = frozenset({"GET", "HEAD"})


def etag(
    weak: bool = True,  # noqa: FBT001, FBT002  a switch that is named where it is set
    max_body: int = 1024 * 1024,
) -> Middleware[Any]:
    """Give a server's responses an ETag, and answer 304 or 412 where the conditions of a request say so (RFC 9110, 13).

    A 200 to GET that has no ETag gets one if its body is there in one piece, or comes in pieces of which the head says
    how long they are, up to ``max_body``: then its head waits for the body. What streams, and what is longer, gets none
    and is not held up. A tag that the app has set stays, and so does its Last-Modified; both are what the conditions of
    GET and HEAD are compared with, in the order of RFC 9110, 13.2.2: If-Match, If-Unmodified-Since, If-None-Match,
    If-Modified-Since. Where the app has answered anything but 200, and for other methods, nothing is looked at: what
    they do, only the app can leave undone.

    It saves the way, not the work: the app makes the whole page, and then it is not sent.

    Args:
        weak: whether the tag says that two pages mean the same, and not that their bytes are equal. Then the body may
            still be packed, and a part of it is never put together with one of another (RFC 9110, 8.8.1).
        max_body: bytes of a body that is read for its tag. 1 MiB: hashed in 2 ms, and few pages are longer.

    Raises:
        ValueError: ``max_body`` is no number of bytes.

    Order:
        Inside of `compress`, or each encoding has a tag of its own, and a body is packed that a 304 leaves out. Inside
        of `request_logger`; outside of whatever changes the body.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> def ask(**headers):
    ...     ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/", headers=headers)}
    ...     return etag()(ctx, lambda ctx: reply(ctx, 200, body=b"hello"))["fmtn.res.http"]
    >>> ask().headers["ETag"]
    'W/"Rvt0CNTyhSKPSvUW6iWFGw"'
    >>> ask(**{"If-None-Match": ask().headers["ETag"]})
    <Response 304 of https://h/>
    """
    if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 0:
        raise ValueError(f"expected max_body as a number of bytes, got {max_body!r}")

    def etag(ctx: Any, call: Call[Any]) -> Any:
        if not isinstance(ctx, dict) or ctx.get(SIDE) != "server" or ctx.get(KIND) in {"websocket", "rpc"}:
            return call(ctx)
        request = ctx[REQ_HTTP]
        if request.method not in READ:
            return call(ctx)
        asked = request.headers.copy()
        ctx = call(ctx)
        response: Response | None = ctx.get(RES_HTTP)
        if response is None or response.status_code != 200:
            return ctx
        headers = response.headers
        if "ETag" not in headers and request.method == "GET" and (content := _content(response, max_body)) is not None:
            headers["ETag"] = tag_of(content, weak=weak)
        status = precondition(
            request.method, asked, etag=headers.get("ETag"), last_modified=headers.get("Last-Modified")
        )
        if status is not None:
            ctx[RES_HTTP] = _short(response, status)
        return ctx

    return etag


def tag_of(content: bytes, *, weak: bool) -> str:
    """Return the tag of a body: 128 bits of its hash, by which no two bodies are ever taken for each other."""
    from base64 import urlsafe_b64encode

    digest = urlsafe_b64encode(blake2b(content, digest_size=16).digest()).decode().rstrip("=")
    return f'W/"{digest}"' if weak else f'"{digest}"'


def _content(response: Response, limit: int) -> bytes | None:
    """Return the body, if it is there, or short and known to come at once."""
    headers = response.headers
    if "no-store" in headers.get("Cache-Control", "").lower() or not response.has_changeable_body():
        return None
    body = response.body
    if body.is_bytes:
        return body.read() if (body.length or 0) <= limit else None
    length = headers.get("Content-Length", "")
    if body.ended or not (length.isascii() and length.isdecimal()) or len(length) > 15 or int(length) > limit:
        return None
    content = body.read()
    return content if len(content) == int(length) else None  # what has been cut off is not to be kept


def _short(response: Response, status: int) -> Response:
    """Return the answer without the body: a 304 with what it has to have, or a 412."""
    kept = response.headers.copy()
    if status == 304:
        for name in _ABOUT_THE_BODY:
            kept.popall(name, None)
        if "ETag" in kept:
            kept.popall("Last-Modified", None)
    else:
        for name in {*map(str.lower, kept)}:
            if name not in {"set-cookie", "vary"} and not name.startswith("access-control-"):
                kept.popall(name)
    made = Response(status, kept, Body(b""), request=response.request, url=response.url)
    response.close()
    made.body.replace(response.body)
    return made
