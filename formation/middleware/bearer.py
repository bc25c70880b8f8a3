"""Bearer authentication: a token in ``Authorization``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from formation.http.headers import check_value
from formation.keys import REQ_HTTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.kernel import Call, Ctx, Middleware


def bearer(token: str | Callable[[], str]) -> Middleware[Ctx]:
    """Set ``Authorization: Bearer …`` unless the call has an ``Authorization`` (RFC 6750, 2.1).

    A request to another origin than the client's gets none. A context without an HTTP request passes through.

    Args:
        token: the token, or a function that returns the one to use now, asked for each call.

    Raises:
        TypeError: ``token`` is neither.
        ValueError: the token would break the message.

    >>> from formation.http import Request
    >>> ctx = bearer("t0k3n")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Authorization"]
    'Bearer t0k3n'
    """
    if not callable(token):
        check_value("Authorization", token)

    def bearer(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP)
        if request is not None and request.extensions.get("home", True) and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {token() if callable(token) else token}"
        return call(ctx)

    return bearer
