"""What a WSGI host has: its environ as a request, one call of an app as a response (PEP 3333).

A request is read from the environ, and what a middleware has changed is written back into it, for the app reads nothing
else. A response is what the app says to `Call.start_response` and returns; a lazy app says it late, so a status that
nobody asks for is not waited for.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlsplit

from multidict import istr

from formation.ambient import current, restore
from formation.errors import BodyConsumed, BodyTooLarge
from formation.http.body import CHUNK, Body
from formation.http.headers import Headers
from formation.introspection import name_of
from formation.server.request import ServerRequest, state
from formation.server.response import ServerResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from formation.ambient import Ambient
    from formation.http.request import Request
    from formation.http.response import Response

    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Write: TypeAlias = Callable[[bytes], object]

Environ: TypeAlias = dict[str, Any]

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request or a response that a middleware may read into memory. 1 MiB is what nginx lets a client send."""

_URL: Final = "/:;=@&+$!*'(),~"  # what a path may hold as it is (RFC 3986, 3.3)
_UNPREFIXED: Final = {"CONTENT_TYPE": "Content-Type", "CONTENT_LENGTH": "Content-Length"}
_BODILESS: Final = frozenset({*range(100, 200), 204, 304})  # RFC 9112, 6.3
_HOP_BY_HOP: Final = tuple(
    map(istr, ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
               "Transfer-Encoding", "Upgrade"))
)  # fmt: skip
_WHOLE: Final = (list, tuple)
_UNSAID: Final[dict[str, Any]] = {
    "url": "", "elapsed": None, "trailers": None, "_extensions": None, "history": (), "_whole": False
}  # fmt: skip
_rule = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>").sub


_MANY: Final = 2048  # names that are remembered: far more than clients have, and clients make names up
_names: Final[dict[str, str]] = {}  # keys of environs, and the headers that they are, if any
_plain: Final[dict[str, str]] = {}  # headers as PEP 3333 wants them: a str, and no subclass of it


def _header_of(key: str) -> str:
    """Return the header that a key of an environ stands for, if it does."""
    name = ""
    if key.startswith("HTTP_") or key in _UNPREFIXED:
        name = istr(key.removeprefix("HTTP_").replace("_", "-").title())  # the form that a multidict takes fastest
    if len(_names) < _MANY:
        _names[key] = name
    return name


def _plain_of(name: str) -> str:
    if len(_plain) < _MANY:
        _plain[name] = str(name)
    return str(name)


class WsgiRequest(ServerRequest):
    """A request in an environ."""

    __slots__ = ("inputs", "limit")

    def __init__(self, environ: Environ, limit: int | None) -> None:
        super().__init__(environ, environ["REQUEST_METHOD"], environ.get("REMOTE_ADDR"))
        self.limit = limit
        self.inputs: list[_Input] = []  # as they are asked for, by forks too

    @property
    def is_changed(self) -> bool:
        """Whether something may have to be written back; asked for each request, so without detours."""
        came = self._came
        if self._method != self.native["REQUEST_METHOD"]:
            return True
        if not came or (len(came) == 1 and came.get("_headers") == state(self._headers)):
            return False
        return self.headers_changed or self.url_changed or self.body_read

    def is_refused(self, error: BodyTooLarge) -> bool:
        """Whether it is the body of this request, or of a fork of it, that is too large."""
        return error.got in [each.count for each in self.inputs]

    def read_url(self) -> str:
        """Put the URL together, as PEP 3333 has it."""
        environ = self.native
        scheme, host = environ["wsgi.url_scheme"], environ.get("HTTP_HOST")
        if not host:
            host, port = environ["SERVER_NAME"], str(environ["SERVER_PORT"])
            if port != {"http": "80", "https": "443"}.get(scheme):
                host = f"{host}:{port}"
        path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"), _URL) or "/"
        query = environ.get("QUERY_STRING")
        return f"{scheme}://{host}{path}?{query}" if query else f"{scheme}://{host}{path}"

    def read_headers(self) -> Headers:
        """Read the headers; a server has joined the lines of a name."""
        environ: Environ = self.native
        try:
            names = _names
            lines = [(name, value) for key, value in environ.items() if (name := names[key])]
        except KeyError:  # a new name
            lines = [(name, value) for key, value in environ.items() if (name := _header_of(key))]
        headers = Headers.received(lines)
        for key, name in _UNPREFIXED.items():
            if environ.get(key) == "":  # some servers have them always
                del headers[name]
        return headers

    def __getattr__(self, name: str) -> Any:
        """Fill a slot that is empty."""
        if name == "_headers":  # first, and without detours: what middlewares ask for
            self._headers = headers = self.read_headers()
            self._came[name] = state(headers)
            return headers
        return super().__getattr__(name)

    def read_body(self) -> Body:
        """Make a body that reads ``wsgi.input``, as far as it may."""
        environ = self.native
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal():
            left: int | None = int(length)
        else:
            left = None if environ.get("wsgi.input_terminated") else 0
        if left == 0:
            return Body(b"")
        self.inputs.append(_Input(environ["wsgi.input"], left))
        return Body(self.inputs[-1], limit=self.limit)


class _Input:
    """``wsgi.input``, as the source of a body. It stays open: it is the server's."""

    def __init__(self, file: Any, length: int | None) -> None:
        self.file = file
        self.length = length
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.file.read(CHUNK if self.length is None else min(CHUNK, self.length - self.count)):
            self.count += len(chunk)
            yield chunk
        if self.length is not None and self.count < self.length:
            raise OSError(f"the client is gone: expected a body of {self.length} bytes, got {self.count}")


def write_back(request: Request, came: WsgiRequest, *, again: bool) -> None:
    """Write into the environ what somebody has changed in the request.

    ``came`` is the request as the edge has made it, and ``request`` the one of the context: the same, a fork of it, or
    another one. With ``again`` the app has been called before, so that the environ may say what another fork said.

    Raises:
        BodyConsumed: the app has had the body already, and nobody has kept it.
        BodyTooLarge: a body that streams, through a map for example, is larger than the limit.
    """
    environ: Environ = came.native
    if isinstance(request, WsgiRequest) and not again:
        headers, url, body = request.headers_changed, request.url_changed, request.body_read
    else:
        now = WsgiRequest(environ, None)
        headers = list(request.headers.items()) != list(now.headers.items())
        url, body = request.target != now.url, True
    if environ["REQUEST_METHOD"] != request.method:
        environ["REQUEST_METHOD"] = request.method
    if headers:
        _write_headers(request.headers, environ)
    if url:
        _write_url(request.target, environ)
    if body:
        _write_body(request.body, environ, again=again)


def _write_headers(headers: Headers, environ: Environ) -> None:
    for key in [key for key in environ if _header_of(key)]:
        del environ[key]
    for name in dict.fromkeys(map(str.upper, headers)):
        key = name.replace("-", "_")
        environ[key if key in _UNPREFIXED else f"HTTP_{key}"] = headers[name]


def _write_url(target: str, environ: Environ) -> None:
    came, url = urlsplit(WsgiRequest(environ, None).url), urlsplit(target)
    path, script = unquote_to_bytes(url.path or "/").decode("latin-1"), environ.get("SCRIPT_NAME", "")
    if script and not f"{path}/".startswith(f"{script}/"):
        script = environ["SCRIPT_NAME"] = ""
    environ["PATH_INFO"], environ["QUERY_STRING"] = path[len(script) :], url.query
    for name in ("REQUEST_URI", "RAW_URI"):  # where servers say what stood in the request line
        if name in environ:
            environ[name] = (url.path or "/") + (f"?{url.query}" if url.query else "")
    environ["wsgi.url_scheme"] = url.scheme
    if url.netloc != came.netloc:
        environ["HTTP_HOST"] = url.netloc.rpartition("@")[2]


def _write_body(body: Body, environ: Environ, *, again: bool) -> None:
    """Give the app the body, in memory where it is not as it came: there is no other way to tell every app its end."""
    if isinstance(body.native, _Input) and not body.is_watched:
        if again:
            raise BodyConsumed(
                "the app is called again, and has had the body of the request: read request.content before call(ctx)"
            )
        return
    content = body.read()
    body.end()
    environ["wsgi.input"] = io.BytesIO(content)
    if content or environ.get("CONTENT_LENGTH"):
        environ["CONTENT_LENGTH"] = str(len(content))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


class Call:
    """One call of an app: what it says to `start_response`, writes, and returns; the source of the response's body."""

    __slots__ = (
        "_chunks",
        "_out",
        "ahead",
        "ambient",
        "body",
        "ended",
        "exc_info",
        "headers",
        "is_anew",
        "iterable",
        "status",
    )

    def __init__(self) -> None:
        self.status: Any = None  # until the app has said it
        self.exc_info: Any = None
        self.iterable: Any = None
        self.ahead: list[bytes] = []  # written or pulled before anybody could be sent it
        self.ambient: Ambient | None = None  # what was published when the app was called
        self.body: Body | None = None  # what a middleware has looked at
        self.ended = False  # closed, so that nothing can be said any more
        self.is_anew = False  # the app has replaced its head after the chain had its say: maps are not for that body
        self._chunks: Iterator[bytes] | None = None
        self._out: Any = None  # the start_response of the server, once the chain has had its say

    # What the app calls

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Take the head; a second time only with ``exc_info``."""
        if self._out is not None:
            if not exc_info:
                return self._out(status, headers)  # type: ignore[no-any-return]
            write: Write = self._out(status, headers, exc_info)  # raises it, if something has been sent
            self.is_anew = True
            return write
        if self.status is not None and not exc_info:
            raise RuntimeError("start_response() was called already: a second time it takes exc_info (PEP 3333)")
        self.status, self.headers, self.exc_info = status, headers, exc_info
        return self.write

    def write(self, data: bytes, /) -> None:
        """Take bytes that go before those of the iterable."""
        if not self.ended:
            self.ahead.append(data)

    # What the edge calls

    def begin(self, app: Any, environ: Environ) -> None:
        """Call the app."""
        self.iterable = returned = app(environ, self.start_response)
        if type(returned) is not list and (
            isinstance(returned, (str, bytes, bytearray))
            or not (hasattr(returned, "__iter__") or hasattr(returned, "__getitem__"))
        ):
            raise TypeError(f"expected an iterable of bytes from the WSGI app {name_of(app)!r}, got {returned!r}")
        if self.status is None and type(returned) in _WHOLE:
            raise self._silent()

    @property
    def is_lazy(self) -> bool:
        """Whether the app may still run when its iterable is asked for more."""
        return type(self.iterable) not in _WHOLE

    @property
    def is_begun(self) -> bool:
        """Whether something has been written or pulled before it could be sent."""
        return bool(self.ahead) or self._chunks is not None

    def release(self, start_response: Any) -> Any:
        """Give away what the app has returned; what it says from now on it says to the server."""
        if self.ambient is not None:
            self.ambient.answered()
        returned, self.iterable, self.exc_info, self._out = self.iterable, None, None, start_response
        return returned

    def hand_over(self, start_response: Any) -> None:
        """From now on, what the app says it says to the server."""
        self._out, self.exc_info = start_response, None

    def look(self) -> None:
        """See to it that there is a head: ask a lazy app for its first chunk."""
        while self.status is None:
            chunk = next(self, None)
            if self.status is None and (chunk or chunk is None):
                raise self._silent()
            if chunk:
                self.ahead.append(chunk)

    def _silent(self) -> RuntimeError:
        return RuntimeError(f"the WSGI app did not call start_response() before its body, {self.iterable!r}")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.ahead:
            return self.ahead.pop(0)
        if self._chunks is None:
            self._chunks = iter(self.iterable)
        if self.ambient is None:
            return next(self._chunks)
        token = current.set(self.ambient)
        try:
            return next(self._chunks)
        finally:
            restore(token)

    def drop(self, error: BaseException | None = None) -> None:
        """Close it, by way of the body that somebody has looked at, so that its hooks are told."""
        if self.body is not None:
            self.body.close(error)
        self.close()

    def close(self) -> None:
        """Close what the app has returned, once."""
        iterable, self.iterable, self._chunks = self.iterable, None, iter(())
        self.ended, self.exc_info = True, None
        self.ahead.clear()
        token = None if self.ambient is None else current.set(self.ambient)
        try:
            if hasattr(iterable, "close"):
                iterable.close()
        finally:
            if self.ambient is not None and token is not None:
                restore(token)
                self.ambient.answered()


class WsgiResponse(ServerResponse):
    """The response of a call of a WSGI app."""

    __slots__ = ("limit",)

    def __init__(self, call: Call, request: Request, limit: int | None) -> None:  # not super's: there may be no status
        self.native = call
        self._came = {}
        self.request = request
        self.limit = limit

    @property
    def status_changed(self) -> bool:
        """Whether another status is to go out than that of the app."""
        return "status" in self._came and self._came["status"] != (self._status_code, self._reason)

    @property
    def streams(self) -> bool:
        """Whether what is to be sent is what the app yields, as it is or through maps."""
        call: Call = self.native
        body = call.body
        if "status" in self._came and self.status_changed and self._status_code in _BODILESS:
            return False
        return body is None or (self._body is body and not body.is_bytes and (body.is_watched or body.native is call))

    def read_headers(self) -> Headers:
        """Read the headers; a lazy app is asked for its first chunk."""
        call: Call = self.native
        if call.status is None:
            call.look()
        try:
            return Headers.received(call.headers)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"expected headers from the WSGI app as a list of pairs of str, got {call.headers!r}"
            ) from error

    def read_body(self) -> Body:
        """Make a body of what the app yields, and has written."""
        call: Call = self.native
        call.body = Body(call, limit=self.limit)
        return call.body

    def __getattr__(self, name: str) -> Any:
        """Fill a slot that is empty. A lazy app is asked for its first chunk, for it says the head with it."""
        if name == "_headers":  # first, and without detours: what middlewares ask for
            self._headers = headers = self.read_headers()
            self._came[name] = state(headers)
            return headers
        if name in {"_status_code", "_reason"}:
            call: Call = self.native
            if call.status is None:
                call.look()
            self._came["status"] = self._status_code, self._reason = parse_status(call.status)
        elif name in _UNSAID:
            setattr(self, name, _UNSAID[name])
        else:
            return super().__getattr__(name)
        return getattr(self, name)


def head_of(response: Response) -> tuple[str, list[tuple[str, str]]]:
    """Return what goes to ``start_response``: as the app has said it, as long as nobody has changed it.

    Raises:
        ValueError: a header is not for an app to set, since it is about one connection only (PEP 3333).
    """
    if type(response) is not WsgiResponse:
        return _said(response), _lines(response.headers, ())
    call: Call = response.native
    status = _said(response) if response.status_changed else call.status
    return status, _lines(response.headers, call.headers) if response.headers_changed else call.headers


def is_bodiless(response: Response) -> bool:
    """Tell whether no body may be sent: to HEAD, and with some statuses."""
    is_head = response.request is not None and response.request.method == "HEAD"
    return is_head or response.status_code in _BODILESS


def _said(response: Response) -> str:
    return f"{response.status_code} {response.reason}"


def _lines(headers: Headers, came: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    if not headers.keys().isdisjoint(_HOP_BY_HOP):
        own = Headers.received(came)
        for name in _HOP_BY_HOP:
            if headers.getlist(name) != own.getlist(name):
                raise ValueError(
                    f"expected headers for the client from a middleware, got {str(name)!r}, which is about the "
                    "connection, and the server's to set (PEP 3333): leave it out"
                )
    try:
        plain = _plain
        return [(plain[name], value) for name, value in headers.items()]
    except KeyError:  # a new name
        return [(_plain_of(name), value) for name, value in headers.items()]


def parse_status(status: Any) -> tuple[int, str]:
    """Take ``"404 Not Found"`` apart."""
    code = status[:3] if isinstance(status, str) else ""
    if len(code) != 3 or not code.isdecimal() or status[3:4].strip():
        raise ValueError(f"expected a status such as '200 OK' from the WSGI app, got {status!r}")
    return int(code), status[4:]


def trace_of(environ: Environ) -> dict[str, str]:
    """Return the trace context that came with the request (W3C Trace Context)."""
    trace = {"traceparent": environ["HTTP_TRACEPARENT"]}
    if state := environ.get("HTTP_TRACESTATE"):
        trace["tracestate"] = state
    return trace


def template_of(environ: Environ) -> str | None:
    """Return the route that a framework has found, where it leaves word in the environ, as Flask does."""
    request = environ.get("werkzeug.request")
    rule = getattr(getattr(request, "url_rule", None), "rule", None)
    return None if rule is None else _braced(rule)


@lru_cache(maxsize=1024)  # an app has some dozens
def _braced(rule: str) -> str:
    """``/users/<int:id>`` is ``/users/{id}`` everywhere else."""
    return _rule(r"{\1}", rule)
