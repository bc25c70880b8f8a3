"""A call of an asyncio client that goes on after it has been given back: a stream. See ``client.py``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from grpc import aio
from grpc.aio import _base_call as base

from formation.for_grpc.chains import STATUS
from formation.rpc.codes import Code, code_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from formation.for_grpc.aio.link import Link


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


class _Requesting(_Spanned):
    """One with a stream of requests, which gRPC has made an iterator of: for interceptors nothing is to be written."""

    async def write(self, request: Any) -> None:
        """Refuse it, as gRPC does."""
        raise aio.UsageError("the requests of this call come from an iterator, so none can be written")

    async def done_writing(self) -> None:
        """Refuse it, as gRPC does."""
        raise aio.UsageError("the requests of this call come from an iterator, which ends them")


class StreamUnaryCall(_Requesting, base.StreamUnaryCall):
    """With a stream of requests."""


class StreamStreamCall(_Requesting, base.StreamStreamCall):
    """With streams both ways."""


CALLS: Final[dict[str, Any]] = {
    "unary_stream": UnaryStreamCall,
    "stream_unary": StreamUnaryCall,
    "stream_stream": StreamStreamCall,
}
