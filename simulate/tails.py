"""C13 and C14: the slowest calls, of which hedging makes fast ones and which a deadline ends."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Any

from formation import sleep, wrap
from formation.clock import monotonic
from formation.errors import AttemptTimeout, DeadlineExceeded, FormationError
from formation.keys import DEADLINE
from formation.middleware import deadline, hedge, retry, timeout
from simulate.lines import Line, least, millis, percent
from simulate.virtual import SILENT, arrivals, run

if TYPE_CHECKING:
    from collections.abc import Callable


def latency(chance: Random) -> float:
    """Return the seconds of a call: 10 to 30 ms, but a whole second for three in a hundred."""
    return 1.0 if chance.random() < 0.03 else chance.uniform(0.01, 0.03)


def tail(
    middleware: list[Any],
    calls: int = 4000,
    seed: int = 1,
    slow: Callable[[float], float] = lambda part: 1.0,
) -> tuple[float, list[float]]:
    """Make calls of a random latency, 50 in a second; return the load, by calls, and the times, in order.

    ``slow`` is how many times as slow the endpoint is when a part of the calls has been made.
    """
    chance, sent, made, took = Random(seed), 0, 0, list[float]()

    async def main() -> None:
        async def endpoint(ctx: Any) -> Any:
            nonlocal sent
            sent += 1
            await asyncio.sleep(latency(chance) * slow(made / calls))
            return ctx

        chain = wrap(endpoint, middleware)

        async def call() -> None:
            nonlocal made
            made += 1
            started = monotonic()
            await chain({})
            took.append(monotonic() - started)

        await arrivals(50, calls / 50, call, Random(seed + 1))

    run(main, seed=seed)
    return sent / made, sorted(took)


def p99(took: list[float]) -> float:
    """Return the time in which 99 of 100 calls are done."""
    return took[int(0.99 * len(took))]


def overrun(calls: int = 500, seed: int = 1) -> tuple[float, int]:
    """Make calls with a deadline and attempts of random times; return the longest overrun, and pauses past the end."""
    chance, over, past = Random(seed), list[float](), 0

    async def main() -> None:
        def pause(seconds: float) -> None:
            nonlocal past
            past += monotonic() + seconds > ends[asyncio.current_task()] + 1e-9
            sleep(seconds)

        async def flaky(ctx: Any) -> Any:
            ends[asyncio.current_task()] = ctx[DEADLINE]
            await asyncio.sleep(chance.expovariate(5))
            raise ConnectionError

        ends: dict[Any, float] = {}
        chain = wrap(
            flaky,
            [
                deadline(1, logger=SILENT),
                retry(9, logger=SILENT, budget=None, sleep=pause),
                timeout(0.5, logger=SILENT),
            ],
        )

        async def call() -> None:
            ended = monotonic() + 1
            try:
                await chain({})
            except (ConnectionError, DeadlineExceeded, AttemptTimeout):
                over.append(monotonic() - ended)

        await arrivals(100, calls / 100, call, chance)

    run(main, seed=seed)
    return max(over), past


def drip(total: float = 0.3, chunk: float = 0.1) -> dict[str, float]:
    """Read a body that comes byte by byte from a server on loopback, with a deadline; return the seconds, by edge."""
    from formation import for_aiohttp, for_httpx, for_requests
    from tests.servers import Server

    with Server() as server:
        path = f"/drip?count=100&delay={chunk}"
        settings: Any = {"base_uri": server.url, "middleware": [deadline(total, logger=SILENT)]}

        def now(build: Any) -> float:
            with build(**settings) as api:
                started = time.perf_counter()
                try:
                    api.get(path)
                except FormationError:
                    return time.perf_counter() - started
            return float("inf")

        async def later(build: Any) -> float:
            async with build(**settings) as api:
                started = time.perf_counter()
                try:
                    await api.get(path)
                except FormationError:
                    return time.perf_counter() - started
            return float("inf")

        return {
            "requests": least(lambda: now(for_requests.build)),
            "httpx2": least(lambda: now(for_httpx.build)),
            "httpx2, async": least(lambda: asyncio.run(later(for_httpx.async_build))),
            "aiohttp": least(lambda: asyncio.run(later(for_aiohttp.build))),
        }


def c13(size: float = 1) -> list[Line]:
    """Hedging."""
    calls = max(int(8000 * size), 2000)
    slower = lambda part: 10.0 if part > 0.2 else 1.0  # noqa: E731
    _, alone = tail([], calls)
    load, took = tail([hedge(logger=SILENT)], calls)
    slowed, _ = tail([hedge(logger=SILENT)], calls, slow=slower)
    free, _ = tail([hedge(0.03, budget=None, logger=SILENT)], calls, slow=lambda part: 10.0)
    return [
        Line(
            "C13",
            "p99 with hedge, by that without",
            "<= 0.20×",
            f"{p99(took) / p99(alone):.2f}×",
            p99(took) <= 0.2 * p99(alone),
            {"without": millis(p99(alone)), "with": millis(p99(took))},
        ),
        Line("C13", "extra load", "<= 5.5 %", percent(load - 1), load <= 1.055),
        Line(
            "C13",
            "extra load when the endpoint becomes ten times as slow",
            "<= 5.5 %",
            percent(slowed - 1),
            slowed <= 1.055,
            {"after 30 ms, without a budget": percent(free - 1)},
        ),
    ]


def c14(size: float = 1) -> list[Line]:
    """Deadline."""
    over, past = overrun(int(2000 * size))
    lines = [
        Line("C14", "deadline, attempts and pauses in tasks: overrun", "<= 20 ms", millis(max(over, 0)), over <= 0.02),
        Line("C14", "pauses that end after the deadline", "== 0", str(past), past == 0),
    ]
    lines += [
        Line("C14", f"total=.3, a byte each .1 s, {edge}", "<= 420 ms", millis(took), took <= 0.42, timed=True)
        for edge, took in drip().items()
    ]
    return lines
