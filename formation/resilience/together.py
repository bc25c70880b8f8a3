"""Together: of those who ask for the same thing at the same time one goes, and the others get what it brings.

Unlike `formation.resilience.flight.Flight`, which fills one cache, nothing is kept: what was brought, an error too, is
for those who were waiting. Who comes later goes anew.

Who comes makes a `Trip` first and ends it whatever happens: so an interrupt leaves nobody behind who waits for a trip
that nobody makes.

>>> together, mine, yours = Together(), Trip(), Trip()
>>> together.join("tea", mine) is mine, together.join("tea", yours) is mine
(True, True)
>>> together.land("tea", mine), together.join("tea", yours) is yours
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

    def join(self, key: Hashable, mine: Trip) -> Trip:
        """Return the trip for ``key``: the one that is under way, or ``mine``, which is then to be made."""
        with self._lock:
            trip = self._trips.setdefault(key, mine)
            if trip is not mine:
                trip.is_followed = True
            return trip

    def land(self, key: Hashable, mine: Trip) -> bool:
        """Let nobody join from now on; tell whether anybody has. Then say what was ``brought``, and `end` it."""
        with self._lock:
            if self._trips.get(key) is mine:
                del self._trips[key]
            return mine.is_followed

    def end(self, key: Hashable, mine: Trip) -> None:
        """Let those who have joined go on. A second time, and for a trip that was not made, it does nothing."""
        self.land(key, mine)
        mine.signal.set()

    def __len__(self) -> int:
        return len(self._trips)
