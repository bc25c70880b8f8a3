"""Two thousand calls at once, a fifth of them cancelled at random moments: for how long nobody else has a turn.

A *callback* is what the event loop runs at a stretch; the longest one is told without the garbage collections in it. A
*collection* is the longest pause of the garbage collector, which looks at everything that is alive, so at two thousand
calls and what they hold. A *turn* is how long the loop ran what was due before it looked for more: two thousand calls
that begin at once are one turn. All three are times of the processor: a neighbour that is busy does not count.

Of our calls one half goes through five plain middlewares, the other through five async ones. All calls wait before and
after they call on, those of the peers as well.
"""

# ruff: noqa: SLF001  asyncio has no other place to look from

import asyncio
import gc
import random
import resource
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import thread_time
from typing import Any, Self

import aiohttp
import httpx2

from bench.measure import Row
from bench.server import running, serve
from formation import for_aiohttp, for_asgi, for_httpx, sleep
from formation.keys import REQ_HTTP
from formation.middleware import context, raise_for_status, request_duration, request_id

Call = Callable[[int, float], Coroutine[Any, Any, int]]

CALLS = 2000
WAIT = 0.1
"""Seconds that a call waits at most, before and after it calls on, and three times that for its answer."""
LIMIT = 0.05
"""Seconds that a callback may take."""
POOL = {"max_connections": 100, "max_keepalive_connections": 100}  # as ours


def rows() -> list[Row]:
    """Let each crowd run by itself in an event loop of its own, ours and then its peer."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, 2 * CALLS), most))  # aiohttp connects for each call
    made = []
    with running("bench.crowd") as url:
        for what, ours, peer, theirs in CROWDS:
            mine, bare = longest(ours, url), longest(theirs, url)
            made.append(Row(f"{what}: callback", [mine["callback"]], peer, [bare["callback"]], limit=LIMIT))
            made += [Row(f"{what}: {each}", [mine[each]], peer, [bare[each]]) for each in ("collection", "turn")]
    return made


def longest(caller: Callable[[str], Any], url: str) -> dict[str, float]:
    """Run a crowd; return the seconds of its longest callback, collection and turn."""

    async def main() -> dict[str, float]:
        async with caller(url) as call:
            await call(0, 0)
            gc.collect()
            await asyncio.sleep(0)
            clock.clear()
            await crowd(call)
            return clock.longest.copy()  # before 2000 connections are closed at once

    with Clock() as clock, asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner:
        return runner.run(main())


async def crowd(call: Call) -> None:
    """Make all calls at once, and look at each answer."""
    chance = random.Random(7)
    tasks = [asyncio.create_task(call(number, chance.random() * 3 * WAIT)) for number in range(CALLS)]
    for task in chance.sample(tasks, CALLS // 5):
        asyncio.get_running_loop().call_later(chance.random() * 8 * WAIT, task.cancel)
    await asyncio.wait(tasks)
    for number, task in enumerate(tasks):
        assert task.cancelled() or task.result() == number


class Clock(selectors.DefaultSelector):
    """The selector of an event loop, which sees when a turn ends; it looks at the callbacks and collections, too."""

    def __enter__(self) -> Self:
        run = self.run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            before, started = self.collected, thread_time()
            run(handle)
            self.note("callback", thread_time() - started - (self.collected - before))

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self.collection)
        self.collecting = self.collected = 0.0
        self.turned = thread_time()
        self.clear()
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.Handle._run = self.run  # type: ignore[method-assign]
        gc.callbacks.remove(self.collection)

    def clear(self) -> None:
        """Begin."""
        self.longest = {"callback": 0.0, "collection": 0.0, "turn": 0.0}

    def note(self, what: str, seconds: float) -> None:
        """Keep the longest."""
        self.longest[what] = max(self.longest[what], seconds)

    def collection(self, phase: str, info: dict[str, int]) -> None:
        """See a collection begin, and end."""
        if phase == "start":
            self.collecting = thread_time()
        else:
            took = thread_time() - self.collecting
            self.collected += took
            self.note("collection", took)

    def select(self, timeout: float | None = None) -> Any:
        """Wait for what is to be done next."""
        self.note("turn", thread_time() - self.turned)
        try:
            return super().select(timeout)
        finally:
            self.turned = thread_time()


# Ours


def plain(ctx: Any, call: Any) -> Any:
    """Wait on the bridge."""
    before, after = waits(int(ctx[REQ_HTTP].path[1:]))
    sleep(before)
    ctx = call(ctx)
    sleep(after)
    return ctx


async def coloured(ctx: Any, call: Any) -> Any:
    """Wait."""
    before, after = waits(int(ctx[REQ_HTTP].path[1:]))
    await asyncio.sleep(before)
    ctx = await call(ctx)
    await asyncio.sleep(after)
    return ctx


async def passing(ctx: Any, call: Any) -> Any:
    """Do nothing."""
    return await call(ctx)


def waits(number: int) -> tuple[float, float]:
    """Return the seconds that a call waits, before and after."""
    chance = random.Random(number)
    return chance.random() * WAIT, chance.random() * WAIT


PLAIN = [request_id(), context(), plain, request_duration(), raise_for_status()]
MIDDLEWARES: list[list[Any]] = [[passing, passing, coloured, passing, passing], PLAIN]


@asynccontextmanager
async def by_clients(build: Any, url: str, endpoint: Any) -> AsyncIterator[Call]:
    """Call by clients of ours."""
    how = {"base_uri": url, "endpoint": endpoint, "response_as": for_aiohttp.json_response, "timeout": 60}
    senders = [build(middleware=each, **how) for each in MIDDLEWARES]

    async def call(number: int, wait: float) -> int:
        result = await senders[number % 2].get("/{id}", path={"id": number}, params={"wait": wait})
        return int(result.body["id"])

    yield call
    await endpoint.close()


def aiohttp_client(url: str) -> Any:
    """Call by the client on aiohttp."""
    return by_clients(for_aiohttp.build, url, for_aiohttp.endpoint())


def httpx_client(url: str) -> Any:
    """Call by the one on httpx2."""
    return by_clients(for_httpx.async_build, url, for_httpx.async_endpoint())


def asgi_client(url: str) -> Any:
    """Call an app in this process."""
    return by_clients(for_aiohttp.build, "http://app", for_asgi.endpoint(app, lifespan="off"))


# The libraries, with our middleware and without


@asynccontextmanager
async def by_sessions(url: str, middlewares: Any) -> AsyncIterator[Call]:
    """Call by sessions of aiohttp."""
    connector = aiohttp.TCPConnector(limit=0)
    how: Any = {"connector": connector, "connector_owner": False}
    sessions = [aiohttp.ClientSession(**how, middlewares=each) for each in middlewares]

    async def call(number: int, wait: float) -> int:
        async with sessions[number % 2].get(f"{url}/{number}?wait={wait}") as response:
            return int((await response.json())["id"])

    yield call if all(middlewares) else waiting(call)
    for each in sessions:
        await each.close()
    await connector.close()


def aiohttp_middleware(url: str) -> Any:
    """Call through our middleware."""
    return by_sessions(url, [[for_aiohttp.client_middleware(each)] for each in MIDDLEWARES])


def aiohttp_session(url: str) -> Any:
    """Call without."""
    return by_sessions(url, [[], []])


@asynccontextmanager
async def by_httpx(url: str, transports: Any) -> AsyncIterator[Call]:
    """Call by clients of httpx2."""
    clients = [httpx2.AsyncClient(transport=each, timeout=60) for each in transports]

    async def call(number: int, wait: float) -> int:
        return int((await clients[number % 2].get(f"{url}/{number}?wait={wait}")).json()["id"])

    yield call if isinstance(transports[0], for_httpx.AsyncTransport) else waiting(call)
    for each in clients:
        await each.aclose()


def httpx_transport(url: str) -> Any:
    """Call through our transport."""
    inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(**POOL))
    return by_httpx(url, [for_httpx.AsyncTransport(each, transport=inner) for each in MIDDLEWARES])


def httpx_bare(url: str) -> Any:
    """Call by a client that has none."""
    return by_httpx(url, [httpx2.AsyncHTTPTransport(limits=httpx2.Limits(**POOL))] * 2)


def httpx_asgi(url: str) -> Any:
    """Call an app in this process."""
    return by_httpx("http://app", [httpx2.ASGITransport(app)] * 2)


def waiting(call: Call) -> Call:
    """Wait as our middleware does."""

    async def patient(number: int, wait: float) -> int:
        before, after = waits(number)
        await asyncio.sleep(before)
        found = await call(number, wait)
        await asyncio.sleep(after)
        return found

    return patient


CROWDS: list[tuple[str, Callable[[str], Any], str, Callable[[str], Any]]] = [
    ("aiohttp", aiohttp_client, "ClientSession.get", aiohttp_session),
    ("aiohttp, middleware in a session", aiohttp_middleware, "ClientSession.get", aiohttp_session),
    ("httpx2", httpx_client, "AsyncClient.get", httpx_bare),
    ("httpx2, transport", httpx_transport, "AsyncClient.get", httpx_bare),
    ("ASGI app", asgi_client, "ASGITransport of httpx2", httpx_asgi),
]


# The other side


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the number in the path, when it is asked for."""
    await asyncio.sleep(float(scope["query_string"].partition(b"=")[2]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"id": %b}' % scope["raw_path"][1:]})


class Answer(asyncio.Protocol):
    """Does the same over a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.head = b""

    def data_received(self, data: bytes) -> None:
        """Read a head."""
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            number, _, wait = self.head.split(b" ", 2)[1][1:].partition(b"?wait=")
            self.head = b""
            asyncio.get_running_loop().call_later(float(wait), self.answer, b'{"id": %b}' % number)

    def answer(self, body: bytes) -> None:
        """Answer."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)  # type: ignore[attr-defined]


if __name__ == "__main__":
    asyncio.run(serve(Answer))
