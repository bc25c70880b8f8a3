"""Basic authentication: a user and a password in ``Authorization``."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from formation.keys import REQ_HTTP

if TYPE_CHECKING:
    from formation.kernel import Call, Ctx, Middleware


def basic(user: str, password: str) -> Middleware[Ctx]:
    """Set ``Authorization: Basic …`` unless the call has an ``Authorization`` (RFC 7617).

    A request to another origin than the client's gets none. A context without an HTTP request passes through.

    Args:
        user: without ``:``, which ends it on the wire.
        password: encoded as UTF-8, like the user.

    Raises:
        TypeError: one of the two is no ``str``.
        ValueError: ``user`` has a ``:``.

    >>> from formation.http import Request
    >>> ctx = basic("ann", "secret")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Authorization"]
    'Basic YW5uOnNlY3JldA=='
    """
    if not isinstance(user, str) or not isinstance(password, str):
        message = "expected a user and a password, two strings"
        raise TypeError(message)
    if ":" in user:
        message = "a user name for basic authentication has no ':' (RFC 7617, 2)"
        raise ValueError(message)
    value = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def basic(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP)
        if request is not None and request.extensions.get("home", True):
            request.headers.setdefault("Authorization", value)
        return call(ctx)

    return basic
