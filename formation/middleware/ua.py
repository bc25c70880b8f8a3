"""``User-Agent``: say who is calling."""

from __future__ import annotations

from formation.http.headers import check_value
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP


def ua(name: str = "formation/1.0.0") -> Middleware[Ctx]:
    """Set the request header ``User-Agent`` unless the call has one (RFC 9110, 10.1.5).

    A context without an HTTP request passes through.

    Args:
        name: product and version, as in ``"billing/2.3"``.

    Raises:
        TypeError: ``name`` is no ``str``.
        ValueError: it is blank, or it would break the message.

    >>> from formation.http import Request
    >>> ctx = ua("billing/2.3")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["User-Agent"]
    'billing/2.3'
    """
    if not check_value("User-Agent", name).strip():
        message = f"expected a product and version such as 'billing/2.3', got {name!r}"
        raise ValueError(message)

    def ua(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if (request := ctx.get(REQ_HTTP)) is not None:
            request.headers.setdefault("User-Agent", name)
        return call(ctx)

    return ua
