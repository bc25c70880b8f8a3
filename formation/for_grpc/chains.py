"""What the four edges have in common: their chains, what those begin with, and what they have to come back with.

At the end of a chain stands an *exchange*: what belongs to one call, knows gRPC, and has ``call(ctx)``, which makes the
call or calls the handler, and puts the `Result` into ``ctx``. There are two in each world, one of the server and one of
the client, and those of streams are made of them. It is found by way of ``ctx``, so that a chain is made once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from formation import ambient
from formation.clock import monotonic
from formation.errors import DeadlineExceeded
from formation.http.timeouts import UNSET
from formation.introspection import name_of
from formation.kernel import wrap
from formation.keys import DEADLINE, KIND, NATIVE, REQ_RPC, RES_RPC, SENSITIVE, SESSION, SIDE, STATE, TEMPLATE, TRACE
from formation.rpc.calls import Call, trace_of
from formation.rpc.codes import Code
from formation.rpc.passing import MessageChains
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from formation.kernel import AnyMiddleware, Ctx
    from formation.rpc.calls import Arity

EXCHANGE: Final = "formation"
"""Where the exchange is among the host's own objects. A fork of a context has those, too."""

ARITIES: Final[tuple[Arity, ...]] = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

FOR_EVER: Final = 1e9
"""Seconds: what gRPC says is left where there is no deadline is more."""

GRPC_OK: Final = grpc.StatusCode.OK

STATUS: Final = {Code.of(code): code for code in grpc.StatusCode}


class Chains:
    """The chain around each call of an interceptor, and those around its messages.

    Args:
        middleware: the first is outermost.
        message_middleware: the same, for the messages of a stream.
        side: ``"server"`` or ``"client"``.
        is_async: whether they are awaited.

    Raises:
        TypeError: a middleware is none, or is ``async def`` where nothing is awaited.
    """

    def __init__(
        self,
        middleware: Iterable[AnyMiddleware],
        message_middleware: Iterable[AnyMiddleware],
        side: str,
        *,
        is_async: bool,
    ) -> None:
        self.around: Any = wrap(enter_async, middleware) if is_async else wrap(enter, middleware, is_async=False)
        self.messages = MessageChains(message_middleware, side, is_async=is_async)

    def __repr__(self) -> str:
        return f"[{', '.join(map(name_of, self.around.middleware))}]"


def enter(ctx: Ctx) -> Ctx:
    """The endpoint of a chain: let the exchange make the call, or call the handler."""
    exchange_of(ctx).call(ctx)
    return ctx


async def enter_async(ctx: Ctx) -> Ctx:
    """The endpoint of an async chain."""
    await exchange_of(ctx).call(ctx)
    return ctx


def server_context(method: str, arity: Arity, argument: Any, native: Any, exchange: Any) -> Ctx:
    """Make the context of a call that has come to a server."""
    metadata, left = native.invocation_metadata(), native.time_remaining()
    deadline = None if left is None or left > FOR_EVER else monotonic() + left
    streams = arity.startswith("stream")
    call = Call(
        method, arity, metadata, None if streams else argument, argument if streams else None, "server", native.peer,
        deadline,
    )  # fmt: skip
    ctx: Ctx = {
        SIDE: "server",
        KIND: "rpc",
        REQ_RPC: call,
        TEMPLATE: method,
        STATE: {},
        SESSION: {},
        SENSITIVE: set(),
        NATIVE: {"context": native, EXCHANGE: exchange},
    }
    if deadline is not None:
        ctx[DEADLINE] = deadline
    if (trace := trace_of(metadata)) is not None:
        ctx[TRACE] = trace
    return ctx


def client_context(details: Any, arity: Arity, argument: Any, exchange: Any) -> Ctx:
    """Make the context of a call that a client makes; it begins with what the server chain around has published."""
    method = details.method
    if isinstance(method, bytes):
        method = method.decode()
    streams = arity.startswith("stream")
    call = Call(method, arity, details.metadata, None if streams else argument, argument if streams else None)
    ctx: Ctx = {
        SIDE: "client",
        KIND: "rpc",
        REQ_RPC: call,
        TEMPLATE: method,
        STATE: {},
        SESSION: {},
        SENSITIVE: set(),
        NATIVE: {"details": details, EXCHANGE: exchange},
    }
    if details.timeout is not None:
        ctx[DEADLINE] = call.deadline = monotonic() + details.timeout
    if ambient.current.get() is not None:
        ambient.inherit(ctx)
        for name, value in ctx.get(TRACE, {}).items():
            call.headers.setdefault(name, value)
    return ctx


def exchange_of(ctx: Ctx) -> Any:
    """Return the exchange that a context belongs to.

    Raises:
        TypeError: it is not the context that came.
    """
    try:
        return ctx[NATIVE][EXCHANGE]
    except (TypeError, LookupError):
        raise TypeError(f"expected call(ctx) with the context that came, got {ctx!r}") from None


def result_of(ctx: Any) -> Result:
    """Return the result that a chain has come back with.

    Raises:
        TypeError: there is none.
    """
    result = ctx.get(RES_RPC) if isinstance(ctx, dict) else None
    if not isinstance(result, Result):
        raise TypeError(
            f"expected a context with a result in {RES_RPC!r}, got {ctx!r}: "
            "a middleware returns what call(ctx) returned, or what reply(ctx, status) does"
        )
    return result


def seconds_left(ctx: Ctx, call: Call, given: float | None) -> float | None:
    """Return the seconds that an attempt may take: what is given for it, and never past the deadline.

    Raises:
        DeadlineExceeded: there are none.
    """
    timeout: Any = given if call.timeout is UNSET else call.timeout
    if isinstance(timeout, tuple):  # to connect, and to read
        timeout = timeout[1]
    deadline = ctx.get(DEADLINE)
    if deadline is None:
        return timeout  # type: ignore[no-any-return]
    left: float = deadline - monotonic()
    if left <= 0:
        raise DeadlineExceeded("the deadline has passed before the call was made")
    return left if timeout is None else min(left, timeout)


def tell(callback: Callable[[], Any]) -> None:
    """Call a callback of the program; what one raises is logged, as by gRPC, and the others are called."""
    try:
        callback()
    except Exception:
        from logging import getLogger  # rarely needed

        getLogger("formation").exception("a callback of a call raised: %r", callback)
