"""Requests that have waited too long before anybody looked at them: how long, and whether that is more than a burst.

Theory of operation
-------------------
A proxy that passes a request on says when it got it (`HEADER`); the difference to now is its age, the time in queues
that nobody else sees. A burst makes a queue, which is what queues are for: when it is over, they are empty again. A
queue that stands is of no use to anybody. So what counts is not how old a request is, but whether *every* request has
been too old for a whole interval (Nichols and Jacobson, "Controlling Queue Delay", 2012). As soon as one is in time,
the queue has been empty, and the interval begins anew.
"""

from __future__ import annotations

import re
from threading import RLock
from typing import Final

from formation.resilience.checks import positive, seconds

HEADER: Final = "X-Request-Start"
"""When a proxy got the request: ``t=`` and seconds, milliseconds or microseconds since 1970, with or without ``t=``."""

MOST: Final = 3600.0
"""Seconds above which an age is a clock that is wrong."""

_started = re.compile(r"(?:t=)?([0-9]{9,16}(?:\.[0-9]{1,9})?)", re.ASCII).fullmatch
_UNITS: Final = ((1e14, 1e6), (1e11, 1e3), (0.0, 1.0))  # from so many on it is a number of so many a second


def age(said: str, now: float) -> float | None:
    """Return the seconds since the time that the header says; ``None`` if it says nothing that can be.

    Args:
        said: the value of the header.
        now: seconds since 1970.

    >>> age("t=1512379167.5", 1512379168.0), age("1512379167500", 1512379168.0), age("t=1512379167500000", 1512379168.0)
    (0.5, 0.5, 0.5)
    >>> age("soon", 1512379168.0), age("t=1512379168.5", 1512379168.0)
    (None, 0.0)
    """
    found = _started(said.strip())
    if found is None:
        return None
    number = float(found[1])
    waited = now - next(number / unit for least, unit in _UNITS if number >= least)
    return max(waited, 0.0) if waited <= MOST else None


class StandingQueue:
    """Tells whether a queue stands, which threads and tasks may share.

    Args:
        target: seconds that a request may have waited.
        interval: seconds for which all of them may have waited longer.

    >>> queue = StandingQueue(0.1, 1.0)
    >>> [queue.is_too_old(now, 0.2) for now in (0.0, 0.5, 1.0, 1.5)]
    [False, False, True, True]
    >>> queue.is_too_old(1.6, 0.05), queue.is_too_old(1.7, 0.2)
    (False, False)
    """

    __slots__ = ("_interval", "_last", "_lock", "_since", "_target")

    def __init__(self, target: float, interval: float) -> None:
        self._target = seconds("target", target)
        self._interval = positive("interval", interval)
        self._since: float | None = None  # all have been too old
        self._last = 0.0
        self._lock = RLock()

    def is_too_old(self, now: float, waited: float) -> bool:
        """Tell whether a request that has waited so long is not worth the work any more."""
        with self._lock:
            if waited <= self._target:
                self._since = None
                return False
            if self._since is None or now - self._last > self._interval:  # of the time without any nothing is known
                self._since = now
            self._last = now
            return now - self._since >= self._interval
