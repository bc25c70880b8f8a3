"""One call of an ASGI app in the same process, between an app that pushes and a client that pulls.

The theory of it is in `formation.client.in_process_asgi`.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from formation.client import wire
from formation.client.in_process import Tally, failed, has_body, logger, respond
from formation.client.in_process_upload import Upload
from formation.client.unpacking import unpacking
from formation.clock import monotonic
from formation.errors import DeadlineExceeded, ProtocolError, ReadTimeout
from formation.http import UNSET, Body, Headers, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import TypeAlias

    Message: TypeAlias = dict[str, Any]
    App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

GRACE: Final = 1.0
"""Seconds for an app to end by itself when it has been told that the client is gone, before it is cancelled: what waits
for messages ends at once, and a test should not wait for what does not."""

_DISCONNECT: Final = {"type": "http.disconnect"}


async def wait_out(task: asyncio.Task[None], grace: float) -> None:
    """Wait so many seconds for a task to end by itself; then cancel it, and wait until it has ended."""
    try:
        if grace and not task.done():
            await asyncio.wait({task}, timeout=grace)
    finally:  # who waits may be cancelled, too
        task.cancel()
    if not task.done():
        await asyncio.wait({task})


class Exchange:
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
        self._upload = Upload(request.body)
        # How it ends
        self._waiting = 0  # calls of receive() and send() under way
        self._over = asyncio.Event()  # the response is complete, or the client is gone
        self._gone = False
        self._broken: Exception | None = None  # the error of whoever makes the request's body
        self._left = False  # nobody waits for the app any more
        self._stopping: asyncio.Task[None] | None = None

    def begin(self, app: App, scope: Message, ended: Callable[[Exchange], None]) -> None:
        """Call the app."""
        self._task = self._loop.create_task(self._run(app, scope))
        self._task.add_done_callback(self._ended)
        self._task.add_done_callback(lambda _: ended(self))

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self.receive, self.send)
        finally:
            await self._upload.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._left and self._complete:
            logger.error("%s: the app raised after its response", self._request.name, exc_info=error)
        self._over.set()
        self._tell()

    def cancel(self) -> None:
        """Cancel the app."""
        self._task.cancel()

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
        self._upload.cancel()
        await wait_out(self._task, GRACE if self._waiting else 0)

    async def _wait(self) -> None:
        """Wait until something happens, as long as the request's timeout and the deadline allow."""
        limit, left = self._read, None if self._deadline is None else self._deadline - monotonic()
        is_last = left is not None and (limit is None or left <= limit)
        self._news = self._loop.create_future()
        try:
            async with asyncio.timeout(left if is_last else limit):
                await self._news
        except TimeoutError as error:
            if is_last:
                raise DeadlineExceeded("the deadline has passed while the app was at work") from error
            raise ReadTimeout(f"nothing came from the app for {limit} s") from error
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
            while not (self._upload.is_done or self._gone):
                chunk = await self._pull()
                if chunk is not None:
                    return {"type": "http.request", "body": chunk, "more_body": not self._upload.is_done}
            await self._over.wait()
        finally:
            self._waiting -= 1
        return dict(_DISCONNECT)

    async def _pull(self) -> bytes | None:
        try:
            return await self._upload.pull()
        except Exception as error:  # noqa: BLE001  the client's: to the app it looks as if the client has gone
            self._broken, self._gone = error, True
            self._over.set()
            self._tell()
            return None

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
        elapsed = perf_counter() - self._started
        response = respond(self._request, message["status"], "", _headers(message), elapsed)
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
