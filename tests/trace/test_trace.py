import asyncio
import contextvars
import gc
import inspect
import logging
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from formation import await_, compose, for_asgi, for_wsgi, lift, reply, wrap
from formation.for_httpx import async_client
from formation.for_requests import Client, build
from formation.introspection import name_of
from formation.middleware import fallback, hedge, request_id, retry, timeout
from formation.trace import trace

QUIET = logging.getLogger("tests.quiet")
QUIET.setLevel(logging.CRITICAL + 1)


def ticking():
    """Make a clock that goes on by a second whenever it is asked."""
    return count(1).__next__


def log(ctx, call):
    return call(ctx)


def auth(ctx, call):
    return call(ctx)


async def later(ctx, call):
    await asyncio.sleep(0)
    return await call(ctx)


def endpoint(ctx):
    return ctx


async def fetch(ctx):
    await asyncio.sleep(0)
    return ctx


def drawn(trace):
    """Draw the tree of a trace: names, nested."""

    def tree(each):
        return (each.layer.name, *map(tree, each.calls))

    return tree(trace.root)


def names(traced):
    return [each.layer.name for each in traced.traces[-1]]


def test_tells_for_each_layer_when_it_was_entered_and_left_and_what_it_took_itself():
    traced = trace(wrap(endpoint, [log, auth]), clock=ticking())
    traced({})
    said = [(each.layer.name, each.started, each.took, each.own, each.below) for each in traced.traces[-1]]
    assert said == [("log", 0, 5, 2, 3), ("auth", 1, 3, 2, 1), ("endpoint", 2, 1, 1, 0)]
    assert traced.traces[-1].took == 5


def test_names_the_file_and_the_line_and_the_colour_of_each_layer():
    traced = trace(wrap(fetch, [log, later]))
    asyncio.run(traced({}))
    layers = traced.traces[-1].layers
    assert [each.is_async for each in layers] == [False, True, True]
    assert [each.is_endpoint for each in layers] == [False, False, True]
    assert layers[0].place == f"test_trace.py:{log.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    ("call", "middleware"),
    [
        (endpoint, [log, auth]),
        (fetch, [later, later]),
        (fetch, [log, auth]),
        (fetch, [log, later, auth, later, log]),
        (endpoint, [log, later, auth]),
        (endpoint, []),
        (fetch, []),
    ],
)
def test_each_colour_of_chain_has_a_span_for_each_layer(call, middleware):
    chain = wrap(call, middleware)
    traced = trace(chain)
    assert traced.is_async is chain.is_async
    assert inspect.iscoroutinefunction(traced) is inspect.iscoroutinefunction(chain)
    ctx = {}
    out = traced(ctx)
    assert (asyncio.run(out) if chain.is_async else out) is ctx
    expected = [*(name_of(each) for each in middleware), name_of(call)]
    assert [name for name in names(traced) if not name.startswith("passing")] == expected


def test_neighbouring_plain_layers_still_share_a_worker():
    from greenlet import getcurrent

    seen = []

    def look(ctx, call):
        seen.append(getcurrent())
        return call(ctx)

    asyncio.run(trace(wrap(fetch, [look, look, look]))({}))
    assert len(set(map(id, seen))) == 1


def test_a_plain_layer_may_wait_in_a_traced_chain():
    def wait(ctx, call):
        await_(asyncio.sleep(0))
        return call(ctx)

    traced = trace(wrap(fetch, [wait]))
    asyncio.run(traced({}))
    assert names(traced) == ["wait", "fetch"]


def test_runs_on_trio():
    async def nap(ctx):
        await trio.lowlevel.checkpoint()
        return ctx

    traced = trace(wrap(nap, [log]))
    trio.run(traced, {})
    assert names(traced) == ["log", "nap"]


def test_each_attempt_of_a_retry_is_a_pass_through_what_is_below():
    outcomes = [OSError("no"), OSError("not yet"), None]

    def flaky(ctx):
        if (error := outcomes.pop(0)) is not None:
            raise error
        return ctx

    traced = trace(wrap(flaky, [log, retry(base=0, logger=QUIET), auth]))
    traced({})
    last = traced.traces[-1]
    assert drawn(last) == ("log", ("retry", *[("auth", ("flaky",))] * 3))
    assert [each.error for each in last.attempts] == ["OSError", "OSError", None]
    passes = [each for each in last if each.layer.name == "flaky"]
    assert [each.error for each in passes] == [("OSError", "no"), ("OSError", "not yet"), None]


def test_a_layer_that_answers_by_itself_is_told_from_one_that_calls_on():
    def cached(ctx, call):
        return ctx

    traced = trace(wrap(endpoint, [log, cached, auth]))
    traced({})
    last = traced.traces[-1]
    assert drawn(last) == ("log", ("cached",))
    assert [each.answered_itself for each in last] == [False, True]


def test_an_error_is_of_the_layer_that_raised_it_and_the_others_pass_it_on():
    def refuse(ctx, call):
        raise ValueError("no")

    traced = trace(wrap(endpoint, [log, refuse]))
    with pytest.raises(ValueError, match="no"):
        traced({})
    last = traced.traces[-1]
    assert [(each.layer.name, each.error, each.raised) for each in last] == [
        ("log", ("ValueError", "no"), False),
        ("refuse", ("ValueError", "no"), True),
    ]
    assert last.error == ("ValueError", "no")
    assert not any(each.answered_itself for each in last)


def test_the_words_of_an_error_are_cut_and_have_no_secrets():
    def refuse(ctx):
        raise OSError("GET http://me:pw@h/?token=s3cret failed " + "x" * 1000 + "\nand more")

    traced = trace(wrap(refuse, [log]))
    with pytest.raises(OSError, match="failed"):
        traced({})
    _, words = traced.traces[-1].error
    assert len(words) == 200
    assert "s3cret" not in words
    assert "pw" not in words


def test_an_error_that_cannot_be_told_is_raised_all_the_same():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def refuse(ctx):
        raise Silent

    traced = trace(wrap(refuse, [log]))
    with pytest.raises(Silent):
        traced({})
    assert traced.traces[-1].error == ("Silent", "")


@pytest.mark.parametrize("middleware", [[log, auth], [later, later], [later, log]])
def test_a_cancelled_call_has_a_trace_too(middleware):
    async def hang(ctx):
        await asyncio.Event().wait()

    traced = trace(wrap(hang, middleware))

    async def main():
        task = asyncio.create_task(traced({}))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    last = traced.traces[-1]
    assert last.error[0] == "CancelledError"
    assert [each.error[0] for each in last] == ["CancelledError"] * 3
    assert not any(each.is_open for each in last)


def test_a_chain_that_is_closed_in_the_middle_has_a_trace_too():
    async def hang(ctx):
        await asyncio.sleep(0)
        return ctx

    traced = trace(wrap(hang, [later]))
    running = traced({})
    running.send(None)
    running.close()
    assert traced.traces[-1].error == ("GeneratorExit", "")


def test_a_hundred_tasks_at_a_time_have_a_trace_each():
    async def named(ctx):
        for _ in range(ctx["n"] % 5):
            await asyncio.sleep(0)
        return ctx

    def keep(ctx, call):
        ctx = call(ctx)
        ctx["seen"] = ctx["n"]
        return ctx

    traced = trace(wrap(named, [log, later, keep, retry(logger=QUIET)]))

    async def main():
        return await asyncio.gather(*(traced({"n": n}) for n in range(100)))

    assert [ctx["seen"] for ctx in asyncio.run(main())] == list(range(100))
    assert len(traced.traces) == 100
    assert {drawn(each) for each in traced.traces} == {("log", ("later", ("keep", ("retry", ("named",)))))}


def test_sixteen_threads_at_a_time_have_a_trace_for_each_call():
    barrier = threading.Barrier(16)

    def meet(ctx):
        barrier.wait(10)
        return ctx

    traced = trace(wrap(meet, [log, auth]))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(traced, [{} for _ in range(16 * 5)]))
    assert len(traced.traces) == 80
    assert {drawn(each) for each in traced.traces} == {("log", ("auth", ("meet",)))}


def test_passes_side_by_side_in_tasks_stand_below_the_layer_that_has_begun_them():
    async def spread(ctx, call):
        first, *_ = await asyncio.gather(call(ctx), call(ctx), call(ctx))
        return first

    traced = trace(wrap(fetch, [log, spread, later, later]))
    asyncio.run(traced({}))
    assert drawn(traced.traces[-1]) == ("log", ("spread", *[("later", ("later", ("fetch",)))] * 3))


def test_what_overlaps_counts_once_as_time_below():
    arrived = asyncio.Event()

    async def spread(ctx, call):
        out, _ = await asyncio.gather(call(ctx), call(ctx))
        return out

    async def together(ctx):
        if arrived.is_set():
            return ctx
        arrived.set()
        for _ in range(5):
            await asyncio.sleep(0)
        return ctx

    traced = trace(wrap(together, [spread]), clock=ticking())
    asyncio.run(traced({}))
    spread_pass, first, second = traced.traces[-1]
    assert first.started < second.started < second.ended < first.ended
    assert spread_pass.below == first.took


def test_the_attempts_of_a_hedge_are_two_passes_in_an_async_chain():
    calls = count()

    async def slow_once(ctx):
        if not next(calls):
            await asyncio.Event().wait()
        return ctx

    traced = trace(wrap(slow_once, [log, hedge(0.01, logger=QUIET), later]))
    asyncio.run(traced({}))
    assert drawn(traced.traces[-1]) == ("log", ("hedge", *[("later", ("slow_once",))] * 2))


def test_the_attempts_of_a_hedge_are_two_passes_in_a_sync_chain():
    calls, done = count(), threading.Event()

    def slow_once(ctx):
        if not next(calls):
            done.wait(10)
        return ctx

    traced = trace(wrap(slow_once, [log, hedge(0.01, logger=QUIET), auth]))
    traced({})
    last = traced.traces[-1]
    said = drawn(last)
    done.set()
    assert said == ("log", ("hedge", *[("auth", ("slow_once",))] * 2))
    first = next(each for each in last if each.layer.name == "slow_once")
    assert first.took >= 0


def test_a_second_attempt_of_a_retry_is_no_part_of_the_first_one_that_still_runs():
    """As where a hedge has given up a call in a thread, which ends later."""
    gone, begun = threading.Event(), threading.Event()
    outcomes = iter([OSError, None])

    def abandon(ctx, call):
        """Leave the call behind the first time."""
        context = contextvars.copy_context()
        if (error := next(outcomes)) is None:
            return call(ctx)
        threading.Thread(target=context.run, args=(call, ctx), name="left").start()
        begun.wait(10)
        raise error

    def wait(ctx):
        if threading.current_thread().name == "left":
            begun.set()
            gone.wait(10)
        return ctx

    traced = trace(wrap(wait, [retry(base=0, logger=QUIET), abandon, auth]))
    traced({})
    last = traced.traces[-1]
    assert drawn(last) == ("retry", *[("abandon", ("auth", ("wait",)))] * 2)
    assert [each.is_open for each in last if each.layer.name == "wait"] == [True, False]
    gone.set()
    for thread in threading.enumerate():
        if thread.name == "left":
            thread.join(10)
    assert not any(each.is_open for each in last)


@pytest.mark.parametrize("error", [OSError("gave up"), None])
def test_a_layer_may_leave_before_the_call_that_it_has_begun(error):
    left, gone = [], asyncio.Event()

    async def leave(ctx, call):
        if left:
            return await call(ctx)
        left.append(asyncio.create_task(call(ctx)))
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return ctx

    async def twice(ctx, call):
        with suppress(OSError):
            await call(ctx)
        return await call(ctx)

    async def wait(ctx):
        if asyncio.current_task() in left:
            await gone.wait()
        return ctx

    traced = trace(wrap(wait, [twice, leave, later]))

    async def main():
        await traced({})
        last = traced.traces[-1]
        assert drawn(last) == ("twice", *[("leave", ("later", ("wait",)))] * 2)
        assert [each.is_open for each in last if each.layer.name == "wait"] == [True, False]
        gone.set()
        await left[0]
        assert drawn(last) == ("twice", *[("leave", ("later", ("wait",)))] * 2)
        assert not any(each.is_open for each in last)

    asyncio.run(main())


def test_what_goes_on_when_the_call_is_over_is_added_to_its_trace():
    tasks = []

    async def aside(ctx, call):
        tasks.append(asyncio.create_task(call(dict(ctx))))
        return ctx

    traced = trace(wrap(fetch, [aside, later]))

    async def main():
        await traced({})
        assert names(traced) == ["aside"]
        await tasks[0]

    asyncio.run(main())
    assert drawn(traced.traces[-1]) == ("aside", ("later", ("fetch",)))
    assert len(traced.traces) == 1


def test_a_chain_that_calls_itself_has_a_trace_for_each_call():
    def again(ctx):
        return ctx if ctx["left"] == 0 else traced({"left": ctx["left"] - 1})

    traced = trace(wrap(again, [log, auth]))
    traced({"left": 2})
    assert [drawn(each) for each in traced.traces] == [("log", ("auth", ("again",)))] * 3


def test_a_traced_chain_around_another_one_is_two_traces():
    inner = trace(wrap(endpoint, [auth]))
    outer = trace(wrap(partial(inner), [log, log]))
    outer({})
    assert names(inner) == ["auth", "endpoint"]
    assert names(outer) == ["log", "log", name_of(inner)]


def test_a_traced_chain_is_traced_anew_by_one_recorder():
    first = trace(wrap(endpoint, [log, auth]))
    second = trace(first)
    second({})
    assert not first.traces
    assert names(second) == ["log", "auth", "endpoint"]


def test_a_traced_chain_can_be_edited_and_wrapped():
    traced = trace(wrap(endpoint, [log, auth, request_id()]))
    wrap(traced.without("log"), [timeout(3)])({})
    assert names(traced) == ["auth", "request_id", "endpoint"]
    traced.without("request_id")({})
    assert names(traced) == ["log", "auth"]
    traced = trace(wrap(fetch, [log, later, auth]))
    asyncio.run(traced.without("log")({}))
    assert names(traced) == ["later", "auth", "fetch"]


def test_the_chain_itself_is_left_alone():
    chain = wrap(endpoint, [log])
    trace(chain)
    assert chain.middleware == (log,)


def test_keeps_as_many_traces_as_it_is_told_and_calls_back_with_each():
    told = []
    traced = trace(wrap(endpoint, [log]), keep=2, on_trace=told.append)
    for _ in range(5):
        traced({})
    assert list(traced.traces) == told[-2:]
    assert len(told) == 5


def test_what_on_trace_raises_is_logged_and_changes_nothing(caplog):
    def broken(trace):
        raise RuntimeError("broken")

    ctx = {}
    assert trace(wrap(endpoint, [log]), on_trace=broken)(ctx) is ctx
    assert "on_trace raised" in caplog.text


@pytest.mark.parametrize("thing", [3, print, endpoint, None, object(), "chain"], ids=lambda thing: type(thing).__name__)
def test_refuses_what_cannot_be_traced(thing):
    with pytest.raises(TypeError, match="expected a chain, a lifted function"):
        trace(thing)


def test_refuses_arguments_that_do_not_fit():
    with pytest.raises(TypeError, match="expected on_trace as a function, got 3"):
        trace(wrap(endpoint), on_trace=3)
    with pytest.raises(TypeError, match="expected clock as a function, got None"):
        trace(wrap(endpoint), clock=None)
    with pytest.raises(ValueError, match="maxlen"):
        trace(wrap(endpoint), keep=-1)


def test_a_lifted_function_keeps_its_signature():
    @lift(middleware=[log])
    def area(width: int, height: int = 2) -> int:
        """Say how big."""
        return width * height

    traced = trace(area)
    assert traced(3, height=4) == 12
    assert inspect.signature(traced) == inspect.signature(area)
    assert traced.__doc__ == "Say how big."
    assert names(traced) == ["log", "area"]
    assert traced.traces[-1].name == "area"


def test_a_lifted_async_function_is_traced():
    @lift(middleware=[log])
    async def one():
        return 1

    traced = trace(one)
    assert asyncio.run(traced()) == 1
    assert names(traced) == ["log", "one"]


@pytest.mark.parametrize("make", [list, tuple], ids=["list", "tuple"])
def test_a_list_of_middleware_is_traced_wherever_it_is_put(make):
    stack = trace(make([log, compose(auth, log)]))
    wrap(endpoint, stack)({})
    asyncio.run(wrap(fetch, stack)({}))
    assert [drawn(each) for each in stack.traces] == [("log", ("auth", ("log", ("(below)",))))] * 2


def test_composed_middleware_is_traced():
    both = trace(compose(log, auth))
    wrap(endpoint, [both])({})
    assert drawn(both.traces[-1]) == ("log", ("auth", ("(below)",)))


# What a probe must not change


def forget(ctx, call):
    call(ctx)


async def forget_async(ctx, call):
    await call(ctx)


def sometimes(ctx, call):
    return None if ctx.get("forget") else call(ctx)


async def sometimes_async(ctx, call):
    return None if ctx.get("forget") else await call(ctx)


def forget_the_end(ctx):
    ctx["done"] = True


async def forget_the_end_async(ctx):
    ctx["done"] = True


def hidden(ctx, call):
    async def inner():
        return ctx

    return inner()


LAYERS = [log, auth, later, forget, forget_async, sometimes, sometimes_async, hidden]
ENDPOINTS = [endpoint, fetch, forget_the_end, forget_the_end_async]


def outcome(chain, ctx):
    try:
        out = asyncio.run(chain(ctx)) if chain.is_async else chain(ctx)
    except Exception as error:  # noqa: BLE001  an outcome like any other
        return type(error), str(error)
    return out, out is ctx


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(ENDPOINTS), st.lists(st.sampled_from(LAYERS), max_size=5), st.booleans())
def test_a_traced_chain_does_what_the_chain_does_and_names_the_same_layer(call, middleware, forgets):
    middleware = middleware or [log]
    chain = wrap(call, middleware)
    traced = trace(chain)
    assert repr(traced) == repr(chain)
    assert traced.is_async is chain.is_async
    assert outcome(traced, {"forget": forgets}) == outcome(chain, {"forget": forgets})


@st.composite
def scripts(draw):
    """Draw what a layer does: how often it calls on, whether it raises, whether it catches."""
    return draw(st.sampled_from([0, 1, 1, 1, 2])), draw(st.sampled_from([None, None, "raise", "catch"]))


def acting(at, calls, how):
    def act(ctx, call):
        out = ctx
        ctx["seen"].append(at)
        try:
            for _ in range(calls):
                out = call(ctx)
        except ValueError:
            if how != "catch":
                raise
        if how == "raise":
            raise ValueError(at)
        return out

    act.__name__ = f"layer{at}"
    return act


def acting_async(at, calls, how):
    async def act(ctx, call):
        out = ctx
        ctx["seen"].append(at)
        try:
            for _ in range(calls):
                out = await call(ctx)
        except ValueError:
            if how != "catch":
                raise
        if how == "raise":
            raise ValueError(at)
        return out

    act.__name__ = f"layer{at}"
    return act


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(scripts(), st.booleans()), min_size=1, max_size=5), st.sampled_from([endpoint, fetch]))
def test_for_any_chain_the_passes_are_what_happened(layers, call):
    made = [(acting_async if is_async else acting)(at, *script) for at, (script, is_async) in enumerate(layers)]

    def last(ctx, call):
        ctx["seen"].append(len(made))
        return call(ctx)

    chain = wrap(call, [*made, last])
    plain, watched = {"seen": []}, {"seen": []}
    expected = outcome(chain, plain)
    traced = trace(chain, clock=ticking())
    got = outcome(traced, watched)
    assert watched["seen"] == plain["seen"]
    assert got[1] == expected[1]
    found = [each for each in traced.traces[-1] if not each.layer.is_endpoint]
    order = {name: at for at, name in enumerate([*(name_of(each) for each in made), "last"])}
    assert [order[each.layer.name] for each in found] == plain["seen"]
    for each in found:
        assert each.took == pytest.approx(each.own + each.below)
        assert all(each.started <= below.started <= below.ended <= each.ended for below in each.calls)


def test_a_traced_chain_has_the_same_attributes_on_its_layers():
    limit = timeout(3)
    traced = trace(wrap(endpoint, [limit]))
    assert traced.middleware[0].seconds == limit.seconds
    assert traced.middleware[0].__wrapped__ is limit


def test_objects_are_traced_as_middleware_and_as_endpoints():
    class Layer:
        def __call__(self, ctx, call):
            return call(ctx)

    class End:
        async def __call__(self, ctx):
            return ctx

    traced = trace(wrap(End(), [Layer()]))
    asyncio.run(traced({}))
    assert names(traced) == ["Layer", "End"]


def fetch_hidden(ctx):
    return fetch(ctx)


def test_a_chain_that_is_said_to_be_async_is_traced():
    traced = trace(wrap(fetch_hidden, [log], is_async=True))
    asyncio.run(traced({}))
    assert names(traced) == ["log", "fetch_hidden"]


def test_a_context_may_hold_anything_under_any_key(caplog):
    ctx = {"fmtn.attempts": 5, "fmtn.req.http": 3, "fmtn.res.http": "none"}
    traced = trace(wrap(endpoint, [log]))
    assert traced(ctx) is ctx
    assert "a context of which there is no trace" in caplog.text
    assert names(traced) == ["log", "endpoint"]


def test_a_context_need_not_be_a_dict():
    traced = trace(wrap(lambda n: n + 1, [lambda n, call: call(n * 2)]))
    assert traced(4) == 9
    assert len(list(traced.traces[-1])) == 2


def test_no_context_is_left_behind():
    traced = trace(wrap(fetch, [log, later]))
    contexts = []

    async def main():
        await traced({})
        contexts.append(contextvars.copy_context())

    asyncio.run(main())
    assert [value for value in contexts[0].values() if isinstance(value, list)] == []


def test_a_trace_holds_no_context_and_makes_no_cycle():
    class Ctx(dict):
        pass

    def refuse(ctx):
        raise ValueError("no")

    traced = trace(wrap(refuse, [log, auth]))
    ctx = Ctx()
    gone = weakref.ref(ctx)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no"):
            traced(ctx)
        del ctx
        assert gone() is None
        last = weakref.ref(traced.traces[-1])
        traced.traces.clear()
        assert last() is None
    finally:
        gc.enable()


def test_a_trace_can_be_pickled():
    traced = trace(wrap(endpoint, [log]), clock=ticking())
    traced({})
    copy = pickle.loads(pickle.dumps(traced.traces[-1]))
    assert str(copy) == str(traced.traces[-1])


# Clients and servers


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


async def async_shop(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})


def test_a_client_is_traced_with_its_redirects_and_its_attempts():
    def moved(environ, start_response):
        if environ["PATH_INFO"] == "/old":
            start_response("302 Found", [("Location", "/new")])
            return [b""]
        return shop(environ, start_response)

    with build(
        base_uri="http://app", endpoint=for_wsgi.endpoint(moved), middleware=[log, retry(logger=QUIET)], per_hop=[auth]
    ) as api:
        traced = trace(api)
        assert traced.get("/old").response.text == "hello"
    last = traced.traces[-1]
    assert drawn(last) == ("log", ("retry", ("auth", ("(sent)",)), ("auth", ("(sent)",))))
    assert (last.name, last.status, len(last.attempts)) == ("GET /old", 200, 1)
    assert not hasattr(api, "traces")


def test_a_client_without_middleware_is_traced():
    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(shop)) as api:
        traced = trace(api)
        traced.get("/")
    assert drawn(traced.traces[-1]) == ("passing", ("(sent)",))


def test_each_hop_of_a_redirect_is_sent():
    def moved(environ, start_response):
        if environ["PATH_INFO"] == "/":
            return shop(environ, start_response)
        start_response("302 Found", [("Location", "/")])
        return [b""]

    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(moved), middleware=[log]) as api:
        traced = trace(trace(api))
        traced.get("/old")
    assert drawn(traced.traces[-1]) == ("log", ("(sent)",), ("(sent)",))


def test_the_middleware_and_without_of_a_call_hold_for_a_traced_client():
    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(shop), middleware=[log, auth]) as api:
        traced = trace(api)
        traced.get("/", without=["log"], middleware=[log])
        traced.get("/", without=["auth"])
    assert [[each.layer.name for each in last] for last in traced.traces] == [["auth", "(sent)"], ["log", "(sent)"]]


def test_a_client_class_is_traced_and_so_are_its_instances():
    class Shop(Client):
        """Sells."""

        base_uri = "http://app"
        middleware = [log]  # noqa: RUF012
        endpoint = for_wsgi.endpoint(shop)

        def home(self):
            return self.request.get("/")

    traced = trace(Shop)
    assert (traced.__name__, traced.__doc__) == ("Shop", "Sells.")
    with traced() as api:
        api.home()
    assert names(traced) == ["log", "(sent)"]
    with Shop() as other:
        instance = trace(other)
        assert instance.home().response.text == "hello"
    assert names(instance) == ["log", "(sent)"]


def test_a_client_that_has_traces_of_its_own_keeps_them():
    class Shop(Client):
        base_uri = "http://app"
        endpoint = for_wsgi.endpoint(shop)

        def traces(self):
            return "mine"

    told = []
    with Shop() as api:
        traced = trace(api, on_trace=told.append)
        traced.request.get("/")
        assert traced.traces() == "mine"
    assert trace(Shop).traces is Shop.traces
    assert [drawn(each) for each in told] == [("passing", ("(sent)",))]


def test_an_async_client_is_traced():
    async def main():
        async with async_client(type("Shop", (), {}))(
            base_uri="http://app", endpoint=for_asgi.endpoint(async_shop), middleware=[later]
        ) as api:
            traced = trace(api)
            await traced.request.get("/")
            return traced

    traced = asyncio.run(main())
    assert drawn(traced.traces[-1]) == ("later", ("(sent)",))


def test_the_body_of_a_response_that_streams_ends_after_the_call():
    told = []
    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(shop), middleware=[log]) as api:
        traced = trace(api, on_trace=told.append, clock=ticking())
        with traced.get("/", stream=True) as result:
            last = traced.traces[-1]
            assert last.streams
            assert last.body is None
            assert not told
            assert result.response.content == b"hello"
    assert told == [last]
    assert (last.body.size, last.body.error) == (5, None)
    assert last.body.at > last.took


def test_a_stream_that_is_dropped_says_so():
    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(shop), middleware=[log]) as api:
        traced = trace(api)
        with traced.get("/", stream=True):
            pass
    assert traced.traces[-1].body.error[0] == "BodyAbandoned"


def test_a_wsgi_server_is_traced():
    served = trace(for_wsgi.FormationMiddleware(shop, [log, auth], max_body=7))
    assert served.max_body == 7
    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(served)) as api:
        assert api.get("/ring").response.text == "hello"
    last = served.traces[-1]
    assert drawn(last) == ("log", ("auth", ("shop",)))
    assert (last.name, last.status, last.body.size) == ("GET /ring", 200, 5)


def test_an_asgi_server_is_traced():
    served = trace(for_asgi.FormationMiddleware(async_shop, [log, later, auth]))
    ask = for_asgi.endpoint(served)

    async def main():
        from formation.http import Request

        ctx = await ask({"fmtn.req.http": Request("GET", "http://app/ring")})
        return ctx["fmtn.res.http"].content

    assert asyncio.run(main()) == b"hello"
    last = served.traces[-1]
    assert drawn(last) == ("log", ("later", ("auth", ("async_shop",))))
    assert last.body.size == 5


def test_a_server_without_middleware_and_one_that_answers_by_itself_are_traced():
    def closed(ctx, call):
        return reply(ctx, 503)

    for middleware, expected in (((), ("passing", ("shop",))), ([closed], ("closed",))):
        served = trace(for_wsgi.FormationMiddleware(shop, middleware))
        with build(base_uri="http://app", endpoint=for_wsgi.endpoint(served)) as api:
            api.get("/")
        assert drawn(served.traces[-1]) == expected
    assert served.traces[-1].status == 503


def test_a_fallback_answers_for_what_failed_below():
    def broken(ctx):
        raise OSError("down")

    traced = trace(wrap(broken, [fallback(7, logger=QUIET), auth]))
    traced({"fmtn.fn": broken, "fmtn.args": (), "fmtn.kwargs": {}})
    top, *below = traced.traces[-1]
    assert top.error is None
    assert [each.error[0] for each in below] == ["OSError", "OSError"]
