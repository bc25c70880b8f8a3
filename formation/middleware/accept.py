"""``Accept``: say which media types the caller understands."""

from __future__ import annotations

from formation.http.headers import check_value
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP


def accept(mime: str) -> Middleware[Ctx]:
    """Set the request header ``Accept`` unless the call has one (RFC 9110, 12.5.1).

    A context without an HTTP request passes through.

    Args:
        mime: media types or ranges: ``"application/json"``, ``"text/html, */*;q=0.1"``.

    Raises:
        TypeError: ``mime`` is no ``str``.
        ValueError: it names no ``type/subtype``, or it would break the message.

    >>> from formation.http import Request
    >>> ctx = accept("application/json")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Accept"]
    'application/json'
    """
    if "/" not in check_value("Accept", mime):
        message = f"expected media types such as 'application/json', got {mime!r}"
        raise ValueError(message)

    def accept(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if (request := ctx.get(REQ_HTTP)) is not None:
            request.headers.setdefault("Accept", mime)
        return call(ctx)

    return accept
