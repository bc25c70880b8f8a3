"""The kernel: laws, colour, what is said when a layer goes wrong, and what a chain shows of itself."""

import asyncio
import copy
import gc
import inspect
import pickle
import sys
import threading
from dataclasses import dataclass
from functools import partial, partialmethod, reduce, wraps
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from unittest.mock import AsyncMock, MagicMock, Mock, call, sentinel

import pytest
from greenlet import getcurrent
from hypothesis import given
from hypothesis import strategies as st

import formation.middleware
from formation import compose, in_async_chain, wrap
from formation.kernel import AsyncChain, Chain, chains, layer_of, name_of

HERE = Path(__file__).name


class Pause:
    """Awaiting it suspends the coroutine once, without an event loop."""

    def __await__(self):
        yield self


def drive(coroutine):
    """Run a coroutine to its end where it stands, with nothing between the test and the chain."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def result_of(chain, ctx):
    out = chain(ctx)
    return drive(out) if inspect.iscoroutinefunction(chain) else out


def log(ctx, call):
    ctx = call(ctx)
    ctx.setdefault("log", []).append("log")
    return ctx


def retry(ctx, call):
    return call(ctx)


async def fetch(ctx, call):
    await Pause()
    return await call(ctx)


def names(layers):
    """Identify the parameters of a test."""
    return "+".join(map(name_of, layers)) or "none"


def endpoint(ctx):
    return ctx


async def async_endpoint(ctx):
    await Pause()
    return ctx


# --- Laws: random programs do in a chain what they do nested by hand, whatever their colours ---


class Boom(Exception):
    """Raised by a layer; its argument says which one."""


@dataclass(frozen=True)
class Program:
    """What a layer does. ``fails`` and ``replaces`` say where: on the way "in", on the way "out", or nowhere ("")."""

    name: str
    calls: int = 1
    fails: str = ""
    catches: bool = False
    replaces: str = ""

    def step(self, where, ctx, events):
        events.append((self.name, where, list(ctx["path"])))
        if self.fails == where:
            raise Boom(self.name)
        return {"path": [*ctx["path"], self.name + where]} if self.replaces == where else ctx

    def caught(self, error, events):
        events.append((self.name, "caught", *error.args))
        return self.catches

    def plain(self, events):
        def layer(ctx, call):
            ctx = self.step("in", ctx, events)
            for _ in range(self.calls):
                try:
                    ctx = call(ctx)
                except Boom as error:
                    if not self.caught(error, events):
                        raise
            return self.step("out", ctx, events)

        return layer

    def coloured(self, events):
        async def layer(ctx, call):
            ctx = self.step("in", ctx, events)
            for _ in range(self.calls):
                try:
                    ctx = await call(ctx)
                except Boom as error:
                    if not self.caught(error, events):
                        raise
            return self.step("out", ctx, events)

        return layer


def by_hand(endpoint, layers):
    """What a chain is, by definition: each layer gets the next step as its call."""
    return reduce(lambda step, layer: lambda ctx: layer(ctx, step), reversed(layers), endpoint)


def outcome(run, events):
    """Everything one can tell from outside: the result or the error, and who did what before it, in order."""
    try:
        ended = run({"path": []})
    except Boom as error:
        ended = repr(error)
    return ended, events


PROGRAMS = st.builds(
    Program,
    name=st.sampled_from("abcdef"),
    calls=st.sampled_from([1, 1, 1, 0, 2]),
    fails=st.sampled_from(["", "", "", "in", "out"]),
    catches=st.booleans(),
    replaces=st.sampled_from(["", "in", "out"]),
)
SOMETIMES_FAILING = st.builds(Program, name=st.just("endpoint"), calls=st.just(0), fails=st.sampled_from(["", "in"]))


@given(inner=SOMETIMES_FAILING, programs=st.lists(st.tuples(PROGRAMS, st.booleans()), max_size=5), data=st.data())
def test_a_chain_of_any_colours_does_what_its_layers_do_when_nested_by_hand(inner, programs, data):
    def calling(events):
        return lambda ctx: inner.step("in", ctx, events)

    def awaited(events):
        async def endpoint(ctx):
            await Pause()
            return inner.step("in", ctx, events)

        return endpoint

    events = []
    plain = [program.plain(events) for program, _ in programs]
    expected = outcome(by_hand(calling(events), plain), events)

    events = []
    sync = wrap(calling(events), [program.plain(events) for program, _ in programs])
    assert outcome(sync, events) == expected

    events = []
    is_async = data.draw(st.booleans(), label="async endpoint")
    layers = [(program.coloured if coloured else program.plain)(events) for program, coloured in programs]
    mixed = wrap((awaited if is_async else calling)(events), layers, is_async=True)
    assert outcome(lambda ctx: result_of(mixed, ctx), events) == expected


@given(ctx=st.one_of(st.none(), st.integers(), st.text(), st.dictionaries(st.text(), st.integers())))
def test_wrapping_in_nothing_changes_nothing_whatever_the_context_is(ctx):
    async def returns_none(_):
        return None

    for fn in (lambda ctx: ctx, lambda _: None, lambda _: "else"):
        assert wrap(fn, [])(ctx) == fn(ctx)
    for fn in (returns_none, async_endpoint, partial(async_endpoint), SimpleAwaitable()):
        assert drive(wrap(fn, [])(ctx)) == drive(fn(ctx))
    assert drive(wrap(lambda _: returns_none(_), [], is_async=True)(ctx)) is None  # noqa: PLW0108  it must not show
    assert drive(wrap(lambda ctx: ctx, [], is_async=True)(ctx)) == ctx


class SimpleAwaitable:
    async def __call__(self, ctx):
        await Pause()
        return ctx


@given(colours=st.lists(st.booleans(), max_size=8), cut=st.integers(0, 8))
def test_wrapping_twice_is_wrapping_once_with_both_lists(colours, cut):
    layers = [Program(str(at)).coloured([]) if is_async else retry for at, is_async in enumerate(colours)]
    outer, inner = layers[:cut], layers[cut:]
    twice, once = wrap(wrap(endpoint, inner), outer), wrap(endpoint, outer + inner)

    assert twice.middleware == once.middleware == tuple(layers)
    assert twice.endpoint is once.endpoint is endpoint
    assert twice.is_async is once.is_async is any(colours)


@given(st.recursive(st.integers(0, 9).map(lambda n: [n]), lambda inner: st.lists(inner, max_size=3), max_leaves=12))
def test_compose_is_flattened_however_it_is_nested(tree):
    layers = [Program(str(number)).plain([]) for number in range(10)]

    def composed(node):
        return compose(*(layers[each] if isinstance(each, int) else composed(each) for each in node))

    def flat(node):
        return [layer for each in node for layer in ([layers[each]] if isinstance(each, int) else flat(each))]

    assert wrap(endpoint, [composed(tree)]).middleware == composed(tree).middleware == tuple(flat(tree))


def test_the_first_listed_is_outermost():
    def add_two(ctx, call):
        return call(ctx + 2)

    def double(ctx, call):
        return call(ctx * 2)

    async def double_later(ctx, call):
        return await call(ctx * 2)

    def same(number):
        return number

    assert wrap(same, [add_two, double])(4) == drive(wrap(same, [add_two, double_later])(4)) == 12
    assert wrap(same, [double, add_two])(4) == drive(wrap(same, [double_later, add_two])(4)) == 10


def test_composed_middleware_can_be_called_by_hand():
    assert compose(log, log)({}, endpoint) == {"log": ["log", "log"]}
    assert drive(compose(log, fetch)({}, async_endpoint)) == {"log": ["log"]}
    assert compose()({"a": 1}, endpoint) == {"a": 1}


def test_a_chain_may_be_entered_again_while_it_runs():
    def again(ctx, call):
        if ctx["depth"] < 3:
            ctx = result_of(chain, ctx | {"depth": ctx["depth"] + 1})
        return call(ctx)

    chain = wrap(endpoint, [log, again])
    assert chain({"depth": 0}) == {"depth": 3, "log": ["log"] * 4}


# --- Colour: what makes a chain async ---


def marked_as_before_3_12(fn):
    fn._is_coroutine = asyncio.coroutines._is_coroutine
    return fn


class Methods:
    async def bound(self, ctx):
        return await async_endpoint(ctx)

    part = partialmethod(bound)

    @classmethod
    async def of_class(cls, ctx):
        return await async_endpoint(ctx)

    @staticmethod
    async def static(ctx):
        return await async_endpoint(ctx)


ASYNC = {
    "async def": async_endpoint,
    "partial": partial(async_endpoint),
    "partial of a partial": partial(partial(async_endpoint)),
    "bound method": Methods().bound,
    "bound partial method": Methods().part,
    "class method": Methods.of_class,
    "static method": Methods.static,
    "partial of a bound method": partial(Methods().bound),
    "async __call__": SimpleAwaitable(),
    "partial of async __call__": partial(SimpleAwaitable()),
    "another chain": wrap(async_endpoint, [retry]),
    "partial of another chain": partial(wrap(async_endpoint, [retry])),
    "a sync endpoint behind an async layer": wrap(endpoint, [fetch]),
    "a chain that was told so": wrap(lambda ctx: async_endpoint(ctx), is_async=True),  # noqa: PLW0108
    "AsyncMock": AsyncMock(side_effect=async_endpoint),
}
if sys.version_info < (3, 14):  # where asyncio has a marker, asgiref sets it
    ASYNC["asgiref's marker"] = marked_as_before_3_12(lambda ctx: async_endpoint(ctx))  # noqa: PLW0108
if sys.version_info >= (3, 12):
    ASYNC["inspect's marker"] = inspect.markcoroutinefunction(lambda ctx: async_endpoint(ctx))  # noqa: PLW0108


@pytest.mark.parametrize("name", ASYNC)
@pytest.mark.parametrize("layers", [[], [log], [fetch], [log, fetch], [fetch, log]], ids=names)
def test_an_async_endpoint_is_seen_for_what_it_is(name, layers):
    chain = wrap(ASYNC[name], layers)

    assert chain.is_async
    assert isinstance(chain, AsyncChain)
    assert inspect.iscoroutinefunction(chain)
    assert drive(chain({"a": 1})) == {"a": 1, **({"log": ["log"]} if log in layers else {})}


class AsyncLayers:
    async def bound(self, ctx, call):
        return await call(ctx)

    async def __call__(self, ctx, call):
        return await call(ctx)


ASYNC_LAYERS = {
    "async def": fetch,
    "partial": partial(fetch),
    "bound method": AsyncLayers().bound,
    "async __call__": AsyncLayers(),
    "partial of async __call__": partial(AsyncLayers()),
    "composed of plain and async": compose(retry, fetch),
}


@pytest.mark.parametrize("name", ASYNC_LAYERS)
def test_an_async_layer_makes_the_chain_async(name):
    layer = ASYNC_LAYERS[name]
    for layers in ([layer], [log, layer], [layer, log], [log, layer, log]):
        chain = wrap(endpoint, layers)

        assert chain.is_async
        assert inspect.iscoroutinefunction(chain)
        assert drive(chain({})) == ({"log": ["log"] * layers.count(log)} if log in layers else {})


class Plain:
    def __call__(self, ctx):
        return ctx


class Remote:
    """Has whatever attribute one asks for, as a proxy to a remote object does."""

    def __getattr__(self, name):
        return Remote()

    def __call__(self, ctx):
        return ctx


PLAIN = {
    "def": endpoint,
    "partial": partial(endpoint),
    "__call__": Plain(),
    "class": dict,
    "Mock": Mock(side_effect=endpoint),
    "MagicMock": MagicMock(side_effect=endpoint),
    "a proxy": Remote(),
    "another chain": wrap(endpoint, [retry]),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("layers", [[], [log]], ids=names)
def test_all_plain_is_a_sync_chain(name, layers):
    chain = wrap(PLAIN[name], layers)

    assert not chain.is_async
    assert isinstance(chain, Chain)
    assert not inspect.iscoroutinefunction(chain)
    assert chain({"a": 1})["a"] == 1


def test_any_object_that_can_be_called_is_an_endpoint():
    assert wrap(call.anything, [retry])({}) == call.anything({})  # has any attribute one asks for, even __wrapped__
    assert wrap(sorted, [retry])([2, 1]) == [1, 2]  # has no code


def test_is_async_tells_the_colour_where_nothing_can_be_seen():
    def hidden(ctx):
        return async_endpoint(ctx)

    for layers in ([], [log], [fetch], [log, fetch], [fetch, log]):
        chain = wrap(hidden, layers, is_async=True)
        assert inspect.iscoroutinefunction(chain)
        assert drive(chain({}))["log"] == ["log"] if log in layers else drive(chain({})) == {}

        chain = wrap(endpoint, layers, is_async=True)  # and a sync endpoint may be told to be async
        assert inspect.iscoroutinefunction(chain)
        assert drive(chain({"a": 1}))["a"] == 1


def test_what_was_said_about_the_colour_is_remembered():
    chain = wrap(lambda ctx: async_endpoint(ctx), [log], is_async=True)  # noqa: PLW0108

    for edited in (chain.without("log"), wrap(chain, [retry]), chain.with_(retry), wrap(chain)):
        assert edited.is_async
        assert drive(edited({"a": 1}))["a"] == 1


@pytest.mark.parametrize(
    ("fn", "layers", "name"), [(async_endpoint, [], "async_endpoint"), (endpoint, [fetch], "fetch")]
)
def test_is_async_false_insists_on_a_sync_chain(fn, layers, name):
    with pytest.raises(TypeError, match=f"'{name}' is async and this chain is sync: make it a plain function"):
        wrap(fn, layers, is_async=False)
    assert wrap(endpoint, [log], is_async=False)({}) == {"log": ["log"]}
    with pytest.raises(TypeError, match="'fetch' is async and this chain is sync"):
        wrap(endpoint, [log], is_async=False).with_(fetch)


def test_an_async_layer_may_put_its_call_behind_further_middleware():
    async def sometimes(ctx, call):
        return await wrap(call, [log])(ctx)

    def sometimes_plain(ctx, call):
        return wrap(call, [log])(ctx)

    for layers in ([sometimes], [sometimes, fetch], [sometimes, retry], [fetch, sometimes], [retry, sometimes, fetch]):
        for fn in (endpoint, async_endpoint):
            assert drive(wrap(fn, layers)({})) == {"log": ["log"]}
    for layers in ([sometimes_plain], [fetch, sometimes_plain], [sometimes_plain, fetch]):
        assert drive(wrap(async_endpoint, layers)({})) == {"log": ["log"]}


# --- Colour: where each layer runs, row by row of the table ---


def where_they_run(colours, endpoint_is_async):
    """Run a chain of plain (``p``) and async (``a``) layers; tell of each its stack, its thread, and what it thinks."""
    seen = []

    def plain(ctx, call):
        seen.append(("p", getcurrent(), threading.get_ident(), in_async_chain()))
        return call(ctx)

    async def coloured(ctx, call):
        seen.append(("a", getcurrent(), threading.get_ident(), in_async_chain()))
        return await call(ctx)

    def end(ctx):
        seen.append(("end", getcurrent(), threading.get_ident(), in_async_chain()))
        return ctx

    async def async_end(ctx):
        await Pause()
        return end(ctx)

    chain = wrap(async_end if endpoint_is_async else end, [plain if each == "p" else coloured for each in colours])
    assert chain.is_async is (endpoint_is_async or "a" in colours)
    result_of(chain, {})
    return seen


def test_a_sync_chain_runs_all_of_itself_on_the_callers_stack():
    seen = where_they_run("ppp", endpoint_is_async=False)

    assert {stack for _, stack, *_ in seen} == {getcurrent()}
    assert not any(in_chain for *_, in_chain in seen)


def test_an_async_chain_of_async_layers_needs_no_bridge():
    for endpoint_is_async in (False, True):
        seen = where_they_run("aaa", endpoint_is_async=endpoint_is_async)
        assert {stack for _, stack, *_ in seen} == {getcurrent()}


@given(st.text("ap", max_size=8), st.booleans())
def test_neighbouring_plain_layers_share_one_worker_and_async_ones_run_on_the_callers_stack(colours, is_async):
    seen = where_they_run(colours, endpoint_is_async=is_async)
    bridged = is_async or "a" in colours
    layers = [each for each in seen if each[0] != "end"]

    for colour, stack, _, in_chain in layers:
        on_a_worker = bridged and colour == "p"
        assert (stack is not getcurrent()) == on_a_worker
        assert in_chain == on_a_worker
    for (colour, stack, *_), (next_colour, next_stack, *_) in pairwise(layers):
        if colour == next_colour:
            assert stack is next_stack
    # Two workers at once for two groups of plain layers: the outer one waits while the inner one runs.
    groups = [group for group in colours.split("a") if group]
    assert len({stack for colour, stack, *_ in layers if colour == "p"}) == len(groups)


@given(st.text("ap", max_size=6), st.booleans())
def test_there_is_no_thread_hop_ever(colours, is_async):
    assert {thread for _, _, thread, _ in where_they_run(colours, endpoint_is_async=is_async)} == {
        threading.get_ident()
    }


@pytest.mark.parametrize(
    ("colours", "where"), [("pa", "inline"), ("aa", "inline"), ("ap", "worker"), ("aapp", "worker")]
)
def test_a_sync_endpoint_of_an_async_chain_is_called_inline_where_the_layer_above_it_runs(colours, where):
    *_, (_, above, *_), (_, at_the_end, *_) = where_they_run(colours, endpoint_is_async=False)
    assert at_the_end is above
    assert (at_the_end is getcurrent()) == (where == "inline")


def awaited_by(coroutine):
    """The names of the coroutines from ``coroutine`` down to where it waits."""
    while inspect.iscoroutine(coroutine):
        yield coroutine.cr_code.co_name
        coroutine = coroutine.cr_await


def test_an_async_layer_has_no_coroutine_around_it():
    async def first(ctx, call):
        return await call(ctx)

    async def second(ctx, call):
        return await call(ctx)

    coroutine = wrap(async_endpoint, [first, second])({})
    coroutine.send(None)
    assert list(awaited_by(coroutine)) == ["chain", "first", "second", "async_endpoint"]
    drive(coroutine)

    coroutine = wrap(async_endpoint, [])({})
    coroutine.send(None)
    assert list(awaited_by(coroutine)) == ["async_endpoint"]
    drive(coroutine)


def test_plain_layers_have_one_coroutine_around_them_all():
    coroutine = wrap(async_endpoint, [retry, log, retry])({})
    coroutine.send(None)
    assert list(awaited_by(coroutine)) == ["run", "async_endpoint"]
    drive(coroutine)


def test_a_plain_layer_of_a_sync_chain_has_one_frame_beside_its_own():
    names = []

    def end(ctx):
        frame = sys._getframe()
        while frame.f_code is not this_test:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return ctx

    this_test = sys._getframe().f_code
    wrap(end, [retry, log])({})
    assert names == ["end", "log", "plain", "retry", "plain"]  # as in nested closures: step, layer, step, layer


# --- What is said when a layer goes wrong ---


def forgetful(ctx, call):
    call(ctx)


def forgetful_at_times(ctx, call):
    ctx = call(ctx)
    return ctx if "remember" in ctx else None


async def forgetful_later(ctx, call):
    await call(ctx)


async def forgetful_later_at_times(ctx, call):
    ctx = await call(ctx)
    return ctx if "remember" in ctx else None


async def passes(ctx, call):
    return await call(ctx)


def message_of(chain, ctx=sentinel.none):
    with pytest.raises(TypeError) as raised:
        result_of(chain, {} if ctx is sentinel.none else ctx)
    return str(raised.value)


def line_of(fn):
    return f"{HERE}:{fn.__code__.co_firstlineno}"


@pytest.mark.parametrize("guilty", [forgetful, forgetful_at_times])
@pytest.mark.parametrize("fn", [endpoint, async_endpoint])
@pytest.mark.parametrize("others", [[log, retry], [log, passes], [passes, retry], [passes, passes]], ids=names)
def test_a_plain_layer_that_returns_none_is_named_with_its_place_in_chain_and_file(guilty, fn, others):
    before, after = others
    said = "returned None: did you forget 'return call(ctx)'?"

    for layers, place in (
        ([guilty], "1 of 1"),
        ([before, guilty, after, log, log], "2 of 5"),
        ([before, after, guilty], "3 of 3"),
    ):
        message = message_of(wrap(fn, layers))
        assert message == f"middleware {guilty.__name__!r} ({place}, {line_of(guilty)}) {said}"


@pytest.mark.parametrize("fn", [endpoint, async_endpoint])
def test_an_async_layer_that_can_only_return_none_is_named_exactly(fn):
    for layers, place in (
        ([forgetful_later], "1 of 1"),
        ([passes, forgetful_later, passes], "2 of 3"),
        ([log, forgetful_later, passes], "2 of 3"),
        ([passes, passes, forgetful_later], "3 of 3"),
    ):
        message = message_of(wrap(fn, layers))
        assert message == (
            f"middleware 'forgetful_later' ({place}, {line_of(forgetful_later)}) "
            "returned None: did you forget 'return await call(ctx)'?"
        )


def test_an_async_layer_that_returns_none_at_times_is_among_its_async_neighbours():
    guilty, said = forgetful_later_at_times, "returned None: did you forget 'return await call(ctx)'?"
    name = guilty.__name__

    for layers, suspects in (
        ([guilty], f"{name!r} (1 of 1, {line_of(guilty)})"),
        ([passes, guilty, log], f"'passes' (1 of 3, {line_of(passes)}) or {name!r} (2 of 3, {line_of(guilty)})"),
        ([log, guilty, log], f"{name!r} (2 of 3, {line_of(guilty)})"),
        ([retry, guilty], f"{name!r} (2 of 2, {line_of(guilty)})"),
    ):
        chain = wrap(endpoint, layers)
        assert message_of(chain) == f"middleware {suspects} {said}"
        assert drive(chain({"remember": 1}))["remember"] == 1


@pytest.mark.parametrize("layers", [[log], [passes], [log, passes], [passes, log]], ids=names)
def test_an_endpoint_that_forgets_its_return_is_named(layers):
    def forgets(ctx):
        ctx["done"] = True

    async def forgets_later(ctx):
        ctx["done"] = True

    for fn in (forgets, forgets_later, partial(forgets)):
        ctx, name = {}, name_of(fn)
        line = line_of(getattr(fn, "func", fn))
        message = message_of(wrap(fn, layers), ctx)
        assert message == f"endpoint {name!r} ({line}) returned None: did you forget 'return ctx'?"
        assert ctx["done"], "it has been called"


def test_an_endpoint_that_returns_none_now_and_then_is_taken_at_its_word():
    def or_none(ctx):
        return ctx or None

    def if_else(ctx):
        return ctx if ctx else None  # noqa: FURB110  other bytecode

    def and_none(ctx):
        return ctx and None

    def replaces(ctx, call):
        return {"was": call(ctx)}

    for fn in (or_none, if_else, and_none):
        for full in ({}, {"a": 1}):
            assert wrap(fn, [replaces])(full) == {"was": fn(full)}


def test_a_decorator_that_adds_the_return_counts():
    def returning(fn):
        @wraps(fn)
        def inner(ctx):
            fn(ctx)
            return ctx

        return inner

    @returning
    def end(ctx):
        ctx["done"] = True

    assert wrap(end, [log])({}) == {"done": True, "log": ["log"]}


def test_an_endpoint_that_never_returns_is_not_one_that_forgets():
    def fails(ctx):
        raise LookupError(ctx["a"])

    def generator(ctx):
        yield ctx

    with pytest.raises(LookupError):
        wrap(fails, [log])({"a": 1})
    assert list(wrap(generator, [lambda ctx, call: call(ctx)])(1)) == [1]


def test_a_coroutine_that_turns_up_in_a_sync_chain_is_closed_and_told_of():
    made = []

    def hidden(ctx):
        made.append(async_endpoint(ctx))
        return made[-1]

    message = message_of(wrap(hidden, [log, retry]))
    assert message == (
        f"middleware 'retry' (2 of 2, {line_of(retry)}) returned a coroutine where a context was expected: something "
        "below it is async and does not show it; make it an 'async def', or say wrap(..., is_async=True)"
    )
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_a_coroutine_that_turns_up_in_an_async_chain_is_closed_and_told_of():
    made = []

    def forgot_to_await(ctx, call):
        made.append(async_endpoint(ctx))
        return made[-1]

    async def forgot_to_await_later(ctx, call):
        made.append(call(ctx))
        return made[-1]

    async def returns_one(ctx):
        made.append(async_endpoint(ctx))
        return made[-1]

    for layers in ([forgot_to_await], [passes, forgot_to_await]):
        message = message_of(wrap(async_endpoint, layers))
        assert "'forgot_to_await' (" in message
        assert "did you forget" not in message  # a plain function has no 'await' to forget
    for layers in ([forgot_to_await_later], [log, forgot_to_await_later]):
        message = message_of(wrap(async_endpoint, layers))
        assert "'forgot_to_await_later' (" in message
        assert "did you forget 'await'?" in message
    assert message_of(wrap(returns_one, [retry])).startswith("the endpoint returned a coroutine")
    assert {inspect.getcoroutinestate(each) for each in made} == {inspect.CORO_CLOSED}


def test_a_layer_without_code_or_name_is_told_of_as_well():
    class Silent:
        def __call__(self, ctx, call):
            return None

    assert message_of(wrap(endpoint, [Silent()])).startswith(f"middleware 'Silent' (1 of 1, {HERE}:")
    assert message_of(wrap(endpoint, [partial(forgetful)])).startswith("middleware 'forgetful' (1 of 1, ")
    assert message_of(wrap(endpoint, [Mock(return_value=None)])).startswith("middleware 'Mock' (1 of 1")
    assert message_of(wrap(endpoint, [dict.get]), {}).startswith("middleware 'get' (1 of 1) returned None")


@pytest.mark.parametrize("wrong", [None, 3, "log", [log], {}, object()], ids=repr)
def test_what_cannot_be_called_is_refused_with_its_index(wrong):
    with pytest.raises(TypeError, match=r"middleware\[2\] is no middleware: expected a function \(ctx, call\) -> ctx"):
        wrap(endpoint, [log, retry, wrong])
    with pytest.raises(TypeError, match=r"middleware\[0\] is no middleware: .*, got "):
        compose(wrong)
    with pytest.raises(TypeError, match="wrap\\(\\) takes a function of the context to call, got "):
        wrap(wrong)


@pytest.mark.parametrize("name", [name for name in formation.middleware.__all__ if name.islower()])
def test_a_built_in_one_that_was_not_called_is_refused(name):
    with pytest.raises(TypeError, match=rf"did you forget to call it, '{name}\(\)'\?"):
        wrap(endpoint, [log, getattr(formation.middleware, name)])


def test_what_cannot_take_a_context_and_a_call_is_refused():
    wrong = [
        lambda: None,
        lambda ctx: ctx,
        lambda name="timer": None,
        lambda ctx, call, more: ctx,
        lambda ctx, call, *, more: ctx,
    ]
    for each in wrong:
        with pytest.raises(TypeError, match=r"middleware\[0\], '<lambda>' .*, takes no \(ctx, call\): did you forget"):
            wrap(endpoint, [each])


def test_one_that_belongs_to_no_module_is_not():
    home = {"__name__": None}
    exec("def log(ctx, call): return call(ctx)", home)
    assert home["log"].__module__ is None
    assert wrap(endpoint, [home["log"]])({"a": 1}) == {"a": 1}


def test_what_can_take_them_one_way_or_another_is_not():
    class Method:
        def log(self, ctx, call):
            return call(ctx)

    @wraps(len)
    def decorated(*args):
        return log(*args)

    homeless = FunctionType((lambda ctx, call: call(ctx)).__code__, {})
    homeless.__module__ = None

    fine = [
        homeless,
        lambda ctx, call: call(ctx),
        lambda ctx, call, more=3: call(ctx),
        lambda ctx, call=None: call(ctx),
        lambda ctx, *args, more=3: args[0](ctx),
        Method().log,
        partial(lambda more, ctx, call: call(ctx), 3),
        decorated,
        Mock(side_effect=log),
    ]
    for each in fine:
        assert wrap(endpoint, [each])({"n": 1})["n"] == 1


def test_generator_functions_are_refused():
    def before_and_after(ctx, call):
        yield
        call(ctx)

    async def before_and_after_later(ctx, call):
        yield

    for wrong in (before_and_after, before_and_after_later):
        expected = (
            rf"middleware\[1\], '{wrong.__name__}' \({line_of(wrong)}\), is a generator: it has to return a context"
        )
        with pytest.raises(TypeError, match=expected):
            wrap(endpoint, [log, wrong])


@pytest.mark.parametrize(("wrong", "name"), [(log, "log"), (compose(log), "Composed"), (dict, "dict")])
def test_something_else_than_a_list_is_refused(wrong, name):
    with pytest.raises(TypeError, match=rf"expected a list of middleware, got .*: write \[{name}\]"):
        wrap(endpoint, wrong)


def test_a_name_is_no_list_of_middleware():
    with pytest.raises(TypeError, match=r"expected a list of middleware, got 'log': a name is none"):
        wrap(endpoint, "log")


def test_any_iterable_is_a_list_of_middleware():
    for layers in ([log, retry], (log, retry), iter([log, retry]), {log: 1, retry: 2}, (each for each in [log, retry])):
        assert wrap(endpoint, layers).middleware == (log, retry)


# --- What a chain shows of itself, and how it is edited ---


def outer(ctx, call):
    return call(ctx)


@pytest.mark.parametrize("fn", [endpoint, async_endpoint])
def test_a_chain_shows_what_it_is_made_of(fn):
    chain = wrap(fn, [log, retry])

    assert (chain.endpoint, chain.middleware, chain.is_async) == (fn, (log, retry), fn is async_endpoint)
    assert repr(chain) == f"wrap({fn.__name__}, [log, retry])"
    assert repr(wrap(partial(fn), [partial(log, call=fn), AsyncLayers()])) == f"wrap({fn.__name__}, [log, AsyncLayers])"
    assert repr(wrap(chain)) == repr(chain)
    assert repr(compose(log, compose(retry))) == "compose(log, retry)"
    assert list(inspect.signature(chain).parameters) == ["ctx"]


EDITS = {
    "with_": (lambda chain: chain.with_(outer), [log, retry, log, outer]),
    "with_ before the first of two": (lambda chain: chain.with_(outer, before="log"), [outer, log, retry, log]),
    "with_ before": (lambda chain: chain.with_(outer, before="retry"), [log, outer, retry, log]),
    "with_ after": (lambda chain: chain.with_(outer, after="retry"), [log, retry, outer, log]),
    "with_ after the last of two": (lambda chain: chain.with_(outer, after="log"), [log, retry, log, outer]),
    "with_ composed": (
        lambda chain: chain.with_(compose(outer, outer), after="retry"),
        [log, retry, outer, outer, log],
    ),
    "replace two": (lambda chain: chain.replace("log", outer), [outer, retry, outer]),
    "replace one": (lambda chain: chain.replace("retry", outer), [log, outer, log]),
    "replace by composed": (lambda chain: chain.replace("retry", compose(outer, outer)), [log, outer, outer, log]),
    "without two": (lambda chain: chain.without("log"), [retry]),
    "without any": (lambda chain: chain.without("retry").without("log"), []),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("fn", [endpoint, async_endpoint])
def test_an_edit_gives_a_new_chain_and_leaves_the_old_one_alone(edit, fn):
    change, expected = EDITS[edit]
    chain = wrap(fn, [log, retry, log])
    edited = change(chain)

    assert edited.middleware == tuple(expected)
    assert edited.endpoint is fn
    assert type(edited) is type(chain)
    assert result_of(edited, {}) == ({"log": ["log"] * expected.count(log)} if log in expected else {})
    assert chain.middleware == (log, retry, log)


def test_an_unknown_name_is_a_lookup_error_that_lists_the_known():
    for known, chain in (("log, retry", wrap(endpoint, [log, retry])), ("none", wrap(endpoint))):
        for edit in (
            lambda chain: chain.with_(outer, before="logg"),
            lambda chain: chain.with_(outer, after="logg"),
            lambda chain: chain.replace("logg", outer),
            lambda chain: chain.without("logg"),
        ):
            with pytest.raises(LookupError, match=f"no middleware is named 'logg'; there is: {known}$"):
                edit(chain)


def test_an_edit_refuses_what_wrap_refuses():
    chain = wrap(endpoint, [log])

    with pytest.raises(TypeError, match=r"with_\(\) takes before= or after=, not both"):
        chain.with_(outer, before="log", after="log")
    with pytest.raises(TypeError, match=r"middleware\[1\] is no middleware"):
        chain.with_(None)
    with pytest.raises(TypeError, match=r"middleware\[0\] is no middleware"):
        chain.replace("log", "retry")


def test_an_edit_may_change_the_colour():
    chain = wrap(endpoint, [log])

    assert chain.with_(fetch).is_async
    assert not chain.with_(fetch).without("fetch").is_async


def pickled(chain):
    return pickle.loads(pickle.dumps(chain))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("chain", [wrap(endpoint, [log, compose(retry)]), wrap(async_endpoint, [log, fetch])], ids=repr)
def test_a_chain_can_be_copied_and_pickled(again, chain):
    other = again(chain)

    assert repr(other) == repr(chain)
    assert (other.endpoint, other.middleware, other.is_async) == (chain.endpoint, chain.middleware, chain.is_async)
    assert result_of(other, {}) == {"log": ["log"]}
    told = again(wrap(endpoint, [log], is_async=True))
    assert told.without("log").is_async


def test_a_chain_as_a_class_attribute_is_no_method():
    class Client:
        send = wrap(endpoint, [log])
        send_later = wrap(async_endpoint, [log])

    assert Client().send is Client.send
    assert Client().send({}) == {"log": ["log"]}
    assert drive(Client().send_later({})) == {"log": ["log"]}


def test_chains_differ_though_they_are_made_of_the_same():
    chain = wrap(endpoint, [log])
    assert chain != wrap(endpoint, [log])
    assert {chain: 1}[chain] == 1


def test_what_a_chain_does_is_settled_when_it_is_built():
    layers = [log]
    chain = wrap(endpoint, layers)
    layers.append(forgetful)
    assert chain({}) == {"log": ["log"]}


# --- Which layer an error came from ---


def fails(ctx, call):
    raise LookupError("here")


def decorated(fn):
    @wraps(fn)
    def inner(ctx, call):
        return fn(ctx, call)

    return inner


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ([log, fails, retry], "fails"),
        ([log, retry], "end"),
        ([], "end"),
        ([log, fetch], "end"),
        ([log, partial(fails)], "fails"),
        ([log, decorated(fails)], "fails"),
        ([Mock(side_effect=LookupError)], "Mock"),
    ],
)
def test_the_innermost_layer_that_an_error_has_passed_can_be_told(layers, name):
    def end(ctx):
        raise LookupError("there")

    chain = wrap(end, layers)
    with pytest.raises(LookupError) as raised:
        result_of(chain, {})
    assert layer_of(raised.value, chain) == name


def test_an_error_that_was_never_raised_came_from_nowhere():
    assert layer_of(LookupError(), wrap(call.anything, [log])) is None


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (log, "log"),
        (partial(log), "log"),
        (Methods().bound, "bound"),
        (Plain(), "Plain"),
        (wrap(log), "Chain"),
        (dict, "dict"),
        (lambda: 0, "<lambda>"),
    ],
)
def test_everything_that_can_be_called_has_a_name(fn, name):
    assert name_of(fn) == name


def test_the_package_hands_out_the_kernel_and_nothing_else():
    assert {name for name in formation.__all__ if not name[0].isupper()} >= {
        "await_", "compose", "in_async_chain", "lift", "sleep", "wrap"
    }  # fmt: skip
    with pytest.raises(AttributeError, match="module 'formation' has no attribute 'middlewares'"):
        formation.middlewares  # noqa: B018


def test_chains_are_known_as_long_as_somebody_holds_them():
    chain = wrap(lambda ctx: ctx, [lambda ctx, call: call(ctx)])
    assert chain in chains()
    number = len(chains())
    del chain
    gc.collect()
    assert len(chains()) < number
