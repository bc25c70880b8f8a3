"""Responses that do not tell what the server is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from formation.http.headers import check_name
from formation.kernel import Call, Middleware
from formation.keys import RES_HTTP, SIDE

NAMES: Final = (
    "Powered-By",
    "Product",
    "Server",
    "Via",
    "X-AspNet-Version",
    "X-AspNetMvc-Version",
    "X-Backend-Server",
    "X-CF-Powered-By",
    "X-CMS",
    "X-Content-Encoded-By",
    "X-Framework",
    "X-Generated-By",
    "X-Generator",
    "X-Mod-Pagespeed",
    "X-Page-Speed",
    "X-Php-Version",
    "X-Powered-By",
    "X-Powered-By-Plesk",
    "X-Powered-CMS",
    "X-Runtime",
    "X-Server",
    "X-Server-Powered-By",
    "X-SourceFiles",
    "X-Turbo-Charged-By",
    "X-Varnish-Backend",
    "X-Varnish-Server",
    "X-Version",
)
"""Headers that name a program, its version, or a host behind it: mostly those that OWASP's secure headers project wants
removed."""


def hide_server(also: Iterable[str] = (), *, keep: Iterable[str] = ()) -> Middleware[Any]:
    """Remove from a server's responses the headers that tell which program made them, and how long it took.

    Whoever looks for servers with a known hole reads them first. What the server below adds itself, such as uvicorn's
    ``Server``, is added later: ``uvicorn --no-server-header``. On a client nothing is removed.

    Args:
        also: more names than those in ``NAMES``.
        keep: names that stay. RFC 9110 (7.6.3) wants a proxy to send ``Via``.

    Raises:
        TypeError: a name is no ``str``.
        ValueError: a name that is none of a header.

    Order:
        Outermost, or nearly: what an outer one adds stays.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/")}
    >>> ctx = hide_server()(ctx, lambda ctx: reply(ctx, 200, {"X-Powered-By": "Some/1.2.3", "ETag": '"1"'}))
    >>> ctx["fmtn.res.http"].headers
    <Headers {'ETag': '"1"'}>
    """
    kept = {name.lower() for name in _names(keep)}
    gone = [name for name in (*NAMES, *_names(also)) if name.lower() not in kept]

    def hide_server(ctx: Any, call: Call[Any]) -> Any:
        ctx = call(ctx)
        response = ctx.get(RES_HTTP) if isinstance(ctx, dict) and ctx.get(SIDE) == "server" else None
        if response is not None:
            for name in gone:
                response.headers.popall(name, None)
        return ctx

    return hide_server


def _names(names: Iterable[str]) -> list[str]:
    return [check_name(name) for name in ([names] if isinstance(names, str) else names)]
