"""What is special to our clients on httpx, sync and async; what every client edge does is in ``tests/client``."""

import asyncio
import os
import random
import ssl
import warnings
from http.cookiejar import CookieJar
from time import monotonic

import pytest
import trio

from formation import errors, in_async_chain, sleep, wrap
from formation.for_httpx import (
    AsyncClient,
    Client,
    async_build,
    async_client,
    async_endpoint,
    build,
    client,
    endpoint,
    json_response,
)
from formation.http import Request
from formation.keys import REQ_HTTP
from tests.for_httpx.cases import tag, within


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


@pytest.mark.parametrize("run", [lambda call: asyncio.run(call()), trio.run], ids=["asyncio", "trio"])
def test_one_event_loop_after_the_other_leaves_nothing(fresh_server, run):
    sender = async_build(base_uri=fresh_server.url)

    async def call():
        assert (await sender.get("/echo")).status_code == 200
        assert (await sender.get("/echo")).status_code == 200

    with fresh_server.watch() as seen:
        for _ in range(3):
            run(call)  # nobody closes: the end of the event loop does
            assert fresh_server.settles(0)
            assert not sender._transport()._pools
    assert seen.connections == 3


def test_an_event_loop_that_just_closes_leaves_nothing_in_the_endpoint(fresh_server):
    sends = async_endpoint()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(sends({REQ_HTTP: Request("GET", fresh_server.url + "/echo")}))
    (pool,) = sends._pools.values()
    loop.run_until_complete(pool[None].aclose())
    loop.close()

    async def call():
        await sends({REQ_HTTP: Request("GET", fresh_server.url + "/echo")})
        assert list(sends._pools) == [asyncio.get_running_loop()]
        await sends.close()
        await sends.close()
        assert not sends._pools

    asyncio.run(call())
    assert fresh_server.settles(0)


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
