"""The kernel: a chain beside the closures that one would nest by hand.

The layers do nothing but call on, so that all there is to see is what comes between them. *Per layer* is the slope from
one layer to ten, which leaves out what a call costs once; *whole* is a call through all ten.
"""

from functools import reduce
from typing import Any

from bench.measure import Row, awaits, calls, rounds
from formation import wrap

FEW, MANY = 1, 10


def endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


def layer(ctx: Any, call: Any) -> Any:
    """Call on."""
    return call(ctx)


async def async_endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


async def async_layer(ctx: Any, call: Any) -> Any:
    """Call on."""
    return await call(ctx)


def nested(m: Any, nxt: Any) -> Any:
    """Put one closure around the next."""

    def step(ctx: Any) -> Any:
        return m(ctx, nxt)

    return step


def by_hand(call: Any, middleware: list[Any]) -> Any:
    """Nest closures, as one would without a library; without a check of anything."""
    return reduce(lambda nxt, m: nested(m, nxt), reversed(middleware), call)


def formation_0_1(call: Any, middleware: list[Any]) -> Any:
    """Do what ``wrap`` did in Formation 0.1."""
    return reduce(lambda acc, m: lambda ctx: m(ctx, acc), reversed(middleware), call)


def slope(seconds: dict[Any, list[float]], name: str) -> list[float]:
    """Tell what one more layer takes, in each round."""
    return [(many - few) / (MANY - FEW) for few, many in zip(seconds[name, FEW], seconds[name, MANY], strict=True)]


def rows() -> list[Row]:
    """Time sync chains and async chains."""
    ways: dict[str, Any] = {"Formation": wrap, "closures": by_hand, "Formation 0.1": formation_0_1}
    sync = rounds({(name, n): calls(way(endpoint, [layer] * n)) for name, way in ways.items() for n in (0, FEW, MANY)})
    later = rounds(
        {
            (name, n): awaits(ways[name](async_endpoint, [async_layer] * n))
            for name in ("Formation", "closures")
            for n in (0, FEW, MANY)
        }
    )
    return [
        Row("sync chain, per layer", slope(sync, "Formation"), "closures", slope(sync, "closures"), at_most=1.2),
        Row("sync chain, per layer", slope(sync, "Formation"), "Formation 0.1", slope(sync, "Formation 0.1")),
        Row("sync chain, 10 layers", sync["Formation", MANY], "closures", sync["closures", MANY]),
        Row("sync chain, 1 layer", sync["Formation", FEW], "closures", sync["closures", FEW]),
        Row("sync chain, no layer", sync["Formation", 0], "the endpoint", sync["closures", 0]),
        Row("async chain, per layer", slope(later, "Formation"), "closures", slope(later, "closures"), at_most=1.15),
        Row("async chain, 10 layers", later["Formation", MANY], "closures", later["closures", MANY]),
        Row("async chain, 1 layer", later["Formation", FEW], "closures", later["closures", FEW]),
        Row("async chain, no layer", later["Formation", 0], "the endpoint", later["closures", 0]),
    ]
