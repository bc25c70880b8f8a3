"""The kernel: one plain function is middleware for anything that can be called.

Start from a function that takes a context and returns it. A *context* is any object that everybody in the chain agrees
on; Formation's edges use a plain ``dict``.

>>> def greet(ctx):
...     ctx["greeting"] = f"hello {ctx['name']}"
...     return ctx

A *middleware* takes a context and the next callable, and returns a context. It may look at the context on the way in,
call ``call`` once, many times or not at all, look at the context on the way out, raise, or answer by itself.

>>> def capitalize(ctx, call):
...     ctx["name"] = ctx["name"].capitalize()
...     return call(ctx)
>>> def shout(ctx, call):
...     ctx = call(ctx)
...     ctx["greeting"] = ctx["greeting"].upper() + "!"
...     return ctx

`wrap` puts the two together into a *chain*, which is a function of the context again, so it can be wrapped again.

>>> polite = wrap(greet, middleware=[capitalize])
>>> polite({"name": "ring"})["greeting"]
'hello Ring'
>>> wrap(polite, middleware=[shout])({"name": "ring"})["greeting"]
'HELLO RING!'
>>> wrap(polite, middleware=[shout])
wrap(greet, [shout, capitalize])

The first in the list is outermost: it sees the context first and the result last. Order is meaning:

>>> def add_two(ctx, call):
...     return call(ctx + 2)
>>> def double(ctx, call):
...     return call(ctx * 2)
>>> wrap(lambda n: n, [add_two, double])(4), wrap(lambda n: n, [double, add_two])(4)
(12, 10)

Laws: ``wrap(f, [])`` does what ``f`` does; ``wrap(f, a + b)`` is ``wrap(wrap(f, b), a)``; an exception passes every
layer once.

Colour
------
A chain is sync or async. That is settled here, when the chain is built, and never while it runs: it is async if its
endpoint or any middleware is. A plain middleware then runs on the bridge (``bridge.py``), neighbours on the same one,
and may wait without knowing; an ``async def`` middleware runs as it is, with no extra coroutine around it.

>>> import asyncio
>>> async def fetch(ctx):
...     await asyncio.sleep(0)
...     return greet(ctx)
>>> asyncio.run(wrap(fetch, [capitalize, shout])({"name": "ring"}))["greeting"]
'HELLO RING!'
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial, wraps
from itertools import takewhile
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload
from weakref import ref

from formation.bridge import run, waiting
from formation.introspection import (
    code_of,
    is_coroutine_callable,
    is_coroutine_function,
    name_of,
    refuse,
    returns_nothing,
    where,
)
from formation.keys import ARGS, FN, KIND, KWARGS, RESULT

if TYPE_CHECKING:
    from typing import Self

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")

Ctx: TypeAlias = dict[str, Any]
"""The context of the edges. The kernel itself takes any object."""


class Call(Protocol[C]):
    """Takes a context and returns one: an endpoint, a sync chain, or what a plain middleware calls."""

    def __call__(self, ctx: C, /) -> C: ...


class AsyncCall(Protocol[C]):
    """The same, to be awaited: an async endpoint, an async chain, or what an ``async def`` middleware calls."""

    def __call__(self, ctx: C, /) -> Awaitable[C]: ...


class Middleware(Protocol[C]):
    """Takes a context and the next callable, and returns a context. Runs in sync and in async chains."""

    def __call__(self, ctx: C, call: Call[C], /) -> C: ...


class AsyncMiddleware(Protocol[C]):
    """The same as ``async def``: it awaits ``call(ctx)``, and makes the chain async."""

    def __call__(self, ctx: C, call: AsyncCall[C], /) -> Awaitable[C]: ...


AnyMiddleware: TypeAlias = Middleware[Any] | AsyncMiddleware[Any]


class BaseChain(partial[R]):
    """What `wrap` returns: a callable of the context that shows what it is made of.

    It is a `functools.partial`, so that calling it costs no Python frame and `inspect.iscoroutinefunction` sees through
    it. Chains do not change: each edit returns a new one.

    >>> def log(ctx, call):
    ...     return call(ctx)
    >>> def retry(ctx, call):
    ...     return call(ctx)
    >>> chain = wrap(print, [log])
    >>> chain.with_(retry, before="log")
    wrap(print, [retry, log])
    >>> chain.with_(retry).without("log")
    wrap(print, [retry])
    """

    endpoint: Callable[..., Any]
    """The innermost callable."""
    middleware: tuple[Any, ...]
    """The layers, outermost first."""
    is_async: bool
    """Whether a call of the chain has to be awaited."""
    asked: bool | None
    """What `wrap` was told about ``is_async``."""

    @property
    def __signature__(self) -> Any:
        """``(ctx, /)``, for `inspect.signature`."""
        from inspect import Parameter, Signature

        return Signature([Parameter("ctx", Parameter.POSITIONAL_ONLY)])

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        """Stay as it is as a class attribute: a chain is no method (and `functools.partial` becomes one in 3.14)."""
        return self

    def with_(self, middleware: AnyMiddleware, *, before: str | None = None, after: str | None = None) -> Self:
        """Return a chain with a middleware more: innermost, or ``before`` (outside) or ``after`` (inside) a named one.

        Raises:
            LookupError: no middleware has that name.
            TypeError: both ``before`` and ``after`` are given, or ``middleware`` is none.
        """
        if before is not None and after is not None:
            message = "with_() takes before= or after=, not both"
            raise TypeError(message)
        at = len(self.middleware)
        if before is not None:
            at = self._places(before)[0]
        elif after is not None:
            at = self._places(after)[-1] + 1
        return self._edited([*self.middleware[:at], middleware, *self.middleware[at:]])

    def replace(self, name: str, middleware: AnyMiddleware) -> Self:
        """Return a chain with ``middleware`` in the place of every one of that name.

        Raises:
            LookupError: no middleware has that name.
        """
        places = self._places(name)
        return self._edited([middleware if at in places else layer for at, layer in enumerate(self.middleware)])

    def without(self, name: str) -> Self:
        """Return a chain without the middleware of that name.

        Raises:
            LookupError: no middleware has that name.
        """
        places = self._places(name)
        return self._edited([layer for at, layer in enumerate(self.middleware) if at not in places])

    def explain(self) -> str:
        """Return the layers with their settings, file and line, and what `formation.check` says, as text to print."""
        from formation.explain import explain

        return explain(self)

    def _places(self, name: str) -> list[int]:
        names = [name_of(layer) for layer in self.middleware]
        if name not in names:
            message = f"no middleware is named {name!r}; there is: {', '.join(names) or 'none'}"
            raise LookupError(message)
        return [at for at, each in enumerate(names) if each == name]

    def _edited(self, layers: list[Any]) -> Self:
        return cast("Self", wrap(self.endpoint, layers, is_async=self.asked))

    def __repr__(self) -> str:
        return f"wrap({name_of(self.endpoint)}, [{', '.join(map(name_of, self.middleware))}])"

    def __reduce__(self) -> Any:
        return _unpickle, (self.endpoint, self.middleware, self.asked)


class Chain(BaseChain[C]):
    """A sync chain: ``ctx = chain(ctx)``."""

    if TYPE_CHECKING:

        def __call__(self, ctx: C, /) -> C: ...


class AsyncChain(BaseChain[Coroutine[Any, Any, C]]):
    """An async chain: ``ctx = await chain(ctx)``."""

    if TYPE_CHECKING:

        def __call__(self, ctx: C, /) -> Coroutine[Any, Any, C]: ...


# An endpoint whose type is unknown is a Call and an AsyncCall at once; which one comes first matters to nobody else.
@overload
def wrap(  # type: ignore[overload-overlap]
    call: AsyncCall[C], middleware: Iterable[AnyMiddleware] = ..., *, is_async: bool | None = ..., check: bool = ...
) -> AsyncChain[C]: ...
@overload
def wrap(
    call: Call[C], middleware: Iterable[AnyMiddleware] = ..., *, is_async: Literal[True], check: bool = ...
) -> AsyncChain[C]: ...
@overload
def wrap(
    call: Call[C],
    middleware: Iterable[Middleware[C]] = ...,
    *,
    is_async: Literal[False] | None = ...,
    check: bool = ...,
) -> Chain[C]: ...
@overload
def wrap(
    call: Call[C], middleware: Iterable[AnyMiddleware] = ..., *, is_async: None = ..., check: bool = ...
) -> AsyncChain[C]: ...
def wrap(
    call: Callable[..., Any], middleware: Iterable[Any] = (), *, is_async: bool | None = None, check: bool = False
) -> Any:
    """Compose ``middleware`` around ``call``; the first listed is outermost.

    Args:
        call: the endpoint, a function that takes a context and returns one; or a chain, which is then taken apart, so
            that ``wrap(wrap(f, b), a)`` is as fast as ``wrap(f, a + b)``.
        middleware: functions ``(ctx, call) -> ctx``, plain or ``async def``, and what `compose` makes of them.
        is_async: whether calls of the chain are awaited. Seen by itself (``None``, the default) for ``async def``,
            partials and methods of it, objects with ``async def __call__``, marked functions and chains. ``True`` says
            it where nothing can be seen, such as a lambda that returns a coroutine. ``False`` insists on a sync chain.
        check: warn, now, of orders of middleware that hurt: see ``formation.check``.

    Returns:
        A `Chain`, or an `AsyncChain` if the endpoint or a middleware is async.

    Raises:
        TypeError: a middleware is no callable, or is a generator function, or is async while ``is_async=False``. When
            the chain runs: a layer returned ``None`` or, in a sync chain, a coroutine.

    Order:
        ``wrap(f, [a, b])`` is ``a`` around ``b`` around ``f``: ``a`` sees the context first and the result last.

    >>> def log(ctx, call):
    ...     print("started")
    ...     ctx = call(ctx)
    ...     print("ended")
    ...     return ctx
    >>> wrap(lambda ctx: ctx | {"done": True}, middleware=[log])({})
    started
    ended
    {'done': True}
    """
    layers = _flat(middleware)
    if isinstance(call, BaseChain):
        layers += call.middleware
        is_async = call.asked if is_async is None else is_async
        call = call.endpoint
    if not callable(call):
        message = f"wrap() takes a function of the context to call, got {call!r}"
        raise TypeError(message)
    coloured = [each for each in (call, *layers) if is_coroutine_callable(each)]
    if is_async is False and coloured:
        name = name_of(coloured[0])
        message = f"{name!r} is async and this chain is sync: make it a plain function, which runs in both"
        raise TypeError(message)
    awaited = bool(is_async or coloured)
    chain: BaseChain[Any] = (
        AsyncChain(*_async_steps(call, layers, is_async)) if awaited else Chain(_sync_steps(call, layers))
    )
    chain.endpoint, chain.middleware = call, tuple(layers)
    chain.is_async, chain.asked = awaited, is_async
    _alive.add(ref(chain, _alive.discard))
    if check:
        from formation.check import check as warn_of

        warn_of(chain, stacklevel=2)
    return chain


_alive: Final[set[ref[BaseChain[Any]]]] = set()
"""Changed by one step at a time, which threads and the collector may take whenever they like."""


def chains() -> list[BaseChain[Any]]:
    """Return the chains that `wrap` has made in this process and that somebody still holds, in no order.

    They are known by weak references, so a chain is gone when its last user is. To call one costs nothing by it.

    >>> chain = wrap(print)
    >>> chain in chains()
    True
    """
    return [chain for each in _alive.copy() if (chain := each()) is not None]


def compose(*middleware: AnyMiddleware) -> Composed:
    """Make one middleware of many; the first is outermost. `wrap` takes it apart again, so it costs nothing.

    >>> def add_two(ctx, call):
    ...     return call(ctx + 2)
    >>> def double(ctx, call):
    ...     return call(ctx * 2)
    >>> both = compose(add_two, double)
    >>> both, both(4, lambda n: n)
    (compose(add_two, double), 12)
    """
    return Composed(middleware)


class Composed:
    """What `compose` returns: a middleware made of ``middleware``."""

    def __init__(self, middleware: Iterable[Any]) -> None:
        self.middleware = tuple(_flat(middleware))
        self.is_async = any(map(is_coroutine_callable, self.middleware))

    def __call__(self, ctx: Any, call: Callable[[Any], Any], /) -> Any:
        return wrap(call, self.middleware)(ctx)

    def __repr__(self) -> str:
        return f"compose({', '.join(map(name_of, self.middleware))})"


@overload
def lift(fn: Callable[P, R], /, middleware: Iterable[AnyMiddleware] = ...) -> Callable[P, R]: ...
@overload
def lift(*, middleware: Iterable[AnyMiddleware] = ...) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def lift(fn: Any = None, /, middleware: Iterable[Any] = ()) -> Any:
    """Put a function with a signature of its own behind middleware; the signature, the docstring and the types stay.

    Around it the context holds ``fmtn.fn``, ``fmtn.args``, ``fmtn.kwargs`` and, on the way out, ``fmtn.result``;
    middleware may assign the last three. Works on functions, methods, ``staticmethod``, ``classmethod`` and ``async
    def``; a plain function behind an ``async def`` middleware becomes async. Without ``fn`` it is a decorator.

    Returns:
        A function like ``fn``; its ``chain`` is what `wrap` made.

    Raises:
        TypeError: ``fn`` is no callable, or a middleware is none.
        LookupError: at a call, if a middleware answered without calling on and without setting ``fmtn.result``.

    >>> def twice(ctx, call):
    ...     ctx = call(ctx)
    ...     ctx["fmtn.result"] *= 2
    ...     return ctx
    >>> @lift(middleware=[twice])
    ... def area(width: int, height: int) -> int:
    ...     return width * height
    >>> area(3, height=4)
    24
    """
    if fn is None:
        return partial(lift, middleware=_flat(middleware))  # read once: it may decorate many, and is refused right here
    if isinstance(fn, (staticmethod, classmethod)):
        return type(fn)(lift(fn.__func__, middleware=middleware))
    if not callable(fn):
        message = f"lift() takes a function, got {fn!r}"
        raise TypeError(message)

    def enter(ctx: Ctx, /) -> Ctx:
        ctx[RESULT] = ctx[FN](*ctx[ARGS], **ctx[KWARGS])
        return ctx

    async def enter_async(ctx: Ctx, /) -> Ctx:
        ctx[RESULT] = await ctx[FN](*ctx[ARGS], **ctx[KWARGS])
        return ctx

    endpoint = enter_async if is_coroutine_callable(fn) else enter
    endpoint.__name__ = endpoint.__qualname__ = name_of(fn)
    return enclosed(fn, wrap(endpoint, middleware))


def enclosed(fn: Any, chain: Any) -> Any:
    """Make of the chain around ``fn`` a function like ``fn``."""

    def enclose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ctx:
        return {KIND: "call", FN: fn, ARGS: args, KWARGS: kwargs}

    def disclose(ctx: Ctx) -> Any:
        try:
            return ctx[RESULT]
        except KeyError:
            message = f"{chain!r} returned without calling {name_of(fn)!r}: set ctx[{RESULT!r}] to answer in its place"
            raise LookupError(message) from None

    if chain.is_async:

        @wraps(fn)
        async def lifted(*args: Any, **kwargs: Any) -> Any:
            return disclose(await chain(enclose(args, kwargs)))
    else:

        @wraps(fn)
        def lifted(*args: Any, **kwargs: Any) -> Any:
            return disclose(chain(enclose(args, kwargs)))

    lifted.chain = chain  # type: ignore[attr-defined]  # for whoever wants to look or edit
    return lifted


def layer_of(error: BaseException, chain: BaseChain[Any]) -> str | None:
    """The name of the innermost layer that ``error`` has passed, the endpoint among them, or ``None``."""
    names = {code_of(layer): name_of(layer) for layer in (*chain.middleware, chain.endpoint)}
    found, traceback = None, error.__traceback__
    while traceback is not None:
        found = names.get(traceback.tb_frame.f_code, found)
        traceback = traceback.tb_next
    return found


# Building a chain: a step is a callable of the context, and each layer makes the next step of the step below it.


def _sync_steps(endpoint: Any, layers: list[Any]) -> Callable[[Any], Any]:
    step = _endpoint_step(endpoint, layers)
    for at in reversed(range(len(layers))):
        step = _plain_step(layers[at], step, _Place(layers, at))
    return step


def _async_steps(endpoint: Any, layers: list[Any], asked: bool | None) -> tuple[Any, ...]:  # noqa: FBT001
    """Build an async chain: an ``async def`` function, and the arguments that go before the context."""
    below = _endpoint_step(endpoint, layers)
    plain: Callable[[Any], Any] | None = None  # the step below as a plain layer calls it, where that needs no bridge
    if is_coroutine_callable(endpoint):
        step = below
    elif asked:
        step = _whatever(below)
    else:
        step, plain = _inline(below), below

    for at in reversed(range(len(layers))):
        layer, place = layers[at], _Place(layers, at)
        if is_coroutine_callable(layer):
            step, plain = _async_step(layer, step, place), None
        else:
            plain = _plain_step(layer, plain or waiting(step, _Place(layers, at + 1, exact=False).check), place)
            step = partial(run, plain)

    if plain is not None and layers:
        return run, plain
    if not layers:
        return (step if is_coroutine_function(step) else _whatever(step),)
    suspects = _Place(layers, 0, exact=False)

    async def chain(ctx: Any, /) -> Any:
        if (out := await step(ctx)) is not ctx:
            suspects.check(out)
        return out

    return (chain,)


def _plain_step(layer: Any, step: Callable[[Any], Any], place: _Place) -> Callable[[Any], Any]:
    """The hot path of a plain layer. Most return the context they were given, so one comparison clears the result."""

    def plain(ctx: Any, /) -> Any:
        if (out := layer(ctx, step)) is not ctx:
            place.check(out)
        return out

    return plain


def _async_step(layer: Any, step: Callable[[Any], Any], place: _Place) -> Callable[[Any], Any]:
    """The hot path of an async layer: no coroutine around it, unless it is sure to forget its return."""
    if returns_nothing(layer):

        async def checked(ctx: Any, /) -> None:
            place.check(await layer(ctx, step))

        return checked

    def direct(ctx: Any, /) -> Any:
        return layer(ctx, step)

    direct.is_async = True  # type: ignore[attr-defined]  # for a layer that puts its call behind middleware
    return direct


def _endpoint_step(endpoint: Any, layers: list[Any]) -> Callable[[Any], Any]:
    """The endpoint itself, unless it is sure to forget its return."""
    if not layers or not returns_nothing(endpoint):
        return cast("Callable[[Any], Any]", endpoint)

    def refuse() -> NoReturn:
        message = f"endpoint {where(endpoint)} returned None: did you forget 'return ctx'?"
        raise TypeError(message)

    if is_coroutine_callable(endpoint):

        async def checked_async(ctx: Any, /) -> Any:
            await endpoint(ctx)
            refuse()

        return checked_async

    def checked(ctx: Any, /) -> Any:
        endpoint(ctx)
        refuse()

    return checked


def _inline(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let an async layer await a sync endpoint."""

    async def inline(ctx: Any, /) -> Any:
        return step(ctx)

    return inline


def _whatever(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Take the word of ``is_async=True`` for an endpoint that does not show its colour."""

    async def whatever(ctx: Any, /) -> Any:
        out = step(ctx)
        return await out if isinstance(out, Awaitable) else out

    return whatever


class _Place:
    """Where a layer stands in its chain, for the error if it returns what is no context.

    Async layers are not checked one by one, but where a plain layer called them and where the chain ends: then it is
    not ``exact``, and each of the neighbouring async layers from ``at`` on is a suspect.
    """

    def __init__(self, layers: list[Any], at: int, *, exact: bool = True) -> None:
        self.layers = layers
        self.at = at
        self.exact = exact

    def check(self, out: Any) -> None:
        """Raise if ``out`` is ``None`` or a coroutine; the coroutine is closed."""
        if out is not None and type(out) is not CoroutineType:
            return
        suspects = self.suspects
        is_async = bool(suspects) and is_coroutine_callable(self.layers[suspects[0]])
        if out is not None:
            out.close()
            forgot = "did you forget 'await'? Else " if is_async else ""
            message = (
                f"{self} returned a coroutine where a context was expected: {forgot}something below it is async and "
                "does not show it; make it an 'async def', or say wrap(..., is_async=True)"
            )
            raise TypeError(message)
        if suspects:
            message = f"{self} returned None: did you forget 'return {'await ' if is_async else ''}call(ctx)'?"
            raise TypeError(message)

    @property
    def suspects(self) -> list[int]:
        places = range(self.at, len(self.layers))
        return [self.at] if self.exact else list(takewhile(lambda at: is_coroutine_callable(self.layers[at]), places))

    def __str__(self) -> str:
        count = len(self.layers)
        found = [where(self.layers[at], f"{at + 1} of {count}") for at in self.suspects]
        return f"middleware {' or '.join(found)}" if found else "the endpoint"


def _flat(middleware: Iterable[Any]) -> list[Any]:
    """Take composed middleware apart, and refuse what is none."""
    if callable(middleware) or isinstance(middleware, str):
        hint = "a name is none" if isinstance(middleware, str) else f"write [{name_of(middleware)}]"
        message = f"expected a list of middleware, got {middleware!r}: {hint}"
        raise TypeError(message)
    layers: list[Any] = []
    for at, layer in enumerate(middleware):
        if isinstance(layer, Composed):
            layers += layer.middleware
        else:
            refuse(layer, at)
            layers.append(layer)
    return layers


def _unpickle(endpoint: Any, middleware: tuple[Any, ...], asked: bool | None) -> Any:  # noqa: FBT001  pickle passes it
    return wrap(endpoint, middleware, is_async=asked)
