"""Let calls fail now and then, on purpose, to see what comes of it before it happens by itself."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from formation import bridge
from formation import clock as clock_
from formation.errors import ProtocolError
from formation.events import Events, called
from formation.exchange import reply
from formation.http.response import Response
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE, REQ_HTTP, REQ_RPC, STATE, STATE_CHAOS
from formation.resilience.checks import seconds


def chaos(
    fault: float = 0.001,
    latency: float = 0.001,
    status: float = 0.001,
    *,
    enabled: bool | Callable[[Any], bool] = False,
    error: Callable[[str], Exception] = ProtocolError,
    delay: float = 1,
    code: int = 503,
    seed: int | None = None,
    logger: Any = None,
    sleep: Callable[[float], None] = bridge.sleep,
    clock: Callable[[], float] = clock_.monotonic,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Raise an error in place of a call, delay it, or answer it with a status, each with a probability of its own.

    What is outside cannot tell it from what happens by itself. ``ctx["fmtn.state"]["chaos"]`` lists what was done:
    ``"fault"``, or ``"latency"`` and ``"status"``. Only a request can be answered with a status. Event:
    ``chaos.injected`` (warning).

    Args:
        fault: probability of an error, from 0 to 1. One of a thousand, as in Polly: seldom enough for production.
        latency: of a delay.
        status: of an answer with a status.
        enabled: whether to do anything; a function of the context: for which calls. It has to be said.
        error: a type of error, or a function of a message that makes one.
        delay: seconds, random up to this; not past the deadline.
        code: the status.
        seed: the same one gives the same lots.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        sleep: waits so many seconds; a plain function, also in an async chain.
        clock: monotonic seconds, for the deadline.
        random: a number between two, in place of ``seed``.

    Raises:
        ValueError: a probability that is none, a delay below 0, a status that does not exist.
        TypeError: ``error`` cannot be called, ``sleep`` is an ``async def``, ``logger`` is none.

    Order:
        Innermost: then `retry`, `circuit_breaker` and `timeout` have to do with it.

    >>> import logging
    >>> from formation import lift
    >>> @lift(middleware=[chaos(fault=0.5, enabled=True, seed=3, logger=logging.getLogger("quiet"))])
    ... def ask():
    ...     return 42
    >>> ask()
    Traceback (most recent call last):
    formation.errors.ProtocolError: injected by chaos
    >>> ask()
    42
    """
    _check(delay, code, error, fault=fault, latency=latency, status=status)
    if is_coroutine_callable(sleep):
        raise TypeError(f"expected sleep as a plain function, got {sleep!r}: formation.sleep awaits where it has to")
    events, draw = Events(logger), random if seed is None else Random(seed).uniform
    applies = enabled if callable(enabled) else lambda ctx: enabled

    def inject(ctx: Any, kind: str, **fields: Any) -> None:
        if isinstance(ctx, dict):
            ctx.setdefault(STATE, {}).setdefault(STATE_CHAOS, []).append(kind)
        events("warning", "chaos.injected", kind=kind, **fields, **called(ctx))

    def chaos(ctx: Any, call: Call[Any]) -> Any:
        if not applies(ctx):
            return call(ctx)
        # All are drawn for each call, so that what one does leaves the lots of the next as they are.
        is_faulty, is_late, is_answered = draw(0, 1) < fault, draw(0, 1) < latency, draw(0, 1) < status
        pause = draw(0, delay)
        if is_faulty:
            made = error("injected by chaos")
            inject(ctx, "fault", error=type(made).__name__)
            raise made
        if is_late:
            pause = _within(ctx, pause, clock)
            inject(ctx, "latency", delay=round(pause, 3))
            sleep(pause)
        if is_answered and isinstance(ctx, dict) and (REQ_HTTP in ctx or REQ_RPC in ctx):
            inject(ctx, "status", status=code)
            return reply(ctx, code)
        return call(ctx)

    return chaos


def _within(ctx: Any, pause: float, clock: Callable[[], float]) -> float:
    """Return the pause, or what is left until the deadline."""
    if not isinstance(ctx, dict) or DEADLINE not in ctx:
        return pause
    left: float = ctx[DEADLINE] - clock()
    return min(pause, max(left, 0))


def _check(delay: float, code: int, error: Any, **probabilities: float) -> None:
    for name, value in probabilities.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"expected {name} as a probability from 0 to 1, got {value!r}")
    seconds("delay", delay)
    Response(code)  # refuses what is no status
    if not callable(error):
        raise TypeError(f"expected error as a type of error, or a function that makes one, got {error!r}")
