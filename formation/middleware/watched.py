"""Count what a chain does, for the dashboard; as long as there is none, do nothing."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

from formation import clock as clock_
from formation.introspection import name_of
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPTS, FN, REQ_HTTP, REQ_RPC, RES_HTTP, SIDE, STATE, STATE_CACHE, STATE_SHED, TEMPLATE
from formation.places import by_origin
from formation.resilience.attempts import Attempt
from formation.telemetry.lines import outcome
from formation.telemetry.meter import Meter, watch

UNKNOWN: Final = "unknown"
"""The outcome of a call whose context cannot be read."""


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
        started = clock()
        meter.begin()
        try:
            out = call(ctx)
        except BaseException as error:
            _end(meter, started, ctx, error)
            raise
        _end(meter, started, out if isinstance(out, dict) else ctx, None)
        return out

    watched.meter = meter  # type: ignore[attr-defined]  # for the dashboard
    return watched


def _end(meter: Meter, started: float, ctx: dict[str, Any], error: BaseException | None) -> None:
    """Count a call that is over. Its context may be odd; that is no reason for the call to fail."""
    try:
        if meter.name is None:
            meter.name, meter.side = _named(ctx)
        state, attempts, said = ctx.get(STATE), ctx.get(ATTEMPTS), None
        how = outcome(ctx, error)
        if state:
            said = state.get(STATE_CACHE)
            if error is None and STATE_SHED in state:
                how = "rejected"
        cached = said.startswith("hit") if isinstance(said, str) else None
        seen = how, _template(ctx), len(attempts) - 1 if attempts else 0, cached
    except Exception:
        getLogger("formation").exception("watched() could not tell what came of a call")
        seen = UNKNOWN, None, 0, None
    if meter.end(started, *seen) and seen[0] is not UNKNOWN:
        _keep(meter, started, seen[0], ctx, error)


def _keep(meter: Meter, started: float, how: str, ctx: dict[str, Any], error: BaseException | None) -> None:
    response = ctx.get(RES_HTTP) if error is None else getattr(error, "response", None)
    attempts = [each for each in ctx.get(ATTEMPTS) or () if isinstance(each, Attempt)]
    meter.keep(
        started,
        name=_called(ctx),
        outcome=how,
        status=getattr(response, "status_code", None),
        error=None if error is None else type(error).__name__,
        attempts=tuple((each.delay, each.elapsed, each.status, each.error) for each in attempts),
    )


def _template(ctx: dict[str, Any]) -> str | None:
    found = ctx.get(TEMPLATE)
    if found is None:
        if (request := ctx.get(REQ_HTTP)) is not None:
            found = request.template
        elif (request := ctx.get(REQ_RPC)) is not None:
            found = request.name
        elif FN in ctx:
            found = name_of(ctx[FN])
    return found if isinstance(found, str) else None


def _called(ctx: dict[str, Any]) -> str:
    """Name a call without its path, which may tell whose it is."""
    request, template = ctx.get(REQ_HTTP), _template(ctx)
    if request is None:
        return template or "call"
    return f"{request.method} {template or by_origin(ctx) or ''}".rstrip()


def _named(ctx: dict[str, Any]) -> tuple[str, str]:
    side = ctx.get(SIDE) or ""
    if side == "server":
        return "server", side
    return (name_of(ctx[FN]) if FN in ctx else by_origin(ctx) or "calls"), side
