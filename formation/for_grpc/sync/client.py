"""The interceptor of a sync channel.

Theory of operation
-------------------
A call that blocks runs its chain right there. A call with a stream of responses, and a ``.future()``, give something
back at once, which is used later, maybe in another thread; and ``call(ctx)`` shall return when it has ended. So their
chain runs in a thread of its own, in a copy of the context, and waits there for gRPC to say that the call is over. The
messages do not pass that thread: whoever iterates pulls them from gRPC, through the message middleware. At the end of
them he waits until the chain has made up its mind: this was the end, or there is another attempt, whose messages come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from formation.errors import FormationError
from formation.for_grpc.chains import GRPC_OK, Chains, client_context, result_of, seconds_left
from formation.for_grpc.sync.asked import is_future
from formation.for_grpc.sync.iterated import Iterated
from formation.for_grpc.sync.link import Link
from formation.for_grpc.sync.outcome import Outcome, failure_of
from formation.for_grpc.sync.spanned import Spanned
from formation.keys import REQ_RPC, RES_RPC
from formation.rpc.codes import OK, Code
from formation.rpc.passing import pulled
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import Ctx, Middleware
    from formation.rpc.calls import Arity, Call


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """What `client_interceptor` returns."""

    def __init__(self, middleware: Iterable[Middleware[Ctx]], message_middleware: Iterable[Middleware[Ctx]]) -> None:
        self._chains = Chains(middleware, message_middleware, "client", is_async=False)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make a call with one request and one response."""
        return self._one("unary_unary", continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Make a call with a stream of requests."""
        return self._one("stream_unary", continuation, client_call_details, request_iterator)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make a call with a stream of responses."""
        return self._spanned("unary_stream", continuation, client_call_details, request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Make a call with streams both ways."""
        return self._spanned("stream_stream", continuation, client_call_details, request_iterator)

    def _one(self, arity: Arity, continuation: Any, details: Any, argument: Any) -> Any:
        if is_future(continuation):
            return self._spanned(arity, continuation, details, argument)
        exchange = Exchange(self._chains, continuation, details)
        ctx = client_context(details, arity, argument, exchange)
        try:
            result = result_of(self._chains.around(ctx))
        except FormationError as error:
            if (failed := failure_of(error)) is None:
                raise
            return failed
        result.end(0 if result.message is None else 1)
        return Outcome.of(result)

    def _spanned(self, arity: Arity, continuation: Any, details: Any, argument: Any) -> Any:
        exchange = SpannedExchange(self._chains, continuation, details)
        ctx = client_context(details, arity, argument, exchange)
        exchange.link = link = Link(ctx[REQ_RPC])
        spanned = Spanned(link)
        spanned.start(self._chains.around, ctx)
        return spanned

    def __repr__(self) -> str:
        return f"client_interceptor({self._chains})"


class Details(NamedTuple):
    """What gRPC is told about a call."""

    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


grpc.ClientCallDetails.register(Details)


class Exchange:
    """A call that is made, and what of it is gRPC's."""

    __slots__ = ("broken", "chains", "continuation", "details")

    def __init__(self, chains: Chains, continuation: Any, details: Any) -> None:
        self.chains = chains
        self.continuation = continuation
        self.details = details
        self.broken: Exception | None = None  # what a message middleware has raised, in gRPC's thread

    def make(self, ctx: Ctx, call: Call) -> Any:
        """Make an attempt; return what gRPC does."""
        details, changed = self.details, call.changed
        timeout = seconds_left(ctx, call, details.timeout)
        if changed is not None or timeout != details.timeout or call.method != details.method:
            metadata = details.metadata if changed is None else changed
            details = Details(
                call.method,
                timeout,
                metadata,
                getattr(details, "credentials", None),
                getattr(details, "wait_for_ready", None),
                getattr(details, "compression", None),
            )
        return self.continuation(
            details, call.message if call.messages is None else self._requests(ctx, call, call.messages.take())
        )

    def _requests(self, ctx: Ctx, call: Call, source: Any) -> Any:
        through = self.chains.messages.passing(ctx, call, "out")
        if through is None:
            return source

        def guarded(message: Any) -> Any:
            try:
                return through(message)
            except Exception as error:
                self.broken = error
                raise

        return pulled(iter(source), guarded)

    def result(self, call: Call, native: Any) -> Result:
        """Return what has come of an attempt that is over.

        Raises:
            Exception: what another interceptor, or a message middleware, has raised.
        """
        broken, self.broken = self.broken, None
        if broken is not None:
            raise broken
        status, details, message = native.code(), None, None
        if status is GRPC_OK:
            code = OK
            if not call.response_streaming:
                message = native.result()
        else:
            cancelled = getattr(native, "cancelled", None)
            if cancelled is not None and cancelled():  # to ask for the error would raise
                code = Code.CANCELLED
            else:
                error = native.exception() if hasattr(native, "exception") else None
                if error is not None and not isinstance(error, grpc.RpcError):
                    raise error
                code = Code.of(status)
            details = native.details()
        return Result(
            code,
            details,
            headers=native.initial_metadata,
            trailers=native.trailing_metadata,
            message=message,
            request=call,
            native=native,
        )

    def call(self, ctx: Ctx) -> None:
        """Make the call, and wait for it."""
        call: Call = ctx[REQ_RPC]
        ctx[RES_RPC] = self.result(call, self.make(ctx, call))


class SpannedExchange(Exchange):
    """One that gives something back before it is over."""

    __slots__ = ("link",)
    link: Link

    def call(self, ctx: Ctx) -> None:
        """Make the call, and wait for its end."""
        call: Call = ctx[REQ_RPC]
        link = self.link
        if link.is_cancelled:
            ctx[RES_RPC] = Result(Code.CANCELLED, "Locally cancelled by application!", request=call)
            return
        through = self.chains.messages.passing(ctx, call, "in") if call.response_streaming else None
        native = self.make(ctx, call)
        if not hasattr(native, "add_callback"):
            native = Iterated(native)
        link.attempt(native, through)
        self.broken = self.broken or link.broken
        ctx[RES_RPC] = self.result(call, native)
