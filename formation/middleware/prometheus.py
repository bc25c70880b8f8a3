"""Metrics for Prometheus: how many calls, how they end, how long they take, and what protects them."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any, Final

from formation.introspection import name_of
from formation.kernel import Call, Ctx, Middleware
from formation.keys import ATTEMPT, ATTEMPTS, FN, REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE, STATE, STATE_CACHE
from formation.places import by_origin
from formation.resilience.checks import count
from formation.telemetry.lines import is_gone, kind_of, outcome
from formation.telemetry.measured import BUCKETS, METHODS, OTHER, route_of, tell, when_over

MOST: Final = 500
"""Sets of origin, route and method. Each has some twenty lines, so that a scrape is a megabyte or two at most."""


def prometheus(
    registry: Any = None,
    *,
    buckets: Iterable[float] | None = None,
    namespace: str = "formation",
    most: int = MOST,
) -> Middleware[Ctx]:
    """Count calls, how they end and how long they take, for Prometheus.

    - ``formation_requests_total``: calls that are over, by side, kind, origin, route, method, status (``2xx``) and
      outcome: ``ok``, ``degraded``, ``failed``, ``rejected``, ``deadline``, ``cancelled``, ``disconnected``.
    - ``formation_request_duration_seconds``: a histogram, to the end of the body.
    - ``formation_requests_in_flight``: calls under way.
    - ``formation_retries_total``, ``formation_retry_wait_seconds_total``, ``formation_cache_total``: what `retry` and
      `cache` further in have done.

    A route is what the app has found, or the client's template, never the path. The origin is there on clients. What
    goes beyond ``most`` sets of them is counted as ``other``.

    ``.watch(*stacks)`` of what this returns adds the state of the middlewares in them, which is read at each scrape:
    the circuits, the places of `bulkhead` and `adaptive_limit`, the budget of `retry`, the turns of `throttle`.

    Args:
        registry: a ``CollectorRegistry``; ``None``: the default one. Several middlewares may share it.
        buckets: upper bounds in seconds; ``None``: from 5 ms to 10 s, as Prometheus's client has them.
        namespace: what each name begins with. Give another one to what counts attempts, inside of `retry`.
        most: sets of origin, route and method.

    Raises:
        ImportError: prometheus-client is not installed.
        ValueError: the registry has these metrics with other buckets, or another limit; or others of that name. Buckets
            that do not rise; a limit below 1.

    Order:
        Outermost but for `request_id`: it counts what is turned away further in. Inside of `retry` it counts attempts.

    >>> from formation import lift
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> @lift(middleware=[prometheus(registry)])
    ... def area(width, height):
    ...     return width * height
    >>> area(3, 4)
    12
    >>> labels = {
    ...     "side": "",
    ...     "kind": "call",
    ...     "origin": "",
    ...     "route": "area",
    ...     "method": "",
    ...     "status": "",
    ...     "outcome": "ok",
    ... }
    >>> registry.get_sample_value("formation_requests_total", labels)
    1.0
    """
    try:
        from formation.telemetry.metrics import metrics_of
    except ImportError as error:
        raise ImportError(
            "prometheus-client is not installed: pip install 'formation[prometheus]'", name=error.name
        ) from error
    metrics = metrics_of(registry, namespace, BUCKETS if buckets is None else buckets, count("most", most))

    def prometheus(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        side, kind, origin = ctx.get(SIDE) or "", kind_of(ctx), by_origin(ctx) or ""
        is_attempt = ATTEMPT in ctx
        running = metrics.of(metrics.running, metrics.bounded(side, kind, origin, "", "")[:3])
        running.inc()
        started = perf_counter()

        def end(out: Any, size: int | None, error: BaseException | None) -> None:
            seconds = perf_counter() - started
            running.dec()
            message = out.get(REQ_HTTP) or out.get(REQ_RPC)
            labels = metrics.bounded(side, kind, origin, *_named(out, message))
            if kind != "websocket":
                metrics.of(metrics.seconds, labels).observe(seconds)
            metrics.of(metrics.requests, (*labels, _status(out), _outcome(out, error))).inc()
            place = labels[:3]
            if not is_attempt and (ledger := out.get(ATTEMPTS)) and len(ledger) > 1:
                metrics.of(metrics.retries, place).inc(len(ledger) - 1)
                metrics.of(metrics.paused, place).inc(sum(each.delay for each in ledger))
            if did := (out.get(STATE) or {}).get(STATE_CACHE):
                metrics.of(metrics.cached, (*place, did.partition(";")[0].removeprefix("fwd="))).inc()

        try:
            out = call(ctx)
        except BaseException as error:
            tell(end, ctx, None, error)
            raise
        when_over(out, end)
        return out

    prometheus.watch = metrics.watch  # type: ignore[attr-defined]
    return prometheus


def _named(ctx: Any, message: Any) -> tuple[str, str]:
    """Return the route and the method."""
    if message is None:
        return (name_of(ctx[FN]) if FN in ctx else ""), ""
    route = route_of(ctx, message) or ""
    if REQ_HTTP not in ctx:
        return route, ""
    return route, message.method if message.method in METHODS else OTHER


def _status(ctx: Any) -> str:
    """Return the class of the status, or the code of gRPC."""
    if (response := ctx.get(RES_HTTP)) is not None:
        return f"{response.status_code // 100}xx"
    return str(result.code) if (result := ctx.get(RES_RPC)) is not None else ""


def _outcome(ctx: Any, error: BaseException | None) -> str:
    if error is not None and is_gone(ctx, error):
        return "disconnected"
    if error is None and (result := ctx.get(RES_RPC)) is not None and result.status_code >= 500:
        return "failed"
    return outcome(ctx, error)
