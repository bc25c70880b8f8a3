"""The time and the chance that Formation goes by: the machine's, or those of a simulation.

Whatever waits, measures a wait or draws lots asks here, so that `formation.testing.simulate` can give an hour of
back-off in a millisecond, and the same one each time. A simulation counts for the code that runs inside of it, in the
same context: other tasks and threads go on by the machine's clock.
"""

from __future__ import annotations

import time as machine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random


class Virtual:
    """A clock that moves when somebody sleeps, and a source of random numbers that a seed determines.

    ``slept``: the seconds of each sleep; ``elapsed``: their sum and what `advance` has added.
    """

    def __init__(self, seed: int) -> None:
        self.slept: list[float] = []
        self.elapsed = 0.0
        # From a whole second: what is an hour later by the sum of floats is then an hour later by the clock, too.
        self._monotonic, self._time = machine.monotonic() // 1, machine.time() // 1
        self._seed = seed
        self._random: Random | None = None

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and keep account of it."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let the time pass."""
        self.elapsed += max(seconds, 0)

    def monotonic(self) -> float:
        """Return the seconds of the monotonic clock."""
        return self._monotonic + self.elapsed

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._time + self.elapsed

    def uniform(self, low: float, high: float) -> float:
        """Return a random number between two."""
        if self._random is None:
            from random import Random  # 3 ms of import

            self._random = Random(self._seed)
        return self._random.uniform(low, high)


virtual: Final[ContextVar[Virtual | None]] = ContextVar("formation.clock", default=None)
"""The clock of the simulation that is running, if one is."""


def monotonic() -> float:
    """Return the seconds of a clock that nobody can set.

    >>> monotonic() <= monotonic()
    True
    """
    clock = virtual.get()
    return machine.monotonic() if clock is None else clock.monotonic()


def time() -> float:
    """Return the seconds since 1970.

    >>> time() > 1_700_000_000
    True
    """
    clock = virtual.get()
    return machine.time() if clock is None else clock.time()


def uniform(low: float, high: float, /) -> float:
    """Return a random number between two.

    >>> 1 <= uniform(1, 2) <= 2
    True
    """
    clock = virtual.get()
    if clock is None:
        from random import uniform as draw

        return draw(low, high)
    return clock.uniform(low, high)
