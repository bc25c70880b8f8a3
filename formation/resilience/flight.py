"""Single flight: of many callers who want the same thing, one gets it, and the others wait for what it got.

Theory of operation
-------------------
Who comes first *leads*: it makes the value, in its own thread or task. Who comes meanwhile *follows*: it waits on the
`Signal` of that flight, and looks again when the flight is over. If the leader has failed, or was cancelled, there is
nothing to be found, so one of those who look leads the next flight.

Threads and tasks may wait for each other: a plain function in an async chain waits on the bridge, so that its event
loop goes on; anywhere else it blocks its thread. One thing cannot wait: a plain call in the very thread in which the
leader is suspended, for it would never go on. It makes a value of its own.

Nothing here may wait for a lock that its own thread holds, and a garbage collection can end a forgotten leader at any
point of any thread, also in the middle of these functions. So locks are reentrant, and what is written first is what
such an end has to see.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import Lock, RLock, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from formation.bridge import await_, in_async_chain
from formation.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Signal:
    """An event that threads and tasks can wait for; it happens once."""

    def __init__(self) -> None:
        self.leader = get_ident()
        self._lock = RLock()
        self._is_set = False
        self._gate = Lock()  # held until it is set
        self._gate.acquire()
        self._wakers: set[Callable[[], object]] = set()

    def set(self) -> None:
        """Wake up all who wait, and let nobody wait from now on. A second time wakes whom an interrupt has left."""
        with self._lock:
            if not self._is_set:
                self._is_set = True
                self._gate.release()
            wakers = list(self._wakers)
        for wake in wakers:
            with suppress(RuntimeError):  # the event loop of that one is gone, and so is whoever waited there
                wake()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds; tell whether it is."""
        if seconds is not None and seconds <= 0:
            return self._is_set
        if in_async_chain():
            await_(self._wait_async(seconds))
        elif self._gate.acquire(timeout=-1 if seconds is None else seconds):
            self._gate.release()  # the next one
        return self._is_set

    async def _wait_async(self, seconds: float | None) -> None:
        waiting, wake = _trio_event() if _in_trio() else _future(seconds)
        with self._lock:
            self._wakers.add(wake)
        try:
            if not self._is_set:
                await (_until(waiting, seconds) if _in_trio() else waiting)
        finally:
            with self._lock:
                self._wakers.discard(wake)


class Flight(Generic[T]):
    """Makes a value once for all who ask for it at the same time."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._signal: Signal | None = None

    def do(self, make: Callable[[], T], landed: Callable[[], T | None], until: float | None = None) -> T:
        """Return what ``landed()`` finds, else what ``make()`` makes; of callers at the same time, one makes it.

        If the one that makes it fails or is cancelled, the error is its own, and the next one tries.

        Args:
            make: makes the value, and sees to it that ``landed`` finds it.
            landed: looks for it; ``None``: there is none. Called with a lock held, so it must not wait.
            until: monotonic time until which to wait for others; ``make`` has to keep its own.

        Raises:
            DeadlineExceeded: that time has come, and the one who makes it is still at it.
        """
        while True:
            with self._lock:
                if (found := landed()) is not None:
                    return found
                signal = self._signal
                if signal is None:
                    mine = self._signal = Signal()
            if signal is None:
                try:
                    return make()
                finally:
                    with self._lock:
                        self._signal = None
                    mine.set()
            if signal.leader == get_ident() and not in_async_chain():
                return make()
            if not signal.wait(None if until is None else until - monotonic()):
                raise DeadlineExceeded("the deadline has passed while somebody else got what was needed")


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def _trio_event() -> tuple[Any, Callable[[], object]]:
    trio = sys.modules["trio"]
    event, token = trio.Event(), trio.lowlevel.current_trio_token()
    return event, lambda: token.run_sync_soon(event.set)


async def _until(event: Any, seconds: float | None) -> None:
    with sys.modules["trio"].move_on_after(float("inf") if seconds is None else seconds):
        await event.wait()


def _future(seconds: float | None) -> tuple[Awaitable[None], Callable[[], object]]:
    from asyncio import get_running_loop  # an async program has it

    loop = get_running_loop()
    future = loop.create_future()
    if seconds is not None:
        timer = loop.call_later(seconds, _wake, future)
        future.add_done_callback(lambda _: timer.cancel())
    return future, lambda: loop.call_soon_threadsafe(_wake, future)


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)
