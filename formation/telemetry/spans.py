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

_KINDS: Final = {"http.server": SpanKind.SERVER, "rpc.server": SpanKind.SERVER, "": SpanKind.INTERNAL}


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

    def propagator(self) -> tuple[Any, frozenset[str]]:
        """Return what reads and writes the trace, the one given or the program's by now, and the headers it writes."""
        propagator = self._propagator or propagate.get_global_textmap()
        if self._fields[0] is not propagator:
            self._fields = propagator, frozenset(propagator.fields)
        return self._fields


class Telling:
    """A call that is told of."""

    __slots__ = ("_around", "_before", "_counted", "_ctx", "_measured", "_name", "_of", "_span", "_started", "_tools")

    def __init__(self, tools: Tools, ctx: Any) -> None:
        self._tools, self._ctx = tools, ctx
        self._name, attributes, self._measured, self._of = asked(ctx, tools.secrets, tools.methods)
        before = contexts.get_current()
        self._before: Any = before
        propagator, fields = tools.propagator()
        kind, parent = self._place(before, propagator, fields)
        self._span = span = tools.tracer.start_span(self._name, parent, kind, attributes)
        around = trace.set_span_in_context(span, parent)
        self._around: Any = around
        if self._of.endswith("client"):
            propagator.inject((ctx.get(REQ_HTTP) or ctx[REQ_RPC]).headers, around)
        elif self._of:
            sent: dict[str, str] = {}
            propagator.inject(sent, around)
            if sent:  # for client chains below that know nothing of this
                ctx[TRACE] = sent
        self._counted: Attributes | None = None
        if self._of == "http.server" and ctx.get(KIND) != "websocket":
            self._counted = {name: self._measured[name] for name in ("http.request.method", "url.scheme")}
            tools.active.add(1, self._counted)
        self._started = perf_counter()
        if self._of == "rpc.client":
            self._before = None
        else:
            contexts.attach(around)

    def _place(self, before: Any, propagator: Any, fields: frozenset[str]) -> tuple[SpanKind, Any]:
        """Return the kind of span, and the context of its parent."""
        kind = _KINDS.get(self._of, SpanKind.CLIENT)
        current = trace.get_current_span(before)
        if not self._of or (kind is SpanKind.CLIENT and current.get_span_context().is_valid):
            return kind, before
        if kind is SpanKind.SERVER and getattr(current, "kind", None) is SpanKind.SERVER and current.is_recording():
            return SpanKind.INTERNAL, before  # another one around us has told of this request
        ctx = self._ctx
        headers = (ctx.get(REQ_HTTP) or ctx[REQ_RPC]).headers
        if kind is SpanKind.CLIENT:  # which has a trace only if it is below a server without spans, or is given one
            for name in fields:
                if name in headers:
                    break
            else:
                return kind, before
        return kind, propagator.extract(headers, before, READ)

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
            self._describe(out, said, error, is_failure=is_failure)
            span.end()
        if self._counted is not None:
            tools.active.add(-1, self._counted)
        if out.get(KIND) != "websocket" and (durations := tools.durations.get(self._of)) is not None:
            self._measured = {**self._measured, **said}
            durations.record(seconds, self._measured, self._around)  # which exemplars are taken from
            if tools.sizes:
                self._weigh(out, count)
        self._ctx = self._around = None

    def _describe(self, out: Any, said: Attributes, error: BaseException | None, *, is_failure: bool) -> None:
        """Say on the span what is known in the end."""
        span = self._span
        if "http.route" in said:
            span.update_name(f"{self._name} {said['http.route']}")
        for attribute, value in said.items():  # few, and for one it takes half the time of all at once
            span.set_attribute(attribute, value)
        if (ledger := out.get(ATTEMPTS)) and len(ledger) > 1 and ATTEMPT in out and self._of == "http.client":
            span.set_attribute("http.request.resend_count", out[ATTEMPT] - 1)
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
        if is_failure:
            span.set_status(Status(StatusCode.ERROR, detail))

    def _weigh(self, out: Any, count: int | None) -> None:
        """Measure the bodies, as far as their sizes are known."""
        sizes, of = self._tools.sizes, self._of
        if (request := out.get(REQ_HTTP)) is None:
            return
        sent = digits(request.headers.get("Content-Length"))
        if sent is None and of == "http.client" and (content := request.in_memory) is not None:
            sent = len(content)
        for which, size in (("request", sent), ("response", count)):
            if size is not None:
                sizes[of, which].record(size, self._measured, self._around)
