"""httpx2 and httpx, sync and async: clients that are brought, and middleware inside of other people's clients.

What every client edge does is in ``client/test_edges.py``.
"""

import asyncio
import gc
import io
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar
from pathlib import Path
from time import monotonic

import h2.config
import h2.connection
import h2.events
import httpx
import httpx2
import openai
import pytest
import structlog
import trio

from formation import await_, errors, in_async_chain, reply, req, res, sleep, wrap
from formation.for_httpx import (
    AsyncClient,
    AsyncTransport,
    Client,
    Transport,
    async_build,
    async_client,
    async_endpoint,
    build,
    client,
    endpoint,
    json_response,
    text_response,
)
from formation.http import Request, Response
from formation.keys import DEADLINE, REQ_HTTP, RES_HTTP
from formation.middleware import circuit_breaker, request_logger, retry

ROOT = Path(__file__).parents[1]
LIBRARIES = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


def tag(ctx, call):
    """Change a request and its response."""
    req(ctx).headers["X-Tag"] = "there"
    ctx = call(ctx)
    res(ctx).headers["X-Back"] = "here"
    return ctx


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


@contextmanager
def sync_client(library, **how):
    """A client of somebody else with our transport."""
    with library.Client(transport=Transport(**how)) as made:
        yield made


# Clients that are brought


@LIBRARIES
def test_a_client_that_is_brought_is_used_as_it_is_and_stays_its_owners(library, server):
    seen = []
    hooks = {"request": [lambda request: seen.append(str(request.url))]}
    with library.Client(
        headers={"X-Mine": "1"}, auth=("me", "pw"), cookies={"a": "1"}, event_hooks=hooks, params={"p": "1"}
    ) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine), response_as=json_response)
        got = sender.get("/echo", headers={"X-Ours": "2"}).body
        assert (got["headers"]["x-mine"], got["headers"]["x-ours"], got["headers"]["cookie"]) == ("1", "2", "a=1")
        assert got["headers"]["authorization"].startswith("Basic ")
        assert got["headers"]["user-agent"].startswith("python-httpx")
        assert seen == [f"{server.url}/echo?p=1"]
        own = sender.get("/echo", headers={"Authorization": "Bearer t"}).body
        assert own["headers"]["authorization"] == "Bearer t"
        sender.close()
        assert mine.get(server.url + "/echo").status_code == 200


@LIBRARIES
def test_an_async_client_that_is_brought_is_used_as_it_is_and_stays_its_owners(library, server):
    async def main():
        async with library.AsyncClient(headers={"X-Mine": "1"}, auth=("me", "pw"), cookies={"a": "1"}) as mine:
            sender = async_build(base_uri=server.url, endpoint=async_endpoint(mine), response_as=json_response)
            got = (await sender.post("/echo", json={"b": 2})).body
            assert (got["headers"]["x-mine"], got["headers"]["cookie"], got["body"]) == ("1", "a=1", '{"b":2}')
            assert got["headers"]["authorization"].startswith("Basic ")
            await sender.close()
            assert (await mine.get(server.url + "/echo")).status_code == 200

    asyncio.run(main())


@LIBRARIES
def test_no_secret_of_a_client_that_is_brought_goes_along_to_another_origin(library, server, other_server):
    secrets = {"Authorization": "Bearer s3cret", "Proxy-Authorization": "s3cret", "Cookie": "sid=s3cret"}
    plain = {"X-Plain": "1"}

    def calls(sender):
        return (
            sender.get("/redirect/302", params={"to": other_server.url + "/echo"}),
            sender.get(other_server.url + "/echo", absolute=True),
        )

    async def main(**how):
        async with library.AsyncClient(**how) as mine:
            for call in calls(async_build(base_uri=server.url, endpoint=async_endpoint(mine))):
                await call

    with server.watch() as home, other_server.watch() as away:
        for how in ({"headers": {**secrets, **plain}}, {"headers": plain, "auth": ("me", "s3cret")}):
            with library.Client(**how) as mine:
                calls(build(base_uri=server.url, endpoint=endpoint(mine)))
            asyncio.run(main(**how))
        with library.Client(headers=secrets) as mine:
            sender = build(base_uri=server.url, endpoint=endpoint(mine))
            own = sender.get(other_server.url + "/echo", absolute=True, headers={"Authorization": "mine"})
    assert all(each.header("Authorization") for each in home.requests)
    assert "s3cret" not in str([each.headers for each in away.requests])
    assert [each.header("X-Plain") for each in away.requests[:-1]] == ["1"] * 8
    assert not [each for each in away.requests[:-1] if each.header("Authorization")]
    assert json.loads(own.body)["headers"]["authorization"] == "mine"


@LIBRARIES
def test_redirects_of_a_client_that_is_brought_are_ours(library, server):
    with library.Client(follow_redirects=True) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine))
        assert len(sender.get("/hops/2").response.history) == 2
        assert sender.extend(max_redirects=0).get("/hops/2").status_code == 302


@LIBRARIES
def test_the_timeouts_of_a_client_that_is_brought_count_where_a_request_has_none(library, server):
    with library.Client(timeout=0.1) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine))
        with pytest.raises(errors.ReadTimeout) as caught:
            sender.get("/slow?seconds=0.4")
        assert type(caught.value.__cause__) is library.ReadTimeout
        assert sender.get("/slow?seconds=0.2", timeout=5).status_code == 200
        with pytest.raises(errors.DeadlineExceeded):
            sender.get("/hang", timeout=5, middleware=[within(0.1)])
        with pytest.raises(errors.DeadlineExceeded):
            sender.get("/hang", middleware=[within(0.05)])


@LIBRARIES
def test_a_class_that_derives_from_a_client_is_one_and_anything_else_is_refused(library):
    class Wrapper(library.Client):
        pass

    with Wrapper() as mine:
        sender = build(base_uri="http://127.0.0.1:1", endpoint=endpoint(mine))
        with pytest.raises(errors.ConnectError) as caught:
            sender.get("/")
        assert type(caught.value.__cause__) is library.ConnectError
        with pytest.raises(TypeError, match="expected AsyncClient of httpx2 or httpx"):
            async_endpoint(mine)
    with pytest.raises(TypeError, match="expected something of httpx2 or httpx, got 3"):
        endpoint(3)


# Clients of ours


def test_the_class_decorators_and_the_base_classes_make_clients_of_either_kind(server):
    class Calls:
        base_uri = server.url
        response_as = json_response

        def echo(self, name):
            return self.request.get("/echo/{name}", path={"name": name})

    async def main():
        for kind in (async_client(Calls), type("Derived", (AsyncClient, Calls), {})):
            async with kind() as made:
                assert (await made.echo("a")).body["path"] == "/echo/a"

    for kind in (client(Calls), type("Derived", (Client, Calls), {})):
        with kind() as made:
            assert made.echo("a").body["path"] == "/echo/a"
    asyncio.run(main())


def test_no_cookie_is_kept_and_the_version_of_http_is_told(server):
    with build(base_uri=server.url) as sender:
        sender.get("/cookies/set?a=1")
        result = sender.get("/cookies", response_as=json_response)
        assert result.body == {}
        assert result.response.extensions["http_version"] == "HTTP/1.1"
        assert result.elapsed > 0
        assert sender.extend(cookies=CookieJar()).get("/cookies/set?a=1").status_code == 200


def test_what_httpx_would_write_in_another_way_goes_out_as_it_is(server):
    sending = endpoint()
    targets = ["/echo/a|b;c='?x=^`{z}", "/echo/plain", "/echo/%7e?"]
    with server.watch() as seen:
        for target in targets:
            sending({REQ_HTTP: Request("GET", server.url + target)})
    assert [each.target for each in seen.requests] == targets
    sending.close()


def test_proxies_are_those_of_the_environment_or_the_one_that_is_given(server, other_server, monkeypatch):
    with other_server.watch() as seen, build(endpoint=endpoint(proxy=other_server.url)) as sender:
        sender.get("http://nowhere.example/echo/1")
    assert seen.requests[0].target == "http://nowhere.example/echo/1"
    monkeypatch.setenv("http_proxy", other_server.url.removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with other_server.watch() as seen, build(endpoint=endpoint()) as sender:
        monkeypatch.delenv("http_proxy")
        sender.get("http://nowhere.example/echo/2")
        sender.get(server.url + "/echo/3")
    assert [each.path for each in seen.requests] == ["/echo/2"]


def test_client_certificates_are_shown(tls_server, ca_file, client_cert):
    with build(base_uri=tls_server.url, endpoint=endpoint(verify=ca_file, cert=client_cert)) as sender:
        assert sender.get("/echo").status_code == 200
    context = ssl.create_default_context(cafile=ca_file)
    with build(base_uri=tls_server.url, endpoint=endpoint(verify=context)) as sender:
        assert sender.get("/echo").status_code == 200
    with build(base_uri=tls_server.url, endpoint=endpoint(verify=False)) as sender:
        assert sender.get("/echo").status_code == 200
    with build(base_uri=tls_server.url) as sender, pytest.raises(errors.TLSError):
        sender.get("/echo")


def test_a_url_that_httpx_cannot_read_is_a_value_error():
    send = wrap(endpoint())
    with pytest.raises(ValueError, match="port"):
        send({REQ_HTTP: Request("GET", "http://h:port/")})


def test_a_client_serves_one_event_loop_after_another(fresh_server):
    sender = async_build(base_uri=fresh_server.url)

    async def main():
        await asyncio.gather(*(sender.get("/echo") for _ in range(3)))
        await sender._transport().close()

    asyncio.run(main())
    asyncio.run(main())
    assert fresh_server.settles(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_has_connections_of_its_own(server):
    with build(base_uri=server.url) as sender, server.watch() as seen:
        sender.get("/echo/parent")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, such as the server's
            child = os.fork()
        if not child:
            try:
                sender.get("/echo/child")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        sender.get("/echo/parent")
    assert [(each.path, each.connection) for each in seen.requests][::2] == [
        ("/echo/parent", seen.requests[0].connection)
    ] * 2
    assert seen.connections == 2


def test_an_async_call_runs_on_trio_and_its_deadline_holds(server):
    async def main():
        async with async_build(base_uri=server.url, middleware=[tag]) as sender:
            result = await sender.get("/echo", response_as=json_response)
            assert result.body["headers"]["x-tag"] == "there"
            started = monotonic()
            for path in ("/hang", "/drip-head?delay=0.02", "/drip?count=1000&delay=0.02"):
                with pytest.raises(errors.DeadlineExceeded):
                    await sender.get(path, middleware=[within(0.15)])
            assert monotonic() - started < 5
            assert (await sender.get("/echo")).status_code == 200

    trio.run(main)


def test_a_deadline_cuts_an_async_stream_between_its_chunks(fresh_server):
    async def main():
        async with async_build(base_uri=fresh_server.url, middleware=[within(0.3)]) as sender:
            async with sender.get("/hang-body", stream=True) as result:
                chunks = aiter(result.body)
                assert await anext(chunks) == b"0123456789"
                with pytest.raises(errors.DeadlineExceeded):
                    await anext(chunks)
            assert fresh_server.settles(0)

    asyncio.run(main())


def test_a_timeout_of_the_callers_own_is_nothing_of_ours(server):
    async def late():
        yield b"a"
        raise TimeoutError("mine")

    async def main():
        async with async_build(base_uri=server.url, middleware=[within(5)]) as sender:
            with pytest.raises(TimeoutError, match="mine") as caught:
                await sender.post("/echo", content=late())
            assert type(caught.value) is TimeoutError

    asyncio.run(main())


def test_async_bodies_are_sent_and_a_sync_client_refuses_them(server):
    async def pieces():
        for _ in range(3):
            await asyncio.sleep(0)
            yield b"abc"

    async def main():
        async with async_build(base_uri=server.url, response_as=json_response) as sender:
            result = await sender.post("/echo", content=pieces())
            assert (result.body["body"], result.body["framing"]) == ("abc" * 3, "chunked")

    asyncio.run(main())
    with build(base_uri=server.url) as sender, pytest.raises(TypeError, match="only be sent by an async client"):
        sender.post("/echo", content=pieces())


def test_more_calls_than_there_may_be_connections_wait_in_line(fresh_server):
    async def main():
        async with async_build(base_uri=fresh_server.url, timeout=20) as sender:
            results = await asyncio.gather(*(sender.get("/slow?seconds=0.3") for _ in range(150)))
            assert {result.status_code for result in results} == {200}

    with fresh_server.watch() as seen:
        asyncio.run(main())
    assert seen.connections <= 100


def test_cancelled_calls_leave_nothing_behind(fresh_server):
    luck = random.Random(3)

    def plain(ctx, call):
        assert in_async_chain()
        sleep(luck.random() / 50)
        return call(ctx)

    async def main():
        async with async_build(base_uri=fresh_server.url, middleware=[plain], timeout=30) as sender:

            async def one(n):
                result = await sender.get(f"/echo/{n}", response_as=json_response)
                assert result.body["path"] == f"/echo/{n}"

            tasks = [asyncio.create_task(one(n)) for n in range(200)]
            for task in luck.sample(tasks, 60):
                await asyncio.sleep(luck.random() / 100)
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(each) for each in done} <= {type(None), asyncio.CancelledError}
            assert sum(each is None for each in done) >= 140
            streamed = sender.get("/hang-body", stream=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), streamed as result:
                    await result.body.aread()
            assert (await sender.get("/echo")).status_code == 200
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert fresh_server.settles(0)


# Calls that are cancelled

MOMENTS = pytest.mark.parametrize("moment", ["before", "head", "after", "body"])
PATHS = {"head": "/hang", "body": "/hang-body"}


def stopping():
    """Make two middlewares, one of each colour, that wait for ever where the path says so."""

    def plain(ctx, call):
        if req(ctx).path == "/stop/before":
            sleep(60)
        return call(ctx)

    async def after(ctx, call):
        ctx = await call(ctx)
        if req(ctx).path == "/stop/after":
            await asyncio.sleep(60)
        return ctx

    return [plain, after]


@LIBRARIES
@MOMENTS
def test_a_cancelled_call_of_a_transport_leaves_its_connection_to_the_next(library, moment, fresh_server):
    path = fresh_server.url + PATHS.get(moment, f"/stop/{moment}")

    async def main():
        limits = library.Limits(max_connections=1, max_keepalive_connections=1)
        transport = AsyncTransport(stopping(), limits=limits)
        async with library.AsyncClient(transport=transport, timeout=10) as mine:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await mine.get(path)
                assert (await mine.get(fresh_server.url + "/echo")).status_code == 200
            assert fresh_server.settles(1)

    with fresh_server.route("stop", lambda connection, seen: connection.answer(seen)):
        asyncio.run(main())
    assert fresh_server.settles(0)


@MOMENTS
def test_a_cancelled_call_of_an_endpoint_leaves_its_connection_to_the_next(moment, fresh_server):
    path = PATHS.get(moment, f"/stop/{moment}")

    async def main():
        async with async_build(base_uri=fresh_server.url, middleware=stopping()) as sender:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await sender.get(path)
                assert (await sender.get("/echo")).status_code == 200
            assert fresh_server.settles(1)

    with fresh_server.route("stop", lambda connection, seen: connection.answer(seen)):
        asyncio.run(main())
    assert fresh_server.settles(0)


# HTTP/2


@pytest.fixture
def http2_server(ca):
    """A server that speaks HTTP/2 over TLS, one connection after another; it answers with the size of the body."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        sizes = {}
        while True:
            sock.sendall(connection.data_to_send())
            if not (data := sock.recv(65536)):
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    sizes[event.stream_id] = sizes.get(event.stream_id, 0) + len(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(event.stream_id, [(":status", "200"), ("x-a", "1")])
                    connection.send_data(event.stream_id, b"%d" % sizes.get(event.stream_id, 0), end_stream=True)

    def accept():
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(raw, server_side=True) as sock:
                sock.settimeout(20)
                serve(sock)

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(20)


def test_http_2_is_spoken_where_it_is_asked_for(http2_server, ca_file):
    with build(base_uri=http2_server, endpoint=endpoint(http2=True, verify=ca_file)) as sender:
        result = sender.post("/x", content=bytes(200_000), response_as=text_response)
        assert (result.body, result.headers["X-A"]) == ("200000", "1")
        assert result.response.extensions["http_version"] == "HTTP/2"
        assert sender.get("/x", response_as=text_response).body == "0"


def test_http_2_is_spoken_by_many_async_calls_on_one_connection(http2_server, ca_file):
    async def main():
        sending = async_endpoint(http2=True, verify=ca_file)
        async with async_build(base_uri=http2_server, endpoint=sending, middleware=[tag]) as sender:
            await sender.get("/x")
            results = await asyncio.gather(*(sender.post("/x", content=b"x" * n) for n in range(20)))
            assert [result.body for result in results] == [b"%d" % n for n in range(20)]
            assert {result.response.extensions["http_version"] for result in results} == {"HTTP/2"}

    asyncio.run(main())


# Transports


@LIBRARIES
def test_a_transport_lets_middleware_see_and_change_requests_and_responses(library, server):
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.append((req(ctx).name, req(ctx).json, res(ctx).status_code, res(ctx).json()["path"]))
        return ctx

    with sync_client(library, middleware=[tag, look]) as mine:
        response = mine.post(server.url + "/echo/a", json={"b": 1}, headers={"X-C": "1"})
    assert seen == [("POST /echo/a", {"b": 1}, 200, "/echo/a")]
    assert type(response) is library.Response
    assert response.headers["X-Back"] == "here"
    got = response.json()
    assert (got["headers"]["x-tag"], got["headers"]["x-c"], got["body"]) == ("there", "1", '{"b":1}')
    assert response.elapsed.total_seconds() > 0


@LIBRARIES
def test_an_async_transport_lets_plain_and_async_middleware_see_and_change_them(library, server):
    async def look(ctx, call):
        ctx = await call(ctx)
        res(ctx).headers["X-Async"] = (await res(ctx).body.aread())[:1].decode()
        return ctx

    def plain(ctx, call):
        await_(asyncio.sleep(0))
        ctx = call(ctx)
        res(ctx).body = res(ctx).content.replace(b"echo", b"ECHO")
        return ctx

    async def main():
        async with library.AsyncClient(transport=AsyncTransport(middleware=[tag, plain, look])) as mine:
            response = await mine.post(server.url + "/echo", content=b"abc")
            assert (response.headers["X-Back"], response.headers["X-Async"]) == ("here", "{")
            assert response.json()["path"] == "/ECHO"
            assert int(response.headers["Content-Length"]) == len(response.content)

    asyncio.run(main())
    with pytest.raises(TypeError, match="look"):
        Transport(middleware=[look])


class Recording:
    """What sends, and remembers what it has got and given."""

    def __init__(self, inner):
        self.inner, self.sent, self.given = inner, [], []

    def handle_request(self, request):
        self.sent.append(request)
        self.given.append(self.inner.handle_request(request))
        return self.given[-1]

    async def handle_async_request(self, request):
        self.sent.append(request)
        self.given.append(await self.inner.handle_async_request(request))
        return self.given[-1]

    def close(self):
        self.inner.close()

    async def aclose(self):
        await self.inner.aclose()


def look_only(ctx, call):
    ctx = call(ctx)
    assert req(ctx).headers["Transfer-Encoding"]
    assert res(ctx).headers["Content-Type"]
    return ctx


@LIBRARIES
def test_what_nobody_has_changed_is_passed_on_as_the_very_object(library, server):
    inner = Recording(library.HTTPTransport())
    transport = Transport(middleware=[look_only], transport=inner)
    request = library.Request("POST", server.url + "/echo", content=iter([b"a", b"b"]))
    response = transport.handle_request(request)
    assert inner.sent[0] is request
    assert inner.given[0] is response
    response.read()
    assert response.json()["framing"] == "chunked"
    transport.close()


@LIBRARIES
def test_what_nobody_has_changed_is_passed_on_as_the_very_object_async(library, server):
    async def pieces():
        yield b"a"

    async def main():
        inner = Recording(library.AsyncHTTPTransport())
        transport = AsyncTransport(middleware=[look_only], transport=inner)
        request = library.Request("POST", server.url + "/echo", content=pieces())
        response = await transport.handle_async_request(request)
        assert inner.sent[0] is request
        assert inner.given[0] is response
        await response.aread()
        assert response.json()["body"] == "a"
        await transport.aclose()

    asyncio.run(main())


def test_a_call_leaves_nothing_to_the_garbage_collector(server):
    def left(call):
        call()
        gc.collect()
        gc.disable()
        try:
            call()
            return gc.collect()
        finally:
            gc.enable()

    with sync_client(httpx2, middleware=[tag]) as client:
        assert left(lambda: client.get(f"{server.url}/reply")) == 0
    with asyncio.Runner() as runner:
        client = httpx2.AsyncClient(transport=AsyncTransport([tag]))
        assert left(lambda: runner.run(client.get(f"{server.url}/reply"))) == 0
        runner.run(client.aclose())


@LIBRARIES
def test_a_request_may_go_elsewhere_with_another_method_body_and_timeout(library, server, other_server):
    def divert(ctx, call):
        request = req(ctx)
        request.method, request.url = "PUT", other_server.url + "/echo/there"
        request.content, request.timeout = b"changed", (5, 7)
        return call(ctx)

    inner = Recording(library.HTTPTransport())
    with library.Client(transport=Transport([divert], inner)) as mine, other_server.watch() as seen:
        mine.post(server.url + "/echo", content=iter([b"a"]))
    assert [(each.method, each.path, each.body, each.framing) for each in seen.requests] == [
        ("PUT", "/echo/there", b"changed", "length")
    ]
    assert seen.requests[0].header("Host") == other_server.url.removeprefix("http://")
    assert inner.sent[0].extensions["timeout"] == {"connect": 5, "read": 7, "write": 7, "pool": 7}


@LIBRARIES
def test_headers_that_a_middleware_adds_replaces_or_removes_go_out_so_and_the_clients_own_stay(library, server):
    def change(ctx, call):
        how, headers = req(ctx).path.rpartition("/")[2], req(ctx).headers
        if how == "add":
            headers["X-New"] = "1"
        elif how == "twice":
            headers.add("X-New", "1")
            headers.add("x-new", "2")
        elif how == "latin":
            headers["X-New"] = "caf\xe9"
        elif how == "replace":
            headers["X-Old"] = "new"
        elif how == "more":
            headers.add("X-Old", "more")
        else:
            del headers["X-Old"]
        return call(ctx)

    with sync_client(library, middleware=[change]) as mine, server.watch() as seen:
        for how in ("add", "twice", "latin", "replace", "more", "remove"):
            response = mine.get(f"{server.url}/echo/{how}", headers={"X-Old": "old"})
            assert response.request.headers.get_list("X-Old") == ["old"]
            assert "X-New" not in response.request.headers
    mine = [[line for line in each.headers if line[0].lower() in {"x-old", "x-new"}] for each in seen.requests]
    assert mine == [
        [("X-Old", "old"), ("X-New", "1")],
        [("X-Old", "old"), ("X-New", "1"), ("x-new", "2")],
        [("X-Old", "old"), ("X-New", "caf\xe9")],
        [("X-Old", "new")],
        [("X-Old", "old"), ("X-Old", "more")],
        [],
    ]
    assert all(sum(name.lower() == "host" for name, _ in each.headers) == 1 for each in seen.requests)


@LIBRARIES
def test_a_stream_is_mapped_on_its_way_up_and_down(library, server):
    ends = []

    def shout(ctx, call):
        req(ctx).body.map(bytes.upper)
        ctx = call(ctx)
        res(ctx).body.map(bytes.lower, lambda: b"!")
        res(ctx).on_close(lambda count, error: ends.append((count, error)))
        return ctx

    async def pieces():
        yield b"a"
        yield b"b"

    async def main():
        async with library.AsyncClient(transport=AsyncTransport([shout])) as mine:
            assert (await mine.post(server.url + "/data", content=pieces())).content == b"ab!"
            async with mine.stream("GET", server.url + "/chunks/3?size=2") as response:
                assert b"".join([chunk async for chunk in response.aiter_bytes()]) == b"aabbcc!"

    with sync_client(library, middleware=[shout]) as mine:
        assert mine.post(server.url + "/data", content=iter([b"a", b"b"])).content == b"ab!"
        with mine.stream("GET", server.url + "/chunks/3?size=2") as response:
            assert b"".join(response.iter_bytes()) == b"aabbcc!"
        assert mine.get(server.url + "/gzip").content == b'{"gzip": true}!'
    asyncio.run(main())
    assert ends == [(3, None), (7, None), (15, None), (3, None), (7, None)]


@LIBRARIES
def test_whoever_waits_for_the_end_of_a_body_is_told(library, fresh_server):
    ends, patience = [], library.Timeout(5, read=0.5)  # a busy machine takes its time to connect

    def wait(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: ends.append((count, type(error).__name__)))
        return ctx

    async def main():
        async with library.AsyncClient(transport=AsyncTransport([wait]), timeout=patience) as mine:
            assert (await mine.get(fresh_server.url + "/gzip")).json() == {"gzip": True}
            async with mine.stream("GET", fresh_server.url + "/bytes/100000"):
                pass
            with pytest.raises(library.ReadTimeout):
                await mine.get(fresh_server.url + "/hang-body")

    with library.Client(transport=Transport([wait]), timeout=patience) as mine:
        assert mine.get(fresh_server.url + "/gzip").json() == {"gzip": True}
        with mine.stream("GET", fresh_server.url + "/bytes/100000"):
            pass
        with pytest.raises(library.ReadTimeout):
            mine.get(fresh_server.url + "/hang-body")
    asyncio.run(main())
    assert ends == [(14, "NoneType"), (0, "BodyAbandoned"), (10, "ReadTimeout")] * 2
    assert fresh_server.settles(0)


@LIBRARIES
def test_a_middleware_may_answer_itself(library):
    def answer(ctx, call):
        return reply(ctx, 418, {"Content-Type": "application/json", "Content-Encoding": "x"}, b'{"a": 1}')

    def stream(ctx, call):
        ctx[RES_HTTP] = Response(200, {}, iter([b"a", b"b"]))
        return ctx

    async def main():
        async with library.AsyncClient(transport=AsyncTransport([answer])) as mine:
            assert (await mine.get("http://nowhere.example/")).json() == {"a": 1}
        async with library.AsyncClient(transport=AsyncTransport([stream])) as mine:
            assert (await mine.get("http://nowhere.example/")).content == b"ab"

    with sync_client(library, middleware=[answer]) as mine:
        response = mine.get("http://nowhere.example/")
        assert (response.status_code, response.reason_phrase, response.json()) == (418, "I'm a Teapot", {"a": 1})
    with sync_client(library, middleware=[stream]) as mine:
        assert mine.get("http://nowhere.example/").content == b"ab"
    with sync_client(library, middleware=[lambda ctx, call: ctx]) as mine, pytest.raises(LookupError, match="reply"):
        mine.get("http://nowhere.example/")
    asyncio.run(main())


@LIBRARIES
def test_a_middleware_may_answer_with_a_stream_that_came_another_way(library, server):
    def elsewhere(ctx):
        ctx[REQ_HTTP] = Request("GET", f"{server.url}/chunks/2", extensions={"stream": True})
        return ctx

    async def main():
        async def asked(ctx, call):
            return await send(elsewhere(ctx))

        send = async_endpoint()
        async with library.AsyncClient(transport=AsyncTransport([asked])) as mine:
            content = (await mine.get("http://h/")).content
        await send.close()
        return content

    send = endpoint()
    with sync_client(library, middleware=[lambda ctx, call: send(elsewhere(ctx))]) as mine:
        assert mine.get("http://h/").content == b"A" * 10 + b"B" * 10
    send.close()
    assert asyncio.run(main()) == b"A" * 10 + b"B" * 10


@LIBRARIES
def test_a_status_and_headers_that_are_changed_are_changed(library, server):
    def change(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = 503
        res(ctx).headers.add("Set-Cookie", "a=1")
        res(ctx).headers.add("Set-Cookie", "b=2")
        return ctx

    with sync_client(library, middleware=[change]) as mine:
        response = mine.get(server.url + "/echo")
        assert (response.status_code, response.reason_phrase) == (503, "Service Unavailable")
        assert response.headers.get_list("Set-Cookie") == ["a=1", "b=2"]
        assert dict(mine.cookies) == {"a": "1", "b": "2"}


def failing(error):
    def fail(ctx, call):
        raise error

    return fail


@LIBRARIES
def test_errors_are_those_of_the_clients_library(library, server):
    cases = [
        (errors.ThrottleRejected("no", retry_after=1), library.ConnectError),
        (errors.ConnectTimeout("late"), library.ConnectTimeout),
        (errors.DeadlineExceeded("late"), library.TimeoutException),
        (errors.BodyTooLarge(limit=1, got=2), library.TransportError),
    ]

    async def main(error, kind):
        async with library.AsyncClient(transport=AsyncTransport([failing(error)])) as mine:
            with pytest.raises(kind) as caught:
                await mine.get("http://nowhere.example/")
            assert caught.value.__cause__ is error

    for error, kind in cases:
        with sync_client(library, middleware=[failing(error)]) as mine, pytest.raises(kind) as caught:
            mine.get("http://nowhere.example/")
        assert type(caught.value) is kind
        assert caught.value.__cause__ is error
        assert caught.value.request.url.host == "nowhere.example"
        asyncio.run(main(error, kind))
    with sync_client(library, middleware=[retry(sleep=lambda _: None)]) as mine:
        with pytest.raises(library.ConnectError):
            mine.get("http://127.0.0.1:1/")
        with pytest.raises(library.ReadTimeout):
            mine.post(server.url + "/hang", timeout=0.1)
        with pytest.raises(library.RemoteProtocolError):
            mine.post(server.url + "/close")
    with sync_client(library, middleware=[failing(LookupError("mine"))]) as mine, pytest.raises(LookupError):
        mine.get("http://nowhere.example/")


@LIBRARIES
def test_retry_sends_bytes_again_and_a_stream_only_once(library, fresh_server):
    def again(**how):
        return retry(sleep=lambda _: None, idempotent=True, **how)

    async def pieces():
        yield b"abc"

    async def main():
        async with library.AsyncClient(transport=AsyncTransport([again()])) as mine:
            assert (await mine.put(fresh_server.url + "/flaky/b?fail=2", content=b"abc")).json()["body"] == "abc"
            assert (await mine.put(fresh_server.url + "/flaky/s?fail=2", content=pieces())).status_code == 503

    with sync_client(library, middleware=[again()]) as mine, fresh_server.watch() as seen:
        assert mine.put(fresh_server.url + "/flaky/a?fail=2", content=b"abc").json()["body"] == "abc"
        assert len(seen.requests) == 3
        assert mine.put(fresh_server.url + "/flaky/t?fail=2", content=io.BytesIO(b"abc")).status_code == 503
    asyncio.run(main())
    assert fresh_server.settles(0)


@LIBRARIES
def test_a_response_that_a_middleware_drops_gives_its_connection_back(library, fresh_server):
    def drop(ctx, call):
        ctx = call(ctx)
        if req(ctx).path == "/drip":
            raise LookupError
        return reply(ctx, 200)

    async def main():
        async with library.AsyncClient(transport=AsyncTransport([drop])) as mine:
            for _ in range(3):
                with pytest.raises(LookupError):
                    await mine.get(fresh_server.url + "/drip?count=1000")
                await mine.get(fresh_server.url + "/chunks/100?size=1000")
            assert fresh_server.settles(0)

    with sync_client(library, middleware=[drop]) as mine:
        for _ in range(3):
            with pytest.raises(LookupError):
                mine.get(fresh_server.url + "/drip?count=1000")
            mine.get(fresh_server.url + "/chunks/100?size=1000")
        assert fresh_server.settles(0)
    asyncio.run(main())


@LIBRARIES
def test_a_deadline_holds_inside_of_a_transport(library, fresh_server):
    async def main():
        async with library.AsyncClient(transport=AsyncTransport([within(0.2)])) as mine:
            for path in ("/hang", "/drip-head?delay=0.02", "/drip?count=1000&delay=0.02"):
                with pytest.raises(library.TimeoutException):
                    await mine.get(fresh_server.url + path)
            assert fresh_server.settles(0)

    with sync_client(library, middleware=[within(0.2)]) as mine:
        for path in ("/hang", "/drip?count=1000&delay=0.02"):
            with pytest.raises(library.TimeoutException):
                mine.get(fresh_server.url + path)
    asyncio.run(main())


@LIBRARIES
def test_redirects_cookies_and_auth_are_the_clients_and_each_hop_runs_through_the_middleware(library, server):
    names = []

    def note(ctx, call):
        names.append((req(ctx).name, "Authorization" in req(ctx).headers))
        return call(ctx)

    with library.Client(transport=Transport([note]), follow_redirects=True, auth=("me", "pw")) as mine:
        response = mine.get(server.url + "/cookies/set?a=1&to=/cookies")
        assert response.json() == {"a": "1"}
        assert len(response.history) == 1
    assert names == [("GET /cookies/set", True), ("GET /cookies", True)]


def test_arguments_of_a_transport_are_the_librarys_and_refused_where_they_are_given(ca_file, http2_server):
    context = ssl.create_default_context(cafile=ca_file)
    with httpx2.Client(transport=Transport([tag], http2=True, verify=context)) as mine:
        assert mine.get(http2_server + "/x").http_version == "HTTP/2"
    with pytest.raises(TypeError, match="nope"):
        Transport(nope=1)
    with pytest.raises(TypeError, match=r"'http2'.* give them to the one that you bring"):
        Transport(transport=httpx2.HTTPTransport(), http2=True)


# Inside of an SDK


class Chat:
    """Answers as a chat API does, once it is well: 503 first. A stream goes on when its first word has been heard."""

    def __init__(self, *, is_well=True):
        self.is_well, self.heard = is_well, threading.Event()

    def __call__(self, connection, seen):
        if not self.is_well or seen.header("X-Attempt") is None:
            connection.answer(seen, 503, b'{"error": {"message": "busy"}}', "application/json")
        elif json.loads(seen.body).get("stream"):
            connection.head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
            for word in ("Good ", "day"):
                piece = {"id": "1", "choices": [{"index": 0, "delta": {"content": word}}]}
                connection.chunk(f"data: {json.dumps(piece)}\n\n".encode())
                assert self.heard.wait(20)
            connection.chunk(b"data: [DONE]\n\n")
            connection.chunk(b"")
        else:
            message = {"role": "assistant", "content": "Good day"}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            connection.answer_json(seen, answer)


ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class Sdk:
    """An SDK with a client of ours inside, as its user calls it."""

    def __init__(self, library, url, middleware):
        http_client = library.Client(transport=Transport(middleware))
        self.sdk = openai.OpenAI(base_url=url, api_key="k", http_client=http_client, max_retries=0)

    def ask(self):
        return self.sdk.chat.completions.create(**ASK).choices[0].message.content

    def stream(self, heard):
        words = []
        with self.sdk.chat.completions.create(**ASK, stream=True) as stream:
            for piece in stream:
                words.append(piece.choices[0].delta.content)
                heard.set()
        return words

    def look_for(self, model):
        self.sdk.models.retrieve(model)

    def close(self):
        self.sdk.close()


class AsyncSdk:
    """The same, awaited."""

    def __init__(self, library, url, middleware):
        self.runner = asyncio.Runner()
        http_client = library.AsyncClient(transport=AsyncTransport(middleware))
        self.sdk = openai.AsyncOpenAI(base_url=url, api_key="k", http_client=http_client, max_retries=0)

    def ask(self):
        async def ask():
            return (await self.sdk.chat.completions.create(**ASK)).choices[0].message.content

        return self.runner.run(ask())

    def stream(self, heard):
        async def stream():
            words = []
            async with await self.sdk.chat.completions.create(**ASK, stream=True) as stream:
                async for piece in stream:
                    words.append(piece.choices[0].delta.content)
                    heard.set()
            return words

        return self.runner.run(stream())

    def look_for(self, model):
        async def look_for():
            await self.sdk.models.retrieve(model)

        self.runner.run(look_for())

    def close(self):
        self.runner.run(self.sdk.close())
        self.runner.close()


SDKS = pytest.mark.parametrize("kind", [Sdk, AsyncSdk])


@pytest.fixture
def log():
    """A logger, and the lines that it was told."""
    capture = structlog.testing.LogCapture()
    return structlog.wrap_logger(None, processors=[capture]), capture.entries


@LIBRARIES
@SDKS
def test_an_sdk_gets_retry_a_breaker_and_a_log_without_knowing(library, kind, fresh_server, log):
    logger, lines = log
    tries = retry(logger=logger, sleep=lambda _: None, idempotent=True, attempt_header="X-Attempt")
    chat = Chat()
    with fresh_server.route("chat", chat), fresh_server.watch() as seen:
        sdk = kind(library, fresh_server.url, [request_logger(logger), tries, circuit_breaker(logger)])
        assert sdk.ask() == "Good day"
        assert sdk.stream(chat.heard) == ["Good ", "day"]
        with pytest.raises(openai.NotFoundError):
            sdk.look_for("none")
        sdk.close()
    told = [(line["event"], line.get("status"), line.get("attempts")) for line in lines if line["log_level"] != "debug"]
    once = [("request.http", None, None), ("retry.scheduled", 503, None), ("response.http", 200, 2)]
    assert told == [*once, *once, ("request.http", None, None), ("response.http", 404, 1)]
    ends = [line for line in lines if line["event"] == "response.http.closed"]
    assert [line["bytes"] > 0 for line in ends] == [True] * 3  # of a stream; the SDK hangs up at [DONE]
    assert len(seen.requests) == 5
    assert fresh_server.settles(0)


@LIBRARIES
@SDKS
def test_a_breaker_keeps_an_sdk_from_a_server_that_fails_and_lets_it_back_later(library, kind, fresh_server, log):
    logger, lines = log
    now = [0.0]
    breaker = circuit_breaker(logger, fail_max=2, reset_timeout=60, clock=lambda: now[0])
    chat = Chat(is_well=False)

    def second(ctx, call):  # as if it had been tried before
        req(ctx).headers["X-Attempt"] = "2"
        return call(ctx)

    with fresh_server.route("chat", chat), fresh_server.watch() as seen:
        sdk = kind(library, fresh_server.url, [breaker, second])
        for _ in range(2):
            with pytest.raises(openai.InternalServerError, match="busy"):
                sdk.ask()
        with pytest.raises(openai.APIConnectionError) as caught:
            sdk.ask()
        refused = caught.value.__cause__
        assert type(refused) is library.ConnectError
        assert type(refused.__cause__) is errors.CircuitOpenError
        assert len(seen.requests) == 2
        now[0], chat.is_well = 61.0, True
        assert sdk.ask() == "Good day"
        sdk.close()
    events = ["breaker.opened", "breaker.rejected", "breaker.half_open", "breaker.closed"]
    assert [line["event"] for line in lines] == events
    assert fresh_server.settles(0)


@LIBRARIES
def test_the_errors_of_an_sdk_are_what_they_were(library):
    with library.Client(transport=Transport([failing(errors.Rejected("closed"))])) as mine:
        sdk = openai.OpenAI(base_url="http://nowhere.example", api_key="k", http_client=mine, max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            sdk.models.list()
    with library.Client(transport=Transport([failing(errors.DeadlineExceeded("late"))])) as mine:
        sdk = openai.OpenAI(base_url="http://nowhere.example", api_key="k", http_client=mine, max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            sdk.models.list()


def test_where_only_httpx_is_installed_ours_is_made_with_it(server):
    code = f"""if True:
        import asyncio, sys
        sys.modules["httpx2"] = None
        from formation.for_httpx import Transport, async_build, build
        import httpx
        with build(base_uri={server.url!r}) as sender:
            assert sender.get("/echo").status_code == 200
        async def main():
            async with async_build(base_uri={server.url!r}) as sender:
                assert (await sender.get("/echo")).status_code == 200
        asyncio.run(main())
        with httpx.Client(transport=Transport()) as mine:
            print(mine.get({server.url + "/echo"!r}).status_code)
        sys.modules["httpx"] = None
        for name in [name for name in sys.modules if name.startswith("formation.for_httpx")]:
            del sys.modules[name]
        try:
            import formation.for_httpx
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "200\nhttpx2 is not installed: pip install 'formation[httpx]'\n"
    assert not done.stderr


def test_the_client_of_an_sdk_can_be_what_ours_send_with(server):
    with openai.OpenAI(base_url=server.url, api_key="k") as sdk:
        with build(base_uri=server.url, endpoint=endpoint(sdk._client)) as sender:
            assert sender.get("/echo").status_code == 200
        assert sdk._client.is_closed is False
    gc.collect()
