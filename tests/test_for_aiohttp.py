"""What is special to aiohttp; what every client edge does is in ``client/test_edges.py``."""

import asyncio
import functools
import gc
import gzip
import inspect
import io
import json
import random
import ssl
import sys
import threading
import tracemalloc
from importlib.util import find_spec, module_from_spec
from time import monotonic

import aiohttp
import aiohttp.web
import pytest

from formation import bridge, errors, for_aiohttp, wrap
from formation.exchange import reply
from formation.for_aiohttp import Client, build, client, client_middleware, endpoint, json_response
from formation.for_aiohttp.endpoint import _until as until
from formation.http import Request, Response
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP
from formation.middleware import raise_for_status, request_id, retry, timeout
from formation.version import __version__
from tests.conftest import server_context
from tests.servers import Gone, Server, refused


def in_loop(test):
    """Run an ``async def`` test in an event loop of its own, and see to it that no task is left."""

    async def main(*args, **kwargs):
        await test(*args, **kwargs)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=2)
        assert not [task for task in left if not task.done()]

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(main(*args, **kwargs))

    return run


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body)


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


async def settles(server, connections):
    """Wait, without blocking the event loop, until so many connections are open."""
    return await asyncio.to_thread(server.settles, connections)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No proxy of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# The edge


def test_a_missing_aiohttp_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    spec = find_spec("formation.for_aiohttp")
    with pytest.raises(ImportError, match=r"^aiohttp is not installed: pip install 'formation\[aiohttp\]'$") as caught:
        spec.loader.exec_module(module_from_spec(spec))
    assert caught.value.name == "aiohttp"


def test_the_edge_hands_out_what_a_client_is_made_of():
    assert {"Client", "build", "client", "client_middleware", "endpoint", "json_response"} <= set(for_aiohttp.__all__)
    assert all(hasattr(for_aiohttp, name) for name in for_aiohttp.__all__)


@in_loop
async def test_a_class_a_base_class_and_build_send_the_same(server):
    @client
    class Decorated:
        base_uri = server.url

        def echo(self):
            return self.request.get("/echo")

    class Derived(Client):
        base_uri = server.url

        async def echo(self):
            return await self.request.get("/echo")

    for made in (Decorated(), Derived()):
        async with made:
            assert echo(await made.echo())["headers"]["user-agent"] == f"formation/{__version__}"
    async with build(base_uri=server.url) as sender:
        seen = echo(await sender.get("/echo"))
    assert seen["headers"]["accept"] == "*/*"
    assert "gzip" in seen["headers"]["accept-encoding"]


@in_loop
async def test_pages_are_turned(server):
    def page(connection, seen):
        number = int(seen.arg("page", "1"))
        links = [("Link", f'</pages?page={number + 1}>; rel="next"')] if number < 3 else []
        connection.answer_json(seen, [number], headers=links)

    with server.route("pages", page):
        async with build(base_uri=server.url, response_as=json_response) as sender:
            pages = sender.pages(lambda: sender.get("/pages"), items=lambda body: body)
            assert [item async for item in pages] == [1, 2, 3]


@in_loop
async def test_an_endpoint_is_called_with_a_context(server):
    send = wrap(endpoint(), [])
    ctx = await send({REQ_HTTP: Request("POST", server.url + "/echo", params={"q": 1}, content=b"x")})
    assert ctx[RES_HTTP].json()["target"] == "/echo?q=1"
    native = ctx[NATIVE]["response"]
    assert (native.status, native.reason, native.version) == (200, "OK", aiohttp.HttpVersion11)
    assert native.headers["Content-Type"] == "application/json"
    await send.endpoint.close()


@in_loop
async def test_a_gateway_sends_no_header_of_its_own_and_gets_bodies_as_they_come(server):
    send = wrap(endpoint(raw=True), [])
    for content in (b"x", [b"x"]):  # on a connection of ours, and by way of a session
        with server.watch() as seen:
            request = Request("POST", server.url + "/gzip", headers={"Content-Length": "1"}, content=content)
            response = (await send({REQ_HTTP: request}))[RES_HTTP]
        assert gzip.decompress(response.content) == b'{"gzip": true}'
        assert response.headers["Content-Encoding"] == "gzip"
        assert {name.lower() for name, _ in seen.requests[0].headers} == {"host", "content-length"}
    await send.endpoint.close()


@in_loop
async def test_a_gateway_takes_as_much_as_was_announced_and_no_connection_with_more(server):
    send = wrap(endpoint(raw=True), [])
    with server.watch() as seen:
        for _ in range(2):
            response = (await send({REQ_HTTP: Request("GET", server.url + "/wrong-length?said=5&sent=9")}))[RES_HTTP]
            assert (response.status_code, len(response.content)) == (200, 5)
    assert seen.connections == 2
    for path in ("/early-hints", "/chunks/3", "/lines/3", "/bytes/100000", "/drip?count=3&delay=0.01", "/status/204"):
        response = (await send({REQ_HTTP: Request("GET", server.url + path)}))[RES_HTTP]
        assert response.status_code in {200, 204}
    slow = Request("GET", server.url + "/bytes/3000000", extensions={"stream": True})
    count = 0
    async for chunk in (await send({REQ_HTTP: slow}))[RES_HTTP].body:
        count += len(chunk)
        await asyncio.sleep(0.001)  # so that aiohttp has to pause in between
    assert count == 3_000_000
    for path in ("/bad-status-line", "/wrong-length?said=9&sent=5"):
        with pytest.raises(errors.TransportError):
            await send({REQ_HTTP: Request("GET", server.url + path)})
    await send.endpoint.close()


@in_loop
async def test_what_goes_by_way_of_a_session_has_a_response_of_aiohttp(server):
    send = wrap(endpoint(), [])
    ctx = await send({REQ_HTTP: Request("POST", server.url + "/echo", content=[b"x"])})
    assert isinstance(ctx[NATIVE]["response"], aiohttp.ClientResponse)
    await send.endpoint.close()


@in_loop
async def test_headers_go_out_and_what_is_not_ascii_goes_as_latin_1_but_by_a_session_as_utf_8(server):
    async with build(base_uri=server.url, headers={"X-A": "1", "X-B": "2", "User-Agent": "mine"}) as sender:
        seen = echo(await sender.get("/echo", headers={"x-a": "3", "X-B": None, "X-C": "grün"}))["headers"]
        streamed = echo(await sender.post("/echo", headers={"X-C": "grün"}, content=[b"x"]))["headers"]
    assert (seen["x-a"], seen["user-agent"]) == ("3", "mine")
    assert "x-b" not in seen
    assert seen["x-c"] == "grün"
    assert streamed["x-c"].encode("latin-1").decode() == "grün"


@in_loop
async def test_a_header_that_comes_is_latin_1_as_on_the_other_edges(server):
    def answer(connection, seen):
        connection.answer(seen, headers=[("X-A", b"gr\xfcn"), ("X-B", "grün".encode())])

    with server.route("latin", answer):
        async with build(base_uri=server.url) as sender:
            headers = (await sender.get("/latin")).headers
    assert headers["X-A"] == "grün"
    assert headers["X-B"].encode("latin-1").decode() == "grün"


@in_loop
async def test_content_length_is_said_where_a_body_could_be(server):
    async with build(base_uri=server.url) as sender:
        with server.watch() as seen:
            for method in ("POST", "PUT", "PATCH", "GET", "HEAD", "DELETE"):
                await sender.send(method, "/echo")
    assert [each.header("Content-Length") for each in seen.requests] == ["0", "0", "0", None, None, None]


# The connection itself, without a session


def dropping(calls):
    """A route that ends the connection at the calls with these numbers, and echoes at the others."""
    seen = []

    def route(connection, request):
        seen.append(request)
        if len(seen) in calls:
            raise Gone
        connection.answer_json(request, len(seen))

    return route


@in_loop
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_kept_connection_that_breaks_is_replaced_once_for_what_may_be_repeated(fresh_server, method):
    with fresh_server.route("drops", dropping({2})):
        async with build(base_uri=fresh_server.url, response_as=json_response) as sender:
            assert (await sender.send(method, "/drops")).body == 1
            assert (await sender.send(method, "/drops")).body == 3


@in_loop
async def test_what_must_not_be_repeated_is_an_error_and_so_is_a_new_connection_that_breaks(fresh_server):
    with fresh_server.route("drops", dropping({2, 3, 5, 6})):
        async with build(base_uri=fresh_server.url, response_as=json_response) as sender:
            assert (await sender.get("/drops")).body == 1
            for method in ("POST", "GET"):  # the second on a connection that has just been made
                with pytest.raises(errors.ProtocolError, match="disconnected"):
                    await sender.send(method, "/drops")
            assert (await sender.get("/drops")).body == 4
            with pytest.raises(errors.ProtocolError, match="disconnected"):  # twice, and no third time
                await sender.get("/drops")


@in_loop
async def test_a_connection_of_which_the_event_loop_has_not_heard_that_it_ended_is_not_used(fresh_server):
    async with build(base_uri=fresh_server.url) as sender:
        with fresh_server.watch() as seen:
            await sender.get("/drop-idle")
            assert fresh_server.settles(0)  # which blocks the event loop
            assert (await sender.post("/echo")).status_code == 200
        assert seen.connections == 2


@in_loop
async def test_a_call_that_is_cancelled_while_it_takes_a_connection_gives_it_up(fresh_server):
    async with build(base_uri=fresh_server.url) as sender:
        await sender.get("/drop-idle")
        assert fresh_server.settles(0)
        call = asyncio.create_task(sender.post("/echo"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await sender.post("/echo")).status_code == 200
        assert await settles(fresh_server, 1)


@in_loop
async def test_neither_is_one_over_tls_that_ended_without_a_word(ca, ca_file):
    with Server(server_context(ca, "127.0.0.1")) as server:
        async with build(base_uri=server.url, endpoint=endpoint(verify=ca_file)) as sender:
            with server.watch() as seen:
                await sender.get("/drop-idle")
                assert server.settles(0)
                assert (await sender.post("/echo")).status_code == 200
                assert (await sender.post("/echo")).status_code == 200
            assert seen.connections == 2


@pytest.mark.parametrize("is_busy", [True, False])
@in_loop
async def test_an_answer_to_nobody_is_not_taken_for_the_answer_to_the_next_call(fresh_server, is_busy):
    answered, sent = threading.Event(), threading.Event()

    def twice(connection, seen):
        connection.answer(seen, 200, b"mine")
        answered.wait(5)
        connection.answer(seen, 408, b"nobody's")  # as load balancers do to who is idle
        sent.set()

    with fresh_server.route("twice", twice):
        async with build(base_uri=fresh_server.url) as sender:
            assert (await sender.get("/twice")).body == b"mine"
            answered.set()
            assert sent.wait(5) if is_busy else await asyncio.to_thread(sent.wait, 5)
            assert (await sender.post("/echo")).status_code == 200


@in_loop
async def test_where_there_is_no_poll_connections_are_kept_and_looked_at_as_well(fresh_server, monkeypatch):
    monkeypatch.delattr("select.poll")  # as on Windows
    async with build(base_uri=fresh_server.url) as sender:
        with fresh_server.watch() as seen:
            for _ in range(3):
                await sender.post("/echo")
            await sender.get("/drop-idle")
            assert fresh_server.settles(0)
            await sender.post("/echo")
        assert seen.connections == 2


@in_loop
async def test_more_origins_than_are_kept_in_mind_work_as_well(server, monkeypatch):
    monkeypatch.setattr("formation.for_aiohttp.direct._SITES", 1)
    async with build() as sender:
        for host in ("127.0.0.1", "localhost", "127.0.0.1"):
            url = server.url.replace("127.0.0.1", host)
            assert echo(await sender.get(url + "/echo"))["headers"]["host"] == url.removeprefix("http://")


@in_loop
async def test_what_needs_more_than_one_write_goes_by_way_of_a_session(server):
    send = wrap(endpoint(), [])
    request = Request("POST", server.url + "/echo", headers={"Expect": "100-continue"}, content=b"hello")
    ctx = await send({REQ_HTTP: request})
    assert isinstance(ctx[NATIVE]["response"], aiohttp.ClientResponse)
    assert (ctx[RES_HTTP].status_code, ctx[RES_HTTP].json()["body"]) == (200, "hello")
    await send.endpoint.close()


@in_loop
async def test_user_info_in_a_url_is_not_taken_for_its_host(server):
    send = wrap(endpoint(), [])
    port = server.url.rpartition(":")[2]
    ctx = await send({REQ_HTTP: Request("GET", f"http://elsewhere.example@127.0.0.1:{port}/echo")})
    assert ctx[RES_HTTP].json()["headers"]["host"] == f"127.0.0.1:{port}"
    await send.endpoint.close()


@in_loop
async def test_a_url_without_a_path_asks_for_the_root(fresh_server):
    with fresh_server.watch() as seen:
        async with build() as sender:
            await sender.get(fresh_server.url + "?q=1")
            await sender.get(fresh_server.url)
    assert [each.target for each in seen.requests] == ["/?q=1", "/"]


# A session that was brought


@in_loop
async def test_a_session_is_used_as_it_is_and_stays_open(server):
    async with aiohttp.ClientSession(
        headers={"User-Agent": "theirs", "X-Session": "1"}, cookies={"sid": "1"}, raise_for_status=True
    ) as session:
        session.cookie_jar.update_cookies({"sid": "1"}, aiohttp.client.URL(server.url))
        async with build(base_uri=server.url, endpoint=endpoint(session)) as sender:
            seen = echo(await sender.get("/echo"))["headers"]
            assert (await sender.get("/status/404")).status_code == 404
            assert (await sender.get("/hops/2")).response.history
            assert echo(await sender.post("/echo", content=b"x"))["body"] == "x"
        assert not session.closed
    assert (seen["user-agent"], seen["x-session"], seen["accept"]) == ("theirs", "1", "*/*")


@in_loop
async def test_a_sessions_timeout_counts_where_nobody_says_one(server):
    patient = aiohttp.ClientTimeout(total=None, sock_read=0.1)
    async with aiohttp.ClientSession(timeout=patient) as session:
        sender = build(base_uri=server.url, endpoint=endpoint(session))
        with pytest.raises(errors.ReadTimeout):
            await sender.get("/hang")
        assert (await sender.get("/slow?seconds=0.3", timeout=5)).status_code == 200
        with pytest.raises(errors.DeadlineExceeded):
            await sender.get("/drip?count=1000&delay=0.02", middleware=[within(0.3)])


@in_loop
async def test_a_sessions_secrets_stay_home(server, other_server):
    secrets = {"Authorization": "Bearer s3cret", "X-Plain": "1", "Cookie": "sid=s3cret"}
    async with aiohttp.ClientSession(headers=secrets) as session:
        sender = build(base_uri=server.url, endpoint=endpoint(session))
        assert "s3cret" in str(echo(await sender.get("/echo")))
        for call in (
            sender.get("/redirect/302", params={"to": other_server.url + "/echo"}),
            sender.get(other_server.url + "/echo", absolute=True),
        ):
            seen = echo(await call)["headers"]
            assert "s3cret" not in str(seen)
            assert seen["x-plain"] == "1"
        own = await sender.get(other_server.url + "/echo", absolute=True, headers={"Authorization": "mine"})
        assert echo(own)["headers"]["authorization"] == "mine"


@pytest.mark.parametrize("session", ["x", object()])
def test_what_is_no_session_is_refused(session):
    with pytest.raises(TypeError, match=r"expected an aiohttp\.ClientSession"):
        endpoint(session)


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


# Middleware in anybody's session


def session_with(*middleware, **how):
    return aiohttp.ClientSession(middlewares=[client_middleware(middleware)], **how)


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


# Cancellation


def plainly(ctx, call):
    return call(ctx)


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


# Bodies


@in_loop
async def test_large_bodies_go_up_and_down_in_constant_memory(server, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(20_000_000))
    async with build(base_uri=server.url, response_as=json_response) as sender:
        tracemalloc.start()
        try:
            with path.open("rb") as file:
                body, _, _ = await sender.post("/digest", content=file)
            async with sender.get("/chunks/400?size=50000", stream=True) as result:
                total = sum([len(chunk) async for chunk in result.body])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (body["size"], body["framing"], total) == (20_000_000, "length", 20_000_000)
    assert peak < 12 * 1024 * 1024


@in_loop
async def test_an_async_body_goes_out_and_is_closed(server):
    ended = []

    async def pieces():
        try:
            yield b"some "
            yield b"text"
        finally:
            ended.append(True)

    async with build(base_uri=server.url, response_as=json_response) as sender:
        body, _, _ = await sender.post("/echo", content=pieces())
        again, _, _ = await sender.post("/redirect/307?to=/echo", content=pieces)
    assert (body["body"], body["framing"], again["body"]) == ("some text", "chunked", "some text")
    assert ended == [True] * 3


@in_loop
async def test_megabytes_of_bytes_go_out_in_pieces(server):
    async with build(base_uri=server.url, response_as=json_response) as sender:
        body, _, _ = await sender.post("/digest", content=bytes(3_000_000))
    assert (body["size"], body["framing"]) == (3_000_000, "length")


# TLS and proxies


@in_loop
async def test_a_context_a_bundle_and_a_clients_certificate_do(tls_server, ca_file, client_cert):
    for trusting in (
        endpoint(verify=ca_file),
        endpoint(verify=ssl.create_default_context(cafile=ca_file)),
        endpoint(verify=False),
        endpoint(verify=ca_file, cert=client_cert),
        endpoint(verify=False, cert=client_cert),
    ):
        async with build(base_uri=tls_server.url, endpoint=trusting) as sender:
            assert (await sender.get("/echo")).status_code == 200
    assert await settles(tls_server, 0)


def test_what_is_no_bundle_is_refused_when_it_is_given(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        endpoint(verify=str(tmp_path / "none.pem"))


@in_loop
async def test_a_proxy_is_asked_with_its_password(server):
    with Server() as proxy, proxy.watch() as seen:
        url = proxy.url.replace("http://", "http://me:pw@")
        async with build(base_uri="http://somewhere.example", endpoint=endpoint(proxy=url)) as sender:
            assert (await sender.get("/echo/x")).status_code == 200
        await sender.close()
    assert seen.requests[0].target == "http://somewhere.example/echo/x"
    assert seen.requests[0].header("Proxy-Authorization").startswith("Basic ")


@in_loop
async def test_https_goes_through_a_tunnel(tls_server, ca_file):
    with Server() as proxy, proxy.watch() as seen:
        async with build(base_uri=tls_server.url, endpoint=endpoint(verify=ca_file, proxy=proxy.url)) as sender:
            assert (await sender.get("/echo/x")).status_code == 200
    assert [each.method for each in seen.requests] == ["CONNECT"]


@in_loop
async def test_proxies_of_the_environment_are_read_once(server, monkeypatch):
    with Server() as proxy, proxy.watch() as seen:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        monkeypatch.setenv("no_proxy", "127.0.0.1,internal.example")
        sends = endpoint()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("http_proxy", refused())
        async with build(endpoint=sends) as sender:
            assert (await sender.get("http://somewhere.example/echo")).status_code == 200
            assert (await sender.get(server.url + "/echo")).status_code == 200
        await sends.close()
    assert [each.target for each in seen.requests] == ["http://somewhere.example/echo"]


@in_loop
async def test_a_proxy_that_is_not_there_is_a_connect_error(server):
    async with build(base_uri=server.url, endpoint=endpoint(proxy=refused())) as sender:
        with pytest.raises(errors.ConnectError):
            await sender.get("/echo")


@in_loop
async def test_a_proxy_that_aiohttp_does_not_know_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="URL of a proxy"):
        endpoint(proxy="socks5://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    async with build(base_uri="http://somewhere.example") as sender:
        with pytest.raises(errors.ConnectError, match="socks5"):
            await sender.get("/")


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
