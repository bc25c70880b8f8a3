"""The client on httpx2: a GET of some JSON over a kept-alive connection on loopback, one at a time.

Formation's client has five middlewares, fills in a path parameter and decodes the JSON. A transport has the same five,
inside of a client of httpx2, which is asked as the bare one beside it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2

from bench.aiohttp_client import alone
from bench.client import MIDDLEWARE, repeated
from bench.measure import Row, rounds
from bench.server import running
from formation.for_httpx import AsyncTransport, Transport, async_build, build, json_response

CALLS = 10
"""A round is ten times as long as elsewhere, some fifty calls. A round of five says how cold the processor's caches are
after the round of another, and the bare client comes after one that runs all of its code."""
ROUNDS = 60


def rows() -> list[Row]:
    """Time the sync ways, then the async ones in one event loop; each beside a bare client of its kind."""
    with running() as url:
        return [*sync_rows(url), *async_rows(url)]


def sync_rows(url: str) -> list[Row]:
    """Time the client, and a client of httpx2 with our transport."""
    ours = build(base_uri=url, middleware=MIDDLEWARE, response_as=json_response)
    bare = httpx2.Client()
    inside = httpx2.Client(transport=Transport(MIDDLEWARE))
    with ours, bare, inside:
        seconds = long_rounds(
            {
                "client": repeated(lambda: ours.get("/users/{id}", path={"id": 1}).body),
                "transport": repeated(lambda: inside.get(f"{url}/users/1").json()),
                "httpx2": repeated(lambda: bare.get(f"{url}/users/1").json()),
            }
        )
    return [
        Row("client, five middlewares", seconds["client"], "httpx2.Client.get", seconds["httpx2"], at_most=1.15),
        Row("transport, the same five", seconds["transport"], "httpx2.Client.get", seconds["httpx2"], at_most=1.15),
    ]


def async_rows(url: str) -> list[Row]:
    """Time the same, awaited."""
    with asyncio.Runner() as runner:
        ours = async_build(base_uri=url, middleware=MIDDLEWARE, response_as=json_response)
        bare = httpx2.AsyncClient()
        inside = httpx2.AsyncClient(transport=AsyncTransport(MIDDLEWARE))

        async def client() -> Any:
            return (await ours.get("/users/{id}", path={"id": 1})).body

        async def transport() -> Any:
            return (await inside.get(f"{url}/users/1")).json()

        async def plain() -> Any:
            return (await bare.get(f"{url}/users/1")).json()

        calls = {"client": client, "transport": transport, "httpx2": plain}
        seconds = long_rounds({name: alone(runner, call) for name, call in calls.items()})
        runner.run(ours.close())
        for each in (inside, bare):
            runner.run(each.aclose())
    peer, theirs = "httpx2.AsyncClient.get", seconds["httpx2"]
    return [
        Row("async client, five middlewares", seconds["client"], peer, theirs, at_most=1.15),
        Row("async transport, the same five", seconds["transport"], peer, theirs, at_most=1.15),
    ]


def long_rounds(timers: dict[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """Let the candidates take turns, with `CALLS` times as many calls in a round."""
    return rounds({name: lengthened(timer) for name, timer in timers.items()}, ROUNDS)


def lengthened(timer: Callable[[int], float]) -> Callable[[int], float]:
    """Make a timer whose calls are `CALLS`; the seconds are those of one."""
    return lambda count: timer(count * CALLS) / CALLS
