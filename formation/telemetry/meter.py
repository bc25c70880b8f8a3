"""What a chain does: how often it is called, how long that takes and what comes of it, the last minute of it.

Theory of operation
-------------------
Memory is fixed, whatever comes. Time goes in *slices* of ten seconds, six of them, which are used again and again, and
the latencies in a slice are counted in *buckets*, each a tenth wider than the one before: so a percentile is off by 5 %
at most, as with the log-linear histograms of Hystrix and HDR. For the picture of the last minute there is also a row of
sixty *seconds*, with two numbers each. Nobody moves anything as time goes by: a slice and a second say of which time
they are, and what is older says nothing.

There is one *row* for all calls and one for each template, up to `TEMPLATES`; the rest share one that is called other.

*Samples.* Of each second one call is kept as an example, one that took several attempts, and one that went badly: the
attempts are a small waterfall.

Nothing counts until somebody watches: see `Watch`.
"""

from __future__ import annotations

from collections import deque
from math import inf, log
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

SLICE: Final = 10
"""Seconds of a slice."""

SLICES: Final = 6
"""A minute in all, as Hystrix had it for its percentiles; then a sixth at most is forgotten at once."""

SECONDS: Final = 60
"""Of the picture."""

LEAST: Final = 1e-5
"""Seconds up to which a latency is in the first bucket: no call over a network takes less."""

_GROWTH: Final = 1 / log(1.1)

BUCKETS: Final = 194
"""From `LEAST` to a thousand seconds; what takes longer is in the last one."""

TEMPLATES: Final = 16
"""Templates of a chain with a row of their own: a screen of them, and 100 KB at most."""

SAMPLES: Final = 8
"""Calls kept as examples, for each chain."""

OTHER: Final = "other"

OUTCOMES: Final = ("ok", "degraded", "failed", "rejected", "deadline", "cancelled")
"""What can come of a call, in the words of `request_logger`."""

_INDEX: Final = {outcome: index for index, outcome in enumerate(OUTCOMES)}

BAD: Final = frozenset({"failed", "rejected", "deadline"})
"""Outcomes without an answer that is of use."""


class Sample(NamedTuple):
    """A call as an example.

    ``ended``: seconds since 1970. ``name``: of what was called, with no path and no query. ``took``: seconds.
    ``status``: of the response, ``error``: the type of the error, or ``None``. ``attempts``: for each the seconds slept
    before it, those it took, its status and the type of its error.
    """

    ended: float
    name: str
    outcome: str
    took: float
    status: int | None
    error: str | None
    attempts: tuple[tuple[float, float, int | None, str | None], ...]


class Sums(NamedTuple):
    """What a row says of the last minute. ``outcomes`` as `OUTCOMES`; the percentiles are seconds, or ``None``."""

    calls: int
    outcomes: tuple[int, ...]
    p50: float | None
    p90: float | None
    p99: float | None


def bucket(seconds: float) -> int:
    """Return the bucket of a latency.

    >>> bucket(0), bucket(0.1), bucket(0.11), bucket(1e9)
    (0, 96, 97, 193)
    """
    return 0 if seconds <= LEAST else min(int(log(seconds / LEAST) * _GROWTH), BUCKETS - 1)


def middle(at: int) -> float:
    """Return the seconds in the middle of a bucket.

    >>> round(middle(bucket(0.1)), 2)
    0.1
    """
    return LEAST * float(1.1 ** (at + 0.5))


class Row:
    """Counts of the last minute, in slices. Its user locks."""

    __slots__ = ("_slices",)

    def __init__(self) -> None:
        self._slices: list[tuple[int, list[int], list[int]] | None] = [None] * SLICES

    def add(self, number: int, outcome: int, at: int) -> None:
        """Count a call in the slice of that number, with the outcome and the bucket of those indices."""
        found = self._slices[number % SLICES]
        if found is None or found[0] != number:
            found = self._slices[number % SLICES] = (number, [0] * len(OUTCOMES), [0] * BUCKETS)
        found[1][outcome] += 1
        found[2][at] += 1

    def sums(self, now: float) -> Sums:
        """Add the slices up that are not too old."""
        oldest = int(now) // SLICE - SLICES
        found = [each for each in self._slices if each is not None and each[0] > oldest]
        outcomes = tuple(map(sum, zip(*(each[1] for each in found), strict=True))) or (0,) * len(OUTCOMES)
        latencies = [sum(counts) for counts in zip(*(each[2] for each in found), strict=True)]
        return Sums(sum(outcomes), outcomes, *quantiles(latencies, (0.5, 0.9, 0.99)))


def quantiles(counts: list[int], parts: tuple[float, ...]) -> list[float | None]:
    """Return for each of ``parts`` the latency that so many calls stay below; the parts rise.

    >>> [seconds and round(seconds, 1) for seconds in quantiles([0] * 96 + [98] + [0] * 24 + [2], (0.5, 0.99))]
    [0.1, 1.1]
    >>> quantiles([], (0.5,))
    [None]
    """
    total = sum(counts)
    if not total:
        return [None] * len(parts)
    found: list[float | None] = []
    seen, at = 0, -1
    for part in parts:
        while seen < part * total:
            at += 1
            seen += counts[at]
        found.append(middle(at))
    return found


class Meter:
    """Counts the calls of a chain. Threads may share it.

    Args:
        name: that somebody has given to the chain; ``None``: what the first call says.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(self, name: str | None, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.name = name
        self.side = ""
        self.clock = clock
        self.under_way = 0
        self.last = -inf
        self.retries = 0
        self.cache = [0, 0]
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._now = now
        self._all = Row()
        self._templates: dict[str, Row] = {}
        self._seconds = [[-1, 0, 0] for _ in range(SECONDS)]  # which, its calls, those that went badly
        self._sampled = [-1, -1, -1]
        # A collection may end a forgotten task, which is counted, while this very thread holds the lock.
        self._lock = RLock()

    def begin(self) -> None:
        """Count a call that begins."""
        with self._lock:
            self.under_way += 1

    def end(self, started: float, outcome: str, template: str | None, retries: int, cache: bool | None) -> bool:  # noqa: FBT001
        """Count it when it ends; tell whether it is wanted as an example.

        Args:
            started: by the clock.
            outcome: one of `OUTCOMES`; another one is as if it were cancelled.
            template: whose row it is in; ``None``: none.
            retries: attempts besides the first.
            cache: whether it was answered from a cache; ``None``: no cache was asked.
        """
        now = self.clock()
        second, is_bad, index = int(now), outcome in BAD, _INDEX.get(outcome, len(OUTCOMES) - 1)
        number, at = second // SLICE, bucket(now - started)
        with self._lock:
            self.under_way -= 1
            self.last = now
            self._all.add(number, index, at)
            if template is not None:
                (self._templates.get(template) or self._row(template)).add(number, index, at)
            of = self._seconds[second % SECONDS]
            if of[0] != second:
                of[:] = second, 0, 0
            of[1] += 1
            of[2] += is_bad
            if retries:
                self.retries += retries
            if cache is not None:
                self.cache[cache] += 1
            kind = 2 if is_bad else retries > 0
            if self._sampled[kind] == second:
                return False
            self._sampled[kind] = second
            return True

    def keep(self, started: float, **said: Any) -> None:
        """Keep an example."""
        self.samples.append(Sample(ended=self._now(), took=self.clock() - started, **said))

    def _row(self, template: str) -> Row:
        return self._templates.setdefault(template if len(self._templates) < TEMPLATES else OTHER, Row())

    def sums(self) -> Sums:
        """Return what all calls of the last minute come to."""
        with self._lock:
            return self._all.sums(self.clock())

    def templates(self) -> list[tuple[str, Sums]]:
        """Return the same for each template, the one that is called most first."""
        with self._lock:
            now = self.clock()
            found = [(name, row.sums(now)) for name, row in self._templates.items()]
        return sorted((each for each in found if each[1].calls), key=lambda each: -each[1].calls)

    def seconds(self) -> list[tuple[int, int]]:
        """Return the calls, and those that went badly, of each of the last sixty full seconds, the last one last."""
        with self._lock:
            now = int(self.clock())
            kept = {at: (calls, bad) for at, calls, bad in self._seconds}
        return [kept.get(second, (0, 0)) for second in range(now - SECONDS + 1, now)]


class Watch:
    """Whether somebody watches: a dashboard, until it is closed. Nothing is counted before the first one comes."""

    def __init__(self) -> None:
        self.is_on = False
        self._watchers: WeakSet[Any] = WeakSet()

    def begin(self, watcher: object) -> None:
        """Count from now on."""
        self._watchers.add(watcher)
        self.is_on = True

    def end(self, watcher: object) -> None:
        """Stop, if nobody else watches."""
        self._watchers.discard(watcher)
        self.is_on = bool(self._watchers)


watch: Final = Watch()
"""Of the process."""
