"""C5, C6 and C8: who passes a half-open circuit, that no call waits for another, and what a dead endpoint gets.

In threads and tasks of the machine: what is to be seen is what really runs at the same time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from random import Random
from typing import Any

from formation import wrap
from formation.clock import virtual
from formation.errors import CircuitOpenError
from formation.middleware import circuit_breaker
from simulate.lines import Line, least, millis, percent
from simulate.virtual import SILENT, Clock

PATIENCE = 20
"""Seconds after which a check has failed that waits for what does not come."""


class Down(Exception):
    """Stands for an endpoint that fails."""


def down(ctx: Any) -> Any:
    """Fail."""
    raise Down


class HalfOpen:
    """A circuit whose time has come, and callers that all come at once. Its trials last until all others have left."""

    def __init__(self, max_trials: int, callers: int) -> None:
        self.now = 0.0
        self.breaker = circuit_breaker(SILENT, fail_max=1, max_trials=max_trials, clock=lambda: self.now)
        try:
            wrap(down, [self.breaker])({})
        except Down:
            self.now = 61.0
        self.trials, self.turned_away = 0, list[float]()
        self._others, self._left = callers - max_trials, threading.Event()
        self._lock = threading.Lock()

    def _began(self) -> None:
        with self._lock:
            self.trials += 1

    def _rejected(self, started: float) -> None:
        with self._lock:
            self.turned_away.append(time.perf_counter() - started)
            if len(self.turned_away) >= self._others:
                self._left.set()

    def threads(self, number: int, barrier: threading.Barrier) -> list[threading.Thread]:
        """Start so many, which call when all have come to the barrier."""

        def trial(ctx: Any) -> Any:
            self._began()
            self._left.wait(PATIENCE)
            return ctx

        chain = wrap(trial, [self.breaker])

        def call() -> None:
            barrier.wait()
            started = time.perf_counter()
            try:
                chain({})
            except CircuitOpenError:
                self._rejected(started)

        threads = [threading.Thread(target=call) for _ in range(number)]
        for thread in threads:
            thread.start()
        return threads

    async def tasks(self, number: int) -> None:
        """Call so many times, side by side."""

        async def trial(ctx: Any) -> Any:
            self._began()
            await asyncio.to_thread(self._left.wait, PATIENCE)
            return ctx

        chain = wrap(trial, [self.breaker])

        async def call() -> None:
            started = time.perf_counter()
            try:
                await chain({})
            except CircuitOpenError:
                self._rejected(started)

        await asyncio.gather(*(call() for _ in range(number)))


def half_open(max_trials: int, threads: int, tasks: int) -> HalfOpen:
    """Let threads and tasks call a circuit that is to be tried; return what came of it."""
    found = HalfOpen(max_trials, threads + tasks)
    barrier = threading.Barrier(threads + bool(tasks))
    running = found.threads(threads, barrier)

    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, barrier.wait)
        await found.tasks(tasks)

    if tasks:
        asyncio.run(main())
    for thread in running:
        thread.join()
    return found


def side_by_side(call: Any, threads: int) -> float:
    """Return the seconds that a call of each of so many threads takes, all in all."""
    running = [threading.Thread(target=call) for _ in range(threads)]
    started = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.perf_counter() - started


def shielded(middleware: list[Any], threads: int = 16, calls: int = 30, seconds: float = 0.01) -> int:
    """Let threads call what fails after 10 ms; return how often it was asked."""
    hits, lock = 0, threading.Lock()

    def dead(ctx: Any) -> Any:
        nonlocal hits
        with lock:
            hits += 1
        time.sleep(seconds)
        raise Down

    chain = wrap(dead, middleware)

    def ask() -> None:
        for _ in range(calls):
            try:
                chain({})
            except (Down, CircuitOpenError):
                continue

    side_by_side(ask, threads)
    return hits


def partial(
    seconds: int = 120, rate: int = 20, failing: float = 0.8, *, pattern: bool = False, seed: int = 0, **settings: Any
) -> list[int]:
    """Call what fails now and then through a circuit; return how many calls in each second got to it.

    Each call takes the time to the next one, so one comes after the other. With a ``pattern``, each fifth call is good.
    """
    clock, chance, reached = Clock(seed), Random(seed), [0] * seconds
    number = 0

    def flaky(ctx: Any) -> Any:
        nonlocal number
        number += 1
        reached[int(clock.elapsed)] += 1
        if (number % 5 != 0) if pattern else (chance.random() < failing):
            raise Down
        return ctx

    chain = wrap(flaky, [circuit_breaker(SILENT, **settings)])
    token = virtual.set(clock)
    try:
        while clock.elapsed < seconds - 1 / rate:
            with suppress(Down, CircuitOpenError):
                chain({})
            clock.advance(1 / rate)
    finally:
        virtual.reset(token)
    return reached


def c5(size: float = 1) -> list[Line]:
    """Half-open."""
    count, lines = int(50 * size), []
    for who, threads, tasks in ((f"{count} threads", count, 0), (f"{count} tasks", 0, count), ("both", count, count)):
        for max_trials in (1, 3):
            found = half_open(max_trials, threads, tasks)
            seconds = sorted(found.turned_away)
            trials = f"half-open, {who}, max_trials={max_trials}: trials"
            lines.append(Line("C5", trials, f"== {max_trials}", str(found.trials), found.trials == max_trials))
            if max_trials == 1:
                took = seconds[len(seconds) // 2]
                lines.append(Line("C5", f"{who}: to be turned away", "< 5 ms", millis(took), took < 0.005, timed=True))
    return lines


def c6(size: float = 1) -> list[Line]:
    """No serialisation."""
    import pybreaker

    threads = int(32 * size)
    chain = wrap(lambda ctx: time.sleep(0.1) or ctx, [circuit_breaker(SILENT)])
    took = least(lambda: side_by_side(lambda: chain({}), threads))
    theirs = pybreaker.CircuitBreaker()
    serial = side_by_side(lambda: theirs.call(time.sleep, 0.1), threads)
    return [
        Line(
            "C6",
            f"{threads} threads, 100 ms each, through a closed circuit",
            "<= 150 ms",
            millis(took),
            took <= 0.15,
            {"pybreaker's call": millis(serial)},
            timed=True,
        )
    ]


def c8(size: float = 1) -> list[Line]:
    """Dead endpoint shield."""
    threads = 16
    row = shielded([circuit_breaker(SILENT)], threads, int(30 * size))
    ratio = shielded([circuit_breaker(SILENT, ratio=0.5)], threads, int(30 * size))
    calls = threads * int(30 * size)
    fifth = {name: sum(partial(pattern=True, **given)) for name, given in (("row", {}), ("ratio", {"ratio": 0.5}))}
    return [
        Line(
            "C8",
            f"a dead endpoint, {calls} calls of 16 threads: asked",
            "<= 22",
            str(row),
            row <= 5 + threads + 1,
            {"no circuit": str(calls)},
        ),
        Line("C8", "the same, ratio .5 of 20", "<= 37", str(ratio), ratio <= 20 + threads + 1),
        Line(
            "C8",
            "each fifth call is good, 2400 calls in two minutes, ratio .5: asked",
            "<= 10 %",
            percent(fifth["ratio"] / 2400),
            fifth["ratio"] <= 240,
            {"failures in a row": percent(fifth["row"] / 2400)},
        ),
    ]
