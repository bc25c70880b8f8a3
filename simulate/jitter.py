"""C4: how clients that failed together come back: not together."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import sqrt
from random import Random
from typing import Any

from tenacity import RetryCallState, wait_exponential_jitter

from formation import wrap
from formation.clock import monotonic
from formation.middleware import retry
from simulate.lines import Line
from simulate.retries import Down
from simulate.virtual import SILENT, run


def jitter(clients: int = 2000, seed: int = 0) -> list[float]:
    """Let so many clients fail at the same moment; return when each tries again."""
    again: list[float] = []

    async def main() -> None:
        started = monotonic()

        async def down(ctx: Any) -> Any:
            if ctx["attempt"] == 2:
                again.append(monotonic() - started)
            raise Down

        chains = [wrap(down, [retry(2, budget=None, logger=SILENT)]) for _ in range(clients)]
        await asyncio.gather(*(chain({}) for chain in chains), return_exceptions=True)

    run(main, seed=seed)
    return again


def late_jitter(cap: float = 20, attempts: int = 400, seed: int = 0) -> list[float]:
    """Return the pauses of one client for which all fails, once they are at the cap."""
    pauses: list[float] = []

    def down(ctx: Any) -> Any:
        raise Down

    chance = Random(seed)
    chain = wrap(
        down, [retry(attempts, cap=cap, budget=None, sleep=pauses.append, random=chance.uniform, logger=SILENT)]
    )
    try:
        chain({})
    except Down:
        return pauses[10:]
    raise AssertionError


def distance(seen: list[float], high: float) -> float:
    """Return the statistic of Kolmogorov and Smirnov against the uniform distribution, times the root of the number."""
    ordered, number = sorted(seen), len(seen)
    return sqrt(number) * max(
        max((rank + 1) / number - each / high, each / high - rank / number) for rank, each in enumerate(ordered)
    )


KOLMOGOROV = 1.628
"""Of that statistic: a uniform one is above it once in a hundred times."""


def c4(size: float = 1) -> list[Line]:
    """Jitter."""
    again = jitter(int(2000 * size))
    bins = Counter(int(each / 0.01) for each in again)
    fullest = max(bins.values()) / (len(again) / 10)
    at_cap = late_jitter()
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.attempt_number = 40
    theirs = [wait_exponential_jitter(max=20)(state) for _ in range(100)]
    return [
        Line(
            "C4",
            f"{len(again)} clients that fail together: fullest 10 ms by the mean",
            "<= 3",
            f"{fullest:.2f}",
            fullest <= 3,
            {"without jitter": "10"},
        ),
        Line(
            "C4",
            "the same beside a uniform spread, Kolmogorov-Smirnov",
            f"<= {KOLMOGOROV}",
            f"{distance(again, 0.1):.2f}",
            distance(again, 0.1) <= KOLMOGOROV,
        ),
        Line(
            "C4",
            "pauses at the cap of 20 s: from … to",
            "spread",
            f"{min(at_cap):.1f} … {max(at_cap):.1f} s",
            distance(at_cap, 20) <= KOLMOGOROV,
            {"tenacity's wait_exponential_jitter": f"{min(theirs):.1f} … {max(theirs):.1f} s"},
        ),
    ]
