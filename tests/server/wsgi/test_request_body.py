"""The body of a request: read by a middleware, and there for the app."""

import io
from contextlib import suppress

import pytest

from formation import req
from formation.errors import BodyConsumed, BodyTooLarge
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import Served, answering, pass_on, reading, taking, wrapped


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
    head = Served(built, environ_of(Sent(method="HEAD", body=b"1234"))).run()
    assert (head.status[:3], head.body) == ("413", b"")


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
