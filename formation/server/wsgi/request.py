"""The environ of a WSGI host as a request (PEP 3333), and a request written back into an environ.

A request is read from the environ, and what a middleware has changed is written into it, for the app reads nothing
else. What has come stays known, so that a fork of the request for another attempt does not begin with what the first
one has written.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlsplit

from multidict import istr

from formation.errors import BodyConsumed, BodyTooLarge
from formation.http.body import Body
from formation.http.headers import LONG, Headers, digits
from formation.http.origins import PORTS
from formation.http.sources import CHUNK
from formation.server.request import ServerRequest, authority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from formation.http.request import Request

Environ: TypeAlias = dict[str, Any]

MANY: Final = 2048
"""Names of headers that are remembered: far more than clients have, and clients make names up."""

_PATH: Final = "/:;=@&+$!*'(),~"  # what may stand in a path as it is (RFC 3986, 3.3)
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
_names: Final[dict[str, str]] = {}  # keys of environs, and the headers that they are, if any
_rule = re.compile(r"<(?:[^<>]*:)?([^<>:]+)>").sub


class Came:
    """What came from the server, for a request and its forks: to read from, whatever is written into its environ."""

    __slots__ = ("environ", "inputs", "limit", "live")

    def __init__(self, environ: Environ, limit: int | None) -> None:
        self.live = self.environ = environ
        self.limit = limit
        self.inputs: list[_Input] = []  # as they are asked for

    def keep(self) -> None:
        """Keep what came: the environ is going to be written into."""
        if self.environ is self.live:
            self.environ = self.live.copy()

    def is_too_large(self, error: BaseException) -> bool:
        """Whether ``error`` says that the body of this request is too large."""
        return isinstance(error, BodyTooLarge) and error.got in [each.count for each in self.inputs]


class WsgiRequest(ServerRequest):
    """A request in an environ."""

    __slots__ = ()
    has_aside = True
    native: Came

    def __init__(self, came: Came) -> None:
        super().__init__(came, came.environ["REQUEST_METHOD"], came.environ.get("REMOTE_ADDR"))

    @property
    def is_changed(self) -> bool:
        """Whether something may have to be written back; asked for each request, so without detours."""
        came = self._came
        live = self.native.live
        if self._method != live["REQUEST_METHOD"] or self.peer != live.get("REMOTE_ADDR"):
            return True
        if not came:
            return False
        if len(came) == 1 and "_headers" in came:
            return self.headers_changed
        return self.headers_changed or self.url_changed or self.body_read

    def read_url(self) -> str:
        """Put the URL together, as PEP 3333 has it."""
        environ = self.native.environ
        scheme, host = environ["wsgi.url_scheme"], environ.get("HTTP_HOST")
        if not host:
            host, port = environ["SERVER_NAME"], str(environ["SERVER_PORT"])
            if port != str(PORTS.get(scheme)):
                host = f"{host}:{port}"
        path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"), _PATH)
        if path[:1] != "/":  # the target of OPTIONS *, for one, is no part of the host
            path = f"/{path}"
        query = (environ.get("QUERY_STRING") or "").replace("#", "%23")  # nobody sends a fragment
        url = f"{scheme}://{authority(host)}{path}"
        return f"{url}?{query}" if query else url

    def read_headers(self) -> Headers:
        """Read the headers; a server has joined the lines of a name."""
        environ = self.native.environ
        try:
            names = _names
            lines = [(name, value) for key, value in environ.items() if (name := names[key])]
        except KeyError:  # a new name
            lines = [(name, value) for key, value in environ.items() if (name := _header_of(key))]
        headers = Headers.received(lines)
        if environ.get("CONTENT_TYPE") == "":  # some servers have these always
            del headers["Content-Type"]
        if environ.get("CONTENT_LENGTH") == "":
            del headers["Content-Length"]
        return headers

    def read_body(self) -> Body:
        """Make a body that reads ``wsgi.input``, as far as it may."""
        environ = self.native.environ
        length = environ.get("CONTENT_LENGTH") or ""
        if not length.isdecimal():
            left = None if environ.get("wsgi.input_terminated") else 0
        elif (left := digits(length)) is None:
            left = maxsize  # what is too long to count never comes, so the body is one that is cut off
        if left == 0:
            return Body(b"")
        source = _Input(environ["wsgi.input"], left)
        self.native.inputs.append(source)
        return Body(source, limit=self.native.limit)


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
            raise OSError(
                f"expected {self.length} bytes of the request's body, got {self.count}: the client is gone, or the app "
                "has read it: read request.content before call(ctx)"
            )


def write_back(request: Request, came: Came, *, again: bool) -> None:
    """Write into the environ what somebody has changed in the request: the one that came, a fork of it, or another one.

    With ``again`` the app has been called before, so that the environ may say what another request said.

    Raises:
        BodyConsumed: the app has had the body already, and nobody has kept it.
        BodyTooLarge: a body that streams, through a map for example, is larger than the limit.
    """
    environ = came.live
    if isinstance(request, WsgiRequest) and not again:
        headers, url, body = request.headers_changed, request.url_changed, request.body_read
    else:
        now = WsgiRequest(Came(environ, None))
        headers = list(request.headers.items()) != list(now.headers.items())
        url, body = request.target != now.url, True
    came.keep()
    if environ["REQUEST_METHOD"] != request.method:
        environ["REQUEST_METHOD"] = request.method
    if request.peer is not None:  # a request that a middleware makes says none
        environ["REMOTE_ADDR"] = request.peer
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
    came, url = urlsplit(WsgiRequest(Came(environ, None)).url), urlsplit(target)
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
        if again and not _has_none(environ):
            raise BodyConsumed(
                "the app is called again, and has had the body of the request: read request.content before call(ctx)"
            )
        return
    content = body.read()
    body.end()
    if not content and environ.get("CONTENT_LENGTH", "") in {"", "0"}:
        return
    environ["wsgi.input"] = io.BytesIO(content)
    environ["CONTENT_LENGTH"] = str(len(content))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def _has_none(environ: Environ) -> bool:
    """Whether there is no body, though the server would end one (RFC 9112, 6.3)."""
    lengths = environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
    return not any(lengths) and environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1.")


def _header_of(key: str) -> str:
    """Return the header that a key of an environ stands for, if it does."""
    name = ""
    if key in _UNPREFIXED or (key.startswith("HTTP_") and key[5:] not in _UNPREFIXED):
        name = istr(key.removeprefix("HTTP_").replace("_", "-").title())  # the form that a multidict takes fastest
    if len(_names) < MANY and len(key) < LONG:
        _names[key] = name
    return name


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
