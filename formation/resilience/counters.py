"""Three ways to count the requests of one client under one limit, in whole nanoseconds, so that sums are exact."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Protocol

from attrs import define, field

PARTS: Final = 10
"""Of a window: who uses up his limit has to wait a tenth longer at most, and eleven are soon looked through."""


class Counter(Protocol):
    """The requests of one client under one limit. ``now`` never goes back."""

    def wait(self, now: int, /) -> int:
        """Return the time until a request is let in; 0 and less: now."""

    def left(self, now: int, /) -> int:
        """Return how many are let in now."""

    def full(self, now: int, /) -> int:
        """Return the time until there is nothing to remember; 0 and less: now."""

    def take(self, now: int, /) -> None:
        """Count a request that was let in."""


@define
class Slots:
    """Slots on the time axis, as in `turns`. ``next`` is multiplied by ``amount``: so the time between two is whole.

    >>> slots = Slots(amount=3, per=10, burst=2)
    >>> [slots.take(0) for request in range(2)], slots.wait(0), slots.left(0), slots.wait(4)
    ([None, None], 4, 0, 0)
    """

    amount: int
    per: int
    burst: int
    next: int = 0

    def wait(self, now: int) -> int:
        """Return the time until a request is let in."""
        return -((now * self.amount + (self.burst - 1) * self.per - self.next) // self.amount)

    def left(self, now: int) -> int:
        """Return how many are let in now."""
        return max(self.burst - (max(self.next - now * self.amount, 0) + self.per - 1) // self.per, 0)

    def full(self, now: int) -> int:
        """Return the time until all slots are past."""
        return -((now * self.amount - self.next) // self.amount)

    def take(self, now: int) -> None:
        """Take a slot."""
        self.next = max(self.next, now * self.amount) + self.per


@define
class Times:
    """The time of each request in the window.

    >>> times = Times(amount=2, per=10)
    >>> times.take(0), times.take(3), times.wait(4), times.left(10), times.full(10)
    (None, None, 6, 1, 3)
    """

    amount: int
    per: int
    times: list[int] = field(factory=list)

    def wait(self, now: int) -> int:
        """Return the time until a request is let in."""
        return self.times[-self.amount] + self.per - now if len(self.times) >= self.amount else 0

    def left(self, now: int) -> int:
        """Return how many are let in now."""
        return max(self.amount - len(self.times) + bisect_right(self.times, now - self.per), 0)

    def full(self, now: int) -> int:
        """Return the time until the last is out of the window."""
        return self.times[-1] + self.per - now if self.times else 0

    def take(self, now: int) -> None:
        """Keep the time, and forget those out of the window."""
        del self.times[: bisect_right(self.times, now - self.per)]
        self.times.append(now)


@define
class Parts:
    """Requests counted together for a tenth of the window, from the first of them; the last one's time is that of all.

    So none is forgotten too early. The usual counter, which weighs the window before by what is left of it, lets nearly
    twice the amount through: all of it at the end of one window, and again before the end of the next.

    >>> parts = Parts(amount=2, per=10)
    >>> parts.take(0), parts.take(0), parts.wait(4), parts.left(4), parts.full(4)
    (None, None, 6, 0, 6)
    """

    amount: int
    per: int
    parts: list[list[int]] = field(factory=list)  # the first time, the last, how many

    def wait(self, now: int) -> int:
        """Return the time until a request is let in."""
        left, end = self.left(now), now
        for _, last, many in self.parts:
            if left > 0:
                break
            if last + self.per > now:
                left, end = left + many, last + self.per
        return end - now

    def left(self, now: int) -> int:
        """Return how many are let in now."""
        return max(self.amount - sum(many for _, last, many in self.parts if last + self.per > now), 0)

    def full(self, now: int) -> int:
        """Return the time until the last is out of the window."""
        return self.parts[-1][1] + self.per - now if self.parts else 0

    def take(self, now: int) -> None:
        """Count it, and forget the parts out of the window."""
        self.parts = [part for part in self.parts if part[1] + self.per > now]
        if self.parts and (now - self.parts[-1][0]) * PARTS < self.per:
            self.parts[-1][1] = now
            self.parts[-1][2] += 1
        else:
            self.parts.append([now, now, 1])
