"""What a trace says: names and numbers, in the order of time. It holds no context, no request and no error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

from formation.trace.probe import ABOVE, AT, ENTERED, ERROR, LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from formation.trace.probe import Span


@frozen
class Layer:
    """A layer of the traced chain, the endpoint among them.

    ``name``; ``place``: its file and line, or nothing; ``is_async``: an ``async def``; ``is_endpoint``: what is below
    the innermost layer.
    """

    name: str
    place: str = ""
    is_async: bool = False
    is_endpoint: bool = False


@frozen
class BodyEnd:
    """How the body of a response that streams has ended.

    ``at``: seconds after the call began; ``size``: bytes that came out; ``error``: the type and the words of what
    stopped it, or ``None``.
    """

    at: float
    size: int
    error: tuple[str, str] | None


@frozen
class Pass:
    """One pass through a layer: it was entered, and left.

    Times are seconds. ``started``: after the call began. ``took``: until it was left, or so far. ``below``: how much
    of it some call below was under way. ``own``: the rest. ``calls``: the passes through the layer below, in order;
    none, if it answered by itself or raised; several, if it tried again. ``error``: the type and the words of what it
    raised or passed on. ``is_open``: it was still under way when somebody looked.
    """

    layer: Layer
    depth: int
    started: float
    took: float
    below: float
    calls: tuple[Pass, ...]
    error: tuple[str, str] | None
    is_open: bool

    @property
    def own(self) -> float:
        """Seconds that the layer itself took."""
        return max(self.took - self.below, 0.0)

    @property
    def ended(self) -> float:
        """Seconds after the call began at which it was left."""
        return self.started + self.took

    @property
    def answered_itself(self) -> bool:
        """Whether it returned without calling on: a short circuit."""
        return not (self.calls or self.layer.is_endpoint or self.error or self.is_open)

    @property
    def raised(self) -> bool:
        """Whether the error is its own, and not one that came from below and went on."""
        return self.error is not None and all(each.error != self.error for each in self.calls)

    def __iter__(self) -> Iterator[Pass]:
        """Iterate over this pass and all below it, in the order in which they were entered."""
        yield self
        for each in self.calls:
            yield from each


class Trace:
    """What happened in one call of a traced chain.

    ``layers``: the chain. ``name``: of the call, as ``GET /repos/{owner}``, or of the endpoint. ``status``: of the
    response. ``attempts``: the ledger that `retry` has written. ``streams``: the response has gone out before its body
    was read; ``body``: how that has ended, once it has. ``ended_at``: when the call ended, in seconds since 1970.
    """

    # On the class, because most calls have none of it, and each of them waits while its trace is made.
    name: str = ""
    status: int | None = None
    attempts: tuple[Any, ...] = ()
    streams: bool = False
    body: BodyEnd | None = None

    def __init__(self, layers: Sequence[Layer], spans: list[Span], ended_at: float) -> None:
        self.layers = layers
        self.spans = spans
        self.ended_at = ended_at

    @property
    def started(self) -> float:
        """When the call began, by the clock of the trace."""
        entered: float = self.spans[0][ENTERED]
        return entered

    @property
    def root(self) -> Pass:
        """The pass through the outermost layer."""
        spans = self.spans.copy()  # one that nobody waits for any more may still go on in another thread
        below: dict[int, list[Span]] = {}
        for at, span in enumerate(spans[1:], 1):
            above = span[ABOVE] if isinstance(span[ABOVE], list) else _late(spans[:at], span)
            below.setdefault(id(above), []).append(span)
        seen = max(span[ENTERED] if span[LEFT] is None else span[LEFT] for span in spans)
        return self._made(spans[0], below, 0, seen)

    def _made(self, span: Span, below: dict[int, list[Span]], depth: int, seen: float) -> Pass:
        calls = tuple(self._made(each, below, depth + 1, seen) for each in below.get(id(span), ()))
        entered, left = span[ENTERED], seen if span[LEFT] is None else span[LEFT]
        started = entered - self.started
        return Pass(
            layer=self.layers[span[AT]],
            depth=depth,
            started=started,
            took=left - entered,
            below=covered(((each.started, each.ended) for each in calls), started, left - self.started),
            calls=calls,
            error=span[ERROR],
            is_open=span[LEFT] is None,
        )

    def __iter__(self) -> Iterator[Pass]:
        """Iterate over all passes, in the order in which the layers were entered."""
        return iter(self.root)

    @property
    def took(self) -> float:
        """Seconds from entering the outermost layer to leaving it."""
        return float(self.spans[0][LEFT] - self.started)

    @property
    def error(self) -> tuple[str, str] | None:
        """The type and the words of what the call raised, or ``None``."""
        raised: tuple[str, str] | None = self.spans[0][ERROR]
        return raised

    @property
    def title(self) -> str:
        """The name of the call; where it has none, that of the endpoint."""
        return self.name or self.layers[-1].name

    def to_svg(self) -> str:
        """Return the waterfall as a picture, for a page in light or dark."""
        from formation.trace.svg import picture

        return picture(self)

    def to_html(self) -> str:
        """Return the waterfall and its numbers as a page that needs nothing else."""
        from formation.trace.html import page

        return page(self)

    def to_perfetto(self) -> str:
        """Return JSON in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open."""
        from formation.trace.perfetto import events

        return json.dumps(events(self))

    def show(self, file: Any = None) -> None:
        """Print the waterfall, by rich where it is installed, to the terminal or to ``file``."""
        from formation.trace.text import show

        show(self, file)

    def __str__(self) -> str:
        from formation.trace.text import plain

        return plain(self)

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from formation.trace.text import rich_table

        yield rich_table(self, options.max_width)

    def __repr__(self) -> str:
        from formation.trace.text import summary

        return f"<Trace {summary(self)}>"


def _late(spans: list[Span], late: Span) -> Span:
    """Find whose call it is that began when the call as a whole was over."""
    return next((each for each in reversed(spans) if each[AT] == late[AT] - 1), spans[0])


def covered(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Return how much of the time between ``start`` and ``end`` the intervals cover together.

    >>> covered([(1, 3), (2, 4), (6, 9)], 0, 7)
    4
    """
    total: float = 0
    for since, until in sorted(intervals):
        since, until = max(since, start), min(until, end)  # noqa: PLW2901  the part of it that counts
        if until > since:
            total += until - since
            start = until
    return total
