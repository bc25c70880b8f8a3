"""The bridge: plain layers in an async chain, beside a greenlet started for each call.

The endpoint is async and does nothing. The peers run the same layers, nested by hand, and wait once, for the endpoint.
"""

from typing import Any

import awaitlet
from greenlet import getcurrent, greenlet

from bench.kernel import async_endpoint, by_hand, layer
from bench.measure import Row, awaits, rounds
from formation import wrap

COUNTS = (0, 1, 5, 10)


class Fresh(greenlet):
    """A greenlet for one call."""


async def spawn(fn: Any, ctx: Any) -> Any:
    """Run a plain function in a new greenlet, with the caller's context variables, and await for it."""
    worker = Fresh(fn)
    worker.gr_context = getcurrent().gr_context
    result = worker.switch(ctx)
    while not worker.dead:
        try:
            value = await result
        except BaseException as error:  # noqa: BLE001  it belongs to the function
            result = worker.throw(error)
        else:
            result = worker.switch(value)
    return result


def greenlet_per_call(count: int) -> Any:
    """Make what a chain of plain layers is without parked workers."""

    def wait(ctx: Any) -> Any:
        driver: Any = getcurrent().parent
        return driver.switch(async_endpoint(ctx))

    plain = by_hand(wait, [layer] * count)
    return lambda ctx: spawn(plain, ctx)


def awaitlet_per_call(count: int) -> Any:
    """Make the same with awaitlet."""

    def wait(ctx: Any) -> Any:
        return awaitlet.awaitlet(async_endpoint(ctx))

    plain = by_hand(wait, [layer] * count)
    return lambda ctx: awaitlet.async_def(plain, ctx)


def rows() -> list[Row]:
    """Time 0 to 10 plain layers."""
    ways: dict[str, Any] = {
        "Formation": lambda count: wrap(async_endpoint, [layer] * count),
        "greenlet per call": greenlet_per_call,
        "awaitlet": awaitlet_per_call,
    }
    seconds = rounds({(name, n): awaits(way(n), {}) for name, way in ways.items() for n in COUNTS})
    return [
        Row(
            f"plain layers: {n}",
            seconds["Formation", n],
            peer,
            seconds[peer, n],
            at_most=0.25 if peer == "greenlet per call" else None,
            limit=2.5e-6 if peer == "greenlet per call" else None,
        )
        for n in COUNTS
        for peer in ways
        if peer != "Formation"
    ]
