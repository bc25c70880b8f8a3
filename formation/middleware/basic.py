"""Basic authentication: a user and a password in ``Authorization``."""

from __future__ import annotations

from base64 import b64encode

from formation.kernel import Call, Ctx, Middleware
from formation.middleware._auth import check_text, unauthorized


def basic(user: str, password: str) -> Middleware[Ctx]:
    """Set ``Authorization: Basic …`` unless the call has an ``Authorization`` or an ``auth`` (RFC 7617).

    A request to another origin than the client's gets none. A context without an HTTP request passes through.

    Args:
        user: without ``:``, which ends it on the wire.
        password: encoded as UTF-8, like the user.

    Raises:
        TypeError: one of the two is no ``str``.
        ValueError: ``user`` has a ``:``, or one of the two a control character.

    >>> from formation.http import Request
    >>> ctx = basic("ann", "secret")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Authorization"]
    'Basic YW5uOnNlY3JldA=='
    """
    check_text("a user", user)
    check_text("a password", password)
    if ":" in user:
        raise ValueError("a user name for basic authentication has no ':' (RFC 7617, 2)")
    value = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def basic(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if (request := unauthorized(ctx)) is not None:
            request.headers["Authorization"] = value
        return call(ctx)

    return basic
