"""C11 and C12: what comes of more requests than a server can do, on the server and in its clients.

The server has ten workers and a line before them. Requests come at random, the work takes random times, both
exponential; whoever asks leaves after a second, and the server does not know. *Goodput* is the part of the capacity
that goes into answers that somebody waits for.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define

from formation import wrap
from formation.clock import monotonic, virtual
from formation.errors import BulkheadRejected, ThrottleRejected
from formation.middleware import adaptive_limit, client_throttle
from simulate.lines import Line, percent, times
from simulate.peers import Fixed
from simulate.virtual import SILENT, Clock, arrivals, run

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS, MEAN, PATIENCE = 10, 0.05, 1.0
CAPACITY = WORKERS / MEAN

LIMITS: dict[str, Callable[[], list[Any]]] = {
    "no limit": list,
    "fixed 200": lambda: [adaptive_limit(algorithm=Fixed, logger=SILENT)],
    "AIMD": lambda: [adaptive_limit(algorithm="aimd", timeout=0.5, logger=SILENT)],
    "Gradient2": lambda: [adaptive_limit(logger=SILENT)],
}
"""By name, the middleware of the server."""


def serve(
    middleware: list[Any], load: float, seconds: float = 80, warm_up: float = 20, seed: int = 1
) -> tuple[float, float]:
    """Offer ``load`` times the capacity; return the goodput, and p99 of the times of what was let in."""
    chance, times_, good = Random(seed), list[float](), 0

    async def main() -> None:
        workers, started = asyncio.Semaphore(WORKERS), monotonic()

        async def work(ctx: Any) -> Any:
            async with workers:
                await asyncio.sleep(chance.expovariate(1 / MEAN))
            return ctx

        chain = wrap(work, middleware)

        async def ask() -> None:
            nonlocal good
            came = monotonic()
            try:
                await chain({})
            except BulkheadRejected:
                return
            now = monotonic()
            if warm_up < now - started <= seconds:
                times_.append(now - came)
                good += now - came <= PATIENCE

        await arrivals(CAPACITY * load, seconds, ask, chance)

    run(main, seed=seed)
    return good / (seconds - warm_up) / CAPACITY, sorted(times_)[int(0.99 * len(times_))]


@define
class Asked:
    """A call of a client: when, and whether it was made, and taken."""

    at: float
    made: bool = False
    taken: bool = False


def ask(
    middleware: list[Any], offered: float, capacity: Callable[[float], float], seconds: float, seed: int = 1
) -> list[Asked]:
    """Call ``offered`` times a second, at random; the endpoint takes ``capacity(now)`` a second. Return the calls."""
    clock, chance, calls = Clock(seed), Random(seed), list[Asked]()
    room = 0.0

    def endpoint(ctx: Any) -> Any:
        nonlocal room
        calls[-1].made = True
        if room < 1:
            raise TimeoutError
        room -= 1
        calls[-1].taken = True
        return ctx

    chain = wrap(endpoint, middleware)
    token = virtual.set(clock)
    try:
        while clock.elapsed < seconds:
            pause = chance.expovariate(offered)
            clock.advance(pause)
            room = min(room + pause * capacity(clock.elapsed), capacity(clock.elapsed) / 10)
            calls.append(Asked(clock.elapsed))
            try:
                chain({})
            except (TimeoutError, ThrottleRejected):
                continue
    finally:
        virtual.reset(token)
    return calls


def throttled(**settings: Any) -> list[Any]:
    """Make the middleware."""
    return [client_throttle(logger=SILENT, **settings)]


def recovery(window: float, **settings: Any) -> float:
    """Return the seconds after an outage until nine calls of ten are taken."""
    until = 120 + 6 * window
    calls = ask(throttled(window=window, **settings), 100, lambda now: 0 if now < 120 else 200, until)
    for second in range(120, int(until)):
        near = [call.taken for call in calls if second <= call.at < second + 5]
        if sum(near) >= 0.9 * len(near):
            return second - 120
    return float("inf")


def c11(size: float = 1) -> list[Line]:
    """Overload."""
    seconds, loads = (80.0, (0.5, 1, 2, 4)) if size >= 1 else (40.0, (2,))
    _, unloaded = serve([], 0.5, seconds)
    found = {name: {load: serve(make(), load, seconds) for load in loads} for name, make in LIMITS.items()}
    ours = found.pop("Gradient2")
    bars = {0.5: 0.48, 1: 0.93, 2: 0.95, 4: 0.95}
    lines = [
        Line(
            "C11",
            f"offered {load:g} × capacity: goodput with adaptive_limit",
            f">= {bars[load]:.2f}",
            f"{goodput:.2f}",
            goodput >= bars[load],
            {name: f"{each[load][0]:.2f}" for name, each in found.items()},
        )
        for load, (goodput, _) in ours.items()
    ]
    p99 = ours[2][1]
    beside = {name: f"{each[2][1]:.2f} s" for name, each in found.items()}
    lines.append(
        Line(
            "C11", "p99 at 2 ×, by that at half the load", "<= 2.0×", times(p99 / unloaded), p99 <= 2 * unloaded, beside
        )
    )
    return lines


def c12(size: float = 1) -> list[Line]:
    """SRE throttle."""
    seconds, lines = max(240 * size, 120), []
    for k in (1.1, 1.5, 2.0):
        calls = [call for call in ask(throttled(k=k), 300, lambda now: 100, seconds) if call.at > 60]
        load = sum(call.made for call in calls) / (seconds - 60) / 100
        good = sum(call.taken for call in calls) / (seconds - 60) / 100
        bare = {"without": "3.00×"} if k == 2.0 else {}
        what = f"offered 3 × capacity, k={k}: the endpoint gets"
        lines += [
            Line("C12", what, f"<= {times(k * 1.02)}", times(load), load <= k * 1.02, bare),
            Line("C12", f"goodput, k={k}", ">= 0.95", f"{good:.2f}", good >= 0.95),
        ]
    for window in (10, 30) if size >= 1 else (10,):
        took = recovery(window)
        beside = {"with max=.999": f"{recovery(window, max=0.999):.0f} s"} if window == 30 else {}
        what = f"after an outage, window of {window} s: all is well after"
        lines.append(Line("C12", what, f"<= {2 * window} s", f"{took:.0f} s", took <= 2 * window, beside))
    dead = [call.made for call in ask(throttled(), 100, lambda now: 0, 120) if call.at > 60]
    lines.append(
        Line("C12", "a dead endpoint gets", "<= 12 %", percent(sum(dead) / len(dead)), sum(dead) <= 0.12 * len(dead))
    )
    return lines
