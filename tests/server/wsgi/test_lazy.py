"""Apps that say their head with their first chunk; maps over what they yield."""

import zlib

import pytest

from formation import reply, res
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import PLAIN, Chunks, Served, answering, hooked, late, look, mapped, pass_on, wrapped


@pytest.mark.parametrize("asked", ["status_code", "headers", "reason", "ok", "content_type"])
def test_wm1_who_asks_a_lazy_app_for_its_head_pulls_one_chunk_and_no_more(asked):
    app, chunks = late(b"a", b"b")
    pulls = []

    def asks(ctx, call):
        ctx = call(ctx)
        pulls.append(chunks.log.count("next"))
        for _ in range(2):
            getattr(res(ctx), asked)
            pulls.append(chunks.log.count("next"))
        return ctx

    served = Served(wrapped(app, asks)).run()
    assert (pulls, served.status, served.body) == ([0, 1, 1], "201 Created", b"ab")


def test_wm1_an_app_that_yields_nothing_before_it_starts_is_asked_again():
    def app(environ, start_response):
        yield b""
        start_response("200 OK", list(PLAIN))
        yield b"a"

    served = Served(wrapped(app, look)).call()
    assert (served.status, list(served.result)) == ("200 OK", [b"", b"a"])


def test_wm1_who_does_not_ask_pulls_nothing():
    app, chunks = late(b"a")
    log = []
    served = Served(wrapped(app, hooked(log), pass_on)).call()
    assert (chunks.log, served.heads) == ([], [])
    served.close()
    assert chunks.log == ["close"]


def test_wm1_a_lazy_app_that_fails_at_its_first_chunk_fails_where_its_head_is_asked_for():
    chunks = Chunks(LookupError("gone"))

    def guards(ctx, call):
        ctx = call(ctx)
        try:
            res(ctx).headers["X-A"] = "1"
        except LookupError:
            ctx = reply(ctx, 500, PLAIN, b"sorry")
        return ctx

    served = Served(wrapped(lambda environ, start_response: chunks, guards)).run()
    assert (served.status[:3], served.body, chunks.log.count("close")) == ("500", b"sorry", 1)


def test_wm2_a_map_that_needs_more_yields_empty_chunks_and_drops_the_length():
    packer = zlib.compressobj()
    app = answering(iter([b"a" * 100] * 3), headers=[*PLAIN, ("Content-Length", "300"), ("ETag", '"a"')])
    served = Served(wrapped(app, mapped(packer.compress, packer.flush))).call()
    chunks = list(served.result)
    served.close()
    assert (len(chunks), chunks[1], chunks[2]) == (4, b"", b"")
    assert zlib.decompress(b"".join(chunks)) == b"a" * 300
    assert served.headers == [*PLAIN, ("ETag", 'W/"a"')]


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", "200 OK", []),
        ("GET", "204 No Content", []),
        ("GET", "304 Not Modified", []),
        ("GET", "206 Partial Content", []),
        ("GET", "200 OK", [("Content-Range", "bytes 0-2/9")]),
    ],
)
def test_wm2_what_has_no_body_or_a_part_of_one_is_not_mapped(method, status, headers):
    lines = [("Content-Length", "3"), *headers]
    chunks = iter([b"abc"])
    served = Served(
        wrapped(answering(chunks, status, lines), mapped(bytes.upper)), environ_of(Sent(method=method))
    ).call()
    assert (served.headers, served.result) == (lines, chunks)
