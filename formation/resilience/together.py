"""Together: of those who ask for the same thing at the same time one goes, and the others get what it brings.

Unlike `formation.resilience.flight.Flight`, which fills one cache, nothing is kept: what was brought, an error too, is
for those who were waiting. Who comes later goes anew.

>>> together = Together()
>>> leader, leads = together.join("tea")
>>> follower, follows = together.join("tea")
>>> leads, follows, follower is leader
(True, False, True)
>>> together.land("tea", leader), together.join("tea")[1]
(True, True)
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

from formation.resilience.flight import Signal

if TYPE_CHECKING:
    from collections.abc import Hashable


class Trip:
    """One that goes, and those who wait for it. ``brought`` is ``None`` if it came to nothing: somebody goes anew."""

    __slots__ = ("brought", "is_followed", "signal")

    def __init__(self) -> None:
        self.signal = Signal()
        self.is_followed = False
        self.brought: Any = None


class Together:
    """The trips that are under way, by what they are for. Threads and tasks share it."""

    def __init__(self) -> None:
        # A collection may end a forgotten leader, which lands, while this very thread holds the lock.
        self._lock = RLock()
        self._trips: dict[Hashable, Trip] = {}

    def join(self, key: Hashable) -> tuple[Trip, bool]:
        """Return the trip for ``key``, and whether it is one's own to make."""
        with self._lock:
            trip = self._trips.get(key)
            if trip is not None:
                trip.is_followed = True
                return trip, False
            trip = self._trips[key] = Trip()
            return trip, True

    def land(self, key: Hashable, trip: Trip) -> bool:
        """Let nobody join from now on; tell whether anybody has. Then say what was ``brought``, and set the signal."""
        with self._lock:
            del self._trips[key]
            return trip.is_followed

    def __len__(self) -> int:
        return len(self._trips)
