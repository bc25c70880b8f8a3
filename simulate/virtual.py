"""An hour in a second: an event loop whose time moves when all wait, and the same luck each time.

All of Formation goes by it, and all of asyncio: pauses, timeouts, deadlines, the wait in a bulkhead, the start of a
hedge. Tasks run side by side as they would on the machine's clock; there is only nothing to wait for. What is no part
of it is I/O, for nobody knows how long a socket would have taken.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from formation import await_, in_async_chain
from formation.clock import Virtual, virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

T = TypeVar("T")


class Clock(Virtual):
    """A clock that starts at the same time each time, for windows begin at whole multiples of their length."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._monotonic, self._time = 1e6, 1e9


class Shared(Clock):
    """The clock of a loop: a sleep does not move it for the others, it waits until it has moved."""

    def sleep(self, seconds: float) -> None:
        """Wait in the loop; a sync chain, which could not, moves the clock."""
        if in_async_chain():
            await_(asyncio.sleep(max(seconds, 0)))
        else:
            self.advance(seconds)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: when nothing is due, it is later."""

    def __init__(self, clock: Shared) -> None:
        self.clock = clock
        selector = selectors.SelectSelector()
        wait = selector.select

        def select(timeout: float | None = None) -> Any:
            if timeout is None:  # another thread may have something to say
                return wait()
            clock.advance(timeout)
            return []

        selector.select = select  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        """Return the seconds of the clock."""
        return self.clock.elapsed


def run(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run ``main()`` in such a loop, with the random numbers of ``seed``; return what it returns."""
    clock = Shared(seed)
    token = virtual.set(clock)
    try:
        with asyncio.Runner(debug=False, loop_factory=lambda: Loop(clock)) as runner:  # debug takes ten times as long
            return runner.run(main())
    finally:
        virtual.reset(token)


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
