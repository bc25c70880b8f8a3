"""Where the spans of a call become a `Trace`: what is kept of the context, and who is told."""

from __future__ import annotations

from collections import deque
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from formation.introspection import name_of
from formation.keys import ATTEMPTS, FN, REQ_HTTP, REQ_RPC, RES_HTTP
from formation.trace.model import BodyEnd, Layer, Trace
from formation.trace.probe import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from formation.http.body import Body
    from formation.trace.probe import Span

KEPT: Final = 100
"""Traces of each traced thing: with ten passes of 200 bytes in each of them, that is 200 KB."""


class Recorder:
    """Makes traces of the calls of one traced thing."""

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        keep: int,
        on_trace: Callable[[Trace], object] | None,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.layers = tuple(layers)
        self.clock = clock
        self.traces: deque[Trace] = deque(maxlen=keep)
        self._now = now
        self._on_trace = on_trace

    def end(self, spans: list[Span], ctx: Any, out: Any) -> None:
        """Make a trace of ``spans``; ``ctx`` went in, ``out`` came out, or ``None`` where an error did."""
        trace = Trace(self.layers, spans, self._now())
        self.traces.append(trace)
        known = ctx if out is None else out
        if isinstance(known, dict) and known:
            try:
                self._look_into(trace, known, has_ended=out is None)
            except Exception:  # a context may hold anything under these keys, and the call is none the worse for it
                getLogger("formation").exception("a context of which there is no trace: %r", list(known))
        if self._on_trace is not None and not trace.streams:
            self._tell(trace)

    def _look_into(self, trace: Trace, ctx: dict[Any, Any], *, has_ended: bool) -> None:
        """Take what is no secret: the attempts, the name of the call, the status, and when the body ends."""
        if ATTEMPTS in ctx:
            trace.attempts = tuple(ctx[ATTEMPTS])
        if (request := ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)) is not None:
            trace.name = request.name
        elif FN in ctx:
            trace.name = name_of(ctx[FN])
        if not has_ended and (response := ctx.get(RES_HTTP)) is not None:
            trace.status = response.status_code
            if not (response.body.is_bytes or response.body.ended):
                self._await_body(trace, response.body)

    def _await_body(self, trace: Trace, body: Body) -> None:
        """Note when ``body`` ends, and tell only then."""
        trace.streams = True
        clock, began = self.clock, trace.started

        def ended(count: int, error: BaseException | None) -> None:
            trace.body = BodyEnd(clock() - began, count, None if error is None else said(error))
            self._tell(trace)

        body.on_close(ended)

    def _tell(self, trace: Trace) -> None:
        if self._on_trace is None:
            return
        try:
            self._on_trace(trace)
        except Exception:
            getLogger("formation").exception("on_trace raised: %r", self._on_trace)
