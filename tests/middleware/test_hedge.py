import asyncio
import logging
import threading

import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs

from formation import lift, reply, wrap
from formation.errors import BulkheadRejected, ConnectError
from formation.fast_forward import LoopClock, fast_forward
from formation.for_requests import build
from formation.http import Request
from formation.middleware import circuit_breaker, hedge
from formation.resilience.budget import Budget
from tests.middleware.worlds import app, every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


def get(method="GET", **more):
    return {"fmtn.req.http": Request(method, "https://h/users/7", **more), "fmtn.state": {}}


def made(delay=1000, **settings):
    return hedge(delay, **{"logger": SILENT, **settings})


def ok(ctx):
    return reply(ctx, 200, body=f"attempt {ctx.get('attempt')}")


def body(out):
    return out["fmtn.res.http"].content


def run(coroutine):
    """Run in a loop of its own time; return the result, and the seconds that it took."""
    clock = LoopClock(0)
    result = fast_forward(coroutine(), clock=clock)
    return result, round(clock.elapsed, 6)


class Steps:
    """An async endpoint: so many seconds, and then an answer or an error, for each attempt."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.seen, self.cancelled = [], []

    async def __call__(self, ctx):
        seconds, answer = self.steps[len(self.seen)]
        self.seen.append(ctx)
        number = len(self.seen)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if isinstance(answer, BaseException):
            raise answer
        return reply(ctx, answer, body=str(number))


def hedged(steps, middleware, ctx=None):
    async def main():
        return await wrap(steps, [middleware])(ctx or get())

    return run(main)


@every_world
def test_an_answer_in_time_is_as_it_is(world):
    ctx = get()
    out = world(made(), ctx, ok)
    assert out is ctx
    assert (body(out), out["attempt"]) == (b"attempt 1", 1)


@every_world
@pytest.mark.parametrize("error", [ValueError("a bug"), BulkheadRejected("full")], ids=repr)
def test_an_error_that_will_not_pass_is_raised_at_once(world, error):
    calls = []

    def fails(ctx):
        calls.append(ctx)
        raise error

    assert world(made(), get(), fails) is error
    assert len(calls) == 1


@every_world
def test_an_attempt_that_fails_lets_the_next_one_start_at_once(world):
    def flaky(ctx):
        if ctx["attempt"] == 1:
            ctx["left"] = ctx["fmtn.state"]["left"] = True
            raise ConnectError("refused")
        return ok(ctx)

    out = world(made(), get(), flaky)
    assert (body(out), out["attempt"], "left" in out, out["fmtn.state"]) == (b"attempt 2", 2, False, {})
    out = world(made(), get(), lambda ctx: reply(ctx, 503 if ctx["attempt"] == 1 else 200))
    assert out["fmtn.res.http"].status_code == 200


@every_world
def test_if_all_fail_the_outcome_of_the_first_counts(world):
    out = world(made(extra=2), get(), lambda ctx: reply(ctx, 502))
    assert (out["fmtn.res.http"].status_code, out["attempt"]) == (502, 1)
    errors = [ConnectError("1"), ConnectError("2")]

    def fails(ctx):
        raise errors[ctx["attempt"] - 1]

    assert world(made(), get(), fails) is errors[0]


@every_world
@pytest.mark.parametrize(
    "ctx",
    [
        lambda: get("POST"),
        lambda: get("PUT", content=iter([b"once"])),
        lambda: get(extensions={"stream": True}),
    ],
    ids=["post", "generator", "stream"],
)
def test_what_may_not_be_sent_twice_is_sent_once(world, ctx):
    seen = []

    def down(ctx):
        seen.append(ctx)
        return reply(ctx, 503)

    assert world(made(), ctx(), down)["fmtn.res.http"].status_code == 503
    assert len(seen) == 1


@every_world
@pytest.mark.parametrize(
    ("ctx", "settings"),
    [
        (lambda: get("POST", headers={"Idempotency-Key": "1"}, content=b"order"), {}),
        (lambda: get("POST", content=b"order"), {"idempotent": True}),
        (lambda: get("PUT", content=b"order"), {}),
    ],
    ids=["key", "idempotent", "put"],
)
def test_what_may_be_sent_twice_is_the_same_each_time(world, ctx, settings):
    seen = []

    def down(ctx):
        seen.append((ctx["fmtn.req.http"].method, ctx["fmtn.req.http"].content))
        return reply(ctx, 503)

    world(made(**settings), ctx(), down)
    assert len(seen) == 2
    assert seen[0] == seen[1]


@every_lift
def test_around_a_function(lifted):
    assert lifted([made()], lambda: 42)[0] == 42
    answers = [OSError("no"), 42]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert lifted([made()], ask)[0] == 42


@every_world
def test_a_context_that_is_no_dict_will_do(world):
    assert world(made(), 42, lambda ctx: ctx + 1) == 43


@every_world
def test_on_a_server_nothing_is_done(world):
    assert world(made(), on_server(), app(503))["fmtn.res.http"].status_code == 503


# Side by side, in tasks


def test_a_late_answer_is_overtaken_and_its_task_cancelled():
    steps = Steps((10, 200), (2, 200))
    out, took = hedged(steps, made(1))
    assert (body(out), took, steps.cancelled) == (b"2", 3, [1])


def test_a_late_answer_may_still_be_first():
    steps = Steps((2, 200), (10, 200))
    out, took = hedged(steps, made(1))
    assert (body(out), took, steps.cancelled) == (b"1", 2, [2])


def test_of_two_answers_at_the_same_moment_the_other_one_is_closed():
    closed = []

    def answer(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append(ctx["attempt"]))
        return ctx

    async def endpoint(ctx):
        await asyncio.sleep(3 if ctx["attempt"] == 1 else 2)
        return reply(ctx, 200, body=iter([b"x"]))

    async def main():
        out = await wrap(endpoint, [made(1), answer])(get())
        await asyncio.sleep(1)
        return out

    out, _ = run(main)
    assert closed == [3 - out["attempt"]]


def test_on_trio_a_call_is_as_it_is():
    async def endpoint(ctx):
        await trio.lowlevel.checkpoint()
        return reply(ctx, 503)

    out = trio.run(wrap(endpoint, [made()]), get())
    assert out["fmtn.res.http"].status_code == 503
    assert "attempt" not in out


def test_more_attempts_follow_each_other_and_the_ledger_has_them_all():
    steps = Steps((10, 200), (10, 200), (1, 200))
    out, took = hedged(steps, made(1, extra=2))
    assert (body(out), took, sorted(steps.cancelled)) == (b"3", 3, [1, 2])
    assert [(each.number, each.status, each.error) for each in out["fmtn.attempts"]] == [
        (1, None, "Overtaken"),
        (2, None, "Overtaken"),
        (3, 200, None),
    ]


def test_a_hedge_that_fails_leaves_the_first_alone():
    for answer in (503, ConnectError("x"), BulkheadRejected("full"), ValueError("x")):
        out, took = hedged(Steps((5, 200), (1, answer)), made(1))
        assert (body(out), took) == (b"1", 5)


def test_each_world_of_neighbours_works_on_the_bridge():
    def plain(ctx, call):
        ctx["below"] = ctx.get("below", 0) + 1
        return call(ctx)

    async def main():
        return await wrap(Steps((10, 200), (2, 200)), [made(1), plain, plain])(get())

    out, took = run(main)
    assert (out["below"], took) == (2, 3)


def test_cancellation_cancels_all_attempts():
    steps = Steps((10, 200), (10, 200))

    async def main():
        task = asyncio.create_task(wrap(steps, [made(1)])(get()))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
    assert sorted(steps.cancelled) == [1, 2]


def test_a_closed_coroutine_cancels_all_attempts():
    steps = Steps((10, 200), (10, 200))

    async def main():
        closed = wrap(steps, [made(1)])(get())
        closed.send(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closed.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
    assert steps.cancelled == [1]


def test_a_loser_does_not_count_for_the_circuit():
    breaker = circuit_breaker(SILENT, fail_max=1)
    steps = Steps((10, 503), (1, 200), (0, 200))

    async def main():
        chain = wrap(steps, [made(1), breaker])
        await chain(get())
        await asyncio.sleep(20)
        return await chain(get())

    assert body(run(main)[0]) == b"3"


# Side by side, in threads


def test_in_a_sync_chain_a_late_answer_is_overtaken_and_closed_when_it_comes():
    may_end, closed = threading.Event(), threading.Event()

    def endpoint(ctx):
        if ctx["attempt"] == 1:
            assert may_end.wait(10)
            ctx = reply(ctx, 200, body=iter([b"late"]))
            ctx["fmtn.res.http"].on_close(lambda count, error: closed.set())
            return ctx
        return ok(ctx)

    assert body(wrap(endpoint, [made(0.01)])(get())) == b"attempt 2"
    may_end.set()
    assert closed.wait(10)


@every_world
def test_without_a_budget_whatever_is_late_is_sent_again(world):
    middleware = made(budget=None)
    outs = [world(middleware, get(), lambda ctx: reply(ctx, 503 if ctx["attempt"] == 1 else 200)) for _ in range(30)]
    assert {out["fmtn.res.http"].status_code for out in outs} == {200}


def test_one_for_which_there_is_no_thread_is_neither_paid_for_nor_said_to_be_sent(monkeypatch):
    start, left = threading.Thread.start, [1]

    def starts(thread):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    budget = Budget(1, cost=1, per_success=0)
    with capture_logs() as events:
        out = wrap(lambda ctx: reply(ctx, 503), [hedge(1000, budget=budget)])(get())
    assert (out["fmtn.res.http"].status_code, [each.number for each in out["fmtn.attempts"]]) == (503, [1])
    assert (events, budget.spent) == ([], {})


def test_in_a_sync_chain_a_base_exception_of_an_attempt_is_raised():
    def endpoint(ctx):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        wrap(endpoint, [made(60)])(get())


def test_against_a_real_server(server):
    with build(base_uri=server.url, middleware=[made(0.05)]) as api:
        assert api.get("/echo").status_code == 200
        assert sorted(each.number for each in api.get("/slow", params={"seconds": 0.5}).attempts) == [1, 2]


# The quantile, and the budget


@every_world
def test_before_there_are_latencies_nobody_hedges(world):
    seen = []

    def down(ctx):
        seen.append(ctx)
        return reply(ctx, 503)

    world(hedge(logger=SILENT), get(), down)
    assert len(seen) == 1


def test_after_the_time_of_95_calls_of_100_a_second_one_is_sent():
    async def main():
        middleware = hedge(logger=SILENT, clock=asyncio.get_running_loop().time)
        for n in range(100):
            await wrap(Steps((n / 100, 200), (99, 200)), [middleware])(get())
        started = asyncio.get_running_loop().time()
        await wrap(Steps((60, 200), (1, 200)), [middleware])(get())
        return round(asyncio.get_running_loop().time() - started, 6)

    assert run(main)[0] == 1.95


@every_world
def test_without_tokens_nobody_hedges(world):
    budget = Budget(1, cost=1)
    middleware = made(budget=budget)

    def flaky(ctx):
        return reply(ctx, 503 if ctx["attempt"] == 1 else 404)

    assert [world(middleware, get(), flaky)["fmtn.res.http"].status_code for _ in range(2)] == [404, 404]
    middleware = made(budget=Budget(1, cost=1, per_success=0))
    assert [world(middleware, get(), flaky)["fmtn.res.http"].status_code for _ in range(2)] == [404, 503]


@every_world
def test_the_log_says_that_there_is_another_one(world):
    with capture_logs() as events:
        world(hedge(5), get(), lambda ctx: reply(ctx, 503))
    assert events == [{"event": "hedge.sent", "log_level": "info", "attempt": 2, "delay": 5, "request": "GET /users/7"}]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"delay": 0}, ValueError, "expected delay as a number above 0"),
        ({"delay": "p99"}, ValueError, "expected delay as a number above 0"),
        ({"extra": 0}, ValueError, "expected extra as a whole number"),
        ({"budget": -1}, ValueError, "expected ratio"),
        ({"logger": "x"}, TypeError, "expected a logger"),
    ],
)
def test_what_cannot_be_is_refused(settings, kind, said):
    with pytest.raises(kind, match=said):
        hedge(**settings)


def test_the_calls_of_a_lifted_function_are_not_mixed_up():
    @lift(middleware=[made(0.001)])
    def double(number):
        return number * 2

    assert [double(number) for number in range(50)] == [number * 2 for number in range(50)]
