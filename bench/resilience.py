"""Middleware of resilience: what a call pays that is let through at once.

The endpoint does nothing. A call without a request has no origin to be found out; the row with a request has. Peers
that cannot be imported are left out.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from bench.measure import Row, calls, rounds
from formation import wrap
from formation.http import Request
from formation.middleware import adaptive_limit, bulkhead, client_throttle, load_shed, throttle

logger = logging.getLogger("bench")
ENDLESS = {"rate": 1e9, "burst": 10**9}


def endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


async def async_endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


def in_loop(make: Callable[[], Callable[[Any], Awaitable[Any]]]) -> Callable[[int], float]:
    """Time ``await fn({})`` in an event loop, in which ``make()`` makes the function."""

    async def loop(count: int) -> float:
        fn, ctx = make(), dict[str, Any]()
        turns = range(count)
        started = perf_counter()
        for _ in turns:
            await fn(ctx)
        return perf_counter() - started

    return lambda count: asyncio.run(loop(count))


def guarded(guard: Any) -> Callable[[Any], Any]:
    """Call the endpoint as one would without a library."""

    def call(ctx: Any) -> Any:
        with guard:
            return endpoint(ctx)

    return call


def async_guarded(make: Callable[[], Any]) -> Callable[[], Callable[[Any], Awaitable[Any]]]:
    """Call the async endpoint as one would without a library."""

    def chain() -> Callable[[Any], Awaitable[Any]]:
        guard = make()

        async def call(ctx: Any) -> Any:
            async with guard:
                return await async_endpoint(ctx)

        return call

    return chain


def rows() -> list[Row]:
    """Time each of them."""
    made = {
        "throttle": throttle(**ENDLESS, logger=logger),
        "bulkhead": bulkhead(logger=logger),
        "adaptive_limit": adaptive_limit(logger=logger),
        "client_throttle": client_throttle(logger=logger),
        "load_shed": load_shed(logger=logger),
    }
    request: Any = {"fmtn.req.http": Request("GET", "https://example.com/users/7")}
    sync: dict[str, Any] = {name: calls(wrap(endpoint, [each]), {}) for name, each in made.items()}
    sync["origin"] = calls(wrap(endpoint, [made["throttle"]]), request)
    sync["nothing"] = calls(wrap(endpoint, []), {})
    sync["Semaphore"] = calls(guarded(threading.Semaphore(25)), {})
    later: dict[str, Any] = {name: in_loop(partial(wrap, async_endpoint, [each])) for name, each in made.items()}
    later["Semaphore"] = in_loop(async_guarded(lambda: asyncio.Semaphore(25)))
    if find_spec("aiolimiter"):
        from aiolimiter import AsyncLimiter

        later["aiolimiter"] = in_loop(async_guarded(lambda: AsyncLimiter(1e9, 1)))
    seen, seen_later = rounds(sync), rounds(later)
    bars = {"throttle": 1e-6, "bulkhead": 1e-6}
    return [
        *(Row(f"{name}, sync", own(seen, name), limit=bars.get(name)) for name in made),
        Row("throttle, sync, of a client: finds the origin", own(seen, "origin")),
        Row("bulkhead, sync", own(seen, "bulkhead"), "threading.Semaphore", own(seen, "Semaphore")),
        *(Row(f"{name}, async", seen_later[name]) for name in made),
        Row("bulkhead, async", seen_later["bulkhead"], "asyncio.Semaphore", seen_later["Semaphore"]),
        *(
            Row("throttle, async", seen_later["throttle"], peer, seen_later[peer])
            for peer in later
            if peer == "aiolimiter"
        ),
    ]


def own(seen: dict[str, list[float]], name: str) -> list[float]:
    """Return what it takes over a call of the endpoint alone."""
    return [each - nothing for each, nothing in zip(seen[name], seen["nothing"], strict=True)]
