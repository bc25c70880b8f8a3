"""What a check has found: a line of the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Line:
    """``what`` was measured, what it was for ``ours``, and for others.

    ``bar`` is what it may be, and ``ok`` whether it is. What is ``timed`` goes by the machine's clock, and so belongs
    to the machine and to its neighbours.
    """

    check: str
    what: str
    bar: str
    ours: str
    ok: bool
    beside: dict[str, str] = field(default_factory=dict)
    timed: bool = False

    def cells(self) -> tuple[str, ...]:
        """The cells of the line."""
        beside = "; ".join(f"{who} {what}" for who, what in self.beside.items())
        return self.check, self.what, self.bar, self.ours, beside, "pass" if self.ok else "FAIL"


HEAD = ("", "what", "bar", "Formation", "beside", "")


def table(lines: Sequence[Line]) -> str:
    """Put them under each other."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(lines: Iterable[Line]) -> str:
    """Make a table for a page."""
    rows = [HEAD[:-1], ("---",) * 5, *(line.cells()[:-1] for line in lines)]
    return "\n".join("| " + " | ".join(cell or " " for cell in row) + " |" for row in rows)


def least(measure: Callable[[], float], tries: int = 3) -> float:
    """Return the shortest of some times by the machine's clock: what its neighbours do can only add to them."""
    return min(measure() for _ in range(tries))


def times(number: float) -> str:
    """Write a factor."""
    return f"{number:.3f}×" if number < 1.1 else f"{number:.2f}×"


def percent(number: float) -> str:
    """Write a part of the whole."""
    return f"{100 * number:.1f} %"


def millis(seconds: float) -> str:
    """Write a time."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
