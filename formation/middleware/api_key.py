"""An API key, in a header, a query parameter or a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from formation.http.headers import check_name, check_value
from formation.keys import REQ_HTTP, SENSITIVE

if TYPE_CHECKING:
    from formation.kernel import Call, Ctx, Middleware

Place = Literal["header", "query", "cookie"]


def api_key(key: str, name: str = "X-API-Key", *, place: Place = "header") -> Middleware[Ctx]:
    """Send ``key`` under ``name`` unless the call sends something under that name.

    The name goes into ``ctx["fmtn.sensitive"]``: logs print ``[redacted]`` for it, and it stays behind when a redirect
    leads to another origin. A request to another origin than the client's gets no key at all. A context without an HTTP
    request passes through.

    Args:
        key: the key.
        name: of the header, parameter or cookie; ``X-API-Key`` is what most APIs chose.
        place: ``"header"``; ``"query"``, which ends up in the logs of every proxy, for APIs that know nothing else; or
            ``"cookie"``.

    Raises:
        TypeError: ``key`` or ``name`` is no ``str``.
        ValueError: one of them would break the message, or ``place`` is none of the three.

    >>> from formation.http import Request
    >>> ctx = api_key("s3cret")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["X-API-Key"], ctx["fmtn.sensitive"]
    ('s3cret', {'x-api-key'})
    """
    check_name(name)
    check_value(name, key)
    if place not in {"header", "query", "cookie"}:
        message = f"expected place as 'header', 'query' or 'cookie', got {place!r}"
        raise ValueError(message)

    def api_key(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP)
        if request is not None and request.extensions.get("home", True):
            ctx.setdefault(SENSITIVE, set()).add(name.lower())
            if place == "header":
                request.headers.setdefault(name, key)
            elif place == "query":
                request.params.setdefault(name, key)
            else:
                request.cookies.setdefault(name, key)
        return call(ctx)

    return api_key
