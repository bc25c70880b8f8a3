"""What streams: laws, clients that go, memory."""

import hashlib
import threading
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from formation import res
from formation.errors import BodyAbandoned
from formation.for_requests import build
from formation.middleware import request_id
from tests.server.wsgi.host import (
    PLAIN,
    Chunks,
    Served,
    hooked,
    look,
    mapped,
    pass_on,
    reading,
    wrapped,
    wsgiref_serving,
)


@given(
    chunks=st.lists(st.binary(max_size=3), max_size=4),
    kind=st.sampled_from([list, tuple, iter, "late", "close", "write"]),
    head=st.tuples(
        st.sampled_from(["200 OK", "404 Nothing", "500 "]),
        st.lists(st.tuples(st.sampled_from(["X-A", "x-a", "Set-Cookie"]), st.sampled_from(["1", "", "\xe4"]))),
    ),
    layers=st.lists(st.sampled_from([pass_on, hooked([]), mapped(bytes), reading, "look", "pull"]), max_size=4),
)
def test_what_comes_out_is_what_the_app_gives_whatever_looks_on(chunks, kind, head, layers):
    status, headers = head

    def app(environ, start_response):
        if kind == "late":
            made = Chunks(*chunks)
            made.start = lambda: start_response(status, list(headers))
            return made
        write = start_response(status, list(headers))
        if kind == "write":
            for chunk in chunks:
                write(chunk)
            return []
        return Chunks(*chunks) if kind == "close" else kind(chunks)

    def looks(ctx, call):
        ctx = call(ctx)
        assert res(ctx).status_code == int(status[:3])
        assert res(ctx).headers.getlist("x-a") == [value for name, value in headers if name.lower() == "x-a"]
        return ctx

    def pulls(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body
        res(ctx).body = (chunk for chunk in old)
        return ctx

    more = [{"look": looks, "pull": pulls}.get(layer, layer) for layer in layers]
    built, bare = wrapped(app, *more), Served(app).run()
    for _ in range(2):  # the second time it is known to write
        served = Served(built).run()
        assert (served.body, served.status) == (bare.body, bare.status)
        own = [line for line in served.headers if line[0] != "Content-Length"]  # of what has been read
        assert own == bare.headers


def test_a_client_that_goes_in_the_middle_is_heard_and_the_app_closed():
    over, log = threading.Event(), []

    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        try:
            while True:
                yield b"x" * 65536
        finally:
            log.append("closed")

    def hears(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: (log.append(type(error)), over.set()))
        return ctx

    with wsgiref_serving(wrapped(app, hears, mapped(bytes.upper))) as url:
        with build(base_uri=url, timeout=20) as http, http.get("/", stream=True) as result:
            assert next(iter(result.body))[:1] == b"X"
        assert over.wait(20)
    assert log == ["closed", BodyAbandoned]


def test_the_first_chunk_is_out_before_the_second_is_made_through_ten_layers():
    made = []

    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        for number in range(3):
            made.append(number)
            yield b"%d" % number

    served = Served(wrapped(app, *[look, request_id(), hooked([]), mapped(bytes.upper), pass_on] * 2)).call()
    for number, chunk in enumerate(served.result):
        assert (chunk, len(made)) == (b"%d" % number, number + 1)
    served.close()


def test_a_large_body_goes_through_ten_layers_and_a_map_in_constant_memory():
    digest = hashlib.sha256()
    block = bytes(range(256)) * 4096  # 1 MiB

    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        for _ in range(128):
            yield bytearray(block)

    def hashing(chunk):
        digest.update(chunk)
        return chunk

    built = wrapped(app, *[look] * 9, mapped(hashing))
    tracemalloc.start()
    try:
        served = Served(built).call()
        size = sum(map(len, served.result))
        served.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 128 << 20
    assert digest.hexdigest() == hashlib.sha256(block * 128).hexdigest()
    assert peak < 16 << 20
