"""So many at a time: permits, and a line of threads and tasks that wait for one.

Theory of operation
-------------------
A semaphore of `threading` would block the event loop of a task that waits, one of `asyncio` knows nothing of threads.
So who waits does it by a `Signal`, which can wake both; there is one for each who waits, and they stand in one line,
whichever way they wait.

*A permit is handed over*: who gives one back gives it to the first in the line, and only if nobody waits it becomes
free. So nobody can come from outside and be faster than the one who was woken. He who was given a permit at the moment
in which he gave up, because it took too long or he was cancelled, finds that he is no longer in the line, and hands it
on.

>>> permits = Permits(1)
>>> permits.acquire(), permits.acquire()
(True, False)
>>> permits.release()
>>> permits
<Permits: 0 of 1 in use, 0 waiting>
"""

from __future__ import annotations

from collections import deque
from threading import RLock

from formation.resilience.flight import Signal


class Permits:
    """A number of permits, which threads and tasks may share.

    A plain call in the thread of an event loop blocks that thread while it waits, as anything plain does there.

    Args:
        number: of permits.
        queue: how many may wait.
        lifo: whether the last to come is the first to get one, for the others may have been given up.
    """

    __slots__ = ("_lifo", "_lock", "_waiting", "in_use", "number", "queue")

    def __init__(self, number: int, queue: int = 0, *, lifo: bool = False) -> None:
        self.number = number
        self.queue = queue
        self.in_use = 0
        self._lifo = lifo
        # A collection may end a forgotten task, which gives its permit back, while this very thread holds the lock.
        self._lock = RLock()
        self._waiting: deque[Signal] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self, seconds: float = 0) -> bool:
        """Take a permit, or wait for one, so many seconds at most; tell whether there is one."""
        with self._lock:
            if self.in_use < self.number:  # then nobody waits
                self.in_use += 1
                return True
            if seconds <= 0 or len(self._waiting) >= self.queue:
                return False
            signal = Signal()
            self._waiting.append(signal)
            if self.in_use < self.number and self._leave(signal):  # a collection has given one back meanwhile
                self.in_use += 1
                return True
        try:
            signal.wait(seconds)
        except BaseException:
            if not self._leave(signal):
                self.release()
            raise
        return not self._leave(signal)

    def release(self) -> None:
        """Give a permit back."""
        with self._lock:
            waiting = self._waiting
            signal = None if not waiting else waiting.pop() if self._lifo else waiting.popleft()
            if signal is None:
                self.in_use -= 1
                return
        signal.set()

    def __repr__(self) -> str:
        return f"<Permits: {self.in_use} of {self.number} in use, {self.waiting} waiting>"

    def _leave(self, signal: Signal) -> bool:
        """Leave the line; tell whether one was in it, or had been given a permit."""
        with self._lock:
            try:
                self._waiting.remove(signal)
            except ValueError:
                return False
            return True
