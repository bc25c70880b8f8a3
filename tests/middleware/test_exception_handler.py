import asyncio
import json
import logging
import socket
import threading
from types import SimpleNamespace
from wsgiref.simple_server import make_server

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from formation import for_asgi, for_wsgi, reply, wrap
from formation.errors import (
    AttemptTimeout,
    BodyTooLarge,
    BulkheadRejected,
    CircuitOpenError,
    ClientGone,
    ConnectError,
    DeadlineExceeded,
    FormationError,
    ProblemError,
    Rejected,
    StatusError,
    ThrottleRejected,
)
from formation.for_aiohttp import build as asgi_client
from formation.for_requests import build as wsgi_client
from formation.http import Request, Response
from formation.middleware import exception_handler, request_id, request_logger
from formation.middleware.exception_handler import preferred
from tests.middleware.hosts import Reply, answered, every_host
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.server.asgi_servers import hypercorn, running, uvicorn
from tests.server.edges import Sent

SECRET = "postgres://me:pw@db"  # what no answer may show


def fail(error):
    def fail(ctx):
        raise error

    return fail


def answer(world, error, ctx=None, **settings):
    """The response, and the lines of the log."""
    with capture_logs() as lines:
        out = world(exception_handler(**settings), on_server() if ctx is None else ctx, fail(error))
    return out["fmtn.res.http"], lines


CASES = {
    "whatever": (ValueError(SECRET), 500, None),
    "a file": (FileNotFoundError(2, SECRET), 500, None),
    "another server": (ConnectError(SECRET), 500, None),
    "the status of another server": (StatusError(status_code=404), 500, None),
    "a timeout": (TimeoutError(SECRET), 504, None),
    "a timeout of asyncio": (TimeoutError(), 504, None),
    "the deadline": (DeadlineExceeded(SECRET), 504, None),
    "an attempt": (AttemptTimeout(SECRET), 504, None),
    "too much": (BodyTooLarge(limit=1, got=2), 413, None),
    "too often": (ThrottleRejected("no", retry_after=1.2), 429, "2"),
    "too often, and nobody can tell for how long": (ThrottleRejected("no"), 429, None),
    "too many": (BulkheadRejected("no", retry_after=0.0), 503, "1"),
    "rejected": (Rejected("no", retry_after=30), 503, "30"),
    "an open circuit": (CircuitOpenError("db", retry_after=7.0), 503, "7"),
}


@every_world
@pytest.mark.parametrize(("error", "status", "retry_after"), CASES.values(), ids=CASES)
def test_answers_by_the_table_and_says_nothing_from_inside(world, error, status, retry_after):
    response, _ = answer(world, error)
    assert response.status_code == status
    assert response.headers.get("Retry-After") == retry_after
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", response.reason, status)
    assert problem.keys() == {"type", "title", "status", "request_id"}
    assert SECRET not in response.text
    assert type(error).__name__ not in response.text


@every_world
def test_the_nearest_type_in_the_map_counts(world):
    statuses = {LookupError: 404, OSError: 503, FormationError: 502, PermissionError: 403}
    for error, status in (
        (KeyError("no"), 404),
        (PermissionError("no"), 403),
        (FileExistsError("no"), 503),
        (TimeoutError("no"), 504),  # is an OSError, and stands in the table itself
        (ConnectError("no"), 502),
        (Rejected("no"), 503),
        (ValueError("no"), 500),
    ):
        assert answer(world, error, map=statuses)[0].status_code == status


@every_world
@pytest.mark.parametrize(("error", "status"), [(ThrottleRejected("no"), 503), (BodyTooLarge(limit=1, got=2), 500)])
def test_a_call_to_another_server_is_not_the_fault_of_who_asks_here(world, error, status):
    error.request = Request("GET", "https://other/")
    assert answer(world, error)[0].status_code == status
    assert answer(world, error, map={type(error): 418})[0].status_code == 418


@every_world
def test_an_error_of_somebody_else_is_not_asked_for_its_request(world):
    class Foreign(Exception):
        @property
        def request(self):  # as httpx's, where none has been set
            raise RuntimeError

    assert answer(world, Foreign())[0].status_code == 500


@every_world
def test_about_the_own_request_it_is(world):
    ctx, error = on_server(), BodyTooLarge(limit=1, got=2)
    error.request = ctx["fmtn.req.http"]
    assert answer(world, error, ctx)[0].status_code == 413


@every_world
def test_the_answer_and_the_log_have_the_same_id(world):
    response, lines = answer(world, ValueError(), on_server(**{"req.id": "7f3a"}))
    assert (response.json()["request_id"], lines[0]["request_id"]) == ("7f3a", "7f3a")
    response, lines = answer(world, ValueError())
    assert response.json()["request_id"] == lines[0]["request_id"] != ""


@every_world
def test_inside_of_request_id_the_header_says_it_too(world):
    chain = wrap(fail(ValueError()), [exception_handler()])
    with capture_logs():
        out = world(request_id(idgen=lambda: "7f3a"), on_server(), chain)
    response = out["fmtn.res.http"]
    assert response.headers["x-request-id"] == response.json()["request_id"] == "7f3a"


@every_world
def test_logs_it_once_with_the_traceback(world):
    error = ValueError("no")
    _, lines = answer(world, error, on_server(**{"req.id": "7f3a"}))
    assert lines == [
        {
            "event": "exception.handled",
            "log_level": "error",
            "status": 500,
            "error": "ValueError",
            "request_id": "7f3a",
            "request": "GET /users/7",
            "exc_info": error,
        }
    ]


@every_world
@pytest.mark.parametrize("error", [Rejected("no"), ThrottleRejected("no"), BodyTooLarge(limit=1, got=2)], ids=repr)
def test_what_was_turned_away_is_a_warning_without_traceback(world, error):
    _, lines = answer(world, error)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "exc_info" not in lines[0]


def test_a_logger_of_the_standard_library_has_the_traceback_too(caplog):
    wrap(fail(ValueError("no")), [exception_handler(logger=logging.getLogger("shop"))])(on_server())
    assert "exception.handled status=500" in caplog.text
    assert "Traceback (most recent call last)" in caplog.text
    assert "ValueError: no" in caplog.text


def test_outside_the_request_logger_logs_the_answer():
    with capture_logs() as lines:
        wrap(fail(ValueError("no")), [request_logger(), exception_handler()])(on_server())
    events = [(line["event"], line["log_level"]) for line in lines if line["log_level"] != "debug"]
    assert events == [("request.http", "info"), ("exception.handled", "error"), ("response.http", "warning")]


class Odd(Exception):
    def __init__(self, retry_after=None):
        super().__init__()
        self.retry_after = retry_after

    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize("retry_after", ["5", float("inf"), float("nan"), object()])
@every_world
def test_what_somebody_elses_error_calls_retry_after_may_be_anything(world, retry_after):
    response, _ = answer(world, Odd(retry_after), map={Odd: 429})
    assert (response.status_code, "Retry-After" in response.headers) == (429, False)


@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/plain"])
@pytest.mark.parametrize(("error", "says"), [(Odd(), "Odd"), (ValueError("\udc80"), "udc80")])
@every_world
def test_an_error_without_a_text_that_can_be_sent_is_answered_with_debug_as_well(world, error, says, accept):
    response, _ = answer(world, error, on_server(headers={"Accept": accept}), debug=True)
    assert response.status_code == 500
    assert says in response.text


@every_world
def test_debug_says_what_is_wrong(world):
    problem = answer(world, ValueError("<no>"), debug=True)[0].json()
    assert problem["detail"] == "ValueError: <no>"
    assert problem["traceback"].startswith("Traceback (most recent call last)")
    page = answer(world, ValueError("<no>"), on_server(headers={"Accept": "text/html"}), debug=True)[0].text
    assert "ValueError: &lt;no&gt;" in page
    assert "<no>" not in page


ACCEPTED = {
    "": "application/problem+json",
    "*/*": "application/problem+json",
    "application/json": "application/problem+json",
    "application/*": "application/problem+json",
    "text/html": "text/html",
    "TEXT/HTML": "text/html",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html",
    "text/*": "text/html",
    "text/plain": "text/plain",
    "text/plain, text/html;q=0.5": "text/plain",
    "text/html;q=0.5, application/json": "application/problem+json",
    "text/html;q=0.5, application/problem+json;q=0.4": "text/html",
    "*/*;q=0.1, text/html;q=0": "application/problem+json",
    "application/problem+json;q=0, */*": "text/html",
    "image/png": "application/problem+json",
    "text/html;level=1;q=0.3, text/plain;q=0.2": "text/html",
    "text/html;q=nonsense": "application/problem+json",  # nobody knows how much that is
    'text/html;x="a,b;q=0"': "text/html",
    ";;,,;q=1,/": "application/problem+json",
}


@pytest.mark.parametrize(("accept", "expected"), ACCEPTED.items())
def test_the_form_is_the_one_that_is_liked_best(accept, expected):
    assert preferred(accept) == expected
    response, _ = answer(wrap_and_call, ValueError(), on_server(headers={"Accept": accept}))
    assert response.content_type == expected
    assert response.headers["Vary"] == "Accept"
    assert response.headers["Cache-Control"] == "no-store"


def wrap_and_call(middleware, ctx, endpoint):
    return wrap(endpoint, [middleware])(ctx)


@given(st.text(max_size=60))
def test_no_accept_header_can_break_it(accept):
    assert preferred(accept) in {"application/problem+json", "text/html", "text/plain"}


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60), st.booleans())
def test_no_id_can_break_the_answer(identity, html):
    headers = {"Accept": "text/html"} if html else {}
    response, _ = answer(wrap_and_call, ValueError(), on_server(headers=headers, **{"req.id": identity}))
    assert "<script" not in response.text or not html
    if not html and identity:
        assert json.loads(response.content)["request_id"] == identity


def test_people_get_a_page_and_others_text():
    page, _ = answer(wrap_and_call, ValueError(), on_server(headers={"Accept": "text/html"}, **{"req.id": "7f3a"}))
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>500 Internal Server Error</h1><h2>request_id</h2><pre>7f3a</pre>" in page.text
    text, _ = answer(wrap_and_call, ValueError(), on_server(headers={"Accept": "text/plain"}, **{"req.id": "7f3a"}))
    assert text.text == "500 Internal Server Error\nrequest_id: 7f3a\n"


def test_the_answer_to_head_has_the_headers_of_the_one_to_get():
    ids = {"req.id": "7f3a"}
    whole, _ = answer(wrap_and_call, ValueError(), on_server(**ids))
    head, _ = answer(wrap_and_call, ValueError(), on_server("HEAD", **ids))
    assert head.headers == whole.headers
    assert (int(head.headers["Content-Length"]), head.content) == (len(whole.content), b"")


def test_a_status_without_a_name_is_an_error():
    response, _ = answer(wrap_and_call, ValueError(), map={ValueError: 599})
    assert response.json()["title"] == "Error"


# --- what is meant to be told ---


NO_CREDIT = {
    "type": "https://shop/no-credit", "title": "No credit", "detail": "<30> is not enough", "instance": "/orders/7",
}  # fmt: skip


@every_world
def test_a_problem_of_the_app_is_answered_as_it_says(world):
    error = ProblemError(status_code=403, **NO_CREDIT, extensions={"balance": 30, "status": 200, "when": 1 + 1j})
    response, lines = answer(world, error, on_server(**{"req.id": "7f3a"}))
    assert (response.status_code, response.content_type) == (403, "application/problem+json")
    told = {"balance": 30, "when": "(1+1j)", "request_id": "7f3a"}
    assert response.json() == {**NO_CREDIT, "status": 403, **told}
    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", "ProblemError")]


@every_world
def test_and_people_are_told_the_same(world):
    error = ProblemError(status_code=403, **NO_CREDIT, extensions={"<b>": "<i>"})
    page = answer(world, error, on_server(headers={"Accept": "text/html"}))[0].text
    assert "<h1>403 No credit</h1>" in page
    assert "&lt;30&gt; is not enough" in page
    assert "<b>" not in page
    text = answer(world, error, on_server(headers={"Accept": "text/plain"}))[0].text
    assert text.startswith("403 No credit\n")
    assert "detail: <30> is not enough\n" in text


class _Mute:
    def __str__(self):
        raise RuntimeError(SECRET)


@pytest.mark.parametrize("extensions", [{("a",): 1}, {"a": _Mute()}, {"a": {}}], ids=["key", "mute", "circle"])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain"])
def test_what_a_problem_adds_that_cannot_be_written_is_left_out(extensions, accept):
    if "a" in extensions and extensions["a"] == {}:
        extensions["a"]["a"] = extensions["a"]
    ctx = on_server(headers={"Accept": accept})
    with capture_logs():
        problem = ProblemError(status_code=403, title="No credit", extensions=extensions)
        out = wrap(fail(problem), [exception_handler()])(ctx)["fmtn.res.http"]
    assert out.status_code == 403
    assert "No credit" in out.text
    assert SECRET not in out.text


@every_world
def test_a_problem_that_says_nothing_has_the_name_of_its_status(world):
    assert answer(world, ProblemError(status_code=409))[0].json()["title"] == "Conflict"
    assert answer(world, ProblemError(status_code=404), map={ProblemError: 418})[0].status_code == 418
    assert answer(world, ProblemError(status_code=200))[0].status_code == 500


@every_world
def test_a_problem_of_another_server_is_not_passed_on(world):
    error = ProblemError(status_code=403, **NO_CREDIT)
    error.request, error.response = Request("GET", "https://other/"), Response(403)
    response, _ = answer(world, error)
    assert response.status_code == 500
    assert "credit" not in response.text
    error.request = None
    assert answer(world, error)[0].status_code == 500


# --- what passes ---


@every_world
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), ClientGone()], ids=repr
)
def test_what_nobody_waits_for_an_answer_to_passes(world, error):
    with capture_logs() as lines:
        assert type(world(exception_handler(), on_server(), fail(error))) is type(error)
    assert lines == []


@every_world
@pytest.mark.parametrize(
    "ctx",
    [
        {},
        42,
        {"fmtn.side": "server"},
        {"fmtn.req.http": Request("GET", "https://h/")},
        {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/")},
    ],
    ids=["nothing", "no dict", "no request", "no side", "client"],
)
def test_where_no_http_answer_can_be_given_errors_pass(world, ctx):
    error = ValueError("no")
    with capture_logs() as lines:
        assert world(exception_handler(), ctx, fail(error)) is error
    assert lines == []


def websocket(*, is_accepted=False, is_over=False):
    return {"fmtn.kind": "websocket", "fmtn.ws": SimpleNamespace(is_accepted=is_accepted, is_over=is_over)}


@every_world
def test_a_websocket_is_denied_as_long_as_it_has_not_been_accepted(world):
    response, _ = answer(world, Rejected("no", retry_after=3), on_server(**websocket()))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    error = ValueError("no")
    for ctx in (on_server(**websocket(is_accepted=True)), on_server(**websocket(is_over=True))):
        assert world(exception_handler(), ctx, fail(error)) is error


@every_lift
def test_a_function_keeps_its_errors(lifted):
    assert lifted([exception_handler()], len, "four")[0] == 4
    with pytest.raises(TypeError):
        lifted([exception_handler()], len, 4)


@every_world
def test_an_answer_is_left_alone(world):
    ctx = on_server()
    out = world(exception_handler(), ctx, app(404))
    assert out["fmtn.res.http"].status_code == 404
    assert not out["fmtn.res.http"].headers_changed


def test_a_stream_that_fails_after_the_start_is_not_made_up_for():
    error = OSError("disk")

    def chunks():
        yield b"ab"
        raise error

    out = wrap(app(body=chunks()), [exception_handler()])(on_server())
    assert out["fmtn.res.http"].body_read is False
    with pytest.raises(OSError, match="disk") as caught:
        list(out["fmtn.res.http"].body)
    assert caught.value is error
    assert out["fmtn.res.http"].status_code == 200


@every_world
def test_a_response_that_is_there_already_is_closed(world):
    closed = []

    def raise_later(ctx):
        reply(ctx, 200, body=[b"a"])["fmtn.res.http"].on_close(lambda count, error: closed.append(count))
        raise ValueError

    with capture_logs():
        out = world(exception_handler(), on_server(), raise_later)
    assert out["fmtn.res.http"].status_code == 500
    assert closed == [0]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"map": {KeyboardInterrupt: 500}}, TypeError),
        ({"map": {"ValueError": 500}}, TypeError),
        ({"map": {ValueError: 200}}, ValueError),
        ({"map": {ValueError: 600}}, ValueError),
        ({"map": {ValueError: "500"}}, ValueError),
        ({"map": {ValueError: True}}, ValueError),
        ({"logger": "log"}, TypeError),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error):
    with pytest.raises(error):
        exception_handler(**settings)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [exception_handler()])) == "wrap(<lambda>, [exception_handler])"


# --- over the edges ---


def call_wsgi(app, path, **how):
    with wsgi_client(base_uri="http://shop", endpoint=for_wsgi.endpoint(app)) as api:
        return api.get(path, **how)


def call_asgi(app, path, **how):
    async def main():
        async with asgi_client(base_uri="http://shop", endpoint=for_asgi.endpoint(app)) as api:
            return await api.get(path, **how)

    return asyncio.run(main())


def wsgi_app(environ, start_response):
    if environ["PATH_INFO"] == "/late":
        start_response("200 OK", [])
        return (1 / 0 for _ in "a")
    raise ValueError(SECRET)


async def asgi_app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ZeroDivisionError
    if scope["type"] == "http":
        raise ValueError(SECRET)


every_edge = pytest.mark.parametrize(
    ("edge", "call", "served"), [(for_wsgi, call_wsgi, wsgi_app), (for_asgi, call_asgi, asgi_app)], ids=["wsgi", "asgi"]
)


@every_edge
def test_over_an_edge_an_error_is_answered(edge, call, served):
    with capture_logs() as lines:
        result = call(edge.FormationMiddleware(served, middleware=[request_id(), exception_handler()]), "/")
    assert (result.status_code, result.headers["Content-Type"]) == (500, "application/problem+json")
    problem = json.loads(result.response.content)
    assert problem["request_id"] == result.headers["x-request-id"] == lines[0]["request_id"]
    assert SECRET not in result.response.text


@every_edge
def test_over_an_edge_an_answer_that_has_begun_is_not_made_up_for(edge, call, served):
    with capture_logs() as lines, pytest.raises(ZeroDivisionError):
        call(edge.FormationMiddleware(served, middleware=[exception_handler()]), "/late")
    assert lines == []


@every_host
@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain"])
def test_on_every_host_an_error_is_answered_and_says_nothing_from_inside(host, accept):
    def failing(seen):
        raise TimeoutError(SECRET)

    with capture_logs() as lines:
        got = answered(
            host, [request_id(idgen=lambda: "7f3a"), exception_handler()], failing, headers={"Accept": accept}
        )
    assert (got.status, got.lines("x-request-id")) == (504, ["7f3a"])
    assert b"7f3a" in got.body
    assert SECRET.encode() not in got.body
    assert [line["request_id"] for line in lines if line["event"] == "exception.handled"] == ["7f3a"]


@every_host
def test_on_every_host_a_stream_that_fails_ends_and_is_not_made_up_for(host):
    def chunks():
        yield b"ab"
        raise LookupError(SECRET)

    built = host.build(lambda seen: Reply(200, [], chunks()), [exception_handler()])
    with capture_logs() as lines:
        got = host.serve(built, Sent())
    assert (got.status, got.chunks) == (200, [b"ab"])
    assert isinstance(got.error, LookupError)  # it is the server's to log, and to end the connection
    assert lines == []


def raw(port):
    """All that comes on a connection, to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
        came = b""
        while chunk := connection.recv(65536):
            came += chunk
    return came


@pytest.mark.parametrize("kind", [uvicorn, hypercorn], ids=lambda kind: kind.__name__)
def test_on_a_server_the_connection_ends_before_the_body_does(kind):
    wrapped = for_asgi.FormationMiddleware(asgi_app, middleware=[exception_handler()])
    with running(kind, wrapped) as port:
        came = raw(port)
    assert came.startswith(b"HTTP/1.1 200")
    assert b"a\r\n" in came
    assert not came.endswith(b"0\r\n\r\n")  # so that the client knows


@pytest.mark.parametrize("says_its_head", [False, True])
@pytest.mark.parametrize("outside", [[], [request_id(idgen=lambda: "7f3a")]], ids=["alone", "inside another"])
def test_a_lazy_wsgi_app_that_fails_before_its_body_is_answered(outside, says_its_head):
    def lazy(environ, start_response):
        if says_its_head:
            start_response("200 OK", [])
        raise ValueError(SECRET)
        yield b""

    with capture_logs() as lines:
        served = for_wsgi.FormationMiddleware(lazy, middleware=[*outside, exception_handler()])
        got = wsgi_client(base_uri="http://h", endpoint=for_wsgi.endpoint(served)).get("/")
    assert (got.status_code, [line["event"] for line in lines]) == (500, ["exception.handled"])
    assert SECRET not in got.response.text


def test_on_a_wsgi_server_too(capfd):
    def late(environ, start_response):
        start_response("200 OK", [("Content-Length", "100")])
        yield b"a"
        raise ZeroDivisionError(SECRET)

    wrapped = for_wsgi.FormationMiddleware(late, middleware=[exception_handler()])
    with make_server("127.0.0.1", 0, wrapped) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        came = raw(server.server_port)
        thread.join()
    assert came.startswith(b"HTTP/1.0 200")
    assert came.endswith(b"\r\n\r\na")  # 99 bytes are missing, so that the client knows
    assert "ZeroDivisionError" in capfd.readouterr().err
