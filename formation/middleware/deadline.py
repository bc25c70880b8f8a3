"""A time by which a call has to be over, whatever it does inside: attempts, pauses, calls to others."""

from __future__ import annotations

from typing import Any

from formation.clock import monotonic
from formation.errors import DeadlineExceeded
from formation.events import Events, called
from formation.exchange import reply
from formation.http.headers import check_name
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE, KIND, REQ_HTTP, REQ_RPC, SIDE, STATE, STATE_DEADLINE_HEADER
from formation.resilience.checks import seconds
from formation.resilience.deadlines import TICK, announce, read
from formation.resilience.time_limit import TimeLimit


def deadline(
    total: float | None = 30, *, header: str | None = None, trusted: bool = False, logger: Any = None
) -> Middleware[Any]:
    """End the call ``total`` seconds from now; where it has less time already, that counts.

    The time is in ``ctx["fmtn.deadline"]``. All that waits inside keeps to it, and so do the calls of clients below a
    server's chain. When it has come, a `DeadlineExceeded` is raised, which nobody retries. If there is no time left to
    begin with, nothing is called; a server then answers 504.

    In an async chain on asyncio, what is awaited is cancelled. Elsewhere no function can be ended from outside: it goes
    on until the next thing that keeps to the deadline. On a server the call is over with the head of the response. A
    WebSocket is no call that ends soon, and passes. Event: ``deadline.exceeded`` (error).

    Args:
        total: seconds; ``None``: what is left already. Half a minute, as load balancers give a request.
        header: tells how much is left, in milliseconds: ``"grpc-timeout"``, ``"x-envoy-expected-rq-timeout-ms"``, or a
            name of your own. A client sends it, with each attempt; a server heeds it if it is ``trusted``.
        trusted: on a server, whether those who ask may shorten the time.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        ValueError: seconds below 0, a header that is none.
        TypeError: ``logger`` is none.
        DeadlineExceeded: at a call.

    Order:
        Outside of `retry`, to bound all of the attempts; inside of `exception_handler`, which answers 504.

    >>> deadline(2)({"fmtn.deadline": 0.0}, lambda ctx: ctx)
    Traceback (most recent call last):
    formation.errors.DeadlineExceeded: the deadline has passed before anything was done
    """
    if total is not None:
        seconds("total", total)
    if header is not None:
        check_name(header)
    events = Events(logger)

    def deadline(ctx: Any, call: Call[Any]) -> Any:
        known = ctx if isinstance(ctx, dict) else {}
        now, asked = monotonic(), _asked(known, header) if trusted else None
        given: float | None = known.get(DEADLINE)
        own = min((now + each for each in (total, asked) if each is not None), default=None)
        if (own is None and given is None) or known.get(KIND) == "websocket":
            return call(ctx)
        until = known[DEADLINE] = min(each for each in (own, given) if each is not None)
        if until <= now:
            events("error", "deadline.exceeded", **called(ctx))
            return _refuse(ctx)
        _tell(known, header)
        try:
            with TimeLimit(until - now, _exceeded):
                return call(ctx)
        except DeadlineExceeded:
            if until == own and monotonic() >= until - TICK:  # else it is somebody else's, who tells of it
                events("error", "deadline.exceeded", **called(ctx))
            raise

    deadline.total = total  # type: ignore[attr-defined]  # for whoever wants to look
    return deadline


def _asked(ctx: dict[str, Any], header: str | None) -> float | None:
    """Return the seconds that the caller of a server gives it, if he says so."""
    if header is None or ctx.get(SIDE) != "server" or REQ_HTTP not in ctx:
        return None
    return read(header, ctx[REQ_HTTP].headers.get(header, ""))


def _tell(ctx: dict[str, Any], header: str | None) -> None:
    """Let a client say how much time is left, now and at each attempt."""
    if header is not None and ctx.get(SIDE) != "server" and REQ_HTTP in ctx:
        ctx.setdefault(STATE, {})[STATE_DEADLINE_HEADER] = header
        announce(ctx)


def _refuse(ctx: Any) -> Any:
    if isinstance(ctx, dict) and ctx.get(SIDE) == "server" and (REQ_HTTP in ctx or REQ_RPC in ctx):
        return reply(ctx, 504)
    raise DeadlineExceeded("the deadline has passed before anything was done")


def _exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline has passed")
