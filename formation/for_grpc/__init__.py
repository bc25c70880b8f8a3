"""The edge for gRPC: servers and channels of grpcio, sync and asyncio, whichever side streams.

Each function makes what gRPC calls an interceptor, of the same plain functions that dress HTTP. The chain is around the
call: ``call(ctx)`` returns when the call is over, a stream when that has ended, with its code. Messages of a stream go
on one by one meanwhile, through the message middleware if there is any.

>>> from concurrent.futures import ThreadPoolExecutor
>>> import grpc
>>> from formation import req, res
>>> def log(ctx, call):
...     ctx = call(ctx)
...     print(ctx["fmtn.side"], req(ctx).name, res(ctx).code)
...     return ctx
>>> def hello(request, context):
...     return b"hello " + request
>>> with ThreadPoolExecutor(1) as pool:
...     server = grpc.server(pool, interceptors=[server_interceptor([log])])
...     hello = grpc.unary_unary_rpc_method_handler(hello)
...     server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Door", {"Hello": hello}),))
...     port = server.add_insecure_port("127.0.0.1:0")
...     server.start()
...     with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
...         print(channel.unary_unary("/shop.Door/Hello")(b"ann"))
...     _ = server.stop(0).wait()
server /shop.Door/Hello OK
b'hello ann'

What decides stands in ``formation/rpc``, and knows nothing of gRPC: calls, results, codes, metadata, what a message
passes. Here is what gRPC wants, in two worlds that have the same parts:

- ``chains.py``: what the chains of all four begin with, and what they come back with
- ``handlers.py``: handlers of both servers: taken apart, put together, kept
- ``servicer_context.py``: what a handler is given in the place of gRPC's context; why nobody waits
- ``sync/server.py``: where gRPC asks a sync server for a handler: begin here
- ``sync/serving.py``: one call of it: to the handler, and back to gRPC
- ``sync/streamed.py``: the same with a stream of responses, where the chain waits aside
- ``sync/client.py``: where a sync channel makes a call: begin here
- ``sync/asked.py``: whether that was by ``.future()``
- ``sync/link.py``, ``sync/spanned.py``: a call that goes on after it has been given back: the chain's end, the user's
- ``sync/outcome.py``: a call that the chain has answered, or whose answer it has changed
- ``sync/iterated.py``: a stream of which another interceptor has left only an iterator
- ``aio/server.py``: where grpc.aio asks for a handler, and one call of it: begin here
- ``aio/context.py``: `servicer_context`, with ``read`` and ``write``
- ``aio/given.py``: a stream that a coroutine gives, as a generator
- ``aio/in_thread.py``: plain handlers in an asyncio server
- ``aio/client.py``: where a channel of grpc.aio makes a call: begin here
- ``aio/link.py``, ``aio/spanned.py``: a call that goes on after it has been given back
- ``aio/answered.py``: a call that the chain has answered
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import grpc as grpc
except ImportError as error:
    message = "grpcio is not installed: pip install 'formation[grpc]'"
    raise ImportError(message, name=error.name) from error

from formation.for_grpc.aio.client import INTERCEPTORS
from formation.for_grpc.aio.server import AioServerInterceptor
from formation.for_grpc.chains import Chains
from formation.for_grpc.sync.client import ClientInterceptor
from formation.for_grpc.sync.server import ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import AnyMiddleware, Ctx, Middleware

__all__ = ["aio_client_interceptors", "aio_server_interceptor", "client_interceptor", "server_interceptor"]


def server_interceptor(
    middleware: Iterable[Middleware[Ctx]] = (), message_middleware: Iterable[Middleware[Ctx]] = ()
) -> ServerInterceptor:
    """Make an interceptor for a sync server: ``grpc.server(pool, interceptors=[server_interceptor([…])])``.

    Args:
        middleware: plain functions ``(ctx, call) -> ctx``; the first is outermost.
        message_middleware: the same, around each message of a stream, which is ``ctx["fmtn.message"]``; the first is
            next to the wire.

    Raises:
        TypeError: a middleware is none, or is ``async def``.
    """
    return ServerInterceptor(middleware, message_middleware)


def aio_server_interceptor(
    middleware: Iterable[AnyMiddleware] = (), message_middleware: Iterable[AnyMiddleware] = ()
) -> AioServerInterceptor:
    """Make an interceptor for an asyncio server: ``grpc.aio.server(interceptors=[aio_server_interceptor([…])])``.

    Args:
        middleware: functions ``(ctx, call) -> ctx``, plain or ``async def``; the first is outermost.
        message_middleware: the same, around each message of a stream, which is ``ctx["fmtn.message"]``; the first is
            next to the wire.

    Raises:
        TypeError: a middleware is none.
    """
    return AioServerInterceptor(middleware, message_middleware)


def client_interceptor(
    middleware: Iterable[Middleware[Ctx]] = (), message_middleware: Iterable[Middleware[Ctx]] = ()
) -> ClientInterceptor:
    """Make an interceptor for a sync channel, which ``grpc.intercept_channel(channel, …)`` takes.

    Args:
        middleware: plain functions ``(ctx, call) -> ctx``; the first is outermost.
        message_middleware: the same, around each message of a stream, which is ``ctx["fmtn.message"]``; the first is
            next to the program.

    Raises:
        TypeError: a middleware is none, or is ``async def``.
        grpc.RpcError: at a call that does not end well, also where an error of ours has a code; that is its cause.
    """
    return ClientInterceptor(middleware, message_middleware)


def aio_client_interceptors(
    middleware: Iterable[AnyMiddleware] = (), message_middleware: Iterable[AnyMiddleware] = ()
) -> list[Any]:
    """Make the interceptors for an asyncio channel: ``insecure_channel(target, interceptors=…)`` takes them.

    There are four, one for each way to stream, for gRPC takes an object for one kind only.

    Args:
        middleware: functions ``(ctx, call) -> ctx``, plain or ``async def``; the first is outermost.
        message_middleware: the same, around each message of a stream, which is ``ctx["fmtn.message"]``; the first is
            next to the program.

    Raises:
        TypeError: a middleware is none.
        grpc.aio.AioRpcError: at a call that does not end well, also where an error of ours has a code; that is its
            cause.
    """
    chains = Chains(middleware, message_middleware, "client", is_async=True)
    return [kind(chains) for kind in INTERCEPTORS]
