"""What breaks: apps, middlewares and arguments that are none."""

import gc
from contextlib import suppress

import pytest

from formation import reply
from formation.errors import BodyAbandoned, BodyTooLarge
from formation.for_wsgi import FormationMiddleware
from formation.keys import RES_HTTP
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import (
    PLAIN,
    Chunks,
    Served,
    answering,
    changing,
    fail,
    hooked,
    look,
    mapped,
    pass_on,
    pulled,
    reading,
    wrapped,
    writing,
)


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


@pytest.mark.parametrize("inner", ["answer", "replaced"])
def test_what_a_middleware_has_answered_is_closed_though_an_error_comes_instead(inner):
    ended = []

    def raising(ctx, call):
        call(ctx)
        raise LookupError("the middleware failed")

    def layer(ctx, call):
        if inner == "answer":
            ctx = reply(ctx, 200, body=iter([b"a"]))
        else:
            ctx = call(ctx)
            ctx[RES_HTTP].body = (part for part in ctx[RES_HTTP].body)
        ctx[RES_HTTP].on_close(lambda count, error: ended.append((count, type(error))))
        return ctx

    with pytest.raises(LookupError):
        Served(wrapped(answering([b"b"]), raising, layer)).call()
    assert ended == [(0, BodyAbandoned)]
