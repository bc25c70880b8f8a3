"""An error for a status from 400 on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from formation.errors import StatusError
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from formation.http import Response


def raise_for_status() -> Middleware[Ctx]:
    """Raise a `StatusError` when the response has a status from 400 on (RFC 9110, 15.5 and 15.6).

    The error has ``status_code``, ``response`` and ``request``. The body of a streamed response is read, within the
    client's ``max_body``, so that ``error.response.json()`` still works; whoever asked for the stream gets none to
    close. A context without an HTTP response passes through.

    Raises:
        StatusError: at a call.

    Order:
        Outside of `retry` and `circuit_breaker`, for these look at the response. Inside of `request_logger`, which then
        logs a failure.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> ctx = {"fmtn.req.http": Request("GET", "https://h/users/7")}
    >>> raise_for_status()(ctx, lambda ctx: reply(ctx, 404))
    Traceback (most recent call last):
    formation.errors.StatusError: expected a status below 400, got 404 from GET /users/7
    """

    def raise_for_status(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        ctx = call(ctx)
        response = ctx.get(RES_HTTP)
        if response is not None and not response.ok:
            raise _error(response, ctx)
        return ctx

    return raise_for_status


def _error(response: Response, ctx: Ctx) -> StatusError:
    with suppress(Exception):  # the status is the news, not that its body is too large or breaks off
        response.content  # noqa: B018  keeps it
    response.close()
    request = response.request or ctx.get(REQ_HTTP)
    error = StatusError(status_code=response.status_code, name="" if request is None else request.name)
    error.response, error.request = response, request
    return error
