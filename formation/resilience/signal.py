"""An event that threads and tasks can wait for, whoever sets it: what waiting is made of here.

An event of `threading` would block the event loop of a task that waits, one of `asyncio` knows nothing of threads. A
plain function in an async chain waits on the bridge, so that its event loop goes on; anywhere else it blocks its
thread. One thing cannot wait: a plain call in the very thread in which the one that sets it is suspended.

Nothing here may wait for a lock that its own thread holds, and a garbage collection can end a forgotten task at any
point of any thread, also in the middle of these functions. So locks are reentrant, and what is written first is what
such an end has to see.

>>> signal = Signal()
>>> signal.wait(0), signal.set(), signal.wait(0)
(False, None, True)
"""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import TIMEOUT_MAX, Lock, RLock, get_ident
from typing import TYPE_CHECKING, Any

from formation.bridge import await_, in_async_chain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Signal:
    """An event that threads and tasks can wait for; it happens once. Who makes it is who sets it."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self._lock = RLock()
        self._is_set = False
        self._wakers: set[Callable[[], object]] = set()

    def set(self) -> None:
        """Wake up all who wait, and let nobody wait from now on. A second time wakes whom an interrupt has left."""
        with self._lock:
            self._is_set = True
            wakers = list(self._wakers)
        for wake in wakers:
            with suppress(RuntimeError):  # it is awake; or its event loop is gone, and so is whoever waited there
                wake()

    def would_never_come(self) -> bool:
        """Tell whether a wait here is one for itself: a plain one, in the very thread that has to go on to set it."""
        return self._thread == get_ident() and not in_async_chain()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds; tell whether it is."""
        if seconds is not None and seconds <= 0:
            return self._is_set
        if in_async_chain():
            await_(self._wait_async(seconds))
        else:
            self._wait_blocking(-1 if seconds is None else min(seconds, TIMEOUT_MAX))
        return self._is_set

    def _wait_blocking(self, seconds: float) -> None:
        gate = Lock()  # one for each who waits: nobody has to hand it on, whom an interrupt could keep from it
        gate.acquire()
        with self._lock:
            self._wakers.add(gate.release)
        try:
            if not self._is_set:
                gate.acquire(timeout=seconds)
        finally:
            with self._lock:
                self._wakers.discard(gate.release)

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
