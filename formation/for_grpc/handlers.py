"""Handlers of gRPC, sync or asyncio: taken apart, put together again, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from formation.for_grpc.chains import ARITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.rpc.calls import Arity


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
