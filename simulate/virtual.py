"""An hour in a second: calls by a clock that moves when all wait, and the same luck each time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from formation.clock import Virtual
from formation.fast_forward import LoopClock, fast_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

T = TypeVar("T")


class Clock(Virtual):
    """A clock that starts at the same time each time, for windows begin at whole multiples of their length."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._monotonic, self._time = 1e6, 1e9


class Shared(Clock, LoopClock):
    """The same for a loop."""


def run(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run ``main()`` in such a loop, with the random numbers of ``seed``; return what it returns."""
    return fast_forward(main(), clock=Shared(seed))


async def arrivals(rate: float, seconds: float, call: Callable[[], Coroutine[Any, Any, Any]], chance: Random) -> None:
    """Start ``call()`` so many times a second, at random, for so many seconds; return when all of them have ended."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    async with asyncio.TaskGroup() as tasks:
        while True:
            await asyncio.sleep(chance.expovariate(rate))
            if loop.time() >= ends:
                return
            tasks.create_task(call())


class Silent:
    """A logger that says nothing."""

    def info(self, *said: Any, **fields: Any) -> None:
        """Say nothing."""

    debug = warning = error = info


SILENT = Silent()
