"""Middleware inside of other people's clients of httpx2 and httpx."""

import asyncio
import gc
import io
import ssl
from contextlib import contextmanager

import httpx2
import pytest

from formation import await_, errors, reply, req, res
from formation.for_httpx import (
    AsyncTransport,
    Transport,
    async_endpoint,
    endpoint,
)
from formation.http import Request, Response
from formation.keys import REQ_HTTP, RES_HTTP
from formation.middleware import retry
from tests.for_httpx.cases import LIBRARIES, failing, tag, within


@contextmanager
def sync_client(library, **how):
    """A client of somebody else with our transport."""
    with library.Client(transport=Transport(**how)) as made:
        yield made


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
