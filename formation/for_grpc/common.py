"""What the four edges have in common: the contexts that they begin with, and what a chain has to come back with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from formation import ambient
from formation.clock import monotonic
from formation.errors import ClientGone, DeadlineExceeded
from formation.http.request import UNSET
from formation.keys import DEADLINE, KIND, NATIVE, REQ_RPC, RES_RPC, SENSITIVE, SESSION, SIDE, STATE, TEMPLATE, TRACE
from formation.rpc.calls import Call, trace_of
from formation.rpc.codes import Code
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.kernel import Ctx
    from formation.rpc.calls import Arity

EXCHANGE: Final = "formation"
"""Where the exchange is among the host's own objects. A fork of a context has those, too."""

ARITIES: Final[tuple[Arity, ...]] = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

FOR_EVER: Final = 1e9
"""Seconds: what gRPC says is left where there is no deadline is more."""

TICK: Final = 0.001
"""Seconds by which a clock may be early."""

STATUS: Final = {Code.of(code): code for code in grpc.StatusCode}


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


def gone(call: Call) -> Exception:
    """Make the error that says why nobody waits any more."""
    if call.deadline is not None and monotonic() >= call.deadline - TICK:
        return DeadlineExceeded("the caller's deadline has passed")
    return ClientGone("the caller has cancelled the call, or has gone")


def behaviour_of(handler: Any) -> tuple[Arity, Any]:
    """Return which way a handler of gRPC streams, and its function. ``None`` stands for ``False``."""
    arity: Any = f"{_word(handler.request_streaming)}_{_word(handler.response_streaming)}"
    return arity, getattr(handler, arity)


def _word(streams: Any) -> str:
    return "stream" if streams else "unary"


_make: Final[dict[str, Callable[..., Any]]] = {arity: getattr(grpc, f"{arity}_rpc_method_handler") for arity in ARITIES}


def handler_like(handler: Any, arity: Arity, behaviour: Any) -> Any:
    """Return a handler of gRPC that calls ``behaviour``, and is in all else like ``handler``."""
    return _make[arity](
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class Wrapped:
    """The handlers that an interceptor has wrapped: gRPC asks for one at each call, and mostly it is the same."""

    def __init__(self, wrap: Callable[[str, Any], Any]) -> None:
        self._wrap = wrap
        self._known: dict[str, tuple[Any, Any]] = {}

    def __call__(self, method: str, handler: Any) -> Any:
        known = self._known.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self._wrap(method, handler)
        if len(self._known) < 1024:  # methods of a program; a generic handler may take any name
            self._known[method] = handler, wrapped
        return wrapped


def tell(callback: Callable[[], Any]) -> None:
    """Call a callback of the program; what one raises is logged, as by gRPC, and the others are called."""
    try:
        callback()
    except Exception:
        from logging import getLogger  # rarely needed

        getLogger("formation").exception("a callback of a call raised: %r", callback)


def trailing(result: Result, given: Any, late: Any) -> tuple[Any, ...] | None:
    """Return the trailers to send, ``None`` where there are none.

    Args:
        result: the answer.
        given: what the handler has set.
        late: initial metadata that comes too late for that.
    """
    changed = result.changed_trailers
    fields = tuple(given or ()) if changed is None else changed.fields()
    return fields + tuple(late or ()) or None
