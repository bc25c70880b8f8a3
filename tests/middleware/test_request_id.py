from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import reply, wrap
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.http import Request, Response
from formation.middleware import request_id
from tests.middleware.worlds import app, every_lift, every_world, on_server

NEW = "new-id"
LONGEST = "x" * 128

# side, headers of the request, what else ctx has, the id
CASES = {
    "a client's request without one gets a new one": ("client", {}, {}, NEW),
    "a caller's own is kept": ("client", {"X-Request-ID": "mine"}, {}, "mine"),
    "a caller's own is kept, however odd": (
        "client",
        {"X-Request-ID": "my é" + LONGEST},
        {},
        "my é" + LONGEST,
    ),
    "an empty one is none": ("client", {"X-Request-ID": ""}, {}, NEW),
    "the one that ctx has is sent": ("client", {}, {"req.id": "known"}, "known"),
    "the header goes before ctx": ("client", {"x-request-id": "mine"}, {"req.id": "known"}, "mine"),
    "a request without a side is a client's": (None, {"x-request-id": "my own id"}, {}, "my own id"),
    "a server takes the one that comes": ("server", {"X-Request-ID": "theirs"}, {}, "theirs"),
    "a server takes 128 characters": ("server", {"X-Request-ID": LONGEST}, {}, LONGEST),
    "a server takes all that is visible": ("server", {"X-Request-ID": "!~\"'<>\\"}, {}, "!~\"'<>\\"),
    "a server takes no 129": ("server", {"X-Request-ID": LONGEST + "x"}, {}, NEW),
    "a server takes no space": ("server", {"X-Request-ID": "a b"}, {}, NEW),
    "a server takes no tab": ("server", {"X-Request-ID": "a\tb"}, {}, NEW),
    "a server takes no escape": ("server", {"X-Request-ID": "\x1b[31m"}, {}, NEW),
    "a server takes no letter outside ASCII": ("server", {"X-Request-ID": "é"}, {}, NEW),
    "a server takes no empty one": ("server", {"X-Request-ID": ""}, {}, NEW),
    "a server takes one line only": ("server", [("X-Request-ID", "a"), ("x-request-id", "b")], {}, NEW),
    "a server makes one": ("server", {}, {}, NEW),
}


@every_world
@pytest.mark.parametrize(("side", "headers", "more", "expected"), CASES.values(), ids=CASES)
def test_gives_a_request_its_id(world, side, headers, more, expected):
    request = Request("GET", "https://h/", headers=headers)
    ctx = {"fmtn.req.http": request, **more} | ({} if side is None else {"fmtn.side": side})
    seen = []

    def endpoint(ctx):
        seen.append((ctx["req.id"], ctx["fmtn.req.http"].headers["x-request-id"]))
        return reply(ctx, 200)

    out = world(request_id(idgen=lambda: NEW), ctx, endpoint)
    assert seen == [(expected, expected)]
    assert out["req.id"] == expected
    answered = out["fmtn.res.http"].headers.getlist("x-request-id")
    assert answered == ([expected] if side == "server" else [])


@every_world
def test_around_a_function_there_is_only_the_context(world):
    assert world(request_id(idgen=lambda: NEW), {}, lambda ctx: ctx) == {"req.id": NEW}
    assert world(request_id(idgen=lambda: NEW), {"req.id": "known"}, lambda ctx: ctx) == {"req.id": "known"}
    assert world(request_id(idgen=lambda: NEW), {"fmtn.side": "server"}, lambda ctx: ctx)["req.id"] == NEW


@every_lift
def test_a_lifted_function_has_an_id(lifted):
    result, ctx = lifted([request_id(idgen=lambda: NEW)], len, "four")
    assert (result, ctx["req.id"]) == (4, NEW)


@every_world
def test_an_error_passes_and_the_id_stays_in_the_context_that_went_in(world):
    error, ctx = ValueError("no"), {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/")}

    def endpoint(ctx):
        raise error

    assert world(request_id(idgen=lambda: NEW), ctx, endpoint) is error
    assert ctx["req.id"] == NEW


@every_world
def test_an_answer_with_the_id_of_somebody_else_gets_ours(world):
    ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/", headers={"x-request-id": "ours"})}
    out = world(request_id(), ctx, lambda ctx: reply(ctx, 200, {"X-Request-Id": "of another service"}))
    assert out["fmtn.res.http"].headers.getlist("x-request-id") == ["ours"]


def test_is_a_uuid_unless_told_otherwise_and_another_for_each_call():
    chain = wrap(lambda ctx: ctx, [request_id()])
    ids = [chain({})["req.id"] for _ in range(3)]
    assert len({UUID(each) for each in ids}) == 3


def test_an_id_that_is_no_text_becomes_text():
    ctx = {"fmtn.req.http": Request("GET", "https://h/"), "req.id": UUID(int=7)}
    ctx = request_id()(ctx, lambda ctx: ctx)
    assert ctx["req.id"] == ctx["fmtn.req.http"].headers["x-request-id"] == str(UUID(int=7))
    assert request_id(idgen=lambda: 7)({}, lambda ctx: ctx) == {"req.id": "7"}


def test_the_header_may_have_another_name():
    ctx = {"fmtn.req.http": Request("GET", "https://h/", headers={"X-Request-ID": "other"}), "fmtn.side": "server"}
    ctx = request_id("X-Correlation-ID", lambda: NEW)(ctx, lambda ctx: reply(ctx, 200))
    assert ctx["fmtn.req.http"].headers["x-correlation-id"] == NEW
    assert ctx["fmtn.res.http"].headers["x-correlation-id"] == NEW
    assert ctx["fmtn.req.http"].headers["x-request-id"] == "other"


def test_an_rpc_call_has_headers_as_well():
    ctx = {"fmtn.side": "server", "fmtn.req.rpc": Request("POST", "https://h/"), "fmtn.res.rpc": Response(200)}
    ctx = request_id(idgen=lambda: NEW)(ctx, lambda ctx: ctx)
    assert ctx["fmtn.req.rpc"].headers["x-request-id"] == ctx["fmtn.res.rpc"].headers["x-request-id"] == NEW


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"key": None}, TypeError),
        ({"key": b"x"}, TypeError),
        ({"key": ""}, ValueError),
        ({"key": "x request id"}, ValueError),
        ({"key": "x:y"}, ValueError),
        ({"key": "x\r\n"}, ValueError),
        ({"idgen": None}, TypeError),
        ({"idgen": "id"}, TypeError),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error):
    with pytest.raises(error):
        request_id(**settings)


def test_a_generator_cannot_break_the_message():
    ctx = {"fmtn.req.http": Request("GET", "https://h/")}
    with pytest.raises(ValueError, match="X-Evil"):
        request_id(idgen=lambda: "a\r\nX-Evil: 1")(ctx, lambda ctx: ctx)


@given(inbound=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=140))
def test_whatever_comes_from_outside_the_id_is_one_word_and_the_same_everywhere(inbound):
    ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/", headers={"x-request-id": inbound})}
    ctx = request_id(idgen=lambda: NEW)(ctx, lambda ctx: reply(ctx, 200))
    made = ctx["req.id"]
    good = 1 <= len(inbound) <= 128 and all("!" <= each <= "~" for each in inbound)
    assert made == (inbound if good else NEW)
    assert ctx["fmtn.req.http"].headers["x-request-id"] == ctx["fmtn.res.http"].headers["x-request-id"] == made


def test_a_client_sends_it(server):
    ids = iter(["first", "second"])
    with build(base_uri=server.url, middleware=[request_id(idgen=lambda: next(ids))]) as api, server.watch() as seen:
        api.get("/echo")
        api.get("/echo", headers={"X-Request-ID": "own"})
        api.get("/hops/1")
    assert [request.header("x-request-id") for request in seen.requests] == ["first", "own", "second", "second"]


@every_world
@pytest.mark.parametrize(("inbound", "expected"), [("theirs", "theirs"), ("a b", NEW), ("x" * 129, NEW), ("", NEW)])
def test_a_server_answers_with_the_id_that_its_app_has_seen(world, inbound, expected):
    ctx = on_server(headers={"x-request-id": inbound})
    out = world(request_id(idgen=lambda: NEW), ctx, app(headers={"ETag": '"1"'}))
    assert out["req.id"] == out["fmtn.req.http"].headers["X-Request-ID"] == expected
    assert list(out["fmtn.res.http"].headers.items()) == [("ETag", '"1"'), ("x-request-id", expected)]
    assert out["fmtn.req.http"].headers_changed is (inbound != expected)


def test_a_client_below_a_server_sends_the_id_of_the_request_that_it_serves():
    seen = []

    def answer(ctx):
        seen.append((ctx["req.id"], ctx["req.parent.id"], ctx["fmtn.req.http"].headers["X-Request-ID"]))
        return reply(ctx, 200)

    billing = build(base_uri="https://billing", middleware=[request_id()], endpoint=answer)

    def shop(environ, start_response):
        billing.get("/invoices")
        start_response("200 OK", [])
        return [environ["HTTP_X_REQUEST_ID"].encode()]

    served = FormationMiddleware(shop, middleware=[request_id(idgen=lambda: NEW)])
    result = build(base_uri="http://shop", endpoint=endpoint(served)).get("/")
    assert seen == [(NEW, NEW, NEW)]
    assert (result.body, result.headers["x-request-id"]) == (NEW.encode(), NEW)
