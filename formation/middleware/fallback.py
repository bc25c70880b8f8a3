"""Answer with something else, where a call has failed: yesterday's list, an empty one, the answer of another server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from json import dumps
from typing import Any, Final

from formation.errors import FormationError
from formation.events import Events, called
from formation.exchange import reply
from formation.http.response import Response
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import DEGRADED, REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, RESULT
from formation.resilience.policy import Failure, told

FIRST: Final = 500
"""From this status on the server has failed; below, the request is wrong, and another answer would hide it."""


def fallback(to: Any, *, on: Failure | Iterable[Failure] | None = None, logger: Any = None) -> Middleware[Any]:
    """Where a call fails, answer with ``to``, and put the reason into ``ctx["degraded"]``.

    A failure is a status from 500 on, an error of ours or of the exchange, or being turned away by another middleware;
    not a 4xx, nor an error in the program. Around a function without a request it is any ``Exception``. Cancellation
    passes. Event: ``fallback.used`` (warning).

    Args:
        to: a plain function of the context that returns it with another answer, like an endpoint; or the answer: what
            the function would have returned, and around a request the body of a 200, ``bytes``, ``str`` or what JSON
            can say. Each call has a list or dict of its own.
        on: what counts as a failure instead: types of errors and statuses.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        TypeError: ``to`` is an ``async def`` or a response; ``on`` or ``logger`` is none; at a call: no JSON says it.
        Exception: whatever the function raises, with the failure as its ``__context__``.

    Order:
        Outermost but for what logs: it answers for whatever fails inside, `retry` and `circuit_breaker` included.

    >>> from formation import lift
    >>> from structlog.testing import capture_logs
    >>> @lift(middleware=[fallback([])])
    ... def recommended():
    ...     raise TimeoutError("the engine is slow")
    >>> with capture_logs() as events:
    ...     recommended()
    []
    >>> events[0]["event"], events[0]["reason"], events[0]["fn"]
    ('fallback.used', 'TimeoutError', 'recommended')
    """
    if is_coroutine_callable(to):
        raise TypeError(f"expected a plain function to fall back to, got {to!r}: await_() awaits in an async chain")
    if isinstance(to, Response):
        raise TypeError(f"expected a function or a body, got {to!r}: a response is sent once, lambda ctx: reply(...)")
    is_failure, events, answer = _failing(on), Events(logger), to if callable(to) else _answering(to)

    def fall_back(ctx: Any, response: Any, reason: str) -> Any:
        events("warning", "fallback.used", reason=reason, **called(ctx))
        if isinstance(ctx, dict):
            ctx[DEGRADED] = reason
        out = None
        try:
            out = answer(ctx)
            return out
        finally:
            is_kept = isinstance(out, dict) and (out.get(RES_HTTP) or out.get(RES_RPC)) is response
            if hasattr(response, "close") and not is_kept:
                response.close()  # a stream holds a connection

    def fallback(ctx: Any, call: Call[Any]) -> Any:
        try:
            out = call(ctx)
        except Exception as error:
            response = getattr(error, "response", None)
            if not is_failure(error, response, ctx):
                raise
            return fall_back(ctx, response, type(error).__name__)
        response = (out.get(RES_HTTP) or out.get(RES_RPC)) if isinstance(out, dict) else None
        if response is not None and is_failure(None, response, out):
            return fall_back(out, response, f"status {response.status_code}")
        return out

    return fallback


def _failing(on: Any) -> Callable[[Exception | None, Any, Any], bool]:
    """Make the function that tells whether an error, or a response, is a failure."""
    condition, kinds, statuses = told(on)
    if condition is not None:
        raise TypeError(f"expected on as types of errors and statuses, got {on!r}")

    def is_failure(error: Exception | None, response: Any, ctx: Any) -> bool:
        status = getattr(response, "status_code", None)
        if on is not None:
            return status in statuses or isinstance(error, kinds or ())
        if status is not None:
            return bool(status >= FIRST)
        is_sent = isinstance(ctx, dict) and (REQ_HTTP in ctx or REQ_RPC in ctx)
        return isinstance(error, _EXCHANGE if is_sent else Exception)

    return is_failure


def _answering(value: Any) -> Callable[[Any], Any]:
    """Make the function of the context that answers ``value``."""

    def answer(ctx: Any) -> Any:
        if not isinstance(ctx, dict):
            return value
        if REQ_RPC in ctx:
            return reply(ctx, 200, None, value)
        if REQ_HTTP not in ctx:
            ctx[RESULT] = deepcopy(value) if isinstance(value, (list, dict, set)) else value
            return ctx
        if isinstance(value, bytes):
            return reply(ctx, 200, None, value)
        if isinstance(value, str):
            return reply(ctx, 200, {"Content-Type": "text/plain; charset=utf-8"}, value.encode())
        return reply(ctx, 200, {"Content-Type": "application/json"}, dumps(value).encode())

    return answer


_EXCHANGE: Final = (FormationError, TimeoutError, ConnectionError)
