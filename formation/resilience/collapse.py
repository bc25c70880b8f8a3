"""Collapse: of requests that come at the same time for what can be shared, one goes, and the others look again.

Theory of operation
-------------------
Who waits for whom is in `together`, but what a trip brings is not handed over: who has waited looks into the store,
where he finds only what is meant for him. So what is private reaches nobody else, whoever waits for it.

What is brought is one of four outcomes: `STORED`, look again; `PASS`, it is not to be shared, everybody goes for
himself; `ALONE`, the same, for it has failed; and none, for who went was cancelled, so one of the others goes next.
What is not to be shared is remembered for `PASSING` seconds: those who come then do not wait for each other
("hit-for-pass").

Who waits does so for `PATIENCE` seconds at most: the body of who went passes at the speed of its own client.

>>> collapse, mine, yours = Collapse(clock=lambda: 0.0), Trip(), Trip()
>>> collapse.join("tea", mine) is mine, collapse.join("tea", yours) is mine
(True, True)
>>> collapse.land("tea", mine, PASS)
>>> collapse.passes("tea")
True
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from formation.clock import monotonic
from formation.resilience.together import Together, Trip

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 5.0
"""Seconds, as nginx has them (``proxy_cache_lock_timeout``)."""

PASSING: Final = 120.0
"""Seconds, as Varnish has them for what cannot be stored."""

_PASSED: Final = 10_000  # keys remembered; of some hundred bytes each, that is a megabyte or two

STORED: Final = "stored"
PASS: Final = "pass"  # noqa: S105  no password

ALONE: Final = "alone"

Outcome: TypeAlias = Literal["stored", "pass", "alone"] | None


class Collapse:
    """The trips that are under way. Threads and tasks share it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._together = Together()
        # A collection may end a forgotten response, whose trip lands, while this very thread holds the lock.
        self._lock = RLock()
        self._passed: OrderedDict[str, float] = OrderedDict()

    def passes(self, key: str) -> bool:
        """Tell whether there is no point in waiting: what is brought for ``key`` is not to be shared."""
        if self._passed:
            with self._lock:
                if (until := self._passed.get(key)) is not None:
                    if self._clock() < until:
                        return True
                    self._passed.pop(key, None)
        return False

    def join(self, key: str, mine: Trip) -> Trip:
        """Return the trip for ``key``: the one that is under way, or ``mine``, which is then to be made, and landed."""
        return self._together.join(key, mine)

    def land(self, key: str, trip: Trip, outcome: Outcome) -> None:
        """Let those go on who wait. Landing twice does nothing."""
        with self._lock:
            if trip.brought is None:
                trip.brought = outcome
            if outcome is PASS:
                self._passed[key] = self._clock() + PASSING
                self._passed.move_to_end(key)
                if len(self._passed) > _PASSED:
                    self._passed.popitem(last=False)
        self._together.end(key, trip)

    def __len__(self) -> int:
        return len(self._together)
