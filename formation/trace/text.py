"""A trace in the terminal: a waterfall by rich, and the same in plain characters."""

from __future__ import annotations

import sys
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from formation.trace.model import Pass, Trace

WIDTH: Final = 40
"""Characters of a bar: with the names and the numbers it fits a line of 100."""

NUMBERS: Final = 26
"""Characters of the two columns of times, with the space around columns."""


@frozen
class Row:
    """A line of a waterfall.

    ``started`` and ``ended``: seconds after the call began. ``own``: seconds of its own, or ``None``. ``gaps``: when
    something below was under way. ``note``: what is to be said; ``failed``: it raised, or passed an error on.
    """

    label: str
    depth: int
    started: float
    ended: float
    own: float | None
    gaps: tuple[tuple[float, float], ...]
    note: str
    failed: bool


def rows(trace: Trace) -> list[Row]:
    """Return the lines of the waterfall, the body of the response last where it streams."""
    found = [
        Row(
            label=printable(each.layer.name),
            depth=each.depth,
            started=each.started,
            ended=each.ended,
            own=each.own,
            gaps=tuple((below.started, below.ended) for below in each.calls),
            note=note(each),
            failed=each.error is not None,
        )
        for each in trace
    ]
    if trace.streams:
        found.append(_body(trace))
    return found


def _body(trace: Trace) -> Row:
    body = trace.body
    said = "not at its end yet" if body is None else f"{body.size} bytes"
    if body is not None and body.error is not None:
        said = f"{said}, {_words(body.error)}"
    ended = max(trace.took if body is None else body.at, trace.took)
    failed = body is not None and body.error is not None
    return Row("(body)", 0, trace.took, ended, None, (), said, failed)


def note(each: Pass) -> str:
    """Say what is to be said of a pass, besides its times.

    >>> from formation.trace.model import Layer
    >>> from formation.trace.model import Pass
    >>> note(Pass(Layer("cache"), 0, 0.0, 0.1, 0.0, (), None, False))
    'answered by itself'
    """
    said = []
    if each.is_open:
        said.append("still under way")
    if each.answered_itself:
        said.append("answered by itself")
    if len(each.calls) > 1:
        said.append(f"{len(each.calls)} calls")
    if each.raised and each.error is not None:
        said.append(f"raised {_words(each.error)}")
    elif each.error is not None:
        said.append(f"passed {printable(each.error[0])} on")
    return ", ".join(said)


def _words(error: tuple[str, str]) -> str:
    return printable(": ".join(filter(None, error)))


def summary(trace: Trace) -> str:
    """Say in a line what was called and what came of it."""
    said = [printable(trace.title), seconds(trace.took)]
    if trace.status is not None:
        said.append(f"status {trace.status}")
    if len(trace.attempts) > 1:
        said.append(f"{len(trace.attempts)} attempts")
    if trace.error is not None:
        said.append(printable(trace.error[0]))
    return ", ".join(said)


def seconds(value: float) -> str:
    """Write a time in the unit that suits it.

    >>> seconds(0), seconds(0.0000042), seconds(0.0123), seconds(2.5)
    ('0.0 µs', '4.2 µs', '12.3 ms', '2.50 s')
    """
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.1f} µs"


def printable(text: str) -> str:
    r"""Return ``text`` without what would move a terminal's cursor or change its colours.

    >>> printable("log\x1b[2J")
    'log\\x1b[2J'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def bar(row: Row, total: float, width: int = WIDTH, own: str = "#", below: str = "-") -> str:
    """Draw when it was under way: by ``own`` where it did something, by ``below`` where it waited for a call."""
    cell = total / width
    first = min(int(row.started / cell), width - 1)
    last = max(first, min(ceil(row.ended / cell) - 1, width - 1))
    drawn = [_cell(row, (at + 0.5) * cell, own, below) for at in range(first, last + 1)]
    if row.gaps and own not in drawn:
        drawn[0] = own  # it was entered before anything below
    return " " * first + "".join(drawn)


def _cell(row: Row, at: float, own: str, below: str) -> str:
    return below if any(since <= at <= until for since, until in row.gaps) else own


def whole(found: list[Row]) -> float:
    """Return the seconds that the waterfall spans; a nanosecond, if it has none."""
    return max(1e-9, *(row.ended for row in found))


def plain(trace: Trace) -> str:
    """Return the waterfall as text, for who has no rich."""
    found = rows(trace)
    total = whole(found)
    labels = ["  " * row.depth + row.label for row in found]
    width = max(map(len, labels))
    lines = [summary(trace), f"{'':{width}}  {'took':>9}  {'own':>9}"]
    for label, row in zip(labels, found, strict=True):
        took, own = seconds(row.ended - row.started), "" if row.own is None else seconds(row.own)
        drawn = bar(row, total)
        line = f"{label:{width}}  {took:>9}  {own:>9}  |{drawn:{WIDTH}}|  {row.note}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def rich_table(trace: Trace, width: int) -> Any:
    """Return the waterfall as a table of rich for a console that is so wide."""
    from rich.table import Table
    from rich.text import Text

    found = rows(trace)
    total = whole(found)
    labels = ["  " * row.depth + row.label for row in found]
    notes = max(len(row.note) for row in found)
    cells = max(min(WIDTH, width - max(map(len, labels)) - NUMBERS - min(notes, WIDTH)), WIDTH // 4)
    table = Table(title=Text(summary(trace), "bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True, min_width=max(map(len, labels)))
    table.add_column("took", justify="right", no_wrap=True, min_width=9)
    table.add_column("own", justify="right", no_wrap=True, min_width=9)
    table.add_column("", min_width=cells, no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for label, row in zip(labels, found, strict=True):
        colour = "red" if row.failed else "cyan"
        drawn = Text()
        for each in bar(row, total, cells, "━", "─"):
            drawn.append(each, colour if each == "━" else f"dim {colour}")
        own = "" if row.own is None else seconds(row.own)
        said = Text(row.note, "red" if row.failed else "dim")
        table.add_row(Text(label), seconds(row.ended - row.started), own, drawn, said)
    return table


def show(trace: Trace, file: Any = None) -> None:
    """Print the waterfall, by rich where there is one."""
    out = sys.stdout if file is None else file
    try:
        from rich.console import Console
    except ImportError:
        out.write(plain(trace) + "\n")
    else:
        Console(file=file).print(trace)
