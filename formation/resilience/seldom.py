"""What is true of every call and said once a minute: that Redis is gone, for one.

>>> now = [0.0]
>>> is_due = Seldom(clock=lambda: now[0])
>>> is_due(), is_due()
(True, False)
>>> now[0] = 60
>>> is_due()
True
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final

from formation.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: Final = 60.0
"""Between two that are said: somebody who looks at a log sees that it goes on, and sees other lines, too."""


class Seldom:
    """Tells one caller in so many seconds that it is time to say it. Threads may share it.

    Args:
        seconds: between two.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_due", "_lock", "_seconds")

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due = float("-inf")
        # A collection may end a call that asks here, too, while this very thread holds the lock.
        self._lock = RLock()

    def __call__(self) -> bool:
        with self._lock:
            now = self._clock()
            if now < self._due:
                return False
            self._due = now + self._seconds
            return True
