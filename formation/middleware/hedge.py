"""Ask a second time where the first answer takes unusually long, and take whichever comes first.

Theory of operation
-------------------
Most calls that are slow are so by chance: a queue, a collection of garbage. The same call made again is fast. So after
the time in which 95 of 100 calls are done, a second one is sent, and the loser is given up: on asyncio its task is
cancelled, in a sync chain its thread goes on, and what it brings is closed. Each attempt has a fork of the context; the
winner's is merged.

If the server has become slow as a whole, every call would be late. A `Budget` keeps the extra calls to one in twenty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, Literal

from formation import bridge
from formation import clock as clock_
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPT, REQ_HTTP, SIDE
from formation.middleware._events import Events, called
from formation.middleware._keys import by_origin
from formation.resilience.budget import Budget
from formation.resilience.checks import count, positive
from formation.resilience.forks import fork, merge
from formation.resilience.keyed import Keyed
from formation.resilience.policy import Outcome, Policy

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
    policy = Policy(
        attempts=1,
        base=0,
        throttled_base=0,
        cap=0,
        on=None,
        idempotent=idempotent,
        max_retry_after=None,
        hints=(),
        wait=None,
        stop=None,
        random=clock_.uniform,
        now=clock_.time,
    )
    account = Budget.ratio(budget) if isinstance(budget, (int, float)) else budget
    latencies = Keyed(lambda key: deque[float](maxlen=SAMPLES))

    def hedge(ctx: Any, call: Call[Any]) -> Any:
        place = by_origin(ctx)
        recent = latencies[place]
        pause = _quantile(recent) if delay == "p95" else float(delay)
        race = _race() if pause is not None and _may(ctx, policy) else None

        def pays(number: int) -> bool:
            if account is not None and not account.take(place):
                return False
            events("info", "hedge.sent", attempt=number, delay=round(pause or 0, 3), **called(ctx))
            return True

        started, ok = clock(), None
        try:
            if race is None or pause is None:
                outcome = Outcome(1, call(ctx), None, 0)
            else:
                outcome = race(_Attempts(ctx, call, extra, pays, policy), pause)
            ok = outcome.error is None and not policy.failed(outcome, http=True)
            if ok:
                recent.append(clock() - started)
        finally:
            if account is not None:
                account.settle(place, paid=0, ok=ok)
        merged = merge(ctx, outcome.ctx)
        outcome.unwrap()
        return merged

    return hedge


def _quantile(recent: deque[float]) -> float | None:
    seen = sorted(recent.copy())
    return seen[int(QUANTILE * len(seen))] if len(seen) >= FEWEST else None


def _may(ctx: Any, policy: Policy) -> bool:
    """Tell whether there may be two of this call at the same time."""
    if not isinstance(ctx, dict):
        return True
    request = ctx.get(REQ_HTTP)
    if request is None or ctx.get(SIDE) == "server":
        return request is None
    return policy.repeatable(request, None) and request.body.is_bytes and not request.extensions.get("stream")


class _Attempts:
    """The attempts of a call: how many there were, how many may come, and which outcome counts."""

    def __init__(self, ctx: Any, call: Call[Any], extra: int, pays: Callable[[int], bool], policy: Policy) -> None:
        self.call, self._pays, self._policy = call, pays, policy
        self._http = isinstance(ctx, dict) and REQ_HTTP in ctx
        # All are forked here: the first may already change what it has in a thread while the second is forked.
        self._forks = [fork(ctx) for _ in range(extra + 1)]
        self.number = 0
        self.running = 0
        self._first: Outcome | None = None

    def next(self) -> tuple[int, Any] | None:
        """Return the number and the context of the next attempt, if there is to be one."""
        if self.number >= len(self._forks) or (self.number and not self._pays(self.number + 1)):
            self._forks = self._forks[: self.number]
            return None
        ctx = self._forks[self.number]
        self.number += 1
        self.running += 1
        if isinstance(ctx, dict):
            ctx[ATTEMPT] = self.number
        return self.number, ctx

    @property
    def is_more(self) -> bool:
        """Whether there may be another attempt."""
        return self.number < len(self._forks)

    def judge(self, outcome: Outcome) -> Outcome | None:
        """Return the outcome of the call, if that is known after this one of an attempt."""
        self.running -= 1
        failed = self._policy.failed(outcome, http=self._http)
        if outcome.number == 1:
            self._first = outcome
            if not failed:
                return outcome
        elif outcome.error is None and not failed:
            self._close(self._first)
            return outcome
        else:
            self._close(outcome)
        return None if self.running or self.is_more else self._first

    @staticmethod
    def _close(outcome: Outcome | None) -> None:
        if outcome is not None:
            with suppress(Exception):
                outcome.close()

    def first(self) -> Outcome | None:
        """Return the outcome of the first, once nothing more is to come."""
        return None if self.running else self._first


def _race() -> Callable[[_Attempts, float], Outcome] | None:
    """Return what can run attempts side by side here."""
    if not bridge.in_async_chain():
        return _race_threads
    import asyncio  # an async program has it, or trio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return _race_tasks


def _race_tasks(attempts: _Attempts, pause: float) -> Outcome:
    return bridge.await_(_tasks(attempts, pause))


async def _tasks(attempts: _Attempts, pause: float) -> Outcome:
    import asyncio

    async def attempt(number: int, ctx: Any) -> Outcome:
        try:
            return Outcome(number, await bridge.run(attempts.call, ctx), None, 0)
        except Exception as error:  # noqa: BLE001  the others may do better
            return Outcome(number, ctx, error, 0)

    tasks: set[asyncio.Task[Outcome]] = set()

    def start() -> None:
        if (found := attempts.next()) is not None:
            tasks.add(asyncio.create_task(attempt(*found)))

    start()
    try:
        while True:
            done, _ = await asyncio.wait(
                tasks, timeout=pause if attempts.is_more else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                tasks.discard(task)
                if (outcome := attempts.judge(task.result())) is not None:
                    return outcome
            start()
            if (first := attempts.first()) is not None:
                return first
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_drop)


def _drop(task: Any) -> None:
    """Give up what a loser has brought all the same."""
    if not task.cancelled() and task.exception() is None:
        with suppress(Exception):
            task.result().close()


class _Arrivals:
    """Where threads bring their outcomes; after the end, what is brought is closed."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Outcome] = SimpleQueue()
        self._lock = Lock()
        self._is_over = False

    def run(self, call: Call[Any], number: int, ctx: Any) -> None:
        try:
            outcome = Outcome(number, call(ctx), None, 0)
        except BaseException as error:  # noqa: BLE001  it is raised in the thread of the caller
            outcome = Outcome(number, ctx, error, 0)
        with self._lock:
            if not self._is_over:
                self._queue.put(outcome)
                return
        with suppress(Exception):
            outcome.close()

    def next(self, seconds: float | None) -> Outcome | None:
        with suppress(Empty):
            return self._queue.get(timeout=seconds)
        return None

    def end(self) -> None:
        with self._lock:
            self._is_over = True
        while (late := self.next(0)) is not None:
            with suppress(Exception):
                late.close()


def _race_threads(attempts: _Attempts, pause: float) -> Outcome:
    arrivals = _Arrivals()

    def start() -> None:
        if (found := attempts.next()) is not None:
            run = partial(copy_context().run, arrivals.run, attempts.call, *found)
            Thread(target=run, name="formation.hedge", daemon=True).start()

    start()
    try:
        while True:
            arrived = arrivals.next(pause if attempts.is_more else None)
            if arrived is not None and (outcome := attempts.judge(arrived)) is not None:
                return outcome
            start()
            if (first := attempts.first()) is not None:
                return first
    finally:
        arrivals.end()
