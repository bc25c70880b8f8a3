"""Two thousand calls at once, a fifth of them cancelled at random moments, on every async edge and inside of sessions.

Half of the calls go through plain middleware, which waits on the bridge before and after it calls on.
"""

import asyncio
import gc
import random
from collections import Counter
from contextlib import asynccontextmanager, closing

import aiohttp
import httpx2
import pytest

from formation import bridge, for_aiohttp, for_asgi, for_httpx, sleep
from formation.client.base_sender import Prepared
from formation.client.in_process_exchange import Exchange
from formation.client.responses import Result, json_response
from formation.http import Body, Headers, Request, Response
from formation.keys import REQ_HTTP, STATE
from formation.middleware import context, raise_for_status, request_duration, request_id

resource = pytest.importorskip("resource")  # aiohttp opens a connection for each call

CALLS = 2000
FEWER = 1000
"""Calls on httpx2, whose pool looks at all that wait whenever one ends. ``python -m bench crowd`` makes 2000."""
WAIT = 0.2
"""Seconds that a call may wait at each of three places: before and after it calls on, and for the answer."""
OURS = {Body, bridge.Worker, Headers, Prepared, Request, Response, Result, Exchange}


def number_of(ctx):
    return ctx[REQ_HTTP].path.rpartition("/")[2]


def plain(ctx, call):
    number = ctx[REQ_HTTP].headers["X-Id"] = number_of(ctx)
    chance = random.Random(number)
    sleep(chance.random() * WAIT)
    ctx[STATE]["seen"] = number
    ctx = call(ctx)
    sleep(chance.random() * WAIT)
    assert ctx[STATE]["seen"] == number == number_of(ctx)
    return ctx


async def coloured(ctx, call):
    number = ctx[REQ_HTTP].headers["X-Id"] = number_of(ctx)
    chance = random.Random(number)
    await asyncio.sleep(chance.random() * WAIT)
    ctx = await call(ctx)
    await asyncio.sleep(chance.random() * WAIT)
    assert number == number_of(ctx)
    return ctx


MIDDLEWARES = [
    [request_id(), context(), coloured, request_duration()],
    [request_id(), context(), plain, request_duration(), raise_for_status()],
]


class Answering(asyncio.Protocol):
    """Answers a GET, when it is asked to, with the number in its path and the one in its header."""

    def __init__(self, connections):
        self.connections = connections
        self.head = b""

    def connection_made(self, transport):
        self.transport = transport
        self.connections.add(self)

    def connection_lost(self, error):
        self.connections.remove(self)

    def data_received(self, data):
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            lines, self.head = self.head.decode().split("\r\n"), b""
            path, _, wait = lines[0].split(" ")[1].partition("?wait=")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = f"[{path[1:]}, {fields.get('x-id', 0)}]"
            asyncio.get_running_loop().call_later(float(wait or 0), self.answer, body)

    def answer(self, body):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write((head + body).encode())  # which is nothing once the client is gone


async def app(scope, receive, send):
    """Do the same, in process."""
    fields = dict(scope["headers"])
    await asyncio.sleep(float(scope["query_string"].partition(b"=")[2] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"[%b," % scope["raw_path"][1:], "more_body": True})
    await send({"type": "http.response.body", "body": b"%b]" % fields.get(b"x-id", b"0")})


# The edges: each gives what makes a call, and what tells how many connections are in use


@asynccontextmanager
async def senders(build, url, endpoint):
    made = [
        build(base_uri=url, endpoint=endpoint, middleware=middleware, response_as=json_response, timeout=60)
        for middleware in MIDDLEWARES
    ]

    async def call(number, wait):
        return (await made[number % 2].get("/{id}", path={"id": number}, params={"wait": wait})).body

    yield call
    await endpoint.close()


def in_use(pool):
    return sum(not connection.is_idle() for connection in pool.connections)


@asynccontextmanager
async def on_aiohttp(url):
    endpoint = for_aiohttp.endpoint()
    async with senders(for_aiohttp.build, url, endpoint) as call:
        yield call, lambda: sum(len(pool.session.connector._acquired) for pool in endpoint._pools.values())


@asynccontextmanager
async def on_httpx(url):
    endpoint = for_httpx.async_endpoint()
    async with senders(for_httpx.async_build, url, endpoint) as call:
        yield call, lambda: sum(in_use(each._pool) for pool in endpoint._pools.values() for each in pool.values())


@asynccontextmanager
async def on_an_asgi_app(url):
    endpoint = for_asgi.endpoint(app, lifespan="off")
    async with senders(for_aiohttp.build, "http://app", endpoint) as call:
        yield call, lambda: sum(len(server.exchanges) for server in endpoint._servers.values())


@asynccontextmanager
async def in_sessions_of_aiohttp(url):
    connector = aiohttp.TCPConnector(limit=0)
    sessions = [
        aiohttp.ClientSession(
            connector=connector, connector_owner=False, middlewares=[for_aiohttp.client_middleware(middleware)]
        )
        for middleware in MIDDLEWARES
    ]

    async def call(number, wait):
        async with sessions[number % 2].get(f"{url}/{number}?wait={wait}") as response:
            return await response.json()

    yield call, lambda: len(connector._acquired)
    for each in (*sessions, connector):
        await each.close()


@asynccontextmanager
async def in_clients_of_httpx2(url):
    inner = httpx2.AsyncHTTPTransport()
    clients = [
        httpx2.AsyncClient(transport=for_httpx.AsyncTransport(middleware, transport=inner), timeout=60)
        for middleware in MIDDLEWARES
    ]

    async def call(number, wait):
        return (await clients[number % 2].get(f"{url}/{number}?wait={wait}")).json()

    yield call, lambda: in_use(inner._pool)
    for each in clients:
        await each.aclose()


# The crowd


def ours():
    """What is alive of ours, by its id."""
    gc.collect()
    return {id(each): each for each in gc.get_objects() if type(each) in OURS}


async def crowd(call, calls):
    """Make all the calls at once; return how they ended, after a look at each."""
    loop, chance = asyncio.get_running_loop(), random.Random(7)
    tasks = [asyncio.create_task(call(number, chance.random() * WAIT)) for number in range(calls)]
    told = set()
    for number in chance.sample(range(calls), calls // 5):

        def cancel(number=number):
            if tasks[number].cancel():
                told.add(number)

        loop.call_later(chance.random() * 2 * WAIT, cancel)
    await asyncio.wait(tasks)
    for number, task in enumerate(tasks):
        assert task.cancelled() == (number in told)
        assert task.cancelled() or task.result() == [number, number]
    return Counter("cancelled" if task.cancelled() else "answered" for task in tasks)


@pytest.fixture
def many_files():
    """Room for two sockets of each call; some systems start a process with 256 or 1024."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(before[0], 3 * CALLS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("edge", "calls"),
    [
        (on_aiohttp, CALLS),
        (in_sessions_of_aiohttp, CALLS),
        (on_an_asgi_app, CALLS),
        (on_httpx, FEWER),
        (in_clients_of_httpx2, FEWER),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_crowd_of_which_a_fifth_is_cancelled_mixes_nothing_up_and_leaves_nothing_behind(edge, calls):
    async def main():
        loop, connections = asyncio.get_running_loop(), set()
        loop.set_debug(False)  # with so many tasks it takes most of the time
        with closing(await loop.create_server(lambda: Answering(connections), "127.0.0.1", 0, backlog=CALLS)) as server:
            async with edge("http://{}:{}".format(*server.sockets[0].getsockname())) as (call, count_in_use):
                assert await call(1, 0) == [1, 1]
                before = ours()
                ended = await crowd(call, calls)
                after = ours()
                assert count_in_use() == 0
                assert asyncio.all_tasks() == {asyncio.current_task()}
                assert await call(1, 0) == [1, 1]
            while connections:  # noqa: ASYNC110  their end is on its way
                await asyncio.sleep(0)
        assert ended["cancelled"] > calls / 10
        left = [after[key] for key in after.keys() - before.keys()]
        assert {type(each) for each in left} <= {bridge.Worker}
        idle = bridge._idle.workers
        assert len(idle) <= bridge.IDLE_WORKERS
        assert {id(each) for each in left} <= {id(each) for each in idle}
        assert all(worker.value is worker.raised is worker.gr_context is None for worker in idle)

    asyncio.run(main())
