"""A failure that only its response shows, for the circuit breaker to count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from formation.errors import BreakerTriggerException
from formation.introspection import name_of
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC


def trigger_breaker_if(predicate: Callable[[Any], object]) -> Middleware[Ctx]:
    """Raise a `BreakerTriggerException` when ``predicate(response)`` is true.

    The error has ``response`` and ``request``. The body of a stream is closed: who asked for it gets none to close.

    Args:
        predicate: a function of ``ctx["fmtn.res.http"]``, or of ``None`` where there is none.

    Raises:
        TypeError: ``predicate`` cannot be called.
        BreakerTriggerException: at a call.

    Order:
        Inside of `circuit_breaker`: outside of it the error is raised all the same, and counted by nobody.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> maintenance = trigger_breaker_if(lambda response: "X-Maintenance" in response.headers)
    >>> ctx = {"fmtn.req.http": Request("GET", "https://h/users")}
    >>> maintenance(ctx, lambda ctx: reply(ctx, 200, {"X-Maintenance": "yes"}))
    Traceback (most recent call last):
    formation.errors.BreakerTriggerException: trigger_breaker_if: <lambda> is true for the 200 from GET /users
    """
    if not callable(predicate):
        raise TypeError(f"expected a function of the response, got {predicate!r}")

    def trigger_breaker_if(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        ctx = call(ctx)
        response = ctx.get(RES_HTTP) or ctx.get(RES_RPC)
        if predicate(response):
            raise _error(ctx, response)
        return ctx

    def _error(ctx: Ctx, response: Any) -> BreakerTriggerException:
        said = f"trigger_breaker_if: {name_of(predicate)} is true"
        if response is not None:
            request = response.request or ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)
            said += f" for the {response.status_code}" + (f" from {request.name}" if request is not None else "")
            response.close()
        error = BreakerTriggerException(said)
        error.request, error.response = ctx.get(REQ_HTTP), response
        return error

    return trigger_breaker_if
