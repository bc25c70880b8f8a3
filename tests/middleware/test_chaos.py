import asyncio
import logging
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from formation import compose, reply, wrap
from formation.errors import CircuitOpenError, ProtocolError, ReadTimeout
from formation.for_requests import build
from formation.http import Request
from formation.middleware import chaos, circuit_breaker, retry
from formation.testing import simulate
from tests.middleware.worlds import app, every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


def get(**more):
    return {"fmtn.req.http": Request("GET", "https://h/users/7"), **more}


def ok(ctx):
    return reply(ctx, 200)


def never(ctx):
    raise AssertionError("the endpoint was asked")


def made(fault=0, latency=0, status=0, **settings):
    return chaos(fault, latency, status, **{"enabled": True, "logger": SILENT, **settings})


def marks(ctx):
    return ctx.get("fmtn.state", {}).get("chaos")


@every_world
def test_it_does_nothing_unless_it_is_enabled(world):
    ctx = get()
    assert world(chaos(1, 1, 1, sleep=never), ctx, ok) is ctx
    assert ctx["fmtn.res.http"].status_code == 200
    assert marks(ctx) is None


@every_world
def test_a_fault_is_an_error_in_place_of_the_call(world):
    ctx = get()
    error = world(made(1, 1, 1, sleep=never), ctx, never)
    assert (type(error), str(error)) == (ProtocolError, "injected by chaos")
    assert marks(ctx) == ["fault"]
    assert type(world(made(1, error=ReadTimeout), get(), never)) is ReadTimeout


@every_world
def test_latency_delays_the_call(world):
    slept = []
    settings = {"sleep": slept.append, "random": lambda low, high: high / 2}
    out = world(made(latency=1, delay=3, **settings), get(), ok)
    assert (out["fmtn.res.http"].status_code, slept, marks(out)) == (200, [1.5], ["latency"])


@every_world
def test_a_delay_ends_with_the_deadline(world):
    slept = []
    settings = {"sleep": slept.append, "random": lambda low, high: high / 2, "clock": lambda: 100.0}
    world(made(latency=1, delay=3, **settings), get(**{"fmtn.deadline": 101.0}), ok)
    world(made(latency=1, delay=3, **settings), get(**{"fmtn.deadline": 99.0}), ok)
    assert slept == [1, 0]


@every_world
def test_a_status_is_an_answer_in_place_of_the_call(world):
    out = world(made(status=1), get(), never)
    assert (out["fmtn.res.http"].status_code, marks(out)) == (503, ["status"])
    assert world(made(status=1, code=429), get(), never)["fmtn.res.http"].status_code == 429


@every_world
def test_a_call_may_be_late_and_then_answered_with_a_status(world):
    slept = []
    out = world(made(0, 1, 1, sleep=slept.append), get(), never)
    assert (len(slept), marks(out)) == (1, ["latency", "status"])


@every_lift
def test_around_a_function_there_are_faults_and_delays_and_no_status(lifted):
    assert lifted([made(status=1)], lambda: 42)[0] == 42
    assert lifted([made(latency=1, sleep=lambda seconds: None)], lambda: 42)[0] == 42
    with pytest.raises(ProtocolError):
        lifted([made(fault=1)], lambda: 42)


@every_world
def test_a_context_that_is_no_dict_will_do(world):
    assert world(made(0, 1, 1, sleep=lambda seconds: None), 42, lambda ctx: ctx) == 42
    assert type(world(made(1), 42, never)) is ProtocolError


@every_world
def test_on_a_server_it_answers_in_place_of_the_app(world):
    assert world(made(status=1), on_server(), app(200))["fmtn.res.http"].status_code == 503


@pytest.mark.parametrize("kind", ["fault", "latency", "status"])
def test_a_probability_is_kept(kind):
    hits = 0
    chain = wrap(ok, [made(**{kind: 0.02}, seed=3, sleep=lambda seconds: None)])
    for _ in range(10_000):
        ctx = get()
        with suppress(ProtocolError):
            chain(ctx)
        hits += marks(ctx) == [kind]
    assert 160 <= hits <= 240


def sequence(**settings):
    chain = wrap(ok, [made(0.3, 0.3, 0.3, sleep=lambda seconds: None, **settings)])
    said = []
    for _ in range(50):
        ctx = get()
        with suppress(ProtocolError):
            chain(ctx)
        said.append(tuple(marks(ctx) or ()))
    return said


def test_the_same_seed_gives_the_same_sequence():
    assert sequence(seed=7) == sequence(seed=7) != sequence(seed=8)
    assert len(set(sequence(seed=7))) == 5


def test_a_simulation_gives_the_same_luck_without_a_seed():
    client = build(base_uri="https://h", middleware=[made(0, 0.5, 0.5)], endpoint=ok)

    def codes():
        with simulate(client) as run:
            return [run.client.get("/").status_code for _ in range(20)], run.slept

    assert codes() == codes()
    assert codes()[1]


@every_world
def test_it_may_be_for_some_calls(world):
    middleware = made(status=1, enabled=lambda ctx: ctx["who"] == "me")
    assert world(middleware, get(who="me"), ok)["fmtn.res.http"].status_code == 503
    assert world(middleware, get(who="you"), ok)["fmtn.res.http"].status_code == 200


@every_world
def test_retry_and_the_circuit_breaker_take_it_for_real(world):
    out = world(compose(retry(base=0, logger=SILENT), made(status=1)), get(), never)
    assert [each.status for each in out["fmtn.attempts"]] == [503, 503, 503]
    assert marks(out) == ["status"]
    breaker = circuit_breaker(SILENT, fail_max=2)
    errors = [type(world(compose(breaker, made(1)), get(), never)) for _ in range(3)]
    assert errors == [ProtocolError, ProtocolError, CircuitOpenError]


@every_world
def test_the_log_says_what_was_done(world):
    with capture_logs() as events:
        world(made(1, logger=None), get(), ok)
        world(made(0, 1, 1, logger=None, sleep=lambda seconds: None, random=lambda low, high: 0), get(), ok)
    common = {"event": "chaos.injected", "log_level": "warning", "request": "GET /users/7"}
    assert events == [
        {**common, "kind": "fault", "error": "ProtocolError"},
        {**common, "kind": "latency", "delay": 0},
        {**common, "kind": "status", "status": 503},
    ]


def test_a_cancelled_delay_is_a_cancelled_call():
    async def main():
        async def fetch(ctx):
            raise AssertionError

        task = asyncio.create_task(wrap(fetch, [made(latency=1, delay=1000, random=lambda low, high: high / 2)])(get()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"fault": 2}, ValueError, "expected fault as a probability from 0 to 1, got 2"),
        ({"latency": -0.1}, ValueError, "expected latency as a probability"),
        ({"status": True}, ValueError, "expected status as a probability"),
        ({"status": float("nan")}, ValueError, "expected status as a probability"),
        ({"delay": -1}, ValueError, "expected delay in seconds"),
        ({"code": 99}, ValueError, "99"),
        ({"error": 503}, TypeError, "expected error as a type of error"),
        ({"sleep": asyncio.sleep}, TypeError, "expected sleep as a plain function"),
        ({"logger": "x"}, TypeError, "expected a logger"),
    ],
)
def test_what_cannot_be_is_refused(settings, kind, said):
    with pytest.raises(kind, match=said):
        chaos(**settings)
