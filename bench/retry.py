"""Retry: what it costs where nothing fails.

Around a function, so that there is no request to copy. The bar is a microsecond over the bare chain.
"""

from typing import Any

from bench.measure import Row, awaits, calls, rounds
from formation import wrap
from formation.middleware import retry

MOST = 1e-6  # seconds: what a copy of the context, two looks at the clock and an entry in the ledger may take


def endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


async def async_endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


def layer(ctx: Any, call: Any) -> Any:
    """Call on."""
    return call(ctx)


def rows() -> list[Row]:
    """Time calls that succeed at once."""
    ways = {"bare": wrap(endpoint), "retry": wrap(endpoint, [retry()]), "free": wrap(endpoint, [retry(budget=None)])}
    later = {name: awaits(wrap(async_endpoint, [m]), {"a": 1}) for name, m in (("layer", layer), ("retry", retry()))}
    seconds = rounds({name: calls(chain, {"a": 1}) for name, chain in ways.items()})
    over = [ours - theirs for ours, theirs in zip(seconds["retry"], seconds["bare"], strict=True)]
    awaited = rounds(later)
    return [
        Row("retry, over the bare chain", over, limit=MOST),
        Row("retry, the whole call", seconds["retry"], "no budget", seconds["free"]),
        Row("retry, async", awaited["retry"], "a layer that calls on", awaited["layer"]),
    ]
