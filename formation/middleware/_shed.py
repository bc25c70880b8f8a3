"""What those who turn requests of a server away have in common: how they answer, and whom they never turn away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from formation.exchange import reply
from formation.keys import KIND, REQ_HTTP, REQ_RPC, SIDE, STATE, STATE_SHED

Exempt: TypeAlias = Iterable[str] | Callable[[Any], bool]

HEALTH: Final = (
    *("/health", "/healthz", "/livez", "/readyz", "/ping"),
    *("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"),
)
"""Where load balancers ask. One that gets no answer takes the server out, and the others get its load as well."""

AFTER: Final = 3
"""Seconds after which to come back, at most; from one on, at random, so that not all come back together."""


def passing(exempt: Exempt, *, websockets: bool = True) -> Callable[[Any], bool]:
    """Make the function of the context that tells who is never turned away: who is exempt, and ``websockets``.

    Raises:
        TypeError: ``exempt`` is neither paths nor a function.

    >>> passing("/health")
    Traceback (most recent call last):
    TypeError: expected exempt as a list of paths or a function of the context, got '/health'
    """
    if isinstance(exempt, str) or not (callable(exempt) or isinstance(exempt, Iterable)):
        raise TypeError(f"expected exempt as a list of paths or a function of the context, got {exempt!r}")
    paths = frozenset() if callable(exempt) else frozenset(exempt)

    def passes(ctx: Any) -> bool:
        if not isinstance(ctx, dict):
            return False
        if websockets and ctx.get(KIND) == "websocket":
            return True
        if callable(exempt):
            return exempt(ctx)
        if not paths or ctx.get(SIDE) != "server":
            return False
        return getattr(ctx.get(REQ_HTTP) or ctx.get(REQ_RPC), "path", None) in paths

    return passes


def is_asked(ctx: Any) -> bool:
    """Tell whether this is a request to a server, which can be answered."""
    return isinstance(ctx, dict) and ctx.get(SIDE) == "server" and (REQ_HTTP in ctx or REQ_RPC in ctx)


def is_shed(ctx: Any) -> bool:
    """Tell whether the request was turned away, by anybody."""
    return isinstance(ctx, dict) and STATE_SHED in (ctx.get(STATE) or ())


def shed(ctx: Any, by: str, random: Callable[[float, float], float]) -> Any:
    """Answer 503, before anything of the body was read."""
    ctx.setdefault(STATE, {})[STATE_SHED] = by
    return reply(ctx, 503, {"Retry-After": str(min(1 + int(random(0, AFTER)), AFTER))})
