"""How the demo shows what it does: titles, words, code, log lines, and a table."""

from __future__ import annotations

import inspect
import os
import re
import sys
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import structlog

from formation.errors import FormationError
from formation.introspection import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from formation.trace import Trace

COLOURS: Final = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
WIDTH: Final = 98
"""Characters of a line: what fits most terminals, and the README."""

WIDEST: Final = 128
"""Characters of a line of a waterfall: one that has a word to say at its end."""

SHOWN: Final = (
    "rid", "method", "template", "fn", "attempt", "status", "error", "attempts", "delay", "circuit", "duration_us"
)  # fmt: skip


def _only_shown(logger: Any, method: str, event: Any) -> Any:
    """Keep a log line as short as a line: a processor, as structlog calls it."""
    kept = {name: event[name] for name in SHOWN if event.get(name) is not None}
    if "delay" in kept:
        kept["delay"] = f"{kept['delay']:.3f}"
    return {"event": event["event"], "level": event["level"], **kept}


def _indented(logger: Any, method: str, line: Any) -> str:
    return f"    {line}"


class _Printer:
    """Prints where printing goes at the time."""

    def __getattr__(self, level: str) -> Any:
        return print


log: Final[Any] = structlog.wrap_logger(
    _Printer(),
    wrapper_class=structlog.make_filtering_bound_logger("info"),
    processors=[
        structlog.stdlib.add_log_level,
        _only_shown,
        structlog.dev.ConsoleRenderer(colors=COLOURS, pad_event_to=18, sort_keys=False),
        _indented,
    ],
)


def styled(text: str, style: str) -> str:
    """Return ``text`` in a style, as terminals number them; on a terminal only."""
    return f"\033[{style}m{text}\033[0m" if COLOURS else text


def title(text: str) -> None:
    """Print a title."""
    print(f"\n{styled(text, '1')}")


def chapter(number: int, text: str) -> None:
    """Print the heading of a chapter."""
    heading = f"{number}. {text} "
    print(f"\n{styled(heading, '1;36')}{styled('─' * (WIDTH - len(heading)), '36')}")


def say(text: str) -> None:
    """Print a paragraph."""
    print(f"\n{fill(text, WIDTH - 1, break_long_words=False, break_on_hyphens=False)}")


def code(thing: Any) -> None:
    """Print the source of a class or a function, without its docstrings."""
    source = re.sub(r'(?m)^ +""".*"""\n+', "", inspect.getsource(inspect.unwrap(thing)))
    print()
    for line in source.rstrip().splitlines():
        print(styled(f"    {line}", "2").rstrip())


def show(source: str) -> None:
    """Print what is going to be run."""
    print(f"\n  {styled('>>>', '2')} {styled(source, '1')}")


def answer(value: object) -> None:
    """Print what came of it."""
    print(f"  {styled(str(value), '32')}")


def do(call: Callable[[], Any]) -> Any:
    """Show a call as it is written, ``lambda: …``, make it, show what comes of it."""
    source = inspect.getsource(call)
    show(source[source.index("lambda: ") + 8 : source.rindex(")")])
    try:
        result = call()
    except FormationError as error:
        print(f"  {styled(name_of(type(error)), '31')}: {error}")
        print(f"  {styled(error.__notes__[-1], '2')}")
        return error
    answer(getattr(result, "body", result))
    return result


def waterfall(trace: Trace) -> None:
    """Print a trace; what is said of a layer only as far as a line goes."""
    print()
    for line in str(trace).splitlines():
        print(line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…")


def table(traces: Iterable[Trace]) -> None:
    """Print a line for each call: what came of it, after how many attempts, and by whom."""
    print(f"\n    {'call':<20}  {'came of it':<17}  {'from':<15}  {'attempts':>8}  {'took':>7}")
    for each in traces:
        came = each.error[0] if each.error else str(each.status or "a value")
        attempts, took = len(each.attempts), f"{each.took * 1000:.0f} ms"
        print(f"    {each.title:<20}  {came:<17}  {_origin(each):<15}  {attempts:>8}  {took:>7}")


def _origin(trace: Trace) -> str:
    """Name the layer that the answer, or the error, is from; what sends stands for who was asked."""
    ends = [each.layer for each in trace if each.layer.is_endpoint or each.answered_itself or each.raised]
    return "the other side" if not ends or ends[-1].name == "(sent)" else ends[-1].name
