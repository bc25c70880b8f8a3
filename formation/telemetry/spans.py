"""One span, and what is measured with it: begun before a call, current while it lasts, ended once when it is over.

Theory of operation
-------------------
The span is put into OpenTelemetry's context for the call, and taken out by putting back what was there before, and not
by a token: in an ASGI server the rest of a chain runs where the app sends its answer, which may be another task, and
there a token is refused.

On an async server it stays until the body has been sent, for the app that makes the body runs on in the same task.
Everywhere else it is taken out when the call returns: the thread, or the task, is then somebody else's.

A remote call of a client is not made current: its chain may live as long as a stream does, with the caller's own code
between two messages.
"""

from __future__ import annotations

import traceback
from time import perf_counter
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import _internal as measures
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, Status, StatusCode

from formation.bridge import in_async_chain
from formation.http.headers import digits
from formation.keys import ATTEMPT, ATTEMPTS, KIND, REQ_HTTP, REQ_RPC, RES_HTTP, TRACE
from formation.telemetry.conventions import Attributes, answered, asked
from formation.telemetry.lines import is_gone, without_secrets
from formation.telemetry.measured import BUCKETS
from formation.version import __version__

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"

_CLIENTS: Final = frozenset({"http.client", "rpc.client"})


class Headers(Getter[Any]):
    """How a propagator reads the headers of a request, or the metadata of a remote call."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """Return the lines of that name; ``tracestate`` may have several."""
        found: list[str] | None = carrier.getall(key, None)
        return found

    def keys(self, carrier: Any) -> list[str]:
        """Return the names."""
        return list(carrier)


READ: Final = Headers()


class Tools:
    """What spans are made with, and what is measured."""

    def __init__(
        self, tracer_provider: Any, meter_provider: Any, propagator: Any, *, sizes: bool, methods: frozenset[str],
        secrets: frozenset[str],
    ) -> None:  # fmt: skip
        self.is_given = not (tracer_provider is None and meter_provider is None)
        self.tracer = trace.get_tracer("formation", __version__, tracer_provider, SCHEMA)
        self._propagator = propagator
        self._fields: tuple[Any, frozenset[str]] = (None, frozenset())
        self.methods, self.secrets = methods, secrets
        meter = metrics.get_meter("formation", __version__, meter_provider, SCHEMA)
        self.active = meter.create_up_down_counter(
            "http.server.active_requests", "{request}", "Number of active HTTP server requests."
        )
        self.durations = {
            of: meter.create_histogram(name, "s", about, explicit_bucket_boundaries_advisory=BUCKETS)
            for of, name, about in (
                ("http.server", "http.server.request.duration", "Duration of HTTP server requests."),
                ("http.client", "http.client.request.duration", "Duration of HTTP client requests."),
                ("rpc.server", "rpc.server.call.duration", "Duration of incoming remote procedure calls."),
                ("rpc.client", "rpc.client.call.duration", "Duration of outgoing remote procedure calls."),
            )
        }
        self.sizes = {
            (side, of): meter.create_histogram(f"{side}.{of}.body.size", "By", f"Size of HTTP {of} bodies.")
            for side in ("http.server", "http.client")
            for of in ("request", "response")
            if sizes
        }

    def are_idle(self) -> bool:
        """Tell whether there is nobody who would listen: no provider was given, and the program has set none.

        The public way to see it looks at the environment each time, which takes longer than the rest. Without these
        names nothing is ever idle, and a span that nobody wants is made.
        """
        return not (
            self.is_given
            or getattr(trace, "_TRACER_PROVIDER", True) is not None
            or getattr(measures, "_METER_PROVIDER", True) is not None
        )

    def propagator(self) -> Any:
        """Return what reads and writes the trace: the one given, or the program's by now."""
        return self._propagator or propagate.get_global_textmap()

    def have_trace(self, headers: Any, propagator: Any) -> bool:
        """Tell whether there is anything in the headers that the propagator writes."""
        if self._fields[0] is not propagator:  # the fields of several are put together each time one asks
            self._fields = propagator, frozenset(propagator.fields)
        return any(name in headers for name in self._fields[1])


class Telling:
    """A call that is told of."""

    __slots__ = (
        "_around",
        "_before",
        "_counted",
        "_durations",
        "_measured",
        "_name",
        "_of",
        "_span",
        "_started",
        "_tools",
    )

    def __init__(self, tools: Tools, ctx: Any) -> None:
        self._tools = tools
        self._name, attributes, self._measured, self._of = asked(ctx, tools.secrets, tools.methods)
        self._durations = tools.durations.get(self._of)
        self._before: Any = contexts.get_current()
        self._counted: Attributes | None = None
        kind, parent, headers, propagator = SpanKind.INTERNAL, self._before, None, tools.propagator()
        if self._of:
            headers = (ctx.get(REQ_HTTP) or ctx[REQ_RPC]).headers
            kind, parent = self._place(propagator, headers)
        self._span = span = tools.tracer.start_span(self._name, parent, kind, attributes)
        self._around: Any = trace.set_span_in_context(span, parent)
        if kind is SpanKind.CLIENT:
            propagator.inject(headers, self._around)
        elif self._of:
            self._serve(ctx, propagator)
        self._started = perf_counter()
        if self._of == "rpc.client":
            self._before = None
        else:
            contexts.attach(self._around)

    def _place(self, propagator: Any, headers: Any) -> tuple[SpanKind, Any]:
        """Return the kind of span, and the context of its parent."""
        before = self._before
        current = trace.get_current_span(before) if before else trace.INVALID_SPAN
        if self._of in _CLIENTS:  # without a span there is a trace only if the request has been given one
            is_below = current is not trace.INVALID_SPAN and current.get_span_context().is_valid
            if is_below or not headers or not self._tools.have_trace(headers, propagator):
                return SpanKind.CLIENT, before
            return SpanKind.CLIENT, propagator.extract(headers, before, READ)
        if getattr(current, "kind", None) is SpanKind.SERVER and current.is_recording():
            return SpanKind.INTERNAL, before  # another one around us has told of this request
        return SpanKind.SERVER, propagator.extract(headers, before, READ)

    def _serve(self, ctx: Any, propagator: Any) -> None:
        """Hand the trace on to client chains below that know nothing of this, and count a request under way."""
        sent: dict[str, str] = {}
        propagator.inject(sent, self._around)
        if sent:
            ctx[TRACE] = sent
        if ctx.get(KIND) == "websocket":
            self._durations = None
        elif self._of == "http.server":
            self._counted = {name: self._measured[name] for name in ("http.request.method", "url.scheme")}
            self._tools.active.add(1, self._counted)

    def leave(self, out: Any, error: BaseException | None = None) -> None:
        """Be current no longer, unless the app that makes the body of ``out`` goes on."""
        if error is None and self._of == "http.server" and in_async_chain():
            response = out.get(RES_HTTP)
            if response is not None and not response.body.is_bytes:
                return
        before, self._before = self._before, None
        # A coroutine that nobody awaits any more is closed wherever it is collected.
        if before is not None and not (isinstance(error, GeneratorExit) and not self._is_current()):
            contexts.attach(before)

    def _is_current(self) -> bool:
        return contexts.get_current() is self._around

    def end(self, out: Any, count: int | None, error: BaseException | None) -> None:
        """Tell how it has ended."""
        seconds = perf_counter() - self._started
        if self._before is not None and self._is_current():
            contexts.attach(self._before)
        said, is_failure = answered(out, error)
        tools, span = self._tools, self._span
        if span.is_recording():
            for attribute, value in said.items():  # few, and for one it takes half the time of all at once
                span.set_attribute(attribute, value)
            if is_failure or "http.route" in said or ATTEMPTS in out:
                self._describe(out, said, error, is_failure=is_failure)
            span.end()
        if self._counted is not None:
            tools.active.add(-1, self._counted)
        if self._durations is not None:
            measured = self._measured | said
            self._durations.record(seconds, measured, self._around)  # which exemplars are taken from
            if tools.sizes:
                self._weigh(out, count, measured)
        self._around = None

    def _describe(self, out: Any, said: Attributes, error: BaseException | None, *, is_failure: bool) -> None:
        """Say on the span what is known in the end."""
        span = self._span
        if "http.route" in said:
            span.update_name(f"{self._name} {said['http.route']}")
        if self._of == "http.client" and (ledger := out.get(ATTEMPTS)) and len(ledger) > 1 and ATTEMPT in out:
            span.set_attribute("http.request.resend_count", out[ATTEMPT] - 1)
        if not is_failure:
            return
        detail = None
        if isinstance(error, Exception) and not is_gone(out, error):
            detail = without_secrets(out, str(error), self._tools.secrets)
            lines = "".join(traceback.format_exception(error))
            span.add_event(
                "exception",
                {
                    "exception.type": str(said["error.type"]),
                    "exception.message": detail,
                    "exception.stacktrace": without_secrets(out, lines, self._tools.secrets),
                },
            )
        span.set_status(Status(StatusCode.ERROR, detail))

    def _weigh(self, out: Any, count: int | None, measured: Attributes) -> None:
        """Measure the bodies, as far as their sizes are known."""
        sizes, of = self._tools.sizes, self._of
        if (request := out.get(REQ_HTTP)) is None:
            return
        sent = digits(request.headers.get("Content-Length"))
        if sent is None and of == "http.client" and (content := request.in_memory) is not None:
            sent = len(content)
        for which, size in (("request", sent), ("response", count)):
            if size is not None:
                sizes[of, which].record(size, measured, self._around)
