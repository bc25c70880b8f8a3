"""So many at a time: permits, and a line of threads and tasks that wait for one.

Theory of operation
-------------------
A semaphore of `threading` would block the event loop of a task that waits, one of `asyncio` knows nothing of threads.
So who waits does it by a `Signal`, which can wake both; there is one for each who waits, and they stand in one line,
whichever way they wait.

*A permit is handed over*: who gives one back gives it to the first in the line, and only if nobody waits it becomes
free. So nobody can come from outside and be faster than the one who was woken.

*Nothing is lost by an interrupt*, which CPython raises where a function begins or a built-in has returned, not in
between. So who asks makes a `Place` first, and gives it back whatever happens: the count and what the place says change
in one statement, and a second time does nothing. In the same way, who gave up at the moment in which he was given a
permit hands it on.

>>> permits, first, second = Permits(1), Place(), Place()
>>> permits.acquire(first), permits.acquire(second)
(True, False)
>>> permits.release(first)
>>> permits
<Permits: 0 of 1 in use, 0 waiting>
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from threading import RLock

from formation.resilience.signal import Signal


class Place:
    """What one call has of the permits: one, a place in the line, or nothing. Made before it asks, for one call."""

    is_held = False  # for all, until an instance says otherwise: an __init__ would cost more than the rest
    heir: Place | None = None  # who was given the permit, and is not awake yet
    signal: Signal


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
        self._waiting: deque[Place] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self, place: Place, seconds: float = 0) -> bool:
        """Take a permit, or wait for one, so many seconds at most; tell whether there is one.

        However this ends, `release` the place.
        """
        with self._lock:
            if self.in_use < self.number:  # then nobody waits
                self.in_use, place.is_held = self.in_use + 1, True
                return True
            if seconds <= 0 or len(self._waiting) >= self.queue:
                return False
            place.signal = Signal()
            self._waiting.append(place)
            if self.in_use < self.number:  # a collection has given one back meanwhile
                self.in_use, place.is_held = self.in_use + (not place.is_held), True
        if not place.is_held:
            place.signal.wait(seconds)
        with self._lock:
            self._leave(place)
            return place.is_held

    def release(self, place: Place) -> None:
        """Give a permit back, or leave the line. A second time does nothing but what an interrupt has kept it from."""
        with self._lock:
            if self._waiting:
                self._hand_over(place)
            elif place.is_held:
                self.in_use, place.is_held = self.in_use - 1, False
        if (heir := place.heir) is not None:
            heir.signal.set()
            place.heir = None

    def _hand_over(self, place: Place) -> None:
        while place.is_held:
            heir = self._first()
            if heir is None:
                self.in_use, place.is_held = self.in_use - 1, False
            else:  # if a collection has given it one meanwhile, this one is for the next
                place.heir, heir.is_held, place.is_held = heir, True, heir.is_held
        self._leave(place)
        self._leave(place.heir)

    def __repr__(self) -> str:
        return f"<Permits: {self.in_use} of {self.number} in use, {self.waiting} waiting>"

    def _first(self) -> Place | None:
        """Return who is next, if somebody waits."""
        while self._waiting:
            first = self._waiting[-1 if self._lifo else 0]
            if not first.is_held:
                return first
            self._leave(first)
        return None

    def _leave(self, place: Place | None) -> None:
        with suppress(ValueError):
            self._waiting.remove(place)  # type: ignore[arg-type]  # nobody is not in there, either
