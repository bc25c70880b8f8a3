"""How long a call took."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import perf_counter
from typing import Any

from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_DURATION


def request_duration(now: Callable[[], Any] = perf_counter) -> Middleware[Ctx]:
    """Put the time that the call took into ``ctx["req.duration_us"]``, in whole microseconds.

    When the call raises, it is in the context that went in. A streamed body comes after the call and does not count.

    Args:
        now: a clock, in seconds or as a ``datetime``. The default is monotonic: it does not jump when somebody sets the
            time. With one that does, a negative duration is given as 0.

    Raises:
        TypeError: ``now`` cannot be called.

    Order:
        Outside of what is to be timed: outside of `retry` it is the whole call, inside one attempt.

    >>> ticks = iter([10.0, 10.25])
    >>> request_duration(now=lambda: next(ticks))({}, lambda ctx: ctx)
    {'req.duration_us': 250000}
    """
    if not callable(now):
        message = f"expected now as a function that tells the time, got {now!r}"
        raise TypeError(message)

    def request_duration(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        started = now()
        try:
            ctx = call(ctx)
        finally:
            ctx[REQ_DURATION] = microseconds(now() - started)
        return ctx

    return request_duration


def microseconds(elapsed: float | timedelta) -> int:
    """Return seconds, or a ``timedelta``, as microseconds.

    >>> microseconds(0.25), microseconds(timedelta(milliseconds=1)), microseconds(-1)
    (250000, 1000, 0)
    """
    exact = elapsed // timedelta(microseconds=1) if isinstance(elapsed, timedelta) else round(elapsed * 1e6)
    return max(exact, 0)
