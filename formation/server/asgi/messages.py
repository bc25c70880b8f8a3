"""A request that came over ASGI, and a response that an app answers with: both read when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from multidict import CIMultiDict

from formation.http.body import Body
from formation.http.headers import Headers
from formation.http.origins import PORTS
from formation.http.response import BODILESS
from formation.server.asgi.bodies import Chunks, Source
from formation.server.request import ServerRequest, authority
from formation.server.response import ServerResponse

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
        message = self.native.message
        if len(self._came) == 1 and self._status_code == message["status"]:  # nobody has looked
            return message
        if self._status_code != message["status"]:
            message = {**message, "status": self._status_code}
        if self.headers_changed:
            message = {**message, "headers": encoded(self._headers)}
        return message

    @property
    def came_body(self) -> Body:
        """The body as it came, whatever stands in its place by now."""
        body: Body = self._came["_body"]
        return body

    @property
    def is_untouched(self) -> bool:
        """Whether the body is the app's, and nobody has begun to read it: it may have maps and hooks."""
        if self._status_code in BODILESS and self.native.message["status"] not in BODILESS:
            return False
        if not self.body_read:
            return True
        body = self._body
        return (
            isinstance(body, Body)
            and body is self._came["_body"]
            and not (body.is_bytes or body.ended or self.native.begun)
        )


def frames(answer: Response) -> bool:
    """Tell whether a middleware has set Transfer-Encoding, which is about the connection, and the server's to set."""
    if not isinstance(answer, AsgiResponse):
        return "Transfer-Encoding" in answer.headers
    if not answer.headers_changed or "Transfer-Encoding" not in answer.headers:
        return False
    came = answer.native.message.get("headers", ())
    return all(bytes(name).lower() != b"transfer-encoding" for name, _ in came)  # else the server judges the app


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
    own = request if isinstance(request, ServerRequest) else None
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
    client = came.get("client")
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
    trace = {}
    for name, value in scope["headers"]:
        if name in _TRACE:
            trace[_TRACE[name]] = value.decode("latin-1")
    return trace if "traceparent" in trace else None


_TRACE: Final = {b"traceparent": "traceparent", b"tracestate": "tracestate"}


def template_of(scope: Scope, root_path: str) -> str | None:
    """Return the path of the route that the app has found, if its framework tells: Starlette and FastAPI do."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return None
    return str(scope.get("root_path", "").removeprefix(root_path)) + path


def decoded(lines: Iterable[Any]) -> Headers:
    """Make headers of pairs of bytes, which a server, or an app, answers for."""
    headers = Headers.__new__(Headers)
    try:
        _fill(headers, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines])
    except AttributeError:  # some app's bytes are a memoryview
        _fill(headers, [(str(name, "latin-1"), str(value, "latin-1")) for name, value in lines])
    return headers


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Make pairs of bytes of headers; names in lower case, as ASGI wants them."""
    return [(_raw.get(name) or _learnt(name), value.encode("latin-1")) for name, value in headers.items()]


def _learnt(name: str) -> bytes:
    raw = name.lower().encode("latin-1")
    if len(_raw) < 1024 and len(raw) < 64:  # names stand in programs: ten times what a large one has
        _raw[str(name)] = raw
    return raw


_raw: Final[dict[str, bytes]] = {}
_fill: Final = CIMultiDict.__init__
