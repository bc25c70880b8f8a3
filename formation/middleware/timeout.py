"""A time limit for each request that has none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.http.request import UNSET, check_timeout
from formation.keys import REQ_HTTP

if TYPE_CHECKING:
    from formation.http.request import Timeout, Unset
    from formation.kernel import Call, Middleware


def timeout(seconds: Timeout | Unset = UNSET) -> Middleware[Any]:
    """Give requests that have no timeout this one: what the client or the call says wins, ``None`` (for ever) too.

    It bounds the connect, and each wait for bytes. A context without an HTTP request passes through.

    Args:
        seconds: above 0, for connecting and for reading alike, or a pair ``(connect, read)``; ``None`` waits for ever.
            Where nothing is given, nothing is changed: the edge's own default counts.

    Raises:
        ValueError: it is no such number.

    Order:
        Inside of `retry`, or outside, with the same effect: each attempt has the whole time.

    >>> from formation.http import Request
    >>> ctx = timeout(2.5)({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].timeout
    2.5
    """
    check_timeout(seconds)

    def timeout(ctx: Any, call: Call[Any]) -> Any:
        request = ctx.get(REQ_HTTP) if isinstance(ctx, dict) else None
        if request is not None and request.timeout is UNSET:
            request.timeout = seconds
        return call(ctx)

    return timeout
