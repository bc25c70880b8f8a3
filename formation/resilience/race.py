"""Several attempts of one call side by side: one starts after the other, and the first that brings what counts wins.

Theory of operation
-------------------
`Attempts` knows how many there are and which outcome counts, not how they run. On asyncio each is a task, and those
that have lost are cancelled. In a sync chain each is a thread, which nobody can end: what it brings after the end is
closed. In an async chain that is not on asyncio there is neither, so there is no race.

>>> two = Attempts({}, dict, 1, lambda number: True, lambda outcome: outcome.error is not None)
>>> in_threads(two, 60).number
1
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, Lock, Thread
from typing import TYPE_CHECKING, Any

from formation import bridge
from formation.clock import monotonic
from formation.keys import ATTEMPT
from formation.resilience.attempts import Attempt, Outcome
from formation.resilience.forks import fork

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Attempts:
    """The attempts of a call: how many there were, how many may come, and which outcome counts.

    Args:
        ctx: of the call; each attempt has a fork of it.
        call: what is called.
        extra: attempts besides the first.
        pays: is told the number of each of those, and tells whether it may be made.
        failed: whether another attempt may do better than this outcome.
        begun: is told the number of each of those that is under way.
        refund: is called where one was paid for and could not be begun.
        clock: monotonic seconds, for the ledger.
    """

    def __init__(
        self,
        ctx: Any,
        call: Callable[[Any], Any],
        extra: int,
        pays: Callable[[int], bool],
        failed: Callable[[Outcome], bool],
        *,
        begun: Callable[[int], object] = lambda number: None,
        refund: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.call, self._pays, self._failed, self._begun, self._refund = call, pays, failed, begun, refund
        # All are forked here: the first may already change what it has in a thread while the second is forked.
        self._forks = [fork(ctx) for _ in range(extra + 1)]
        self.number = 0
        self.running = 0
        self._clock = clock
        self._started: list[float] = []
        self._ended: dict[int, Attempt] = {}
        self._first: Outcome | None = None

    def next(self) -> tuple[int, Any] | None:
        """Return the number and the context of the next attempt, if there is to be one."""
        if self.number >= len(self._forks) or (self.number and not self._pays(self.number + 1)):
            self._forks = self._forks[: self.number]
            return None
        ctx = self._forks[self.number]
        self.number += 1
        self.running += 1
        self._started.append(self._clock())
        if isinstance(ctx, dict):
            ctx[ATTEMPT] = self.number
        return self.number, ctx

    def begin(self) -> None:
        """Say that the last attempt is under way."""
        if self.number > 1:
            self._begun(self.number)

    def forgo(self) -> None:
        """Take the last attempt back, which could not be begun; there shall be no other."""
        self._refund()
        self.number -= 1
        self.running -= 1
        self._started.pop()
        self._forks = self._forks[: self.number]

    @property
    def is_more(self) -> bool:
        """Whether there may be another attempt."""
        return self.number < len(self._forks)

    def judge(self, outcome: Outcome) -> Outcome | None:
        """Return the outcome of the call, if that is known after this one of an attempt."""
        self.running -= 1
        self._ended[outcome.number] = self._attempt(outcome.number, outcome.status, outcome.failure)
        failed = self._failed(outcome)
        if outcome.number == 1:
            self._first = outcome
            if not failed:
                return outcome
        elif outcome.error is None and not failed:
            _close(self._first)
            return outcome
        else:
            _close(outcome)
        return None if self.running or self.is_more else self._first

    @property
    def ledger(self) -> list[Attempt]:
        """The attempts so far; one that was given up has the error ``Overtaken``."""
        numbers = range(1, self.number + 1)
        return [self._ended.get(number) or self._attempt(number, None, "Overtaken") for number in numbers]

    def _attempt(self, number: int, status: int | None, error: str | None) -> Attempt:
        return Attempt(number, status, error, 0.0, self._clock() - self._started[number - 1])

    def first(self) -> Outcome | None:
        """Return the outcome of the first, once nothing more is to come."""
        return None if self.running else self._first


def runner() -> Callable[[Attempts, float], Outcome] | None:
    """Return what can run attempts side by side here: a function of them, and of the seconds between two."""
    if not bridge.in_async_chain():
        return in_threads
    import asyncio  # an async program has it, or trio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return lambda attempts, pause: bridge.await_(in_tasks(attempts, pause))


async def in_tasks(attempts: Attempts, pause: float) -> Outcome:
    """Run each attempt in a task; cancel those that have lost."""
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
            attempts.begin()

    try:
        start()
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


def in_threads(attempts: Attempts, pause: float) -> Outcome:
    """Run each attempt in a thread; close what those that have lost bring."""
    arrivals = Arrivals()

    def start() -> None:
        if (found := attempts.next()) is not None:
            run = copy_context().run
            try:
                Thread(
                    target=run, args=(arrivals.run, attempts.call, *found), name="formation.hedge", daemon=True
                ).start()
            except RuntimeError:  # there are too many, or the interpreter is about to end
                if attempts.number > 1:
                    attempts.forgo()
                else:
                    run(arrivals.run, attempts.call, *found)
            else:
                attempts.begin()

    try:
        start()
        while True:
            arrived = arrivals.next(pause if attempts.is_more else None)
            if arrived is not None and (outcome := attempts.judge(arrived)) is not None:
                return outcome
            start()
            if (first := attempts.first()) is not None:
                return first
    finally:
        arrivals.end()


class Arrivals:
    """Where threads bring their outcomes; after the end, what is brought is closed."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Outcome] = SimpleQueue()
        self._lock = Lock()
        self._is_over = False

    def run(self, call: Callable[[Any], Any], number: int, ctx: Any) -> None:
        """Make an attempt and bring what comes of it."""
        try:
            outcome = Outcome(number, call(ctx), None, 0)
        except BaseException as error:  # noqa: BLE001  it is raised in the thread of the caller
            outcome = Outcome(number, ctx, error, 0)
        with self._lock:
            if not self._is_over:
                self._queue.put(outcome)
                return
        _close(outcome)

    def next(self, seconds: float | None) -> Outcome | None:
        """Wait for an outcome, so many seconds at most."""
        with suppress(Empty):
            return self._queue.get(timeout=None if seconds is None else min(seconds, TIMEOUT_MAX))
        return None

    def end(self) -> None:
        """Close what has come beside the one that counts, and what comes from now on."""
        with self._lock:
            self._is_over = True
        while (late := self.next(0)) is not None:
            _close(late)


def _close(outcome: Outcome | None) -> None:
    if outcome is not None:
        with suppress(Exception):
            outcome.close()


def _drop(task: asyncio.Task[Outcome]) -> None:
    """Give up what a loser has brought all the same."""
    if not task.cancelled() and task.exception() is None:
        _close(task.result())
