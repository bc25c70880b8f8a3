"""Turns of `throttle`: who may go now, and who after how long. The generic cell rate algorithm (GCRA, ITU-T I.371).

Theory of operation
-------------------
Calls have *slots* on the time axis, one each `Quota.interval`. A call takes the first slot that is neither taken nor
past, and may go ahead of it by `Quota.tolerance`, which is what makes a burst: after a pause, ``burst`` calls go at
once. So in any stretch of T seconds go ``burst + rate * T`` calls at most. All that has to be kept is where the next
slot is: no bucket to fill, no timer, no list of past calls.

A slot is taken before the wait for it, so that each who waits knows for how long, and waits in the order of arrival.
Who does not wait to the end gives the slot back. It cannot move those behind it up, for they sleep already; the next
to come takes it. A slot that nobody took in time is gone, or two would go at once.
"""

from __future__ import annotations

from bisect import insort
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from attrs import define, field

from formation.clock import monotonic
from formation.resilience.checks import count, positive
from formation.resilience.keyed import MOST, KeyedUntilOver

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

TICK: Final = 1e-9
"""A wait that is shorter is none: what is due in ten seconds by one sum of floats may be due a bit later by another."""


class Quota:
    """``rate`` calls in ``per`` seconds, and ``burst`` of them at once after a pause.

    Raises:
        ValueError: one is no number above 0.

    >>> quota = Quota(2, per=60, burst=3)
    >>> quota.interval, quota.tolerance
    (30.0, 60.0)
    """

    __slots__ = ("interval", "tolerance")

    def __init__(self, rate: float, per: float = 1, burst: int = 1) -> None:
        self.interval = positive("per", per) / positive("rate", rate)
        self.tolerance = (count("burst", burst) - 1) * self.interval


Taken: TypeAlias = tuple[float, float | None]
"""Seconds to wait, and the slot; without one the wait is longer than one would, and nothing is taken."""


class Turns(Protocol):
    """Where slots are kept, by key. A plain function in an async chain asks it, so it may wait with `await_`."""

    def reserve(self, key: Hashable, quota: Quota, patience: float | None, /) -> Taken:
        """Take a slot, at most ``patience`` seconds from now; ``None``: however long."""

    def give_back(self, key: Hashable, quota: Quota, slot: float, /) -> None:
        """Let somebody else have a slot. It may be lost instead, but no slot may be had twice."""


class MemoryTurns:
    """Slots in the memory of the process, which threads and tasks may share.

    A key is forgotten when all its slots are past, so nobody is let through for having been forgotten. Where there are
    more than ``most`` that are not, those who come then share, see `keyed`.

    >>> now = [0.0]
    >>> turns, quota = MemoryTurns(lambda: now[0]), Quota(4, burst=2)
    >>> [turns.reserve("a", quota, 0.5)[0] for call in range(4)]
    [0.0, 0.0, 0.25, 0.5]
    >>> turns.reserve("a", quota, 0.5)
    (0.75, None)
    """

    def __init__(self, clock: Callable[[], float] = monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._now = clock()
        # A collection may end a forgotten task, which gives its slot back, while this very thread holds the lock.
        self._lock = RLock()
        self._lines = KeyedUntilOver(lambda: _Line(self._now), lambda line: line.next <= self._now, most)

    def reserve(self, key: Hashable, quota: Quota, patience: float | None = None, /) -> Taken:
        """Take a slot, at most ``patience`` seconds from now; ``None``: however long."""
        with self._lock:
            now = self._now = self._clock()
            line = self._lines.own.get(key) or self._lines[key]  # most have one, and a call costs a tenth of it all
            free = line.free
            while free and free[0] < now:
                del free[0]
            slot = free[0] if free else now if now > line.next else line.next  # noqa: FURB136  max takes a tenth of it all
            wait = slot - quota.tolerance - now
            if wait < TICK:
                wait = 0.0
            elif patience is not None and wait > patience + TICK:
                return wait, None
            if free:
                del free[0]
            else:
                line.next = slot + quota.interval
            return wait, slot

    def give_back(self, key: Hashable, quota: Quota, slot: float, /) -> None:
        """Let the next who comes have a slot that is not past."""
        with self._lock:
            line = self._lines.get(key)
            if line is None:
                return
            near = 1.5 * quota.interval  # the slot before the next, whatever the sums of floats say
            if line.next - slot > near:
                insort(line.free, slot)
                return
            line.next = slot
            while line.free and line.next - line.free[-1] < near:
                line.next = line.free.pop()

    def booked(self) -> float:
        """Return for how many seconds from now slots are taken, for the key that has most.

        >>> turns = MemoryTurns(lambda: 0.0)
        >>> turns.reserve("a", Quota(4)), turns.reserve("a", Quota(4)), turns.booked()
        ((0.0, 0.0), (0.25, 0.25), 0.5)
        """
        with self._lock:
            now = self._clock()
            return max(0.0, max((line.next for line in self._lines.values()), default=now) - now)

    def __len__(self) -> int:
        return len(self._lines)


@define
class _Line:
    next: float
    free: list[float] = field(factory=list)  # slots given back, the earliest first
