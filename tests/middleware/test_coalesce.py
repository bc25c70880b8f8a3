import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from time import monotonic

import pytest

from formation import lift, reply, wrap
from formation.errors import ConnectError, DeadlineExceeded, StatusError
from formation.for_requests import build
from formation.http import Request
from formation.middleware import coalesce, fallback, raise_for_status, retry
from formation.resilience import together as together_
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.resilience.interrupts import at_each_point


def get(url="https://h/users/7", method="GET", session=None, **more):
    return {"fmtn.req.http": Request(method, url, **more), "fmtn.session": session or {}, "fmtn.state": {}}


def ok(ctx):
    return reply(ctx, 200, body=b"one")


class Upstream:
    """Answers once it is let, and counts."""

    def __init__(self, answer=ok):
        self.calls = 0
        self.answer = answer
        self.open = asyncio.Event()

    async def __call__(self, ctx):
        self.calls += 1
        await self.open.wait()
        return self.answer(ctx)


def together(upstream, *ctxs, middleware=None):
    """Make the calls at the same time; return their outcomes."""

    async def main():
        chain = wrap(upstream, middleware or [coalesce()])
        tasks = [asyncio.create_task(chain(ctx)) for ctx in ctxs]
        for _ in range(5):
            await asyncio.sleep(0)
        upstream.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(main())


@every_world
def test_one_call_by_itself_is_as_it_is(world):
    ctx = get()
    middleware = coalesce()
    for _ in range(2):
        out = world(middleware, ctx, ok)
        assert out is ctx
        assert out["fmtn.res.http"].content == b"one"
        assert out["fmtn.state"] == {}


@every_world
@pytest.mark.parametrize(
    "error", [ConnectError("refused"), ValueError("x"), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_an_error_of_a_call_by_itself_is_its_own_and_nothing_stays_behind(world, error):
    def fails(ctx):
        raise error

    middleware = coalesce()
    for _ in range(2):
        assert world(middleware, get(), fails) is error or isinstance(error, asyncio.CancelledError)
    assert isinstance(world(middleware, get(), ok), dict)


def test_identical_calls_at_the_same_time_are_one_and_each_has_a_response_of_its_own():
    upstream = Upstream()
    ctxs = [get() for _ in range(10)]
    outs = together(upstream, *ctxs)
    assert upstream.calls == 1
    assert all(out is ctx for out, ctx in zip(outs, ctxs, strict=True))
    responses = [out["fmtn.res.http"] for out in outs]
    assert {response.content for response in responses} == {b"one"}
    assert len({id(response) for response in responses}) == 10
    assert all(response.request is ctx["fmtn.req.http"] for response, ctx in zip(responses, ctxs, strict=True))
    responses[1].headers["X-Mine"] = "1"
    assert not any("X-Mine" in response.headers for response in responses[2:])
    assert [out["fmtn.state"] for out in outs] == [{}] + [{"coalesced": True}] * 9


def test_nothing_is_kept():
    upstream = Upstream()
    upstream.answer = ok
    for count in (1, 2):
        upstream.open = asyncio.Event()
        together(upstream, get(), get())
        assert upstream.calls == count


DIFFERENT = {
    "url": (get(), get("https://h/users/8")),
    "params": (get(params={"a": 1}), get(params={"a": 2})),
    "method": (get(), get(method="HEAD")),
    "a header": (get(headers={"Authorization": "me"}), get(headers={"Authorization": "you"})),
    "cookies": (get(cookies={"a": "1"}), get(cookies={"a": "2"})),
    "auth": (get(auth=("me", "x")), get(auth=("you", "x"))),
    "session": (get(session={"uid": 1}), get(session={"uid": 2})),
    "uid": ({**get(), "uid": 1}, {**get(), "uid": 2}),
    "a session of equal ids": (get(session={"uid": 1}), get(session={"uid": True})),
    "equal uids": ({**get(), "uid": 1}, {**get(), "uid": True}),
    "a session that cannot be sorted": (get(session={"uid": 1, 2: 3}), get(session={"uid": 1, 2: 3})),
    "a session that cannot be compared": (get(session={"uid": []}), get(session={"uid": []})),
    "post": (get(method="POST"), get(method="POST")),
    "body": (get(content=b"x"), get(content=b"x")),
    "stream": (get(extensions={"stream": True}), get(extensions={"stream": True})),
}


@pytest.mark.parametrize("why", DIFFERENT)
def test_calls_that_are_not_identical_are_made_each_by_itself(why):
    upstream = Upstream()
    together(upstream, *DIFFERENT[why])
    assert upstream.calls == 2


def test_headers_that_tell_one_request_from_the_other_do_not_count():
    upstream = Upstream()
    together(upstream, get(headers={"x-request-id": "1"}), get(headers={"X-Request-Id": "2"}))
    assert upstream.calls == 1
    upstream = Upstream()
    apart = [get(headers={"X-Trial": "1"}), get(headers={"X-Trial": "2"})]
    together(upstream, *apart, middleware=[coalesce(ignore="x-trial")])
    assert upstream.calls == 1


def test_a_key_says_what_is_identical():
    upstream = Upstream()
    together(upstream, get("https://a/"), get("https://b/"), middleware=[coalesce(key=lambda ctx: 1)])
    assert upstream.calls == 1
    upstream = Upstream()
    together(upstream, get(), get(), middleware=[coalesce(key=lambda ctx: None)])
    assert upstream.calls == 2


def test_an_error_is_shared_and_each_has_one_of_its_own():
    cause = OSError("no route")

    def refuse(ctx):
        raise ConnectError("refused") from cause

    upstream = Upstream(refuse)
    errors = together(upstream, get(), get(), get())
    assert upstream.calls == 1
    assert [(type(error), str(error), error.__cause__) for error in errors] == [(ConnectError, "refused", cause)] * 3
    assert len({id(error) for error in errors}) == 3
    errors[1].add_note("mine")
    assert not hasattr(errors[2], "__notes__")


def test_notes_are_shared_as_they_were():
    def refuse(ctx):
        error = ConnectError("refused")
        error.add_note("all")
        raise error

    errors = together(Upstream(refuse), get(), get(), get())
    errors[1].add_note("mine")
    assert [error.__notes__ for error in errors] == [["all"], ["all", "mine"], ["all"]]


def test_an_error_that_cannot_be_copied_is_shared_as_it_is():
    class Stubborn(Exception):
        def __init__(self, a, b):
            super().__init__(a)

    def refuse(ctx):
        raise Stubborn(1, 2)

    errors = together(Upstream(refuse), get(), get())
    assert errors[0] is errors[1]


def test_statuses_attempts_and_being_degraded_are_shared():
    def down(ctx):
        return reply(ctx, 503)

    middleware = [coalesce(), raise_for_status()]
    assert [type(error) for error in together(Upstream(down), get(), get(), middleware=middleware)] == [StatusError] * 2
    upstream = Upstream(down)
    middleware = [coalesce(), fallback(b"else"), retry(2, base=0)]
    outs = together(upstream, get(), get(), middleware=middleware)
    assert upstream.calls == 2
    assert [(out["degraded"], len(out["fmtn.attempts"]), out["attempt"]) for out in outs] == [("status 503", 2, 2)] * 2


def test_if_the_first_is_cancelled_one_of_the_others_calls():
    async def main():
        upstream = Upstream()
        chain = wrap(upstream, [coalesce()])
        tasks = [asyncio.create_task(chain(get())) for _ in range(4)]
        for _ in range(5):
            await asyncio.sleep(0)
        tasks[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert upstream.calls == 2
        upstream.open.set()
        outs = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outs[0], asyncio.CancelledError)
        assert {out["fmtn.res.http"].content for out in outs[1:]} == {b"one"}
        assert upstream.calls == 2

    asyncio.run(main())


def test_wherever_an_interrupt_comes_nobody_waits_for_a_call_that_is_not_made():
    def prepare():
        middleware = coalesce()

        def outcome():
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(middleware, {**get(), "fmtn.deadline": monotonic() + 0.05}, ok).result()

        return lambda: middleware(get(), ok), outcome

    modules = [import_module("formation.middleware.coalesce"), together_]
    outcomes = [out["fmtn.state"] for out in at_each_point(modules, prepare)]
    assert outcomes == [{}] * len(outcomes)  # each has called for itself


def test_if_the_first_is_forgotten_one_of_the_others_calls():
    async def main():
        upstream = Upstream()
        chain = wrap(upstream, [coalesce()])
        first = chain(get())
        copy_context().run(first.send, None)  # as a task of its own
        second = asyncio.create_task(chain(get()))
        for _ in range(3):
            await asyncio.sleep(0)
        assert upstream.calls == 1
        del first
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert upstream.calls == 2
        upstream.open.set()
        assert (await second)["fmtn.res.http"].content == b"one"

    asyncio.run(main())


def test_who_waits_and_is_cancelled_does_not_disturb_the_others():
    async def main():
        upstream = Upstream()
        chain = wrap(upstream, [coalesce()])
        tasks = [asyncio.create_task(chain(get())) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        tasks[1].cancel()
        upstream.open.set()
        outs = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(out) for out in outs] == [dict, asyncio.CancelledError, dict]
        assert upstream.calls == 1

    asyncio.run(main())


def test_each_waits_until_its_own_deadline():
    async def main():
        upstream = Upstream()
        chain = wrap(upstream, [coalesce()])
        tasks = [asyncio.create_task(chain({**get(), **more})) for more in ({}, {"fmtn.deadline": 0.0}, {})]
        for _ in range(5):
            await asyncio.sleep(0)
        assert tasks[1].done()
        with pytest.raises(DeadlineExceeded, match="while an identical call was under way"):
            tasks[1].result()
        upstream.open.set()
        assert [type(out) for out in await asyncio.gather(tasks[0], tasks[2])] == [dict, dict]
        assert upstream.calls == 1

    asyncio.run(main())


def test_the_deadline_of_the_first_is_not_that_of_the_others():
    def late(ctx):
        if ctx["n"] == 0:
            raise DeadlineExceeded("late")
        return ok(ctx)

    upstream = Upstream(late)
    outs = together(upstream, *({**get(), "n": n} for n in range(3)))
    assert [type(out) for out in outs] == [DeadlineExceeded, dict, dict]


def test_threads_make_one_call():
    calls, under_way, may_end = [], threading.Event(), threading.Event()

    def slow(ctx):
        calls.append(ctx)
        under_way.set()
        assert may_end.wait(10)
        return ok(ctx)

    chain = wrap(slow, [coalesce()])
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(chain, get())
        assert under_way.wait(10)
        others = [pool.submit(chain, get()) for _ in range(7)]
        while threading.active_count() < 9:  # all have begun
            pass
        may_end.set()
        outs = [future.result(10) for future in [first, *others]]
    assert {out["fmtn.res.http"].content for out in outs} == {b"one"}
    assert len(calls) < 8


def test_a_thread_waits_for_a_task():
    middleware, calls = coalesce(), []

    async def main():
        under_way = asyncio.Event()

        async def fetch(ctx):
            calls.append("task")
            under_way.set()
            await both.wait()
            return ok(ctx)

        loop, both = asyncio.get_running_loop(), asyncio.Event()

        def in_thread():
            loop.call_soon_threadsafe(both.set)
            return wrap(ok, [middleware])(get())

        first = asyncio.create_task(wrap(fetch, [middleware])(get()))
        await under_way.wait()
        return await asyncio.gather(first, asyncio.to_thread(in_thread))

    assert [out["fmtn.res.http"].content for out in asyncio.run(main())] == [b"one", b"one"]
    assert calls == ["task"]


def test_a_plain_call_in_the_thread_of_a_suspended_first_calls_for_itself():
    async def main():
        middleware, upstream = coalesce(), Upstream()
        first = asyncio.create_task(wrap(upstream, [middleware])(get()))
        for _ in range(5):
            await asyncio.sleep(0)
        assert wrap(ok, [middleware])(get())["fmtn.res.http"].content == b"one"
        upstream.open.set()
        await first

    asyncio.run(main())


def test_what_the_first_calls_itself_does_not_wait_for_it():
    @lift(middleware=[coalesce()])
    def walk(item):
        steps.append(item)
        return walk(item) if len(steps) < 3 else "there"

    steps = []
    assert walk("a") == "there"

    @lift(middleware=[coalesce()])
    async def later(item):
        steps.append(item)
        return await asyncio.create_task(later(item)) if len(steps) < 3 else "there"

    steps = []
    assert asyncio.run(later("a")) == "there"
    assert steps == ["a"] * 3


@every_lift
def test_around_a_function_a_single_call_is_as_it_is(lifted):
    assert lifted([coalesce()], lambda a: a + 1, 41)[0] == 42
    assert lifted([coalesce()], lambda a: [*a, 1], [])[0] == [1]


def test_calls_of_a_function_with_equal_arguments_are_one():
    calls = []

    @lift(middleware=[coalesce()])
    async def price(item, *, per="kg"):
        calls.append((item, per))
        await asyncio.sleep(0)
        return object()

    async def main():
        same = await asyncio.gather(price(1, per="g"), price(1, per="g"))
        assert same[0] is same[1]
        await asyncio.gather(price(1), price(item=True), price(1.0), price([1]), price([1]))

    asyncio.run(main())
    assert len(calls) == 6


NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

EQUAL = {
    "a number and a truth": (1, True),
    "in a tuple": (("tea", (1, 2)), ("tea", (True, 2))),
    "in a frozen set": (frozenset([1]), frozenset([True])),
    "in an object": (Fraction(1), 1),
    "two zeros": (0.0, -0.0),
    "two prices": (Decimal("1.0"), Decimal("1.00")),
    "two zones": (NOON, NOON.astimezone(timezone(timedelta(hours=1)))),
}


@pytest.mark.parametrize(("one", "other"), EQUAL.values(), ids=EQUAL)
def test_arguments_that_are_equal_and_not_the_same_are_two_calls(one, other):
    assert one == other
    calls = []

    @lift(middleware=[coalesce()])
    async def price(item):
        calls.append(item)
        await asyncio.sleep(0)
        return repr(item)

    async def main():
        return await asyncio.gather(price(one), price(other), price(one), price(other))

    assert asyncio.run(main()) == [repr(one), repr(other)] * 2
    assert len(calls) == 2


def test_an_argument_that_cannot_be_written_makes_a_call_of_its_own():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    shy, calls = Shy(), []

    @lift(middleware=[coalesce()])
    async def price(item):
        calls.append(item)
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(price(shy), price(shy))

    asyncio.run(main())
    assert len(calls) == 2


def test_a_context_without_request_and_function_is_for_itself():
    async def main():
        upstream = Upstream(lambda ctx: ctx)
        upstream.open.set()
        chain = wrap(upstream, [coalesce()])
        assert await asyncio.gather(chain({"a": 1}), chain({"a": 1}), chain(42)) == [{"a": 1}, {"a": 1}, 42]
        assert upstream.calls == 3
        upstream.open.clear()

    asyncio.run(main())
    assert together(Upstream(lambda ctx: ctx + 1), 1, 1, middleware=[coalesce(key=lambda ctx: ctx)]) == [2, 2]


@every_world
def test_on_a_server_each_request_is_the_clients(world):
    assert world(coalesce(), on_server(), app(200))["fmtn.res.http"].status_code == 200


def test_a_streamed_answer_is_read_where_others_wait_for_it():
    outs = together(Upstream(lambda ctx: reply(ctx, 200, body=iter([b"on", b"e"]))), get(), get())
    assert [out["fmtn.res.http"].content for out in outs] == [b"one", b"one"]


def test_clients_in_threads_send_one_request(server):
    with build(base_uri=server.url, middleware=[coalesce()]) as api, server.watch() as seen:
        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(lambda _: api.get("/slow", params={"delay": 0.3}), range(6)))
        assert {result.status_code for result in results} == {200}
        assert {result.body for result in results} == {results[0].body}
    assert len(seen.requests) < 6


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"key": "url"}, TypeError, "expected key as a function of the context, got 'url'"),
        ({"ignore": "a b"}, ValueError, "a b"),
    ],
)
def test_what_cannot_be_is_refused(settings, kind, said):
    with pytest.raises(kind, match=said):
        coalesce(**settings)
