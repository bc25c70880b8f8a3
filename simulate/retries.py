"""C1 to C3: what retries cost when all is down, and what they are worth when some of it fails."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import sqrt
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, Any

from formation import wrap
from formation.clock import monotonic
from formation.middleware import retry
from formation.resilience.budget import Budget
from simulate.lines import Line, percent, times
from simulate.peers import Finagle, Grpc
from simulate.virtual import SILENT, arrivals, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUDGETS: dict[str, Callable[[], Any]] = {
    "no budget": lambda: None,
    "quota": lambda: "quota",
    "ratio .1": lambda: 0.1,
    "Finagle, tower: 20 % + 10/s": Finagle,
    "Finagle: 10 %": lambda: Finagle(0.1, 0),
    "AWS for a 429": lambda: Budget(cost=5),
    "gRPC": Grpc,
}
"""By name, what makes one. ``quota`` is our default, and that of the AWS SDKs."""


class Down(Exception):
    """Stands for a server that does not answer."""


def blocks(failing: float, chance: Random, size: int = 100) -> Iterator[bool]:
    """Tell of one attempt after the other whether it fails: in each hundred exactly so many, in random order.

    Independent draws would make the outcome of 4000 calls a matter of luck: by half a percent either way, which is more
    than what is to be seen.
    """
    block = [True] * round(failing * size) + [False] * (size - round(failing * size))
    while True:
        chance.shuffle(block)
        yield from block


def draws(failing: float, chance: Random) -> Iterator[bool]:
    """Tell the same by independent draws."""
    while True:
        yield chance.random() < failing


@dataclass
class Storm:
    """What has come of many calls. ``seconds``: attempts in each second."""

    calls: int = 0
    good: int = 0
    attempts: int = 0
    seconds: Counter[int] = field(default_factory=Counter)

    @property
    def load(self) -> float:
        """Attempts for each call."""
        return self.attempts / self.calls

    @property
    def success(self) -> float:
        """The part of the calls that have succeeded."""
        return self.good / self.calls


def outage(budget: Any, calls: int = 4000, threads: int = 8) -> Storm:
    """Let threads call what is down."""
    storm, lock = Storm(calls), threading.Lock()

    def down(ctx: Any) -> Any:
        with lock:
            storm.attempts += 1
        raise Down

    chain = wrap(down, [retry(base=0, budget=budget, logger=SILENT)])

    def ask() -> None:
        for _ in range(calls // threads):
            try:
                chain({})
            except Down:
                continue

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return storm


def transient(budget: Any, failing: float, calls: int = 4000, seed: int = 0, *, luck: Any = blocks) -> Storm:
    """Make calls one after the other to what fails now and then."""
    storm, fails = Storm(calls), luck(failing, Random(seed))

    def flaky(ctx: Any) -> Any:
        storm.attempts += 1
        if next(fails):
            raise Down
        return ctx

    chain = wrap(flaky, [retry(budget=budget, sleep=lambda seconds: None, logger=SILENT)])
    for _ in range(calls):
        try:
            chain({})
        except Down:
            continue
        storm.good += 1
    return storm


def storm(
    budget: Any,
    seconds: int = 60,
    rate: float = 100,
    failing: Callable[[float], float] = lambda now: 1.0,
    seed: int = 0,
) -> Storm:
    """Call so many times a second, for so many seconds; ``failing`` is the part that fails at a time.

    ``budget`` is one of ours, or "stamina": its retry around the same endpoint.
    """
    found = Storm()

    async def main() -> None:
        chance, started = Random(seed), monotonic()

        async def flaky(ctx: Any) -> Any:
            now = monotonic() - started
            found.attempts += 1
            found.seconds[int(now)] += 1
            if chance.random() < failing(now):
                raise Down
            return ctx

        chain = _stamina(flaky, seed) if budget == "stamina" else wrap(flaky, [retry(budget=budget, logger=SILENT)])

        async def call() -> None:
            found.calls += 1
            try:
                await chain({})
            except Down:
                return
            found.good += 1

        await arrivals(rate, seconds, call, Random(seed + 1))

    run(main, seed=seed)
    return found


def _stamina(fn: Any, seed: int) -> Any:
    import stamina

    random.seed(seed)  # whose numbers it takes

    stamina.instrumentation.set_on_retry_hooks([])  # it would log
    return stamina.retry(on=Down)(fn)


def c1(size: float = 1) -> list[Line]:
    """Outage amplification."""
    calls = int(4000 * size)
    free, quota, ratio = (outage(BUDGETS[name](), calls) for name in ("no budget", "quota", "ratio .1"))
    beside = {"no budget": times(free.load)}
    seconds = max(int(60 * size), 10)
    storms = {name: storm(make(), seconds) for name, make in BUDGETS.items()}
    if find_spec("stamina"):
        storms["stamina's default"] = storm("stamina", max(seconds // 4, 5))
    steady = storms.pop("quota")
    return [
        Line(
            "C1",
            f"load in an outage, {calls} calls of 8 threads: quota",
            f"<= {times(1 + 35 / calls + 0.00125)}",
            times(quota.load),
            quota.attempts <= calls + 35,
            beside,
        ),
        Line(
            "C1",
            "the same: ratio .1",
            f"<= {times(1.1 + 10 / calls)}",
            times(ratio.load),
            ratio.load <= 1.1 + 10 / calls,
        ),
        Line(
            "C1",
            f"100 calls a second for {seconds} s: quota",
            "<= 1.02×",
            times(steady.load),
            steady.attempts <= steady.calls + 35,
            {name: times(each.load) for name, each in storms.items()},
        ),
        Line(
            "C1",
            "the first second of it: quota",
            "<= 1.5×",
            times(steady.seconds[0] / 100),
            steady.seconds[0] <= 150,
            {name: times(each.seconds[0] / 100) for name, each in storms.items()},
        ),
    ]


def c2(size: float = 1) -> list[Line]:
    """Usefulness."""
    calls, seeds = int(4000 * size), range(max(int(8 * size), 2))
    found = {
        name: [transient(make(), 0.2, calls, seed) for seed in seeds]
        for name, make in BUDGETS.items()
        if not name.startswith("Finagle")  # they go by time, and here none passes
    }
    by_draw = [transient(0.1, 0.2, calls, seed, luck=draws).success for seed in seeds]
    least = {name: min(each.success for each in all_) for name, all_ in found.items()}
    beside = {name: percent(each) for name, each in least.items() if name not in {"quota", "ratio .1"}}
    return [
        Line(
            "C2",
            f"success where a fifth fails, the worst of {len(seeds)} seeds: quota",
            ">= 99 %",
            percent(least["quota"]),
            least["quota"] >= 0.99,
            beside,
        ),
        Line("C2", "the same: ratio .1", ">= 88 %", percent(least["ratio .1"]), least["ratio .1"] >= 0.88),
        Line(
            "C2",
            "the same by independent draws, the mean: ratio .1",
            f">= {percent(0.88 - 2 * sqrt(0.106 / calls / len(seeds)))}",
            percent(mean(by_draw)),
            mean(by_draw) >= 0.88 - 2 * sqrt(0.106 / calls / len(seeds)),
        ),
    ]


def knee(name: str, rates: list[int], calls: int) -> tuple[float, int]:
    """Return the worst load at these rates of failure in percent, and at which."""
    return max((transient(BUDGETS[name](), each / 100, calls, each).load, each) for each in rates)


def c3(size: float = 1) -> list[Line]:
    """Worst load where some of it fails."""
    calls, step = int(10_000 * size), 1 if size >= 1 else 10
    rates = [*range(10, 51, step)]
    load, at = knee("quota", rates, calls)
    free, _ = knee("no budget", rates[-1:], calls)
    theirs = storm(Finagle(), int(60 * size), failing=lambda now: 0.5).load  # it goes by time
    loads = {each: transient("quota", each / 100, calls, each).load for each in (20, 30, 50)}
    told = ", ".join(f"{times(found)} at {each} %" for each, found in loads.items())
    return [
        Line(
            "C3",
            f"load at 10, 11, … 50 % of failures: quota ({told})" if step == 1 else "load at 10, 20, … 50 %: quota",
            "<= 1.30×",
            f"{times(load)} at {at} %",
            load <= 1.3,
            {"no budget": f"{times(free)} at {rates[-1]} %", "Finagle, tower": f"{times(theirs)} at 50 %"},
        )
    ]
