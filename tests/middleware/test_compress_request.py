"""Compression of what a client sends: on every client edge, against a real server."""

import asyncio
import sys
from io import BytesIO
from random import Random

import pytest

from formation import for_aiohttp, for_httpx, for_requests, wrap
from formation.http import Request
from formation.http.codings import codings_of
from formation.http.unpackers import unpacker_of
from formation.middleware import compress_request, retry
from tests.middleware.worlds import every_lift, every_world, on_server

TEXT = b"a text that repeats itself. " * 400


def unpacked(content, encoding):
    unpack = unpacker_of(codings_of(encoding))
    return b"".join([*unpack(content), *unpack(b"")])


def sent(world, request, **settings):
    out = world(compress_request(**settings), {"fmtn.req.http": request}, lambda ctx: ctx)
    assert isinstance(out, dict), out
    return out["fmtn.req.http"]


def post(content=TEXT, headers=(), **body):
    return Request("POST", "https://h/", headers=headers, **(body or {"content": content}))


@every_world
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_in_memory_is_packed_at_once(world, encoding):
    request = sent(
        world, post(headers={"Content-Type": "text/csv", "Content-Length": str(len(TEXT))}), encoding=encoding
    )
    assert request.headers["Content-Encoding"] == encoding
    assert request.headers["Content-Type"] == "text/csv"
    assert request.headers["Content-Length"] == str(len(request.content))
    assert unpacked(request.content, encoding) == TEXT
    assert request.replayable


@every_world
@pytest.mark.parametrize("body", [{"json": ["hello"] * 500}, {"data": {"text": "hello" * 500}}])
def test_json_and_forms_keep_their_type(world, body):
    plain = post(**body)
    expected, kind = plain.content, plain.headers["Content-Type"]
    request = sent(world, post(**body))
    assert (unpacked(request.content, "gzip"), request.headers["Content-Type"]) == (expected, kind)


@every_world
def test_a_file_is_packed_while_it_is_sent_and_can_be_sent_again(world):
    request = sent(world, post(BytesIO(TEXT)))
    assert request.body.length is None
    assert "Content-Length" not in request.headers
    assert request.replayable
    first, second = request.fork().content, request.fork().content
    assert unpacked(first, "gzip") == unpacked(second, "gzip") == TEXT


@every_world
def test_a_stream_is_packed_and_is_still_one_stream(world):
    request = sent(world, post(iter([TEXT, TEXT])))
    assert not request.replayable
    assert unpacked(request.content, "gzip") == TEXT * 2


@every_world
def test_a_form_with_files_keeps_its_boundary(world):
    request = sent(world, post(files={"a": ("a.txt", b"x" * 2000)}), types=["multipart/*"])
    boundary = request.headers["Content-Type"].partition("boundary=")[2]
    assert boundary.encode() in unpacked(request.content, "gzip")
    assert request.headers["Content-Encoding"] == "gzip"


@every_world
@pytest.mark.parametrize(
    "request_",
    [
        post(headers={"Content-Encoding": "br"}),
        post(headers={"Content-Range": "bytes 0-9/100"}),
        post(headers={"Content-Type": "image/png"}),
        post(b"x" * 499),
        post(b""),
        post(Random(1).randbytes(600)),  # no smaller
        Request("GET", "https://h/"),
    ],
    ids=range(7),
)
def test_left_alone_is(world, request_):
    request = request_.fork()
    before = dict(request.headers), request.content
    sent(world, request)
    assert ({name: request.headers[name] for name in before[0]}, request.content) == before
    assert request.headers.get("Content-Encoding") == request_.headers.get("Content-Encoding")


@every_world
def test_the_least_size_and_the_level_are_settings(world):
    assert "Content-Encoding" in sent(world, post(b"x" * 100), min_size=100).headers
    assert "Content-Encoding" not in sent(world, post(b"x" * 100), min_size=101).headers
    sizes = [len(sent(world, post(bytes(range(200)) * 30 + TEXT), level=level).content) for level in (0, 9)]
    assert sizes[0] > sizes[1]


@every_world
def test_on_a_server_nothing_is_packed(world):
    out = world(compress_request(), on_server("POST", body=TEXT), lambda ctx: ctx)
    assert "Content-Encoding" not in out["fmtn.req.http"].headers


def flaky(seen):
    """A route that answers 503 the first time, and what it has got the second."""

    def answer(connection, request):
        seen.append((request.header("Content-Encoding"), request.body, request.header("Content-Length")))
        connection.answer(request, 503 if len(seen) == 1 else 200, b"ok")

    return answer


BODIES = {"bytes": lambda: TEXT, "file": lambda: BytesIO(TEXT), "factory": lambda: lambda: iter([TEXT[:99], TEXT[99:]])}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("edge", [for_requests, for_httpx], ids=["requests", "httpx"])
def test_every_attempt_sends_all_of_it(fresh_server, edge, body):
    seen = []
    middleware = [compress_request(), retry(2, sleep=lambda _: None)]
    with fresh_server.route("tally", flaky(seen)), edge.build(base_uri=fresh_server.url, middleware=middleware) as api:
        assert api.put("/tally", content=BODIES[body]()).status_code == 200
    assert [(encoding, unpacked(content, "gzip")) for encoding, content, _ in seen] == [("gzip", TEXT)] * 2


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("build", [for_aiohttp.build, for_httpx.async_build], ids=["aiohttp", "httpx-async"])
def test_and_so_do_async_clients(fresh_server, build, body):
    seen = []

    async def main():
        async with build(base_uri=fresh_server.url, middleware=[compress_request(), retry(2, sleep=_none)]) as api:
            return (await api.put("/tally", content=BODIES[body]())).status_code

    with fresh_server.route("tally", flaky(seen)):
        assert asyncio.run(main()) == 200
    assert [(encoding, unpacked(content, "gzip")) for encoding, content, _ in seen] == [("gzip", TEXT)] * 2


def _none(_):
    return None


@every_world
def test_passes_what_has_no_request_through(world):
    assert world(compress_request(), {}, lambda ctx: ctx) == {}
    assert world(compress_request(), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([compress_request()], len, "four")[0] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoding": "bzip2"}, "expected an encoding of zstd, br, gzip, deflate, got 'bzip2'"),
        ({"level": 10}, "expected a level from 0 to 9 for gzip, got 10"),
        ({"min_size": -1}, "expected min_size as a number of bytes, got -1"),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, message):
    with pytest.raises(ValueError, match=message):
        compress_request(**settings)


def test_what_is_not_installed_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(sys.modules["formation.middleware.compress_request"], "available", lambda: ("gzip",))
    with pytest.raises(ValueError, match=r"'br' is not installed: pip install 'formation\[compression\]'"):
        compress_request("br")


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [compress_request()])) == "wrap(<lambda>, [compress_request])"
