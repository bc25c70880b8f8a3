"""Pools of aiohttp, one for each event loop, and many calls at once."""

import asyncio
import gc
import inspect
import random
import threading
from time import monotonic

import aiohttp
import aiohttp.web
import pytest

from formation import bridge, errors
from formation.for_aiohttp import build, endpoint, json_response
from formation.http import Request
from formation.keys import REQ_HTTP, RES_HTTP
from formation.middleware import request_id
from tests.for_aiohttp.cases import echo, in_loop, plainly, settles, within

# Pools and event loops


def test_an_endpoint_works_in_one_event_loop_after_the_other_and_leaks_nothing(fresh_server):
    sender = build(base_uri=fresh_server.url)

    async def call():
        assert (await sender.get("/echo")).status_code == 200
        assert (await sender.get("/echo")).status_code == 200

    with fresh_server.watch() as seen:
        for _ in range(5):
            asyncio.run(call())  # nobody closes: the end of the event loop does
            assert fresh_server.settles(0)
            assert not sender._transport()._pools
    assert seen.connections == 5
    asyncio.run(sender.close())


def test_an_event_loop_that_just_closes_leaves_nothing_in_the_endpoint(fresh_server):
    sends = endpoint()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(sends({REQ_HTTP: Request("GET", fresh_server.url + "/echo")}))
    (pool,) = sends._pools.values()
    loop.run_until_complete(pool[0].connector.close())
    loop.run_until_complete(pool[0].close())
    loop.close()

    async def call():
        await sends({REQ_HTTP: Request("GET", fresh_server.url + "/echo")})
        assert list(sends._pools) == [asyncio.get_running_loop()]
        await sends.close()

    asyncio.run(call())
    assert fresh_server.settles(0)


def test_event_loops_of_two_threads_find_at_once_that_a_third_is_gone(fresh_server):
    class Asked(asyncio.SelectorEventLoop):
        then = None

        def is_closed(self):
            then, self.then = self.then, None
            if then is not None:
                then()
            return super().is_closed()

    sends, done = endpoint(), []

    def call():
        return sends({REQ_HTTP: Request("GET", fresh_server.url + "/echo")})

    def meanwhile():
        thread = threading.Thread(target=lambda: done.append(asyncio.run(call())))
        thread.start()
        thread.join()

    gone = Asked()
    gone.run_until_complete(call())
    (pool,) = sends._pools.values()
    gone.run_until_complete(pool.session.close())
    gone.close()
    gone.then = meanwhile
    asyncio.run(call())
    assert len(done) == 1
    assert not sends._pools


def test_threads_with_event_loops_share_a_client(fresh_server):
    sender = build(base_uri=fresh_server.url, response_as=json_response, middleware=[request_id()])
    failed = []

    async def calls(name):
        bodies = await asyncio.gather(*[sender.get(f"/echo/{name}-{n}") for n in range(20)])
        assert [body["path"] for body, _, _ in bodies] == [f"/echo/{name}-{n}" for n in range(20)]

    def work(name):
        try:
            asyncio.run(calls(name))
        except BaseException as error:  # noqa: BLE001  the thread of the test raises it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
    assert fresh_server.settles(0)


@in_loop
async def test_a_client_that_is_forgotten_closes_its_connections(fresh_server):
    sender = build(base_uri=fresh_server.url)
    await sender.get("/echo")
    assert await settles(fresh_server, 1)
    del sender
    gc.collect()
    assert await settles(fresh_server, 0)


@in_loop
async def test_a_pool_that_is_closed_from_another_event_loop_leaves_alone_the_one_that_came_after_it(fresh_server):
    sends = endpoint()
    request = Request("GET", fresh_server.url + "/echo")
    await sends({REQ_HTTP: request})
    closing = threading.Thread(target=lambda: asyncio.run(sends.close()))
    closing.start()
    closing.join()  # this event loop stands still meanwhile, and has not closed its connections yet
    first = await sends({REQ_HTTP: request})
    assert await settles(fresh_server, 1)
    (pool,) = sends._pools.values()
    await sends({REQ_HTTP: request})
    assert list(sends._pools.values()) == [pool]
    assert first[RES_HTTP].status_code == 200
    await sends.close()
    assert await settles(fresh_server, 0)


@in_loop
async def test_calls_at_once_open_one_pool(fresh_server):
    async with build(base_uri=fresh_server.url) as sender:
        await asyncio.gather(*[sender.get("/echo") for _ in range(50)])
        assert len(sender._transport()._pools) == 1
    assert await settles(fresh_server, 0)


def test_uvloop_will_do(fresh_server):
    uvloop = pytest.importorskip("uvloop")
    sender = build(base_uri=fresh_server.url, middleware=[request_id()], timeout=0.3)

    async def call():
        results = await asyncio.gather(*[sender.get("/echo/{n}", path={"n": n}) for n in range(20)])
        assert [echo(result)["path"] for result in results] == [f"/echo/{n}" for n in range(20)]
        async with sender.get("/chunks/3", stream=True) as result:
            assert b"".join([chunk async for chunk in result.body]) == b"A" * 10 + b"B" * 10 + b"C" * 10
        with pytest.raises(errors.ReadTimeout):
            await sender.get("/hang")
        with pytest.raises(errors.DeadlineExceeded):
            await sender.get("/drip?count=1000&delay=0.02", middleware=[within(0.2)], timeout=5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sender.get("/hang")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())
    assert fresh_server.settles(0)


# All at once


class Ticker:
    """Measures for how long at a time nobody else gets a turn in the event loop."""

    async def __aenter__(self):
        self.longest, self.task = 0.0, asyncio.create_task(self.tick())
        return self

    async def tick(self):
        while True:
            before = monotonic()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, monotonic() - before - 0.005)

    async def __aexit__(self, *error):
        self.task.cancel()
        await asyncio.wait([self.task])


@in_loop
async def test_two_thousand_calls_of_which_a_fifth_is_cancelled_leak_nothing_and_mix_nothing_up():
    async def answer(request):
        await asyncio.sleep(float(request.query["wait"]))
        return aiohttp.web.json_response({"id": request.headers["X-Id"]})

    def tag(ctx, call):
        ctx[REQ_HTTP].headers["X-Id"] = ctx[REQ_HTTP].path.rpartition("/")[2]
        ctx = call(ctx)
        assert ctx[RES_HTTP].json()["id"] == ctx[REQ_HTTP].headers["X-Id"]
        return ctx

    async def atag(ctx, call):
        ctx[REQ_HTTP].headers["X-Id"] = ctx[REQ_HTTP].path.rpartition("/")[2]
        return await call(ctx)

    asyncio.get_running_loop().set_debug(False)  # with that many tasks it takes most of the time
    app = aiohttp.web.Application()
    app.router.add_get("/{id}", answer)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    chance = random.Random(7)
    shared = endpoint()
    plain = build(base_uri=url, endpoint=shared, middleware=[plainly, tag, request_id()], response_as=json_response)
    only_async = build(base_uri=url, endpoint=shared, middleware=[atag], response_as=json_response)
    slots = asyncio.Semaphore(200)

    async def one(number):
        async with slots:
            sender = plain if number % 2 else only_async
            result = await sender.get("/{id}", path={"id": number}, params={"wait": chance.random() / 20}, timeout=30)
            assert result.body == {"id": str(number)}
            return number

    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(one(number)) for number in range(2000)]
        doomed = chance.sample(range(2000), 400)
        for number in doomed:
            asyncio.get_running_loop().call_later(chance.random(), tasks[number].cancel)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert outcome == number or (number in doomed and isinstance(outcome, asyncio.CancelledError))
    (pool,) = shared._pools.values()
    assert not pool[0].connector._acquired
    assert len(bridge._idle.workers) <= bridge.IDLE_WORKERS
    assert all(worker.value is None and worker.raised is None for worker in bridge._idle.workers)
    await shared.close()
    await runner.cleanup()


@in_loop
async def test_no_wait_blocks_the_event_loop(server):
    async with build(base_uri=server.url, middleware=[request_id(), plainly]) as sender, Ticker() as ticker:
        await asyncio.gather(*[sender.get("/slow?seconds=1", timeout=30) for _ in range(50)])
    assert ticker.longest < 0.9  # of which a busy machine takes most for itself


def test_the_edge_shows_its_signature():
    assert list(inspect.signature(endpoint).parameters) == ["session", "verify", "cert", "proxy", "raw"]
