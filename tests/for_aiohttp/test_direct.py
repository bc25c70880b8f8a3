"""Requests on a connection of aiohttp's pool, without a session between the two."""

import asyncio
import threading

import aiohttp
import aiohttp.web
import pytest

from formation import errors, wrap
from formation.for_aiohttp import build, endpoint, json_response
from formation.http import Request
from formation.keys import NATIVE, REQ_HTTP, RES_HTTP
from tests.conftest import server_context
from tests.for_aiohttp.cases import echo, in_loop, settles
from tests.servers import Gone, Server


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
