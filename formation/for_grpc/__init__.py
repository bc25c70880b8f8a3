"""The edge for gRPC: servers and channels of grpcio, sync and asyncio, whichever side streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import grpc as grpc
except ImportError as error:
    message = "grpcio is not installed: pip install 'formation[grpc]'"
    raise ImportError(message, name=error.name) from error

from formation.for_grpc.aio_client import Interceptors
from formation.for_grpc.aio_server import AioServerInterceptor
from formation.for_grpc.client import ClientInterceptor
from formation.for_grpc.server import ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import AnyMiddleware, Ctx, Middleware

__all__ = ["aio_client_interceptors", "aio_server_interceptor", "client_interceptor", "server_interceptor"]


def server_interceptor(
    middleware: Iterable[Middleware[Ctx]] = (), message_middleware: Iterable[Middleware[Ctx]] = ()
) -> ServerInterceptor:
    """Make an interceptor for a sync server."""
    return ServerInterceptor(middleware, message_middleware)


def aio_server_interceptor(
    middleware: Iterable[AnyMiddleware] = (), message_middleware: Iterable[AnyMiddleware] = ()
) -> AioServerInterceptor:
    """Make an interceptor for an asyncio server."""
    return AioServerInterceptor(middleware, message_middleware)


def client_interceptor(
    middleware: Iterable[Middleware[Ctx]] = (), message_middleware: Iterable[Middleware[Ctx]] = ()
) -> ClientInterceptor:
    """Make an interceptor for a sync channel."""
    return ClientInterceptor(middleware, message_middleware)


def aio_client_interceptors(
    middleware: Iterable[AnyMiddleware] = (), message_middleware: Iterable[AnyMiddleware] = ()
) -> list[Any]:
    """Make the four interceptors for an asyncio channel."""
    return Interceptors(middleware, message_middleware).all()
