"""C9 and C10: that a throttle is exact, and that a bulkhead neither lets one in too many nor loses a place."""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from random import Random
from typing import Any

from formation import wrap
from formation.clock import monotonic
from formation.errors import BulkheadRejected
from formation.middleware import bulkhead, throttle
from simulate.lines import Line, percent
from simulate.virtual import SILENT, arrivals, run


class Stepping:
    """A clock for threads, which moves a little at each look, and knows when each thread goes on after its wait."""

    def __init__(self, step: float) -> None:
        self._step, self._now, self._lock = step, 0.0, threading.Lock()
        self._mine = threading.local()

    def __call__(self) -> float:
        with self._lock:
            self._now += self._step
            self._mine.goes = self._now
            return self._now

    def sleep(self, seconds: float) -> None:
        """Let the thread go on so much later; the next look of any thread is not before that."""
        self._mine.goes += seconds
        with self._lock:
            self._now = max(self._now, self._mine.goes - 1)

    @property
    def goes(self) -> float:
        """When this thread goes on."""
        return float(self._mine.goes)


def threads_throttled(rate: float, burst: int, calls: int, threads: int = 16) -> list[float]:
    """Let threads call what is throttled; return when each call was let through."""
    clock, went, lock = Stepping(1 / rate / 20), list[float](), threading.Lock()

    def endpoint(ctx: Any) -> Any:
        with lock:
            went.append(clock.goes)
        return ctx

    chain = wrap(endpoint, [throttle(rate, burst=burst, logger=SILENT, sleep=clock.sleep, clock=clock)])

    def ask() -> None:
        for _ in range(calls // threads):
            chain({})

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(went)


def tasks_throttled(rate: float, burst: int, tasks: int = 2000) -> tuple[list[float], bool]:
    """Let tasks do the same; return the times as well as whether they went in the order of arrival."""
    went, order = list[float](), list[int]()

    async def main() -> None:
        async def endpoint(ctx: Any) -> Any:
            went.append(monotonic())
            order.append(ctx["n"])
            return ctx

        chain = wrap(endpoint, [throttle(rate, burst=burst, logger=SILENT)])

        await asyncio.gather(*(chain({"n": n}) for n in range(tasks)))

    run(main)
    return [each - went[0] for each in went], order == list(range(tasks))


def most_over(went: list[float], rate: float, burst: int) -> float:
    """Return by how many calls any stretch of time was over ``rate`` times its length and ``burst``."""
    # A stretch from one call to another one is the fullest of its length; from call i to j there are j - i + 1.
    least, worst = float("inf"), float("-inf")
    for number, at in enumerate(went):
        least = min(least, number - rate * at)
        worst = max(worst, number - rate * at + 1 - least)
    return worst - burst


def most_in(went: list[float], seconds: float) -> int:
    """Return the most in a stretch of so many seconds."""
    return max(bisect_right(went, at + seconds) - number for number, at in enumerate(went))


class Crowd:
    """What has come of a crowd at a bulkhead."""

    def __init__(self) -> None:
        self.inside = self.most = self.done = self.cancelled = self.rejected = self.left = 0
        self.patience = list[float]()


def crowd(limit: int = 5, calls: int = 2000, seed: int = 0, max_wait: float = 2) -> Crowd:
    """Let more come than fit in, and cancel one in five at random."""
    found, chance = Crowd(), Random(seed)
    wall = bulkhead(limit, queue=20, max_wait=max_wait, logger=SILENT)

    async def main() -> None:
        async def endpoint(ctx: Any) -> Any:
            found.inside += 1
            found.most = max(found.most, found.inside)
            try:
                await asyncio.sleep(chance.expovariate(10))
            finally:
                found.inside -= 1
            return ctx

        chain = wrap(endpoint, [wall])

        async def call() -> None:
            came = monotonic()
            task = asyncio.create_task(chain({}))
            if chance.random() < 0.2:
                await asyncio.wait([task], timeout=chance.random() * 0.2)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                found.cancelled += 1
            except BulkheadRejected:
                found.rejected += 1
                if monotonic() > came:
                    found.patience.append(monotonic() - came)
            else:
                found.done += 1

        await arrivals(20 * limit, calls / 20 / limit, call, chance)
        found.left = wall.places[None].in_use + wall.places[None].waiting  # type: ignore[attr-defined]

    run(main, seed=seed)
    return found


def c9(size: float = 1) -> list[Line]:
    """Throttle accuracy."""
    rate, burst, calls = 500, 5, int(16_000 * size)
    went = threads_throttled(rate, burst, calls)
    tasks = int(2000 * size)
    async_went, in_order = tasks_throttled(100, burst, tasks)
    lines = []
    for who, times, of in (("16 threads", went, rate), (f"{tasks} tasks", async_went, 100)):
        error = (len(times) - burst) / (times[-1] - times[0]) / of - 1
        over = most_over(times, of, burst)
        lines += [
            Line("C9", f"throttle, {of}/s, {who}: long-run error", "<= 1 %", percent(abs(error)), abs(error) <= 0.01),
            Line("C9", f"{who}: over rate × T + burst, in any stretch", "<= 1 call", f"{over:.2f}", over <= 1 + 1e-6),
        ]
    lines.append(Line("C9", f"{tasks} tasks go in the order of arrival", "yes", "yes" if in_order else "no", in_order))
    return lines


def c10(size: float = 1) -> list[Line]:
    """Bulkhead."""
    found = crowd(calls=int(4000 * size))
    waited = max(found.patience, default=2)
    return [
        Line(
            "C10",
            f"bulkhead of 5, {found.done} done, {found.cancelled} cancelled, {found.rejected} rejected: at a time",
            "== 5",
            str(found.most),
            found.most == 5,
        ),
        Line("C10", "places left in use", "== 0", str(found.left), found.left == 0),
        Line("C10", "the longest wait for a place, max_wait=2", "<= 2.01 s", f"{waited:.3f} s", waited <= 2.01),
    ]
