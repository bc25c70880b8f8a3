import asyncio
import logging
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from formation import await_, compose, in_async_chain, reply, wrap
from formation.errors import (
    BulkheadRejected,
    CircuitOpenError,
    ConnectError,
    DeadlineExceeded,
    DecodeError,
    ReadTimeout,
    StatusError,
)
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import circuit_breaker, fallback, raise_for_status, retry
from tests.middleware.worlds import app, every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


def get(**more):
    return {"fmtn.req.http": Request("GET", "https://h/users/7"), **more}


def answers(status, body=b""):
    return lambda ctx: reply(ctx, status, body=body)


def raises(error):
    def fetch(ctx):
        raise error

    return fetch


def made(to=b"else", **settings):
    return fallback(to, logger=SILENT, **settings)


def seen(out):
    return out["fmtn.res.http"].status_code, out["fmtn.res.http"].content, out.get("degraded")


@every_world
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
def test_a_status_from_500_on_is_answered_with_something_else(world, status):
    assert seen(world(made(), get(), answers(status))) == (200, b"else", f"status {status}")


@every_world
@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 404, 408, 429, 499])
def test_any_other_status_is_returned_as_it_is(world, status):
    ctx = get()
    out = world(made(), ctx, answers(status, b"own" if status != 204 else b""))
    assert out is ctx
    assert seen(out)[::2] == (status, None)


@every_world
@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused"),
        ReadTimeout("slow"),
        DeadlineExceeded("late"),
        BulkheadRejected("full"),
        CircuitOpenError("open"),
        DecodeError(status_code=200, content_type="", head=b""),
        TimeoutError("slow"),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_exchange_and_being_turned_away_are_failures(world, error):
    assert seen(world(made(), get(), raises(error))) == (200, b"else", type(error).__name__)


@every_world
@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), OSError("a file")], ids=repr)
def test_an_error_in_the_program_passes(world, error):
    assert world(made(), get(), raises(error)) is error


@every_world
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr
)
def test_cancellation_passes_and_nobody_falls_back(world, error):
    def never(ctx):
        raise AssertionError

    assert type(world(made(never), get(), raises(error))) is type(error)
    assert type(world(made(never), {}, raises(error))) is type(error)


@every_world
def test_an_error_about_a_response_is_judged_by_its_status(world):
    def chain():
        return compose(made(), raise_for_status())

    assert seen(world(chain(), get(), answers(503))) == (200, b"else", "StatusError")
    assert type(world(chain(), get(), answers(404))) is StatusError


@every_world
def test_on_says_what_counts_instead(world):
    middleware = made(on=(ReadTimeout, 429))
    assert seen(world(middleware, get(), answers(429))) == (200, b"else", "status 429")
    assert seen(world(middleware, get(), answers(503))) == (503, b"", None)
    assert seen(world(middleware, get(), raises(ReadTimeout("x"))))[2] == "ReadTimeout"
    assert type(world(middleware, get(), raises(ConnectError("x")))) is ConnectError
    assert seen(world(compose(middleware, raise_for_status()), get(), answers(429)))[2] == "StatusError"


@every_world
@pytest.mark.parametrize(
    ("to", "body", "kind"),
    [
        (b"raw", b"raw", None),
        ("tëxt", "tëxt".encode(), "text/plain; charset=utf-8"),
        ([], b"[]", "application/json"),
        ({"a": 1}, b'{"a": 1}', "application/json"),
        (None, b"null", "application/json"),
    ],
)
def test_what_the_answer_may_be(world, to, body, kind):
    response = world(made(to), get(), answers(503))["fmtn.res.http"]
    assert (response.content, response.headers.get("Content-Type")) == (body, kind)


@every_world
def test_a_function_answers_like_an_endpoint_and_knows_why(world):
    out = world(made(lambda ctx: reply(ctx, 203, body=ctx["degraded"])), get(), raises(ReadTimeout("slow")))
    assert seen(out) == (203, b"ReadTimeout", "ReadTimeout")


@every_world
def test_what_the_function_raises_has_the_failure_as_its_context(world):
    failure = ConnectError("refused")

    def broken(ctx):
        raise LookupError("nothing kept")

    error = world(made(broken), get(), raises(failure))
    assert type(error) is LookupError
    assert error.__context__ is failure


def test_the_function_can_wait_in_an_async_chain():
    async def other(ctx):
        await asyncio.sleep(0)
        return reply(ctx, 200, body=b"the other server")

    async def fetch(ctx):
        await asyncio.sleep(0)
        raise ConnectError("refused")

    def ask_the_other(ctx):
        assert in_async_chain()
        return await_(other(ctx))

    assert asyncio.run(wrap(fetch, [made(ask_the_other)])(get()))["fmtn.res.http"].content == b"the other server"


@every_world
def test_the_failed_response_is_closed(world):
    kept = []

    def failing(ctx):
        ctx = reply(ctx, 503, body=iter([b"never read"]))
        kept.append(ctx["fmtn.res.http"])
        return ctx

    closed = []

    def watch(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append(count))
        return ctx

    world(compose(made(), watch), get(), failing)
    assert closed == [0]


@every_lift
def test_around_a_function_it_is_what_the_function_would_have_returned(lifted):
    def broken():
        raise ValueError("no")

    default = [["tea"]]
    middleware = [made(default)]
    result, ctx = lifted(middleware, broken)
    assert (result, ctx["degraded"]) == ([["tea"]], "ValueError")
    result[0].append("coffee")
    assert lifted(middleware, broken)[0] == [["tea"]]
    assert lifted(middleware, lambda: 42)[0] == 42
    marker = object()
    assert lifted([made(marker)], broken)[0] is marker


@every_world
def test_a_context_that_is_no_dict_gets_the_answer_in_its_place(world):
    assert world(made("else"), 42, raises(ValueError("no"))) == "else"
    assert world(made("else"), 42, lambda ctx: ctx) == 42


@every_world
def test_on_a_server_it_answers_for_the_app(world):
    assert seen(world(made(), on_server(), app(500))) == (200, b"else", "status 500")
    assert world(made(), on_server(), app(404))["fmtn.res.http"].status_code == 404


@every_world
def test_the_log_says_why(world):
    with capture_logs() as events:
        world(fallback(b""), get(), answers(503))
    assert events == [
        {"event": "fallback.used", "log_level": "warning", "reason": "status 503", "request": "GET /users/7"}
    ]


@every_world
def test_it_answers_when_retries_have_failed_and_when_the_circuit_is_open(world):
    calls = []

    def failing(ctx):
        calls.append(ctx)
        return reply(ctx, 503)

    stack = compose(made(), retry(2, base=0, logger=SILENT), circuit_breaker(SILENT, fail_max=3))
    reasons = [world(stack, get(), failing)["degraded"] for _ in range(3)]
    assert reasons == ["status 503", "status 503", "CircuitOpenError"]
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"to": Response(200)}, "a response is sent once"),
        ({"to": b"", "on": "503"}, "expected on as types"),
        ({"to": b"", "on": lambda ctx: True}, "expected on as types of errors and statuses"),
        ({"to": b"", "logger": "x"}, "expected a logger"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(TypeError, match=said):
        fallback(**settings)


def test_an_async_function_is_refused():
    async def later(ctx):
        return ctx

    with pytest.raises(TypeError, match="expected a plain function to fall back to"):
        fallback(later)


def test_a_client_of_a_server_that_is_down_gets_the_answer(server):
    with build(base_uri=server.url, middleware=[made({"users": []})]) as api:
        result = api.get("/status/503")
    assert result.status_code == 200
    assert result.body == b'{"users": []}'


def elsewhere(ctx):
    ctx["fmtn.res.http"] = Response(200, body=b"elsewhere")
    return ctx


@every_world
@pytest.mark.parametrize("to", [elsewhere, raises(OSError("no")), {1, 2}, b"else"], ids=["ask", "fail", "no", "body"])
@pytest.mark.parametrize("raising", [True, False])
def test_the_failed_stream_is_closed_whatever_answers_in_its_place(world, to, raising):
    closed = []

    def app(ctx):
        ctx = reply(ctx, 503, body=iter([b"sorry"]))
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append(count))
        if raising:
            error = StatusError(status_code=503)
            error.response = ctx["fmtn.res.http"]
            raise error
        return ctx

    with suppress(OSError, TypeError):
        world(made(to), get(), app)
    assert closed == [0]


@every_world
def test_what_changes_the_failed_response_and_keeps_it_has_it_whole(world):
    def kept(ctx):
        ctx["fmtn.res.http"].status_code = 200
        return ctx

    assert seen(world(made(kept), get(), lambda ctx: reply(ctx, 503, body=iter([b"sorry"]))))[:2] == (200, b"sorry")
