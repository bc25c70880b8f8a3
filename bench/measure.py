"""Time several ways to do the same in one run, and put the ratios into a table.

A *timer* is a function that does something so many times and returns the seconds that took.

A machine has other things to do, and its clock speed changes. So the candidates take turns in many short rounds, and
what counts is the median of what one round says: each candidate has had the same neighbours.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

K = TypeVar("K")

ROUND = 0.002  # seconds: long beside the clock's resolution, short beside what disturbs
ROUNDS = 150  # of each candidate, so that a row takes a few seconds


def calls(fn: Callable[[Any], Any], ctx: Any = None) -> Callable[[int], float]:
    """Time ``fn(ctx)``."""

    def timer(count: int) -> float:
        rounds = range(count)
        started = perf_counter()
        for _ in rounds:
            fn(ctx)
        return perf_counter() - started

    return timer


def awaits(fn: Callable[[Any], Awaitable[Any]], ctx: Any = None) -> Callable[[int], float]:
    """Time ``await fn(ctx)``, for what never really waits: there is no event loop."""

    async def loop(count: int) -> float:
        rounds = range(count)
        started = perf_counter()
        for _ in rounds:
            await fn(ctx)
        return perf_counter() - started

    def timer(count: int) -> float:
        try:
            loop(count).send(None)
        except StopIteration as stop:
            return float(stop.value)
        raise RuntimeError("what is timed without an event loop must not wait")

    return timer


def rounds(candidates: Mapping[K, Callable[[int], float]], count: int = ROUNDS) -> dict[K, list[float]]:
    """Let the candidates take turns; return the seconds of one call, for each candidate and round."""
    sizes = {name: _size(timer) for name, timer in candidates.items()}
    seconds: dict[K, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(count):
            for name in order:
                seconds[name].append(candidates[name](sizes[name]) / sizes[name])
            order.append(order.pop(0))
            gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return seconds


def _size(timer: Callable[[int], float]) -> int:
    """How many calls make a round; getting there also warms up."""
    timer(1)  # the first call connects, loads and compiles: it says nothing about the others
    size = 1
    while (seconds := timer(size)) < ROUND / 4:
        size *= 4
    return max(1, round(size * ROUND / seconds))


@dataclass(frozen=True)
class Row:
    """One line of a table: ``what`` was done, the seconds that took ``ours``, and those of a ``peer``.

    Both are lists with an entry for each round. ``at_most`` is the bar for the ratio, ours by theirs, and ``limit`` the
    one for our seconds.
    """

    what: str
    ours: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = ()
    at_most: float | None = None
    limit: float | None = None

    @property
    def seconds(self) -> float:
        """What one of ours takes."""
        return median(self.ours)

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        return (
            median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)) if self.theirs else None
        )

    @property
    def verdict(self) -> str:
        """Say ``ok`` or ``over``, or nothing where there is no bar."""
        if self.at_most is None and self.limit is None:
            return ""
        is_over = self.limit is not None and self.seconds > self.limit
        is_over |= self.at_most is not None and self.ratio is not None and self.ratio > self.at_most
        return "over" if is_over else "ok"

    def cells(self) -> tuple[str, ...]:
        """The cells of the line."""
        bars = [f"<= {self.at_most:.2f}"] if self.at_most is not None else []
        bars += [f"<= {in_units(self.limit)}"] if self.limit is not None else []
        return (
            self.what,
            in_units(self.seconds),
            self.peer,
            in_units(median(self.theirs)) if self.theirs else "",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            ", ".join(bars),
            self.verdict,
        )


def in_units(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.1f} ns"


def table(rows: Sequence[Row]) -> str:
    """Put the rows under each other; numbers to the right."""
    lines = [("", "Formation", "beside", "", "ratio", "bar", ""), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pads = [str.ljust, str.rjust, str.ljust, str.rjust, str.rjust, str.ljust, str.ljust]
    return "\n".join(
        "  ".join(pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)).rstrip()
        for line in lines
    )
