import pytest
import structlog
from structlog.testing import capture_logs

from formation import compose, reply
from formation.for_requests import build
from formation.http import Request
from formation.introspection import name_of
from formation.middleware import default_stack
from tests.middleware.worlds import every_lift, every_world

NAMES = ["request_id", "context", "request_duration", "request_logger"]


def test_is_a_list_of_ones_own():
    stack = default_stack(structlog.get_logger())
    assert type(stack) is list
    assert list(map(name_of, stack)) == NAMES
    stack.clear()
    assert list(map(name_of, default_stack())) == NAMES


@every_world
def test_each_part_knows_of_the_one_before(world):
    ctx = {"fmtn.req.http": Request("GET", "https://h/")}
    with capture_logs() as lines:
        ctx = world(compose(*default_stack()), ctx, lambda ctx: reply(ctx, 200))
    rid = ctx["fmtn.req.http"].headers["x-request-id"]
    assert ctx["req.id"] == ctx["fmtn.context"]["rid"] == rid
    assert isinstance(ctx["req.duration_us"], int)
    assert [line["event"] for line in lines] == ["request.http", "request.http", "response.http", "response.http"]
    assert {line["rid"] for line in lines} == {rid}


@every_lift
def test_it_serves_a_plain_function_too(lifted):
    with capture_logs() as lines:
        result, ctx = lifted(default_stack(), len, "four")
    assert (result, ctx["fmtn.context"]["rid"]) == (4, ctx["req.id"])
    assert [(line["event"], line["fn"], line["rid"]) for line in lines] == [
        ("request.call", "len", ctx["req.id"]),
        ("response.call", "len", ctx["req.id"]),
    ]


def test_refuses_what_is_no_logger_when_it_is_given():
    with pytest.raises(TypeError, match="expected a logger"):
        default_stack("shop")


def test_a_client_runs_it(server):
    with capture_logs() as lines, build(base_uri=server.url, middleware=default_stack()) as api, server.watch() as seen:
        api.get("/echo")
    assert {line["rid"] for line in lines} == {seen.requests[0].header("x-request-id")}
