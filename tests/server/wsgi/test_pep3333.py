"""What PEP 3333 asks of whoever stands between a server and an app, by its letter."""

import contextvars
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from wsgiref.validate import validator

import pytest

from formation import reply, req, res
from formation.middleware import request_id
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import (
    KINDS,
    PLAIN,
    Chunks,
    Served,
    answering,
    fail,
    hooked,
    late,
    look,
    mapped,
    pass_on,
    pulled,
    reading,
    wrapped,
)


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
