import asyncio
import logging
from contextlib import suppress
from types import SimpleNamespace

import httpx2 as httpx
import pytest
import structlog
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from formation import for_asgi, reply, wrap
from formation.errors import (
    BodyAbandoned,
    BulkheadRejected,
    ClientGone,
    ConnectError,
    DeadlineExceeded,
    StatusError,
    ThrottleRejected,
)
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import context, raise_for_status, request_id, request_logger
from formation.resilience.attempts import Attempt
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.server.asgi_servers import running, uvicorn
from tests.servers import refused

GET = {"method": "GET", "url": "https://h/users/7"}

LEDGER = [Attempt(1, 503, None, 0.0, 0.1), Attempt(2, 503, None, 0.25, 0.1), Attempt(3, 200, None, 1.0, 0.1)]


def get(url="https://h/users/7", **more):
    return {"fmtn.req.http": Request("GET", url), **more}


def logged(world, ctx, endpoint, middleware=None):
    """The outcome, and the lines as (level, event, fields) without what it cost, which is checked and taken out."""
    with capture_logs() as lines:
        out = world(middleware or request_logger(), ctx, endpoint)
    return out, [taken_apart(line) for line in lines]


def taken_apart(line):
    for name in ("duration_us", "attempts", "slept"):
        assert line.pop(name, 0) >= 0
    line.pop("outcome", None)
    return line.pop("log_level"), line.pop("event"), line


def answer(status=200, headers=None, body=b""):
    return lambda ctx: reply(ctx, status, headers, body)


def raising(error):
    def endpoint(ctx):
        raise error

    return endpoint


@every_world
def test_logs_the_request_and_the_response(world):
    ctx = get(**{"fmtn.template": "/users/{id}"})
    ctx["fmtn.req.http"].headers["Accept"] = "text/html"
    out, lines = logged(world, ctx, answer(200, {"ETag": '"1"'}, b"four"))
    assert out is ctx
    assert lines == [
        ("info", "request.http", GET | {"params": {}, "template": "/users/{id}"}),
        ("debug", "request.http", {"headers": {"Accept": "text/html"}}),
        ("info", "response.http", GET | {"status": 200, "elapsed": None, "size": 4}),
        ("debug", "response.http", {"headers": {"ETag": '"1"'}}),
    ]


@every_world
@pytest.mark.parametrize(
    ("status", "level"),
    [(200, "info"), (302, "info"), (404, "info"), (499, "info"), (500, "warning"), (503, "warning")],
)
def test_a_server_error_is_a_warning(world, status, level):
    _, lines = logged(world, get(), answer(status))
    assert [(line[0], line[2]["status"]) for line in lines if "status" in line[2]] == [(level, status)]


@every_world
def test_the_request_is_logged_before_the_call(world):
    counts = []
    with capture_logs() as lines:
        world(request_logger(), get(), lambda ctx: counts.append(len(lines)) or ctx)
    assert counts == [2]


@every_world
def test_an_error_is_logged_and_goes_on_as_it_is(world):
    error = ConnectError("no route to https://me:pw@h/users/7?key=1 (h)")

    def endpoint(ctx):
        ctx["fmtn.attempts"] = LEDGER
        raise error

    out, lines = logged(world, get(**{"fmtn.sensitive": {"key"}}), endpoint)
    assert out is error
    assert error.__cause__ is None
    detail = "no route to https://[redacted]@h/users/7?key=[redacted] (h)"
    assert lines[2:] == [
        ("error", "failure.http", GET | {"error": "ConnectError", "detail": detail}),
    ]


@every_world
def test_an_error_with_a_response_has_its_status(world):
    error = StatusError(status_code=503)
    error.response = Response(503)

    def endpoint(ctx):
        raise error

    _, lines = logged(world, get(), endpoint)
    assert lines[-1][:2] == ("error", "failure.http")
    assert (lines[-1][2]["error"], lines[-1][2]["status"]) == ("StatusError", 503)


@every_world
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_what_is_no_error_is_logged_as_cancelled(world, error):
    def endpoint(ctx):
        raise error

    out, lines = logged(world, get(), endpoint)
    assert type(out) is type(error)
    assert lines[-1][:2] == ("info", "cancelled.http")
    assert lines[-1][2] == GET | {"error": type(error).__name__, "detail": str(error)}


def test_a_task_that_is_cancelled_is_logged_as_cancelled():
    async def forever(ctx):
        await asyncio.sleep(60)

    async def main():
        task = asyncio.ensure_future(wrap(forever, [request_logger()])(get()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_logs() as lines:
        asyncio.run(main())
    assert [line["event"] for line in lines] == ["request.http", "request.http", "cancelled.http"]


def test_a_coroutine_that_is_closed_is_logged_as_cancelled():
    class Never:
        def __await__(self):
            yield

    async def endpoint(ctx):
        await Never()

    with capture_logs() as lines:
        coroutine = wrap(endpoint, [request_logger()])(get())
        coroutine.send(None)
        coroutine.close()
    assert (lines[-1]["event"], lines[-1]["error"]) == ("cancelled.http", "GeneratorExit")


SIZES = {
    "bytes": ({}, b"four", 4),
    "nothing": ({}, b"", 0),
    "what is announced": ({"Content-Length": "12"}, b"four", 12),
    "what is announced, of a stream": ({"Content-Length": "12"}, iter([b"four"]), 12),
    "what nobody knows": ({}, iter([b"four"]), None),
    "what is no number": ({"Content-Length": "four"}, iter([b"four"]), None),
    "more digits than Python reads": ({"Content-Length": "9" * 5000}, iter([b"four"]), None),
    "two numbers": ([("Content-Length", "4"), ("Content-Length", "5")], iter([b"four"]), None),
}


@pytest.mark.parametrize(("headers", "body", "size"), SIZES.values(), ids=SIZES)
def test_the_size_is_what_is_known_without_reading(headers, body, size):
    with capture_logs() as lines:
        ctx = request_logger()(get(), answer(200, headers, body))
    assert [line["size"] for line in lines if "size" in line] == [size]
    assert list(ctx["fmtn.res.http"].body) == ([b"four"] if body else [])


@every_world
def test_a_stream_is_not_read_and_its_end_is_logged(world):
    def chunks():
        yield b"ab"
        yield b"c"

    with capture_logs() as lines:
        out = world(request_logger(), get(), answer(200, body=chunks()))
        assert lines[2]["event"] == "response.http"
        assert len(lines) == 4
        assert list(out["fmtn.res.http"].body) == [b"ab", b"c"]
    expected = GET | {"status": 200, "bytes": 3, "error": None}
    assert taken_apart(lines[4]) == ("debug", "response.http.closed", expected)
    assert len(lines) == 5


def broken():
    yield b"ab"
    raise OSError("gone")


@pytest.mark.parametrize(
    ("chunks", "count", "error"), [(broken(), 2, "OSError"), (iter([b"ab", b"c"]), 0, "BodyAbandoned")]
)
def test_a_stream_that_ends_early_says_why(chunks, count, error):
    with capture_logs() as lines:
        body = request_logger()(get(), answer(200, body=chunks))["fmtn.res.http"].body
        if count:
            with suppress(OSError):
                list(body)
        body.close()
    assert (lines[-1]["event"], lines[-1]["bytes"], lines[-1]["error"]) == ("response.http.closed", count, error)


@every_world
def test_parameters_are_logged_without_none(world):
    ctx = get()
    ctx["fmtn.req.http"].params.extend(
        [("a", "1"), ("b", None), ("c", "1"), ("c", None), ("c", "2"), ("d", 0), ("e", "")]
    )
    _, lines = logged(world, ctx, answer())
    assert lines[0][2]["params"] == {"a": "1", "c": ["1", "2"], "d": 0, "e": ""}


@every_world
def test_secrets_are_not_logged(world):
    secret = "s3cret"
    request = Request(
        "GET",
        f"https://me:{secret}@h/x?API_KEY={secret}&q=1",
        headers={
            "Authorization": f"Bearer {secret}",
            "Proxy-Authorization": secret,
            "Cookie": f"a={secret}",
            "X-API-Key": secret,
            "Referer": f"https://me:{secret}@h/?api_key={secret}",
            "Accept": "text/html",
        },
        params={"api_key": secret, "page": "2"},
    )
    headers = [("Set-Cookie", f"a={secret}"), ("x-api-key", secret), ("Location", f"https://h/?api_key={secret}")]

    def endpoint(ctx):
        reply(ctx, 302, headers)["fmtn.res.http"].url = request.target
        return ctx

    ctx = {"fmtn.req.http": request, "fmtn.sensitive": {"x-api-key", "api_key"}}
    _, lines = logged(world, ctx, endpoint)
    assert secret not in repr(lines)
    assert lines[0][2]["url"] == "https://[redacted]@h/x?API_KEY=[redacted]&q=1"
    assert lines[0][2]["params"] == {"api_key": "[redacted]", "page": "2"}
    assert lines[1][2]["headers"]["Accept"] == "text/html"
    assert lines[3][2]["headers"]["Location"] == "https://h/?api_key=[redacted]"


@given(
    secret=st.text("abcdefghij0123456789", min_size=12, max_size=20),
    name=st.text("klmnopqrst-", min_size=1, max_size=8),
    more=st.dictionaries(st.text("uvwxyz", min_size=1, max_size=3), st.text("UVWXYZ", max_size=3), max_size=3),
)
def test_no_secret_is_logged_wherever_it_stands(secret, name, more):
    request = Request("GET", f"https://me:{secret}@h/x?{name}={secret}", headers={**more, f"x{name}": secret})
    request.params.extend({**more, name: secret})
    ctx = {"fmtn.req.http": request, "fmtn.sensitive": {name, f"x{name}"}}

    def fail(ctx):
        raise OSError(f"('{request.target}' is bad: {request.url})")

    with capture_logs() as lines, suppress(OSError):
        request_logger()(ctx, fail)
    assert len(lines) == 3
    assert secret not in repr(lines)


@every_world
def test_what_is_named_sensitive_inside_is_not_logged_outside(world):
    def endpoint(ctx):
        ctx["fmtn.sensitive"].add("x-key")
        return reply(ctx, 200, {"X-Key": "s3cret"})

    _, lines = logged(world, get(**{"fmtn.sensitive": set()}), endpoint)
    assert lines[3][2] == {"headers": {"X-Key": "[redacted]"}}


@every_world
@pytest.mark.parametrize("outcome", ["answers", "fails", "is cancelled", "streams"])
def test_each_line_bears_the_context(world, outcome):
    def endpoint(ctx):
        if outcome == "fails":
            raise ValueError
        if outcome == "is cancelled":
            raise asyncio.CancelledError
        return reply(ctx, 200, body=iter([b"a"]) if outcome == "streams" else b"a")

    with capture_logs() as lines:
        out = world(request_logger(), get(**{"fmtn.context": {"ns": "billing", "rid": "7f3a"}}), endpoint)
        if outcome == "streams":
            out["fmtn.res.http"].close()
    assert len(lines) == {"answers": 4, "fails": 3, "is cancelled": 3, "streams": 5}[outcome]
    assert {(line["ns"], line["rid"]) for line in lines} == {("billing", "7f3a")}


COSTS = {
    "a call": ({}, answer(), "ok", 1, 0),
    "a call that had to be repeated": ({"fmtn.attempts": LEDGER}, answer(), "ok", 3, 1.25),
    "a 404": ({}, answer(404), "ok", 1, 0),
    "a 503": ({"fmtn.attempts": LEDGER[:2]}, answer(503), "failed", 2, 0.25),
    "an answer of a fallback": ({"degraded": "status 503"}, answer(), "degraded", 1, 0),
    "an error": ({}, raising(ConnectError("no")), "failed", 1, 0),
    "turned away": ({}, raising(BulkheadRejected("full")), "rejected", 0, 0),
    "turned away at the second attempt": (
        {"fmtn.attempts": LEDGER[:2]},
        raising(ThrottleRejected("")),
        "rejected",
        2,
        0.25,
    ),
    "too late": ({}, raising(DeadlineExceeded("")), "deadline", 0, 0),
    "cancelled": ({"fmtn.attempts": LEDGER[:1]}, raising(asyncio.CancelledError()), "cancelled", 1, 0),
}


@every_world
@pytest.mark.parametrize("case", COSTS.values(), ids=COSTS)
def test_the_line_that_ends_a_call_says_what_came_of_it_and_what_it_cost(world, case):
    more, endpoint, *expected = case
    with capture_logs() as lines:
        world(request_logger(), get(**more), endpoint)
    line = lines[2]
    assert [line["outcome"], line["attempts"], line["slept"]] == expected
    assert line["duration_us"] >= 0
    assert not {"outcome", "attempts", "slept"} & {*lines[0], *lines[1]}


@every_world
def test_a_server_makes_no_attempts(world):
    with capture_logs() as lines:
        world(request_logger(), on_server(), app(500))
    assert lines[2]["outcome"] == "failed"
    assert "attempts" not in lines[2]


@every_world
@pytest.mark.parametrize("sensitive", [["PIN", "X-Pin"], "pin"], ids=["a list", "one"])
def test_names_of_secrets_can_be_others_and_what_is_always_hidden_is(world, sensitive):
    ctx = get("https://h/?token=next&pin=s3cret")
    ctx["fmtn.req.http"].headers.update({"Authorization": "s3cret", "X-Token": "next", "pin": "s3cret"})
    with capture_logs() as lines:
        world(request_logger(sensitive=sensitive), ctx, answer())
    assert "s3cret" not in repr(lines)
    assert lines[0]["params"] == {}
    assert lines[0]["url"] == "https://h/?token=next&pin=[redacted]"
    assert lines[1]["headers"]["X-Token"] == "next"


@every_world
def test_what_is_named_like_a_secret_is_hidden_without_being_told(world):
    request = Request("GET", "https://h/?api_key=s3cret", params={"Access_Token": "s3cret", "page": "2"})
    request.headers["X-Api-Key"] = "s3cret"
    with capture_logs() as lines:
        world(request_logger(), {"fmtn.req.http": request}, raising(OSError(f"no route to {request.target}")))
    assert "s3cret" not in repr(lines)
    assert lines[0]["params"] == {"Access_Token": "[redacted]", "page": "2"}


@every_lift
def test_a_lifted_function_is_logged_by_its_name(lifted):
    def area(width, height):
        return width * height

    with capture_logs() as lines:
        result, _ = lifted([request_logger()], area, 3, 4)
    assert result == 12
    assert list(map(taken_apart, lines)) == [
        ("info", "request.call", {"fn": "area"}),
        ("info", "response.call", {"fn": "area"}),
    ]


@every_lift
def test_a_lifted_function_that_raises_is_logged_by_its_name(lifted):
    def area(width, height):
        raise ValueError("too large")

    with capture_logs() as lines, pytest.raises(ValueError, match="too large"):
        lifted([request_logger()], area, 3, 4)
    expected = {"fn": "area", "error": "ValueError", "detail": "too large"}
    assert taken_apart(lines[1]) == ("error", "failure.call", expected)


@every_world
def test_a_context_without_keys_is_a_call(world):
    _, lines = logged(world, {}, lambda ctx: ctx)
    assert lines == [("info", "request.call", {}), ("info", "response.call", {})]


class Result:
    """What an RPC result shares with a response."""

    def __init__(self, code, headers):
        self.code = code
        self.headers = Response(200, headers).headers


@every_world
def test_an_rpc_call_is_logged_by_its_method(world):
    class Called:
        name = "/pkg.Users/Get"
        headers = Request("GET", "https://h/", headers={"Authorization": "s3cret"}).headers

    def endpoint(ctx):
        ctx["fmtn.res.rpc"] = Result("OK", {"a": "1"})
        return ctx

    _, lines = logged(world, {"fmtn.req.rpc": Called()}, endpoint)
    method = {"method": "/pkg.Users/Get"}
    assert lines == [
        ("info", "request.rpc", method),
        ("debug", "request.rpc", {"headers": {"Authorization": "[redacted]"}}),
        ("info", "response.rpc", method | {"status": "OK"}),
        ("debug", "response.rpc", {"headers": {"a": "1"}}),
    ]


@every_world
def test_a_websocket_is_logged_under_its_kind_and_has_no_response(world):
    _, lines = logged(world, get("wss://h/chat", **{"fmtn.kind": "websocket"}), lambda ctx: ctx)
    called = {"method": "GET", "url": "wss://h/chat"}
    assert lines == [
        ("info", "request.websocket", called | {"params": {}}),
        ("debug", "request.websocket", {"headers": {}}),
        ("info", "response.websocket", called),
    ]


@every_world
def test_an_http_call_that_nobody_answered_is_logged_without_a_status(world):
    _, lines = logged(world, get(), lambda ctx: ctx)
    assert lines[2:] == [("info", "response.http", GET)]


def test_takes_a_bound_logger_of_ones_own():
    with capture_logs() as lines:
        request_logger(structlog.get_logger().bind(app="shop"))({}, dict)
    assert [(line["event"], line["app"]) for line in lines] == [("request.call", "shop"), ("response.call", "shop")]


@pytest.mark.parametrize("logger", [print, "shop", 7])
def test_refuses_what_is_no_logger_when_it_is_given(logger):
    with pytest.raises(TypeError, match=r"expected a logger, got .*: structlog\.get_logger\(\) or logging\.getLogger"):
        request_logger(logger)


def test_a_logger_of_the_standard_library_will_do(caplog):
    with caplog.at_level("INFO", "shop"):
        request_logger(logging.getLogger("shop"))({"fmtn.context": {"ns": "billing"}, "fmtn.fn": len}, dict)
    assert caplog.messages[0] == "request.call ns='billing' fn='len'"


def test_a_wrapped_logger_of_the_standard_library_takes_all_fields(caplog):
    wrapped = structlog.wrap_logger(logging.getLogger("shop"), processors=[structlog.stdlib.render_to_log_kwargs])
    middleware = request_logger(wrapped)
    chain = wrap(answer(200, body=iter([b"a"])), [request_id(), context(), middleware])
    with caplog.at_level("DEBUG", "shop"):
        chain(get(**{"fmtn.template": "/x", "fmtn.attempts": LEDGER}))["fmtn.res.http"].close()
        with suppress(ZeroDivisionError):
            middleware({"fmtn.fn": len}, lambda ctx: 1 / 0)
    messages = [record.message for record in caplog.records]
    assert messages == [
        "request.http",
        "request.http",
        "response.http",
        "response.http",
        "response.http.closed",
        "request.call",
        "failure.call",
    ]
    assert caplog.records[2].status == 200


class Broken:
    """A logger whose disk is full."""

    def info(self, event, **fields):
        raise OSError("no space left")

    debug = warning = error = info


@every_world
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_logger_that_raises_does_not_change_the_outcome(world, caplog, error):
    ctx = get()

    def endpoint(ctx):
        if error is not None:
            raise error
        return reply(ctx, 200, body=iter([b"four"]))

    out = world(request_logger(Broken()), ctx, endpoint)
    assert out is (error or ctx)
    if error is None:
        assert list(out["fmtn.res.http"].body) == [b"four"]
    assert {record.name for record in caplog.records} == {"formation"}
    assert "no space left" in caplog.text


def test_a_client_logs_what_it_sent_and_got(server):
    with capture_logs() as lines, build(base_uri=server.url, middleware=[request_logger()], auth=("me", "pw")) as api:
        result = api.get("/data", params={"body": "four"})
    apart = [taken_apart(line) for line in lines]
    assert [line[:2] for line in apart] == [
        ("info", "request.http"),
        ("debug", "request.http"),
        ("info", "response.http"),
        ("debug", "response.http"),
    ]
    assert apart[0][2] == {
        "method": "GET",
        "url": f"{server.url}/data",
        "params": {"body": "four"},
        "template": "/data",
    }
    said = {"status": 200, "method": "GET", "url": f"{server.url}/data?body=four", "size": 4, "elapsed": result.elapsed}
    assert apart[2][2] == said
    assert 0 < result.elapsed < 20
    assert result.body == b"four"


def test_a_client_that_follows_a_redirect_logs_where_it_led(server):
    with capture_logs() as lines, build(base_uri=server.url, middleware=[request_logger()]) as api:
        api.post("/redirect/303", params={"to": "/status/404"})
    said = [(line["method"], line["url"]) for line in lines if line["log_level"] == "info"]
    assert said == [("POST", f"{server.url}/redirect/303"), ("GET", f"{server.url}/status/404")]


def test_a_client_logs_a_stream_at_its_head_and_at_its_end(server):
    with capture_logs() as lines, build(base_uri=server.url, middleware=[request_logger()]) as api:
        with api.get("/chunks/3", stream=True) as result:
            assert [line["size"] for line in lines if "size" in line] == [None]
            assert len(b"".join(result.body)) == 30
        with api.get("/chunks/3", stream=True):
            pass
    closed = [(line["bytes"], line["error"]) for line in lines if line["event"] == "response.http.closed"]
    assert closed == [(30, None), (0, "BodyAbandoned")]


def test_a_client_logs_that_nobody_is_there_without_the_secret_in_the_url():
    def key_is_secret(ctx, call):
        ctx["fmtn.sensitive"].add("key")
        return call(ctx)

    api = build(base_uri=refused(), middleware=[key_is_secret, request_logger()])
    with api, capture_logs() as lines, pytest.raises(ConnectError):
        api.get("/x", params={"key": "s3cret"})
    assert (lines[-1]["event"], lines[-1]["error"]) == ("failure.http", "ConnectError")
    assert "s3cret" not in repr(lines)


def test_a_client_logs_the_status_that_was_raised(server):
    api = build(base_uri=server.url, middleware=[request_logger(), raise_for_status()])
    with api, capture_logs() as lines, pytest.raises(StatusError):
        api.get("/status/503")
    assert (lines[-1]["event"], lines[-1]["status"], lines[-1]["error"]) == ("failure.http", 503, "StatusError")


# --- on a server ---

SERVED = {"method": "GET", "url": "https://shop/users/7"}


@every_world
def test_a_server_logs_its_answer_with_the_template_that_the_app_has_found(world):
    _, lines = logged(world, on_server(), app(200, {"Content-Length": "4"}, template="/users/{id}"))
    said = SERVED | {"status": 200, "template": "/users/{id}", "elapsed": None, "size": 4}
    assert lines == [
        ("info", "request.http", SERVED | {"params": {}}),
        ("debug", "request.http", {"headers": {}}),
        ("info", "response.http", said),
        ("debug", "response.http", {"headers": {"Content-Length": "4"}}),
    ]


@every_world
@pytest.mark.parametrize(
    "error",
    [ClientGone(""), BodyAbandoned(), OSError(), BrokenPipeError(32, ""), ConnectionResetError(104, "")],
    ids=repr,
)
def test_a_client_that_is_gone_is_no_failure_of_the_server(world, error):
    def endpoint(ctx):
        raise error

    out, lines = logged(world, on_server(), endpoint)
    assert out is error
    assert lines[2] == ("info", "disconnected.http", SERVED | {"error": type(error).__name__, "detail": str(error)})
    assert logged(world, get(), endpoint)[1][2][:2] == ("error", "failure.http")


@every_world
@pytest.mark.parametrize("error", [FileNotFoundError(2, ""), TimeoutError(), DeadlineExceeded(), ValueError()])
def test_what_goes_wrong_in_the_app_is_a_failure_of_the_server(world, error):
    def endpoint(ctx):
        raise error

    _, lines = logged(world, on_server(), endpoint)
    assert lines[2][:2] == ("error", "failure.http")


ENDS = {
    "well": (None, "debug", "response.http.closed"),
    "given up": (BodyAbandoned(), "info", "disconnected.http"),
    "the server could not send": (OSError("gone"), "info", "disconnected.http"),
    "the app failed": (ValueError("no"), "error", "failure.http"),
    "a file of the app failed": (OSError(5, "disk"), "error", "failure.http"),
}


@every_world
@pytest.mark.parametrize(("error", "level", "event"), ENDS.values(), ids=ENDS)
def test_the_end_of_what_a_server_streams_is_logged_with_its_bytes(world, error, level, event):
    with capture_logs() as lines:
        body = world(request_logger(), on_server(), app())["fmtn.res.http"].body
        body.push(b"four")  # as an edge does
        body.end(error)
    how = {"error": None} if error is None else {"error": type(error).__name__, "detail": str(error)}
    assert taken_apart(lines[4]) == (level, event, SERVED | {"status": 200, "bytes": 4} | how)
    assert len(lines) == 5


@every_world
def test_a_websocket_whose_client_is_gone_is_disconnected(world):
    def endpoint(ctx):
        raise ClientGone("")

    _, lines = logged(world, on_server(**{"fmtn.kind": "websocket"}), endpoint)
    assert lines[2][:2] == ("info", "disconnected.websocket")


@every_world
def test_the_end_of_a_websocket_has_its_code(world):
    ctx = on_server(**{"fmtn.kind": "websocket", "fmtn.ws": SimpleNamespace(code=1001)})
    _, lines = logged(world, ctx, lambda ctx: ctx)
    assert lines[-1] == ("info", "response.websocket", SERVED | {"code": 1001})


# structlog's context variables


def with_context(rid="7f3a"):
    """Be a middleware that has gathered one field."""

    def with_context(ctx, call):
        ctx["fmtn.context"] = {"rid": rid}
        return call(ctx)

    return with_context


@every_world
@pytest.mark.parametrize("error", [None, OSError("no route"), KeyboardInterrupt()], ids=repr)
def test_lines_of_the_program_have_the_fields_while_the_call_lasts(world, error):
    found = []

    def endpoint(ctx):
        found.append(get_contextvars())
        if error is not None:
            raise error
        return ctx

    out = world(request_logger(), {"fmtn.context": {"rid": "7f3a"}}, endpoint)
    assert (out is error) == (error is not None)
    assert (found, get_contextvars()) == ([{"rid": "7f3a"}], {})


def test_a_line_of_the_program_within_a_call_is_written_with_them(capsys):
    def app(ctx):
        structlog.get_logger().warning("sold out", item=7)
        return ctx

    wrap(app, [with_context(), request_logger()])({})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "sold out" in line]
    assert "rid" in line
    assert "7f3a" in line


def test_a_client_below_a_server_has_its_own_and_gives_them_back():
    found = []
    below = wrap(lambda ctx: found.append(get_contextvars()) or ctx, [with_context("below"), request_logger()])

    def app(ctx):
        below({})
        found.append(get_contextvars())
        return ctx

    wrap(app, [with_context("above"), request_logger()])({})
    assert found == [{"rid": "below"}, {"rid": "above"}]
    assert get_contextvars() == {}


def by_path(ctx, call):
    ctx["fmtn.context"] = {"rid": ctx["fmtn.req.http"].path[1:]}
    return call(ctx)


def ask(app, *paths):
    """Ask for all of them at once."""

    async def main(port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await asyncio.gather(*map(client.get, paths))

    with running(uvicorn, app) as port:
        asyncio.run(main(port))


def test_an_app_that_streams_has_them_to_the_end_each_request_its_own():
    api, found = FastAPI(), []

    @api.get("/{rid}")
    async def show(rid: str):
        async def body():
            for _ in range(3):
                await asyncio.sleep(0)
                found.append((rid, get_contextvars().get("rid")))
                yield b"x"

        return StreamingResponse(body())

    ask(for_asgi.FormationMiddleware(api, middleware=[by_path, request_logger()]), *"abcd")
    assert sorted(found) == [(rid, rid) for rid in "abcd" for _ in range(3)]


def test_once_the_body_is_sent_an_app_has_them_no_longer():
    found = []

    async def app(scope, receive, send):
        found.append(get_contextvars())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        found.append(get_contextvars())
        await send({"type": "http.response.body", "body": b"x"})
        found.append(get_contextvars())

    edge = for_asgi.FormationMiddleware(app, middleware=[by_path, request_logger()])

    async def without_lifespan(scope, receive, send):
        if scope["type"] == "http":
            await edge(scope, receive, send)

    ask(without_lifespan, "a")
    assert found == [{"rid": "a"}, {"rid": "a"}, {}]
