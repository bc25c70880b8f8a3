"""Ask a second time where the first answer takes unusually long, and take whichever comes first.

Theory of operation
-------------------
Most calls that are slow are so by chance: a queue, a collection of garbage. The same call made again is fast. So after
the time in which 95 of 100 calls are done, a second one is sent, and the loser is given up. Each attempt has a fork of
the context; the winner's is merged. How they run side by side is in ``formation/resilience/race.py``.

If the server has become slow as a whole, every call would be late. A `Budget` keeps the extra calls to one in twenty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, Literal

from formation import clock as clock_
from formation.events import Events, called
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPTS, REQ_HTTP, REQ_RPC, SIDE
from formation.places import by_origin
from formation.resilience.attempts import Outcome
from formation.resilience.budget import Budget
from formation.resilience.checks import count, positive
from formation.resilience.forks import merge
from formation.resilience.keyed import Keyed
from formation.resilience.policy import Policy
from formation.resilience.race import Attempts, runner

QUANTILE: Final = 0.95
"""One call in twenty is late by it, which is what the budget pays for."""

SAMPLES: Final = 200
"""Latencies kept for each origin; the quantile is then the tenth from above."""

FEWEST: Final = 20
"""Latencies from which on there is a quantile; before, nobody hedges."""


def hedge(
    delay: float | Literal["p95"] = "p95",
    *,
    extra: int = 1,
    idempotent: bool = False,
    budget: Budget | float | None = 0.05,
    logger: Any = None,
    clock: Callable[[], float] = clock_.monotonic,
) -> Middleware[Any]:
    """Call again if there is no answer after ``delay``, and return whichever answer comes first.

    Only requests of a client that may be repeated, with a body of bytes and no stream: GET, HEAD, OPTIONS, TRACE, PUT,
    DELETE, and any method with an ``Idempotency-Key``; and functions. An attempt that fails lets the next one start at
    once; if all fail, the outcome of the first counts. In an async chain on asyncio the losers are cancelled; in a sync
    chain each attempt has a thread, and what a loser brings is closed. On trio and on a server nothing is done. Event:
    ``hedge.sent`` (info).

    Args:
        delay: seconds, above 0; ``"p95"``: the time in which 95 of the last calls of 100 to this origin were done.
        extra: attempts besides the first.
        idempotent: every request may be repeated, whatever its method.
        budget: extra calls for each call, for each origin, and ten to begin with; a `Budget` may be shared; ``None``:
            as many as are late.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        clock: monotonic seconds, for the latencies.

    Raises:
        ValueError: a number that cannot be.
        TypeError: ``logger`` is none.

    Order:
        In the place of `retry`, not with it: outside of `circuit_breaker` and `timeout`.

    >>> from formation import lift
    >>> @lift(middleware=[hedge(60)])
    ... def ask():
    ...     return 42
    >>> ask()
    42
    """
    if delay != "p95":
        positive("delay", delay)
    count("extra", extra)
    events = Events(logger)
    policy = Policy(idempotent=idempotent)
    account = Budget.ratio(budget) if isinstance(budget, (int, float)) else budget
    latencies = Keyed(lambda key: deque[float](maxlen=SAMPLES))

    def hedge(ctx: Any, call: Call[Any]) -> Any:
        place = by_origin(ctx)
        recent = latencies[place]
        pause = _quantile(recent) if delay == "p95" else float(delay)
        race = runner() if pause is not None and _may(ctx, policy) else None

        def failed(outcome: Outcome) -> bool:
            return policy.failed(outcome, http=isinstance(ctx, dict) and REQ_HTTP in ctx)

        def begun(number: int) -> None:
            events("info", "hedge.sent", attempt=number, delay=round(pause or 0, 3), **called(ctx))

        started, ok = clock(), None
        try:
            if race is None or pause is None:
                outcome = Outcome(1, call(ctx), None, 0)
            else:
                pays, refund = partial(_pay, account, place), partial(_refund, account, place)
                attempts = Attempts(ctx, call, extra, pays, failed, begun=begun, refund=refund, clock=clock)
                outcome = race(attempts, pause)
                if isinstance(outcome.ctx, dict):
                    outcome.ctx[ATTEMPTS] = attempts.ledger
            ok = outcome.error is None and not policy.failed(outcome, http=True)
            if ok:
                recent.append(clock() - started)
        finally:
            if account is not None:
                account.settle(place, paid=0, ok=ok)
        merged = merge(ctx, outcome.ctx)
        outcome.unwrap()
        return merged

    hedge.budget = account  # type: ignore[attr-defined]  # for whoever wants to look
    return hedge


def _quantile(recent: deque[float]) -> float | None:
    seen = sorted(recent.copy())
    return seen[int(QUANTILE * len(seen))] if len(seen) >= FEWEST else None


def _pay(account: Budget | None, place: Hashable, number: int) -> bool:
    return account is None or account.take(place) > 0


def _refund(account: Budget | None, place: Hashable) -> None:
    if account is not None:
        account.settle(place, paid=account.cost, ok=None)


def _may(ctx: Any, policy: Policy) -> bool:
    """Tell whether there may be two of this call at the same time."""
    if not isinstance(ctx, dict):
        return True
    if REQ_RPC in ctx:  # it does not tell whether it may be made twice
        return False
    request = ctx.get(REQ_HTTP)
    if request is None or ctx.get(SIDE) == "server":
        return request is None
    return policy.repeatable(request, None) and request.body.is_bytes and not request.extensions.get("stream")
