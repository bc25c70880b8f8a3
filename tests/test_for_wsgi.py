"""The WSGI edge: PEP 3333 to the letter, with middleware in between; bad apps and bad middleware; real servers."""

import contextvars
import gc
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import formation
from formation import ambient, reply, req, res
from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.http import Request, Response
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, REQ_ID, RES_HTTP, TEMPLATE, TRACE
from formation.middleware import request_id, retry
from formation.server.wsgi import request as wsgi_request
from tests.server.edges import Sent, environ_of

PLAIN = [("Content-Type", "text/plain")]


class Served:
    """What a server makes of an app: it goes by the letter of PEP 3333, and can be stopped at any point."""

    def __init__(self, app, environ=None):
        self.environ = environ_of(Sent()) if environ is None else environ
        self.app = app
        self.heads = []
        self.sent = []
        self.result = None
        self.closed = 0

    def start_response(self, status, headers, exc_info=None):
        if exc_info and self.sent:
            raise exc_info[1]
        if self.heads and not exc_info:
            raise AssertionError("a second head without exc_info")
        self.heads.append((status, headers, exc_info))
        return self.sent.append

    def call(self):
        self.result = self.app(self.environ, self.start_response)
        return self

    def run(self):
        """Call, iterate, close."""
        self.call()
        try:
            for chunk in self.result:
                self.send(chunk)
        finally:
            self.close()
        return self

    def send(self, chunk):
        if chunk:
            assert self.heads, "a body before the head"
            self.sent.append(chunk)

    def close(self):
        if hasattr(self.result, "close"):
            self.result.close()

    @property
    def status(self):
        return self.heads[-1][0]

    @property
    def headers(self):
        return self.heads[-1][1]

    @property
    def body(self):
        return b"".join(self.sent)


class Chunks:
    """An iterable of an app that notes what is done to it."""

    def __init__(self, *chunks, start=None, log=None):
        self.chunks = list(chunks)
        self.start = start
        self.log = [] if log is None else log

    def __iter__(self):
        self.log.append("iter")
        return Iteration(self)

    def close(self):
        self.log.append("close")


class Iteration:
    """Its iterator is another object, which has no close()."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __iter__(self):
        return self

    def __next__(self):
        if self.chunks.start is not None:
            self.chunks.start()
            self.chunks.start = None
        self.chunks.log.append("next")
        if not self.chunks.chunks:
            raise StopIteration
        chunk = self.chunks.chunks.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk


def answering(chunks, status="200 OK", headers=PLAIN):
    """An app that answers."""

    def app(environ, start_response):
        start_response(status, list(headers))
        return chunks

    return app


def late(*chunks, headers=PLAIN):
    """An app that calls start_response when it is asked for its first chunk; and its iterable."""
    made = Chunks(*chunks)

    def app(environ, start_response):
        made.start = lambda: start_response("201 Created", list(headers))
        return made

    return app, made


def pass_on(ctx, call):
    return call(ctx)


def look(ctx, call):
    ctx = call(ctx)
    res(ctx).headers["X-Status"] = str(res(ctx).status_code)
    return ctx


def mapped(fn, finish=None):
    def mapped(ctx, call):
        ctx = call(ctx)
        res(ctx).body.map(fn, finish)
        return ctx

    return mapped


def hooked(log):
    def hooked(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: log.append((count, error)))
        return ctx

    return hooked


def reading(ctx, call):
    ctx = call(ctx)
    assert res(ctx).content is not None
    return ctx


KINDS = {
    "nothing": pass_on,
    "the head": look,
    "a map": mapped(bytes.upper),
    "a hook": hooked([]),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def touch(request):
    """What a middleware may do: nothing, look at the head, map the body, hear of its end."""
    return request.param


def wrapped(app, *middleware, **settings):
    return FormationMiddleware(app, middleware=middleware, **settings)


# PEP 3333


def test_w01_close_is_called_once_after_all_has_been_iterated(touch):
    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks), touch)).run()
    assert served.body.lower() == b"ab"
    assert chunks.log.count("close") == 1


def test_w02_an_early_close_is_passed_on_once_and_no_more_is_pulled(touch):
    chunks = Chunks(b"a", b"b", b"c")
    served = Served(wrapped(answering(chunks), touch)).call()
    assert next(iter(served.result)).lower() == b"a"
    served.close()
    assert chunks.log == ["iter", "next", "close"]


def test_w02_a_close_before_the_first_chunk_is_passed_on_too(touch):
    chunks = Chunks(b"a")
    Served(wrapped(answering(chunks), touch)).call().close()
    assert chunks.log == ["close"]


def test_w03_an_error_while_iterating_reaches_the_server_as_it_is_and_close_follows_once(touch):
    error = LookupError("gone")
    chunks = Chunks(b"a", error)
    served = Served(wrapped(answering(chunks), touch))
    with pytest.raises(LookupError) as caught:
        served.run()
    assert (caught.value, served.body.lower(), chunks.log.count("close")) == (error, b"a", 1)


def test_w04_close_is_that_of_the_iterable_not_of_its_iterator(touch):
    chunks = Chunks()
    assert not hasattr(iter(chunks), "close")
    Served(wrapped(answering(chunks), touch)).run()
    assert chunks.log[-1] == "close"


@pytest.mark.parametrize("yielded", [[b"a"], []], ids=["a chunk", "nothing"])
def test_w05_an_app_may_start_when_it_is_asked_for_its_first_chunk(touch, yielded):
    app, chunks = late(*yielded)
    served = Served(wrapped(app, touch)).run()
    assert (served.status, served.body.lower()) == ("201 Created", b"".join(yielded))
    assert chunks.log.count("close") == 1


def test_w06_an_app_may_be_a_class_whose_instance_is_the_iterable(touch):
    class App:
        def __init__(self, environ, start_response):
            self.start = start_response

        def __iter__(self):
            self.start("200 OK", list(PLAIN))
            yield b"a"

    assert Served(wrapped(App, touch)).run().body.lower() == b"a"


def test_w08_a_head_with_exc_info_replaces_the_first_one_and_reaches_the_server():
    def app(environ, start_response):
        start_response("200 OK", [("X-A", "1")])
        try:
            fail()
        except LookupError:
            start_response("500 Oops", [("X-B", "2")], sys.exc_info())
        return [b"a"]

    served = Served(wrapped(app, look)).run()
    (status, headers, exc_info), *more = served.heads
    assert (status, headers, exc_info[0], more) == ("500 Oops", [("X-B", "2"), ("X-Status", "500")], LookupError, [])


def fail():
    raise LookupError("gone")


def failing_late(environ, start_response):
    start_response("200 OK", list(PLAIN))
    try:
        yield b"a"
        fail()
    except LookupError:
        start_response("500 Oops", list(PLAIN), sys.exc_info())
        yield b"sorry"


def test_w09_a_head_with_exc_info_after_output_raises_in_the_app_what_the_server_raises(touch):
    served = Served(wrapped(failing_late, touch))
    with pytest.raises(LookupError, match="gone"):
        served.run()
    assert served.body.lower() == b"a"


def test_w09_is_so_for_an_app_whose_body_a_generator_pulls_as_well():
    served = Served(wrapped(failing_late, lambda ctx, call: pulled(call(ctx))))
    with pytest.raises(LookupError, match="gone"):
        served.run()
    assert served.body == b"A"


def test_w09_a_late_head_before_output_is_the_apps_own_answer_and_maps_are_not_for_it():
    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        yield b""
        try:
            fail()
        except LookupError:
            start_response("500 Oops", list(PLAIN), sys.exc_info())
        yield b"sorry"

    log = []
    served = Served(wrapped(app, hooked(log), mapped(bytes.upper, lambda: b"!"))).run()
    assert (served.status, served.body, len(log)) == ("500 Oops", b"sorry", 1)


@pytest.mark.parametrize("is_late", [False, True])
def test_w10_nothing_is_read_ahead(touch, is_late):
    app, chunks = late(b"a", b"b", b"c") if is_late else (None, Chunks(b"a", b"b", b"c"))
    served = Served(wrapped(app or answering(chunks), touch)).call()
    looked = is_late and touch in {KINDS["the head"], KINDS["a map"]}
    assert chunks.log.count("next") == (1 if looked else 0)
    for number, chunk in enumerate(iter(served.result), 1):
        assert (chunk.lower(), chunks.log.count("next")) == (b"abc"[number - 1 : number], number)
    served.close()


def test_w11_middleware_runs_around_the_app_and_before_the_items():
    log = []

    def noting(name):
        def noting(ctx, call):
            log.append(f"{name} in")
            try:
                return call(ctx)
            finally:
                log.append(f"{name} out")

        return noting

    def app(environ, start_response):
        log.append("app")
        start_response("200 OK", list(PLAIN))
        return (log.append("item") or b"a" for _ in range(1))

    Served(wrapped(app, noting("outer"), noting("inner"))).run()
    assert log == ["outer in", "inner in", "app", "inner out", "outer out", "item"]


@pytest.mark.parametrize("chunks", [[], [b""], (), iter(()), [b"", b"a", b""]], ids=repr)
def test_w12_empty_answers_and_empty_chunks_pass_with_their_headers(chunks):
    served = Served(wrapped(answering(chunks), look)).run()
    assert (served.status, served.headers) == ("200 OK", [*PLAIN, ("X-Status", "200")])


def test_w12_an_empty_chunk_that_comes_with_the_head_of_a_lazy_app_passes():
    app, _ = late(b"", b"a")
    assert list(Served(wrapped(app, look)).call().result) == [b"", b"a"]


def test_w13_a_file_wrapper_that_nobody_touches_is_returned_as_it_is():
    file = FileWrapper(io.BytesIO(b"abc"))
    environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper}
    assert Served(wrapped(answering(file), look, request_id()), environ).call().result is file


class Counted(io.BytesIO):
    """A file that is closed, as often as it says."""

    closings = 0

    def close(self):
        self.closings += 1
        super().close()


def sending(file, said=(("Content-Length", "9"),)):
    """Wrap an app that answers with a file, and somebody who waits for its end; the server is `Served`."""
    ended = []
    environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper}
    app = answering(FileWrapper(file, 3), headers=[*PLAIN, *said])
    return Served(wrapped(app, hooked(ended)), environ), ended


def test_w13_a_file_wrapper_stays_what_it_is_where_somebody_waits_for_its_end():
    served, ended = sending(file := Counted(b"abcdefghi"))
    assert type(served.call().result) is FileWrapper
    served.close()  # a server that has sent it past Python
    served.close()
    assert (ended, file.closings) == ([(9, None)], 1)


def test_w13_a_file_wrapper_that_a_server_reads_tells_how_far_it_has_come():
    served, ended = sending(Counted(b"abcdefghi"))
    next(iter(served.call().result))
    served.close()
    assert [(count, type(error)) for count, error in ended] == [(3, BodyAbandoned)]
    served, ended = sending(Counted(b"abcdefghi"))
    assert (served.run().body, ended) == (b"abcdefghi", [(9, None)])


class NoTell(io.BytesIO):
    def tell(self):
        raise io.UnsupportedOperation


NOT_TOLD = [(NoTell(b"abcdefghi"), [("Content-Length", "9")]), (io.BytesIO(b"abc"), [])]


@pytest.mark.parametrize(("file", "said"), NOT_TOLD, ids=["no position", "no length"])
def test_w13_a_file_wrapper_of_which_nobody_could_tell_the_bytes_is_counted_on_its_way(file, said):
    served, ended = sending(file, said)
    assert type(served.call().result) is not FileWrapper
    body = b"".join(served.result)
    served.close()
    assert ended == [(len(body), None)]


@pytest.mark.parametrize("chunks", [[b"a"], (b"a",), iter([b"a"])], ids=["list", "tuple", "iterator"])
def test_w13_what_nobody_touches_is_returned_as_it_is(chunks):
    assert Served(wrapped(answering(chunks), look)).call().result is chunks


def test_w14_environ_is_the_same_dict_and_the_input_is_not_read():
    found = []

    def app(environ, start_response):
        environ["app.wrote"] = 1
        found.append(environ)
        return answering([b""])(environ, start_response)

    environ = environ_of(Sent(body=b"abc"))
    before = dict(environ)
    Served(wrapped(app, look, pass_on), environ).run()
    assert found[0] is environ
    assert type(environ) is dict
    assert environ == before | {"app.wrote": 1}
    assert environ["wsgi.input"].tell() == 0


def test_w15_headers_keep_their_order_case_and_duplicates_and_the_status_its_phrase():
    lines = [
        ("content-TYPE", "text/plain"),
        ("Set-Cookie", "a=1"),
        ("X-Z", "1"),
        ("set-cookie", "b=2"),
        ("X-A", "\xe4"),
    ]
    served = Served(wrapped(answering([b""], "200 Fine", lines), look)).run()
    assert (served.status, served.headers) == ("200 Fine", [*lines, ("X-Status", "200")])
    assert {type(each) for line in served.headers for each in line} == {str}


def test_w15_the_very_list_of_the_app_goes_out_where_nobody_changes_a_header():
    def reads(ctx, call):
        ctx = call(ctx)
        assert res(ctx).headers["content-type"] == "text/plain"
        return ctx

    lines = list(PLAIN)

    def app(environ, start_response):
        start_response("200 OK", lines)
        return []

    assert Served(wrapped(app, reads)).run().headers is lines


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")]
)
def test_w16_head_and_304_keep_their_content_length_and_have_no_body(method, status, touch):
    headers = [("Content-Length", "5"), ("ETag", '"a"')]
    environ = environ_of(Sent(method=method))
    served = Served(wrapped(answering([], status, headers), touch), environ).run()
    assert (served.headers[:2], served.body) == (headers, b"")


@pytest.mark.parametrize("error", [LookupError("gone"), KeyboardInterrupt(), SystemExit(2), GeneratorExit()])
def test_w17_an_error_of_the_app_comes_out_as_it_is(error, touch):
    def app(environ, start_response):
        raise error

    with pytest.raises(type(error)) as caught:
        Served(wrapped(app, touch)).run()
    assert caught.value is error
    assert caught.value.__context__ is None


def test_w18_the_result_may_be_iterated_and_closed_in_another_thread(touch):
    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks), touch)).call()
    found = []

    def iterate():
        found.extend(served.result)
        served.close()

    thread = threading.Thread(target=iterate)
    thread.start()
    thread.join(10)
    assert (b"".join(found).lower(), chunks.log.count("close")) == (b"ab", 1)


def test_w19_threads_do_not_mix():
    def echo(environ, start_response):
        start_response("200 OK", list(PLAIN))
        return iter([environ["PATH_INFO"].encode(), environ["HTTP_X_NUMBER"].encode()])

    def numbered(ctx, call):
        number = req(ctx).path[1:]
        req(ctx).headers["X-Number"] = number
        ctx = call(ctx)
        res(ctx).headers["X-Number"] = number
        return ctx

    built = wrapped(echo, numbered, mapped(bytes.upper))

    def ask(number):
        served = Served(built, environ_of(Sent(path=f"/{number}"))).run()
        return served.body == f"/{number}{number}".encode() and dict(served.headers)["X-Number"] == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8 * 150)))


def test_w20_context_variables_pass_both_ways(touch):
    outer, inner = contextvars.ContextVar("outer"), contextvars.ContextVar("inner")
    found = []

    def app(environ, start_response):
        found.append(outer.get())
        inner.set("app")
        start_response("200 OK", list(PLAIN))
        return (found.append(outer.get()) or b"a" for _ in range(1))

    def run():
        outer.set("server")
        Served(wrapped(app, touch)).run()
        return inner.get()

    assert contextvars.Context().run(run) == "app"
    assert found == ["server", "server"]


ANSWERS = {
    "a list": lambda: answering([b"a", b"b"]),
    "a generator": lambda: answering(chunk for chunk in (b"a", b"b")),
    "late": lambda: late(b"a", b"b")[0],
    "empty": lambda: answering([]),
    "no content": lambda: answering([], "204 No Content", ()),
}
MIDDLEWARES = {
    **KINDS,
    "reading": reading,
    "replacing": lambda ctx, call: reply(call(ctx), 200, PLAIN, b"new"),
    "pulling": lambda ctx, call: pulled(call(ctx)),
    "answering": lambda ctx, call: reply(ctx, 404, PLAIN, b"no"),
    "tagging": request_id(),
}


def pulled(ctx):
    old = res(ctx).body
    res(ctx).body = (chunk.upper() for chunk in old)
    return ctx


@pytest.mark.parametrize("middleware", MIDDLEWARES.values(), ids=MIDDLEWARES)
@pytest.mark.parametrize("app", ANSWERS.values(), ids=ANSWERS)
def test_w21_wsgiref_validate_is_silent_on_both_sides(app, middleware):
    environ = environ_of(Sent(query="a=1", headers={"X-A": "1"}))
    outside = validator(wrapped(validator(app()), middleware))
    heads = []
    result = outside(environ, lambda *head: heads.append(head) or (lambda data: None))
    try:
        for _ in result:
            pass
    finally:
        result.close()
    assert len(heads) == 1


def test_w21_wsgiref_validate_is_silent_about_a_post_that_a_middleware_reads():
    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", list(PLAIN))
        return [body]

    def reads(ctx, call):
        assert req(ctx).content == b"abc"
        req(ctx).headers["X-New"] = "1"
        return call(ctx)

    environ = environ_of(Sent(method="POST", body=b"abc", headers={"Content-Type": "text/plain"}))
    result = validator(wrapped(validator(app), reads))(environ, lambda *head: lambda data: None)
    assert list(result) == [b"abc"]
    result.close()


@pytest.mark.parametrize("middleware", MIDDLEWARES.values(), ids=MIDDLEWARES)
@pytest.mark.parametrize("app", ANSWERS.values(), ids=ANSWERS)
def test_w22_what_is_over_is_freed_without_the_garbage_collector(app, middleware):
    freed = []

    class Marked(dict):
        pass

    def marks(ctx, call):
        ctx["marked"] = marked = Marked()
        weakref.finalize(marked, freed.append, 1)
        return call(ctx)

    built = wrapped(app(), marks, middleware)
    gc.collect()
    gc.disable()
    try:
        Served(built).run()
        assert (freed, gc.collect()) == ([1], 0)
    finally:
        gc.enable()


def test_w23_a_list_of_one_chunk_keeps_its_length():
    assert len(Served(wrapped(answering([b"a"]), look)).call().result) == 1


# What middleware may do


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


def writing(environ, start_response):
    write = start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
    write(b"ab")
    write(b"cd")
    return iter([b"ef"])


def known(app, *middleware):
    """An edge that has seen the app write."""
    built = wrapped(app, *middleware)
    assert Served(built).run().body.lower() == b"abcdef"
    return built


def watching(watch, made=None):
    """An app that writes, and looks at what the server has got."""

    def app(environ, start_response):
        write = start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
        write(b"ab")
        watch()
        write(b"cd")
        watch()
        return made or iter([b"ef"])

    return app


def test_w07_what_an_app_writes_precedes_what_it_yields(touch):
    assert Served(wrapped(writing, touch)).run().body.lower() == b"abcdef"


def test_w07_what_an_app_writes_is_at_the_server_before_write_returns_once_it_is_known_to_write(touch):
    seen = []
    served = Served(None)
    served.app = known(watching(lambda: seen.append((served.body.lower(), len(served.heads)))), touch)
    seen.clear()
    assert served.run().body.lower() == b"abcdef"
    assert seen == [(b"ab", 1), (b"abcd", 1)]


def test_w07_an_app_that_fails_after_it_has_written_fails_at_the_server():
    def app(environ, start_response):
        write = start_response("200 OK", list(PLAIN))
        write(b"ab")
        if "fails" in environ:
            fail()
        return [b"cdef"]

    log = []
    served = Served(known(app, hooked(log)), environ_of(Sent()) | {"fails": 1})
    with pytest.raises(LookupError, match="gone"):
        served.run()
    assert (served.body, log[0], log[1][0], type(log[1][1])) == (b"ab", (6, None), 2, LookupError)


def test_w09_an_app_that_has_written_cannot_begin_anew():
    def app(environ, start_response):
        write = start_response("200 OK", list(PLAIN))
        write(b"ab")
        try:
            if "fails" in environ:
                fail()
        except LookupError:
            start_response("500 Oops", list(PLAIN), sys.exc_info())
        return [b"cdef"]

    served = Served(known(app, look), environ_of(Sent()) | {"fails": 1})
    with pytest.raises(LookupError, match="gone"):
        served.run()
    assert (served.status, served.body) == ("200 OK", b"ab")


def test_wm3_a_map_sees_what_is_written_and_what_is_yielded_in_order():
    seen = []
    built = wrapped(writing, mapped(lambda chunk: seen.append(chunk) or chunk.upper(), lambda: b"!"))
    for _ in range(2):
        assert Served(built).run().body == b"ABCDEF!"
    assert seen == [b"ab", b"cd", b"ef"] * 2


def test_wm3_what_is_written_through_a_map_is_sent_before_write_returns():
    seen = []
    served = Served(None)
    served.app = known(watching(lambda: seen.append(served.body)), mapped(bytes.upper))
    seen.clear()
    assert (served.run().body, seen) == (b"ABCDEF", [b"AB", b"ABCD"])


@pytest.mark.parametrize("middleware", [pass_on, mapped(bytes.upper)], ids=["nothing", "a map"])
def test_what_is_written_while_the_server_iterates_is_sent_as_well(middleware):
    def app(environ, start_response):
        write = start_response("200 OK", list(PLAIN))

        def late():
            write(b"ab")
            yield b"cd"

        return late()

    assert Served(wrapped(app, middleware)).run().body.lower() == b"abcd"


def test_wm3_who_reads_the_content_reads_what_was_written_too():
    def reads(ctx, call):
        ctx = call(ctx)
        assert res(ctx).content == b"abcdef"
        return ctx

    built = known(writing, reads)
    assert Served(built).run().body == b"abcdef"


def test_wm3_a_generator_over_what_was_written_may_run_in_another_thread():
    built = known(writing, lambda ctx, call: pulled(call(ctx)))
    served = Served(built).call()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(b"".join, served.result).result() == b"ABCDEF"
        pool.submit(served.close).result()


def test_wm4_an_app_that_writes_to_nobody_is_told_by_an_oserror_and_closed():
    def replaces(ctx, call):
        ctx = call(ctx)
        return reply(ctx, 404, PLAIN, b"no") if "fails" in ctx[NATIVE]["environ"] else ctx

    def app(environ, start_response):
        write = start_response("200 OK", list(PLAIN))
        try:
            write(b"ab")
        except OSError as error:
            log.append(error)
            write(b"more")
        return made

    log, made = [], Chunks(b"cdef")
    served = Served(known(app, replaces), environ_of(Sent()) | {"fails": 1}).run()
    assert (served.status, served.body, len(log)) == ("404 Not Found", b"no", 1)
    assert made.log.count("close") == 2


def test_what_is_published_is_there_for_an_app_that_writes():
    found = []
    built = known(watching(lambda: found.append(ambient.current.get())), publishing)
    found.clear()
    Served(built).run()
    assert [each.request_id for each in found] == ["7f3a"] * 2
    assert ambient.current.get() is None


def test_wm4_who_answers_without_calling_on_needs_no_app():
    called = []
    app = wrapped(called.append, lambda ctx, call: reply(ctx, 401, {"WWW-Authenticate": "Bearer"}, b"who?"))
    served = Served(app).run()
    assert (served.heads[0][0], served.headers, served.body, called) == (
        "401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "4")], b"who?", []
    )  # fmt: skip


@pytest.mark.parametrize(
    "replaces",
    [
        lambda ctx: reply(ctx, 404, PLAIN, b"no"),
        lambda ctx: ctx | {RES_HTTP: Response(404, PLAIN, b"no")},
        lambda ctx: ctx | {RES_HTTP: Response(404, PLAIN, iter([b"n", b"o"]))},
    ],
    ids=["reply", "another response", "a stream"],
)
def test_wm4_an_answer_that_is_replaced_is_closed_unread(replaces):
    chunks = Chunks(b"a")
    served = Served(wrapped(answering(chunks), lambda ctx, call: replaces(call(ctx)))).run()
    assert (served.status, served.body, chunks.log) == ("404 Not Found", b"no", ["close"])


def test_wm4_a_new_response_may_stream_from_the_old_one():
    chunks = Chunks(b"a", b"b")

    def wraps(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP] = Response(200, PLAIN, (chunk.upper() for chunk in res(ctx).body))
        return ctx

    served = Served(wrapped(answering(chunks), wraps)).call()
    assert chunks.log == []
    assert (list(served.result), chunks.log.count("close")) == ([b"A", b"B"], 1)
    served.close()
    assert chunks.log.count("close") == 1


def test_wm5_an_error_after_call_closes_the_apps_answer_first_and_tells_its_hooks():
    chunks, log = Chunks(b"a"), []
    error = LookupError("mine")

    def fails(ctx, call):
        call(ctx)
        raise error

    served = Served(wrapped(answering(chunks), fails, hooked(log)))
    with pytest.raises(LookupError) as caught:
        served.call()
    assert (caught.value, chunks.log, served.heads, log) == (error, ["close"], [], [(0, error)])


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Keep-Alive", "TE", "Upgrade", "Trailer"])
def test_wm6_a_header_about_the_connection_is_refused(name):
    chunks = Chunks(b"a")

    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).headers[name] = "x"
        return ctx

    with pytest.raises(ValueError, match=r"'[A-Za-z-]+', which is about the connection"):
        Served(wrapped(answering(chunks), sets)).call()
    assert chunks.log == ["close"]
    with pytest.raises(ValueError, match="about the connection"):
        Served(wrapped(answering([]), lambda ctx, call: reply(ctx, 200, {name: "x"}))).call()


def test_wm6_what_the_app_says_about_the_connection_is_its_own_business():
    lines = [("connection", "close"), ("Keep-Alive", "timeout=5")]
    assert Served(wrapped(answering([], headers=lines), look)).run().headers == [*lines, ("X-Status", "200")]


@pytest.mark.parametrize(("status", "line"), [(404, "404 Not Found"), (299, "299 "), (503, "503 Service Unavailable")])
def test_wm7_a_status_gets_its_phrase(status, line):
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = status
        return ctx

    assert Served(wrapped(answering([b"a"]), sets)).run().status == line


def test_wm7_a_phrase_of_ones_own_goes_out():
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).reason = "Fine"
        return ctx

    assert Served(wrapped(answering([b"a"]), sets)).run().status == "200 Fine"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0", "\u20ac"], ids=repr)
def test_wm7_what_would_break_the_message_is_refused(value):
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["X-A"] = value
        return ctx

    chunks = Chunks(b"a")
    with pytest.raises(ValueError, match="X-A"):
        Served(wrapped(answering(chunks), sets)).call()
    assert chunks.log == ["close"]


def test_wm7_a_bodiless_status_that_a_middleware_sets_has_no_body():
    chunks = Chunks(b"a")

    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = 304
        return ctx

    served = Served(wrapped(answering(chunks), sets)).run()
    assert (served.status, served.body, chunks.log) == ("304 Not Modified", b"", ["close"])


def taking(found):
    """An app that keeps what it is given."""

    def app(environ, start_response):
        found.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        return answering([b"ok"])(environ, start_response)

    return app


def test_wm8_a_body_that_a_middleware_has_read_is_there_for_the_app_and_can_seek():
    def reads(ctx, call):
        assert (req(ctx).content, req(ctx).text, req(ctx).json) == (b"[1]", "[1]", [1])
        return call(ctx)

    found = []

    def app(environ, start_response):
        file = environ["wsgi.input"]
        found.extend([file.read(1), file.seek(0), file.readline(), environ["CONTENT_LENGTH"]])
        return answering([b"ok"])(environ, start_response)

    assert Served(wrapped(app, reads), environ_of(Sent(method="POST", body=b"[1]"))).run().body == b"ok"
    assert found == [b"[", 0, b"[1]", "3"]


def test_wm8_a_body_over_the_limit_is_a_413():
    found = []

    def reads(ctx, call):
        assert req(ctx).content
        return call(ctx)

    built = wrapped(taking(found), reads, max_body=3)
    served = Served(built, environ_of(Sent(method="POST", body=b"1234"))).run()
    assert (served.status[:3], served.body, found) == ("413", b"Content Too Large", [])
    assert Served(built, environ_of(Sent(method="POST", body=b"123"))).run().body == b"ok"
    assert found == [b"123"]


def test_wm8_a_body_that_nobody_reads_has_no_limit():
    found = []
    Served(wrapped(taking(found), pass_on, max_body=3), environ_of(Sent(method="POST", body=b"1234"))).run()
    assert found == [b"1234"]


def test_wm8_only_the_body_of_this_request_makes_a_413():
    def fails(ctx, call):
        raise BodyTooLarge(limit=1, got=2)

    with pytest.raises(BodyTooLarge):
        Served(wrapped(answering([]), fails)).call()
    with pytest.raises(BodyTooLarge, match="3 bytes allowed"):
        Served(wrapped(answering([b"1234"]), reading, max_body=3)).call()


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 2),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 1),
        ({"CONTENT_LENGTH": "1"}, 1),
        ({"SERVER_PROTOCOL": "HTTP/2"}, 1),
    ],
)
def test_a_second_call_needs_no_body_where_there_is_none_though_the_server_would_end_one(more, calls):
    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    found = []
    environ = environ_of(Sent()) | {"wsgi.input_terminated": True} | more
    with suppress(BodyConsumed):
        Served(wrapped(taking(found), twice), environ).run()
    assert len(found) == calls


def test_wm8_a_length_that_is_no_number_is_no_body():
    def reads(ctx, call):
        assert req(ctx).content == b""
        return call(ctx)

    found = []
    served = Served(wrapped(taking(found), reads), environ_of(Sent(method="POST")) | {"CONTENT_LENGTH": "x"}).run()
    assert (served.body, found) == (b"ok", [b""])


@pytest.mark.parametrize(("terminated", "seen"), [(True, b"abc"), (False, b"")])
def test_wm8_a_body_without_a_length_is_read_only_where_the_server_ends_it(terminated, seen):
    environ = environ_of(Sent(method="POST"))
    environ |= {"wsgi.input": io.BytesIO(b"abc"), "HTTP_TRANSFER_ENCODING": "chunked"}
    if terminated:
        environ["wsgi.input_terminated"] = True
    found = []

    def reads(ctx, call):
        found.append(req(ctx).content)
        return call(ctx)

    Served(wrapped(taking(found), reads), environ).run()
    assert found == [seen, seen]


def test_wm8_a_client_that_goes_in_the_middle_of_its_body_is_an_oserror():
    environ = environ_of(Sent(method="POST", body=b"abc")) | {"wsgi.input": io.BytesIO(b"a")}

    def reads(ctx, call):
        assert req(ctx).content
        return call(ctx)

    with pytest.raises(OSError, match="expected 3 bytes of the request's body, got 1: the client is gone"):
        Served(wrapped(answering([]), reads), environ).call()


@pytest.mark.parametrize("digits", [25, 5000])
def test_wm8_a_length_of_more_digits_than_anybody_counts_is_that_of_a_body_that_is_cut_off(digits):
    environ = environ_of(Sent(method="POST", body=b"abc")) | {"CONTENT_LENGTH": "9" * digits}

    def reads(ctx, call):
        assert req(ctx).content
        return call(ctx)

    with pytest.raises(OSError, match="bytes of the request's body, got 3: the client is gone"):
        Served(wrapped(answering([]), reads), environ).call()


def test_wm8_a_body_that_is_mapped_or_replaced_reaches_the_app_with_its_length():
    def changes(ctx, call):
        req(ctx).body.map(lambda chunk: chunk * 2)
        return call(ctx)

    def replaces(ctx, call):
        req(ctx).json = {"a": 1}
        return call(ctx)

    found = []
    Served(wrapped(taking(found), changes), environ_of(Sent(method="POST", body=b"abc"))).run()
    environ = environ_of(Sent(method="POST", body=b"abc"))
    Served(wrapped(taking(found), replaces), environ).run()
    assert found == [b"abcabc", b'{"a":1}']
    assert environ["CONTENT_TYPE"] == "application/json"


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_wm9_a_hook_hears_of_the_end_once_with_the_bytes(kind):
    log = []
    chunks = [b"ab", b"c"]
    served = Served(wrapped(answering(chunks if kind == "list" else iter(chunks)), hooked(log))).call()
    assert log == []
    assert b"".join(served.result) == b"abc"
    served.close()
    served.close()
    assert log == [(3, None)]


def test_wm9_a_hook_hears_of_a_client_that_goes_and_of_an_error():
    log = []
    served = Served(wrapped(answering(iter([b"ab", b"c"])), hooked(log))).call()
    next(served.result)
    served.close()
    error = LookupError("gone")
    with pytest.raises(LookupError):
        Served(wrapped(answering(Chunks(b"ab", error)), hooked(log))).run()
    ((count, abandoned), failed) = log
    assert (count, type(abandoned), failed) == (2, BodyAbandoned, (2, error))


def test_wm9_a_hook_hears_of_the_end_where_the_server_stops_at_the_last_byte():
    def tailed(ctx, call):
        ctx = call(ctx)
        res(ctx).body.map(bytes.upper, lambda: b"!")
        return ctx

    log = []
    served = Served(wrapped(answering(iter([b"ab"])), hooked(log), tailed)).call()
    assert [next(served.result), next(served.result)] == [b"AB", b"!"]  # and no more: it has counted
    served.close()
    assert [error for _, error in log] == [None]


def test_wm9_a_hook_hears_of_what_a_middleware_answers_too():
    log = []
    served = Served(wrapped(answering([]), hooked(log), lambda ctx, call: reply(ctx, 200, PLAIN, b"abc"))).call()
    assert log == []
    assert list(served.result) == [b"abc"]
    served.close()
    assert log == [(3, None)]


@pytest.mark.parametrize("body", [b"abc", iter([b"abc"])], ids=["bytes", "a stream"])
def test_an_answer_to_head_has_no_body_and_that_is_no_error(body):
    log = []
    answers = wrapped(answering([]), hooked(log), lambda ctx, call: reply(ctx, 200, {"Content-Length": "3"}, body))
    served = Served(answers, environ_of(Sent(method="HEAD"))).run()
    assert (served.headers, served.body, log) == ([("Content-Length", "3")], b"", [(0, None)])


def test_the_content_can_be_read_and_replaced():
    def changes(ctx, call):
        ctx = call(ctx)
        res(ctx).body = res(ctx).content + b"!"
        return ctx

    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks, headers=[("Content-Length", "2")]), changes)).run()
    assert (served.body, served.headers, chunks.log.count("close")) == (b"ab!", [("Content-Length", "3")], 1)


def test_a_body_is_replaced_by_a_generator_over_it_in_lock_step():
    chunks = Chunks(b"a", b"b", b"c")

    def doubles(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body
        res(ctx).body = (chunk * 2 for chunk in old)
        return ctx

    served = Served(wrapped(answering(chunks), doubles, mapped(bytes.upper))).call()
    found = []
    for number, chunk in enumerate(served.result, 1):
        found.append(chunk)
        assert chunks.log.count("next") == number
    served.close()
    assert (found, chunks.log.count("close")) == ([b"AA", b"BB", b"CC"], 1)


def test_a_generator_over_the_body_that_is_closed_early_closes_the_app():
    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks), lambda ctx, call: pulled(call(ctx)))).call()
    assert next(served.result) == b"A"
    served.close()
    assert chunks.log == ["iter", "next", "close"]


def test_a_body_that_has_been_iterated_already_is_refused():
    def iterates(ctx, call):
        ctx = call(ctx)
        next(iter(res(ctx).body))
        return ctx

    chunks = Chunks(b"a", b"b")
    with pytest.raises(BodyConsumed):
        Served(wrapped(answering(chunks), iterates)).call()
    assert chunks.log[-1] == "close"


# The request


def changing(change):
    def changing(ctx, call):
        change(req(ctx))
        return call(ctx)

    return changing


def changed(change, **sent):
    """What a change in the request makes of the environ."""
    environ = environ_of(Sent(path="/a b", query="x=1&y=2", headers={"X-A": "1", "Cookie": "k=v"}, **sent))
    environ |= {"SCRIPT_NAME": "/app", "RAW_URI": "/app/a%20b?x=1&y=2"}
    before = dict(environ)
    Served(wrapped(answering([]), changing(change)), environ).run()
    return {key: environ.get(key) for key in {*environ, *before} if environ.get(key) != before.get(key)}


CHANGES = {
    "method": (lambda request: setattr(request, "method", "put"), {"REQUEST_METHOD": "PUT"}),
    "header": (lambda request: request.headers.add("X-B", "2"), {"HTTP_X_B": "2"}),
    "lines": (lambda request: request.headers.add("X-A", "2"), {"HTTP_X_A": "1, 2"}),
    "gone": (lambda request: request.headers.pop("X-A"), {"HTTP_X_A": None}),
    "type": (lambda request: request.headers.set("Content-Type", "a/b"), {"CONTENT_TYPE": "a/b"}),
    "query": (
        lambda request: request.params.update({"y": "3"}),
        {"QUERY_STRING": "x=1&y=3", "RAW_URI": "/app/a%20b?x=1&y=3"},
    ),
    "path": (
        lambda request: setattr(request, "url", "http://testserver/app/%C3%A4"),
        {"PATH_INFO": "/\xc3\xa4", "QUERY_STRING": "", "RAW_URI": "/app/%C3%A4"},
    ),
    "elsewhere": (
        lambda request: setattr(request, "url", "https://other:8/b?c"),
        {
            "SCRIPT_NAME": "", "PATH_INFO": "/b", "QUERY_STRING": "c", "HTTP_HOST": "other:8",
            "wsgi.url_scheme": "https", "RAW_URI": "/b?c",
        },
    ),
    "cookies": (lambda request: request.cookies.update(k="w"), {}),
    "looks": (lambda request: (request.url, request.params, request.headers, request.cookies, request.body), {}),
}  # fmt: skip


@pytest.mark.parametrize(("change", "written"), CHANGES.values(), ids=CHANGES)
def test_what_is_changed_in_the_request_is_written_into_the_environ_and_nothing_else(change, written):
    assert changed(change) == written


def test_a_body_that_somebody_looks_at_and_does_not_read_is_that_of_the_server():
    assert changed(lambda request: (request.body, request.fork().body), method="POST", body=b"abc") == {}


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "http://testserver/"),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/a b;c/\xc3\xa4", "QUERY_STRING": "q=%20"},
         "http://testserver/app/a%20b;c/%C3%A4?q=%20"),
        ({"HTTP_HOST": "h:81", "wsgi.url_scheme": "https"}, "https://h:81/"),
        ({"HTTP_HOST": "", "SERVER_PORT": "8000"}, "http://testserver:8000/"),
        ({"HTTP_HOST": "", "SERVER_PORT": "443", "wsgi.url_scheme": "https"}, "https://testserver/"),
        ({"PATH_INFO": ""}, "http://testserver/"),
        ({"PATH_INFO": "*"}, "http://testserver/*"),  # OPTIONS *
        ({"PATH_INFO": "@h/a"}, "http://testserver/@h/a"),
        ({"PATH_INFO": "/a#", "QUERY_STRING": "b#c"}, "http://testserver/a%23?b%23c"),  # nobody sends a fragment
    ],
)  # fmt: skip
def test_the_url_is_put_together_as_pep_3333_has_it(more, url):
    found = []
    Served(wrapped(answering([]), changing(lambda request: found.append(request.url))), environ_of(Sent()) | more).run()
    assert found == [url]


def test_headers_are_those_of_the_environ_and_no_empty_ones_that_servers_make_up():
    found = []
    environ = environ_of(Sent(headers={"X-A": "1", "Content-Type": "", "Content-Length": ""}))
    environ["HTTP_CONTENT_LENGTH"] = "7"  # what a client calls Content_Length
    Served(wrapped(answering([]), changing(lambda request: found.append(dict(request.headers)))), environ).run()
    assert found == [{"Host": "testserver", "X-A": "1"}]


def test_names_of_headers_that_clients_make_up_are_not_remembered_for_ever():
    def reads(request):
        assert request.headers["X-Made-Up"] == "1"

    for number in range(3):
        headers = {f"X-{number}-{each}": "1" for each in range(1000)}
        environ = environ_of(Sent(headers={"X-Made-Up": "1", **headers}))
        served = Served(wrapped(answering([]), changing(reads), look), environ).run()
        assert dict(served.headers)["X-Status"] == "200"
    assert len(wsgi_request._names) <= wsgi_request.MANY


# Twice


def flaky(log, fails=1):
    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        log.append((environ.get("HTTP_X_ATTEMPT"), body))
        made = Chunks(b"answer %d" % len(log), log=[])
        app.answers.append(made)
        start_response("503 Later" if len(log) <= fails else "200 OK", list(PLAIN))
        return made

    app.answers = []
    return app


def test_a_retry_calls_the_app_again_and_the_first_answer_is_closed():
    log = []
    app = flaky(log)
    served = Served(wrapped(app, retry(3, base=0))).run()
    assert (served.status, served.body, len(log)) == ("200 OK", b"answer 2", 2)
    assert [each.log.count("close") for each in app.answers] == [1, 1]


def test_who_calls_twice_gets_two_answers_and_sends_one():
    def twice(ctx, call):
        forks = []
        for number in "12":
            fork = dict(ctx, **{REQ_HTTP: req(ctx).fork()})
            req(fork).headers["X-Attempt"] = number
            assert req(fork).content == b"abc"
            forks.append(call(fork))
        return forks[0]

    log = []
    app = flaky(log, 0)
    served = Served(wrapped(app, twice), environ_of(Sent(method="POST", body=b"abc")))
    req_of = changing(lambda request: request.content)
    served.app = wrapped(app, req_of, twice)
    served.run()
    assert (served.body, log) == (b"answer 1", [("1", b"abc"), ("2", b"abc")])
    assert [each.log.count("close") for each in app.answers] == [1, 1]


def test_what_one_attempt_writes_into_the_environ_the_next_does_not_find():
    def attempts(ctx, call):
        first = dict(ctx, **{REQ_HTTP: req(ctx).fork()})
        req(first).headers["X-Attempt"] = "1"
        req(first).method = "PUT"
        req(first).url = "http://testserver/first"
        call(first)
        return call(ctx)

    found = []

    def app(environ, start_response):
        found.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_X_ATTEMPT")))
        return answering([b""])(environ, start_response)

    Served(wrapped(app, attempts)).run()
    assert found == [("PUT", "/first", "1"), ("GET", "/", None)]


def test_an_app_that_has_had_the_body_cannot_be_called_again():
    log = []
    app = flaky(log)

    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    with pytest.raises(BodyConsumed, match=r"read request\.content before"):
        Served(wrapped(app, twice), environ_of(Sent(method="POST", body=b"abc"))).call()
    assert app.answers[0].log == ["close"]


def test_another_request_may_stand_in_its_place():
    def replaces(ctx, call):
        ctx[REQ_HTTP] = Request("POST", "http://h/new?a=1", headers={"X-A": "1"}, content=b"abc")
        return call(ctx)

    found = []
    environ = environ_of(Sent())
    Served(wrapped(taking(found), replaces), environ).run()
    assert found == [b"abc"]
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_A"]) == (
        "POST", "/new", "a=1", "1"
    )  # fmt: skip


# What breaks


@pytest.mark.parametrize("returned", [None, b"abc", "abc", 7], ids=repr)
def test_an_app_that_returns_no_iterable_is_told_so(returned):
    with pytest.raises(TypeError, match=rf"expected an iterable of bytes from the WSGI app 'app', got {returned!r}"):
        Served(wrapped(answering(returned), look)).call()


def test_an_app_that_does_not_call_start_response_is_told_so():
    with pytest.raises(RuntimeError, match=r"did not call start_response\(\)"):
        Served(wrapped(lambda environ, start_response: [b"a"], pass_on)).call()
    for yielded in ([b"a"], []):
        chunks = Chunks(*yielded)
        with pytest.raises(RuntimeError, match=r"did not call start_response\(\)"):
            Served(wrapped(lambda environ, start_response, chunks=chunks: chunks, look)).call()
        assert chunks.log[-1] == "close"


def test_an_app_that_starts_twice_is_told_so():
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])

    with pytest.raises(RuntimeError, match="a second time it takes exc_info"):
        Served(wrapped(app, look)).call()


@pytest.mark.parametrize("status", [200, "OK", "", "2000 OK", b"200 OK", None], ids=repr)
def test_a_status_that_is_none_is_told_to_whoever_looks(status):
    chunks = Chunks(b"a")
    error = RuntimeError if status is None else ValueError
    with pytest.raises(error, match=r"expected a status such as '200 OK' from the WSGI app|did not call"):
        Served(wrapped(answering(chunks, status), look)).call()
    assert chunks.log[-1] == "close"


@pytest.mark.parametrize("headers", [[("a",)], [(b"a", b"b")], [("a", 1)], 7], ids=repr)
def test_headers_that_are_none_are_told_to_whoever_looks(headers):
    def app(environ, start_response):
        start_response("200 OK", headers)
        return []

    with pytest.raises(TypeError, match="expected headers from the WSGI app as a list of pairs of str"):
        Served(wrapped(app, look)).call()


def test_a_chunk_that_is_no_bytes_is_told_where_a_map_sees_it():
    chunks = Chunks("text")
    with pytest.raises(TypeError, match="expected bytes from"):
        Served(wrapped(answering(chunks), mapped(bytes.upper))).run()
    assert chunks.log.count("close") == 1


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None: did you forget 'return call"),
        ("text", "expected a context with a response in 'fmtn.res.http', got 'text'"),
        ({}, "expected a context with a response in 'fmtn.res.http', got {}"),
        ({RES_HTTP: "text"}, "expected a context with a response"),
    ],
    ids=repr,
)
def test_a_middleware_that_returns_a_wrong_thing_is_told_so(returned, said):
    chunks = Chunks(b"a")

    def wrong(ctx, call):
        call(ctx)
        return returned

    with pytest.raises(TypeError, match=said.replace("(", r"\(")):
        Served(wrapped(answering(chunks), wrong)).call()
    assert chunks.log == ["close"]


@pytest.mark.parametrize("given", [None, {}, "text"], ids=repr)
def test_a_middleware_that_calls_on_with_a_wrong_thing_is_told_so(given):
    with pytest.raises(TypeError, match=r"expected call\(ctx\) with the context that came"):
        Served(wrapped(answering([]), lambda ctx, call: call(given))).call()


def test_a_middleware_that_does_not_call_on_and_does_not_answer_is_told_so():
    with pytest.raises(TypeError, match=r"what reply\(ctx, status\) does"):
        Served(wrapped(answering([]), lambda ctx, call: ctx)).call()


def test_a_map_that_fails_after_the_start_stops_the_body():
    chunks, log = Chunks(b"a", b"b"), []

    def fails(chunk):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Served(wrapped(answering(chunks), hooked(log), mapped(fails))).run()
    assert (chunks.log.count("close"), [type(error) for _, error in log]) == (1, [LookupError])


def test_a_server_that_refuses_the_head_is_heard_and_the_app_closed():
    chunks = Chunks(b"a")

    def refuses(status, headers, exc_info=None):
        raise AssertionError("no")

    for middleware in (look, lambda ctx, call: pulled(call(ctx))):
        chunks = Chunks(b"a")
        with pytest.raises(AssertionError):
            wrapped(answering(chunks), middleware)(environ_of(Sent()), refuses)
        assert chunks.log[-1] == "close"


@pytest.mark.parametrize(
    ("app", "middleware", "error", "said"),
    [
        (None, [], TypeError, "expected a WSGI app"),
        (answering([]), look, TypeError, "expected a list of middleware"),
        (answering([]), [None], TypeError, r"middleware\[0\] is no middleware"),
    ],
)
def test_what_is_none_is_refused_when_it_is_built(app, middleware, error, said):
    with pytest.raises(error, match=said):
        FormationMiddleware(app, middleware=middleware)


def test_what_is_async_is_refused_when_it_is_built():
    async def asgi(scope, receive, send): ...

    async def later(ctx, call): ...

    with pytest.raises(TypeError, match=r"formation\.for_asgi is for it"):
        FormationMiddleware(asgi)
    with pytest.raises(TypeError, match="'later' is async and this chain is sync"):
        FormationMiddleware(answering([]), middleware=[later])


@pytest.mark.parametrize("max_body", [-1, "1", True, 1.5])
def test_a_limit_that_is_none_is_refused(max_body):
    with pytest.raises(ValueError, match="expected max_body"):
        FormationMiddleware(answering([]), max_body=max_body)


def failing(ctx, call):
    call(ctx)
    raise LookupError("mine")


def broken_app(environ, start_response):
    raise LookupError("gone")


FAILURES = {
    "the app": lambda: wrapped(broken_app, look),
    "a middleware": lambda: wrapped(writing, failing, hooked([])),
    "a middleware, when the app has written": lambda: known_to_write(failing),
    "an app that writes to nobody": lambda: known_to_write(lambda ctx, call: reply(call(ctx), 404, PLAIN, b"no")),
    "a wrong return": lambda: wrapped(writing, lambda ctx, call: None),
    "a body that is too large": lambda: wrapped(writing, changing(lambda request: request.content), max_body=1),
    "a response that is too large": lambda: wrapped(writing, reading, max_body=1),
    "a map": lambda: wrapped(answering([b"a"]), mapped(lambda chunk: fail())),
}


def known_to_write(*middleware):
    built = wrapped(writing, *middleware)
    built.writes = True
    return built


@pytest.mark.parametrize("make", FAILURES.values(), ids=FAILURES)
def test_what_fails_leaves_nothing_to_the_garbage_collector(make):
    built = make()

    def fails():
        with suppress(LookupError, TypeError, BodyTooLarge):
            Served(built, environ_of(Sent(method="POST", body=b"abc"))).run()

    fails()
    gc.collect()
    gc.disable()
    try:
        fails()
        assert gc.collect() == 0
    finally:
        gc.enable()


# The edge itself


def test_two_edges_around_each_other_are_one_chain():
    def app(environ, start_response): ...

    both = wrapped(wrapped(app, look), pass_on)
    assert (both.app, both.middleware) == (app, (pass_on, look))
    assert repr(both) == "FormationMiddleware(app, [pass_on, look])"
    apart = wrapped(wrapped(app, look, max_body=1), pass_on)
    assert apart.middleware == (pass_on,)


def test_an_edge_without_middleware_passes_everything_on():
    chunks = [b"a"]
    assert Served(FormationMiddleware(answering(chunks))).call().result is chunks


def test_the_context_is_that_of_a_server():
    found = {}

    def keeps(ctx, call):
        found.update(ctx)
        return call(ctx)

    environ = environ_of(Sent(headers={"traceparent": "00-a-b-01", "tracestate": "c=d"}))
    Served(wrapped(answering([]), keeps), environ).run()
    assert (found["fmtn.side"], found["fmtn.kind"]) == ("server", "http")
    assert (found["fmtn.state"], found["fmtn.session"], found["fmtn.sensitive"]) == ({}, {}, set())
    assert found[NATIVE]["environ"] is environ
    assert found[TRACE] == {"traceparent": "00-a-b-01", "tracestate": "c=d"}
    assert found[REQ_HTTP].peer == "127.0.0.1"


# What flows to the clients below


def publishing(ctx, call):
    ctx[REQ_ID], ctx[DEADLINE] = "7f3a", 1e9
    return call(ctx)


def test_the_ambient_context_is_there_in_the_app_and_in_its_lazy_body():
    found = []

    def app(environ, start_response):
        found.append(ambient.current.get())
        start_response("200 OK", list(PLAIN))
        try:
            yield b"a"
            found.append(ambient.current.get())
        finally:
            found.append(ambient.current.get())

    served = Served(wrapped(app, publishing)).run()
    assert served.body == b"a"
    assert [each.request_id for each in found] == ["7f3a"] * 3
    assert len({id(each) for each in found}) == 1
    assert ambient.current.get() is None
    assert found[0].deadline is None  # the answer has gone out


@pytest.mark.parametrize("touch", [look, mapped(bytes.upper), reading, lambda ctx, call: pulled(call(ctx))])
def test_the_ambient_context_is_there_whoever_pulls(touch):
    found = []

    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        found.append(ambient.current.get())
        yield b"a"

    Served(wrapped(app, touch, publishing)).run()
    assert [each.request_id for each in found] == ["7f3a"]
    assert found[0].deadline is None
    assert ambient.current.get() is None


def test_what_is_published_changes_no_list_and_no_file():
    file = FileWrapper(io.BytesIO(b"abc"))
    found = []

    def app(environ, start_response):
        found.append(ambient.current.get())
        return answering(environ["answer"])(environ, start_response)

    for answer in ([b"a"], file):
        environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper, "answer": answer}
        assert Served(wrapped(app, publishing), environ).call().result is answer
    assert [each.deadline for each in found] == [None, None]


def test_an_error_of_the_app_takes_the_ambient_context_back():
    def app(environ, start_response):
        raise LookupError(ambient.current.get().request_id)

    with pytest.raises(LookupError, match="7f3a"):
        Served(wrapped(app, publishing)).run()
    assert ambient.current.get() is None


def test_a_client_below_sends_the_id_on(server):
    http = build(base_uri=server.url, middleware=[request_id()])

    def app(environ, start_response):
        seen = http.get("/echo").response.json()["headers"]["x-request-id"]
        start_response("200 OK", list(PLAIN))
        return [seen.encode()]

    environ = environ_of(Sent(headers={"X-Request-ID": "7f3a"}))
    served = Served(wrapped(app, request_id()), environ).run()
    http.close()
    assert (served.body, dict(served.headers)["x-request-id"]) == (b"7f3a", "7f3a")


# Streams


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


# Real servers and real frameworks


def loopback(environ, start_response):
    """An app with a lazy body, for servers to serve."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    headers = [("Content-Type", "text/plain"), ("X-Seen", environ.get("HTTP_X_ADDED", ""))]
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file " * 10_000))
    start_response("200 OK", headers)
    return (chunk for chunk in (environ["REQUEST_METHOD"].encode(), b" ", body))


def adding(ctx, call):
    req(ctx).headers["X-Added"] = "added"
    length = len(req(ctx).content)
    ctx = call(ctx)
    res(ctx).headers["X-Length"] = str(length)
    return ctx


@contextmanager
def wsgiref_serving(app):
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args): ...

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join(10)


@contextmanager
def waitress_serving(app):
    waitress = pytest.importorskip("waitress")
    httpd = waitress.create_server(app, host="127.0.0.1", port=0, threads=2, clear_untrusted_proxy_headers=True)
    thread = threading.Thread(target=httpd.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.effective_port}"
    finally:
        httpd.maintenance_interval = 0
        httpd.task_dispatcher.shutdown()
        httpd.trigger.pull_trigger(httpd.close)
        thread.join(10)
        httpd.trigger.close()


@contextmanager
def gunicorn_serving(app):
    """Gunicorn takes the process, so it has one of its own; it is told where the app is."""
    pytest.importorskip("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"fd://{listening.fileno()}",
            "--threads", "2", "--log-level", "error", "--no-control-socket", "tests.test_for_wsgi:served",
        ]  # fmt: skip
        roots = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(formation.__file__).parents[1])])
        process = subprocess.Popen(
            command,
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": roots},
            cwd=Path(__file__).parents[1],
        )
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            process.terminate()
            process.wait(20)


served = FormationMiddleware(loopback, middleware=[adding, mapped(bytes.upper), request_id()])
SERVERS = {"wsgiref": wsgiref_serving, "waitress": waitress_serving, "gunicorn": gunicorn_serving}


@pytest.mark.parametrize("serving", SERVERS.values(), ids=SERVERS)
def test_a_server_on_loopback_serves_it(serving):
    with serving(served) as url, build(base_uri=url, timeout=20) as http:
        for number in range(3):
            result = http.post("/", content=b"abc", headers={"X-Request-ID": f"id-{number}"}).response
            assert (result.status_code, result.content) == (200, b"POST ABC")
            assert [result.headers[name] for name in ("x-seen", "x-length", "x-request-id")] == [
                "added", "3", f"id-{number}"
            ]  # fmt: skip
        assert http.get("/file").response.content == b"FILE " * 10_000
        head = http.send("HEAD", "/").response
        assert (head.status_code, head.content, head.headers["x-seen"]) == (200, b"", "added")


@pytest.mark.parametrize("serving", [wsgiref_serving, waitress_serving])
def test_a_server_sends_a_file_by_itself_where_somebody_waits_for_its_end(serving, tmp_path):
    (tmp_path / "file").write_bytes(b"file " * 100_000)
    ended, over = [], threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "500000")])
        return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))

    def waiting(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: (ended.append((count, error)), over.set()))
        return ctx

    inner = wrapped(app, waiting)

    def seeing(environ, start_response):
        result = inner(environ, start_response)
        ended.append(type(result) is environ["wsgi.file_wrapper"])
        return result

    with serving(seeing) as url, build(base_uri=url, timeout=20) as http:
        assert http.get("/").response.content == b"file " * 100_000
        assert over.wait(10)
    assert ended == [True, (500_000, None)]


def asking(app):
    """A client of an app in this process; what comes is checked on both sides."""
    return build(base_uri="http://testserver", endpoint=endpoint(validator(app)))


def noting(log):
    def noting(ctx, call):
        ctx = call(ctx)
        log.append((req(ctx).name, ctx.get(TEMPLATE), res(ctx).code))
        res(ctx).headers["X-Noted"] = "1"
        return ctx

    return noting


def test_a_flask_app_is_wrapped_at_its_wsgi_app_and_tells_its_route():
    flask = pytest.importorskip("flask")
    app, log = flask.Flask("shop"), []

    @app.get("/items/<int:number>/<path:rest>")
    def item(number, rest):
        return flask.stream_with_context(f"{number} {rest} {flask.request.headers['X-Added']}")

    app.wsgi_app = FormationMiddleware(app.wsgi_app, middleware=[noting(log), adding])
    http = asking(app)
    result = http.get("/items/7/a/b").response
    assert (result.text, result.headers["x-noted"]) == ("7 a/b added", "1")
    assert http.get("/nothing").response.status_code == 404
    assert app.test_client().get("/items/8/c").data == b"8 c added"
    template = "/items/{number}/{rest}"
    assert log == [
        (f"GET {template}", template, 200), ("GET /nothing", None, 404), (f"GET {template}", template, 200)
    ]  # fmt: skip


def test_a_pyramid_app_is_wrapped():
    config = pytest.importorskip("pyramid.config")
    response = pytest.importorskip("pyramid.response")
    log = []
    with config.Configurator() as configurator:
        configurator.add_route("item", "/items/{number}")
        configurator.add_view(
            lambda request: response.Response(f"{request.matchdict['number']} {request.headers['X-Added']}"),
            route_name="item",
        )
        app = configurator.make_wsgi_app()
    result = asking(FormationMiddleware(app, middleware=[noting(log), adding])).get("/items/7").response
    assert (result.text, result.headers["x-noted"], log) == ("7 added", "1", [("GET /items/7", None, 200)])


DJANGO = """
import sys
from wsgiref.validate import validator
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from formation import reply, req, res
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint

def item(request, number):
    return HttpResponse(f"{number} {request.headers['X-Added']} {request.body.decode()}")

def stream(request):
    return StreamingHttpResponse(chunk for chunk in ("a", "b"))

urlpatterns = [path("items/<int:number>", item), path("stream", stream)]

def adding(ctx, call):
    req(ctx).headers["X-Added"] = "added"
    assert req(ctx).content is not None
    ctx = call(ctx)
    res(ctx).headers["X-Code"] = str(res(ctx).code)
    return ctx

def mapped(ctx, call):
    ctx = call(ctx)
    res(ctx).body.map(bytes.upper)
    return ctx

app = FormationMiddleware(validator(get_wsgi_application()), middleware=[mapped, adding])
http = build(base_uri="http://testserver", endpoint=endpoint(validator(app)))
made = http.get("/items/7").response
assert (made.text, made.headers["x-code"]) == ("7 ADDED ", "200"), (made.text, made.headers)
assert http.get("/stream").response.text == "AB"
assert http.get("/nothing").response.status_code == 404
print("done")
"""


def test_djangos_wsgi_handler_is_wrapped():
    """In a process of its own: Django can be configured once."""
    pytest.importorskip("django")
    run = subprocess.run(
        [sys.executable, "-c", DJANGO], check=False, capture_output=True, text=True, timeout=50,
        env={**os.environ, "PYTHONPATH": str(Path(formation.__file__).parents[1])},
    )  # fmt: skip
    assert run.stdout == "done\n", run.stderr


def test_it_is_a_function_of_environ_and_start_response_around_one():
    inner = FormationMiddleware(answering([b"a"]), [look])

    def handwritten(environ, start_response):
        return inner(environ, lambda status, headers, exc_info=None: start_response(status, [*headers, ("X-H", "1")]))

    answer = Served(FormationMiddleware(handwritten, [look])).run()
    assert answer.headers == [*PLAIN, ("X-Status", "200"), ("X-H", "1")]
