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
"""Traces of each traced thing: some hundred spans of 100 bytes each, so 10 MB at the very most for calls of a hundred
layers and passes."""


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
            if ATTEMPTS in known:
                trace.attempts = tuple(known[ATTEMPTS])
            if (request := known.get(REQ_HTTP) or known.get(REQ_RPC)) is not None:
                trace.name = request.name
            elif FN in known:
                trace.name = name_of(known[FN])
            if out is not None and (response := known.get(RES_HTTP)) is not None:
                trace.status = response.status_code
                if not (response.body.is_bytes or response.body.ended):
                    self._await_body(trace, response.body)
                    return
        if self._on_trace is not None:
            self._tell(trace)

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
