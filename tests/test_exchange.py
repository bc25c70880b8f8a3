"""The request, the result and the answer of whatever host a context comes from."""

import asyncio
import re

import pytest

from formation import wrap
from formation.errors import BodyAbandoned
from formation.exchange import reply, req, res
from formation.http import Body, Request, Response
from formation.keys import REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE

REQUEST = Request("GET", "https://h.example/users?a=b")


class Ends(list):
    def __call__(self, count, error):
        self.append((count, type(error)))


class Falsy:
    """A message that counts for nothing in an ``if``, as a gRPC message without fields may."""

    def __bool__(self):
        return False


# --- what is there ---


@pytest.mark.parametrize(("get", "http", "rpc"), [(req, REQ_HTTP, REQ_RPC), (res, RES_HTTP, RES_RPC)])
def test_whichever_is_there_is_given(get, http, rpc):
    for message in (object(), Falsy()):
        assert get({http: message}) is message
        assert get({rpc: message}) is message
        assert get({http: None, rpc: message}) is message
        assert get({http: message, rpc: object()}) is message


@pytest.mark.parametrize(
    ("ctx", "has"),
    [({}, "nothing"), ({"a": 1, RES_HTTP: 2}, "'a', 'fmtn.res.http'"), ({REQ_HTTP: None}, "'fmtn.req.http'")],
)
def test_a_context_without_a_request_says_what_it_has(ctx, has):
    text = f"this context has no request, neither 'fmtn.req.http' nor 'fmtn.req.rpc'; it has {has}"
    for ask in (req, lambda ctx: reply(ctx, 200)):
        with pytest.raises(LookupError, match=re.escape(text)):
            ask(ctx)


@pytest.mark.parametrize("ctx", [{}, {REQ_HTTP: REQUEST}, {RES_HTTP: None}])
def test_a_context_without_a_response_says_when_there_is_one(ctx):
    with pytest.raises(LookupError, match=r"no response yet, neither 'fmtn\.res\.http' nor .*: ask after call\(ctx\)"):
        res(ctx)


# --- answers ---


def test_an_answer_is_the_response_and_the_context_is_returned():
    ctx = {REQ_HTTP: REQUEST}
    assert reply(ctx, 429, {"Retry-After": "5"}, b"not now") is ctx
    answer = res(ctx)
    assert (answer.code, answer.reason, answer.ok, answer.content) == (429, "Too Many Requests", False, b"not now")
    assert dict(answer.headers) == {"Retry-After": "5"}
    assert answer.request is REQUEST
    assert (answer.url, answer.name) == (REQUEST.url, "GET /users")


@pytest.mark.parametrize(("body", "content"), [(b"a", b"a"), ("ü", "ü".encode()), ([b"a", b"b"], b"ab"), (None, b"")])
def test_an_answer_may_have_any_body(body, content):
    assert res(reply({REQ_HTTP: REQUEST}, 200, body=body)).content == content


def test_an_answer_needs_no_more_than_a_status():
    answer = res(reply({REQ_HTTP: REQUEST}, 204))
    assert (answer.code, answer.content, len(answer.headers)) == (204, b"", 0)


@pytest.mark.parametrize("given", [(0,), (200, {"A": "\n"}), ("200",)])
def test_an_answer_that_breaks_the_message_is_refused_and_nothing_has_happened(given):
    old, ends = Response(200, body=[b"old"]), Ends()
    old.on_close(ends)
    ctx = {REQ_HTTP: REQUEST, RES_HTTP: old}
    with pytest.raises(ValueError):  # noqa: PT011  told by Response, and tested there
        reply(ctx, *given)
    assert ctx[RES_HTTP] is old
    assert ends == []


def test_a_middleware_may_answer_in_place_of_the_endpoint():
    def guard(ctx, call):
        return call(ctx) if "Authorization" in req(ctx).headers else reply(ctx, 401)

    chain = wrap(lambda ctx: reply(ctx, 200), [guard])
    assert res(chain({REQ_HTTP: REQUEST})).code == 401
    assert res(chain({REQ_HTTP: Request("GET", "https://h/", headers={"Authorization": "x"})})).code == 200


def test_a_response_that_is_there_already_is_closed_first():
    closed, ends = [], Ends()
    old = Response(200, body=Body([b"old"], close=lambda: closed.append(1)))
    old.on_close(ends)
    reply({REQ_HTTP: REQUEST, RES_HTTP: old}, 503)
    assert closed == [1]
    assert ends == [(0, BodyAbandoned)]


def test_a_client_has_its_answer_and_a_server_still_has_to_send_it():
    for side, told in (("client", [(3, type(None))]), ("server", [])):
        ends, ctx = Ends(), {REQ_HTTP: REQUEST, SIDE: side}
        res(reply(ctx, 200, body=b"abc")).on_close(ends)
        assert ends == told
    assert list(res(ctx).body) == [b"abc"]
    assert ends == [(3, type(None))]


async def source():
    yield b"old"


def test_a_response_that_is_closed_by_awaiting_is_closed_in_a_plain_function():
    closed = []

    async def close():
        closed.append(1)

    async def endpoint(ctx):
        ctx[RES_HTTP] = Response(200, body=Body(source(), close=close))
        return ctx

    def guard(ctx, call):
        ctx = reply(call(ctx), 503)
        assert closed == [1]
        return ctx

    assert res(asyncio.run(wrap(endpoint, [guard])({REQ_HTTP: REQUEST}))).code == 503
    assert closed == [1]


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_response_that_is_closed_by_awaiting_is_closed_with_the_answer_in_an_async_def(side):
    closed, ends = [], Ends()

    async def close():
        closed.append(1)

    async def main():
        ctx = {REQ_HTTP: REQUEST, SIDE: side, RES_HTTP: Response(200, body=Body(source(), close=close))}
        res(ctx).on_close(ends)
        answer = res(reply(ctx, 503))
        assert ends == [(0, BodyAbandoned)]
        await answer.aclose()

    asyncio.run(main())
    assert closed == [1]
    assert len(ends) == 1
