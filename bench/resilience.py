"""Middleware of resilience: what a call pays that is let through at once, and what a thread pays beside busy tasks.

The endpoint does nothing. A call without a request has no origin to be found out; the row with a request has. Peers
that cannot be imported are left out. `retry` has a part of its own.
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
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    chaos,
    circuit_breaker,
    client_throttle,
    coalesce,
    deadline,
    fallback,
    hedge,
    load_shed,
    throttle,
    timeout,
)

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


def on(ctx: Any, call: Any) -> Any:
    """Call on."""
    return call(ctx)


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
        "circuit_breaker": circuit_breaker(logger),
        "circuit_breaker, ratio": circuit_breaker(logger, ratio=0.5),
        "throttle": throttle(**ENDLESS, logger=logger),
        "bulkhead": bulkhead(logger=logger),
        "timeout": timeout(10, logger=logger),
        "deadline": deadline(30, logger=logger),
        "adaptive_limit": adaptive_limit(logger=logger),
        "client_throttle": client_throttle(logger=logger),
        "load_shed": load_shed(logger=logger),
        "fallback": fallback("sorry", logger=logger),
        "coalesce": coalesce(),
        "hedge, before it has learnt": hedge(logger=logger, budget=None),
        "chaos, not enabled": chaos(logger=logger),
    }
    request: Any = {"fmtn.req.http": Request("GET", "https://example.com/users/7")}
    sync: dict[str, Any] = {name: calls(wrap(endpoint, [each]), {}) for name, each in made.items()}
    del sync["hedge, before it has learnt"]  # it learns, and then has a thread for each attempt
    sync["origin"] = calls(wrap(endpoint, [made["throttle"]]), request)
    sync["nothing"] = calls(wrap(endpoint, []), {})
    later: dict[str, Any] = {name: in_loop(partial(wrap, async_endpoint, [each])) for name, each in made.items()}
    del later["hedge, before it has learnt"]
    later["a layer that only calls on"] = in_loop(partial(wrap, async_endpoint, [on]))
    later["hedge"] = in_loop(lambda: wrap(async_endpoint, [hedge(60, logger=logger)]))
    sync_peers, async_peers = peers(), later_peers()
    seen = rounds(sync | {name: timer for of in sync_peers.values() for name, timer in of.items()})
    seen_later = rounds(later | {name: timer for of in async_peers.values() for name, timer in of.items()})
    bars = {"circuit_breaker": 2e-6, "throttle": 1e-6, "bulkhead": 1e-6}
    return [
        *(Row(f"{name}, sync", own(seen, name), limit=bars.get(name)) for name in made if name in sync),
        Row("throttle, sync, of a client: finds the origin", own(seen, "origin")),
        *(
            Row(f"{name}, sync, the whole call", seen[name], peer, seen[peer])
            for name, of in sync_peers.items()
            for peer in of
        ),
        *(Row(f"{name}, async", seen_later[name]) for name in later),
        *(
            Row(f"{name}, async", seen_later[name], peer, seen_later[peer])
            for name, of in async_peers.items()
            for peer in of
        ),
        beside_tasks(),
    ]


def own(seen: dict[str, list[float]], name: str) -> list[float]:
    """Return what it takes over a call of the endpoint alone."""
    return [each - nothing for each, nothing in zip(seen[name], seen["nothing"], strict=True)]


def peers() -> dict[str, dict[str, Any]]:
    """Return the timers of others in sync code, by what of ours they stand beside."""
    found: dict[str, dict[str, Any]] = {"circuit_breaker": {}, "throttle": {}, "bulkhead": {}}
    import pybreaker  # circuit_breaker needs it too

    found["circuit_breaker"]["pybreaker.call"] = calls(partial(pybreaker.CircuitBreaker().call, endpoint), {})
    if find_spec("purgatory"):
        from purgatory import SyncCircuitBreakerFactory

        found["circuit_breaker"]["purgatory"] = calls(SyncCircuitBreakerFactory()("bench")(endpoint), {})
    if find_spec("limits"):
        from limits import parse
        from limits.storage import MemoryStorage
        from limits.strategies import SlidingWindowCounterRateLimiter

        limiter, item = SlidingWindowCounterRateLimiter(MemoryStorage()), parse("1000000000/second")
        found["throttle"]["limits, a sliding window"] = calls(lambda ctx: limiter.hit(item) and endpoint(ctx), {})
    found["bulkhead"]["threading.Semaphore"] = calls(guarded(threading.Semaphore(25)), {})
    return found


def later_peers() -> dict[str, dict[str, Any]]:
    """Return those in async code."""
    found: dict[str, dict[str, Any]] = {"circuit_breaker": {}, "throttle": {}, "bulkhead": {}, "timeout": {}}
    found["bulkhead"]["asyncio.Semaphore"] = in_loop(async_guarded(lambda: asyncio.Semaphore(25)))
    found["timeout"]["asyncio.timeout"] = in_loop(lambda: timed)
    if find_spec("purgatory"):
        from purgatory import AsyncCircuitBreakerFactory

        found["circuit_breaker"]["purgatory, async"] = in_loop(
            lambda: AsyncCircuitBreakerFactory()("bench")(async_endpoint)
        )
    if find_spec("hyx"):
        from hyx.bulkhead import bulkhead as wall
        from hyx.circuitbreaker import consecutive_breaker
        from hyx.ratelimit import tokenbucket
        from hyx.timeout import timeout as limit

        found["circuit_breaker"]["hyx breaker"] = in_loop(lambda: consecutive_breaker()(async_endpoint))
        found["bulkhead"]["hyx bulkhead"] = in_loop(lambda: wall(max_concurrency=25, max_capacity=50)(async_endpoint))
        found["throttle"]["hyx tokenbucket"] = in_loop(lambda: tokenbucket(1e9, 1, bucket_size=1e9)(async_endpoint))
        found["timeout"]["hyx timeout"] = in_loop(lambda: limit(10)(async_endpoint))
    if find_spec("limits"):
        found["throttle"]["limits.aio, a sliding window"] = in_loop(limited)
    if find_spec("aiolimiter"):
        from aiolimiter import AsyncLimiter

        found["throttle"]["aiolimiter"] = in_loop(async_guarded(lambda: AsyncLimiter(1e9, 1)))
    return found


def limited() -> Callable[[Any], Awaitable[Any]]:
    """Call the async endpoint if limits lets it through."""
    from limits import parse
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import SlidingWindowCounterRateLimiter

    limiter, item = SlidingWindowCounterRateLimiter(MemoryStorage()), parse("1000000000/second")

    async def call(ctx: Any) -> Any:
        assert await limiter.hit(item)
        return await async_endpoint(ctx)

    return call


async def timed(ctx: Any) -> Any:
    """Call the async endpoint as one would without a library."""
    async with asyncio.timeout(10):
        return await async_endpoint(ctx)


def beside_tasks(rounds: int = 5, each: int = 300) -> Row:
    """Time calls of a thread while tasks call through the same circuit all the time: the slowest of a hundred.

    Each task waits in its endpoint, with the circuit around it. What a call of the thread takes without a circuit
    stands beside: both share the interpreter with the tasks.
    """
    breaker, done = circuit_breaker(logger), threading.Event()

    async def waits(ctx: Any) -> Any:
        await asyncio.sleep(0.005)
        return ctx

    async def traffic() -> None:
        chain = wrap(waits, [breaker])

        async def ask() -> None:
            while not done.is_set():
                await chain({})

        await asyncio.gather(*(ask() for _ in range(20)))

    def slowest(call: Callable[[Any], Any]) -> float:
        took = []
        for _ in range(each):
            started = perf_counter()
            call({})
            took.append(perf_counter() - started)
            done.wait(0.0002)
        return sorted(took)[int(0.99 * each)]

    thread = threading.Thread(target=lambda: asyncio.run(traffic()))
    thread.start()
    ours, bare = [], []
    try:
        for _ in range(rounds):
            ours.append(slowest(wrap(endpoint, [breaker])))
            bare.append(slowest(endpoint))
    finally:
        done.set()
        thread.join()
    return Row("C7: a thread beside 20 tasks, p99 of a call through the circuit", ours, "no circuit", bare, limit=1e-3)
