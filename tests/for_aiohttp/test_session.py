"""Middleware inside of anybody's session of aiohttp."""

import asyncio
import io
import json
import random
import tracemalloc

import aiohttp
import aiohttp.web
import pytest

from formation import errors
from formation.exchange import reply
from formation.for_aiohttp import client_middleware, endpoint
from formation.http import Request, Response
from formation.keys import REQ_HTTP, RES_HTTP
from formation.middleware import raise_for_status, request_id, retry
from tests.for_aiohttp.cases import in_loop, session_with, settles, within
from tests.servers import refused


@in_loop
async def test_a_body_that_is_handed_on_unpacked_has_its_own_length(server):
    def read(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].content
        return ctx

    def wait(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].on_close(lambda *_: None)
        return ctx

    async with session_with(read) as session, session.get(server.url + "/gzip") as response:
        assert (response.headers["Content-Length"], await response.read()) == ("14", b'{"gzip": true}')
    async with session_with(wait) as session, session.get(server.url + "/gzip") as response:
        assert ("Content-Length" in response.headers, await response.read()) == (False, b'{"gzip": true}')
    async with session_with(wait) as session, session.head(server.url + "/gzip") as response:
        assert (response.headers["Content-Encoding"], await response.read()) == ("gzip", b"")


@in_loop
async def test_a_response_that_nobody_touches_is_the_very_object(server):
    seen = []

    async def outer(request, handler):
        seen.append(await handler(request))
        return seen[-1]

    async def inner(request, handler):
        response = await handler(request)
        seen.extend([response, dict(vars(response))])
        return response

    def look(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].status_code == 200
        return ctx

    middlewares = [outer, client_middleware([look, request_id()]), inner]
    async with (
        aiohttp.ClientSession(middlewares=middlewares) as session,
        session.get(server.url + "/gzip") as response,
    ):
        assert await response.json() == {"gzip": True}
    native, attributes, returned = seen
    assert native is returned is response
    for name in ("_headers", "_raw_headers", "status", "reason"):
        assert vars(native)[name] is attributes[name]


@in_loop
async def test_a_session_does_what_it_always_does(server):
    hops = []

    def hop(ctx, call):
        hops.append(ctx[REQ_HTTP].path)
        return call(ctx)

    async with session_with(hop, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(server.url + "/cookies/set?a=1&to=/cookies") as response:
            assert await response.json() == {"a": "1"}
            assert len(response.history) == 1
        async with session.get(server.url + "/chunks/100?size=1000") as response:
            assert sum([len(chunk) async for chunk in response.content.iter_chunked(512)]) == 100_000
    assert hops == ["/cookies/set", "/cookies", "/chunks/100"]


@in_loop
async def test_an_answer_of_ones_own_is_a_response_of_aiohttp(server):
    def cached(ctx, call):
        headers = [("Content-Type", "application/json; charset=utf-8"), ("Set-Cookie", "a=1"), ("X-A", "grün")]
        return reply(ctx, 203, headers, '{"from": "cache"}')

    with server.watch() as seen:
        async with session_with(cached, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            async with session.get(server.url + "/echo") as response:
                assert (response.status, response.reason, response.ok) == (203, "Non-Authoritative Information", True)
                assert response.headers["X-A"] == "grün"
                assert response.cookies["a"].value == "1"
                assert response.content_type == "application/json"
                assert await response.json() == {"from": "cache"}
                assert await response.text() == '{"from": "cache"}'
            async with session.get(server.url + "/echo") as response:
                assert b"".join([chunk async for chunk in response.content.iter_any()]) == b'{"from": "cache"}'
            assert {cookie.key for cookie in session.cookie_jar} == {"a"}
            response.raise_for_status()
            assert "203" in repr(response)
    assert not seen.requests


@in_loop
async def test_the_request_can_be_changed(server, other_server):
    def change(ctx, call):
        request = ctx[REQ_HTTP]
        request.method, request.url = "PUT", f"http://localhost:{other_server.port}/echo/changed"
        request.params["q"] = "1"
        request.headers["X-New"] = "1"
        request.json = {"changed": json.loads(request.content)}
        return call(ctx)

    async with session_with(change) as session, session.post(server.url + "/echo", json=[1]) as response:
        seen = await response.json()
        assert str(response.url) == f"http://localhost:{other_server.port}/echo/changed?q=1"
    assert (seen["method"], seen["target"]) == ("PUT", "/echo/changed?q=1")
    assert seen["headers"]["host"] == f"localhost:{other_server.port}"
    assert (seen["headers"]["x-new"], seen["headers"]["content-type"]) == ("1", "application/json")
    assert (seen["body"], seen["framing"]) == ('{"changed":[1]}', "length")


@pytest.mark.parametrize("body", [None, b"", b"x", b"x" * 100_000, [b"a", b"b"], "gen"])
@pytest.mark.parametrize("before", [None, b"before", "stream"])
@in_loop
async def test_a_body_can_be_put_in_the_place_of_any_other(server, before, body):
    async def pieces():
        yield b"a"
        yield b"b"

    def change(ctx, call):
        ctx[REQ_HTTP].body = pieces() if body == "gen" else body
        return call(ctx)

    data = pieces() if before == "stream" else before
    async with session_with(change) as session:
        for _ in range(2):
            data = pieces() if before == "stream" else before
            async with session.post(server.url + "/echo", data=data) as response:
                seen = await response.json()
            assert seen["body"].encode() == (b"ab" if body in ([b"a", b"b"], "gen") else body or b"")


@in_loop
async def test_the_response_can_be_changed(server):
    def change(ctx, call):
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.status_code, response.headers["X-Back"] = 299, "1"
        return ctx

    def shout(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body = ctx[RES_HTTP].content + b"!"
        return ctx

    def mapped(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body.map(bytes.upper)
        return ctx

    async with session_with(change) as session, session.get(server.url + "/data?body=x") as response:
        assert (response.status, response.reason, response.headers["X-Back"]) == (299, "", "1")
        assert await response.read() == b"x"
    async with session_with(shout, mapped) as session:
        async with session.get(server.url + "/gzip") as response:
            assert await response.read() == b'{"GZIP": TRUE}!'
            assert "Content-Encoding" not in response.headers
        async with session.head(server.url + "/echo") as response:
            assert await response.read() == b""


def mapping(ctx, call):
    ctx = call(ctx)
    ctx[RES_HTTP].body.map(bytes.lower)
    return ctx


@in_loop
async def test_a_changed_download_through_a_session_is_never_held(server):
    async with session_with(request_id(), mapping) as session:
        tracemalloc.start()
        try:
            async with session.get(server.url + "/chunks/1500?size=50000") as response:  # 75 MB: more than max_body
                first = await response.content.readexactly(50_001)
                rest = sum([len(chunk) async for chunk in response.content.iter_chunked(4096)])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (first, rest) == (b"a" * 50_000 + b"b", 1500 * 50_000 - 50_001)
        assert peak < 5 * 1024 * 1024
        async with session.get(server.url + "/lines/3") as response:
            assert [line async for line in response.content] == [b"line 0\n", b"line 1\n", b"line 2\n"]


@in_loop
async def test_a_changed_download_is_as_good_as_the_session_knows_it(fresh_server):
    async with session_with(mapping) as session:
        for _ in range(2):
            async with session.get(fresh_server.url + "/chunks/3") as response:
                assert await response.text() == "a" * 10 + "b" * 10 + "c" * 10
                assert await response.read() == await response.read()
            assert fresh_server.connections == 1
        async with session.get(fresh_server.url + "/chunks/1000000") as response:
            assert await response.content.read(3) == b"aaa"
            assert not response.closed
        assert response.closed
        assert await settles(fresh_server, 0)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(fresh_server.url + "/close-mid-body") as response:
                await response.read()
        limit = aiohttp.ClientTimeout(total=0.1)
        with pytest.raises(TimeoutError):
            async with session.get(fresh_server.url + "/hang-body", timeout=limit) as response:
                await response.read()
        assert await settles(fresh_server, 0)


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("path", ["/chunks/2", "/reply"])
@in_loop
async def test_who_waits_for_the_end_of_a_download_sees_it(server, path, read):
    ended = []

    def watching(ctx, call):
        ctx = reply(ctx, 200, body=b"0123456789" * 2) if ctx[REQ_HTTP].path == "/reply" else call(ctx)
        ctx[RES_HTTP].on_close(lambda count, error: ended.append((count, type(error).__name__)))
        return ctx

    async with session_with(watching) as session, session.get(server.url + path) as response:
        if read:
            assert len(await response.read()) == 20
    assert ended == [(20, "NoneType") if read or path == "/reply" else (0, "BodyAbandoned")]


@in_loop
async def test_retry_inside_of_a_session_sends_the_whole_request_again(fresh_server, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(b"a file")
    form = aiohttp.FormData({"a": "1"})
    repeats = retry(3, 0.001, idempotent=True)
    async with session_with(repeats) as session:
        for name, data, body in [
            ("bytes", b"body", "body"),
            ("json", aiohttp.JsonPayload({"a": 1}), '{"a": 1}'),
            ("form", form, "a=1"),
            ("none", None, ""),
        ]:
            async with session.post(f"{fresh_server.url}/flaky/{name}?fail=2", data=data) as response:
                seen = await response.json()
            assert (response.status, seen["body"]) == (200, body)
        with path.open("rb") as file:
            async with session.post(f"{fresh_server.url}/flaky/file?fail=2", data=file) as response:
                assert (await response.json())["body"] == "a file"
        async with session.get(f"{fresh_server.url}/flaky/drop?fail=1&status=0") as response:
            assert response.status == 200
    assert await settles(fresh_server, 0)


@in_loop
async def test_a_stream_that_has_been_sent_is_not_sent_again_half(server):
    async def pieces():
        yield b"once "
        yield b"only"

    repeats = retry(3, 0.001, idempotent=True)
    url = f"{server.url}/flaky/stream-{random.random()}"
    with server.watch() as seen:
        async with session_with(repeats) as session, session.post(url, data=pieces()) as response:
            assert response.status == 503
    assert [each.body for each in seen.requests] == [b"once only"]


@in_loop
async def test_a_large_upload_through_a_session_is_never_held(server):
    piece, count = bytes(64 * 1024), 320  # 20 MB

    async def pieces():
        for _ in range(count):
            yield piece

    def mapped(ctx, call):
        ctx[REQ_HTTP].body.map(lambda chunk: chunk)
        return call(ctx)

    for middleware in ([request_id()], [mapped]):
        async with session_with(*middleware) as session:
            tracemalloc.start()
            try:
                async with session.post(server.url + "/digest", data=pieces()) as response:
                    seen = await response.json()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert (seen["size"], seen["framing"]) == (64 * 1024 * count, "chunked")
        assert peak < 12 * 1024 * 1024  # of which the server keeps 4


@in_loop
async def test_an_upload_can_be_read_and_mapped_on_its_way(server):
    async def pieces():
        yield b"some "
        yield b"text"

    def read(ctx, call):
        ctx[REQ_HTTP].headers["X-Length"] = str(len(ctx[REQ_HTTP].content))
        return call(ctx)

    def shout(ctx, call):
        ctx[REQ_HTTP].body.map(bytes.upper)
        return call(ctx)

    async with session_with(read, shout) as session:
        for data in (pieces(), b"some text", io.BytesIO(b"some text")):
            async with session.post(server.url + "/echo", data=data) as response:
                seen = await response.json()
            assert (seen["body"], seen["headers"]["x-length"]) == ("SOME TEXT", "9")


@in_loop
async def test_an_error_of_an_upload_comes_out_of_the_middleware(server):
    class Mine(Exception):
        pass

    async def pieces():
        yield b"some"
        raise Mine

    def shout(ctx, call):
        ctx[REQ_HTTP].body.map(bytes.upper)
        return call(ctx)

    async with session_with(shout) as session:
        with pytest.raises(Mine):
            await session.post(server.url + "/echo", data=pieces())


@in_loop
async def test_errors_are_those_of_aiohttp(fresh_server):
    def broken(ctx, call):
        raise LookupError

    url = fresh_server.url
    quick = aiohttp.ClientTimeout(sock_read=0.2)
    for middleware, path, kind in [
        ([request_id()], "/close", aiohttp.ServerDisconnectedError),
        ([request_id()], "/reset", aiohttp.ClientOSError),
        ([request_id()], "/bad-status-line", aiohttp.ClientResponseError),
        ([request_id()], "/hang", aiohttp.ServerTimeoutError),
        ([within(0.2)], "/hang", aiohttp.ServerTimeoutError),
        ([within(-1)], "/echo", aiohttp.ServerTimeoutError),
        ([raise_for_status()], "/status/404", aiohttp.ClientResponseError),
        ([broken], "/echo", LookupError),
    ]:
        async with session_with(*middleware, timeout=quick) as session:
            with pytest.raises(kind) as caught:
                await session.post(url + path)
            if path == "/status/404":
                assert caught.value.status == 404
                assert isinstance(caught.value.__cause__, errors.StatusError)
        assert await settles(fresh_server, 0)
    async with session_with(request_id()) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(refused())


@in_loop
async def test_a_body_over_the_limit_that_a_middleware_reads_is_an_error_of_aiohttp(fresh_server, monkeypatch):
    monkeypatch.setattr("formation.for_aiohttp.session.MAX_BODY", 1000)

    def read(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].content  # noqa: B018
        return ctx

    async with session_with(read) as session:
        with pytest.raises(aiohttp.ClientError, match="max_body"):
            await session.get(fresh_server.url + "/bomb")
        assert await settles(fresh_server, 0)
    async with session_with() as session, session.get(fresh_server.url + "/bytes/5000") as response:
        assert len(await response.read()) == 5000


@in_loop
async def test_a_response_that_a_middleware_drops_gives_its_connection_up(fresh_server):
    def strict(ctx, call):
        call(ctx)
        raise LookupError

    def instead(ctx, call):
        call(ctx)
        return reply(ctx, 204)

    async with session_with(strict) as session:
        with pytest.raises(LookupError):
            await session.get(fresh_server.url + "/drip?count=1000")
        assert await settles(fresh_server, 0)
    async with session_with(instead) as session:
        async with session.get(fresh_server.url + "/drip?count=1000") as response:
            assert response.status == 204
        assert await settles(fresh_server, 0)


@in_loop
async def test_nothing_that_a_middleware_drops_stays_open(fresh_server):
    async def twice(ctx, call):
        await call({**ctx})
        return await call(ctx)

    async def elsewhere(ctx, call):
        await call({**ctx})
        return {RES_HTTP: Response(200, {"X-Mine": "1"}, b"mine")}

    async def nothing(ctx, call):
        await call({**ctx})
        return ctx

    url = fresh_server.url + "/drip?count=1000&delay=0.01"
    async with session_with(twice) as session, session.get(url) as answer:
        assert answer.status == 200
        assert await asyncio.to_thread(fresh_server.settles, 1)
    assert await asyncio.to_thread(fresh_server.settles, 0)
    async with session_with(elsewhere) as session, session.get(url) as answer:
        assert await answer.read() == b"mine"
        assert await asyncio.to_thread(fresh_server.settles, 0)
    async with session_with(nothing) as session:
        with pytest.raises(LookupError, match="the chain returned no response"):
            await session.get(url)
        assert await asyncio.to_thread(fresh_server.settles, 0)


@in_loop
async def test_a_middleware_may_answer_with_a_stream_that_came_another_way(server):
    async def asked(ctx, call):
        ctx[REQ_HTTP] = Request("GET", f"{server.url}/chunks/2", extensions={"stream": True})
        return await send(ctx)

    send = endpoint()
    async with session_with(asked) as session, session.get("http://h/") as answer:
        assert await answer.read() == b"A" * 10 + b"B" * 10
    await send.close()


@in_loop
async def test_a_websocket_passes(server):
    async def echo_ws(request):
        ws = aiohttp.web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data.upper())
        return ws

    app = aiohttp.web.Application()
    app.router.add_get("/", echo_ws)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with session_with(request_id()) as session, session.ws_connect(f"http://127.0.0.1:{port}/") as ws:
        await ws.send_str("hello")
        assert (await ws.receive()).data == "HELLO"
    await runner.cleanup()


def test_what_is_no_middleware_is_refused_when_it_is_given():
    with pytest.raises(TypeError):
        client_middleware([3])
