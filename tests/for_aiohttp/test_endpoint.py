"""What is special to aiohttp; what every client edge does is in ``tests/client``."""

import asyncio
import gzip
import ssl
import sys
import tracemalloc
from importlib.util import find_spec, module_from_spec

import aiohttp
import aiohttp.web
import pytest

from formation import errors, for_aiohttp, wrap
from formation.for_aiohttp import Client, build, client, endpoint, json_response
from formation.http import Request
from formation.keys import NATIVE, REQ_HTTP, RES_HTTP
from formation.version import __version__
from tests.for_aiohttp.cases import echo, in_loop, settles, within
from tests.servers import Server, refused

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
