"""The client on aiohttp: GETs of some JSON over kept-alive connections on loopback, one at a time and 100 at once.

Formation's client has five middlewares, fills in a path parameter and decodes the JSON. The peers have one client each.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import aiohttp
import httpx2

from bench.measure import Row, rounds
from bench.server import running
from formation.for_aiohttp import build, json_response
from formation.middleware import accept, context, raise_for_status, request_duration, request_id

MIDDLEWARE = [request_id(), context(), request_duration(), accept("application/json"), raise_for_status()]
AT_ONCE = 100
HEAVY = 40  # rounds of 100 calls: a round is long, so fewer of them will do


def rows() -> list[Row]:
    """Time calls in one event loop."""
    with running() as url, asyncio.Runner() as runner:
        session, client = runner.run(opened())
        ours = build(base_uri=url, middleware=MIDDLEWARE, response_as=json_response)
        bare = build(base_uri=url, response_as=json_response)

        async def formation() -> Any:
            return (await ours.get("/users/{id}", path={"id": 1})).body

        async def without() -> Any:
            return (await bare.get("/users/{id}", path={"id": 1})).body

        async def plain_aiohttp() -> Any:
            async with session.get(f"{url}/users/1") as response:
                return await response.json()

        async def plain_httpx() -> Any:
            return (await client.get(f"{url}/users/1")).json()

        calls = {"Formation": formation, "bare": without, "aiohttp": plain_aiohttp, "httpx2": plain_httpx}
        one = rounds({name: alone(runner, call) for name, call in calls.items() if name != "httpx2"})
        many = rounds({name: together(runner, call) for name, call in calls.items() if name != "bare"}, HEAVY)
        for each in (ours, bare, session):
            runner.run(each.close())
        runner.run(client.aclose())
    five, crowd = "five middlewares", f"five middlewares, {AT_ONCE} at once"
    return [
        Row(five, one["Formation"], "ClientSession.get", one["aiohttp"], at_most=1.15),
        Row("no middleware", one["bare"], "ClientSession.get", one["aiohttp"]),
        Row(crowd, many["Formation"], "ClientSession.get", many["aiohttp"]),
        Row(crowd, many["Formation"], "httpx2.AsyncClient.get", many["httpx2"], at_most=0.2),
    ]


async def opened() -> tuple[aiohttp.ClientSession, httpx2.AsyncClient]:
    """Make the peers, which take as many connections as there are calls."""
    limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    return aiohttp.ClientSession(), httpx2.AsyncClient(limits=limits)


def alone(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]]) -> Callable[[int], float]:
    """Time one call after the other."""

    async def loop(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            await call()
        return perf_counter() - started

    return lambda count: runner.run(loop(count))


def together(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]]) -> Callable[[int], float]:
    """Time `AT_ONCE` calls at once, time and again; the seconds are those of one call."""

    async def loop(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            await asyncio.gather(*[call() for _ in range(AT_ONCE)])
        return (perf_counter() - started) / AT_ONCE

    return lambda count: runner.run(loop(count))
