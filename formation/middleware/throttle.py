"""Call no more often than so: wait for one's turn, or be turned away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from formation import bridge
from formation import clock as clock_
from formation.errors import StorageUnavailable, ThrottleRejected
from formation.events import Events, called
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE
from formation.places import Key, chosen
from formation.resilience.checks import seconds
from formation.resilience.shared_turns import RedisTurns
from formation.resilience.turns import MemoryTurns, Quota, Turns
from formation.storage.choice import Storage, kept_in
from formation.storage.outages import Outages


def throttle(
    rate: float,
    per: float = 1,
    *,
    burst: int = 1,
    max_wait: float | None = None,
    key: Key | None = None,
    storage: Storage | Turns | None = None,
    fail_open: bool = True,
    logger: Any = None,
    sleep: Callable[[float], None] = bridge.sleep,
    clock: Callable[[], float] = clock_.monotonic,
) -> Middleware[Any]:
    """Let ``rate`` calls through in ``per`` seconds, evenly; who comes too early waits, in the order of arrival.

    Each origin (scheme, host, port) has a rate of its own, in the memory of the process, or in a Redis for many
    processes together; all calls without a request share one. In any stretch of T seconds go
    ``burst + rate / per * T`` calls at most. A call that would wait longer than ``max_wait``, or until after its
    deadline, is turned away at once, and takes nobody's turn; nor does one that is cancelled while it waits. Events:
    ``throttle.delayed`` (debug), ``throttle.rejected`` (warning), ``storage.unavailable`` (warning, once a minute).

    Args:
        rate: calls, above 0.
        per: seconds, above 0.
        burst: calls that may go at once after a pause. One: evenly from the start.
        max_wait: seconds; 0: never wait; ``None``: as long as the deadline allows.
        key: a function of the context: which rate it counts for. ``None``: by origin.
        storage: a `formation.storage.Redis`, or its URL: many processes share the rate, by the clock of Redis; a key
            is then text, bytes, a number or a tuple of these. Or `Turns` of your own. ``None``: in memory.
        fail_open: where the storage does not answer, call at once; false: turn away.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        sleep: waits so many seconds; a plain function, also in an async chain.
        clock: monotonic seconds.

    Raises:
        ValueError: a number that cannot be.
        TypeError: ``key``, ``storage`` or ``logger`` is none, ``sleep`` is an ``async def``.
        ImportError: a Redis without redis-py.
        ThrottleRejected: at a call; ``retry_after`` says after how many seconds there is a turn.

    Order:
        Inside of `retry`: each attempt is a call. Inside of `circuit_breaker`: who is turned away there needs no turn.

    >>> from formation import lift
    >>> @lift(middleware=[throttle(10, 60, max_wait=0)])
    ... def ask():
    ...     return 42
    >>> ask()
    42
    >>> ask()
    Traceback (most recent call last):
    formation.errors.ThrottleRejected: the rate is used up: the next turn is in ... s
    """
    quota, which, events = Quota(rate, per, burst), chosen(key), Events(logger)
    if max_wait is not None:
        seconds("max_wait", max_wait)
    if is_coroutine_callable(sleep):
        raise TypeError(f"expected sleep as a plain function, got {sleep!r}: formation.sleep awaits where it has to")
    turns: Turns = kept_in(storage, "reserve", partial(MemoryTurns, clock), RedisTurns)
    outages = Outages("throttle", events, clock)

    def throttle(ctx: Any, call: Call[Any]) -> Any:
        place, patience = which(ctx), max_wait
        if isinstance(ctx, dict) and (deadline := ctx.get(DEADLINE)) is not None:
            left = max(deadline - clock(), 0)
            patience = left if patience is None else min(patience, left)
        try:
            wait, slot = turns.reserve(place, quota, patience)
        except StorageUnavailable as error:
            outages(error, fail_open=fail_open)
            if fail_open:
                return call(ctx)
            raise ThrottleRejected(str(error), name="throttle", retry_after=error.retry_after) from error
        if slot is None:
            events("warning", "throttle.rejected", key=place, retry_after=round(wait, 3), **called(ctx))
            said = f"the rate is used up: the next turn is in {wait:.3g} s"
            raise ThrottleRejected(said, name="throttle" if place is None else str(place), retry_after=wait)
        if wait:
            events("debug", "throttle.delayed", key=place, delay=round(wait, 3), **called(ctx))
            try:
                sleep(wait)
            except BaseException:
                with suppress(Exception):  # a slot may be lost; why this call ends may not
                    turns.give_back(place, quota, slot)
                raise
        return call(ctx)

    throttle.rate, throttle.per, throttle.burst = rate, per, burst  # type: ignore[attr-defined]  # for who wants to look
    throttle.turns = turns  # type: ignore[attr-defined]
    return throttle
