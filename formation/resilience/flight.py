"""Single flight: one value that many want, and nobody has yet. One makes it, the others wait until it is there.

It is for a value that is kept, such as a token of OAuth 2: whoever has waited looks where it is kept. If the one that
makes it has failed, or was cancelled, there is nothing to be found, so one of those who look makes it next. Who waits,
and how, is in `together`.

>>> flight, kept = Flight(), []
>>> def make():
...     kept.append("token")
...     return "token"
>>> flight.do(make, lambda: kept[0] if kept else None), flight.do(make, lambda: kept[0] if kept else None), kept
('token', 'token', ['token'])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from formation.clock import monotonic
from formation.errors import DeadlineExceeded
from formation.resilience.together import Together, Trip

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Flight(Generic[T]):
    """Makes a value once for all who ask for it at the same time."""

    def __init__(self) -> None:
        self._together = Together()

    def do(self, make: Callable[[], T], landed: Callable[[], T | None], until: float | None = None) -> T:
        """Return what ``landed()`` finds, else what ``make()`` makes; of callers at the same time, one makes it.

        If the one that makes it fails or is cancelled, the error is its own, and the next one tries.

        Args:
            make: makes the value, and sees to it that ``landed`` finds it.
            landed: looks for it; ``None``: there is none.
            until: monotonic time until which to wait for others; ``make`` has to keep its own.

        Raises:
            DeadlineExceeded: that time has come, and the one who makes it is still at it.
        """
        while (found := landed()) is None:
            mine = Trip()
            try:
                trip = self._together.join(None, mine)
                if trip is mine:
                    found = landed()  # once more: it may have come between the look and now
                    return make() if found is None else found
            finally:
                try:
                    self._together.end(None, mine)
                finally:
                    self._together.end(None, mine)  # in case an interrupt came in between
            if trip.signal.would_never_come():
                return make()
            if not trip.signal.wait(None if until is None else until - monotonic()):
                raise DeadlineExceeded("the deadline has passed while somebody else got what was needed")
        return found

    def __len__(self) -> int:
        """1 while somebody makes it, else 0."""
        return len(self._together)
