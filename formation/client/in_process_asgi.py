"""An ASGI app (ASGI 3.0) called in the same process, without a socket, in the place of an HTTP library. On asyncio.

A client class is tested against the app that it is made for, or an app is a part of another one. Users have it from
``formation.for_asgi``.

Theory of operation
-------------------
ASGI pushes, a client pulls. So the app runs in a task of its own, and an `_Exchange` stands between: what the app sends
waits there, one chunk at most, until the client has taken it; what the client uploads is asked for when the app calls
``receive()``. The response is there with ``http.response.start``. Its body ends when the app has *returned*, not with
its last message: what the app does after that, its background tasks, is done when the body has been read to the end,
and what goes wrong there is raised there. Tests rely on it.

A body that is closed before its end is a client that is gone: the app gets ``http.disconnect``, its ``send()`` raises
`OSError`, and it has a moment to end by itself. If it waits for something else, it is cancelled. Closing waits for it.

The lifespan, too, is a task, for each event loop one, begun with the first call and ended by ``endpoint.close()``.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from weakref import WeakKeyDictionary

from formation.client import wire
from formation.client.in_process import Tally, check_prefix, failed, has_body, logger, respond, target
from formation.client.unpacking import unpacking
from formation.errors import ConnectError, DeadlineExceeded, ProtocolError, ReadTimeout
from formation.http import UNSET, Body, Headers, Request, Response
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import TypeAlias

    from formation.kernel import Ctx

    Message: TypeAlias = dict[str, Any]
    App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["Endpoint", "endpoint"]

Lifespan = Literal["auto", "on", "off"]

GRACE: Final = 1.0
"""Seconds for an app to end by itself when it has been told that the client is gone, before it is cancelled: what waits
for messages ends at once, and a test should not wait for what does not."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_DISCONNECT: Final = {"type": "http.disconnect"}


class Endpoint:
    """What `endpoint` returns: takes a context with a request, calls the app, puts the response into the context."""

    __name__ = "asgi"

    def __init__(
        self,
        app: App,
        *,
        raise_app_exceptions: bool,
        client: tuple[str, int] | None,
        root_path: str,
        lifespan: Lifespan,
    ) -> None:
        if not callable(app):
            raise TypeError(f"expected an ASGI app, a function of scope, receive and send, got {app!r}")
        if lifespan not in get_args(Lifespan):
            raise ValueError(f"expected lifespan as 'auto', 'on' or 'off', got {lifespan!r}")
        self._app = app
        self._raises = raise_app_exceptions
        self._client = client
        self._root_path = check_prefix(root_path, "root_path")
        self._lifespan = lifespan
        self._servers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Server] = WeakKeyDictionary()

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Call the app with ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        if deadline is not None:
            wire.remaining(deadline)
        scope = self._scope(request)
        server = self._server()
        scope["state"] = (await server.start()).copy()
        ctx.setdefault(NATIVE, {})["scope"] = scope
        exchange = _Exchange(request, deadline, raises=self._raises)
        server.exchanges.add(exchange)
        exchange.begin(self._app, scope, server.exchanges.discard)
        ctx[RES_HTTP] = await exchange.respond()
        return ctx

    async def close(self) -> None:
        """End the calls that are under way in this event loop, wait for background tasks, and shut the app down."""
        for loop in [loop for loop in self._servers if loop.is_closed()]:
            del self._servers[loop]
        server = self._servers.pop(asyncio.get_running_loop(), None)
        if server is not None:
            await server.stop()

    def _server(self) -> _Server:
        loop = asyncio.get_running_loop()
        server = self._servers.get(loop)
        if server is None:
            for closed in [loop for loop in self._servers if loop.is_closed()]:
                del self._servers[closed]
            server = self._servers[loop] = _Server(self._app, self._lifespan, raises=self._raises)
        return server

    def _scope(self, request: Request) -> Message:
        where = target(request, self._root_path, "root_path")
        return {
            "type": "http",
            "asgi": dict(_ASGI),
            "http_version": "1.1",
            "method": request.method,
            "scheme": where.scheme,
            "path": where.path.decode("utf-8", "replace"),
            "raw_path": where.raw_path.encode(),
            "query_string": where.query.encode(),
            "root_path": self._root_path,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in where.lines],
            "client": self._client,
            "server": (where.host, where.port),
            "extensions": {"http.response.trailers": {}, "http.response.debug": {}},
        }


def endpoint(
    app: App,
    *,
    raise_app_exceptions: bool = True,
    client: tuple[str, int] | None = ("127.0.0.1", 0),
    root_path: str = "",
    lifespan: Lifespan = "auto",
) -> Endpoint:
    """Make what calls an ASGI app in process: the setting ``endpoint=`` of an async client, or of `formation.wrap`.

    Streams both ways. A body that has been read to its end means that the app has returned, its background tasks
    included; a stream that is closed earlier tells the app by ``http.disconnect``, then cancels it. There is no default
    timeout, for there is no network; one that the request or a middleware sets bounds each wait for the app, and so
    does the deadline. ``await endpoint.close()``, or closing the client, shuts the app down.

    Args:
        app: called as ASGI 3.0 says, with the extensions for trailers and for debugging.
        raise_app_exceptions: whether an exception of the app is raised in the caller, as tests want it. ``False``: it
            is logged, and the response is a 500, or, where the head has been sent, breaks off.
        client: host and port that the request seems to come from, or ``None``.
        root_path: the path where the app is mounted; it has to be in the client's ``base_uri``.
        lifespan: ``"auto"``: startup with the first call, if the app has a lifespan; ``"on"``: it must have one;
            ``"off"``: the app is not asked.

    Raises:
        TypeError: ``app`` is no callable.
        ValueError: ``root_path`` is no path, ``lifespan`` is none. At a call: the request's path is not below
            ``root_path``.

    >>> import asyncio
    >>> from formation import wrap
    >>> from formation.http import Request
    >>> async def app(scope, receive, send):
    ...     assert scope["type"] == "http"
    ...     await send({"type": "http.response.start", "status": 200})
    ...     await send({"type": "http.response.body", "body": b"hello " + scope["path"].encode()})
    >>> call = wrap(endpoint(app), middleware=[])
    >>> asyncio.run(call({"fmtn.req.http": Request("GET", "http://app/ring")}))["fmtn.res.http"].content
    b'hello /ring'
    """
    return Endpoint(
        app, raise_app_exceptions=raise_app_exceptions, client=client, root_path=root_path, lifespan=lifespan
    )


class _Exchange:
    """One call of the app: what it is given, what it sends; the source of the response's body."""

    def __init__(self, request: Request, deadline: float | None, *, raises: bool) -> None:
        self._request = request
        self._deadline = deadline
        self._read: float | None = None
        if request.timeout is not UNSET:
            self._read = request.timeout[1] if isinstance(request.timeout, tuple) else request.timeout
        self._raises = raises
        self._started = perf_counter()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None]
        # What the app sends
        self._response: Response | None = None
        self._debug: Any = None
        self._has_trailers = False
        self._tally: Tally | None = None  # None: there is no body to send
        self._unpack: Callable[[bytes], Iterator[bytes]]
        self._chunk: bytes | None = None
        self._free = asyncio.Event()  # there is room for a chunk
        self._free.set()
        self._news: asyncio.Future[None] | None = None  # the client waits for something to happen
        self._body_sent = self._complete = False
        # What the client sends
        self._chunks: Iterator[bytes] | AsyncIterator[bytes] | None = None
        self._uploaded = False
        self._pulling: asyncio.Task[bytes] | None = None
        self._context = copy_context()  # the body is the caller's code
        # How it ends
        self._waiting = 0  # calls of receive() and send() under way
        self._over = asyncio.Event()  # the response is complete, or the client is gone
        self._gone = False
        self._broken: Exception | None = None  # the error of whoever makes the request's body
        self._left = False  # nobody waits for the app any more
        self._stopping: asyncio.Task[None] | None = None

    def begin(self, app: App, scope: Message, ended: Callable[[_Exchange], None]) -> None:
        """Call the app."""
        self._task = self._loop.create_task(self._run(app, scope))
        self._task.add_done_callback(self._ended)
        self._task.add_done_callback(lambda _: ended(self))

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self.receive, self.send)
        finally:
            if self._pulling is not None:
                self._pulling.cancel()
                await asyncio.wait({self._pulling})
            body = self._request.body
            if not body.is_bytes:
                await body.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._left and self._complete:
            logger.error("%s: the app raised after its response", self._request.name, exc_info=error)
        self._over.set()
        self._tell()

    # The client's side

    async def respond(self) -> Response:
        """Wait for the head, and for the body unless it is to be streamed; return the response."""
        request = self._request
        try:
            while self._response is None:
                self._check_upload()
                if self._task.done():
                    return self._no_response()
                await self._wait()
            response = self._response
            if self._tally is None:
                async for _ in self:
                    pass
                response.receive(b"")
                return response
            limit = wire.check_length(request, response.headers)
        except BaseException:
            await self._stop()
            raise
        body = Body(self, limit=limit)
        if request.extensions.get("stream"):
            response.receive(body)
        else:
            response.receive(await body.aread())
        return response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._chunk is not None:
                chunk, self._chunk = self._chunk, None
                self._free.set()
                for piece in self._unpack(chunk):
                    yield piece
            elif self._task.done():
                self._check_upload()
                self._check_end()
                for piece in self._unpack(b""):
                    yield piece
                return
            else:
                self._check_upload()
                await self._wait()

    def close(self) -> Awaitable[None] | None:
        """Be gone; return what waits for the app to end."""
        self._left = True
        if self._task.done() or self._complete or self._loop.is_closed():
            return None  # complete: what it does in the background is not the client's
        self._stopping = self._loop.create_task(self._stop())  # kept, for who closes may not be able to wait for it
        return self._stopping

    async def finish(self) -> None:
        """Wait for what is done in the background, and end the rest."""
        self._left = True
        if self._complete:
            await asyncio.wait({self._task})
        else:
            await self._stop()

    async def _stop(self) -> None:
        self._gone = True
        self._over.set()
        self._free.set()
        if self._pulling is not None:
            self._pulling.cancel()
        try:
            if self._waiting and not self._task.done():
                await asyncio.wait({self._task}, timeout=GRACE)
        finally:  # who closes may be cancelled, too
            self._task.cancel()
        if not self._task.done():
            await asyncio.wait({self._task})

    async def _wait(self) -> None:
        """Wait until something happens, as long as the request's timeout and the deadline allow."""
        left = None if self._deadline is None else self._deadline - monotonic()
        limits = [limit for limit in (self._read, left) if limit is not None]
        self._news = self._loop.create_future()
        try:
            async with asyncio.timeout(min(limits, default=None)):
                await self._news
        except TimeoutError as error:
            if self._deadline is not None and monotonic() >= self._deadline:
                raise DeadlineExceeded("the deadline has passed while the app was at work") from error
            raise ReadTimeout(f"nothing came from the app for {self._read} s") from error
        finally:
            self._news = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _error(self) -> BaseException | None:
        if self._task.cancelled():
            return ProtocolError("the app has been cancelled")
        return self._task.exception()

    def _no_response(self) -> Response:
        error = self._error()
        if self._raises:
            raise error or ProtocolError("the app returned without a response")
        what = "the app raised" if error else "the app returned without a response"
        return failed(self._request, error, what, perf_counter() - self._started)

    def _check_upload(self) -> None:
        """Raise what has gone wrong with the request's body: it is the client's, not the app's."""
        if self._broken is not None:
            raise self._broken

    def _check_end(self) -> None:
        """Raise what the app has raised, or what is wrong with the end of its response."""
        error = self._error()
        if error is not None and self._raises:
            raise error
        if error is not None:
            logger.error("%s: the app raised after it had begun to respond", self._request.name, exc_info=error)
        if not self._complete:
            raise ProtocolError("the app ended in the middle of its response") from error
        if self._tally is not None:
            self._tally.end()

    # The app's side

    async def receive(self) -> Message:
        """Give the app the next part of the request, or tell that the client is gone; called by the app."""
        self._waiting += 1
        try:
            while not (self._uploaded or self._gone):
                message = await self._upload()
                if message is not None:
                    return message
            await self._over.wait()
        finally:
            self._waiting -= 1
        return dict(_DISCONNECT)

    async def _upload(self) -> Message | None:
        """Pull a part of the request's body; ``None`` if there was none to be had."""
        body = self._request.body
        try:
            if body.is_bytes:
                chunk, self._uploaded = b"".join(body), True
            elif not body.is_async:
                await asyncio.sleep(0)  # a large upload leaves the others their turn
                if self._chunks is None:
                    self._chunks = iter(body)
                chunk = next(self._chunks, b"")  # type: ignore[arg-type]
                self._uploaded = not chunk
            else:
                pulling = self._pulling = self._pulling or self._loop.create_task(self._pull(), context=self._context)
                await asyncio.wait({pulling})  # who is cancelled here does not cancel the client's stream
                if self._pulling is not pulling or pulling.cancelled():
                    return None
                self._pulling = None
                chunk = pulling.result()
                self._uploaded = not chunk
        except Exception as error:  # noqa: BLE001  the client's: to the app it looks as if the client has gone
            self._broken, self._gone = error, True
            self._over.set()
            self._tell()
            return None
        return {"type": "http.request", "body": chunk, "more_body": not self._uploaded}

    async def _pull(self) -> bytes:
        if self._chunks is None:
            self._chunks = aiter(self._request.body)
        return await anext(self._chunks, b"")  # type: ignore[arg-type]

    async def send(self, message: Message) -> None:
        """Take what the app sends; return when there is room for more; called by the app."""
        if self._gone:
            raise OSError("the client is gone")
        kind = message["type"]
        if kind == "http.response.debug" and self._response is None:
            self._debug = message["info"]
        elif kind == "http.response.start" and self._response is None:
            self._start(message)
        elif kind == "http.response.body" and self._response is not None and not self._body_sent:
            await self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.trailers" and self._body_sent and self._has_trailers and not self._complete:
            self._take_trailers(message)
        else:
            raise RuntimeError(f"the app sent {kind!r}, which cannot come {self._state()}")

    def _state(self) -> str:
        if self._response is None:
            return "before http.response.start"
        return "after the end of the response" if self._body_sent else "after http.response.start"

    def _start(self, message: Message) -> None:
        fields = [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
            for name, value in message.get("headers", ())
        ]
        elapsed = perf_counter() - self._started
        response = respond(self._request, message["status"], "", Headers(fields), elapsed)
        response.extensions["http_version"] = "HTTP/1.1"
        if self._debug is not None:
            response.extensions["debug"] = self._debug
        if has_body(self._request, response):
            self._tally = Tally(response.headers)
        self._has_trailers = message.get("trailers", False)
        self._unpack = unpacking(response.headers, self._request)
        self._response = response
        self._tell()

    async def _send_body(self, chunk: Any, *, more: bool) -> None:
        if self._tally is not None and self._tally.add(chunk):
            self._waiting += 1
            try:
                while self._chunk is not None and not self._gone:  # of another task of the app
                    await self._free.wait()
                self._chunk = chunk
                self._free.clear()
                self._tell()
                while more and self._chunk is chunk and not self._gone:
                    await self._free.wait()
            finally:
                self._waiting -= 1
            if self._gone and self._chunk is chunk:
                raise OSError("the client is gone")
        if not more:
            self._body_sent = True
            if not self._has_trailers:
                self._end()

    def _take_trailers(self, message: Message) -> None:
        if self._response is not None:
            trailers = self._response.trailers = self._response.trailers or Headers()
            trailers.extend(_headers(message))
        if not message.get("more_trailers", False):
            self._end()

    def _end(self) -> None:
        self._complete = True
        self._over.set()
        self._tell()


def _headers(message: Message) -> Headers:
    return Headers(
        [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in message.get("headers", ())]
    )


class _Server:
    """The app in one event loop: its lifespan, and the calls that are under way."""

    def __init__(self, app: App, mode: Lifespan, *, raises: bool) -> None:
        self.exchanges: set[_Exchange] = set()
        self._app = app
        self._mode = mode
        self._raises = raises
        self._life: _Life | None = None

    async def start(self) -> dict[str, Any]:
        """Start the app up, unless somebody has, many may wait for it; return its state."""
        if self._mode == "off":
            return {}
        life = self._life = self._life or _Life(self._app)
        await life.said.wait()
        if life.says("startup.complete") or (life.message is None and self._mode == "auto"):
            return life.state
        if self._life is life:
            self._life = None  # the next call tries again
        raise self._error(await life.end(), life, "the app did not start")

    async def stop(self) -> None:
        """End all calls, then shut the app down."""
        for exchange in list(self.exchanges):
            await exchange.finish()
        life, self._life = self._life, None
        if life is None:
            return
        await life.said.wait()
        started = life.says("startup.complete")
        if started:
            await life.shut_down()
        error = await life.end()
        if life.says("shutdown.failed") or (error is not None and started):
            raise self._error(error, life, "the app did not shut down")

    def _error(self, error: BaseException | None, life: _Life, what: str) -> BaseException:
        said = (life.message or {}).get("message") or error or "it ended too early"
        if self._raises:
            return error or RuntimeError(f"{what}: {said}")
        made = ConnectError(f"{what}: {said}")
        made.__cause__ = error
        return made


class _Life:
    """One lifespan of the app: from startup to shutdown."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self.message: Message | None = None
        self.said = asyncio.Event()  # the app has said how its startup, or its shutdown, went; or it has ended
        self._stopping = asyncio.Event()
        self._told = False
        self._error: Exception | None = None
        # In a context of its own: what the first caller has set is for its call, and the app lives longer.
        self._task = asyncio.get_running_loop().create_task(self._run(app), context=Context())

    def says(self, what: str) -> bool:
        """Tell whether that is the last that the app has said."""
        return self.message is not None and self.message["type"] == f"lifespan.{what}"

    async def shut_down(self) -> None:
        """Tell the app to shut down, and wait until it has."""
        self._stopping.set()
        if not self._task.done():
            self.said.clear()
            await self.said.wait()

    async def end(self) -> BaseException | None:
        """Wait for the app to return, not for ever; return what it has raised."""
        done, _ = await asyncio.wait({self._task}, timeout=GRACE)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})
        return self._error

    async def _run(self, app: App) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
            self._error = error
        finally:
            self.said.set()

    async def _receive(self) -> Message:
        if not self._told:
            self._told = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        if not message["type"].startswith("lifespan."):  # the app takes this for a request, so it has no lifespan
            raise RuntimeError(f"the app sent {message['type']!r} in its lifespan")
        self.message = message
        self.said.set()
