"""Responses that do not tell what the server is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from formation.http.headers import check_name
from formation.kernel import Call, Middleware
from formation.keys import RES_HTTP, SIDE

NAMES: Final = (
    "$wsep",
    "Host-Header",
    "K-Proxy-Request",
    "Liferay-Portal",
    "OracleCommerceCloud-Version",
    "Pega-Host",
    "Powered-By",
    "Product",
    "Server",
    "SourceMap",
    "Via",
    "X-AspNet-Version",
    "X-AspNetMvc-Version",
    "X-Atmosphere-error",
    "X-Atmosphere-first-request",
    "X-Atmosphere-tracking-id",
    "X-B3-ParentSpanId",
    "X-B3-Sampled",
    "X-B3-SpanId",
    "X-B3-TraceId",
    "X-BEServer",
    "X-Backend-Server",
    "X-CF-Powered-By",
    "X-CMS",
    "X-CalculatedBETarget",
    "X-Cocoon-Version",
    "X-Content-Encoded-By",
    "X-DiagInfo",
    "X-Envoy-Attempt-Count",
    "X-Envoy-External-Address",
    "X-Envoy-Internal",
    "X-Envoy-Original-Dst-Host",
    "X-Envoy-Upstream-Service-Time",
    "X-FEServer",
    "X-Framework",
    "X-Generated-By",
    "X-Generator",
    "X-Jitsi-Release",
    "X-Joomla-Version",
    "X-Kubernetes-PF-FlowSchema-UI",
    "X-Kubernetes-PF-FlowSchema-UID",
    "X-Kubernetes-PF-PriorityLevel-UID",
    "X-Mod-Pagespeed",
    "X-Nextjs-Cache",
    "X-Nextjs-Matched-Path",
    "X-Nextjs-Page",
    "X-Nextjs-Redirect",
    "X-OWA-Version",
    "X-Old-Content-Length",
    "X-OneAgent-JS-Injection",
    "X-Page-Speed",
    "X-Php-Version",
    "X-Powered-By",
    "X-Powered-By-Plesk",
    "X-Powered-CMS",
    "X-Redirect-By",
    "X-Runtime",
    "X-Server",
    "X-Server-Powered-By",
    "X-SourceFiles",
    "X-SourceMap",
    "X-Turbo-Charged-By",
    "X-Umbraco-Version",
    "X-Varnish-Backend",
    "X-Varnish-Server",
    "X-Version",
    "X-dtAgentId",
    "X-dtHealthCheck",
    "X-dtInjectedServlet",
    "X-ruxit-JS-Agent",
)
"""Headers that name a program, its version, or a host behind it: those that OWASP's secure headers project wants
removed, and some like them. Its X-LiteSpeed-* are not among them: they tell that server what to keep, and it takes them
out itself."""


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
    gone = {name.lower() for name in (*NAMES, *_names(also))} - kept

    def hide_server(ctx: Any, call: Call[Any]) -> Any:
        ctx = call(ctx)
        response = ctx.get(RES_HTTP) if isinstance(ctx, dict) and ctx.get(SIDE) == "server" else None
        if response is not None and not gone.isdisjoint(map(str.lower, response.headers)):
            for name in [name for name in response.headers if name.lower() in gone]:
                response.headers.popall(name, None)
        return ctx

    return hide_server


def _names(names: Iterable[str]) -> list[str]:
    return [check_name(name) for name in ([names] if isinstance(names, str) else names)]
