"""What each message of a stream passes on its way: the hooks of the call, and the chain of message middleware.

A message is in ``ctx["fmtn.message"]``, which may be assigned, its direction in ``ctx["fmtn.direction"]``; the rest of
the context is that of the call. The innermost middleware, and then the hooks, are next to the program, whichever way a
message goes. Nothing is read ahead: a message passes when somebody asks for it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from formation.bridge import run
from formation.introspection import is_coroutine_callable
from formation.kernel import wrap
from formation.keys import DIRECTION, KIND, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from formation.kernel import AnyMiddleware, Ctx
    from formation.rpc.calls import Call

Passing: TypeAlias = "Callable[[Any], Any]"
APassing: TypeAlias = "Callable[[Any], Awaitable[Any]]"


class MessageChains:
    """The chains of message middleware, one for each direction.

    Args:
        middleware: the first is outermost: next to the wire on a server, next to the program on a client.
        side: whose they are.
        is_async: whether they are awaited.
    """

    def __init__(self, middleware: Iterable[AnyMiddleware], side: str, *, is_async: bool) -> None:
        self.middleware = layers = wrap(_given, middleware).middleware
        self.is_awaited = any(map(is_coroutine_callable, layers))
        if self.is_awaited and not is_async:
            wrap(_given, layers, is_async=False)  # raises, and names the middleware
        inwards = layers if side == "server" else layers[::-1]
        self._chains = {"in": wrap(_given, inwards), "out": wrap(_given, inwards[::-1])} if layers else {}

    def passing(self, ctx: Ctx, call: Call, direction: str) -> Passing | None:
        """Return the function that a message passes; ``None``: there is nothing on its way."""
        chain, hooks = self._chains.get(direction), tuple(call.hooks(direction))
        if chain is None:
            return partial(_hooked, hooks) if hooks else None
        base = _base(ctx, direction)
        copy: Any = base.copy

        def through(message: Any) -> Any:
            each = copy()
            each[MESSAGE] = message
            try:
                return chain(each)[MESSAGE]
            except (StopIteration, StopAsyncIteration) as error:
                raise _no_end(error) from error

        return _with_hooks(through, hooks, direction) if hooks else through

    def apassing(self, ctx: Ctx, call: Call, direction: str) -> tuple[Passing | None, APassing | None]:
        """Return the same for an async chain: a plain function if nothing on the way can wait, else one to await."""
        if not self.is_awaited:
            through: Any = self.passing(ctx, call, direction)
            return (None, partial(run, through)) if self._chains else (through, None)  # on the bridge, for it may wait
        chain: Any = self._chains[direction]
        hooks, base = tuple(call.hooks(direction)), _base(ctx, direction)

        async def awaited(message: Any) -> Any:
            if hooks and direction == "out":
                message = _hooked(hooks, message)
            each = base.copy()
            each[MESSAGE] = message
            try:
                message = (await chain(each))[MESSAGE]
            except StopAsyncIteration as error:
                raise _no_end(error) from error
            return _hooked(hooks, message) if hooks and direction == "in" else message

        return None, awaited


def _base(ctx: Ctx, direction: str) -> Ctx:
    return {**ctx, KIND: "message", DIRECTION: direction, MESSAGE: None}


def _given(ctx: Ctx) -> Ctx:
    """The endpoint: the message goes where it goes once the chain has returned."""
    return ctx


def _hooked(hooks: Iterable[Passing], message: Any) -> Any:
    try:
        for hook in hooks:
            if (made := hook(message)) is not None:
                message = made
    except (StopIteration, StopAsyncIteration) as error:
        raise _no_end(error) from error
    return message


def _no_end(error: Exception) -> RuntimeError:
    """Make the error for one that would look like the end of the stream to whoever iterates, as a generator does."""
    return RuntimeError(f"what a message passes raised {error!r}, which would cut the stream off as if it were over")


def _with_hooks(through: Passing, hooks: tuple[Passing, ...], direction: str) -> Passing:
    if direction == "in":
        return lambda message: _hooked(hooks, through(message))
    return lambda message: through(_hooked(hooks, message))


def pulled(source: Any, passing: Passing | None) -> Iterator[Any]:
    """Iterate over ``source``, message by message."""
    return source if passing is None else map(passing, source)


class Pulled:
    """The same with ``async for``."""

    __slots__ = ("_next", "_pass", "_source", "_wait")

    def __init__(self, source: Any, passing: Passing | None, apassing: APassing | None) -> None:
        self._source = source
        self._next: Any = None  # nothing is begun before somebody asks: a handler may read by itself
        self._pass, self._wait = passing, apassing

    def __aiter__(self) -> Pulled:
        return self

    async def __anext__(self) -> Any:
        if self._next is None:
            self._source = stream = self._source.__aiter__()
            self._next = stream.__anext__
        message = await self._next()
        if self._pass is not None:
            return self._pass(message)
        return message if self._wait is None else await self._wait(message)
