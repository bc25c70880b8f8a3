"""Which way a sync channel was asked: by ``.future()``, or by a call that blocks.

An interceptor is not told. But for each way gRPC has a continuation of its own, so once, when this is imported, we let
gRPC call an interceptor by ``.future()``, without a channel, and look at what it gives.
"""

from __future__ import annotations

from typing import Any, Final

import grpc


class _Noting(grpc.UnaryUnaryClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Notes the code of the continuations that it gets, and calls none."""

    def __init__(self) -> None:
        self.codes: list[Any] = []

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Note it."""
        self.codes.append(continuation.__code__)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Note it."""
        self.codes.append(continuation.__code__)


def _of_futures() -> tuple[Any, ...]:
    noting = _Noting()
    channel = grpc.intercept_channel(None, noting)
    channel.unary_unary("/").future(b"")
    channel.stream_unary("/").future(iter(()))
    return tuple(noting.codes)


_FUTURES: Final = _of_futures()


def is_future(continuation: Any) -> bool:
    """Tell whether ``continuation`` was given for a ``.future()``: then nobody waits for the call."""
    return getattr(continuation, "__code__", None) in _FUTURES
