"""Count what a chain does, for the dashboard; as long as there is none, do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from formation import clock as clock_
from formation.introspection import name_of
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPTS, FN, REQ_HTTP, REQ_RPC, RES_HTTP, SIDE, STATE, TEMPLATE
from formation.middleware._keys import by_origin
from formation.middleware._log import outcome
from formation.middleware._shed import is_shed
from formation.resilience.meter import Meter, watch


def watched(
    name: str | None = None,
    *,
    clock: Callable[[], float] = clock_.monotonic,
    now: Callable[[], float] = clock_.time,
) -> Middleware[Any]:
    """Count the calls of this chain, how long they take and what comes of them, for the dashboard to show.

    Counted are the calls of the last minute, by outcome and by template, the attempts of `retry` and the hits of
    `cache`. Of each second one call is kept as an example, one that took several attempts, and one that went badly: the
    method, the template or the origin, the status, the type of the error, and the times of the attempts; no path, no
    header and no body. Memory is fixed.
    Until a `formation.dashboard.Dashboard` is made, nothing is counted, and a call costs a tenth of a microsecond more.

    Args:
        name: of the chain, in the dashboard; ``None``: what the first call is for, an origin or a function.
        clock: monotonic seconds.
        now: seconds since 1970.

    Raises:
        TypeError: ``name`` is no text.

    Order:
        Outermost: what it sees is what the caller gets. Inside of `retry` it counts attempts.

    >>> from formation import lift
    >>> layer = watched("sums")
    >>> @lift(middleware=[layer])
    ... def add(a, b):
    ...     return a + b
    >>> add(1, 2), layer.meter.sums().calls  # nobody watches
    (3, 0)
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"expected name as text, got {name!r}: watched() is called when the chain is built")
    meter = Meter(name, clock, now)

    def watched(ctx: Any, call: Call[Any]) -> Any:
        if not watch.is_on or not isinstance(ctx, dict):
            return call(ctx)
        if meter.name is None:
            meter.name, meter.side = _named(ctx)
        started, out, failure = clock(), ctx, None
        meter.begin()
        try:
            out = call(ctx)
        except BaseException as error:
            failure = error
            raise
        finally:
            _end(meter, started, out if isinstance(out, dict) else ctx, failure)
            failure = None  # or this frame and the error hold each other
        return out

    watched.meter = meter  # type: ignore[attr-defined]  # for the dashboard
    return watched


def _end(meter: Meter, started: float, ctx: dict[str, Any], error: BaseException | None) -> None:
    attempts, state = ctx.get(ATTEMPTS) or (), ctx.get(STATE)
    cached = None if not state else state.get("cache")
    request = ctx.get(REQ_HTTP)
    template = ctx.get(TEMPLATE) or (None if request is None else request.template)
    if template is None and FN in ctx:
        template = name_of(ctx[FN])
    how = "rejected" if error is None and is_shed(ctx) else outcome(ctx, error)
    retries = len(attempts) - 1 if attempts else 0
    if not meter.end(started, how, template, retries, None if cached is None else cached.startswith("hit")):
        return
    response = ctx.get(RES_HTTP) if error is None else getattr(error, "response", None)
    meter.keep(
        started,
        name=_called(ctx, template),
        outcome=how,
        status=getattr(response, "status_code", None),
        error=None if error is None else type(error).__name__,
        attempts=tuple((each.delay, each.elapsed, each.status, each.error) for each in attempts),
    )


def _called(ctx: dict[str, Any], template: str | None) -> str:
    """Name a call without its path, which may tell whose it is."""
    request = ctx.get(REQ_HTTP)
    if request is None:
        return template or str(getattr(ctx.get(REQ_RPC), "name", None) or "call")
    return f"{request.method} {template or by_origin(ctx) or ''}".rstrip()


def _named(ctx: dict[str, Any]) -> tuple[str, str]:
    side = ctx.get(SIDE) or ""
    if side == "server":
        return "server", side
    if FN in ctx:
        return name_of(ctx[FN]), side
    return str(by_origin(ctx) or getattr(ctx.get(REQ_RPC), "name", None) or "calls"), side
