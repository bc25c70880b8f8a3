"""What an asyncio client gets: a call that goes on after it has been given back, or one that the chain has answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode, aio
from grpc.aio import _base_call as base

from formation.for_grpc.common import STATUS, result_of, tell
from formation.rpc.codes import Code, code_for
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator

    from formation.kernel import Ctx
    from formation.rpc.calls import Call

_running: Final[set[asyncio.Task[None]]] = set()
"""The chains of streams: an event loop alone would not keep them."""


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing to wait for: a call that is over has its metadata."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    except aio.AioRpcError:
        return None
    coroutine.close()
    return None


def error_of(result: Result) -> BaseException:
    """Return a result that is not OK as an error of gRPC."""
    error: BaseException = aio.AioRpcError(
        STATUS[result.code],
        aio.Metadata(*result.headers.fields()),
        aio.Metadata(*result.trailers.fields()),
        details=result.details or "",
        debug_error_string="answered by middleware",
    )
    return error


def failure_of(error: BaseException) -> BaseException | None:
    """Return an error of ours as one of gRPC; ``None`` if it has no code."""
    code = code_for(error)
    if code is None:
        return None
    failed = error_of(Result(code, str(error)))
    failed.__cause__ = error
    return failed


class Link:
    """What the task of the chain and whoever uses the call know of each other."""

    __slots__ = ("broken", "call", "callbacks", "changed", "count", "error", "is_cancelled", "is_over", "native",
                 "number", "passing", "result", "task")  # fmt: skip

    def __init__(self, call: Call) -> None:
        self.call = call
        self.changed = asyncio.Event()
        self.callbacks: list[Any] = []
        self.native: Any = None  # the call of gRPC, for this attempt
        self.passing: Any = (None, None)  # what its messages pass
        self.number = 0  # of the attempt
        self.count = 0  # messages that were handed out
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.broken: Exception | None = None  # what a message middleware has raised
        self.is_over = self.is_cancelled = False
        self.task: Any = None

    async def start(self, chain: Any, ctx: Ctx) -> None:
        """Start the chain; return once there is a call, or it has ended without one."""
        self.task = task = asyncio.get_running_loop().create_task(self._run(chain, ctx))
        _running.add(task)
        task.add_done_callback(_running.discard)
        try:
            await self.wait(0)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.error is not None and not self.number:
            raise self.failure() or self.error

    async def _run(self, chain: Any, ctx: Ctx) -> None:
        try:
            self.result = result = result_of(await chain(ctx))
            result.end(self.count if self.call.response_streaming else int(result.message is not None))
        except BaseException as error:  # noqa: BLE001  it is raised where somebody asks for the answer
            self.error = error
        self.is_over = True
        self._tell()
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            tell(callback)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def attempt(self, native: Any, passing: Any) -> None:
        """Let messages come from ``native``."""
        self.native, self.passing = native, passing
        self.number += 1
        self._tell()

    async def wait(self, number: int) -> None:
        """Wait until there is another attempt than ``number``, or it is over."""
        while not self.is_over and self.number == number:
            await self.changed.wait()

    async def over(self) -> None:
        """Wait until it is over."""
        while not self.is_over:
            await self.changed.wait()

    def cancel(self) -> bool:
        """Cancel what is under way."""
        if self.is_over or self.is_cancelled:
            return False
        self.is_cancelled = True
        if self.native is None or not self.native.cancel():  # between two attempts
            self.task.cancel()
        return True

    def is_cancelled_by_grpc(self) -> bool:
        """Tell whether it was gRPC that cancelled, for an error at a request: the chain knows which."""
        task = asyncio.current_task()
        return not self.is_cancelled and self.native.cancelled() and task is not None and not task.cancelling()

    def answers(self) -> Any:
        """Return the messages of an answer in the server's place."""
        return self.result.messages or () if self.native is None and self.result is not None else ()

    def failure(self) -> BaseException | None:
        """Return the error to raise where the answer is asked for; ``None``: it went well."""
        if self.error is not None:
            return failure_of(self.error) or self.error
        result = self.result
        return None if result is None or result.ok else error_of(result)


class _Spanned:
    """A call as the program has it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._iterator: Any = None

    def __del__(self) -> None:
        link = self.__dict__.get("_link")
        if link is not None and not link.is_over and not (loop := link.task.get_loop()).is_closed():
            loop.call_soon_threadsafe(link.cancel)  # a collection may run in any thread

    @property
    def _done_writing_flag(self) -> bool:
        native = self._link.native
        return bool(native is not None and native._done_writing_flag)  # noqa: SLF001  gRPC asks for it

    async def _messages(self) -> AsyncIterator[Any]:  # noqa: C901  a stream has many ends
        link = self._link
        while link.number:
            native, number, (passes, waits) = link.native, link.number, link.passing
            try:
                async for message in native:
                    link.count += 1
                    link.call.begin()
                    if passes is not None:
                        message = passes(message)  # noqa: PLW2901
                    elif waits is not None:
                        message = await waits(message)  # noqa: PLW2901
                    yield message
            except aio.AioRpcError:
                pass
            except asyncio.CancelledError:
                if not link.is_cancelled_by_grpc():
                    raise
            except Exception as error:  # noqa: BLE001  raised at call(ctx), and below what comes of that
                link.broken = error
                native.cancel()
            await link.wait(number)
            if link.number == number:
                break
        await link.over()
        if (failure := link.failure()) is not None:
            raise failure
        for message in link.answers():
            yield message

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._messages()
        iterator: AsyncIterator[Any] = self._iterator
        return iterator

    async def read(self) -> Any:
        """Return the next message, ``grpc.aio.EOF`` at the end."""
        try:
            return await anext(self.__aiter__())
        except StopAsyncIteration:
            return aio.EOF

    async def _message(self) -> Any:
        await self._link.over()
        if (error := self._link.failure()) is not None:
            raise error
        return None if self._link.result is None else self._link.result.message

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._message().__await__())
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """Cancel it."""
        return self._link.cancel()

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        link = self._link
        return link.is_cancelled or isinstance(link.error, asyncio.CancelledError)

    def done(self) -> bool:
        """Tell whether it is over, or was cancelled."""
        return self._link.is_over or self._link.is_cancelled

    def add_done_callback(self, callback: Any) -> None:
        """Call ``callback(self)`` when it is over."""
        if self._link.is_over:
            callback(self)
        else:
            self._link.callbacks.append(lambda: callback(self))

    def time_remaining(self) -> Any:
        """Return the seconds that are left."""
        native = self._link.native
        return None if native is None else native.time_remaining()

    async def initial_metadata(self) -> Any:
        """Return the initial metadata."""
        link = self._link
        if link.native is not None and not (link.is_over and link.result is not None and link.result.is_changed):
            return await link.native.initial_metadata()
        await link.over()
        return None if link.result is None else aio.Metadata(*link.result.headers.fields())

    async def trailing_metadata(self) -> Any:
        """Return the trailers, once it is over."""
        await self._link.over()
        result = self._link.result
        return None if result is None else aio.Metadata(*result.trailers.fields())

    async def code(self) -> Any:
        """Return the code, once it is over."""
        await self._link.over()
        return STATUS[self._code()]

    def _code(self) -> Code:
        link = self._link
        if link.result is not None:
            return link.result.code
        if isinstance(link.error, asyncio.CancelledError):
            return Code.CANCELLED
        return code_for(link.error) or Code.INTERNAL  # type: ignore[arg-type]  # it has ended by one of the two

    async def details(self) -> Any:
        """Return the details, once it is over."""
        await self._link.over()
        link = self._link
        if link.result is not None:
            return link.result.details or ""
        if isinstance(link.error, asyncio.CancelledError):
            return "Locally cancelled by application!"
        return str(link.error)

    async def debug_error_string(self) -> Any:
        """Return what gRPC says for debugging."""
        await self._link.over()
        native = self._link.native
        return "" if native is None else await native.debug_error_string()

    async def wait_for_connection(self) -> None:
        """Wait until there is a connection."""
        if self._link.native is not None:
            await self._link.native.wait_for_connection()


class UnaryStreamCall(_Spanned, base.UnaryStreamCall):
    """With a stream of responses."""


class StreamUnaryCall(_Spanned, base.StreamUnaryCall):
    """With a stream of requests."""

    async def write(self, request: Any) -> None:
        """Not called: gRPC makes an iterator of what is written."""
        raise NotImplementedError

    async def done_writing(self) -> None:
        """Not called, neither."""
        raise NotImplementedError


class StreamStreamCall(_Spanned, base.StreamStreamCall):
    """With streams both ways."""

    async def write(self, request: Any) -> None:
        """Not called: gRPC makes an iterator of what is written."""
        raise NotImplementedError

    async def done_writing(self) -> None:
        """Not called, neither."""
        raise NotImplementedError


CALLS: Final[dict[str, Any]] = {
    "unary_stream": UnaryStreamCall,
    "stream_unary": StreamUnaryCall,
    "stream_stream": StreamStreamCall,
}


class Answered(base.UnaryUnaryCall):
    """A call that is over, with an answer of the chain."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._result.ok:
            raise error_of(self._result)
        return self._result.message
        yield

    def cancel(self) -> bool:
        """Do nothing: it is over."""
        return False

    def cancelled(self) -> bool:
        """Tell that it was not cancelled."""
        return False

    def done(self) -> bool:
        """Tell that it is over."""
        return True

    def add_done_callback(self, callback: Any) -> None:
        """Call ``callback(self)`` at once."""
        callback(self)

    def time_remaining(self) -> None:
        """Return nothing: it is over."""

    async def initial_metadata(self) -> Any:
        """Return the initial metadata."""
        return aio.Metadata(*self._result.headers.fields())

    async def trailing_metadata(self) -> Any:
        """Return the trailers."""
        return aio.Metadata(*self._result.trailers.fields())

    async def code(self) -> StatusCode:
        """Return the code."""
        code: StatusCode = STATUS[self._result.code]
        return code

    async def details(self) -> str:
        """Return the details."""
        return self._result.details or ""

    async def debug_error_string(self) -> str:
        """Say where it comes from."""
        return "answered by middleware"

    async def wait_for_connection(self) -> None:
        """Wait for nothing: it is over."""
