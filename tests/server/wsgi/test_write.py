"""Apps that hand their output to `write()`."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from formation import ambient, reply, res
from formation.keys import NATIVE
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import (
    PLAIN,
    Chunks,
    Served,
    fail,
    hooked,
    look,
    mapped,
    pass_on,
    publishing,
    pulled,
    wrapped,
    writing,
)


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
