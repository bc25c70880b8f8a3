import asyncio
from datetime import UTC, datetime, timedelta
from time import perf_counter_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import wrap
from formation.for_requests import build
from formation.middleware import request_duration
from formation.middleware.request_duration import microseconds
from tests.middleware.worlds import app, every_lift, every_world, on_server

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

CASES = {
    "seconds": ([10.0, 10.25], 250_000),
    "seconds that binary fractions cannot hold": ([0.1, 0.3], 200_000),
    "whole seconds": ([1, 3], 2_000_000),
    "no time at all": ([5.0, 5.0], 0),
    "less than half a microsecond": ([0.0, 4e-7], 0),
    "a date and time": ([NOON, NOON + timedelta(milliseconds=1, microseconds=7)], 1007),
    "days": ([NOON, NOON + timedelta(days=2)], 172_800_000_000),
    "a clock that was set back": ([NOON, NOON - timedelta(hours=1)], 0),
    "seconds that were set back": ([10.0, 9.0], 0),
}


def clock(times):
    ticks = iter(times)
    return lambda: next(ticks)


@every_world
@pytest.mark.parametrize(("times", "expected"), CASES.values(), ids=CASES)
def test_tells_how_long_the_call_took(world, times, expected):
    seen = []

    def endpoint(ctx):
        seen.append(dict(ctx))
        return {**ctx, "answered": True}

    out = world(request_duration(now=clock(times)), {}, endpoint)
    assert out == {"answered": True, "req.duration_us": expected}
    assert isinstance(out["req.duration_us"], int)
    assert seen == [{}]


@every_world
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_tells_it_when_the_call_raises_in_the_context_that_went_in(world, error):
    ctx = {}

    def endpoint(ctx):
        raise error

    assert world(request_duration(now=clock([1.0, 1.5])), ctx, endpoint) is error
    assert ctx == {"req.duration_us": 500_000}


@every_lift
def test_times_a_lifted_function(lifted):
    result, ctx = lifted([request_duration(now=clock([1.0, 1.5]))], len, "four")
    assert (result, ctx["req.duration_us"]) == (4, 500_000)


def test_what_is_cancelled_took_its_time_as_well():
    ctx = {}

    async def forever(ctx):
        await asyncio.sleep(60)

    async def main():
        task = asyncio.ensure_future(wrap(forever, [request_duration(now=clock([1.0, 1.5]))])(ctx))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ctx == {"req.duration_us": 500_000}


@pytest.mark.parametrize("settings", [{}, {"now": datetime.now}])
def test_a_real_clock_tells_real_time(settings):
    started = perf_counter_ns()
    chain = wrap(lambda ctx: {"sum": sum(range(10_000))}, [request_duration(**settings)])
    duration = chain({})["req.duration_us"]
    assert 0 <= duration <= (perf_counter_ns() - started) / 1000 + 1


@pytest.mark.parametrize("now", [None, 10.0, NOON])
def test_refuses_what_is_no_clock_when_it_is_given(now):
    with pytest.raises(TypeError, match="expected now as a function that tells the time, got"):
        request_duration(now=now)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300)))
def test_seconds_and_dates_mean_the_same(elapsed):
    assert microseconds(elapsed) == microseconds(elapsed.total_seconds()) == elapsed / timedelta(microseconds=1)


def test_outside_it_times_all_inside_each():
    times = clock([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    inner = []

    def twice(ctx, call):
        inner.extend(call({})["req.duration_us"] for _ in range(2))
        return ctx

    chain = wrap(lambda ctx: ctx, [request_duration(now=times), twice, request_duration(now=times)])
    assert chain({})["req.duration_us"] == 5_000_000
    assert inner == [1_000_000, 1_000_000]


def test_a_client_counts_from_the_request_to_the_response(server):
    with build(base_uri=server.url, middleware=[request_duration()]) as api:
        result = api.get("/slow", params={"seconds": "0.02"}, response_as=lambda ctx: ctx["req.duration_us"])
    assert 15_000 < result.body < 20_000_000


@every_world
def test_on_a_server_it_is_the_time_until_the_head_of_the_response(world):
    out = world(request_duration(now=clock([1.0, 1.5])), on_server(), app())
    assert out["req.duration_us"] == 500_000
    assert not out["fmtn.res.http"].body_read
