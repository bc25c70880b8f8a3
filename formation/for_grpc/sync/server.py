"""The interceptor of a sync server.

Theory of operation
-------------------
gRPC asks an interceptor for a handler and calls that in a thread of its pool. For one response the chain runs right
there, and ``call(ctx)`` calls the handler. For a stream gRPC wants an iterator, and pulls; but ``call(ctx)`` shall
return when the stream has ended. So the chain runs in a greenlet of its own (`formation.bridge.Aside`): it is left
where the handler has given its iterator, gRPC pulls messages through a generator, and at the end of them, at an error,
or when gRPC gives up, the chain goes on. A message costs no switch, only a stream does.

The handler gets a stand-in for its context, which keeps the code, the details and the trailers until the chain has
returned; so an `abort` is a result like any other, and the chain may change it. All else is gRPC's own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from formation.for_grpc.chains import Chains, result_of, server_context
from formation.for_grpc.handlers import Wrapped, behaviour_of, handler_like
from formation.for_grpc.sync.serving import Exchange, PushExchange
from formation.for_grpc.sync.streamed import StreamExchange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import Ctx, Middleware
    from formation.rpc.calls import Arity


class ServerInterceptor(grpc.ServerInterceptor):
    """What `server_interceptor` returns."""

    def __init__(self, middleware: Iterable[Middleware[Ctx]], message_middleware: Iterable[Middleware[Ctx]]) -> None:
        self._chains = Chains(middleware, message_middleware, "server", is_async=False)
        self._wrapped = Wrapped(self._around)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call with the chain around it."""
        handler = continuation(handler_call_details)
        return None if handler is None else self._wrapped(handler_call_details.method, handler)

    def _around(self, method: str, handler: Any) -> Any:
        arity, behaviour = behaviour_of(handler)
        streams = arity.endswith("stream")
        if streams and getattr(behaviour, "experimental_non_blocking", False):  # else gRPC does not look at it, either
            serve: Any = partial(self._serve_pushing, behaviour, method, arity)
            serve.experimental_non_blocking = True
        else:
            serve = self._serve_stream if streams else self._serve
            serve = partial(serve, behaviour, method, arity)
        if hasattr(behaviour, "experimental_thread_pool"):
            serve.experimental_thread_pool = behaviour.experimental_thread_pool
        return handler_like(handler, arity, serve)

    def _serve(self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any) -> Any:
        exchange = Exchange(self._chains, behaviour, native)
        ctx = server_context(method, arity, argument, native, exchange)
        try:
            result = result_of(self._chains.around(ctx))
        except BaseException as error:  # noqa: BLE001  gRPC gets it
            return exchange.fail(error)
        return exchange.finish(result)

    def _serve_stream(self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any) -> Any:
        exchange = StreamExchange(self._chains, behaviour, native)
        return exchange.begin(server_context(method, arity, argument, native, exchange))

    def _serve_pushing(  # noqa: PLR0917  gRPC passes the last three
        self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any, on_next: Any
    ) -> None:
        """Serve by a behaviour that returns before its answer has begun: for it, so does the chain."""
        exchange = PushExchange(self._chains, behaviour, native)
        exchange.on_next = on_next
        try:
            result = result_of(self._chains.around(server_context(method, arity, argument, native, exchange)))
        except BaseException as error:  # noqa: BLE001  gRPC gets it
            exchange.fail(error)
            return
        if result.native is not exchange:  # answered in the place of the behaviour
            exchange.apply(result)
            for message in result.messages or ():
                on_next(message)
            on_next(None)
        result.end(0)

    def __repr__(self) -> str:
        return f"server_interceptor({self._chains})"
