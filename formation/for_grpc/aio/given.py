"""A stream that a coroutine gives message by message, as an async generator: no task, no queue, nothing read ahead.

gRPC takes a handler that writes its messages and one that yields them. Interceptors of others mostly know the one that
yields, so around such a handler we yield, too. But ``call(ctx)`` shall return when the stream has ended: so the chain
is a coroutine all the same, and what it gives goes out by the way on which others ask the event loop.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task
from contextlib import suppress
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

_END: Final[Any] = object()
_GIVEN: Final = object()
"""What a coroutine that has given a message asks for; it does not get to the event loop."""


async def given(serve: Any, argument: Any, native: Any) -> AsyncGenerator[Any, None]:
    """Iterate over what the coroutine ``serve(argument, native, give)`` gives.

    If nobody wants any more of it, it is cancelled.
    """
    giver = _Giver(serve, argument, native)
    try:
        while (message := await giver) is not _END:
            yield message
    except GeneratorExit:
        giver.cancel()
        with suppress(CancelledError):
            while await giver is not _END:
                pass
        raise


class _Giver:
    """Drives a coroutine from one message to the next.

    Args:
        serve: makes the coroutine, of a request, gRPC's context, and the function to give a message with.
        argument: the request.
        native: the context. Its ``write`` sends a message at once: for a middleware that has put the rest of the chain
            into a task of its own, as ``asyncio.wait_for`` does before Python 3.12; from there nothing gets here.
    """

    def __init__(self, serve: Callable[..., Coroutine[Any, Any, Any]], argument: Any, native: Any) -> None:
        self._write = native.write
        self._task: Any = None
        self._message: Any = None
        self._error: BaseException | None = None
        self._coroutine = serve(argument, native, self._give)

    def _give(self, message: Any) -> Any:
        return self._hand(message) if current_task() is self._task else self._write(message)

    @coroutine
    def _hand(self, message: Any) -> Generator[Any, None, None]:
        self._message = message
        yield _GIVEN

    def cancel(self) -> None:
        """Let the coroutine find that it is cancelled."""
        self._error = CancelledError("nobody wants the rest of the stream")

    def __await__(self) -> Generator[Any, Any, Any]:
        self._task = current_task()  # that of who asks
        value, (error, self._error) = None, (self._error, None)
        while True:
            try:
                asked = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return _END
            if asked is _GIVEN:
                message, self._message = self._message, None
                return message
            value = error = None
            try:
                value = yield asked
            except BaseException as raised:  # noqa: BLE001  cancellation too: it belongs to the coroutine
                error = raised
