"""lift(): any function behind middleware, with its own signature, docstring and colour."""

import asyncio
import inspect
from functools import partial

import pytest

from formation import Ctx, await_, compose, lift
from formation.kernel import AsyncChain, Chain
from formation.keys import ARGS, FN, KIND, KWARGS, RESULT


def twice(ctx, call):
    ctx = call(ctx)
    ctx[RESULT] *= 2
    return ctx


def nothing_special(ctx, call):
    return call(ctx)


async def later(ctx, call):
    await asyncio.sleep(0)
    return await call(ctx)


def area(width: int, height: int = 1, *, unit: str = "m") -> int:
    """Multiply."""
    return width * height if unit == "m" else width * height * 10_000


async def async_area(width: int, height: int = 1, *, unit: str = "m") -> int:
    """Multiply, in due time."""
    await asyncio.sleep(0)
    return area(width, height, unit=unit)


def test_a_lifted_function_is_called_as_before():
    lifted = lift(area, middleware=[twice])

    assert lifted(3) == 6
    assert lifted(3, 4) == lifted(3, height=4) == lifted(width=3, height=4) == 24
    assert lifted(3, 4, unit="km") == 240_000
    assert lift(area)(3, 4) == area(3, 4) == 12


def test_a_lifted_coroutine_function_is_awaited_as_before():
    lifted = lift(async_area, middleware=[twice, later])

    assert inspect.iscoroutinefunction(lifted)
    assert asyncio.run(lifted(3, height=4)) == 24


@pytest.mark.parametrize("fn", [area, async_area])
@pytest.mark.parametrize("layers", [[], [twice], [later]], ids=["none", "plain", "async"])
def test_name_docstring_signature_and_types_stay(fn, layers):
    lifted = lift(fn, middleware=layers)

    assert inspect.signature(lifted) == inspect.signature(fn)
    assert (lifted.__name__, lifted.__qualname__, lifted.__module__) == (fn.__name__, fn.__qualname__, fn.__module__)
    assert lifted.__doc__ == fn.__doc__
    assert lifted.__annotations__ == fn.__annotations__
    assert lifted.__wrapped__ is fn
    assert inspect.isfunction(lifted)


def test_a_wrong_argument_is_the_functions_own_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        lift(area, middleware=[nothing_special])(3, depth=1)


def test_a_plain_function_behind_async_middleware_becomes_async():
    lifted = lift(area, middleware=[later, twice])

    assert inspect.iscoroutinefunction(lifted)
    assert asyncio.run(lifted(3, 4)) == 24


def test_a_plain_function_may_wait_where_its_middleware_is_async():
    def ask(question):
        return await_(asyncio.sleep(0, result=f"{question}!"))

    assert asyncio.run(lift(ask, middleware=[later, nothing_special])("why")) == "why!"


def test_the_context_holds_the_function_its_arguments_and_its_result():
    seen = []

    def look(ctx, call):
        seen.append(dict(ctx))
        ctx = call(ctx)
        seen.append(dict(ctx))
        return ctx

    lift(area, middleware=[look])(3, height=4)

    before = {KIND: "call", FN: area, ARGS: (3,), KWARGS: {"height": 4}}
    assert seen == [before, before | {RESULT: 12}]


def test_arguments_and_result_may_be_assigned():
    def change(ctx, call):
        ctx[ARGS] = tuple(map(int, ctx[ARGS]))
        ctx[KWARGS] = ctx[KWARGS] | {"unit": "km"}
        ctx = call(ctx)
        ctx[RESULT] = f"{ctx[RESULT]} m2"
        return ctx

    assert lift(area, middleware=[change])("3", "4") == "120000 m2"
    assert asyncio.run(lift(async_area, middleware=[change])("3", "4")) == "120000 m2"


def test_a_middleware_may_answer_without_calling():
    def cached(ctx, call):
        ctx[RESULT] = "cached"
        return ctx

    def other(ctx, call):
        return {RESULT: "other"}

    assert lift(area, middleware=[cached])(3) == "cached"
    assert lift(area, middleware=[other])(3) == "other"
    assert asyncio.run(lift(async_area, middleware=[cached])(3)) == "cached"


def test_an_answer_without_a_result_is_a_lookup_error_that_says_what_to_do():
    def silent(ctx, call):
        return ctx

    expected = (
        r"wrap\({name}, \[silent\]\) returned without calling '{name}': set ctx\['fmtn.result'\] to answer in its place"
    )
    with pytest.raises(LookupError, match=expected.format(name="area")):
        lift(area, middleware=[silent])(3)
    with pytest.raises(LookupError, match=expected.format(name="async_area")):
        asyncio.run(lift(async_area, middleware=[silent])(3))


def test_a_function_may_be_called_again():
    calls = []

    def flaky(n):
        calls.append(n)
        if len(calls) < 3:
            raise ConnectionError
        return n

    def retry(ctx, call):
        while True:
            try:
                return call(ctx)
            except ConnectionError:
                ctx[ARGS] = (ctx[ARGS][0] + 1,)

    assert lift(flaky, middleware=[retry])(1) == 3
    assert calls == [1, 2, 3]


def test_a_function_may_return_none_though_a_middleware_may_not():
    def returns_none():
        pass

    async def returns_none_later():
        pass

    def forgets(ctx, call):
        call(ctx)

    assert lift(returns_none, middleware=[nothing_special])() is None
    assert asyncio.run(lift(returns_none_later, middleware=[nothing_special])()) is None
    with pytest.raises(TypeError, match=r"middleware 'forgets' .* returned None"):
        lift(area, middleware=[forgets])(3)


def test_one_call_does_not_see_anothers_context():
    def leave_a_trace(ctx, call):
        assert "trace" not in ctx
        ctx["trace"] = True
        return call(ctx)

    lifted = lift(area, middleware=[leave_a_trace])
    assert lifted(1) + lifted(2) == 3


# --- As a decorator, on functions and in classes ---


def test_without_a_function_it_is_a_decorator():
    @lift(middleware=[twice])
    def double(number: int) -> int:
        return number

    @lift(middleware=[later, twice])
    async def double_later(number: int) -> int:
        return number

    assert double(2) == asyncio.run(double_later(2)) == 4
    assert list(inspect.signature(double).parameters) == ["number"]


def test_partial_makes_a_decorator_of_it_as_well():
    @partial(lift, middleware=[twice])
    def double(number):
        return number

    assert double(2) == 4


def test_one_decorator_may_be_used_on_many_functions_though_its_middleware_can_be_read_once():
    doubling = lift(middleware=(each for each in [twice, compose(nothing_special, twice)]))

    assert doubling(area)(1) == doubling(abs)(-1) == 4


class Rectangle:
    """A class whose every kind of method is lifted."""

    sides = 2

    def __init__(self, width: int) -> None:
        self.width = width

    @lift(middleware=[twice])
    def times(self, number: int) -> int:
        """Scale."""
        return self.width * number

    @lift(middleware=[twice])
    async def times_later(self, number: int) -> int:
        return self.width * number

    @lift(middleware=[twice])
    @classmethod
    def count(cls, number: int) -> int:
        return cls.sides * number

    @classmethod
    @lift(middleware=[twice])
    def count_too(cls, number: int) -> int:
        return cls.sides * number

    @lift(middleware=[twice])
    @staticmethod
    def same(number: int) -> int:
        return number

    @staticmethod
    @lift(middleware=[twice])
    def same_too(number: int) -> int:
        return number

    @property
    @lift(middleware=[twice])
    def area(self) -> int:
        return self.width


class Square(Rectangle):
    sides = 1


def test_methods_of_every_kind_can_be_lifted():
    shape = Rectangle(3)

    assert shape.times(2) == Rectangle.times(shape, number=2) == 12
    assert asyncio.run(shape.times_later(2)) == 12
    assert shape.count(5) == Rectangle.count(5) == shape.count_too(5) == Rectangle.count_too(5) == 20
    assert Square.count(5) == Square.count_too(5) == 10
    assert shape.same(5) == Rectangle.same(5) == shape.same_too(5) == Rectangle.same_too(5) == 10
    assert shape.area == 6
    assert (Rectangle.times.__name__, Rectangle.times.__doc__) == ("times", "Scale.")
    assert list(inspect.signature(shape.times).parameters) == ["number"]


class Adder:
    def __call__(self, a, b):
        return a + b

    def method(self, a, b):
        return a + b

    async def later(self, a, b):
        return a + b


def test_whatever_can_be_called_can_be_lifted():
    assert lift(Adder(), middleware=[twice])(1, 2) == 6
    assert lift(Adder().method, middleware=[twice])(1, b=2) == 6
    assert lift(partial(Adder(), 1), middleware=[twice])(2) == 6
    assert asyncio.run(lift(partial(Adder().later, 1), middleware=[twice])(2)) == 6
    assert lift(max, middleware=[twice])(1, 2, key=lambda n: -n) == 2
    assert lift(lambda: 1, middleware=[twice])() == 2
    assert isinstance(lift(Adder)(), Adder)


def test_a_lifted_function_can_be_lifted_again():
    assert lift(lift(area, middleware=[twice]), middleware=[twice])(1) == 4


def test_the_chain_can_be_looked_at():
    assert isinstance(lift(area, middleware=[twice]).chain, Chain)
    assert isinstance(lift(async_area).chain, AsyncChain)
    assert repr(lift(area, middleware=[twice, nothing_special]).chain) == "wrap(area, [twice, nothing_special])"
    assert repr(lift(Adder(), middleware=[twice]).chain) == "wrap(Adder, [twice])"

    ctx: Ctx = {FN: area, ARGS: (3,), KWARGS: {}}
    assert lift(area, middleware=[twice]).chain(ctx)[RESULT] == 6


def test_what_cannot_be_lifted_is_refused_where_it_is_given():
    with pytest.raises(TypeError, match=r"lift\(\) takes a function, got 3"):
        lift(3)
    with pytest.raises(TypeError, match=r"lift\(\) takes a function, got \[<function twice"):
        lift([twice])
    with pytest.raises(TypeError, match=r"middleware\[1\] is no middleware: .* got 'log'"):
        lift(area, middleware=[twice, "log"])
    with pytest.raises(TypeError, match=r"middleware\[0\] is no middleware: .* got 'log'"):
        lift(middleware=["log"])
    with pytest.raises(TypeError, match=r"expected a list of middleware, got <function twice .*>: write \[twice\]"):
        lift(area, middleware=twice)
