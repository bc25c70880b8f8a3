"""What others do, for whom there is no library in Python: rules of a few lines, run through the same `retry`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from formation.clock import monotonic
from formation.resilience.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Hashable


class Finagle(Budget):
    """Finagle's and tower's: a fifth of the calls of the last ten seconds, and ten retries in each second besides."""

    __slots__ = ("_calls", "_per_second", "_ratio", "_retries")
    SECONDS = 10.0

    def __init__(self, ratio: float = 0.2, per_second: float = 10) -> None:
        super().__init__()
        self.spent = {"always": 1}  # so that it is told of each call
        self._ratio, self._per_second = ratio, per_second
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def take(self, key: Hashable, *, throttled: bool = False) -> float:
        """Pay for a retry."""
        now = monotonic()
        for times in (self._calls, self._retries):
            while times and times[0] <= now - self.SECONDS:
                times.popleft()
        if len(self._retries) + 1 > self._ratio * len(self._calls) + self._per_second * self.SECONDS:
            return 0
        self._retries.append(now)
        return 1

    def settle(self, key: Hashable, *, paid: float, ok: bool | None) -> None:
        """Count a call."""
        self._calls.append(monotonic())


class Grpc(Budget):
    """gRPC's: ten tokens, an attempt that fails costs one, a success earns a tenth; half of them must be left."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        super().__init__()
        self.spent = {"always": 1}
        self._tokens = 10.0

    def take(self, key: Hashable, *, throttled: bool = False) -> float:
        """Pay for a retry."""
        self._tokens = max(self._tokens - 1, 0)
        return float(self._tokens > 5)

    def settle(self, key: Hashable, *, paid: float, ok: bool | None) -> None:
        """Count what has come of it."""
        self._tokens = min(self._tokens + 0.1, 10) if ok else max(self._tokens - 1, 0)


class Fixed:
    """A limit that stays what it is: what most servers have, a number of threads that somebody has chosen."""

    def __init__(self, limit: float = 200) -> None:
        self.limit = limit

    def sample(self, now: float, seconds: float, in_flight: int, *, dropped: bool) -> None:
        """Learn nothing."""
