"""Bearer authentication: a token in ``Authorization``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from formation.bridge import await_
from formation.kernel import Call, Ctx, Middleware
from formation.middleware._auth import check_visible, unauthorized


def bearer(token: str | Callable[[], str | Awaitable[str]]) -> Middleware[Ctx]:
    """Set ``Authorization: Bearer …`` unless the call has an ``Authorization`` or an ``auth`` (RFC 6750, 2.1).

    A request to another origin than the client's gets none. A context without an HTTP request passes through.

    Args:
        token: the token, or a function that returns the one to use now, asked for each call that needs one. In an async
            chain it may be an ``async def``.

    Raises:
        TypeError: ``token`` is neither; at a call: what the function returned is no ``str``.
        ValueError: the token has something else than visible ASCII characters, or nothing; at a call: the function's.

    >>> from formation.http import Request
    >>> ctx = bearer("t0k3n")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Authorization"]
    'Bearer t0k3n'
    """
    ask = token if callable(token) else None
    fixed = "" if callable(token) else check_visible("a token", token)

    def bearer(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if (request := unauthorized(ctx)) is not None:
            request.headers["Authorization"] = "Bearer " + (fixed if ask is None else _asked(ask))
        return call(ctx)

    return bearer


def _asked(ask: Callable[[], str | Awaitable[str]]) -> str:
    token = ask()
    return check_visible("a token", await_(token) if isinstance(token, Awaitable) else token)
