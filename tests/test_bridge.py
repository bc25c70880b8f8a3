"""The bridge: a plain function waits in an async chain just as an ``async def`` would, and leaves nothing behind."""

import asyncio
import contextvars
import gc
import inspect
import random
import subprocess
import sys
import threading
import time
import traceback
import types
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from itertools import product

import pytest
import trio
import trio.testing
from greenlet import GreenletExit, getcurrent, greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

from formation import await_, bridge, in_async_chain, sleep, wrap

try:
    import uvloop
except ImportError:  # it is not made for every platform
    uvloop = None


class Pause:
    """Awaiting it suspends the coroutine once, without an event loop; the driver sends the result."""

    def __await__(self):
        return (yield self)


def drive(coroutine):
    """Run a coroutine to its end where it stands, with nothing between the test and the chain."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def started(coroutine, steps=1):
    """Run a coroutine up to a point where it waits."""
    for _ in range(steps):
        coroutine.send(None)
    return coroutine


async def endpoint(ctx):
    await Pause()
    return ctx


def passes(ctx, call):
    return call(ctx)


async def passes_later(ctx, call):
    return await call(ctx)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop and uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run_loop(request):
    """``asyncio.run`` on each event loop there is."""
    if not LOOPS[request.param]:
        pytest.skip("uvloop is not installed")

    def run(coroutine):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(coroutine)

    return run


def parked():
    return bridge._idle.workers


def living_workers():
    # isinstance() would wake the lazy objects of others.
    return {id(each): each for each in gc.get_objects() if issubclass(type(each), bridge.Worker)}


def assert_holds_nothing(worker):
    assert (worker.value, worker.raised, worker.gr_context) == (None, None, None)
    assert worker.gr_frame.f_locals == {"fn": None, "ctx": None}
    assert not worker.dead


@pytest.fixture(autouse=True)
def parked_workers_hold_nothing():
    """After each test, so that the test that breaks it is the one that fails."""
    yield
    assert len(set(map(id, parked()))) == len(parked()) <= bridge.IDLE_WORKERS
    for worker in parked():
        assert_holds_nothing(worker)


@pytest.fixture(autouse=True, scope="module")
def all_workers_are_parked():
    """Once for all tests, as it takes a look at every object there is."""
    before = living_workers().keys()
    yield
    gc.collect()
    left = [worker for key, worker in living_workers().items() if key not in before]
    assert [worker for worker in left if worker not in parked()] == []


@pytest.fixture
def few_workers(monkeypatch):
    """Start without parked workers, and park three at most."""
    parked().clear()
    monkeypatch.setattr(bridge, "IDLE_WORKERS", 3)
    yield
    parked().clear()


# --- Waiting ---


def test_a_plain_function_waits_for_whatever_await_takes(run_loop):
    async def coroutine():
        await asyncio.sleep(0)
        return "coroutine"

    async def chunks():
        yield "chunk"

    class Thing:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "thing"

    def ask(ctx, call):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        ctx["answers"] = [
            await_(coroutine()),
            await_(future),
            await_(loop.create_task(coroutine())),
            await_(Thing()),
            await_(anext(chunks())),
            await_(asyncio.gather(coroutine(), coroutine())),
        ]
        return call(ctx)

    async def end(ctx):
        return ctx

    answers = run_loop(wrap(end, [ask])({}))["answers"]
    assert answers == ["coroutine", "future", "coroutine", "thing", "chunk", ["coroutine", "coroutine"]]


def test_what_cannot_be_awaited_is_a_type_error_at_the_plain_functions_call():
    def ask(ctx, call):
        for wrong in (42, None, "text", object()):
            with pytest.raises(TypeError, match="can't be used in 'await' expression"):
                await_(wrong)
        return call(ctx)

    assert drive(wrap(endpoint, [ask])({"a": 1})) == {"a": 1}


def test_a_plain_function_may_call_on_as_often_as_it_likes():
    calls = []

    async def flaky(ctx):
        await Pause()
        calls.append(ctx)
        if len(calls) % 3:
            raise ConnectionError
        return ctx

    def retry(ctx, call):
        while True:
            try:
                return call(ctx)
            except ConnectionError:
                await_(Pause())

    def both(ctx, call):
        return [call(ctx), call(ctx)]

    assert drive(wrap(flaky, [both, passes_later, retry, passes])("x")) == ["x", "x"]
    assert len(calls) == 6


def test_a_chain_runs_inside_a_chain_inside_a_chain(run_loop):
    async def count(ctx):
        await asyncio.sleep(0)
        return ctx + 1

    def around(inner):
        def calls_by_hand(ctx, call):
            return call(await_(inner(ctx)))

        async def awaits(ctx):
            return await inner(ctx)

        return wrap(awaits, [passes, calls_by_hand, passes_later, passes])

    chain = wrap(count, [passes, passes_later, passes])
    for _ in range(6):
        chain = around(chain)
    assert run_loop(chain(0)) == 2**6


def test_a_sync_chain_inside_a_plain_layer_runs_in_its_worker():
    stacks = []

    def look(ctx, call):
        stacks.append(getcurrent())
        return call(ctx)

    def wait(ctx):
        await_(Pause())
        return ctx

    def calls_sync_chain(ctx, call):
        stacks.append(getcurrent())
        return call(wrap(wait, [look])(ctx))

    assert drive(wrap(endpoint, [calls_sync_chain])({"a": 1})) == {"a": 1}
    assert stacks[0] is stacks[1] is not getcurrent()


def test_the_task_is_the_callers_own(run_loop):
    tasks = []

    def look(ctx, call):
        tasks.append(asyncio.current_task())
        await_(asyncio.sleep(0))
        tasks.append(asyncio.current_task())
        ctx = call(ctx)
        tasks.append(asyncio.current_task())
        return ctx

    async def main():
        async def end(ctx):
            tasks.append(asyncio.current_task())
            return ctx

        await wrap(end, [look, passes_later, look])({})
        assert set(tasks) == {asyncio.current_task()}
        assert len(tasks) == 7

    run_loop(main())


# --- As an async def would: one program, every colour, every way to drive it ---


class Boom(Exception):
    """Thrown in from outside."""


ERRORS = (Boom, asyncio.CancelledError)


class World:
    """What a program sees and does outside of itself: events in order, with the value of a context variable."""

    def __init__(self, pause=Pause):
        self.pause = pause
        self.events = []
        self.variable = ContextVar("variable", default="unset")

    def see(self, *what):
        self.events.append((*what, self.variable.get()))
        self.variable.set(what)


@dataclass(frozen=True)
class Program:
    """A layer that waits ``before`` and ``after`` its call so often, and in the end once more if it ``tidies`` up.

    ``on_error`` is what it does when something is thrown in: raise, swallow, or call again.
    """

    name: str
    before: int = 1
    after: int = 1
    on_error: str = "raise"
    tidies: bool = False

    def plain(self, world):
        def layer(ctx, call, attempts=2):
            world.see(self.name, "in")
            try:
                for _ in range(self.before):
                    await_(world.pause())
                    world.see(self.name, "before")
                ctx = call(ctx)
                for _ in range(self.after):
                    await_(world.pause())
                    world.see(self.name, "after")
            except ERRORS as error:
                world.see(self.name, repr(error))
                if self.on_error == "again" and attempts:
                    return layer(ctx, call, attempts - 1)
                if self.on_error != "swallow":
                    raise
            except GeneratorExit:
                world.see(self.name, "closed")
                raise
            finally:
                if self.tidies:
                    await_(world.pause())
                world.see(self.name, "out")
            return ctx

        return layer

    def coloured(self, world):
        async def layer(ctx, call, attempts=2):
            world.see(self.name, "in")
            try:
                for _ in range(self.before):
                    await world.pause()
                    world.see(self.name, "before")
                ctx = await call(ctx)
                for _ in range(self.after):
                    await world.pause()
                    world.see(self.name, "after")
            except ERRORS as error:
                world.see(self.name, repr(error))
                if self.on_error == "again" and attempts:
                    return await layer(ctx, call, attempts - 1)
                if self.on_error != "swallow":
                    raise
            except GeneratorExit:
                world.see(self.name, "closed")
                raise
            finally:
                if self.tidies:
                    await world.pause()
                world.see(self.name, "out")
            return ctx

        return layer


def chain_of(programs, colours, world):
    async def end(ctx):
        world.see("end")
        await world.pause()
        world.see("end", "awaited")
        return ctx | {"done": True}

    kinds = [Program.plain if is_plain else Program.coloured for is_plain in colours]
    return wrap(end, [kind(program, world) for kind, program in zip(kinds, programs, strict=True)])


def in_place(function):
    return function()


def in_a_greenlet(function):
    return greenlet(function).switch()


def in_a_worker(function):
    """Step a chain from within a plain layer of another."""

    def steps(ctx, call):
        return call(ctx) | {"stepped": function()}

    async def end(ctx):
        return ctx

    return drive(wrap(end, [steps])({}))["stepped"]


def stepped(place, function, *args):
    """Step a coroutine somewhere; tell how far it came in a way that nothing on the way there changes."""

    def step():
        try:
            return "waits", type(function(*args))
        except StopIteration as stop:
            return "returned", stop.value
        except (*ERRORS, RuntimeError) as error:
            return "raised", repr(error)

    return place(step)


def played(programs, colours, begin, actions):
    """Drive a chain from its ``begin`` through ``actions`` to its end; tell all that can be seen from outside."""
    world, contexts = World(), [copy_context(), copy_context()]
    places = {"here": in_place, "greenlet": in_a_greenlet, "worker": in_a_worker}
    places |= {f"context {number}": context.run for number, context in enumerate(contexts)}
    coroutine = chain_of(programs, colours, world)({})

    seen = [stepped(places[begin], coroutine.send, None)]
    for place, error in [*actions, *[("context 0", None)] * 200]:
        if seen[-1][0] != "waits":
            break
        step = (coroutine.throw, error(place)) if error else (coroutine.send, None)
        seen.append(stepped(places[place], *step))
    return seen, world.events, [context.get(world.variable) for context in contexts]


PROGRAMS = st.builds(
    Program,
    name=st.sampled_from("abcdef"),
    before=st.integers(0, 2),
    after=st.integers(0, 2),
    on_error=st.sampled_from(["raise", "swallow", "again"]),
    tidies=st.booleans(),
)
PLACES = st.sampled_from(["here", "greenlet", "worker", "context 0", "context 1"])
ACTIONS = st.tuples(PLACES, st.sampled_from([None, None, None, *ERRORS]))


@settings(max_examples=500)
@given(st.lists(st.tuples(PROGRAMS, st.booleans()), max_size=4), PLACES, st.lists(ACTIONS, max_size=20))
def test_plain_layers_do_what_async_ones_would_wherever_they_are_driven_and_whatever_is_thrown_in(
    layers, begin, actions
):
    programs = [program for program, _ in layers]
    colours = [plain for _, plain in layers]

    mixed = copy_context().run(played, programs, colours, begin, actions)
    as_async = copy_context().run(played, programs, [False] * len(programs), begin, actions)
    assert mixed == as_async


THREE = [Program("a"), Program("b", on_error="again"), Program("c")]


COLOURS = ["".join(each) for each in product("ap", repeat=3)]


def plain_ones(colours):
    return [each == "p" for each in colours]


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("point", range(1, 8))
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_chain_that_is_closed_or_dropped_where_it_waits_is_unwound_there_and_then(colours, point, how):
    programs = [Program("a"), Program("b", on_error="again"), Program("c")]

    def events(colours):
        world = World()
        coroutine = started(chain_of(programs, colours, world)({}), point)
        if how == "closed":
            coroutine.close()
        del coroutine
        return world.events

    seen = events(plain_ones(colours))
    assert {"closed", "out"} <= {what for _, what, *_ in seen}
    assert seen == events([False] * 3)


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("point", range(7))
def test_cancelling_the_task_arrives_in_the_plain_function_at_its_call(colours, point, run_loop):
    programs = [Program("a"), Program("b", tidies=True), Program("c")]

    async def events(colours):
        passed, reached = iter(range(100)), asyncio.Event()

        async def pause():
            if next(passed) == point:
                reached.set()
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(0)

        world = World(pause)
        task = asyncio.create_task(chain_of(programs, colours, world)({}))
        await reached.wait()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert task.cancelled()
        return world.events

    seen = run_loop(events(plain_ones(colours)))
    assert [name for name, what, *_ in seen if "Cancelled" in what][-1] == "a"
    assert [name for name, what, *_ in seen if what == "in"] == list("abc"[: point + 1])
    assert seen == run_loop(events([False] * 3))


def test_a_plain_function_may_clean_up_with_waits_when_it_is_cancelled(run_loop):
    cleaned = []

    def cleans_up(ctx, call):
        try:
            return call(ctx)
        finally:
            await_(asyncio.sleep(0))
            cleaned.append(await_(asyncio.sleep(0, result="cleaned")))

    async def main():
        async def forever(ctx):
            await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(wrap(forever, [cleans_up, passes_later, cleans_up])({}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_loop(main())
    assert cleaned == ["cleaned"] * 2


def test_a_plain_function_may_refuse_to_be_cancelled(run_loop):
    def keeps_on(ctx, call):
        try:
            return call(ctx)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            return ctx | {"kept": await_(asyncio.sleep(0, result="on"))}

    async def main():
        async def forever(ctx):
            await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(wrap(forever, [keeps_on])({}))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert run_loop(main()) == {"kept": "on"}


def test_a_timeout_entered_by_a_plain_function_holds_for_what_it_calls(run_loop):
    def bounded(ctx, call):
        deadline = asyncio.timeout(0)  # it passes as soon as the loop gets its turn
        await_(deadline.__aenter__())
        try:
            ctx = call(ctx)
        except BaseException as error:
            await_(deadline.__aexit__(type(error), error, error.__traceback__))
            raise
        await_(deadline.__aexit__(None, None, None))
        return ctx

    def answers(ctx, call):
        try:
            return call(ctx)
        except TimeoutError:
            return ctx | {"late": True}

    async def forever(ctx):
        await asyncio.get_running_loop().create_future()

    async def at_once(ctx):
        return ctx

    async def main():
        late = await wrap(forever, [answers, bounded, passes_later, passes])({})
        in_time = await wrap(at_once, [answers, bounded, passes_later, passes])({})
        assert asyncio.current_task().cancelling() == 0
        return late, in_time

    assert run_loop(main()) == ({"late": True}, {})


# --- Errors ---


def names_in(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_an_error_is_the_same_object_in_every_layer_with_all_of_its_traceback():
    seen = []

    def looks(ctx, call):
        try:
            return call(ctx)
        except Boom as error:
            seen.append(error)
            raise

    async def looks_later(ctx, call):
        try:
            return await call(ctx)
        except Boom as error:
            seen.append(error)
            raise

    def deep_down():
        raise boom

    async def fails(ctx):
        await Pause()
        deep_down()

    boom = Boom()
    with pytest.raises(Boom) as raised:
        drive(wrap(fails, [looks, looks_later, looks, looks])({}))

    assert seen == [boom] * 4
    assert raised.value is boom
    ours = ["looks", "looks_later", "looks", "looks", "fails", "deep_down"]
    assert [name for name in names_in(boom) if name in ours] == ours


def test_an_error_raised_by_a_plain_function_passes_the_async_ones_outside_of_it_once():
    seen = []

    async def looks(ctx, call):
        try:
            return await call(ctx)
        except Boom as error:
            seen.append(names_in(error)[-1])
            raise

    def fails(ctx, call):
        call(ctx)
        raise Boom

    with pytest.raises(Boom):
        drive(wrap(endpoint, [passes, looks, passes, fails])({}))
    assert seen == ["fails"]


def test_an_error_keeps_its_cause_and_the_context_it_was_raised_in():
    def translates(ctx, call):
        try:
            return call(ctx)
        except KeyError as error:
            raise LookupError from error

    def stumbles(ctx, call):
        try:
            return call(ctx)
        except LookupError:
            raise Boom  # noqa: B904  the context is the point

    async def is_handling(ctx, call):
        try:
            return 1 / 0
        except ZeroDivisionError:
            return await call(ctx)

    async def fails(ctx):
        raise KeyError

    for layers in ([stumbles, translates], [is_handling, stumbles, translates], [stumbles, is_handling, translates]):
        with pytest.raises(Boom) as raised:
            drive(wrap(fails, layers)({}))
        assert type(raised.value.__context__) is LookupError
        assert type(raised.value.__context__.__cause__) is KeyError

    with pytest.raises(KeyError) as raised:
        drive(wrap(fails, [is_handling, passes])({}))
    assert type(raised.value.__context__) is ZeroDivisionError  # as if all were async


def test_no_traceback_looks_into_a_worker_that_serves_another_call_by_then():
    secrets = []

    def fails(ctx, call):
        raise Boom

    def looks_at_the_error_of_another(ctx, call):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            secrets.append(frame.f_locals.get("ctx"))
        return call(ctx)

    with pytest.raises(Boom) as raised:
        drive(wrap(endpoint, [fails])({"of": "one"}))
    error = raised.value
    drive(wrap(endpoint, [looks_at_the_error_of_another])({"of": "another"}))

    assert {"of": "one"} in secrets
    assert {"of": "another"} not in secrets


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Boom, BaseException, StopAsyncIteration])
def test_any_error_passes_both_ways(error):
    def fails(ctx, call):
        raise error

    async def fails_later(ctx):
        raise error

    def catches(ctx, call):
        with pytest.raises(error):
            call(ctx)
        return ctx

    assert drive(wrap(fails_later, [catches, passes_later, passes])({})) == {}
    with pytest.raises(error):
        drive(wrap(endpoint, [passes, passes_later, fails])({}))


def test_stop_iteration_is_a_runtime_error_as_in_every_coroutine():
    def stops(ctx, call):
        raise StopIteration

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        drive(wrap(endpoint, [stops])({}))


def test_a_plain_function_that_ends_its_own_greenlet_ends_its_worker(few_workers):
    def exits(ctx, call):
        call(ctx)
        raise GreenletExit

    with pytest.raises(GreenletExit):
        drive(wrap(endpoint, [exits])({}))
    assert parked() == []
    assert drive(wrap(endpoint, [passes])({"a": 1})) == {"a": 1}


# --- The end of a chain that nobody drives any more ---


def cleaner(cleaned):
    def cleans_up(ctx, call):
        try:
            return call(ctx)
        finally:
            with pytest.raises(RuntimeError) as refused:
                await_(endpoint(ctx))
            cleaned.append((threading.get_ident(), str(refused.value)))
            with pytest.raises(RuntimeError):
                sleep(1000)

    return cleans_up


def test_a_plain_function_that_is_closed_can_clean_up_but_no_longer_wait():
    cleaned = []
    coroutine = started(wrap(endpoint, [cleaner(cleaned), passes_later, cleaner(cleaned)])({}))
    coroutine.close()

    said = "await_() in a chain that has been closed: nothing can be waited for any more"
    assert cleaned == [(threading.get_ident(), said)] * 2


def test_what_cannot_be_waited_for_any_more_need_not_be_a_coroutine():
    def cleans_up(ctx, call):
        try:
            return call(ctx)
        finally:
            with pytest.raises(RuntimeError):
                await_(Pause())

    started(wrap(endpoint, [cleans_up])({})).close()


def test_a_plain_function_may_swallow_the_close_and_return():
    def swallows(ctx, call):
        try:
            return call(ctx)
        except GeneratorExit:
            return ctx

    coroutine = started(wrap(endpoint, [swallows])({}))
    coroutine.close()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_an_error_while_closing_gives_way_to_the_close():
    def fails(ctx, call):
        try:
            return call(ctx)
        finally:
            raise Boom

    started(wrap(endpoint, [fails])({})).close()


def test_a_plain_function_that_will_not_end_does_not_hang_its_closer():
    tries = []

    def deaf(ctx, call):
        while len(tries) < 10_000:
            tries.append(1)
            try:
                call(ctx)
            except BaseException:  # noqa: BLE001  what one should not do
                continue
        return ctx

    coroutine = started(wrap(endpoint, [deaf])({}))
    with pytest.raises(RuntimeError, match="ignored it again and again"):
        coroutine.close()
    assert bridge.LATE_WAITS <= len(tries) < 1000

    tries.extend([1] * 10_000)
    [stuck] = [worker for worker in living_workers().values() if worker.value is worker]
    stuck.throw()  # now it is let go


def test_a_chain_that_is_collected_as_part_of_a_cycle_is_unwound():
    closed = []

    def cleans_up(ctx, call):
        try:
            return call(ctx)
        finally:
            closed.append(1)

    class Holder:
        pass

    holder = Holder()
    holder.me = holder
    holder.coroutine = started(wrap(endpoint, [cleans_up])({}))
    del holder
    gc.collect()
    assert closed == [1]


def test_a_chain_that_is_collected_by_another_thread_is_unwound_by_its_own():
    cleaned = []
    holder = [started(wrap(endpoint, [cleaner(cleaned)])({}))]

    with ThreadPoolExecutor(1) as other:
        other.submit(holder.clear).result()
        drive(wrap(endpoint, [passes])({}))  # its own thread switches, which is when greenlet gets to it

        assert [thread for thread, _ in cleaned] == [threading.get_ident()]
        assert "cannot be waited for here" in cleaned[0][1]
        other.submit(lambda: drive(wrap(endpoint, [passes])({}))).result()


def test_a_chain_may_outlive_its_thread(capfd):
    closed, holder = [], []

    def cleans_up(ctx, call):
        try:
            return call(ctx)
        finally:
            closed.append(1)

    thread = threading.Thread(target=lambda: holder.append(started(wrap(endpoint, [cleans_up])({}))))
    thread.start()
    thread.join()

    with pytest.raises(RuntimeError, match="started in one thread cannot go on in another"):
        holder[0].send(None)
    holder.clear()
    gc.collect()
    assert closed == []  # there is nobody left who could run it
    assert capfd.readouterr().err == ""


def test_a_chain_that_is_resumed_in_another_thread_says_so_and_is_unwound_by_its_own():
    cleaned = []
    coroutine = started(wrap(endpoint, [cleaner(cleaned)])({}))

    with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="cannot go on in another"):
        other.submit(coroutine.send, None).result()
    drive(wrap(endpoint, [passes])({}))
    assert [thread for thread, _ in cleaned] == [threading.get_ident()]


def test_an_error_thrown_in_by_another_thread_says_so():
    coroutine = started(wrap(endpoint, [passes])({}))

    with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="cannot go on in another"):
        other.submit(coroutine.throw, Boom()).result()
    drive(wrap(endpoint, [passes])({}))


def test_a_chain_that_was_never_started_leaves_nothing():
    wrap(endpoint, [passes])({}).close()


# --- Context variables ---


def test_context_variables_flow_both_ways(run_loop):
    variable = ContextVar("variable", default="unset")
    seen = []

    def plain(name):
        def layer(ctx, call):
            seen.append((name, variable.get()))
            variable.set(f"{name} in")
            ctx = call(ctx)
            seen.append((name, variable.get()))
            variable.set(f"{name} out")
            return ctx

        return layer

    async def coloured(ctx, call):
        seen.append(("b", variable.get()))
        variable.set("b in")
        ctx = await call(ctx)
        seen.append(("b", variable.get()))
        variable.set("b out")
        return ctx

    async def end(ctx):
        seen.append(("end", variable.get()))
        await asyncio.sleep(0)
        variable.set("end")
        return ctx

    async def main():
        variable.set("main")
        await wrap(end, [plain("a"), coloured, plain("c")])({})
        return variable.get()

    assert run_loop(main()) == "a out"
    assert seen == [
        ("a", "main"), ("b", "a in"), ("c", "b in"), ("end", "c in"), ("c", "end"), ("b", "c out"), ("a", "b out")
    ]  # fmt: skip


def test_a_token_of_a_plain_function_can_be_reset_after_its_call(run_loop):
    variable = ContextVar("variable", default="unset")

    def scoped(ctx, call):
        token = variable.set("scoped")
        try:
            return call(ctx)
        finally:
            variable.reset(token)

    async def end(ctx):
        await asyncio.sleep(0)
        return ctx | {"seen": variable.get()}

    async def main():
        ctx = await wrap(end, [scoped, passes_later, scoped])({})
        return ctx["seen"], variable.get()

    assert run_loop(main()) == ("scoped", "unset")


def test_tasks_do_not_see_each_others_variables(run_loop):
    variable = ContextVar("variable")

    def sets(ctx, call):
        variable.set(ctx["number"])
        for _ in range(ctx["number"] % 5):
            await_(asyncio.sleep(0))
            assert variable.get() == ctx["number"]
        ctx = call(ctx)
        assert variable.get() == ctx["number"]
        return ctx

    async def end(ctx):
        await asyncio.sleep(0)
        assert variable.get() == ctx["number"]
        return ctx

    async def main():
        chain = wrap(end, [sets, passes_later, sets])
        await asyncio.gather(*[chain({"number": number}) for number in range(100)])
        assert variable.get(None) is None

    run_loop(main())


def test_a_context_entered_by_a_plain_function_is_kept_while_it_waits(run_loop):
    variable = ContextVar("variable", default="unset")

    def enters(ctx, call):
        mine = contextvars.Context()

        def inside():
            variable.set("mine")
            await_(asyncio.sleep(0))
            ctx["inside"] = variable.get()
            out = call(ctx)
            ctx["after"] = variable.get()
            return out

        out = mine.run(inside)
        ctx["outside"] = variable.get()
        return out

    async def end(ctx):
        ctx["end"] = variable.get()  # it is the task's coroutine, so it has the task's context
        await asyncio.sleep(0)
        return ctx

    async def main():
        variable.set("task")
        return await wrap(end, [enters])({})

    assert run_loop(main()) == {"inside": "mine", "after": "mine", "outside": "task", "end": "task"}


def test_a_context_is_kept_also_when_the_driver_changes_its_own_meanwhile():
    variable = ContextVar("variable", default="unset")
    mine, first, second = contextvars.Context(), contextvars.Context(), contextvars.Context()

    def enters(ctx, call):
        def inside():
            variable.set("mine")
            for _ in range(2):
                await_(Pause())
                assert variable.get() == "mine"

        mine.run(inside)
        return call(ctx)

    coroutine = wrap(endpoint, [enters])({})
    first.run(coroutine.send, None)
    second.run(coroutine.send, None)
    first.run(coroutine.send, None)
    with pytest.raises(StopIteration):
        first.run(coroutine.send, None)
    assert (first.get(variable), second.get(variable), mine.get(variable)) == (None, None, "mine")


# --- Driven by hand: an edge steps a chain in pieces, from wherever it happens to be ---


@types.coroutine
def rest(coroutine):
    """Await what is left of a coroutine that has been started."""
    return (yield from coroutine)


def test_a_chain_is_started_by_one_task_and_ended_by_another(run_loop):
    variable = ContextVar("variable", default="unset")
    tasks = []

    def look(ctx, call):
        tasks.append(asyncio.current_task())
        variable.set("before")
        ctx = call(ctx)
        tasks.append(asyncio.current_task())
        variable.set("after")
        return ctx | {"waited": await_(asyncio.sleep(0, result=True))}

    async def main():
        coroutine = wrap(endpoint, [look])({})
        assert isinstance(coroutine.send(None), Pause)

        async def child():
            return await rest(coroutine), variable.get()

        task = asyncio.create_task(child())
        assert await task == ({"waited": True}, "after")
        assert tasks == [asyncio.current_task(), task]
        assert variable.get() == "before"

    run_loop(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_a_task_that_starts_eagerly_inside_a_plain_function_goes_on_by_itself():
    seen = []

    def inner_layer(ctx, call):
        seen.append(asyncio.current_task())
        ctx = call(ctx)
        seen.append(asyncio.current_task())
        return ctx

    async def later(ctx):
        await asyncio.sleep(0)
        return ctx | {"inner": True}

    def spawns(ctx, call):
        task = asyncio.create_task(wrap(later, [inner_layer])({}))
        ctx = call(ctx)
        return ctx | await_(task)

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        return await wrap(later, [spawns, passes_later])({"outer": True})

    assert asyncio.run(main()) == {"outer": True, "inner": True}
    assert seen[0] is seen[1]


# --- Many at once ---


def test_thousands_of_calls_wait_at_once(run_loop):
    count = 5000

    async def main():
        gate, everybody, waiting = asyncio.Event(), asyncio.Event(), set()

        async def end(ctx):
            waiting.add(ctx["number"])
            if len(waiting) == count:
                everybody.set()
            await gate.wait()
            return ctx

        def tag(ctx, call):
            number = ctx["number"]
            ctx = call(ctx)
            return ctx | {"tag": number}

        chain = wrap(end, [passes, tag, passes])
        tasks = [asyncio.ensure_future(chain({"number": number})) for number in range(count)]
        await everybody.wait()
        gate.set()
        assert await asyncio.gather(*tasks) == [{"number": number, "tag": number} for number in range(count)]

    run_loop(main())
    assert len(parked()) <= bridge.IDLE_WORKERS


def test_no_more_workers_are_parked_than_allowed(few_workers):
    coroutines = [started(wrap(endpoint, [passes])({})) for _ in range(10)]
    failing = [started(wrap(endpoint, [passes])({})) for _ in range(10)]
    assert parked() == []

    for coroutine in failing:
        with pytest.raises(Boom):
            coroutine.throw(Boom())
    assert len(parked()) == 3
    for coroutine in coroutines:
        drive(coroutine)
    assert len(parked()) == 3
    assert len([worker for worker in living_workers().values() if worker in parked()]) == 3


def test_a_parked_worker_is_used_again(few_workers):
    stacks = set()

    def look(ctx, call):
        stacks.add(getcurrent())
        return call(ctx)

    for _ in range(10):
        drive(wrap(endpoint, [look, passes, look])({}))
    assert len(stacks) == 1
    assert parked() == list(stacks)


def test_each_thread_has_an_event_loop_and_workers_of_its_own_and_takes_them_along(run_loop):
    stacks = {}

    async def end(ctx):
        await asyncio.sleep(0)
        return ctx

    def look(ctx, call):
        stacks.setdefault(threading.get_ident(), set()).add(id(getcurrent()))
        return call(ctx)

    async def main():
        chain = wrap(end, [look, passes_later, passes])
        return await asyncio.gather(*[chain({"number": number}) for number in range(20)])

    before, barrier = living_workers().keys(), threading.Barrier(8)

    def thread():
        assert run_loop(main()) == [{"number": number} for number in range(20)]
        barrier.wait(30)  # so that none ends, and gives its number away, before all have begun
        return len(parked())

    with ThreadPoolExecutor(8) as pool:
        counts = [future.result() for future in [pool.submit(thread) for _ in range(8)]]

    assert len(stacks) == 8
    assert counts == [40] * 8
    assert sum(map(len, stacks.values())) == len(set().union(*stacks.values()))
    gc.collect()
    assert [key for key in living_workers() if key not in before] == []


class Stress:
    """A program that does all there is to do, at random; its books say who came in and who went out."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.books = Counter()
        self.inner = wrap(self.end, [passes, self.coloured, passes])
        self.chain = wrap(self.end, [self.plain, self.coloured, self.plain, passes])

    @contextmanager
    def entered(self, name):
        self.books[name, "in"] += 1
        try:
            yield
        finally:
            self.books[name, "out"] += 1

    def plain(self, ctx, call):
        with self.entered("plain"):
            number = ctx["number"]
            for _ in range(self.random.randrange(3)):
                await_(asyncio.sleep(0))
            if self.random.random() < 0.1:
                raise Boom
            if self.random.random() < 0.3:
                ctx = await_(self.inner(ctx))
            try:
                ctx = call(ctx)
            finally:
                if self.random.random() < 0.2:
                    await_(asyncio.sleep(0))
            assert ctx["number"] == number
            return ctx

    async def coloured(self, ctx, call):
        with self.entered("coloured"):
            await asyncio.sleep(0)
            return await call(ctx)

    async def end(self, ctx):
        with self.entered("end"):
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(0)
            return ctx

    async def run(self, count):
        """Run so many tasks, cancel some of them wherever they are, and count how they ended."""
        tasks = [asyncio.ensure_future(self.chain({"number": number})) for number in range(count)]
        while not all(task.done() for task in tasks):
            self.random.choice(tasks).cancel()
            await asyncio.sleep(0)
        return Counter(
            "cancelled" if task.cancelled() else type(task.exception()).__name__ if task.exception() else "done"
            for task in tasks
        )


@pytest.mark.parametrize("seed", range(4))
def test_under_stress_every_call_ends_once_and_nothing_is_lost(seed, run_loop):
    threads, tasks = 4, 150

    def thread(number):
        stress = Stress(1000 * seed + number)
        outcome = run_loop(stress.run(tasks))
        for worker in parked():
            assert_holds_nothing(worker)
        return outcome, stress.books

    with ThreadPoolExecutor(threads) as pool:
        results = [future.result() for future in [pool.submit(thread, number) for number in range(threads)]]

    for outcome, books in results:
        assert outcome.keys() == {"cancelled", "Boom", "done"}, "each way to end has happened"
        assert sum(outcome.values()) == tasks
        for name in ("plain", "coloured", "end"):
            assert books[name, "in"] == books[name, "out"] > 0


# --- Nothing is left behind ---


class Ctx(dict):
    """A context that can be watched."""


@pytest.fixture(params=["collector on", "collector off"])
def collector(request):
    """Cycles are found only by the garbage collector; without it, what is left behind stays."""
    if request.param == "collector off":
        gc.collect()
        gc.disable()
    yield
    gc.enable()


def test_a_call_that_has_ended_leaves_no_context_result_or_function(collector):
    class Value:
        pass

    variable = ContextVar("variable")
    watched = []

    def watch(thing):
        watched.append(weakref.ref(thing))
        return thing

    def once():
        @watch
        def layer(ctx, call):
            variable.set(watch(Value()))
            ctx = call(ctx)
            return watch(Ctx(ctx))

        async def end(ctx):
            await Pause()
            return watch(Ctx(ctx))

        context = watch(copy_context())
        coroutine = wrap(end, [layer, passes_later, layer])(watch(Ctx()))
        context.run(coroutine.send, None)
        with pytest.raises(StopIteration):
            context.run(coroutine.send, None)

    once()
    assert len(watched) == 8
    assert [each() for each in watched if each() is not None] == []


@pytest.mark.parametrize("how", ["raised by a plain function", "thrown in from outside", "cancelled", "closed"])
def test_a_call_that_has_failed_leaves_no_error_traceback_or_context(how, collector):
    watched = []

    def watch(thing):
        watched.append(weakref.ref(thing))
        return thing

    def layer(ctx, call):
        local = watch(Ctx())
        try:
            out = call(ctx)
            if how == "raised by a plain function":
                raise watch(Boom())
            return out
        finally:
            local["seen"] = True

    def once():
        context = watch(copy_context())
        coroutine = wrap(endpoint, [layer, passes_later, layer])(watch(Ctx()))
        context.run(coroutine.send, None)
        try:
            if how == "raised by a plain function":
                context.run(coroutine.send, None)
            elif how == "thrown in from outside":
                context.run(coroutine.throw, watch(Boom()))
            elif how == "cancelled":
                context.run(coroutine.throw, watch(asyncio.CancelledError()))
            else:
                coroutine.close()
        except (Boom, asyncio.CancelledError):
            pass

    once()
    assert len(watched) >= 4
    assert [each() for each in watched if each() is not None] == []


@pytest.mark.parametrize("leave", ["pass", "waiting.send(None)", "del waiting"])
def test_the_interpreter_exits_without_a_word(leave):
    program = f"""
import asyncio, threading
from formation import await_, wrap

class Pause:
    def __await__(self):
        yield

async def end(ctx):
    await Pause()
    return ctx

def layer(ctx, call):
    try:
        return call(ctx)
    finally:
        ctx["left"] = True

chain = wrap(end, [layer])
asyncio.run(chain({{}}))
thread = threading.Thread(target=lambda: asyncio.run(chain({{}})))
thread.start()
thread.join()
waiting = chain({{}})
waiting.send(None)
try:
    {leave}
except StopIteration:
    pass
"""
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# --- Outside of a chain ---


def test_outside_of_an_async_chain_there_is_nothing_to_wait_with():
    coroutine = endpoint({})

    with pytest.raises(RuntimeError, match="cannot be waited for here: this is not a plain function in an async chain"):
        await_(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_what_need_not_be_closed_can_be_refused_too():
    for awaitable in (Pause(), asyncio.Event(), 42):
        with pytest.raises(RuntimeError, match="in_async_chain\\(\\) tells"):
            await_(awaitable)


def test_an_async_def_has_to_use_await():
    async def confused(ctx, call):
        return await_(call(ctx))

    with pytest.raises(RuntimeError, match="in an 'async def' use 'await'"):
        drive(wrap(endpoint, [passes, confused, passes])({}))


def test_a_sync_chain_has_nothing_to_wait_with():
    def waits(ctx, call):
        return call(await_(endpoint(ctx)))

    with pytest.raises(RuntimeError, match="in a sync program call something that blocks"):
        wrap(lambda ctx: ctx, [waits])({})


def test_a_plain_function_that_calls_on_from_another_thread_is_told_so():
    def hops(ctx, call):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call, ctx).result()

    with pytest.raises(RuntimeError, match="it runs in another thread or greenlet than its chain"):
        drive(wrap(endpoint, [hops])({}))


def test_a_plain_function_knows_where_it_runs():
    seen = []

    def look(ctx, call):
        seen.append(in_async_chain())
        return call(ctx)

    async def end(ctx):
        seen.append(in_async_chain())
        return ctx

    assert not in_async_chain()
    wrap(lambda ctx: ctx, [look])({})
    drive(wrap(end, [look])({}))
    assert seen == [False, True, False]


# --- Sleep ---


def test_in_a_sync_chain_sleep_blocks_the_thread(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def naps(ctx, call):
        sleep(1.5)
        sleep(-1)
        return call(ctx)

    wrap(lambda ctx: ctx, [naps])({})
    assert slept == [1.5, 0]


def test_in_an_async_chain_sleep_lets_the_event_loop_go_on(run_loop, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it blocked the loop"))
    turns = []

    def naps(ctx, call):
        for seconds in (0, -1, 0.001):
            sleep(seconds)
            turns.append("nap")
        return call(ctx)

    async def end(ctx):
        return ctx

    async def other():
        for _ in range(2):
            turns.append("other")
            await asyncio.sleep(0)

    async def main():
        began = asyncio.get_running_loop().time()
        await asyncio.gather(wrap(end, [naps])({}), other())
        return asyncio.get_running_loop().time() - began

    assert run_loop(main()) > 0
    assert turns == ["other", "nap", "other", "nap", "nap"]


# --- Trio ---


def trio_run(chain):
    return trio.run(chain, {}, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_bridge_needs_no_asyncio():
    def naps(ctx, call):
        began = trio.current_time()
        for seconds in (0, -1, 1000):
            sleep(seconds)
        ctx["slept"] = trio.current_time() - began
        return call(ctx)

    async def end(ctx):
        await trio.sleep(1000)
        return ctx

    assert trio_run(wrap(end, [naps, passes_later, naps])) == {"slept": 1000}


def test_a_trio_cancel_scope_reaches_the_plain_function():
    events = []

    async def forever(ctx):
        await trio.sleep_forever()

    def cleans_up(ctx, call):
        try:
            return call(ctx)
        except trio.Cancelled:
            events.append("cancelled")
            raise
        finally:
            events.append("out")

    async def bounded(ctx, call):
        with trio.move_on_after(10) as scope:
            await call(ctx)
        return ctx | {"late": scope.cancelled_caught}

    def bounded_too(ctx, call):
        with trio.move_on_after(5) as scope:  # noqa: ASYNC100  it is the call that waits
            call(ctx)
        return ctx | {"later": scope.cancelled_caught}

    assert trio_run(wrap(forever, [bounded, cleans_up])) == {"late": True}
    assert trio_run(wrap(forever, [passes, bounded_too, cleans_up])) == {"later": True}
    assert events == ["cancelled", "out"] * 2


# --- Beside other users of greenlets ---


async def spawn(function):
    """What other libraries do to run plain functions in a coroutine: a greenlet of their own for each."""
    other = greenlet(function)
    result = other.switch()
    while not other.dead:
        try:
            value = await result
        except BaseException:  # noqa: BLE001  it belongs to the function
            result = other.throw(*sys.exc_info())
        else:
            result = other.switch(value)
    return result


def wait_as_others_do(awaitable):
    return getcurrent().parent.switch(awaitable)


async def value(result):
    await Pause()
    return result


def test_another_librarys_greenlets_run_inside_a_chain():
    async def end(ctx):
        ctx["theirs"] = await spawn(lambda: wait_as_others_do(value(1)) + wait_as_others_do(value(2)))
        return ctx

    def also(ctx, call):
        ctx["also"] = await_(spawn(lambda: wait_as_others_do(value(3))))
        return call(ctx)

    assert drive(wrap(end, [passes, also, passes_later])({})) == {"also": 3, "theirs": 3}


def test_a_chain_runs_inside_another_librarys_greenlet():
    async def deeper(ctx):
        ctx["deeper"] = await spawn(lambda: wait_as_others_do(chain({"inner": True})))
        return ctx

    chain = wrap(endpoint, [passes, passes_later, passes])
    assert drive(spawn(lambda: wait_as_others_do(chain({"a": 1})))) == {"a": 1}
    outer = wrap(deeper, [passes, passes_later, passes])
    assert drive(spawn(lambda: wait_as_others_do(outer({})))) == {"deeper": {"inner": True}}
    assert drive(spawn(lambda: drive(chain({"a": 1})))) == {"a": 1}  # driven on their stack


def test_errors_cross_from_one_library_to_the_other():
    async def fails():
        await Pause()
        raise Boom

    def catches(ctx, call):
        with pytest.raises(Boom):
            call(ctx)
        return ctx

    async def end(ctx):
        await spawn(lambda: wait_as_others_do(fails()))

    assert drive(wrap(end, [catches])({})) == {}
    with pytest.raises(Boom):
        drive(spawn(lambda: wait_as_others_do(wrap(end, [passes])({}))))


def test_our_await_in_their_greenlet_is_refused():
    def confused():
        with pytest.raises(RuntimeError, match="another thread or greenlet than its chain"):
            await_(value(1))
        return in_async_chain()

    assert drive(spawn(confused)) is False

    def runs_the_rest_in_a_greenlet(ctx, call):
        return greenlet(call).switch(ctx)

    with pytest.raises(RuntimeError, match="another thread or greenlet than its chain"):
        drive(wrap(endpoint, [runs_the_rest_in_a_greenlet])({}))


def test_a_message_that_is_none_of_ours_is_a_type_error_for_its_sender():
    def switches(ctx, call):
        with pytest.raises(TypeError, match="can't be used in 'await' expression"):
            wait_as_others_do(("task", "wait"))
        return call(ctx)

    assert drive(wrap(endpoint, [switches])({"a": 1})) == {"a": 1}
