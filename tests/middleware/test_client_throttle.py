import asyncio
import gc
import logging

import pytest
from structlog.testing import capture_logs

from formation import compose, lift, reply, wrap
from formation.errors import (
    AttemptTimeout,
    BulkheadRejected,
    ConnectError,
    DeadlineExceeded,
    ReadTimeout,
    StatusError,
    ThrottleRejected,
)
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import client_throttle, raise_for_status, retry
from tests.middleware.worlds import every_lift, every_world
from tests.servers import refused

SILENT = logging.getLogger("tests.silent")
LONG = 10.0
PLACE = "https://h"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def never_lucky(low, high):
    """Be drawn whenever there is a chance to be."""
    return 0.0


def made(clock=None, **settings):
    """One that refuses from the third call on, if none is accepted."""
    given = {"window": 10, "min_rate": 0.2, "logger": SILENT, "clock": clock or Clock(), "random": never_lucky}
    return client_throttle(**{**given, **settings})


def get(url="https://h/users/7", **more):
    return {"fmtn.req.http": Request("GET", url), **more}


def answers(step):
    def endpoint(ctx):
        if isinstance(step, BaseException):
            raise step
        return reply(ctx, step)

    return endpoint


def never(ctx):
    raise AssertionError("the endpoint was asked")


def counts(middleware, key=PLACE):
    return middleware.counts[key].requests, middleware.counts[key].accepts


def status_error(status):
    error = StatusError(status_code=status)
    error.response = Response(status)
    return error


@every_world
@pytest.mark.parametrize("status", [200, 301, 400, 404, 500, 502, 504])
def test_any_answer_but_two_shows_that_the_endpoint_takes_calls(world, status):
    throttle = made()
    for _ in range(5):
        assert world(throttle, get(), answers(status))["fmtn.res.http"].status_code == status
    assert counts(throttle) == (5, 5)


@every_world
@pytest.mark.parametrize(
    "step",
    [429, 503, ConnectError("no"), ReadTimeout("slow"), AttemptTimeout("slow"), DeadlineExceeded("late"),
     TimeoutError("slow"), ConnectionResetError("reset"), status_error(503), status_error(429)],
    ids=repr,
)  # fmt: skip
def test_one_that_says_no_or_nothing_is_asked_less(world, step):
    throttle = made()
    for _ in range(2):
        out = world(throttle, get(), answers(step))
        assert out is step or out["fmtn.res.http"].status_code == step
    error = world(throttle, get(), never)
    assert type(error) is ThrottleRejected
    assert (error.name, error.retry_after) == (PLACE, None)
    assert str(error) == "it accepts 0 of 3 calls: one in 3 is made"
    assert counts(throttle) == (3, 0)


@every_world
@pytest.mark.parametrize("error", [ValueError("bug"), status_error(404), OSError("no such device")], ids=repr)
def test_another_error_shows_that_it_is_there(world, error):
    throttle = made()
    for _ in range(5):
        assert world(throttle, get(), answers(error)) is error
    assert counts(throttle) == (5, 5)


@every_world
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), BulkheadRejected("full")], ids=repr
)
def test_what_was_cancelled_or_turned_away_counts_for_nothing(world, error):
    throttle = made()
    for _ in range(5):
        assert world(throttle, get(), answers(error)) is error
    assert counts(throttle) == (0, 0)


@every_world
def test_what_is_cancelled_when_its_deadline_has_come_was_not_accepted(world, clock):
    throttle = made(clock)
    world(throttle, get(**{"fmtn.deadline": 1000.0}), answers(asyncio.CancelledError()))
    world(throttle, get(**{"fmtn.deadline": 1001.0}), answers(asyncio.CancelledError()))
    assert counts(throttle) == (1, 0)


@every_world
def test_who_is_lucky_is_let_through(world):
    throttle = made(random=lambda low, high: 0.95)
    for _ in range(100):
        world(throttle, get(), answers(503))
    assert counts(throttle) == (100, 0)


@every_world
def test_a_call_counts_before_it_is_made(world):
    throttle, seen = made(), []

    def endpoint(ctx):
        seen.append(counts(throttle))
        return reply(ctx, 200)

    world(throttle, get(), endpoint)
    assert (seen, counts(throttle)) == ([(1, 0)], (1, 1))


@every_world
def test_when_the_bad_times_have_left_the_window_all_calls_are_made(world, clock):
    throttle = made(clock)
    for _ in range(3):
        world(throttle, get(), answers(503))
    clock.now += 11
    assert world(throttle, get(), answers(200))["fmtn.res.http"].status_code == 200


@every_world
def test_each_origin_is_counted_by_itself_or_by_a_key(world):
    throttle = made()
    for _ in range(3):
        world(throttle, get("https://a/1"), answers(503))
    assert type(world(throttle, get("https://a/2"), never)) is ThrottleRejected
    assert isinstance(world(throttle, get("https://b/1"), answers(200)), dict)
    throttle = made(key=lambda ctx: ctx["tenant"])
    world(throttle, get(tenant="a"), answers(503))
    assert (counts(throttle, "a"), counts(throttle, "b")) == ((1, 0), (0, 0))


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None], ids=repr)
def test_a_context_without_a_request_or_any_other_will_do(world, ctx):
    throttle = made()
    assert world(throttle, ctx, lambda ctx: ctx or {}) == (ctx or {})
    assert counts(throttle, None) == (1, 1)


@every_lift
def test_it_throttles_any_function(lifted):
    throttle = made()

    def fail():
        raise TimeoutError("slow")

    for _ in range(2):
        with pytest.raises(TimeoutError):
            lifted([throttle], fail)
    with pytest.raises(ThrottleRejected) as caught:
        lifted([throttle], fail)
    assert caught.value.name == "client_throttle"


@every_world
def test_what_is_accepted_can_be_said(world):
    throttle = made(accepted=lambda ctx, error: error is None and ctx["fmtn.res.http"].status_code < 500)
    world(throttle, get(), answers(429))
    world(throttle, get(), answers(500))
    world(throttle, get(), answers(ValueError()))
    assert counts(throttle) == (3, 1)


def test_tasks_that_are_cancelled_closed_or_forgotten_count_for_nothing():
    throttle = made()

    async def endpoint(ctx):
        await asyncio.sleep(LONG)
        return ctx

    async def main():
        chain = wrap(endpoint, [throttle])
        task, (closed, forgotten) = asyncio.create_task(chain({})), (chain({}), chain({}))
        await asyncio.sleep(0)
        closed.send(None)
        forgotten.send(None)
        task.cancel()
        closed.close()
        del forgotten
        gc.collect()
        with pytest.raises(asyncio.CancelledError):
            await task

    throttle = made(min_rate=5)
    asyncio.run(main())
    assert counts(throttle, None) == (0, 0)


def test_each_attempt_of_a_retry_counts_and_a_rejection_is_not_retried():
    throttle, slept = made(), []
    chain = compose(retry(3, logger=SILENT, sleep=slept.append), throttle)
    out = wrap(answers(503), [chain])(get())
    assert out["fmtn.res.http"].status_code == 503
    assert (counts(throttle), len(slept)) == ((3, 0), 2)
    with pytest.raises(ThrottleRejected):
        wrap(never, [chain])(get())
    assert len(slept) == 2


def test_a_status_that_another_middleware_inside_has_made_an_error_counts_as_it_is():
    throttle = made()
    with pytest.raises(StatusError):
        wrap(answers(503), [throttle, raise_for_status()])(get())
    assert counts(throttle) == (1, 0)


@every_world
def test_it_says_who_is_turned_away(world):
    throttle = made(logger=None)
    with capture_logs() as events:
        for _ in range(3):
            world(throttle, get(), answers(503))
    assert events == [
        {
            "event": "client_throttle.rejected",
            "log_level": "warning",
            "key": PLACE,
            "probability": 0.667,
            "request": "GET /users/7",
        }
    ]


def test_a_server_that_fails_and_one_that_is_not_there_are_asked_less(server):
    throttle = made()
    gone = refused()
    with build(middleware=[throttle]) as api, server.watch() as seen:
        for _ in range(5):
            try:
                api.get(f"{server.url}/status/503")
            except ThrottleRejected:
                continue
        for _ in range(2):
            with pytest.raises(ConnectError):
                api.get(gone)
        with pytest.raises(ThrottleRejected):
            api.get(gone)
    assert len(seen.requests) == 2


def test_it_can_be_a_decorator_of_a_function():
    @lift(middleware=[made()])
    def ask():
        return 42

    assert [ask() for _ in range(9)] == [42] * 9


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"k": 0.5}, ValueError, "expected k as a number, 1 or more, got 0.5"),
        ({"k": "2"}, ValueError, "expected k as a number above 0, got '2'"),
        ({"window": 0}, ValueError, "expected window as a number above 0, got 0"),
        ({"max": 1}, ValueError, "expected max from 0 to below 1, got 1"),
        ({"max": -0.1}, ValueError, "expected max from 0 to below 1, got -0.1"),
        ({"max": "0.9"}, ValueError, "expected max from 0 to below 1, got '0.9'"),
        ({"min_rate": -1}, ValueError, "expected min_rate as a number above 0, got -1"),
        ({"accepted": 7}, TypeError, "expected accepted as a function of the context and the error, got 7"),
        ({"key": "tenant"}, TypeError, "expected key as a function of the context, got 'tenant'"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, kind, said):
    with pytest.raises(kind, match=said):
        client_throttle(**settings)
