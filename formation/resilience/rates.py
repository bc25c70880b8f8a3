"""Limits of a server: so many requests in so much time, for each client. Several at once are one: all allow, or none.

Theory of operation
-------------------
There are three ways to count, and each looks at any stretch of time, not at the minute of the clock: at the edge of a
minute twice as many would get through.

- ``gcra``: after a pause ``burst`` go at once, and then one each ``per / amount`` seconds. In any window go
  ``amount + burst`` at most. One number for each client.
- ``moving-window``: in any window go ``amount`` at most, and as many as that if they are asked for. A time for each.
- ``sliding-window-counter``: in any window go ``amount`` at most; who asks for more has to wait up to a tenth of the
  window longer. Eleven pairs at most.

How each counts is in `counters`. Times are whole nanoseconds, so that who comes back after exactly the time told is let
in, and nobody before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

from attrs import frozen

from formation.clock import monotonic
from formation.resilience.checks import count
from formation.resilience.counters import Counter, Parts, Slots, Times
from formation.resilience.keyed import MOST, KeyedUntilOver

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

Strategy: TypeAlias = Literal["gcra", "moving-window", "sliding-window-counter"]

TIMES: Final = 2_000_000
"""Times kept of all clients: some 100 MB. Where each may have thousands, fewer clients have them to themselves."""

_S: Final = 1_000_000_000
_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_SHORT: Final = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day"}
_limit = re.compile(r"\s*(\d{1,9})\s*(?:/|per\b)\s*(\d{1,4})?\s*([a-z]+?)s?\s*", re.ASCII | re.IGNORECASE).fullmatch


@frozen
class Limit:
    """``amount`` requests in ``per`` seconds. ``name``: as it was written, without spaces."""

    amount: int
    per: int
    name: str


def limits_of(written: str | Iterable[str]) -> tuple[Limit, ...]:
    """Read limits: ``"100/minute"``, ``"10/second; 100 per 5 minutes"``, or a list of such.

    Raises:
        ValueError: one of them cannot be read, is nothing at all, or there is none.
        TypeError: it is no text.

    >>> [(limit.amount, limit.per, limit.name) for limit in limits_of("10/second; 100 per 5 minutes")]
    [(10, 1, '10/second'), (100, 300, '100/5minutes')]
    """
    if isinstance(written, str):
        written = re.split("[;,]", written)
    if not isinstance(written, Iterable):
        raise TypeError(f"expected limits such as '100/minute', got {written!r}")
    limits = tuple(map(_read, written))
    if not limits:
        raise ValueError("expected limits such as '100/minute', got none")
    if len({limit.name for limit in limits}) < len(limits):
        raise ValueError(f"expected each limit once, got {', '.join(limit.name for limit in limits)!r}")
    return limits


def _read(written: str) -> Limit:
    if not isinstance(written, str):
        raise TypeError(f"expected a limit such as '100/minute', got {written!r}")
    found = _limit(written)
    unit = found and (_SHORT.get(found[3].lower()) or found[3].lower())
    if not found or unit not in _UNITS or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise ValueError(f"expected a limit such as '100/minute' or '5/10 seconds', got {written!r}")
    amount, many = int(found[1]), int(found[2] or 1)
    return Limit(amount, many * _UNITS[unit], f"{amount}/{unit}" if many == 1 else f"{amount}/{many}{unit}s")


class Standing(NamedTuple):
    """How a client stands to one limit, after a request. ``left``: how many more it lets in now.

    ``wait``: seconds until it lets one in, 0 where some are left. ``full``: until all that there can be are left.
    """

    wait: float
    left: int
    full: float


class Verdict(NamedTuple):
    """Whether a request is let in, and how its client stands to each limit after it."""

    is_let_in: bool
    standings: Sequence[Standing]


class Rates(Protocol):
    """Where requests are counted, by client. A plain function in an async chain asks it, so it may wait."""

    def hit(self, key: Hashable, /) -> Verdict:
        """Count a request if all limits let it in; if one does not, count nothing."""


class MemoryRates:
    """Requests counted in the memory of the process, which threads and tasks may share.

    A client is forgotten when all of his limits are full again; the number of clients is limited, see `keyed`.

    Args:
        limits: all must let a request in.
        strategy: how to count.
        burst: with ``gcra``, how many go at once, and no more than a limit's amount; ``None``: that.
        clock: seconds that nobody can set.
        most: clients that are counted each for himself.

    Raises:
        ValueError: another strategy, or no such burst.

    >>> now = [0.0]
    >>> rates = MemoryRates(limits_of("2/minute"), clock=lambda: now[0])
    >>> rates.hit("a"), rates.hit("a").is_let_in, rates.hit("a").is_let_in
    (Verdict(is_let_in=True, standings=[Standing(wait=0.0, left=1, full=30.0)]), True, False)
    >>> rates.hit("a").standings
    [Standing(wait=30.0, left=0, full=60.0)]
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        strategy: Strategy = "gcra",
        burst: int | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        most: int | None = None,
    ) -> None:
        make = counter_of(strategy, burst)
        self._clock = clock
        self._now = 0
        # A collection may run something that asks here, while this very thread holds the lock.
        self._lock = RLock()
        if most is None:
            times = max(limit.amount for limit in limits) if strategy == "moving-window" else 1
            most = min(MOST, TIMES // times + 1)
        self._clients = KeyedUntilOver(
            lambda: [make(limit) for limit in limits],
            lambda counters: all(counter.full(self._now) <= 0 for counter in counters),
            most,
        )

    def hit(self, key: Hashable, /) -> Verdict:
        """Count a request if all limits let it in; if one does not, count nothing."""
        with self._lock:
            now = self._now = round(self._clock() * _S)
            counters = self._clients[key]
            is_let_in = all(counter.wait(now) <= 0 for counter in counters)
            if is_let_in:
                for counter in counters:
                    counter.take(now)
            return Verdict(
                is_let_in,
                [
                    Standing(max(each.wait(now), 0) / _S, each.left(now), max(each.full(now), 0) / _S)
                    for each in counters
                ],
            )

    def __len__(self) -> int:
        return len(self._clients)


def counter_of(strategy: str, burst: int | None) -> Callable[[Limit], Counter]:
    """Return what makes the counter of a limit.

    Raises:
        ValueError: another strategy, or no such burst.
    """
    if burst is not None:
        count("burst", burst)
        if strategy != "gcra":
            raise ValueError(f"expected burst with strategy 'gcra' only, got burst={burst!r} with {strategy!r}")
    if strategy == "fixed-window":
        raise ValueError(
            "expected strategy 'gcra', 'moving-window' or 'sliding-window-counter', got 'fixed-window', which lets "
            "twice the limit through around the end of a window"
        )
    if strategy == "gcra":
        return lambda limit: Slots(limit.amount, limit.per * _S, min(burst or limit.amount, limit.amount))
    if strategy == "moving-window":
        return lambda limit: Times(limit.amount, limit.per * _S)
    if strategy == "sliding-window-counter":
        return lambda limit: Parts(limit.amount, limit.per * _S)
    raise ValueError(f"expected strategy 'gcra', 'moving-window' or 'sliding-window-counter', got {strategy!r}")
