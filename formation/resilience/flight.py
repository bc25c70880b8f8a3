"""Single flight: of many callers who want the same thing, one gets it, and the others wait for what it got.

Threads and tasks may wait for each other: a plain function in an async chain waits on the bridge, so that its event
loop goes on; anywhere else it blocks its thread.
"""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from formation.bridge import await_, in_async_chain

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Signal:
    """An event that threads and tasks can wait for; it happens once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._event = Event()
        self._futures: list[tuple[Any, Any]] = []

    def set(self) -> None:
        """Wake up all who wait, and let nobody wait from now on."""
        with self._lock:
            self._event.set()
            futures, self._futures = self._futures, []
        for loop, future in futures:
            loop.call_soon_threadsafe(_wake, future)

    def wait(self) -> None:
        """Wait until it is set."""
        if not in_async_chain():
            self._event.wait()
            return
        from asyncio import get_running_loop  # an async program has it

        with self._lock:
            if self._event.is_set():
                return
            loop = get_running_loop()
            future = loop.create_future()
            self._futures.append((loop, future))
        await_(future)


class Flight(Generic[T]):
    """Makes a value once for all who ask for it at the same time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._signal: Signal | None = None

    def do(self, make: Callable[[], T], landed: Callable[[], T | None]) -> T:
        """Return what ``landed()`` finds, else what ``make()`` makes; of callers at the same time, one makes it.

        If the one that makes it fails or is cancelled, the error is its own, and the next one tries.
        """
        while True:
            with self._lock:
                if (found := landed()) is not None:
                    return found
                leads = self._signal is None
                signal = self._signal = self._signal or Signal()
            if not leads:
                signal.wait()
                continue
            try:
                return make()
            finally:
                with self._lock:
                    self._signal = None
                signal.set()


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)
