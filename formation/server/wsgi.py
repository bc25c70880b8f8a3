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

from formation.errors import BodyConsumed, BodyTooLarge
from formation.http.body import CHUNK, Body
from formation.http.headers import Headers
from formation.introspection import name_of
from formation.server.request import ServerRequest
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
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
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


class _Known(dict[str, str]):
    """Remembers what a function makes of a name: the same few come with each request."""

    MANY = 2048  # for clients make names up

    def __init__(self, fn: Callable[[str], str]) -> None:
        self.fn = fn

    def __missing__(self, name: str) -> str:
        made = self.fn(name)
        if len(self) < self.MANY:
            self[name] = made
        return made


def _header_of(key: str) -> str:
    """Return the header that a key of an environ stands for, if it does."""
    if isinstance(key, str) and (key.startswith("HTTP_") or key in _UNPREFIXED):
        return key.removeprefix("HTTP_").replace("_", "-").title()
    return ""


_names: Final = _Known(_header_of)
_plain: Final = _Known(str)  # PEP 3333 wants str, and no subclass of it; a map of headers has a subclass


class WsgiRequest(ServerRequest):
    """A request in an environ."""

    __slots__ = ("limit",)

    def __init__(self, environ: Environ, limit: int | None) -> None:
        super().__init__(environ, environ["REQUEST_METHOD"], environ.get("REMOTE_ADDR"))
        self.limit = limit

    @property
    def touched(self) -> bool:
        """Whether somebody has looked at it, or changed its method."""
        return bool(self._came) or self._method != self.native["REQUEST_METHOD"]

    def is_refused(self, error: BodyTooLarge) -> bool:
        """Whether it is the body of this request that is too large."""
        seen: list[BaseException | None] = []
        if self.body_read and self.body.ended:
            self.body.on_close(lambda count, error: seen.append(error))
        return bool(seen) and isinstance(seen[0], BodyTooLarge) and seen[0].got == error.got

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
        names = _names
        return Headers.received(
            [
                (name, value)
                for key, value in self.native.items()
                if (name := names[key]) and (value or key not in _UNPREFIXED)
            ]
        )

    def read_body(self) -> Body:
        """Make a body that reads ``wsgi.input``, as far as it may."""
        environ = self.native
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal():
            left: int | None = int(length)
        else:
            left = None if environ.get("wsgi.input_terminated") else 0
        return Body(b"" if left == 0 else _Input(environ["wsgi.input"], left), limit=self.limit)


class _Input:
    """``wsgi.input``, as the source of a body. It stays open: it is the server's."""

    def __init__(self, file: Any, length: int | None) -> None:
        self.file = file
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        left = self.length
        while left != 0 and (chunk := self.file.read(CHUNK if left is None else min(CHUNK, left))):
            left = left and left - len(chunk)
            yield chunk


def write_back(request: Request, came: WsgiRequest, *, again: bool) -> None:
    """Write into the environ what somebody has changed in the request.

    ``came`` is the request as the edge has made it, and ``request`` the one of the context: the same, a fork of it, or
    another one. With ``again`` the app has been called before, so that the environ may say what another fork said.

    Raises:
        BodyConsumed: the app has had the body already, and nobody has kept it.
    """
    environ: Environ = came.native
    if request is came and not again:
        changed = came.headers_changed, came.url_changed, came.body_read
    else:
        now = WsgiRequest(environ, None)
        lines = [list(each.headers.items()) for each in (request, now)]
        changed = lines[0] != lines[1], request.target != now.url, True
    if environ["REQUEST_METHOD"] != request.method:
        environ["REQUEST_METHOD"] = request.method
    if changed[0]:
        _write_headers(request.headers, environ)
    if changed[1]:
        _write_url(request.target, environ)
    if changed[2]:
        _write_body(request.body, came.body, environ, again=again)


def _write_headers(headers: Headers, environ: Environ) -> None:
    for key in [key for key in environ if _names[key]]:
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


def _write_body(body: Body, came: Body, environ: Environ, *, again: bool) -> None:
    """Give the app the body, in memory where it is not as it came: no app knows another way to be sure of its end."""
    if not body.is_watched and not body.is_bytes and body.native is not None and body.native is came.native:
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
        self.ended = False
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
            isinstance(returned, (str, bytes, bytearray)) or not hasattr(returned, "__iter__")
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
        try:
            return next(self._chunks)
        except StopIteration:
            self.ended = True
            raise

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
        if hasattr(iterable, "close"):
            iterable.close()


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
        if self.status_changed and self._status_code in _BODILESS:
            return False
        body = call.body
        if body is None:
            return True
        if self._body is not body or body.is_bytes:
            return False
        return body.is_watched or body.native is call

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
        """Fill a slot that is empty. A lazy app is asked for its first chunk, for it says the status with it."""
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
    if type(response) is WsgiResponse:
        call: Call = response.native
        status = _said(response) if response.status_changed else call.status
        headers = _lines(response.headers, call.headers) if response.headers_changed else call.headers
        return status, headers
    return _said(response), _lines(response.headers, ())


def is_bodiless(response: Response) -> bool:
    """Tell whether no body may be sent: to HEAD, and with some statuses."""
    is_head = response.request is not None and response.request.method == "HEAD"
    return is_head or response.status_code in _BODILESS


def _said(response: Response) -> str:
    return f"{response.status_code} {response.reason}"


def _lines(headers: Headers, came: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    plain = _plain
    if not headers.keys().isdisjoint(_HOP_BY_HOP):
        own = Headers.received(came)
        for name in _HOP_BY_HOP:
            if headers.getlist(name) != own.getlist(name):
                raise ValueError(
                    f"expected headers for the client from a middleware, got {str(name)!r}, which is about the "
                    "connection, and the server's to set (PEP 3333): leave it out"
                )
    return [(plain[name], value) for name, value in headers.items()]


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
