"""An async program in no time: an event loop whose clock moves when all of its tasks wait.

`formation.testing.simulate` has one call at a time. Here tasks run side by side, as they would by the machine's clock,
so one can wait for another: in the line of a bulkhead, for a hedge, at a deadline. All of asyncio goes by this clock,
and all of Formation. What is no part of it are sockets and other threads: to them it is always now.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from formation.bridge import await_, in_async_chain
from formation.clock import Virtual, virtual

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class LoopClock(Virtual):
    """The clock of a `Loop`. Who sleeps does not move it for the others: he waits until it has moved."""

    def sleep(self, seconds: float) -> None:
        """Wait in the loop; a sync chain, which cannot, moves the clock."""
        self.slept.append(seconds)
        if in_async_chain():
            await_(asyncio.sleep(max(seconds, 0)))
        else:
            self.advance(seconds)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that never waits for its next timer: it makes it later, at once."""

    def __init__(self, clock: LoopClock) -> None:
        self._virtual = clock
        selector = selectors.SelectSelector()
        wait = selector.select

        def select(timeout: float | None = None) -> Any:
            if timeout is None:  # no timer: a thread may have something to say
                return wait()
            clock.advance(timeout)
            return [] if timeout else wait(0)

        selector.select = select  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        """Return the seconds since it has begun."""
        return self._virtual.elapsed


def fast_forward(main: Coroutine[Any, Any, T], *, seed: int = 0, clock: LoopClock | None = None) -> T:
    """Run ``main`` as `asyncio.run` does, in an event loop whose time moves when all of its tasks wait.

    It counts for `asyncio.sleep`, timeouts and timers, for `formation.sleep`, for deadlines, and for each middleware
    that was not given a clock, a sleep or a random of its own. Sockets and other threads take the time they take, and
    whoever waits for one of them with a timeout is too late.

    Args:
        main: a coroutine.
        seed: of the random numbers.
        clock: to look at afterwards, or to begin at another time.

    Returns:
        What it returns.

    >>> from formation import lift
    >>> from formation.middleware import hedge
    >>> seconds = [3600, 60]
    >>> @lift(middleware=[hedge(30)])
    ... async def ask():
    ...     await asyncio.sleep(seconds.pop(0))
    ...     return asyncio.get_running_loop().time()
    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as events:
    ...     fast_forward(ask())
    90.0
    """
    clock = LoopClock(seed) if clock is None else clock
    token = virtual.set(clock)
    try:
        # Debug mode, where it is on, keeps a traceback for each timer, which takes ten times as long.
        with asyncio.Runner(debug=False, loop_factory=lambda: Loop(clock)) as runner:
            return runner.run(main)
    finally:
        virtual.reset(token)
