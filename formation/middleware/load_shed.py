"""Do not begin what comes too late: a request whose deadline has passed, or that has waited in a queue that stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from formation import clock as clock_
from formation.errors import DeadlineExceeded
from formation.events import Events, called
from formation.exchange import req
from formation.http.headers import check_name
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE
from formation.middleware._shed import HEALTH, Exempt, is_asked, passing, shed
from formation.resilience.shedding import HEADER, StandingQueue, age


def load_shed(
    target: float = 0.1,
    interval: float = 1,
    *,
    header: str = HEADER,
    trusted: bool = False,
    exempt: Exempt = HEALTH,
    logger: Any = None,
    clock: Callable[[], float] = clock_.monotonic,
    now: Callable[[], float] = clock_.time,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Answer 503 at once to requests that nobody waits for any more, and to those that are late when all are.

    A call whose deadline (``ctx["fmtn.deadline"]``) has passed is not made. On a server that stands behind a proxy
    which says when it got the request, neither is one that has waited longer than ``target``, if all requests of the
    last ``interval`` have: then the queue is no burst, and who comes to its end waits in vain.

    On a server the answer is a 503 with a Retry-After of one to three seconds, before the body is read. Elsewhere a
    `DeadlineExceeded` is raised. A WebSocket passes. Event: ``load_shed.rejected`` (warning).

    Args:
        target: seconds that a request may have waited. A tenth: nobody notices, and a queue that is worked off gets
            there.
        interval: seconds for which all must have waited longer. One: a burst that is over by then has done no harm.
        header: tells when the proxy got the request, as seconds, milliseconds or microseconds since 1970.
        trusted: whether the header is heeded: your proxy sets it, whatever the client has sent.
        exempt: paths of requests that are never turned away, or a function of the context that tells.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        clock: monotonic seconds.
        now: seconds since 1970, by which the header is read.
        random: a number between two.

    Raises:
        ValueError: seconds that cannot be, a header that is none.
        TypeError: ``exempt`` or ``logger`` is none.
        DeadlineExceeded: at a call, not on a server.

    Order:
        Inside of what logs, and of a `deadline` or a `bulkhead` with a queue; outside of all that costs.

    >>> from formation import lift
    >>> from formation.middleware.deadline import deadline
    >>> @lift(middleware=[deadline(0.01), load_shed()])
    ... def ask():
    ...     return 42
    >>> ask()
    42
    """
    check_name(header)
    queue, passes, events = StandingQueue(target, interval), passing(exempt), Events(logger)

    def too_late(ctx: Any) -> dict[str, Any]:
        """Say why a call comes too late; nothing if it does not."""
        if not isinstance(ctx, dict) or passes(ctx):
            return {}
        if DEADLINE in ctx and ctx[DEADLINE] <= clock():
            return {"reason": "deadline"}
        if not trusted or not is_asked(ctx):
            return {}
        waited = age(req(ctx).headers.get(header, ""), now())
        if waited is None or not queue.is_too_old(clock(), waited):
            return {}
        return {"reason": "queue", "waited": round(waited, 3)}

    def load_shed(ctx: Any, call: Call[Any]) -> Any:
        why = too_late(ctx)
        if not why:
            return call(ctx)
        events("warning", "load_shed.rejected", **why, **called(ctx))
        if is_asked(ctx):
            return shed(ctx, "load_shed", random)
        raise DeadlineExceeded("the deadline had passed before the call was made")

    return load_shed
