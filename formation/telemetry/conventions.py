"""What the semantic conventions of OpenTelemetry (1.44) call things: the name and the attributes of a span.

Those of HTTP are stable, those of RPC a release candidate. Pure functions of a context; nothing of OpenTelemetry is
imported here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from formation.http.origins import PORTS
from formation.http.secrets import REDACTED, redact
from formation.introspection import name_of
from formation.keys import ATTEMPT, FN, NATIVE, REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE
from formation.telemetry.lines import hidden
from formation.telemetry.measured import OTHER, route_of

Attributes: TypeAlias = dict[str, str | int]

FAILED: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes of gRPC that are a server's fault. On a client every code but OK is an error."""


def asked(ctx: Any, secrets: frozenset[str], methods: frozenset[str]) -> tuple[str, Attributes, Attributes, str]:
    """Return the name of the span, its attributes, those of the metrics, and what the metrics are of.

    >>> from formation.http import Request
    >>> name, attributes, metered, of = asked(
    ...     {"fmtn.req.http": Request("GET", "https://me:pw@h/a?sig=1", template="/{x}")},
    ...     frozenset({"sig"}),
    ...     frozenset({"GET"}),
    ... )
    >>> name, attributes["url.full"], of
    ('GET /{x}', 'https://REDACTED:REDACTED@h/a?sig=REDACTED', 'http.client')
    """
    is_server = ctx.get(SIDE) == "server"
    if (request := ctx.get(REQ_HTTP)) is not None:
        if is_server:
            return _served(ctx, request, secrets, methods)
        url = request.target
        path = url.find("/", url.find("//") + 2)
        template = request.template or route_of(ctx, request)
        shown, metered, known = _client(url if path < 0 else url[:path], request.method, template, methods)
        attributes = known.copy()
        attributes["url.full"] = url
        if "?" in url or "@" in url or "#" in url:  # where a secret may be
            attributes["url.full"] = _scrubbed(url, hidden(ctx, secrets))
        if (attempt := ctx.get(ATTEMPT, 1)) > 1:
            attributes["http.request.resend_count"] = attempt - 1
        return shown, attributes, metered, "http.client"
    if (call := ctx.get(REQ_RPC)) is not None:
        metered = {"rpc.system.name": "grpc", "rpc.method": call.name.lstrip("/")}
        attributes = metered.copy()
        if is_server and call.peer:
            attributes["client.address"] = attributes["network.peer.address"] = call.peer
        return call.name.lstrip("/"), attributes, metered, "rpc.server" if is_server else "rpc.client"
    fn = ctx.get(FN)
    if fn is None:
        return "call", {}, {}, ""
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None) or name_of(fn)
    return name_of(fn), {"code.function.name": f"{module}.{name}" if module else name}, {}, ""


@lru_cache(1024)  # as many as there are circuits
def _client(
    base: str, method: str, template: str | None, methods: frozenset[str]
) -> tuple[str, Attributes, Attributes]:
    """Return the name of a client's span, the attributes of its metrics, and its own; nobody may change them."""
    scheme, host, port = _place(base)
    shown, metered = _method(method, methods)
    if host:
        metered["server.address"] = host
        if port is not None:
            metered["server.port"] = port
    if scheme:
        metered["url.scheme"] = scheme
    if template is not None:
        metered["url.template"] = template
        shown = f"{shown} {template}"
    attributes = {**metered, "url.full": base}
    if method not in methods:
        attributes["http.request.method_original"] = method
    return shown, metered, attributes


def _served(
    ctx: Any, request: Any, secrets: frozenset[str], methods: frozenset[str]
) -> tuple[str, Attributes, Attributes, str]:
    """Say what a server is asked for. Nobody knows the route yet."""
    url, _, query = request.url.partition("?")
    scheme, _, host, *path = url.split("/", 3) if "://" in url else ("", "", "", url[1:])
    shown, metered, place = _server(f"{scheme}//{host}", request.method, _protocol(ctx), methods)
    attributes: Attributes = {**metered, **place, "url.path": f"/{path[0] if path else ''}"}
    if query:
        attributes["url.query"] = _scrubbed(f"?{query}", hidden(ctx, secrets))[1:]
    if request.peer:
        attributes["client.address"] = attributes["network.peer.address"] = request.peer
    if agent := request.headers.get("User-Agent"):
        attributes["user_agent.original"] = agent
    if shown == "HTTP":
        attributes["http.request.method_original"] = request.method
    return shown, attributes, metered, "http.server"


@lru_cache(1024)  # a client may make a host up for each request, and has to be forgotten then
def _server(
    base: str, method: str, protocol: str | None, methods: frozenset[str]
) -> tuple[str, Attributes, Attributes]:
    """Return the name of a server's span, the attributes of its metrics, and its place; nobody may change them."""
    scheme, host, port = _place(base)
    shown, metered = _method(method, methods)
    metered["url.scheme"] = scheme or "http"
    if version := _VERSIONS.get(protocol):
        metered["network.protocol.version"] = version
    place: Attributes = {}
    if host:
        place["server.address"] = host
        if port is not None:
            place["server.port"] = port
    return shown, metered, place


def answered(ctx: Any, error: BaseException | None) -> tuple[Attributes, bool]:
    """Return the attributes that both have in the end, and whether that is an error."""
    said: Attributes = {}
    is_server = ctx.get(SIDE) == "server"
    is_failure = error is not None
    status = None if error is None else getattr(getattr(error, "response", None), "status_code", None)
    if status is None and (response := ctx.get(RES_HTTP)) is not None:
        status = response.status_code
        if not is_server and (version := _VERSIONS.get(response.extensions.get("http_version"))):
            said["network.protocol.version"] = version
    if status is not None:
        said["http.response.status_code"] = status
        if status >= 500 or (status >= 400 and not is_server):
            is_failure = True
            said["error.type"] = str(status)
    if (result := ctx.get(RES_RPC)) is not None:
        said["rpc.response.status_code"] = code = str(result.code)
        if code in FAILED or (code != "OK" and not is_server):
            is_failure = True
            said["error.type"] = code
    if error is not None:
        said["error.type"] = _type_of(error)
    if is_server and REQ_HTTP in ctx and (route := route_of(ctx, ctx[REQ_HTTP])) is not None:
        said["http.route"] = route
    return said, is_failure


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _method(given: str, methods: frozenset[str]) -> tuple[str, Attributes]:
    """Return the method as the name of a span shows it, and as an attribute."""
    return (given, {"http.request.method": given}) if given in methods else ("HTTP", {"http.request.method": OTHER})


def _scrubbed(url: str, secrets: frozenset[str]) -> str:
    """Return a URL without secrets, in whose place there is the word that the conventions want."""
    shown = redact(url, secrets)
    if REDACTED in shown:
        shown = shown.replace(f"//{REDACTED}@", "//REDACTED:REDACTED@").replace(REDACTED, "REDACTED")
    return shown


@lru_cache(1024)  # as many as there are circuits
def _place(base: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL without its path; on its way to a server in the same process it has none.

    >>> _place("https://me@h"), _place("http://[::1]:8000"), _place("/items")
    (('https', 'h', 443), ('http', '::1', 8000), ('', '', None))
    """
    try:
        parts = urlsplit(base)
        return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    except ValueError:  # what a client of ours has sent as its Host
        return "", "", None


def _protocol(ctx: Any) -> str | None:
    """Return the protocol of a request as the host of a server writes it."""
    native = ctx.get(NATIVE) or {}
    if (environ := native.get("environ")) is not None:
        said: str | None = environ.get("SERVER_PROTOCOL")
        return said
    return (native.get("scope") or {}).get("http_version")


_VERSIONS: Final[dict[str | None, str]] = {
    f"{before}{said}": said.removesuffix(".0") if said >= "2" else said
    for before in ("HTTP/", "")
    for said in ("1.0", "1.1", "2", "2.0", "3")
}
"""How the conventions write a version of HTTP: ``2`` is that of ``HTTP/2.0``. Others, a client has made up."""
