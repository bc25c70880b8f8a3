"""A span of OpenTelemetry for each call, its duration as a metric, and the trace handed on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from formation.http.secrets import SECRETS
from formation.kernel import Call, Ctx, Middleware
from formation.telemetry.measured import METHODS, tell, when_over


def otel(
    tracer_provider: Any = None,
    meter_provider: Any = None,
    propagator: Any = None,
    *,
    body_sizes: bool = False,
    methods: Iterable[str] = METHODS,
    sensitive: Iterable[str] = SECRETS,
) -> Middleware[Ctx]:
    """Make a span for each call, and measure how long it takes, by the semantic conventions of OpenTelemetry.

    On a server the span continues the trace of the request, as the propagator reads it (W3C ``traceparent`` and
    baggage, unless the program has set another), and is named by the method and the route that the app has found. On a
    client the request takes the trace along, in place of what it had; the name has the template, never the path.
    Around a function there is a span of its name. While the call lasts the span is the current one, for everybody who
    makes spans.

    The span ends with the body of the answer. It is an error if the call raises, for a status from 500 on, and on a
    client from 400 on. An exception is recorded, without the secrets in it. A WebSocket has one span, without a metric.

    Where the program has set no provider of OpenTelemetry and none is given, nothing happens: the request and the
    context stay as they are.

    Args:
        tracer_provider: makes the spans; ``None``: the program's.
        meter_provider: measures; ``None``: the program's.
        propagator: reads and writes the trace in headers; ``None``: the program's.
        body_sizes: measure the sizes of bodies as well. The conventions for it may still change.
        methods: that have their own name; others are ``_OTHER``, for anybody may make one up. As the conventions
            have it, those of RFC 9110, and PATCH.
        sensitive: names of query parameters whose values are hidden, besides those that ``ctx["fmtn.sensitive"]`` says.

    Raises:
        ImportError: OpenTelemetry's API is not installed.
        TypeError: a provider, or the propagator, is none.

    Order:
        On a client inside of `retry`, so that each attempt has its span; on a server outermost but for `request_id`.

    Source: Semantic Conventions 1.44, HTTP (stable) and RPC (release candidate); W3C Trace Context.

    >>> from formation import lift
    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> from opentelemetry.trace import get_current_span
    >>> @lift(middleware=[otel(TracerProvider())])
    ... def area(width, height):
    ...     return get_current_span().name, width * height
    >>> area(3, 4)
    ('area', 12)
    """
    try:
        from formation.telemetry.spans import Telling, Tools
    except ImportError as error:
        raise ImportError("OpenTelemetry is not installed: pip install 'formation[otel]'", name=error.name) from error

    for given, makes in ((tracer_provider, "get_tracer"), (meter_provider, "get_meter"), (propagator, "extract")):
        if given is not None and not callable(getattr(given, makes, None)):
            raise TypeError(f"expected something with {makes}(), as OpenTelemetry has it, or None, got {given!r}")
    known = frozenset([methods] if isinstance(methods, str) else methods)
    secrets = frozenset([sensitive] if isinstance(sensitive, str) else sensitive)
    tools = Tools(tracer_provider, meter_provider, propagator, sizes=body_sizes, methods=known, secrets=secrets)

    def otel(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if tools.are_idle():
            return call(ctx)
        telling = Telling(tools, ctx)
        try:
            out = call(ctx)
        except BaseException as error:
            telling.leave(ctx, error)
            tell(telling.end, ctx, None, error)
            raise
        telling.leave(out)
        when_over(out, telling.end)
        return out

    return otel
