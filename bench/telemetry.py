"""Telemetry: what a span and the metrics of a call cost, beside the same made by hand with the libraries themselves.

By hand there is one span with the same attributes, made current and sent along, and one measurement; for Prometheus the
counter, the gauge and the histogram by ``labels(…)``. What is done by hand is written down, though: nobody takes a URL
apart there, hides what is secret in it, looks for a name, or at how the call has ended. That has 3 µs with Prometheus,
and 10 µs with OpenTelemetry, whose span and measurement themselves take 25 µs. Around an ASGI app OpenTelemetry's own
middleware stands beside it, with the same conventions.
"""

import asyncio
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bench.asgi_edge import hello, serves
from bench.measure import Row, calls, rounds
from formation import wrap
from formation.for_asgi import FormationMiddleware
from formation.http import Request, Response
from formation.middleware import otel, prometheus

MOST = 3e-6  # seconds over what Prometheus's client takes itself
SPAN = 10e-6  # seconds over what OpenTelemetry takes itself
OFF = 0.5e-6  # seconds where nobody listens: a layer, and two looks at whether somebody does
URL = "https://shop.example.com/items/7"


def endpoint(ctx: Any) -> Any:
    """Answer, and forget the trace that came: the next call is another request."""
    ctx["fmtn.req.http"].headers.pop("traceparent", None)
    ctx["fmtn.res.http"] = ANSWER
    return ctx


ANSWER = Response(200)


def context() -> dict[str, Any]:
    """Make the context of a client."""
    request = Request("GET", URL, template="/items/{id}")
    return {"fmtn.side": "client", "fmtn.kind": "http", "fmtn.req.http": request, "fmtn.template": "/items/{id}"}


def span_by_hand(tracer: Any, histogram: Any) -> Callable[[Any], Any]:
    """Do with OpenTelemetry alone what `otel` does."""

    def call(ctx: Any) -> Any:
        metered = {
            "http.request.method": "GET",
            "server.address": "shop.example.com",
            "server.port": 443,
            "url.scheme": "https",
            "url.template": "/items/{id}",
        }
        span = tracer.start_span("GET /items/{id}", None, SpanKind.CLIENT, {**metered, "url.full": URL})
        around = trace.set_span_in_context(span)
        propagate.inject(ctx["fmtn.req.http"].headers, around)
        token = contexts.attach(around)
        started = perf_counter()
        try:
            ctx = endpoint(ctx)
        finally:
            contexts.detach(token)
        seconds = perf_counter() - started
        if span.is_recording():
            span.set_attribute("http.response.status_code", 200)
            span.end()
        histogram.record(seconds, {**metered, "http.response.status_code": 200}, around)
        return ctx

    return call


def counted_by_hand(registry: CollectorRegistry) -> Callable[[Any], Any]:
    """Do with Prometheus's client alone what `prometheus` does."""
    names = ["side", "kind", "origin", "route", "method"]
    requests = Counter("requests_total", "…", [*names, "status", "outcome"], registry=registry)
    seconds = Histogram("seconds", "…", names, registry=registry)
    running = Gauge("running", "…", names[:3], registry=registry)
    labels = ("client", "http", "https://shop.example.com", "/items/{id}", "GET")

    def call(ctx: Any) -> Any:
        running.labels(*labels[:3]).inc()
        started = perf_counter()
        try:
            ctx = endpoint(ctx)
        finally:
            running.labels(*labels[:3]).dec()
        seconds.labels(*labels).observe(perf_counter() - started)
        requests.labels(*labels, "2xx", "ok").inc()
        return ctx

    return call


def rows() -> list[Row]:
    """Time calls of a client that are answered at once."""
    spans, measures = TracerProvider(shutdown_on_exit=False), MeterProvider(shutdown_on_exit=False)
    tracer, meter = spans.get_tracer("bench"), measures.get_meter("bench")
    ways: dict[str, Callable[[Any], Any]] = {
        "bare": wrap(endpoint),
        "off": wrap(endpoint, [otel()]),
        "span": wrap(endpoint, [otel(spans, measures)]),
        "span by hand": span_by_hand(tracer, meter.create_histogram("seconds")),
        "count": wrap(endpoint, [prometheus(CollectorRegistry())]),
        "count by hand": counted_by_hand(CollectorRegistry()),
    }
    seconds = rounds({name: calls(chain, context()) for name, chain in ways.items()})

    def over(ours: str, theirs: str) -> list[float]:
        return [one - other for one, other in zip(seconds[ours], seconds[theirs], strict=True)]

    def theirs(**settings: Any) -> Any:
        return OpenTelemetryMiddleware(hello, tracer_provider=spans, meter_provider=measures, **settings)

    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"  # the names of today, which it has to be asked for
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        served = rounds(
            {
                "ours": serves(FormationMiddleware(hello, [otel(spans, measures)]), loop),
                "theirs": serves(theirs(), loop),
                "one span": serves(theirs(exclude_spans=["receive", "send"]), loop),
            }
        )

    return [
        Row("otel, no provider is set, over the bare chain", over("off", "bare"), limit=OFF),
        Row("otel, over a span and a metric by hand", over("span", "span by hand"), limit=SPAN),
        Row("otel, the whole call", seconds["span"], "by hand", seconds["span by hand"]),
        Row("otel, a request to an ASGI app", served["ours"], "OpenTelemetry", served["theirs"], at_most=1),
        Row("otel, a request to an ASGI app", served["ours"], "no span for messages", served["one span"]),
        Row("prometheus, over labels(…) by hand", over("count", "count by hand"), limit=MOST),
        Row("prometheus, the whole call", seconds["count"], "by hand", seconds["count by hand"]),
    ]
