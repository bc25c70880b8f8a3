"""Compression on servers (RFC 9110, 8.4 and 12.5.3), on every host, and in every world."""

import asyncio
import random
import sys
import threading
import tracemalloc
import zlib
from wsgiref.util import FileWrapper

import pytest
import requests
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse as DjangoFile
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import FileResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from formation import for_asgi, for_django, for_wsgi, reply, wrap
from formation.for_aiohttp import build as async_build
from formation.for_requests import build
from formation.http import Request, codings
from formation.http.codings import codings_of
from formation.http.unpackers import unpacker_of
from formation.middleware import compress, etag
from tests.django_site import stack as django_stack
from tests.middleware.hosts import Reply, answered, every_host, pieces
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.server.asgi_servers import hypercorn, running, uvicorn
from tests.server.edges import Sent
from tests.server.wsgi_servers import waitress

TEXT = b"a text that repeats itself. " * 200
LENGTH = str(len(TEXT))
GZIP = {"Accept-Encoding": "gzip"}
TYPE = {"Content-Type": "text/html"}


def unpacked(content, encoding):
    unpack = unpacker_of(codings_of(encoding))
    return b"".join([*unpack(content), *unpack(b"")])


def whole(**headers):
    return Reply(200, [(name.replace("_", "-"), value) for name, value in headers.items()], [TEXT])


def answer(world, headers=GZIP, method="GET", endpoint=None, **settings):
    ctx = world(compress(**settings), on_server(method, headers=headers), endpoint or page())
    assert not isinstance(ctx, BaseException), ctx
    return ctx["fmtn.res.http"]


def page(status=200, body=(TEXT,), **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app(status, {**TYPE, "Content-Length": str(sum(map(len, body))), **named}, list(body))


# What is packed


@every_host
@pytest.mark.parametrize(("accept", "encoding"), [("gzip", "gzip"), ("br", "br"), ("zstd, gzip, br", "zstd")])
def test_a_page_is_packed_as_the_client_likes_it(host, accept, encoding):
    got = answered(host, [compress()], whole(ETag='"1"'), headers={"Accept-Encoding": accept})
    assert got.status == 200
    assert unpacked(got.body, got.lines("content-encoding")[0]) == TEXT
    assert got.lines("content-encoding") == [encoding]
    assert "Accept-Encoding" in got.lines("vary")[0]
    assert got.lines("etag") == ['W/"1"']
    assert got.lines("content-length") in ([], [str(len(got.body))])


@every_host
@pytest.mark.parametrize("accept", [None, "", "identity", "gzip;q=0", "compress", "identity, gzip;q=0.5", "*;q=0"])
def test_what_the_client_does_not_want_packed_is_sent_as_it_is(host, accept):
    headers = {} if accept is None else {"Accept-Encoding": accept}
    got = answered(host, [compress()], whole(ETag='"1"'), headers=headers)
    assert (got.status, got.body, got.lines("content-encoding")) == (200, TEXT, [])
    assert (got.lines("etag"), got.lines("content-length")) == (['"1"'], [LENGTH])
    assert "Accept-Encoding" in got.lines("vary")[0]  # for the next one it may not be


@every_host
def test_a_stream_is_packed_piece_by_piece_and_each_can_be_read_at_once(host):
    sent = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
    got = answered(host, [compress()], Reply(200, [], pieces(*sent)), headers=GZIP)
    unpack = zlib.decompressobj(31)
    seen = [unpack.decompress(chunk) for chunk in got.chunks]
    assert seen[:3] == sent
    assert b"".join(seen) == b"".join(sent)
    assert unpack.eof
    assert got.lines("content-length") == []


@every_host
def test_what_of_known_length_streams_is_not_flushed_with_each_piece(host):
    sent = [TEXT[at : at + 100] for at in range(0, len(TEXT), 100)]
    headers = [("Content-Length", LENGTH)]
    got = answered(host, [compress()], Reply(200, headers, pieces(*sent)), headers=GZIP)
    assert unpacked(got.body, "gzip") == TEXT
    assert len(got.body) < 150


@every_host
@pytest.mark.parametrize("middleware", [[compress()], [compress(), etag()]], ids=["alone", "etag"])
def test_what_is_shorter_than_it_says_does_not_look_whole(host, middleware):
    headers = [("Content-Length", LENGTH), ("Content-Type", "text/html")]
    got = host.serve(
        host.build(lambda seen: Reply(200, headers, pieces(TEXT[:3000])), middleware), Sent(headers=dict(GZIP))
    )
    said = int(got.lines("Content-Length")[0]) if got.lines("Content-Length") else None
    assert got.error is not None or len(got.body) < said
    assert got.lines("ETag") == []


@every_world
def test_an_answer_of_a_middleware_is_packed_too(world):
    got = answer(world, endpoint=lambda ctx: reply(ctx, 200, {**TYPE, "Content-Length": LENGTH}, TEXT))
    assert unpacked(got.content, "gzip") == TEXT
    assert got.headers["Content-Length"] == str(len(got.content))


@every_world
def test_what_has_been_read_on_the_way_is_packed_too(world):
    def read(ctx):
        ctx = page()(ctx)
        assert ctx["fmtn.res.http"].content == TEXT
        return ctx

    assert unpacked(answer(world, endpoint=read).content, "gzip") == TEXT


@every_world
def test_a_body_that_somebody_has_closed_is_left_alone(world):
    def closed(ctx):
        ctx = page()(ctx)
        ctx["fmtn.res.http"].body.close()
        return ctx

    assert "Content-Encoding" not in answer(world, endpoint=closed).headers


@every_world
def test_digests_of_the_plain_body_go_and_so_does_accept_ranges(world):
    got = answer(world, endpoint=page(Accept_Ranges="bytes", Content_Digest="sha-256=:x:", Repr_Digest="sha-256=:x:"))
    assert not {"accept-ranges", "content-digest", "repr-digest"} & {name.lower() for name in got.headers}


@every_world
@pytest.mark.parametrize(
    ("said", "vary"),
    [
        (None, "Accept-Encoding"),
        ("Cookie", "Cookie, Accept-Encoding"),
        ("accept-encoding", "accept-encoding"),
        ("*", "*"),
    ],
)
def test_vary_is_added_to(world, said, vary):
    assert answer(world, endpoint=page(**({} if said is None else {"Vary": said}))).headers["Vary"] == vary


@every_world
@pytest.mark.parametrize(("etag", "sent"), [('"1"', 'W/"1"'), ('W/"1"', 'W/"1"')])
def test_a_strong_tag_becomes_weak(world, etag, sent):
    assert answer(world, endpoint=page(ETag=etag)).headers["ETag"] == sent


# What is left alone


@every_world
@pytest.mark.parametrize(
    "endpoint",
    [
        page(Content_Encoding="br"),
        page(Content_Type="image/png"),
        page(Content_Type="application/zip"),
        page(Content_Type="font/woff2"),
        page(Content_Type="video/mp4"),
        page(Content_Type=""),
        page(Cache_Control="public, No-Transform"),
        page(206, Content_Range="bytes 0-9/100"),
        page(206, Content_Type="multipart/byteranges"),
        page(416, Content_Range="bytes */100"),
        page(204, ()),
        page(205, ()),
        page(body=(b"x" * 499,)),
        page(body=()),
    ],
    ids=range(14),
)
def test_left_alone_is(world, endpoint):
    plain = endpoint(on_server())["fmtn.res.http"]
    got = answer(world, endpoint=endpoint)
    assert dict(got.headers) == dict(plain.headers)
    assert got.content == plain.content


@every_host
@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_is_given_none(host, status):
    got = answered(host, [compress()], Reply(status, [], []), headers=GZIP)
    assert (got.status, got.body, got.lines("content-encoding")) == (status, b"", [])


@every_world
def test_the_least_size_is_a_setting(world):
    assert answer(world, endpoint=page(body=(b"x" * 500,))).headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in answer(world, endpoint=page(), min_size=10_000).headers
    assert "Content-Encoding" not in answer(world, endpoint=page(body=()), min_size=0).headers


@every_world
@pytest.mark.parametrize(
    ("content_type", "packed"),
    [
        ("text/event-stream", True),
        ("application/problem+json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("image/svg+xml", True),
        ("application/atom+xml", True),
        ("application/octet-stream", False),
        ("textual/plain", False),
    ],
)
def test_what_becomes_smaller_is_packed(world, content_type, packed):
    assert ("Content-Encoding" in answer(world, endpoint=page(Content_Type=content_type)).headers) is packed


@every_world
def test_types_and_encodings_are_settings(world):
    got = answer(world, {"Accept-Encoding": "br, gzip"}, None, page(Content_Type="x/y+z"), types=["x/*"])
    assert got.headers["Content-Encoding"] == "br"
    got = answer(world, {"Accept-Encoding": "br, gzip"}, endpoint=page(), encodings=["gzip", "br"])
    assert got.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in answer(world, {"Accept-Encoding": "br"}, encodings="gzip").headers
    assert "Content-Encoding" not in answer(world, types=[]).headers


@every_world
def test_levels_are_a_setting(world):
    body = bytes(random.Random(1).choices(b"abcd", k=20_000))
    sizes = [len(answer(world, endpoint=page(body=(body,)), levels={"gzip": level}).content) for level in (1, 9)]
    assert sizes[0] > sizes[1]


@every_world
def test_what_may_not_be_packed_says_when(world):
    settings = {"when": lambda ctx: "X-Secret" not in ctx["fmtn.res.http"].headers}
    assert "Content-Encoding" in answer(world, endpoint=page(), **settings).headers
    got = answer(world, endpoint=page(X_Secret="1"), **settings)
    assert not {"Content-Encoding", "Vary"} & set(got.headers)


@every_world
def test_who_refuses_identity_gets_small_bodies_and_other_types_packed_too(world):
    headers = {"Accept-Encoding": "gzip, identity;q=0"}
    for endpoint in (page(body=(b"x",)), page(Content_Type="image/png")):
        got = answer(world, headers, endpoint=endpoint)
        assert (got.headers["Content-Encoding"], got.headers["Vary"]) == ("gzip", "Accept-Encoding")


@every_world
def test_who_refuses_everything_gets_it_as_it_is_and_no_406(world):
    got = answer(world, {"Accept-Encoding": "identity;q=0, gzip;q=0"})
    assert (got.status_code, got.content) == (200, TEXT)


# HEAD, 304 and parts


@every_host
def test_head_has_the_headers_that_get_would_have(host):
    reply = whole(ETag='"1"', Accept_Ranges="bytes")
    get = answered(host, [compress()], reply, headers=GZIP)
    head = answered(host, [compress()], Reply(200, reply.headers, [TEXT]), method="HEAD", headers=GZIP)
    for name in ("content-encoding", "vary", "etag", "accept-ranges", "content-type"):
        assert head.lines(name) == get.lines(name)
    assert head.lines("content-length") in ([], get.lines("content-length"))


@every_world
def test_head_without_a_length_only_says_that_it_varies(world):
    got = answer(world, method="HEAD", endpoint=app(200, {**TYPE, "ETag": '"1"'}, []))
    assert dict(got.headers) == {**TYPE, "ETag": '"1"', "Vary": "Accept-Encoding"}


@every_world
def test_head_of_what_is_small_is_left_alone(world):
    got = answer(world, method="HEAD", endpoint=app(200, {**TYPE, "Content-Length": "9"}, []))
    assert dict(got.headers) == {**TYPE, "Content-Length": "9"}


@every_world
@pytest.mark.parametrize(
    ("known", "etag", "sent"),
    [
        ('W/"1"', '"1"', 'W/"1"'),  # the one that was packed: a cache finds it by its tag (RFC 9111, 4.3.4)
        ('"0", W/"1"', '"1"', 'W/"1"'),
        ('"1"', '"1"', '"1"'),
        ("*", '"1"', '"1"'),
        ('W/"1"', 'W/"1"', 'W/"1"'),
    ],
)
def test_a_304_has_the_tag_that_the_client_has_and_varies(world, known, etag, sent):
    got = answer(world, {**GZIP, "If-None-Match": known}, endpoint=app(304, {"ETag": etag}, []))
    assert dict(got.headers) == {"ETag": sent, "Vary": "Accept-Encoding"}


@every_world
def test_a_304_of_what_is_never_packed_is_left_alone(world):
    headers = {"ETag": '"1"', "Content-Type": "image/png"}
    assert dict(answer(world, {**GZIP, "If-None-Match": 'W/"1"'}, endpoint=app(304, headers, [])).headers) == headers


# Files, and frameworks


def test_a_file_that_the_server_would_send_is_packed_and_closed(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT * 100)
    opened = []

    def files(environ, start_response):
        opened.append((tmp_path / "a.txt").open("rb"))
        kind = "image/png" if environ["PATH_INFO"] == "/png" else "text/plain"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(TEXT) * 100))])
        return environ["wsgi.file_wrapper"](opened[-1])

    wrapped = for_wsgi.FormationMiddleware(files, middleware=[compress()])
    got, environ = {}, {"HTTP_ACCEPT_ENCODING": "gzip", "REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": ""}
    environ |= {"wsgi.file_wrapper": FileWrapper, "wsgi.url_scheme": "http", "HTTP_HOST": "h"}
    out = wrapped(environ, lambda status, headers: got.update(headers))
    assert unpacked(b"".join(out), got["Content-Encoding"]) == TEXT * 100
    out.close()
    assert opened[0].closed

    native = wrapped({**environ, "PATH_INFO": "/png"}, lambda status, headers: got.update(headers))
    assert isinstance(native, FileWrapper)  # which the kernel sends
    native.close()


@pytest.mark.parametrize("host", ["wsgi", "django"])
def test_head_does_not_say_the_length_of_the_plain_file_that_a_server_would_send(host, tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT)

    def files(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", LENGTH)])
        return environ["wsgi.file_wrapper"]((tmp_path / "a.txt").open("rb"))

    def view(request):
        return DjangoFile((tmp_path / "a.txt").open("rb"))

    with django_stack(for_django.middleware([compress()]), urls=view, ALLOWED_HOSTS=["*"]):
        app = WSGIHandler() if host == "django" else for_wsgi.FormationMiddleware(files, middleware=[compress()])
        with waitress(app) as port:
            got = requests.head(f"http://127.0.0.1:{port}/", headers=GZIP, timeout=20).headers
            plain = requests.head(f"http://127.0.0.1:{port}/", headers={"Accept-Encoding": ""}, timeout=20).headers
    assert (got["Content-Encoding"], got.get("Content-Length")) == ("gzip", None)
    assert plain["Content-Length"] == LENGTH


def starlette(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT * 100)
    (tmp_path / "a.png").write_bytes(TEXT)

    async def events(request):
        async def stream():
            for _ in range(3):
                yield TEXT
                await asyncio.sleep(0)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def file(request):
        return FileResponse(tmp_path / "a.txt")

    routes = [Route("/events", events), Route("/file", file), Mount("/static", StaticFiles(directory=tmp_path))]
    return for_asgi.FormationMiddleware(Starlette(routes=routes), middleware=[compress()])


@pytest.mark.parametrize("path", ["/file", "/static/a.txt"])
def test_a_file_of_starlette_is_packed_and_its_tag_still_matches(tmp_path, path):
    async def main():
        async with async_build(base_uri="http://h", endpoint=for_asgi.endpoint(starlette(tmp_path))) as api:
            first = await api.get(path, headers=GZIP)
            again = await api.get(path, headers={**GZIP, "If-None-Match": first.headers["ETag"]})
            part = await api.get(path, headers={**GZIP, "Range": "bytes=0-9"})
            stale = await api.get(path, headers={**GZIP, "Range": "bytes=0-9", "If-Range": first.headers["ETag"]})
        return first, again, part, stale

    first, again, part, stale = asyncio.run(main())
    assert (first.response.content, first.headers["Content-Encoding"]) == (TEXT * 100, "gzip")
    assert first.headers["ETag"].startswith("W/")
    if path.startswith("/static"):  # which compares
        assert (again.status_code, again.headers["ETag"]) == (304, first.headers["ETag"])
    assert (part.status_code, part.response.content, "Content-Encoding" in part.headers) == (206, TEXT[:10], False)
    assert (stale.status_code, stale.response.content) == (200, TEXT * 100)  # no strong tag, no part (13.1.5)


def test_a_path_that_the_server_would_send_is_packed(tmp_path):
    sent = []
    app = starlette(tmp_path)

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.Event().wait()

    for path in ("/file", "/static/a.png"):
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "scheme": "http", "root_path": ""}
        scope |= {"headers": [(b"accept-encoding", b"gzip")], "extensions": {"http.response.pathsend": {}}}
        asyncio.run(app(scope, receive, send))
    kinds = [message["type"] for message in sent]
    assert kinds.count("http.response.pathsend") == 1  # the image
    packed = [message.get("body", b"") for message in sent[: kinds.index("http.response.start", 1)]]
    assert unpacked(b"".join(packed), "gzip") == TEXT * 100


def test_events_of_starlette_arrive_one_by_one(tmp_path):
    async def main():
        async with (
            async_build(base_uri="http://h", endpoint=for_asgi.endpoint(starlette(tmp_path))) as api,
            api.get("/events", stream=True, headers=GZIP) as result,
        ):
            return result.headers["Content-Encoding"], [chunk async for chunk in result.body]

    assert asyncio.run(main()) == ("gzip", [TEXT] * 3)


@pytest.mark.parametrize("kind", [uvicorn, hypercorn], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_over_the_wire_an_event_arrives_before_the_next_one_is_made(kind, encoding):
    """The app makes the second one when the client has had the first: who waits for more hangs here."""
    had = threading.Event()

    async def events(scope, receive, send):
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
        await asyncio.to_thread(had.wait, 30)
        await send({"type": "http.response.body", "body": b"data: two\n\n"})

    wrapped = for_asgi.FormationMiddleware(events, middleware=[compress()])
    with (
        running(kind, wrapped) as port,
        build(base_uri=f"http://127.0.0.1:{port}") as api,
        api.get("/", stream=True, headers={"Accept-Encoding": encoding}) as result,
    ):
        chunks = iter(result.body)
        assert next(chunks) == b"data: one\n\n"
        had.set()
        assert b"".join(chunks) == b"data: two\n\n"
        assert result.headers["Content-Encoding"] == encoding


def test_a_client_that_leaves_in_the_middle_ends_the_app():
    closed = []

    def chunks():
        try:
            while True:
                yield TEXT
        finally:
            closed.append(True)

    def endless(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return chunks()

    wrapped = for_wsgi.FormationMiddleware(endless, middleware=[compress()])
    with build(base_uri="http://h", endpoint=for_wsgi.endpoint(wrapped)) as api:
        with api.get("/", stream=True, headers=GZIP) as result:
            assert next(iter(result.body)) == TEXT
        assert closed == [True]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("has_length", [True, False])
def test_32_mib_pass_in_constant_memory(encoding, has_length):
    piece, count = random.Random(3).randbytes(32_768) * 2, 512

    def large(environ, start_response):
        length = [("Content-Length", str(count * len(piece)))] if has_length else []
        start_response("200 OK", [("Content-Type", "text/plain"), *length])
        return (piece for _ in range(count))

    wrapped = for_wsgi.FormationMiddleware(large, middleware=[compress([encoding], levels={"gzip": 1, "br": 1})])
    with build(base_uri="http://h", endpoint=for_wsgi.endpoint(wrapped)) as api:
        tracemalloc.start()
        try:
            with api.get("/", stream=True, headers={"Accept-Encoding": encoding}) as result:
                assert sum(map(len, result.body)) == count * len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 3_000_000


@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.sampled_from(["gzip", "br", "zstd", "deflate"]),
    st.booleans(),
)
def test_whatever_is_sent_arrives(chunks, encoding, is_stream):
    def served(environ, start_response):
        length = [] if is_stream else [("Content-Length", str(sum(map(len, chunks))))]
        start_response("200 OK", [("Content-Type", "text/plain"), *length])
        return iter(chunks)

    wrapped = for_wsgi.FormationMiddleware(served, middleware=[compress([encoding], 1)])
    with build(base_uri="http://h", endpoint=for_wsgi.endpoint(wrapped)) as api:
        got = api.get("/", headers={"Accept-Encoding": encoding})
        assert got.response.content == b"".join(chunks)
        assert ("Content-Encoding" in got.headers) is (is_stream or any(chunks))


# The rest


@every_world
def test_what_is_not_installed_is_not_offered(world, monkeypatch):
    monkeypatch.setattr(sys.modules["formation.middleware.compress"], "available", lambda: ("gzip", "deflate"))
    assert codings.available() != ("gzip", "deflate")
    assert answer(world, {"Accept-Encoding": "zstd, br, gzip"}).headers["Content-Encoding"] == "gzip"


@every_world
def test_on_a_client_nothing_is_packed(world):
    ctx = {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/", headers=GZIP)}
    out = world(compress(), ctx, lambda ctx: reply(ctx, 200, TYPE, TEXT))
    assert out["fmtn.res.http"].content == TEXT


@every_world
def test_passes_what_has_no_response_through(world):
    assert world(compress(), on_server(), lambda ctx: {"fmtn.side": "server"}) == {"fmtn.side": "server"}
    assert world(compress(), 42, lambda n: n + 1) == 43
    refused = world(compress(), on_server(**{"fmtn.kind": "websocket"}), page(403))
    assert "Vary" not in refused["fmtn.res.http"].headers


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([compress()], len, "four")[0] == 4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"encodings": ["bzip2"]}, ValueError, "expected an encoding of zstd, br, gzip, deflate, got 'bzip2'"),
        ({"levels": {"xz": 1}}, ValueError, "got 'xz'"),
        ({"levels": {"gzip": 10}}, ValueError, "expected a level from 0 to 9 for gzip, got 10"),
        ({"levels": {"gzip": True}}, ValueError, "expected a level"),
        ({"min_size": -1}, ValueError, "expected min_size as a number of bytes, got -1"),
        ({"when": 1}, TypeError, "expected when as a function of ctx, got 1"),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error, message):
    with pytest.raises(error, match=message):
        compress(**settings)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [compress()])) == "wrap(<lambda>, [compress])"
