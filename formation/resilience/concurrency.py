"""How many calls at a time a server can take: found out by how long they take. Gradient2 and AIMD.

Theory of operation
-------------------
A server that is asked for more than it can do does not work faster; its calls queue, inside, where nobody sees it, and
take longer and longer, until those who wait have left. By Little's law its capacity is a number of calls at a time. The
right one is not known, and changes. But calls that take longer than they used to show that they queue.

*Gradient2* compares: how long calls have taken in the last second with how long they take in the long run. Longer by
more than `tolerance`, and the limit shrinks in proportion, by half at most; else it grows by `queue`, the number of
calls that may wait inside. It takes a fifth of each such step, for a second may be odd. So the limit hovers where a few
calls queue, and the workers never idle. It follows the "Gradient2Limit" of Netflix's concurrency-limits, 2018.

*AIMD* is what TCP does (RFC 5681): each call that goes well adds one, each that fails, or takes longer than `timeout`,
takes a tenth. It needs to be told what too long is; well below the time after which callers leave.

Neither grows while less than half of the limit is in use, for then it says nothing about the limit. Nothing here has a
clock: times are given.
"""

from __future__ import annotations

from threading import RLock
from typing import Final, Protocol

from formation.resilience.checks import count, positive

TOLERANCE: Final = 1.5
"""How much longer than in the long run is no sign yet. As Netflix: below, ordinary noise shrinks the limit."""

QUEUE: Final = 4
"""Calls that may wait inside of the server, so that a worker that is done has a next one. As Netflix."""

SMOOTHING: Final = 0.2
"""The part of a step that is taken. As Netflix."""

LONG: Final = 600
"""Windows that the long run has: ten minutes. As Netflix."""

WARM_UP: Final = 10
"""Windows of which the long run is the plain mean, to begin with."""

WINDOW: Final = 1.0
"""Seconds of a window."""

SAMPLES: Final = 10
"""Calls that a window has at least; fewer say nothing."""

RECOVERY: Final = 2
"""Where the long run is that many times longer than now, it is of bad times that are over: it decays faster."""

BACKOFF: Final = 0.9
"""AIMD keeps that much of its limit when a call fails. As Netflix; TCP keeps half, but loses less often."""


class Algorithm(Protocol):
    """Finds the limit. It is told of one call at a time, under a lock."""

    limit: float
    """Calls at a time; a call is let through while fewer are under way."""

    def sample(self, now: float, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Learn from a call.

        Args:
            now: monotonic seconds.
            seconds: that it took.
            in_flight: calls that were under way when it came, with itself.
            dropped: whether it has failed.
        """


class Gradient2:
    """Compares how long calls take now with how long they take in the long run.

    >>> found = Gradient2(20)
    >>> for second in range(60):
    ...     for call in range(20):  # twenty at a time, and the more there are, the longer they take
    ...         found.sample(second + call / 20, 0.1 if second < 30 else 0.3, int(found.limit), dropped=False)
    >>> found.limit < 20
    True
    """

    def __init__(self, initial: int = 20, least: int = 1, most: int = 200) -> None:
        self.limit, self._least, self._most = _bounds(initial, least, most)
        self._long, self._windows = 0.0, 0
        self._ends: float | None = None
        self._total, self._count, self._in_flight = 0.0, 0, 0

    def sample(self, now: float, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Learn from a call; draw a conclusion at the end of each window."""
        if self._ends is None:
            self._ends = now + WINDOW
        self._total += seconds
        self._count += 1
        self._in_flight = max(self._in_flight, in_flight)
        if now < self._ends or self._count < SAMPLES:
            return
        self._conclude(self._total / self._count, self._in_flight)
        self._ends = now + WINDOW
        self._total, self._count, self._in_flight = 0.0, 0, 0

    def _conclude(self, short: float, in_flight: int) -> None:
        self._windows += 1
        part = 1 / self._windows if self._windows <= WARM_UP else 2 / (LONG + 1)
        self._long += part * (short - self._long)
        if self._long > RECOVERY * short:
            self._long *= 0.95
        if in_flight < self.limit / 2:
            return
        gradient = max(0.5, min(1.0, TOLERANCE * self._long / short)) if short else 1.0
        new = self.limit * gradient + QUEUE
        self.limit = min(max(self.limit + SMOOTHING * (new - self.limit), self._least), self._most)


class AIMD:
    """Adds one for each call that goes well, takes a tenth for each that does not."""

    def __init__(self, initial: int = 20, least: int = 1, most: int = 200, timeout: float = 1.0) -> None:
        self.limit, self._least, self._most = _bounds(initial, least, most)
        self._timeout = positive("timeout", timeout)

    def sample(self, now: float, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Learn from a call."""
        if dropped or seconds > self._timeout:
            self.limit = max(self.limit * BACKOFF, self._least)
        elif in_flight >= self.limit / 2:
            self.limit = min(self.limit + 1, self._most)


class Seat:
    """What one call has of the limit. Made before it asks: an interrupt may come between, and shall not lose it."""

    number = 0  # of calls that were under way by it, once it is admitted


class Limiter:
    """Counts the calls under way, and turns away what is over the limit that an algorithm finds.

    >>> limiter, first = Limiter(Gradient2(1)), Seat()
    >>> limiter.admit(first), limiter.admit(Seat())
    (1, 0)
    >>> limiter.leave(first, 0.0, 0.1)
    >>> limiter
    <Limiter: 0 of 1 under way>
    """

    __slots__ = ("_lock", "algorithm", "in_flight")

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.in_flight = 0
        # A collection may end a forgotten task, which leaves, while this very thread holds the lock.
        self._lock = RLock()

    @property
    def limit(self) -> int:
        """Calls at a time."""
        return int(self.algorithm.limit)

    def admit(self, seat: Seat) -> int:
        """Let one more call in and return how many are under way by that, or 0: there are as many as allowed.

        However the call ends, `leave` the seat.
        """
        with self._lock:
            if self.in_flight < int(self.algorithm.limit):
                self.in_flight = seat.number = self.in_flight + 1
        return seat.number

    def leave(self, seat: Seat, now: float, seconds: float, *, dropped: bool | None = False) -> int | None:
        """End a call; return the limit if it is another one by that. A second time does nothing.

        Args:
            seat: what `admit` was given.
            now: monotonic seconds.
            seconds: that the call took.
            dropped: whether it has failed; ``None``: it says nothing.
        """
        with self._lock:
            admitted = seat.number
            self.in_flight, seat.number = self.in_flight - (admitted > 0), 0
            if dropped is None or not admitted:
                return None
            before = self.limit
            self.algorithm.sample(now, seconds, admitted, dropped=dropped)
            after = self.limit
        return None if after == before else after

    def __repr__(self) -> str:
        return f"<Limiter: {self.in_flight} of {self.limit} under way>"


def _bounds(initial: int, least: int, most: int) -> tuple[float, int, int]:
    count("initial", initial)
    count("min", least)
    count("max", most)
    if not least <= initial <= most:
        raise ValueError(f"expected min <= initial <= max, got {least}, {initial}, {most}")
    return float(initial), least, most
