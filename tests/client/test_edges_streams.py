"""Bodies that are not read at once, over every client edge."""

import gc
import threading
import tracemalloc
from contextlib import nullcontext

import pytest

from formation import errors
from formation.http import Response
from formation.keys import RES_HTTP
from tests.client.cases import counted


def test_a_stream_that_is_not_entered_sends_nothing(http, server):
    with server.watch() as seen:
        http.sender.get("/echo", stream=True)
        gc.collect()
    assert not seen.requests
    assert not seen.connections


def test_a_stream_gives_each_piece_as_it_comes(http, server):
    go = threading.Event()

    def waiting(connection, seen):
        connection.head(200, [("Transfer-Encoding", "chunked")])
        connection.chunk(b"first")
        while not go.is_set():
            connection.wait(0.01)
        connection.chunk(b"last")
        connection.chunk(b"")

    with server.route("waiting", waiting), http.stream("/waiting") as result:
        chunks = http.chunks(result)
        assert next(chunks) == b"first"
        go.set()
        assert b"".join(chunks) == b"last"


def test_a_stream_with_a_length_gives_each_piece_as_it_comes(http, server):
    go = threading.Event()

    def waiting(connection, seen):
        connection.head(200, [("Content-Length", "9")])
        connection.send(b"first")
        while not go.is_set():
            connection.wait(0.01)
        connection.send(b"last")

    with server.route("waiting", waiting), http.stream("/waiting") as result:
        chunks = http.chunks(result)
        assert next(chunks) == b"first"
        go.set()
        assert b"".join(chunks) == b"last"


def test_a_stream_that_is_read_to_its_end_gives_its_connection_back(edge, make, server):
    with counted(server, make) as (client, seen):
        for path in ("/chunks/50?size=2000", "/bytes/200000", "/gzip", "/status/204", "/lines/5"):
            with client.stream(path) as result:
                for _ in client.chunks(result):
                    pass
            assert result.status_code in {200, 204}
        with client.stream("/chunks/5") as result:
            assert len(client.content(result)) == 50
        assert len(result.response.content) == 50
    assert seen.connections == edge.connections(1)


@pytest.mark.parametrize("leave", ["break", "untouched", "error"])
def test_a_stream_that_is_left_early_closes_its_connection(edge, make, fresh_server, leave):
    def read(client):
        with client.stream("/drip?count=1000&delay=0.01") as result:
            if leave == "break":
                next(client.chunks(result))
            elif leave == "error":
                raise LookupError

    client = make(base_uri=fresh_server.url)
    with fresh_server.watch() as seen:
        with pytest.raises(LookupError) if leave == "error" else nullcontext():
            read(client)
        assert fresh_server.settles(0)
        assert client.get("/echo").status_code == 200
    assert seen.connections == edge.connections(2)


def test_on_close_tells_how_a_stream_ended(make, server):
    ends = []

    def count(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].on_close(lambda size, error: ends.append((size, type(error).__name__)))
        return ctx

    client = make(base_uri=server.url, middleware=[count], timeout=(5, 0.3))
    client.get("/bytes/10")
    with client.stream("/bytes/20") as result:
        list(client.chunks(result))
    with client.stream("/bytes/300000"):
        pass
    with pytest.raises(errors.ReadTimeout), client.stream("/hang-body") as result:
        list(client.chunks(result))
    assert ends == [(10, "NoneType"), (20, "NoneType"), (0, "BodyAbandoned"), (10, "ReadTimeout")]


def test_a_stream_can_be_mapped_on_its_way(make, server):
    def shout(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body.map(bytes.lower, lambda: b"!")
        return ctx

    client = make(base_uri=server.url, middleware=[shout])
    with client.stream("/chunks/3?size=2") as result:
        assert b"".join(client.chunks(result)) == b"aabbcc!"
    assert client.get("/chunks/3?size=2").body == b"aabbcc!"
    assert client.get("/bytes/3").headers["Content-Length"] == "4"


def test_a_stream_that_a_middleware_has_read_can_be_iterated(make, server):
    def read(ctx, call):
        ctx = call(ctx)
        assert len(ctx[RES_HTTP].content) == 30
        return ctx

    client = make(base_uri=server.url, middleware=[read])
    with client.stream("/chunks/3") as result:
        assert b"".join(client.chunks(result)) == b"A" * 10 + b"B" * 10 + b"C" * 10


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/bytes/9"), ("GET", "/status/204"), ("GET", "/chunks/0")])
def test_a_stream_of_nothing_is_empty(http, method, path):
    with http.stream(path, method=method) as result:
        assert list(http.chunks(result)) == []


def test_a_stream_can_be_entered_and_iterated_once(http):
    streamed = http.sender.get("/chunks/3", stream=True)
    with http.entering(streamed) as result:
        list(http.chunks(result))
        with pytest.raises(errors.BodyConsumed):
            list(http.chunks(result))
        with pytest.raises(errors.BodyConsumed):
            http.content(result)
    with pytest.raises(RuntimeError, match="sent already"), http.entering(streamed):
        pass


def test_a_stream_whose_status_is_not_expected_leaks_nothing(make, fresh_server):
    client = make(base_uri=fresh_server.url)
    with (
        pytest.raises(errors.StatusError) as caught,
        client.stream("/drip?count=1000&delay=0.01", expect=404),
    ):
        pass
    assert caught.value.response.status_code == 200
    assert fresh_server.settles(0)


def test_a_stream_whose_middleware_raises_leaks_nothing(make, fresh_server):
    def strict(ctx, call):
        ctx = call(ctx)
        raise LookupError

    with pytest.raises(LookupError), make(base_uri=fresh_server.url, middleware=[strict]).stream("/drip?count=999"):
        pass
    assert fresh_server.settles(0)


def test_a_stream_is_closed_whatever_a_middleware_makes_of_the_context_and_the_response(make, fresh_server):
    def copied(ctx, call):
        return call({**ctx})

    def strict(ctx, call):
        call(ctx)
        raise LookupError

    def another(ctx, call):
        return {**call(ctx), RES_HTTP: Response(200)}

    with (
        pytest.raises(LookupError),
        make(base_uri=fresh_server.url, middleware=[copied, strict]).stream("/drip?count=999"),
    ):
        pass
    assert fresh_server.settles(0)
    with make(base_uri=fresh_server.url, middleware=[copied, another]).stream("/drip?count=999") as result:
        assert result.status_code == 200
    assert fresh_server.settles(0)


def test_each_stream_of_a_middleware_that_calls_twice_is_closed(make, fresh_server):
    def twice(ctx, call):
        call({**ctx})
        return call(ctx)

    with make(base_uri=fresh_server.url, middleware=[twice]).stream("/drip?count=999") as result:
        assert result.status_code == 200
    assert fresh_server.settles(0)


def test_a_redirect_is_followed_before_a_stream_begins(make, server):
    with counted(server, make) as (client, seen):
        with client.stream("/redirect/302?to=/chunks/3") as result:
            assert b"".join(client.chunks(result)) == b"A" * 10 + b"B" * 10 + b"C" * 10
        assert client.get("/echo").status_code == 200
    assert len(seen.requests) == 3


def test_a_large_download_is_never_held(http):
    total = 0
    tracemalloc.start()
    try:
        with http.stream("/chunks/400?size=50000") as result:
            for chunk in http.chunks(result):
                total += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 20_000_000
    assert peak < 4_000_000
