"""A time limit for each request that has none of its own, and for each call of a function."""

from __future__ import annotations

from typing import Any, Literal

from formation.clock import monotonic
from formation.errors import AttemptTimeout, ConnectTimeout, DeadlineExceeded, ReadTimeout, WriteTimeout
from formation.events import Events, called
from formation.http.timeouts import UNSET, Timeout, Unset, check_timeout
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE, KIND, REQ_HTTP, REQ_RPC, SIDE
from formation.resilience.deadlines import TICK, announce
from formation.resilience.time_limit import TimeLimit


def timeout(
    seconds: Timeout | Unset = UNSET,
    *,
    connect: float | Unset | None = UNSET,
    body: Literal["idle", "deadline"] = "idle",
    logger: Any = None,
) -> Middleware[Any]:
    """Give requests of a client that have no timeout this one; end a function, or a server's app, that takes longer.

    *On a client* what the client or the call says wins, ``None`` (for ever) too. The timeout bounds the connect, and
    each wait for bytes: a server that sends a byte a second is never late. With ``body="deadline"`` it bounds the whole
    attempt, to the last byte of its body, and an `AttemptTimeout` is raised.

    *Around a function, and on a server*, it bounds the call: in an async chain on asyncio what is awaited is cancelled,
    and an `AttemptTimeout` raised, which `retry` may try again after. Elsewhere no function can be ended from outside,
    and nothing is done. On a server the call is over with the head of the response; a WebSocket passes. Event:
    ``timeout.attempt`` (warning).

    Args:
        seconds: above 0, for connecting and for reading alike, or a pair ``(connect, read)``, of which a function has
            the second; ``None`` waits for ever. Where nothing is given, nothing is changed: the edge's own default
            counts.
        connect: seconds for connecting alone, in place of a pair: who is there answers soon.
        body: what the seconds are for, on a client: ``"idle"`` for each wait, ``"deadline"`` for all of them together.
            Of a stream what is read later counts as well; it then ends with a `DeadlineExceeded`.
        logger: see `Events`.

    Raises:
        ValueError: it is no such number; another ``body``; a pair and ``connect``.
        TypeError: ``logger`` is none.
        AttemptTimeout: at a call.

    Order:
        Inside of `retry`: each attempt has the whole time. `deadline` bounds all of them.

    >>> from formation.http import Request
    >>> ctx = timeout(10, connect=3)({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].timeout
    (3, 10)
    """
    given = _joined(seconds, connect)
    if body not in {"idle", "deadline"}:
        raise ValueError(f"expected body as 'idle' or 'deadline', got {body!r}")
    limit, events = _whole(given), Events(logger)

    def timeout(ctx: Any, call: Call[Any]) -> Any:
        known = ctx if isinstance(ctx, dict) else {}
        request = known.get(REQ_HTTP) or known.get(REQ_RPC)
        if request is not None and known.get(SIDE) != "server":
            is_ours = request.timeout is UNSET
            if is_ours:
                request.timeout = given
            whole = _whole(request.timeout)
            try:
                return call(ctx) if body == "idle" or whole is None else _attempt(ctx, call, whole)
            except (AttemptTimeout, ConnectTimeout, ReadTimeout, WriteTimeout) as error:
                if is_ours or body == "deadline":  # else somebody else's, who tells of it
                    events("warning", "timeout.attempt", error=type(error).__name__, **called(ctx))
                raise
        if limit is None or known.get(KIND) == "websocket":
            return call(ctx)

        def exceeded() -> AttemptTimeout:
            events("warning", "timeout.attempt", seconds=limit, **called(ctx))
            return AttemptTimeout(f"it took longer than {limit} s")

        with TimeLimit(limit, exceeded):
            return call(ctx)

    timeout.seconds = limit  # type: ignore[attr-defined]  # for whoever wants to look
    return timeout


def _joined(seconds: Timeout | Unset, connect: float | Unset | None) -> Timeout | Unset:
    if isinstance(connect, Unset):
        return check_timeout(seconds)
    if seconds is UNSET or isinstance(seconds, tuple):
        raise ValueError(f"expected seconds as a number beside connect={connect!r}, got {seconds!r}")
    return check_timeout((connect, seconds))


def _whole(seconds: Timeout | Unset) -> float | None:
    """Return how long an attempt may take, by what is said for reading."""
    whole = seconds[1] if isinstance(seconds, tuple) else seconds
    return None if isinstance(whole, Unset) else whole


def _attempt(ctx: Any, call: Call[Any], seconds: float) -> Any:
    """Call with a deadline for this attempt: the edges keep to one, to the last byte."""
    before, until = ctx.get(DEADLINE), monotonic() + seconds
    if before is not None and before <= until:
        return call(ctx)
    out = ctx
    ctx[DEADLINE] = until
    announce(ctx)  # a server need not work on for longer than this
    try:
        out = call(ctx)
    except DeadlineExceeded as error:
        if monotonic() < until - TICK:  # somebody's inside who has less time
            raise
        raise AttemptTimeout(f"it took longer than {seconds} s") from error
    finally:
        for each in (ctx, out):
            if isinstance(each, dict) and each.get(DEADLINE) == until:
                each[DEADLINE] = before
                if before is None:
                    del each[DEADLINE]
    return out
