"""A time limit for each request that has none of its own, and for each call of a function."""

from __future__ import annotations

from typing import Any

from formation.errors import AttemptTimeout
from formation.http.request import UNSET, Timeout, Unset, check_timeout
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, SIDE
from formation.middleware._events import Events, called
from formation.resilience.limit import Limit


def timeout(seconds: Timeout | Unset = UNSET, *, logger: Any = None) -> Middleware[Any]:
    """Give requests of a client that have no timeout this one; end a function, or a server's app, that takes longer.

    *On a client* what the client or the call says wins, ``None`` (for ever) too. The timeout bounds the connect, and
    each wait for bytes.

    *Around a function, and on a server*, it bounds the call: in an async chain on asyncio what is awaited is cancelled,
    and an `AttemptTimeout` raised, which `retry` may try again after. Elsewhere no function can be ended from outside,
    and nothing is done. On a server the call is over with the head of the response; a WebSocket passes. Event:
    ``timeout.attempt`` (warning).

    Args:
        seconds: above 0, for connecting and for reading alike, or a pair ``(connect, read)``, of which a function has
            the second; ``None`` waits for ever. Where nothing is given, nothing is changed: the edge's own default
            counts.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        ValueError: it is no such number.
        TypeError: ``logger`` is none.
        AttemptTimeout: at a call.

    Order:
        Inside of `retry`: each attempt has the whole time. `deadline` bounds all of them.

    >>> from formation.http import Request
    >>> ctx = timeout(2.5)({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].timeout
    2.5
    """
    check_timeout(seconds)
    whole = seconds[1] if isinstance(seconds, tuple) else seconds
    limit = None if isinstance(whole, Unset) else whole
    events = Events(logger)

    def timeout(ctx: Any, call: Call[Any]) -> Any:
        known = ctx if isinstance(ctx, dict) else {}
        request = known.get(REQ_HTTP)
        if request is not None and known.get(SIDE) != "server":
            if request.timeout is UNSET:
                request.timeout = seconds
            return call(ctx)
        if limit is None or known.get(KIND) == "websocket":
            return call(ctx)

        def exceeded() -> AttemptTimeout:
            events("warning", "timeout.attempt", seconds=limit, **called(ctx))
            return AttemptTimeout(f"it took longer than {limit} s")

        with Limit(limit, exceeded):
            return call(ctx)

    timeout.seconds = limit  # type: ignore[attr-defined]  # for whoever wants to look
    return timeout
