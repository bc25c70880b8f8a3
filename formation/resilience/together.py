"""Together: of those who ask for the same thing at the same time one goes, and the others wait for it.

Three middlewares need that, and what differs is what the others get when the one is back:

- of `coalesce`, what was brought, an error too, and nothing is kept: who comes later goes anew. It is made of what is
  here;
- of `oauth2_client_credentials`, a token that is kept: `flight`;
- of `cache`, a look into the store, where each finds only what is meant for him: `collapse`.

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

from formation.resilience.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Hashable


class Trip:
    """One that goes, and those who wait for it. ``brought`` is ``None`` if it came to nothing: somebody goes anew."""

    __slots__ = ("brought", "is_followed", "signal")

    def __init__(self) -> None:
        self.signal = Signal()
        self.is_followed = False
        self.brought: Any = None

    def wait(self, seconds: float) -> bool:
        """Wait until it is over; tell whether it is. In the very thread that it stands still in, it never would be."""
        return not self.signal.would_never_come() and self.signal.wait(seconds)


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
        """Let nobody join from now on; tell whether anybody has. Who lands then sets ``brought``, and calls `end`."""
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
