"""Plain handlers in an asyncio server: they run in a thread, and so does the iteration over what they give.

One message at a time: the next one is asked for when the last one has been written. What such a handler does with its
context and with the stream of requests happens in the event loop; its thread waits for that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterator

    from formation.for_grpc.aio.context import Context

_END: Any = object()


async def in_thread(behaviour: Any, argument: Any, context: Context) -> Any:
    """Call a plain handler in the thread pool of the event loop."""
    loop = asyncio.get_running_loop()
    if hasattr(argument, "__aiter__"):
        argument = Requests(argument, loop)
    around: Any = copy_context().run
    return await loop.run_in_executor(None, around, behaviour, argument, Plain(context, loop))


async def streamed_in_thread(behaviour: Any, argument: Any, context: Context) -> AsyncGenerator[Any, None]:
    """Iterate over what a plain handler gives, each step in the thread pool.

    A step cannot be ended from outside. Who is cancelled in the middle of one leaves it, and the iterator is closed
    after it.
    """
    loop = asyncio.get_running_loop()
    around, turn = copy_context(), Lock()
    source = iter(await in_thread(behaviour, argument, context))

    def step(do: Any, *args: Any) -> Any:
        with turn:  # else the context would be entered twice
            return around.run(do, *args)

    def close() -> None:
        with suppress(Exception):  # nobody is there to be told
            step(source.close)

    is_over = False
    try:
        while (message := await loop.run_in_executor(None, step, next, source, _END)) is not _END:
            yield message
        is_over = True
    finally:
        if not is_over and hasattr(source, "close"):
            loop.run_in_executor(None, close)


class Requests:
    """The stream of requests for a plain handler."""

    def __init__(self, source: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._next = source.__aiter__().__anext__
        self._loop = loop

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        message = asyncio.run_coroutine_threadsafe(self._ask(), self._loop).result()
        if message is _END:
            raise StopIteration
        return message

    async def _ask(self) -> Any:
        try:
            return await self._next()
        except StopAsyncIteration:
            return _END


class Plain:
    """The context for a plain handler: what is awaited there, is waited for here."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def _wait(self, doing: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()  # type: ignore[arg-type]

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata."""
        self._wait(self._context.send_initial_metadata(initial_metadata))

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call with this code."""
        self._wait(self._context.abort(code, details, trailing_metadata))  # raises

    def abort_with_status(self, status: Any) -> None:
        """End the call with this status."""
        self._wait(self._context.abort_with_status(status))

    def add_callback(self, callback: Any) -> bool:
        """Call ``callback()`` when the call is over; tell whether it was not."""
        if self._context.done():
            return False
        self._loop.call_soon_threadsafe(self._context.add_done_callback, lambda _: callback())
        return True

    def is_active(self) -> bool:
        """Tell whether the call goes on."""
        return not self._context.done()
