"""The trace: what it adds to a call of a chain whose layers do nothing.

*A layer* is the slope from one layer to ten, traced less untraced; *a call* is what is added besides: the trace itself,
its place in the ring, and the pass through the endpoint. A chain that is not traced has nothing in it that could cost.
"""

from typing import Any

from bench.kernel import FEW, MANY, async_endpoint, async_layer, endpoint, layer
from bench.measure import Row, awaits, calls, rounds
from formation import wrap
from formation.trace import trace

A_LAYER = 0.3e-6
A_CALL = 3e-6


def added(timers: Any, chain: Any, middleware: Any) -> tuple[list[float], list[float]]:
    """Tell what tracing adds for each layer, and for a call besides, in each round."""
    ways = {"plain": lambda n: chain(middleware(n)), "traced": lambda n: trace(chain(middleware(n)))}
    seconds = rounds({(way, n): timers(make(n), {}) for way, make in ways.items() for n in (FEW, MANY)})
    few, many = (
        [traced - plain for traced, plain in zip(seconds["traced", n], seconds["plain", n], strict=True)]
        for n in (FEW, MANY)
    )
    each = [(more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)]
    return each, [less - one * FEW for less, one in zip(few, each, strict=True)]


def rows() -> list[Row]:
    """Trace sync chains, async chains, and plain layers in an async chain."""
    found = []
    for what, timers, below, above in (
        ("sync", calls, endpoint, layer),
        ("async", awaits, async_endpoint, async_layer),
        ("bridged", awaits, async_endpoint, layer),
    ):
        each, call = added(timers, lambda layers, below=below: wrap(below, layers), lambda n, above=above: [above] * n)
        found.append(Row(f"{what} chain, a layer", each, limit=A_LAYER))
        found.append(Row(f"{what} chain, a call", call, limit=A_CALL))
    return found
