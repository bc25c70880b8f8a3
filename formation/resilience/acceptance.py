"""How many of the calls of the last while were accepted, and how many of the next not to make: SRE client throttling.

Theory of operation
-------------------
An endpoint that has too much to do spends what it has on saying no. So its clients count, each for itself, what they
ask and what is accepted, in a window that moves. As long as ``requests <= k * accepts`` all is well; above that, a call
is not made, with the probability ``(requests - k * accepts) / (requests + 1)``. Calls that were not made count as
requests: as long as the callers want more, the clients ask no more than ``k`` times what is accepted ("Handling
Overload", in *Site Reliability Engineering*, O'Reilly, 2016).

*A request counts before it is made*, else a burst would be made before the first no. What comes of it counts for the
time at which it was made, so that both leave the window together. *The probability stays below 1*: an endpoint that is
back is found by the calls that are made all the same.
"""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import Final

from formation.resilience.checks import positive

BUCKETS: Final = 10
"""Parts of the window: it moves by a tenth at a time."""


class Bucket:
    """A part of the window. ``requests`` and ``accepts`` are of the calls that were made in it."""

    __slots__ = ("accepts", "counts", "number", "requests")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = True  # until it has left the window
        self.requests = self.accepts = 0


class Acceptance:
    """Counts requests and what of them was accepted, which threads and tasks may share.

    Args:
        k: requests for each that is accepted, before any is refused.
        window: seconds that count.
        most: the highest probability.
        min_rate: requests in a second below which it is 0.

    Raises:
        ValueError: ``k`` below 1, ``most`` not from 0 to below 1, another number that cannot be.

    >>> counts = Acceptance(2, window=30, most=0.9, min_rate=0.1)
    >>> for call in range(10):
    ...     refusal, bucket = counts.request(now=0.0)
    >>> round(refusal, 3)
    0.9
    >>> for call in range(4):
    ...     counts.accept(bucket)
    >>> counts.request(now=0.0)[0], counts.request(now=31.0)[0]
    (0.18181818181818182, 0.0)
    """

    __slots__ = ("_buckets", "_k", "_least", "_lock", "_most", "_width", "accepts", "requests")

    def __init__(self, k: float, *, window: float, most: float, min_rate: float) -> None:
        if positive("k", k) < 1:
            raise ValueError(
                f"expected k as a number, 1 or more, got {k!r}: below, the endpoint would get less and less"
            )
        if isinstance(most, bool) or not isinstance(most, (int, float)) or not 0 <= most < 1:
            raise ValueError(f"expected max from 0 to below 1, got {most!r}: at 1, nothing would tell that it is back")
        if min_rate != 0:
            positive("min_rate", min_rate)
        self._k, self._most = k, most
        self._width = positive("window", window) / BUCKETS
        self._least = min_rate * window
        # A collection may end a forgotten task, whose call is taken back, while this very thread holds the lock.
        self._lock = RLock()
        self._buckets: deque[Bucket] = deque()
        self.requests = self.accepts = 0

    def request(self, now: float) -> tuple[float, Bucket]:
        """Count a call; return the probability with which not to make it, and what it counts for."""
        with self._lock:
            bucket, requests = self._move(now), self.requests
            refusal = 0.0
            if requests >= self._least and (excess := requests - self._k * self.accepts) > 0:
                refusal = min(excess / (requests + 1), self._most)
            bucket.requests += 1
            self.requests += 1
            return refusal, bucket

    def accept(self, bucket: Bucket) -> None:
        """Count what has come of it."""
        with self._lock:
            if bucket.counts:
                bucket.accepts += 1
                self.accepts += 1

    def take_back(self, bucket: Bucket) -> None:
        """Forget a call, for nobody knows what would have come of it."""
        with self._lock:
            if bucket.counts:
                bucket.requests -= 1
                self.requests -= 1

    def _move(self, now: float) -> Bucket:
        """Forget what has left the window; return the part of it that is now."""
        number, buckets = int(now // self._width), self._buckets
        while buckets and buckets[0].number <= number - BUCKETS:
            old = buckets.popleft()
            old.counts = False
            self.requests -= old.requests
            self.accepts -= old.accepts
        if not buckets or buckets[-1].number < number:
            buckets.append(Bucket(number))
        return buckets[-1]
