"""What a type checker says of the kernel. Nothing here runs: mypy reads it, and each ignored error has to be one."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, assert_type

from formation import AsyncCall, AsyncMiddleware, Call, Ctx, Middleware, await_, compose, lift, sleep, wrap
from formation.kernel import AsyncChain, Chain, Composed

C = TypeVar("C")


def endpoint(ctx: Ctx) -> Ctx:
    return ctx


async def async_endpoint(ctx: Ctx) -> Ctx:
    return ctx


def log(ctx: Ctx, call: Call[Ctx]) -> Ctx:
    return call(ctx)


def anything(ctx: C, call: Call[C]) -> C:
    return call(ctx)


async def fetch(ctx: Ctx, call: AsyncCall[Ctx]) -> Ctx:
    return await call(ctx)


def as_callable(ctx: Ctx, call: Callable[[Ctx], Ctx]) -> Ctx:
    return call(ctx)


def increment(ctx: int) -> int:
    return ctx + 1


def numbers(ctx: int, call: Call[int]) -> int:
    return call(ctx)


class Retry:
    def __call__(self, ctx: Ctx, call: Call[Ctx], /) -> Ctx:
        return call(ctx)

    def method(self, ctx: Ctx, call: Call[Ctx]) -> Ctx:
        return call(ctx)


def timeout(seconds: float) -> Middleware[Ctx]:
    def timeout(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        sleep(seconds)
        return call(ctx)

    return timeout


def the_colour_of_a_chain_is_in_its_type() -> None:
    assert_type(wrap(endpoint), Chain[Ctx])
    assert_type(wrap(endpoint, [timeout(1)]), Chain[Ctx])
    assert_type(wrap(endpoint, [log], is_async=False), Chain[Ctx])
    assert_type(wrap(async_endpoint), AsyncChain[Ctx])
    assert_type(wrap(async_endpoint, [log, fetch]), AsyncChain[Ctx])
    assert_type(wrap(endpoint, [fetch]), AsyncChain[Ctx])
    assert_type(wrap(endpoint, [log, fetch]), AsyncChain[Ctx])
    assert_type(wrap(endpoint, [log], is_async=True), AsyncChain[Ctx])
    assert_type(wrap(endpoint, [log], check=True), Chain[Ctx])
    assert_type(wrap(async_endpoint, [log], check=True), AsyncChain[Ctx])
    assert_type(wrap(endpoint, [compose(log, fetch)], is_async=True), AsyncChain[Ctx])


def a_chain_is_called_with_a_context_and_gives_one() -> None:
    assert_type(wrap(endpoint, [log])({}), Ctx)
    assert_type(wrap(increment, [numbers, anything])(1), int)

    wrap(endpoint, [log])(1)  # type: ignore[arg-type]
    wrap(increment, [numbers])({})  # type: ignore[arg-type]
    wrap(endpoint, [log])()  # type: ignore[call-arg]


async def an_async_chain_is_awaited() -> None:
    assert_type(await wrap(async_endpoint, [log])({}), Ctx)
    assert_type(await wrap(endpoint, [fetch])({}), Ctx)
    await wrap(async_endpoint, [log])(1)  # type: ignore[arg-type]


def whatever_has_the_right_shape_is_middleware() -> None:
    assert_type(
        wrap(endpoint, [anything, as_callable, Retry(), Retry().method, lambda ctx, call: call(ctx)]), Chain[Ctx]
    )
    assert_type(wrap(endpoint, (log,)), Chain[Ctx])
    assert_type(wrap(endpoint, {log: 1}), Chain[Ctx])
    layers: list[Middleware[Ctx]] = [log, anything, Retry()]
    assert_type(wrap(endpoint, layers), Chain[Ctx])
    later: list[AsyncMiddleware[Ctx]] = [fetch]
    assert_type(wrap(endpoint, later), AsyncChain[Ctx])


def what_has_another_shape_is_refused() -> None:
    wrap(endpoint, ["log"])  # type: ignore[arg-type, list-item]
    wrap(endpoint, log)  # type: ignore[call-overload]
    wrap(None)  # type: ignore[call-overload]
    compose("log")  # type: ignore[arg-type]


def a_chain_wrapped_again_keeps_its_type() -> None:
    chain = wrap(endpoint, [log])
    later = wrap(async_endpoint, [log])

    assert_type(wrap(chain, [log]), Chain[Ctx])
    assert_type(wrap(chain, [fetch]), AsyncChain[Ctx])
    assert_type(wrap(later, [log]), AsyncChain[Ctx])


def edits_keep_the_type() -> None:
    chain = wrap(endpoint, [log])
    later = wrap(async_endpoint, [log])

    assert_type(chain.with_(log, before="log"), Chain[Ctx])
    assert_type(chain.replace("log", timeout(1)), Chain[Ctx])
    assert_type(chain.without("log"), Chain[Ctx])
    assert_type(later.with_(fetch, after="log").without("log"), AsyncChain[Ctx])
    chain.with_(1)  # type: ignore[arg-type]


def composed_middleware_is_middleware() -> None:
    both = compose(log, timeout(1))

    assert_type(both, Composed)
    assert_type(wrap(async_endpoint, [both, fetch]), AsyncChain[Ctx])
    call: Call[Ctx] = endpoint
    assert_type(both({}, call), Any)


def area(width: int, *, height: int = 1) -> float:
    return width * height


async def async_area(width: int, *, height: int = 1) -> float:
    return width * height


@lift(middleware=[log])
def decorated(width: int) -> float:
    return width


class Shape:
    @lift(middleware=[log])
    def scaled(self, by: int) -> float:
        return float(by)

    @lift(middleware=[log])
    async def scaled_later(self, by: int) -> float:
        return float(by)


async def a_lifted_function_keeps_its_signature() -> None:
    lifted = lift(area, middleware=[log])

    assert_type(lifted(1, height=2), float)
    assert_type(lift(area)(1), float)
    assert_type(await lift(async_area, middleware=[log, fetch])(1), float)
    assert_type(decorated(1), float)
    assert_type(Shape().scaled(2), float)
    assert_type(await Shape().scaled_later(by=2), float)

    lifted("1")  # type: ignore[arg-type]
    lifted(1, 2)  # type: ignore[call-arg]
    decorated(width="1")  # type: ignore[arg-type]
    Shape().scaled("2")  # type: ignore[arg-type]


def await_gives_what_the_awaitable_gives(awaitable: Awaitable[int]) -> None:
    assert_type(await_(awaitable), int)
    assert_type(await_(async_endpoint({})), Ctx)
    await_(1)  # type: ignore[arg-type]


def functions_without_types_can_be_wrapped(untyped: Any) -> None:
    wrap(endpoint, [untyped])({})
    wrap(untyped, [log])({})
