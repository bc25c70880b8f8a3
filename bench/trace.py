"""The trace: what it adds to a call of a chain whose layers do nothing.

*A layer* is the slope from one layer to ten, traced less untraced; *a call* is what is added besides: the trace itself,
its place in the ring, and the pass through the endpoint. Of the rounds the fastest counts: the bar is a time and no
ratio, and what else a machine does only adds to it. A chain that is not traced has nothing in it that could cost.
"""

from typing import Any

from bench.kernel import FEW, MANY, async_endpoint, async_layer, endpoint, layer
from bench.measure import Row, awaits, calls, rounds
from formation import wrap
from formation.trace import trace

A_LAYER = 0.3e-6
A_CALL = 3e-6


def added(timers: Any, call: Any, middleware: Any) -> tuple[float, float]:
    """Tell the seconds that tracing adds for each layer, and for a call besides."""
    chains = {n: wrap(call, [middleware] * n) for n in (FEW, MANY)}
    ways = {(n, is_traced): trace(chain) if is_traced else chain for n, chain in chains.items() for is_traced in (0, 1)}
    seconds = rounds({way: timers(chain, {}) for way, chain in ways.items()})
    few, many = (min(seconds[n, 1]) - min(seconds[n, 0]) for n in (FEW, MANY))
    each = (many - few) / (MANY - FEW)
    return each, few - each * FEW


def rows() -> list[Row]:
    """Trace sync chains, async chains, and plain layers in an async chain."""
    found = []
    for what, timers, call, middleware in (
        ("sync chain", calls, endpoint, layer),
        ("plain layers in an async chain", awaits, async_endpoint, layer),
        ("async chain", awaits, async_endpoint, async_layer),
    ):
        for_each, for_all = added(timers, call, middleware)
        found.append(Row(f"{what}, a layer", [for_each], limit=A_LAYER))
        found.append(Row(f"{what}, a call", [for_all], limit=A_CALL))
    return found
