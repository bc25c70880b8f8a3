"""Unpack the bodies that come in, and none that would fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

from formation.errors import BodyTooLarge, DecodeError
from formation.exchange import reply
from formation.http.codings import available, codings_of
from formation.http.recoded import recoded
from formation.http.request import Request
from formation.http.response import Response
from formation.http.unpackers import LIMITS, Limits, Undecodable, Unpack, can_unpack, unpacker_of, within_ratio
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, RES_HTTP, SIDE


def decompress(max_ratio: float | None = 200, max_body: int | None = None) -> Middleware[Any]:
    """Unpack what comes in: the bodies of requests on a server, those of responses on a client (RFC 9110, 8.4).

    Every encoding that is installed, several on top of each other too, piece by piece and in bounded memory. What is
    cut off is an error, and never taken for whole. A bomb is given up as soon as it is one, and not when it has
    exploded.

    On a server the app gets the plain body, without Content-Encoding. What cannot be unpacked is answered by a 400,
    what is too large by a 413, an encoding that nobody knows by a 415 that says which there are in Accept-Encoding.

    On a client ``Accept-Encoding`` says what is installed. The edges unpack by themselves, within ``max_body`` of the
    client where a body is read; this adds the ratio, and limits to what is streamed. It unpacks itself what an edge
    leaves as it came, such as ``for_aiohttp.endpoint(raw=True)`` or an endpoint of your own.

    Args:
        max_ratio: how many times as large as it came a body may become, once it has more than a MiB. 200, as in
            Apache httpd; text becomes 3 to 20 times as large. ``None``: any.
        max_body: bytes that it may become, also where it is streamed. ``None``: as many as the edge lets anybody read,
            16 MiB on a server and 64 MiB on a client unless it is told otherwise.

    Raises:
        ValueError: a limit that is none.
        BodyTooLarge: when a response that exceeds a limit is read.
        DecodeError: when one that is not what Content-Encoding says is read. Where the edge has unpacked it, that is a
            `ProtocolError`.

    Order:
        Outside of whatever looks at the body; on a client inside of `cache`, which keeps bodies as they come out.

    >>> from gzip import compress
    >>> from formation import reply
    >>> from formation.http import Request
    >>> server = lambda ctx: reply(ctx, 200, {"Content-Encoding": "gzip"}, compress(b"hello"))
    >>> ctx = decompress()({"fmtn.req.http": Request("GET", "https://h/")}, server)
    >>> ctx["fmtn.res.http"].content
    b'hello'
    """
    if max_ratio is not None and not max_ratio >= 1:
        raise ValueError(f"expected max_ratio as a number from 1 on, or None, got {max_ratio!r}")
    if max_body is not None and (isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 0):
        raise ValueError(f"expected max_body as a number of bytes, or None, got {max_body!r}")

    def decompress(ctx: Any, call: Call[Any]) -> Any:
        if not isinstance(ctx, dict) or REQ_HTTP not in ctx or ctx.get(KIND) == "websocket":
            return call(ctx)
        if ctx.get(SIDE) == "server":
            return _served(ctx, call, max_ratio, max_body)
        return _asked(ctx, call, max_ratio, max_body)

    return decompress


def _asked(ctx: Any, call: Call[Any], max_ratio: float | None, max_body: int | None) -> Any:
    request, limits = ctx[REQ_HTTP], Limits(max_ratio)
    request.headers.setdefault("Accept-Encoding", ", ".join(available()))
    request.extensions[LIMITS] = limits
    if max_body is not None:
        request.extensions["max_body"] = max_body
    ctx = call(ctx)
    response: Response | None = ctx.get(RES_HTTP)
    if response is None or not response.has_changeable_body():
        return ctx
    said = response.headers.get("Content-Encoding", "")
    codings = [] if limits.are_kept or not said else codings_of(said)
    body = response.body
    if not can_unpack(codings) or (not codings and (body.is_bytes or body.ended)):
        return ctx
    limit = body.limit if max_body is None else max_body
    plain = recoded(body, _unpacking(codings, None if limits.are_kept else max_ratio, limit, ref(response)))
    response.body = plain.read() if body.is_bytes else plain
    if codings:
        del response.headers["Content-Encoding"]
    return ctx


def _served(ctx: Any, call: Call[Any], max_ratio: float | None, max_body: int | None) -> Any:
    request: Request = ctx[REQ_HTTP]
    codings = codings_of(request.headers.get("Content-Encoding", ""))
    if not codings or not request.has_changeable_body():
        return call(ctx)
    if not can_unpack(codings):
        known = {"Accept-Encoding": ", ".join(available()), "Content-Type": "text/plain"}
        return reply(ctx, 415, known, b"Unsupported Content-Encoding")
    failures: list[int] = []
    limit, said = request.body.limit if max_body is None else max_body, request.headers.getlist("Content-Type")
    request.body = recoded(request.body, _unpacking(codings, max_ratio, limit, ref(request), failures))
    for line in said:  # which goes with a body that is replaced, and this is the same one
        request.headers["Content-Type"] = line
    request.headers.popall("Content-Length", None)
    del request.headers["Content-Encoding"]
    try:
        ctx = call(ctx)
    except Exception:
        if not failures:
            raise
    if not failures:
        return ctx
    # Whatever the app has made of it: over ASGI it looks to the app as if the client had gone.
    if failures[0] == 413:
        return reply(ctx, 413, {"Content-Type": "text/plain"}, b"Content Too Large")
    return reply(ctx, 400, {"Content-Type": "text/plain"}, b"The body is not what Content-Encoding says")


def _unpacking(
    codings: list[str],
    max_ratio: float | None,
    limit: int | None,
    message: ref[Any],
    failures: list[int] | None = None,
) -> Callable[[], Unpack]:
    """Return what makes an unpacker that keeps to the limits, raises our errors, and tells ``failures`` of them."""

    def make() -> Unpack:
        unpack, gave = within_ratio(unpacker_of(codings), max_ratio), 0

        def unpacked(chunk: bytes) -> Iterator[bytes]:
            nonlocal gave
            try:
                for piece in unpack(chunk):
                    gave += len(piece)
                    if limit is not None and gave > limit:
                        raise BodyTooLarge(limit=limit, got=gave)  # noqa: TRY301
                    yield piece
            except BodyTooLarge:
                if failures is not None:
                    failures.append(413)
                raise
            except Undecodable as problem:
                if failures is not None:
                    failures.append(400)
                raise _undecodable(message(), str(problem)) from None

        return unpacked

    return make


def _undecodable(message: Any, problem: str) -> DecodeError:
    if isinstance(message, Response) and message.body.is_bytes:
        return message.undecodable(problem)
    said = "" if message is None else message.headers.get("Content-Type", "")
    status = message.status_code if isinstance(message, Response) else None
    error = DecodeError(status_code=status, content_type=said, head=b"", problems=(problem,))
    if isinstance(message, Response):  # and no more: its body keeps the error, so that nobody would let go of either
        error.request = message.request
    return error
