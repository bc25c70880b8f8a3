"""Problem details (RFC 9457) on clients: a typed error for an answer that says what is wrong."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import for_aiohttp, for_httpx, for_requests, for_wsgi, reply, wrap
from formation.errors import ProblemError, StatusError
from formation.http import Request
from formation.middleware import exception_handler, problem_details, raise_for_status, retry
from formation.middleware.problem_details import problem_of
from tests.middleware.worlds import every_lift, every_world

KIND = {"Content-Type": "application/problem+json"}
PROBLEM = {
    "type": "https://shop/no-credit", "title": "No credit", "status": 403, "detail": "Your balance is 30.",
    "instance": "https://shop/orders/7", "balance": 30, "accounts": ["/a", "/b"],
}  # fmt: skip


def raised(world, body, status=403, headers=KIND, middleware=None, **settings):
    content = body if isinstance(body, (bytes, list)) else json.dumps(body).encode()
    ctx = {"fmtn.req.http": Request("POST", "https://shop/orders/7", template="/orders/{id}")}
    return world(middleware or problem_details(**settings), ctx, lambda ctx: reply(ctx, status, headers, content))


@every_world
@pytest.mark.parametrize("kind", ["application/problem+json", "Application/Problem+JSON; charset=utf-8"])
def test_an_answer_that_says_what_is_wrong_is_an_error_that_does(world, kind):
    error = raised(world, PROBLEM, headers={"Content-Type": kind})
    assert type(error) is ProblemError
    assert isinstance(error, StatusError)
    assert str(error) == "403 from POST /orders/{id}: No credit: Your balance is 30."
    assert (error.type, error.title, error.status) == ("https://shop/no-credit", "No credit", 403)
    assert (error.detail, error.instance) == ("Your balance is 30.", "https://shop/orders/7")
    assert error.extensions == {"balance": 30, "accounts": ["/a", "/b"]}
    assert (error.status_code, error.name) == (403, "POST /orders/{id}")
    assert (error.response.json(), error.request.method) == (PROBLEM, "POST")


@every_world
@pytest.mark.parametrize(
    ("status", "headers"), [(200, KIND), (302, KIND), (403, {"Content-Type": "application/json"}), (500, {})]
)
def test_any_other_answer_passes(world, status, headers):
    assert raised(world, PROBLEM, status, headers)["fmtn.res.http"].status_code == status


@every_world
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"a"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN'])
def test_one_that_is_no_problem_after_all_knows_its_status(world, body):
    error = raised(world, body, max_body=1_000_000)
    assert type(error) is ProblemError
    assert (error.status_code, error.type, error.title, error.extensions) == (403, "about:blank", "Forbidden", {})
    assert error.response.content == body


@every_world
def test_members_of_another_type_are_left_out(world):
    error = raised(world, {"type": 1, "title": None, "status": "403", "detail": ["x"], "instance": {}, "balance": 1})
    assert (error.type, error.title, error.status) == ("about:blank", "Forbidden", None)
    assert (error.detail, error.instance, error.extensions) == ("", "", {"balance": 1})


@pytest.mark.parametrize("status", [True, 1.5, 99, 600, -1, "200"])
def test_what_is_no_status_is_left_out(status):
    assert "status" not in problem_of(json.dumps({"status": status}).encode())


@every_world
def test_the_status_of_the_answer_counts_and_that_of_the_problem_is_told(world):
    error = raised(world, {**PROBLEM, "status": 409}, 502)
    assert (error.status_code, error.status) == (502, 409)


@every_world
def test_relative_uris_are_resolved(world):
    error = raised(world, {"type": "/problems/credit", "instance": "log/9"})
    assert (error.type, error.instance) == ("https://shop/problems/credit", "https://shop/orders/log/9")
    error = raised(world, {"type": "http://[", "instance": "urn:uuid:1"})
    assert (error.type, error.instance) == ("http://[", "urn:uuid:1")


@every_world
@pytest.mark.parametrize("content", [lambda body: body, lambda body: [body[:50], body[50:]]], ids=["whole", "stream"])
def test_what_is_too_long_is_not_read_for_it(world, content):
    body = json.dumps({"title": "x" * 1000}).encode()
    assert raised(world, content(body), max_body=100).title == "Forbidden"
    assert raised(world, content(body), max_body=len(body)).title == "x" * 1000


@every_world
@pytest.mark.parametrize("inside", [True, False])
def test_it_stands_on_either_side_of_raise_for_status(world, inside):
    one, other = (raise_for_status(), problem_details()) if inside else (problem_details(), raise_for_status())

    def both(ctx, call):
        return one(ctx, lambda ctx: other(ctx, call))

    error = raised(world, PROBLEM, middleware=both)
    assert (type(error), error.title) == (ProblemError, "No credit")
    plain = raised(world, PROBLEM, headers={}, middleware=both)
    assert type(plain) is StatusError


@every_world
def test_other_errors_pass(world):
    for error in (ValueError("no"), StatusError(status_code=404), ProblemError(status_code=404)):

        def failing(ctx, error=error):
            raise error

        assert world(problem_details(), {}, failing) is error


@every_world
def test_inside_of_it_retry_sees_the_response(world):
    answers = [503, 200]

    def both(ctx, call):
        return problem_details()(ctx, lambda ctx: retry(2, sleep=lambda _: None)(ctx, call))

    ctx = {"fmtn.req.http": Request("GET", "https://shop/")}
    out = world(both, ctx, lambda ctx: reply(ctx, answers.pop(0), KIND, b"{}"))
    assert out["fmtn.res.http"].status_code == 200


def shop(environ, start_response):
    raise ProblemError(status_code=403, type="/no-credit", title="No credit", extensions={"balance": 30})


def test_what_a_server_raises_a_client_gets():
    app = for_wsgi.FormationMiddleware(shop, middleware=[exception_handler()])
    with (
        for_requests.build(
            base_uri="http://shop", endpoint=for_wsgi.endpoint(app), middleware=[problem_details()]
        ) as api,
        pytest.raises(ProblemError) as caught,
    ):
        api.get("/orders")
    assert (caught.value.type, caught.value.extensions["balance"]) == ("http://shop/no-credit", 30)
    assert caught.value.extensions.keys() == {"balance", "request_id"}


def problem(connection, seen):
    connection.answer(seen, 403, json.dumps(PROBLEM).encode(), "application/problem+json")


@pytest.mark.parametrize("edge", [for_requests, for_httpx], ids=["requests", "httpx"])
@pytest.mark.parametrize("stream", [False, True])
def test_over_the_wire_it_is_the_same_and_the_connection_is_kept(fresh_server, edge, stream):
    with (
        fresh_server.route("problem", problem),
        edge.build(base_uri=fresh_server.url, middleware=[problem_details()]) as api,
    ):
        for _ in range(2):
            with pytest.raises(ProblemError, match="Your balance is 30"):
                api.get("/problem", stream=True).__enter__() if stream else api.get("/problem")


@pytest.mark.parametrize("build", [for_aiohttp.build, for_httpx.async_build], ids=["aiohttp", "httpx-async"])
@pytest.mark.parametrize("stream", [False, True])
def test_and_so_it_is_for_who_awaits(fresh_server, build, stream):
    async def main():
        async with build(base_uri=fresh_server.url, middleware=[problem_details()]) as api:
            with pytest.raises(ProblemError, match="Your balance is 30"):
                await (api.get("/problem", stream=True).__aenter__() if stream else api.get("/problem"))

    with fresh_server.route("problem", problem):
        asyncio.run(main())


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_no_json_can_break_it(value):
    found = problem_of(json.dumps(value).encode())
    ProblemError(status_code=400, **found)


@given(st.binary(max_size=200))
def test_no_body_can(body):
    problem_of(body)


@every_world
def test_passes_what_has_no_response_through(world):
    assert world(problem_details(), {}, lambda ctx: ctx) == {}
    assert world(problem_details(), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([problem_details()], len, "four")[0] == 4


@pytest.mark.parametrize("max_body", [-1, True, 1.5])
def test_refuses_a_wrong_size_when_it_is_given(max_body):
    with pytest.raises(ValueError, match="expected max_body as a number of bytes"):
        problem_details(max_body)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [problem_details()])) == "wrap(<lambda>, [problem_details])"
