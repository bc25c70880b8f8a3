"""Unpacking what comes in: requests on every server edge, responses on every client edge; and bombs on both."""

import asyncio
import gc
import gzip
import json
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from weakref import ref

import aiohttp
import django
import httpx2
import pytest
import requests

from formation import for_aiohttp, for_httpx, for_requests, reply, wrap
from formation.errors import BodyTooLarge, DecodeError, ProtocolError
from formation.for_aiohttp import client_middleware
from formation.for_httpx import AsyncTransport, Transport
from formation.for_requests import Adapter
from formation.http import Request
from formation.http.codings import available, packer_of
from formation.middleware import decompress
from tests.bombs import BOMBS
from tests.middleware.hosts import Reply, answered, every_host
from tests.middleware.worlds import app, every_lift, every_world, on_server

TEXT = b"a text that repeats itself. " * 400
ENCODINGS = [*available(), "x-gzip", "gzip, br", "zstd, deflate, identity"]


def packed(encoding, content=TEXT):
    for coding in encoding.replace("x-", "").split(", "):
        if coding != "identity":
            packer = packer_of(coding)
            content = packer.pack(content) + packer.finish()
    return content


def echo(seen):
    return Reply(200, [("X-Encoding", str(seen.headers.get("content-encoding")))], [seen.body])


def post(host, body, encoding="gzip", *, app=echo, **settings):
    return answered(
        host, [decompress(**settings)], app, method="POST", body=body, headers={"Content-Encoding": encoding}
    )


# On servers


@every_host
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_app_gets_the_plain_body(host, encoding):
    got = post(host, packed(encoding), encoding)
    assert (got.status, got.body, got.lines("x-encoding")) == (200, TEXT, ["None"])


@every_host
def test_a_body_without_an_encoding_is_passed_on(host):
    assert answered(host, [decompress()], echo, method="POST", body=TEXT).body == TEXT
    assert answered(host, [decompress()], echo).body == b""


@every_host
@pytest.mark.parametrize("body", [packed("gzip")[:-1], packed("gzip")[:20], b"hello"])
def test_what_is_cut_off_or_no_such_encoding_is_a_400(host, body):
    got = post(host, body)
    assert (got.status, got.body) == (400, b"The body is not what Content-Encoding says")


@every_host
@pytest.mark.parametrize("encoding", ["compress", "gzip, compress", "gzip, " * 6 + "br"])
def test_an_encoding_that_nobody_knows_is_a_415_that_says_which_there_are(host, encoding):
    got = post(host, b"hello", encoding)
    assert (got.status, got.lines("accept-encoding")) == (415, ["zstd, br, gzip, deflate"])


@every_host
def test_what_is_too_large_is_a_413(host):
    got = post(host, packed("gzip", bytes(1001)), max_body=1000)
    assert (got.status, got.body) == (413, b"Content Too Large")
    assert post(host, packed("gzip", bytes(1000)), max_body=1000).status == 200


@every_host
def test_what_is_too_many_times_as_large_is_a_413(host):
    body = packed("gzip", bytes(2_000_000))
    assert post(host, body).status == 413
    assert post(host, body, max_ratio=None).status == 200


def refuses_by_itself(host):
    """Tell whether it is Django that finds so much too much; in a sync stack 6.1 takes what has no Content-Length."""
    return "async" in host.name if django.VERSION >= (6, 1) else "django" in host.name


@every_host
@pytest.mark.parametrize("coding", BOMBS)
@pytest.mark.parametrize("ratio", [200, None])
def test_10_gib_are_refused_in_constant_memory(host, coding, ratio):
    body = BOMBS[coding]()
    tracemalloc.start()
    try:
        refused = 400 if len(body) > 2_500_000 and refuses_by_itself(host) else 413
        assert post(host, body, coding, max_ratio=ratio, max_body=4_000_000).status == refused
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000  # the bomb itself is 10 MB, as gzip, of which hosts make copies


@every_world
def test_the_limit_of_the_edge_holds_where_none_is_given(world):
    ctx = on_server("POST", headers={"Content-Encoding": "gzip"}, body=packed("gzip"))
    ctx["fmtn.req.http"].body.limit = 100
    out = world(decompress(), ctx, lambda ctx: reply(ctx, 200, body=ctx["fmtn.req.http"].content))
    assert out["fmtn.res.http"].status_code == 413


@every_world
def test_what_reads_the_body_on_the_way_gets_it_plain(world):
    ctx = on_server("POST", headers={"Content-Encoding": "gzip", "Content-Type": "text/csv"}, body=packed("gzip"))
    out = world(decompress(), ctx, lambda ctx: reply(ctx, 200, body=ctx["fmtn.req.http"].content))
    assert out["fmtn.res.http"].content == TEXT
    assert dict(ctx["fmtn.req.http"].headers) == {"Content-Type": "text/csv"}


@every_world
def test_a_part_is_left_alone(world):
    ctx = on_server("PUT", headers={"Content-Encoding": "gzip", "Content-Range": "bytes 0-4/9"}, body=b"hello")
    out = world(decompress(), ctx, lambda ctx: reply(ctx, 200, body=ctx["fmtn.req.http"].content))
    assert out["fmtn.res.http"].content == b"hello"


@every_world
def test_an_error_that_is_not_about_the_body_passes(world):
    def failing(ctx):
        raise BodyTooLarge(limit=1, got=2)

    ctx = on_server("POST", headers={"Content-Encoding": "gzip"}, body=packed("gzip"))
    assert isinstance(world(decompress(), ctx, failing), BodyTooLarge)


# On clients


def served(content, encoding):
    def answer(connection, seen):
        said = seen.header("Accept-Encoding") or ""
        connection.answer(seen, 200, content, headers=[("Content-Encoding", encoding), ("X-Asked", said)])

    return answer


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("edge", [for_requests, for_httpx], ids=["requests", "httpx"])
def test_a_client_reads_what_is_plain_and_says_what_it_can(server, edge, encoding):
    with (
        server.route("packed", served(packed(encoding), encoding)),
        edge.build(base_uri=server.url, middleware=[decompress()]) as api,
    ):
        result = api.get("/packed")
        assert result.response.content == TEXT
        assert result.headers["X-Asked"] == "zstd, br, gzip, deflate"
        with api.get("/packed", stream=True) as result:
            assert b"".join(result.body) == TEXT


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("build", "endpoint"),
    [
        (for_aiohttp.build, None),
        (for_httpx.async_build, None),
        (for_aiohttp.build, lambda: for_aiohttp.endpoint(raw=True)),
    ],
    ids=["aiohttp", "httpx-async", "aiohttp-raw"],
)
def test_and_so_does_an_async_client(server, build, endpoint, encoding):
    async def main():
        how = (
            {"middleware": [decompress()]}
            if endpoint is None
            else {"middleware": [decompress()], "endpoint": endpoint()}
        )
        async with build(base_uri=server.url, **how) as api:
            whole = (await api.get("/packed")).response.content
            async with api.get("/packed", stream=True) as result:
                return whole, b"".join([chunk async for chunk in result.body])

    with server.route("packed", served(packed(encoding), encoding)):
        assert asyncio.run(main()) == (TEXT, TEXT)


def whole(api):
    return api.get("/packed").response.content


def streamed(api):
    with api.get("/packed", stream=True) as result:
        return sum(map(len, result.body))


@pytest.mark.parametrize("coding", BOMBS)
def test_a_client_gives_a_bomb_up_by_its_ratio(server, coding):
    with (
        server.route("packed", served(BOMBS[coding](), coding)),
        for_requests.build(base_uri=server.url, max_body=None, middleware=[decompress()]) as api,
    ):
        for ask in (whole, streamed):
            with pytest.raises(BodyTooLarge, match="max_ratio, 200 times what came"):
                ask(api)


def limited(**settings):
    return [decompress(None, 1_000_000, **settings)]


def by_requests(url):
    with requests.Session() as session:
        session.mount("http://", Adapter(middleware=limited()))
        return session.get(url).content


def by_httpx(url):
    with httpx2.Client(transport=Transport(middleware=limited())) as client:
        return client.get(url).content


async def by_async_httpx(url):
    async with httpx2.AsyncClient(transport=AsyncTransport(middleware=limited())) as client:
        return (await client.get(url)).content


async def by_aiohttp(url):
    async with aiohttp.ClientSession(middlewares=[client_middleware(limited())]) as session, session.get(url) as got:
        return await got.read()


@pytest.mark.parametrize("coding", BOMBS)
@pytest.mark.parametrize("ask", [by_requests, by_httpx, by_async_httpx, by_aiohttp])
def test_inside_of_other_clients_a_bomb_is_given_up_and_other_bodies_pass(server, ask, coding):
    def got(url):
        made = ask(url)
        return asyncio.run(made) if asyncio.iscoroutine(made) else made

    with server.route("packed", served(packed(coding), coding)):
        assert got(f"{server.url}/packed") == TEXT
    with server.route("packed", served(BOMBS[coding](), coding)):
        tracemalloc.start()
        try:
            with pytest.raises(Exception, match="larger than max_body: 1000000 bytes allowed"):
                got(f"{server.url}/packed")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 30_000_000  # the server, which is in this process, copies what it sends: 10 MB


@every_world
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("body", [bytes, lambda content: iter([content[:9], content[9:]])])
def test_what_an_endpoint_leaves_packed_is_unpacked(world, encoding, body):
    def endpoint(ctx):
        content = packed(encoding)
        headers = {"Content-Encoding": encoding, "Content-Length": str(len(content)), "ETag": '"1"'}
        return reply(ctx, 200, headers, body(content))

    response = world(decompress(), {"fmtn.req.http": Request("GET", "https://h/")}, endpoint)["fmtn.res.http"]
    assert response.content == TEXT
    assert "Content-Encoding" not in response.headers
    assert response.headers["ETag"] == 'W/"1"'
    assert response.headers.get("Content-Length", str(len(TEXT))) == str(len(TEXT))


@every_world
@pytest.mark.parametrize("content", [packed("gzip")[:-1], b"hello"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_not_what_it_says_is_an_error(world, content, is_stream):
    def read(ctx, call):
        ctx = decompress()(ctx, call)
        ctx["read"] = ctx["fmtn.res.http"].content
        return ctx

    def endpoint(ctx):
        return reply(ctx, 200, {"Content-Encoding": "gzip"}, iter([content]) if is_stream else content)

    error = world(read, {"fmtn.req.http": Request("GET", "https://h/")}, endpoint)
    assert isinstance(error, DecodeError)
    assert (error.status_code, error.request.url) == (200, "https://h/")


@every_world
@pytest.mark.parametrize(
    ("status", "headers", "method"),
    [
        (200, {"Content-Encoding": "compress"}, "GET"),
        (206, {"Content-Encoding": "gzip", "Content-Range": "bytes 0-4/9"}, "GET"),
        (200, {}, "GET"),
        (200, {"Content-Encoding": "gzip"}, "HEAD"),
    ],
)
def test_left_alone_is(world, status, headers, method):
    ctx = {"fmtn.req.http": Request(method, "https://h/")}
    response = world(decompress(), ctx, lambda ctx: reply(ctx, status, headers, b"hello"))["fmtn.res.http"]
    assert (dict(response.headers), response.content) == (headers, b"hello")


@every_world
def test_what_the_caller_asks_for_stays(world):
    ctx = {"fmtn.req.http": Request("GET", "https://h/", headers={"Accept-Encoding": "br"})}
    world(decompress(), ctx, lambda ctx: reply(ctx, 200))
    assert ctx["fmtn.req.http"].headers["Accept-Encoding"] == "br"


def test_where_the_edge_unpacks_a_body_that_is_cut_off_is_a_protocol_error(server):
    with (
        server.route("packed", served(packed("gzip")[:-3], "gzip")),
        for_requests.build(base_uri=server.url, middleware=[decompress()]) as api,
        pytest.raises(ProtocolError, match="cut off"),
    ):
        api.get("/packed")


@pytest.mark.parametrize("content", [packed("gzip"), packed("gzip")[:-3]], ids=["whole", "cut off"])
def test_nothing_is_left_for_the_garbage_collector(content):
    def run():
        ctx = {"fmtn.req.http": Request("GET", "https://h/")}
        ctx = decompress()(ctx, lambda ctx: reply(ctx, 200, {"Content-Encoding": "gzip"}, iter([content])))
        with suppress(DecodeError):
            ctx["fmtn.res.http"].content  # noqa: B018  it is read
        return ref(ctx["fmtn.res.http"]), ref(ctx["fmtn.req.http"])

    gc.collect()
    gc.disable()
    try:
        assert [each() for each in run()] == [None, None]
    finally:
        gc.enable()


# All of it, in a process of its own

CHILD = """
import json, resource, sys
from formation import for_wsgi, reply
from formation.errors import BodyTooLarge
from formation.for_requests import build
from formation.middleware import decompress

def app(environ, start_response):
    start_response("200 OK", [("Content-Encoding", sys.argv[1])])
    with open(sys.argv[2], "rb") as file:
        while chunk := file.read(65536):
            yield chunk

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = 0
with build(base_uri="http://h", endpoint=for_wsgi.endpoint(app), middleware=[decompress(None, 300_000_000)]) as api:
    with api.get("/", stream=True) as result:
        try:
            for chunk in result.body:
                size += len(chunk)
        except BodyTooLarge:
            pass
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([size, grown]))
"""


@pytest.mark.parametrize("coding", BOMBS)
def test_300_mb_of_a_bomb_pass_and_no_memory_grows(tmp_path, coding):
    (tmp_path / "bomb").write_bytes(BOMBS[coding]())
    run = subprocess.run(
        [sys.executable, "-c", CHILD, coding, str(tmp_path / "bomb")],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    size, grown = json.loads(run.stdout)
    assert 299_000_000 < size <= 300_000_000
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    assert grown * unit < 30_000_000


# The rest


@every_world
def test_passes_what_is_no_exchange_through(world):
    assert world(decompress(), {}, lambda ctx: ctx) == {}
    assert world(decompress(), 42, lambda n: n + 1) == 43
    ctx = on_server(**{"fmtn.kind": "websocket"}, headers={"Content-Encoding": "compress"})
    assert world(decompress(), ctx, app())["fmtn.res.http"].status_code == 200


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([decompress()], len, "four")[0] == 4


@pytest.mark.parametrize(
    "settings", [{"max_ratio": 0.5}, {"max_ratio": float("nan")}, {"max_body": -1}, {"max_body": True}]
)
def test_refuses_wrong_settings_when_they_are_given(settings):
    with pytest.raises(ValueError, match="expected max_"):
        decompress(**settings)


def test_gzip_of_the_standard_library_is_understood():
    response = decompress()(
        {"fmtn.req.http": Request("GET", "https://h/")},
        lambda ctx: reply(ctx, 200, {"Content-Encoding": "gzip"}, gzip.compress(TEXT)),
    )
    assert response["fmtn.res.http"].content == TEXT


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [decompress()])) == "wrap(<lambda>, [decompress])"
