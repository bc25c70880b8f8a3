"""Middleware inside of a session of aiohttp: its own client-middleware protocol, and our chain between the two."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from formation import errors
from formation.client import wire
from formation.client.settings import MAX_BODY
from formation.client.unpacking import keeps_limits
from formation.for_aiohttp.bodies import NativeUpload, Upload
from formation.for_aiohttp.messages import Stream, head, received_headers, translated
from formation.http import Body, Request
from formation.kernel import wrap
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from formation.kernel import AnyMiddleware, Ctx


def client_middleware(middleware: Iterable[AnyMiddleware] = ()) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """Make a middleware for aiohttp: ``ClientSession(middlewares=[client_middleware([retry()])])``.

    The session does what it always does, redirects and cookies among it, so that the middleware runs for each hop.
    Errors are those of aiohttp: an error of ours that has none of aiohttp as its cause becomes an
    ``aiohttp.ClientConnectionError``.

    Args:
        middleware: plain or ``async def``, outermost first.

    Raises:
        TypeError: a middleware is none.
    """
    chain = wrap(_exchange, middleware, is_async=True)

    async def formation_middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        upload = NativeUpload(request.body) if request.body else None
        seen = Request(request.method, str(request.url), headers=received_headers(request.headers), content=upload)
        opened: list[aiohttp.ClientResponse] = []
        ctx = wire.context(seen, {"request": request, "handler": handler, "upload": upload, "responses": opened})
        left = opened
        try:
            made, left = _returned(await chain(ctx), request, opened)
        except errors.FormationError as error:
            theirs = _native_error(error, request)
            raise theirs from (theirs.__cause__ if theirs is error.__cause__ else error)
        finally:
            for each in left:
                each.close()  # of an attempt that failed, or of a middleware that raised
        return made

    return formation_middleware


async def _exchange(ctx: Ctx, /) -> Ctx:
    seen: Request = ctx[REQ_HTTP]
    deadline: float | None = ctx.get(DEADLINE)
    native = ctx[NATIVE]
    request: aiohttp.ClientRequest = native["request"]
    await _change(request, seen, native["upload"])
    started = perf_counter()
    try:
        async with asyncio.timeout(None if deadline is None else wire.remaining(deadline)):
            response: aiohttp.ClientResponse = await native["handler"](request)
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(request.body, Upload) and request.body.failed is not None:
            raise request.body.failed  # noqa: B904
        raise translated(error, deadline) from error
    if request.session.auto_decompress:
        keeps_limits(seen)
    native["response"] = response
    native["responses"].append(response)
    answer = ctx[RES_HTTP] = head(response, seen, perf_counter() - started)
    answer.receive(Body(Stream(response, deadline, is_timed=False), limit=MAX_BODY))  # the caller of the session reads
    return ctx


async def _change(request: aiohttp.ClientRequest, seen: Request, upload: NativeUpload | None) -> None:
    """Make the request of aiohttp what ours says."""
    request.method = seen.method
    if seen.target != str(request.url):
        url = URL(seen.target, encoded=True)
        if seen.headers.get("Host") == request.url.host_port_subcomponent:
            seen.headers["Host"] = url.host_port_subcomponent or ""
        request.url = request.original_url = url
    body = seen.body  # made now, as its Content-Type is
    request.headers.clear()
    request.headers.extend([(str(name), value) for name, value in seen.headers.items()])
    before = request.body
    if upload is not None and body.native is upload:
        new: Any = upload.payload
    elif body.is_bytes and body.length <= wire.CHUNK:  # type: ignore[operator]  # bytes have one
        new = body.read() or None
    else:
        new = Upload(body, None)
    if new is not before and not (new is None and not before):
        request._body = None  # noqa: SLF001  else update_body would close what the new body reads from
        await request.update_body(new)


def _returned(
    ctx: Ctx, request: aiohttp.ClientRequest, opened: list[aiohttp.ClientResponse]
) -> tuple[aiohttp.ClientResponse, list[aiohttp.ClientResponse]]:
    """Return the response of aiohttp, the very object if nobody has changed its body, and those to close."""
    answer = wire.answer(ctx)
    body, source = answer.body, answer.body.native
    made: Any = source.native if isinstance(source, Stream) else None
    left = [each for each in opened if each is not made]
    fields = [(str(name), value) for name, value in answer.headers.items()]
    if made not in opened or body.is_watched:  # whoever waits for the end of the body has to see it
        fields = wire.unpacked(answer, request.method)
        made, left = _response(request, body), opened if body.is_bytes else []
        for each in () if body.is_bytes else opened:
            body.on_close(lambda *_, each=each: each.close())
    # aiohttp has no way to make or change a response; these attributes have been there since 3.0.
    if made.status != answer.status_code or (made.reason and made.reason != answer.reason):
        made.status, made.reason = answer.status_code, answer.reason
    if made._headers is None or fields != list(received_headers(made._headers, made._raw_headers).items()):  # noqa: SLF001
        made._headers = CIMultiDictProxy(CIMultiDict(fields))  # noqa: SLF001
        made._raw_headers = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)  # noqa: SLF001
        made._raw_cookie_headers = tuple(answer.headers.getlist("Set-Cookie")) or None  # noqa: SLF001
        made._cache.clear()  # noqa: SLF001
    return made, left


def _response(request: aiohttp.ClientRequest, body: Body) -> aiohttp.ClientResponse:
    loop = asyncio.get_running_loop()
    stands_for: Any = _Connection(body)
    made = aiohttp.ClientResponse(
        request.method,
        request.original_url,
        writer=None,
        continue100=None,
        timer=stands_for,
        request_info=request.request_info,
        traces=[],
        loop=loop,
        session=request._session,  # noqa: SLF001
        stream_writer=stands_for,
    )
    made.version = aiohttp.HttpVersion11
    made.content = _Reader(body, request, stands_for)
    if body.is_bytes:
        made.content.feed_data(b"".join(body))  # which its hooks see
        made.content.feed_eof()
    else:
        made._closed, made._connection = False, stands_for  # noqa: SLF001
        made.content.on_eof(made._response_eof)  # noqa: SLF001
    return made


def _native_error(error: errors.FormationError, request: aiohttp.ClientRequest) -> Exception:
    """Return the error of aiohttp that says what ``error`` says."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return cause
    if isinstance(cause, TimeoutError) and not isinstance(error, errors.DeadlineExceeded):
        return cause
    if isinstance(error, errors.StatusError):
        headers = None if error.response is None else CIMultiDict(error.response.headers.items())
        return aiohttp.ClientResponseError(
            request.request_info, (), status=error.status_code, message=str(error), headers=headers
        )
    if isinstance(error, TimeoutError):
        return aiohttp.ServerTimeoutError(str(error))
    if isinstance(error, (errors.TransportError, errors.Rejected)):
        return aiohttp.ClientConnectionError(str(error))
    return aiohttp.ClientError(str(error))


class _Connection:
    """What a response asks of its connection, its timer and its request, where there is but a body."""

    output_size = 0
    connected = True
    protocol = None
    _reading_paused = False

    def __init__(self, body: Body) -> None:
        self.body = body

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call it at the end."""
        self.body.on_close(lambda *_: callback())

    def release(self) -> None:
        """End the body, and so what it is read from."""
        self.body.close()

    close = release

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self, **_: Any) -> None:
        """Do nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _Reader(aiohttp.StreamReader):
    """A body of ours, as aiohttp reads one: a piece when somebody waits for it."""

    def __init__(self, body: Body, request: aiohttp.ClientRequest, connection: Any) -> None:
        super().__init__(connection, limit=wire.CHUNK, loop=asyncio.get_running_loop())
        self.body, self.request = body, request
        self.chunks = aiter(body)

    async def _wait(self, func_name: str) -> None:
        try:
            chunk = await anext(self.chunks, b"")  # a body has no empty ones
        except errors.FormationError as error:
            theirs = _native_error(error, self.request)
            raise theirs from (theirs.__cause__ if theirs is error.__cause__ else error)
        if chunk:
            self.feed_data(chunk)
        else:
            self.feed_eof()
