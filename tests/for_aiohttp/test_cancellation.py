"""Calls on aiohttp that are cancelled, and those that come too late."""

import asyncio
import threading
from time import monotonic

import aiohttp
import aiohttp.web
import pytest

from formation import bridge, errors
from formation.for_aiohttp import build
from formation.for_aiohttp.endpoint import _until as until
from formation.keys import REQ_HTTP
from formation.middleware import timeout
from tests.for_aiohttp.cases import in_loop, plainly, session_with, settles
from tests.servers import Gone


def lingering(ctx, call):
    ctx = call(ctx)
    bridge.sleep(10)
    return ctx


CANCELLED = [
    ("/hang", {}),
    ("/hang-body", {}),
    ("/drip-head?delay=0.01", {}),
    ("/drip?count=1000&delay=0.01", {}),
    ("/echo", {"middleware": [lingering]}),
    ("/loop", {}),
]


@pytest.mark.parametrize(("path", "how"), CANCELLED)
@pytest.mark.parametrize("middleware", [[], [plainly]])
@in_loop
async def test_a_cancelled_call_leaves_no_connection_and_no_task(fresh_server, path, how, middleware):
    async with build(base_uri=fresh_server.url, middleware=middleware, max_redirects=10**9) as sender:
        for delay in (0, 0.001, 0.1):
            task = asyncio.create_task(sender.get(path, **how))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await sender.get("/echo/after")).status_code == 200
    assert await settles(fresh_server, 0)


@in_loop
async def test_a_cancelled_upload_leaves_no_connection_and_closes_its_source(fresh_server):
    ended, release = [], threading.Event()

    async def pieces():
        try:
            while True:
                yield bytes(100_000)
        finally:
            ended.append(True)

    def deaf(connection, seen):
        release.wait(10)
        raise Gone

    old, fresh_server.routes["refuse"] = fresh_server.routes["refuse"], deaf
    async with build(base_uri=fresh_server.url) as sender:
        task = asyncio.create_task(sender.post("/refuse", content=pieces()))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        release.set()
        assert await settles(fresh_server, 0)
    fresh_server.routes["refuse"] = old


@pytest.mark.parametrize("inside", [False, True])
@in_loop
async def test_a_call_is_cancelled_while_its_upload_waits_for_more(fresh_server, inside):
    began, ended = asyncio.Event(), []

    def mapped(ctx, call):
        ctx[REQ_HTTP].body.map(bytes.upper)
        return call(ctx)

    async def pieces():
        try:
            yield b"some"
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with build(base_uri=fresh_server.url) as sender, session_with(mapped) as session:
        url = fresh_server.url + "/echo"
        task = asyncio.ensure_future(session.post(url, data=pieces()) if inside else sender.post(url, content=pieces()))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        assert await settles(fresh_server, 0)


@in_loop
async def test_an_upload_goes_on_when_the_answer_has_begun(fresh_server):
    answered, ended = asyncio.Event(), []

    def talk(connection, seen):
        connection.head(200, [("Transfer-Encoding", "chunked")])
        for piece in connection.chunks(seen):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    async def pieces():
        yield b"first"
        await answered.wait()
        yield b"second"
        ended.append(True)

    old, fresh_server.routes["refuse"] = fresh_server.routes["refuse"], talk
    async with build(base_uri=fresh_server.url) as sender:
        async with sender.post("/refuse", content=pieces(), stream=True) as result:
            answered.set()
            assert await result.body.aread() == b"firstsecond"
        assert ended == [True]
        assert (await sender.get("/echo")).status_code == 200
        assert fresh_server.connections == 1
    fresh_server.routes["refuse"] = old


@pytest.mark.parametrize("middleware", [[], [lingering]])
@in_loop
async def test_a_cancelled_stream_leaves_no_connection(fresh_server, middleware):
    async with build(base_uri=fresh_server.url, middleware=middleware) as sender:

        async def read():
            async with sender.get("/drip?count=1000&delay=0.01", stream=True) as result:
                async for _ in result.body:
                    pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await settles(fresh_server, 0)


@in_loop
async def test_cancellation_passes_through_a_session(fresh_server):
    async with session_with(plainly) as session:
        task = asyncio.create_task(session.get(fresh_server.url + "/hang"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await settles(fresh_server, 0)
    async with session_with(lingering) as session:
        task = asyncio.create_task(session.get(fresh_server.url + "/drip?count=1000"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await settles(fresh_server, 0)


@in_loop
async def test_timeout_of_the_middleware_is_the_one_of_each_wait(server):
    async with build(base_uri=server.url, middleware=[timeout(0.2)]) as sender:
        with pytest.raises(errors.ReadTimeout):
            await sender.get("/hang")


@in_loop
async def test_a_deadline_is_kept_to_the_millisecond_and_not_rounded_up(server):
    loop = asyncio.get_running_loop()
    made = until(monotonic() + 7.3, 1, 1)
    timer = aiohttp.client.TimeoutHandle(loop, made.total, ceil_threshold=made.ceil_threshold).start()
    assert timer.when() - loop.time() == pytest.approx(7.3, abs=0.1)
    timer.cancel()
