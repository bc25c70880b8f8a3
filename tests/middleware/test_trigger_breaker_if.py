import pickle

import pytest

from formation import reply
from formation.errors import BreakerTriggerException
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import circuit_breaker, retry, trigger_breaker_if
from tests.middleware.worlds import every_world


def in_maintenance(response):
    return response is not None and "X-Maintenance" in response.headers


def get():
    return {"fmtn.req.http": Request("GET", "https://h/users/7")}


def maintenance(ctx):
    return reply(ctx, 200, {"X-Maintenance": "yes"}, b"back soon")


@every_world
def test_raises_when_the_response_is_what_the_predicate_looks_for(world):
    ctx = get()
    error = world(trigger_breaker_if(in_maintenance), ctx, maintenance)
    assert type(error) is BreakerTriggerException
    assert str(error) == "trigger_breaker_if: in_maintenance is true for the 200 from GET /users/7"
    assert (error.response.status_code, error.response.content) == (200, b"back soon")
    assert error.request is ctx["fmtn.req.http"]


@every_world
def test_any_other_response_passes(world):
    out = world(trigger_breaker_if(in_maintenance), get(), lambda ctx: reply(ctx, 503))
    assert out["fmtn.res.http"].status_code == 503


@every_world
def test_what_the_predicate_returns_need_not_be_a_bool(world):
    made = trigger_breaker_if(lambda response: response.headers.get("X-Maintenance"))
    assert type(world(made, get(), maintenance)) is BreakerTriggerException
    assert world(made, get(), lambda ctx: reply(ctx, 200))["fmtn.res.http"].status_code == 200


@every_world
def test_where_there_is_no_response_the_predicate_gets_none(world):
    assert world(trigger_breaker_if(in_maintenance), {}, lambda ctx: ctx) == {}
    error = world(trigger_breaker_if(lambda response: response is None), {}, lambda ctx: ctx)
    assert str(error) == "trigger_breaker_if: <lambda> is true"
    assert (error.response, error.request) == (None, None)


@every_world
def test_an_error_passes_and_so_does_one_of_the_predicate(world):
    error = OSError("no")

    def fail(ctx):
        raise error

    assert world(trigger_breaker_if(in_maintenance), get(), fail) is error
    assert type(world(trigger_breaker_if(lambda response: response.nothing), get(), maintenance)) is AttributeError


@every_world
def test_the_body_of_a_stream_is_closed_for_nobody_else_can(world):
    closed = []

    def stream(ctx):
        ctx["fmtn.res.http"] = Response(200, {"X-Maintenance": "yes"}, (piece for piece in [b"x"]))
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append(count))
        return ctx

    world(trigger_breaker_if(in_maintenance), get(), stream)
    assert closed == [0]


@pytest.mark.parametrize("predicate", [None, 503, "status"])
def test_what_is_no_function_is_refused_at_once(predicate):
    with pytest.raises(TypeError, match="expected a function of the response, got "):
        trigger_breaker_if(predicate)


def test_the_error_pickles():
    with pytest.raises(BreakerTriggerException) as raised:
        trigger_breaker_if(in_maintenance)(get(), maintenance)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.response.status_code) == (str(raised.value), 200)


def test_in_a_client_it_opens_the_circuit_outside_of_it(server):
    breaker = circuit_breaker(fail_max=2)
    stack = [breaker, trigger_breaker_if(lambda response: b"sorry" in response.content)]
    with build(base_uri=server.url, middleware=stack) as api:
        assert api.get("/data?body=fine").status_code == 200
        for _ in range(2):
            with pytest.raises(BreakerTriggerException) as raised:
                api.get("/data?body=sorry")
    assert breaker.gates[server.url].state == "open"
    assert raised.value.response.content == b"sorry"


def test_retry_outside_of_it_judges_by_the_status(server):
    slept = []
    again = retry(sleep=slept.append)
    with build(base_uri=server.url, middleware=[again, trigger_breaker_if(lambda response: True)]) as api:
        for status, attempts in ((200, 1), (503, 3)):
            with pytest.raises(BreakerTriggerException):
                api.get(f"/status/{status}")
            assert len(slept) == attempts - 1
