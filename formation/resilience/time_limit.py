"""A time limit for what a plain function waits for: `asyncio.timeout`, for a function that cannot say ``async with``.

The timer cancels the task, and on the way out that cancellation becomes an error; a cancellation from outside stays
what it is. A cancel scope of anyio would not do: a server edge may leave the ``with`` in another task than the one that
has entered it, and a scope cannot stand that.

>>> with TimeLimit(0.1, TimeoutError):  # in a sync chain nothing can be cut short
...     pass
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from formation.bridge import in_async_chain

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle
    from collections.abc import Callable
    from types import TracebackType


class TimeLimit:
    """Cancel what is awaited inside of the ``with`` block after ``seconds``, and raise another error in its place.

    It works for a plain function in an async chain on asyncio. In a sync chain nothing can be ended from outside, and
    on trio no scope may be left in another task: there it does nothing.

    Args:
        seconds: until then; ``None``: there is no limit.
        otherwise: makes the error.
    """

    __slots__ = ("_before", "_has_expired", "_otherwise", "_seconds", "_task", "_timer")
    _timer: TimerHandle
    _before: int  # cancellations that others had asked for

    def __init__(self, seconds: float | None, otherwise: Callable[[], Exception]) -> None:
        self._seconds = seconds
        self._otherwise = otherwise
        self._task: Task[Any] | None = None
        self._has_expired = False

    def __enter__(self) -> None:
        if self._seconds is not None and (task := _current_task()) is not None:
            self._task, self._before = task, task.cancelling()
            self._timer = task.get_loop().call_later(max(self._seconds, 0), self._expire, task)

    def _expire(self, task: Task[Any]) -> None:
        self._has_expired = True
        task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        self._timer.cancel()
        if self._has_expired and task.uncancel() <= self._before and kind is not None:
            from asyncio import CancelledError  # loaded, for there is a task

            if issubclass(kind, CancelledError):
                raise self._otherwise() from error


def _current_task() -> Task[Any] | None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not in_async_chain():
        return None
    try:
        return asyncio.current_task()  # type: ignore[no-any-return]
    except RuntimeError:  # another event loop, or none
        return None
