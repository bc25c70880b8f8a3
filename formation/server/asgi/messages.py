"""A request that came over ASGI, and a response that an app answers with: both read when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from multidict import CIMultiDict, istr

from formation.http.body import Body
from formation.http.headers import LONG, Headers
from formation.http.origins import PORTS
from formation.http.response import BODILESS
from formation.server.asgi.bodies import Chunks, Source
from formation.server.request import ServerRequest, authority
from formation.server.response import ServerResponse, announces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from formation.http.request import Request
    from formation.http.response import Response
    from formation.server.asgi.attempt import Attempt
    from formation.server.asgi.bodies import Upload

Scope: TypeAlias = "MutableMapping[str, Any]"
Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
App: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"

_PATH: Final = "/%:@!$&'()*+,;=~-._"  # what may stand in a path as it is, and what is quoted already
_DECODED: Final = _PATH.replace("%", "")
FRAMING: Final = istr("Transfer-Encoding")


class AsgiRequest(ServerRequest):
    """The request of a scope; ``native`` is the scope, ``app`` is whose it is."""

    __slots__ = ("_limit", "_upload", "app")
    has_aside = True

    def __init__(self, scope: Scope, upload: Upload | None, limit: int | None, app: App | None = None) -> None:
        client = scope.get("client")
        super().__init__(scope, scope.get("method", "GET"), client[0] if client else None)
        self._upload = upload
        self._limit = limit
        self.app = app

    def read_url(self) -> str:
        """Return the URL, from the path as the client has sent it where the server tells."""
        scope = self.native
        raw = scope.get("raw_path")
        # The path that is decoded has a percent sign only where the client has sent %25.
        path = quote(scope["path"], safe=_DECODED) if raw is None else quote(raw.partition(b"?")[0], safe=_PATH)
        if path and path[0] != "/":  # the target of OPTIONS *, for one, is no part of the host
            path = f"/{path}"
        query = scope.get("query_string", b"")
        return f"{scope.get('scheme', 'http')}://{_host(scope)}{path}" + (
            f"?{quote(query, safe=_PATH + '?')}" if query else ""
        )

    def read_headers(self) -> Headers:
        """Return the headers."""
        return decoded(self.native["headers"])

    def read_body(self) -> Body:
        """Return the body, unread."""
        return Body(b"" if self._upload is None else Source(self._upload), limit=self._limit)


class AsgiResponse(ServerResponse):
    """What an app has answered; ``native`` is the call of the app."""

    __slots__ = ()
    native: Attempt

    def read_headers(self) -> Headers:
        """Return the headers."""
        return decoded(self.native.message.get("headers", ()))

    def read_body(self) -> Body:
        """Return the body, unread."""
        return Body(Chunks(self.native), limit=self.native.exchange.max_body)

    def head(self) -> Message:
        """Return the message that begins the answer: the app's own, unless something has been changed."""
        message, status = self.native.message, self._status_code
        if "_headers" in self._came and self.headers_changed:
            return {**message, "status": status, "headers": encoded(self._headers)}
        return message if status == message["status"] else {**message, "status": status}

    @property
    def came_body(self) -> Body:
        """The body as it came, whatever stands in its place by now."""
        body: Body = self._came["_body"]
        return body

    @property
    def watched(self) -> Body | None:
        """The body, if it has maps or hooks."""
        body = self.body if "_body" in self._came else None
        return body if body is not None and body.is_watched else None

    @property
    def frames(self) -> bool:
        """Whether a middleware has set Transfer-Encoding, which is about the connection."""
        if "_headers" not in self._came or FRAMING not in self._headers or not self.headers_changed:
            return False
        came = self.native.message.get("headers", ())
        return all(bytes(name).lower() != b"transfer-encoding" for name, _ in came)  # else the server judges the app

    @property
    def is_untouched(self) -> bool:
        """Whether the body is the app's, and nobody has begun to read it: it may have maps and hooks."""
        if self._status_code in BODILESS and self.native.message["status"] not in BODILESS:
            return False
        if "_body" not in self._came:
            return True
        body = self._body
        return (
            isinstance(body, Body)
            and body is self._came["_body"]
            and not (body.is_bytes or body.ended or self.native.begun)
        )


def objection_to(answer: Response) -> ValueError | None:
    """Return what speaks against an answer of a chain, if anything does."""
    own = answer if isinstance(answer, AsgiResponse) else None
    if FRAMING in answer.headers if own is None else own.frames:
        return ValueError(
            "expected headers for the client from a middleware, got 'Transfer-Encoding', which is about the "
            "connection, and the server's to set: leave it out"
        )
    if answer.status_code < 200 and (own is None or own.status_changed):
        return announces(answer.status_code)
    return None


def found(ctx: Any, key: str) -> Any:
    """Return what the context that reaches the app has to have.

    Raises:
        TypeError: it has not.
    """
    try:
        return ctx[key]
    except (TypeError, LookupError):
        raise TypeError(f"expected call(ctx) with the context that came, got {ctx!r}") from None


def scope_for(request: Request, came: Scope) -> Scope:
    """Return the scope that says what ``request`` says: the one that came, unless somebody has changed something."""
    client = came.get("client")
    own = request if isinstance(request, ServerRequest) else None
    if own is not None and own.is_as_it_came(came.get("method", "GET"), client[0] if client else None):
        return came
    changes: Scope = {}
    if own is None or own.url_changed:
        changes = _place(request, came)
    if own is None or own.headers_changed or "host" in changes:
        headers = Headers.received(request.headers.items())
        if "host" in changes:
            headers["host"] = changes.pop("host")
        changes["headers"] = encoded(headers)
    if request.method != came.get("method", "GET"):
        changes["method"] = request.method
    if request.peer != (client[0] if client else None):
        changes["client"] = request.peer and (request.peer, 0)
    return {**came, **changes} if changes else came


def _place(request: Request, came: Scope) -> Scope:
    parts = urlsplit(request.target)
    raw = quote(parts.path or "/", safe=_PATH)
    changes: Scope = {
        "scheme": parts.scheme,
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": quote(parts.query, safe=_PATH + "?").encode(),
    }
    if parts.netloc != _host(came):
        changes["host"] = parts.netloc
    return changes


def _host(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"host":
            return authority(value.decode("latin-1"))
    host, port = scope.get("server") or ("", None)
    host = f"[{host}]" if ":" in host else host
    default = PORTS.get(scope.get("scheme", "http"))
    return host if port in {None, default} else f"{host}:{port}"


def trace_of(scope: Scope) -> dict[str, str] | None:
    """Return the trace context that came with a request (W3C), if one did."""
    for name, parent in scope["headers"]:
        if name == b"traceparent":
            trace = {"traceparent": parent.decode("latin-1")}
            if states := [value.decode("latin-1") for name, value in scope["headers"] if name == b"tracestate"]:
                trace["tracestate"] = ", ".join(states)  # one list in several lines (3.3.1.1)
            return trace
    return None


def template_of(scope: Scope, root_path: str) -> str | None:
    """Return the path of the route that the app has found, if its framework tells: Starlette and FastAPI do."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return None
    return str(scope.get("root_path", "").removeprefix(root_path)) + path


def decoded(lines: Iterable[Any]) -> Headers:
    """Make headers of pairs of bytes, which a server, or an app, answers for."""
    headers, names = Headers.__new__(Headers), _names
    if type(lines) is not list:
        lines = list(lines)  # it may be had once
    try:
        pairs = [(names[name], value.decode("latin-1")) for name, value in lines]
    except (KeyError, TypeError, AttributeError):  # a new name; no bytes at all, but a bytearray or a memoryview
        pairs = [(_name(bytes(name)), str(value, "latin-1")) for name, value in lines]
    _fill(headers, pairs)
    return headers


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Make pairs of bytes of headers; names in lower case, as ASGI wants them."""
    raw = _raw
    try:
        return [(raw[name], value.encode("latin-1")) for name, value in headers.items()]
    except KeyError:  # a new name
        return [(_raw_name(name), value.encode("latin-1")) for name, value in headers.items()]


def _name(raw: bytes) -> str:
    name = istr(raw.decode("latin-1"))  # the form that a multidict takes fastest
    if len(_names) < MANY and len(raw) < LONG:
        _names[raw] = name
    return name


def _raw_name(name: str) -> bytes:
    raw = name.lower().encode("latin-1")
    if len(_raw) < MANY and len(raw) < LONG:
        _raw[name] = raw
    return raw


MANY: Final = 1024
"""Names of headers that are remembered: ten times what a large program has, for clients make names up."""

_names: Final[dict[bytes, str]] = {}
_raw: Final[dict[str, bytes]] = {}
_fill: Final = CIMultiDict.__init__
