"""How many of the last calls have failed, the last by time; in slices, so that it takes no memory for each call.

>>> window = Window(30)
>>> for second in range(40):
...     window.add(second, failed=second % 2 == 0)
>>> window.calls, window.failures
(28, 14)
"""

from __future__ import annotations

from collections import deque
from typing import Final

SLICES: Final = 10
"""Of a window: as it moves on, at most a tenth of it is forgotten at once. As resilience4j and Polly."""


class Window:
    """Counts the calls of the last seconds and those that failed. Its user locks.

    Args:
        seconds: what counts. A slice that began longer ago is forgotten whole.
    """

    __slots__ = ("_seconds", "_slices", "calls", "failures")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._slices: deque[list[float]] = deque()  # when it began, calls, failures
        self.calls = 0
        self.failures = 0

    def add(self, now: float, *, failed: bool) -> None:
        """Count a call that has ended ``now``, in monotonic seconds."""
        slices = self._slices
        while slices and now - slices[0][0] >= self._seconds:
            _, calls, failures = slices.popleft()
            self.calls -= int(calls)
            self.failures -= int(failures)
        if not slices or now - slices[-1][0] >= self._seconds / SLICES:
            slices.append([now, 0, 0])
        slices[-1][1] += 1
        slices[-1][2] += failed
        self.calls += 1
        self.failures += failed

    def clear(self) -> None:
        """Forget all."""
        self._slices.clear()
        self.calls = self.failures = 0
