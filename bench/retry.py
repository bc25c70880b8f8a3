"""Retry: what it costs where nothing fails.

Around a function, so that there is no request to copy. The bar is a microsecond over the bare chain. Beside it the
decorators of stamina and tenacity, if they are there, around the same function.
"""

from collections.abc import Callable
from importlib.util import find_spec
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


def peers() -> dict[str, Callable[[Any], Any]]:
    """Return the decorators of others that make three attempts, for sync and async functions alike."""
    found: dict[str, Callable[[Any], Any]] = {}
    if find_spec("tenacity"):
        import tenacity

        found["tenacity.retry"] = tenacity.retry(stop=tenacity.stop_after_attempt(3))
    if find_spec("stamina"):
        import stamina

        found["stamina.retry"] = stamina.retry(on=Exception, attempts=3)
    return found


def later_peers() -> dict[str, Callable[[Any], Any]]:
    """Return those for async functions alone."""
    if not find_spec("hyx"):
        return {}
    from hyx.retry import retry as again

    return {"hyx retry": again(attempts=3)}


def rows() -> list[Row]:
    """Time calls that succeed at once."""
    ways = {"bare": wrap(endpoint), "retry": wrap(endpoint, [retry()]), "free": wrap(endpoint, [retry(budget=None)])}
    later = {name: wrap(async_endpoint, [m]) for name, m in (("layer", layer), ("retry", retry()))}
    decorators, later_decorators = peers(), peers() | later_peers()
    ways |= {name: decorate(endpoint) for name, decorate in decorators.items()}
    later |= {name: decorate(async_endpoint) for name, decorate in later_decorators.items()}
    seconds = rounds({name: calls(chain, {"a": 1}) for name, chain in ways.items()})
    over = [ours - theirs for ours, theirs in zip(seconds["retry"], seconds["bare"], strict=True)]
    awaited = rounds({name: awaits(chain, {"a": 1}) for name, chain in later.items()})
    return [
        Row("retry, over the bare chain", over, limit=MOST),
        Row("retry, the whole call", seconds["retry"], "no budget", seconds["free"]),
        *(Row("retry, the whole call", seconds["retry"], name, seconds[name], at_most=1) for name in decorators),
        Row("retry, async", awaited["retry"], "a layer that calls on", awaited["layer"]),
        *(
            Row("retry, async", awaited["retry"], name, awaited[name], at_most=1 if name in decorators else None)
            for name in later_decorators
        ),
    ]
