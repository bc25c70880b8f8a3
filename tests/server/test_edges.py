"""What every server edge does with a request and an answer: one suite of cases for all of them."""

from formation import reply
from tests.server.edges import Reply


def test_a_middleware_sees_the_request_and_the_response(ask):
    found = []

    def look(ctx, call):
        request = ctx["fmtn.req.http"]
        found.extend([request.method, request.path, request.params["b"], request.headers["x-a"]])
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        found.extend([response.status_code, response.headers["x-b"]])
        response.headers["X-C"] = "3"
        return ctx

    answer = ask([look], lambda seen: Reply(201, [("X-B", "2")]), "/a?b=1", headers={"X-A": "1"})
    assert found == ["GET", "/a", "1", "1", 201, "2"]
    assert (answer.status, answer.lines("x-c"), answer.body, answer.error) == (201, ["3"], b"ok", None)


def test_a_middleware_answers_without_the_app(ask):
    called = []
    answer = ask([lambda ctx, call: reply(ctx, 401, {"X-A": "1"}, b"who?")], called.append)
    assert (answer.status, answer.lines("x-a"), answer.body, called) == (401, ["1"], b"who?", [])
