"""What the endpoints that call an app in the same process have in common: where the request goes, what comes back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from formation.client import wire
from formation.errors import ProtocolError
from formation.http.headers import digits
from formation.http.origins import PORTS
from formation.http.response import Response

if TYPE_CHECKING:
    from formation.http.headers import Headers
    from formation.http.request import Request

logger: Final = logging.getLogger("formation")

ERROR: Final = (500, {"Content-Type": "text/plain; charset=utf-8"}, b"Internal Server Error")
"""The answer in place of an error of the app, as servers word it."""

_DEFAULTS: Final = [("User-Agent", wire.USER_AGENT), ("Accept", "*/*")]
_BODILESS: Final = frozenset({*range(100, 200), 204, 304})  # RFC 9112, 6.3


class Target(NamedTuple):
    """Where a request goes, as a server sees it."""

    scheme: str
    host: str
    port: int
    raw_path: str
    path: bytes
    query: str
    lines: list[tuple[str, str]]


def check_prefix(prefix: str, name: str) -> str:
    """Return where an app is mounted: ``""``, or a path such as ``/api``."""
    if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
        raise ValueError(f"expected {name} as '' or a path such as '/api', got {prefix!r}")
    return prefix


def target(request: Request, prefix: str, name: str) -> Target:
    """Take the URL and the headers of ``request`` apart; Host and what clients always send are filled in.

    Raises:
        ValueError: the path is not below ``prefix``: no server would have called the app.
    """
    url = urlsplit(request.target)
    raw_path = url.path or "/"
    path = unquote_to_bytes(raw_path)
    if prefix and not (path + b"/").startswith(prefix.encode() + b"/"):
        raise ValueError(
            f"the path {raw_path!r} is not below {name} {prefix!r}, where the app is: put it into base_uri"
        )
    lines = wire.headers(request, _DEFAULTS, request.body.length)
    if "Host" not in request.headers:
        lines.insert(0, ("Host", url.netloc.rpartition("@")[2]))
    if request.body.length is None and "Content-Length" not in request.headers:
        lines.append(("Transfer-Encoding", "chunked"))
    port = url.port or PORTS.get(url.scheme, 0)
    return Target(url.scheme, url.hostname or "", port, raw_path, path, url.query, lines)


def respond(request: Request, status: int, reason: str, headers: Headers, elapsed: float) -> Response:
    """Make a response without a body, yet."""
    return Response(status, headers, reason=reason, request=request, url=request.target, elapsed=elapsed)


def failed(request: Request, error: BaseException | None, what: str, elapsed: float) -> Response:
    """Make the response that a server sends when the app has failed, and log why."""
    logger.error("%s: %s", request.name, what, exc_info=error)
    response = Response(*ERROR, request=request, url=request.target, elapsed=elapsed)
    response.headers["Content-Length"] = str(len(ERROR[2]))
    if request.method == "HEAD":
        response.receive(b"")
    return response


def has_body(request: Request, response: Response) -> bool:
    """Tell whether what the app yields is sent at all: not for HEAD, 204 and 304."""
    return request.method != "HEAD" and response.status_code not in _BODILESS


class Tally:
    """Counts what the app yields against its Content-Length, as the other end of a connection does."""

    def __init__(self, headers: Headers) -> None:
        self.announced = digits(headers.get("Content-Length"))
        self.count = 0

    def add(self, chunk: Any) -> bytes:
        """Return ``chunk``, counted.

        Raises:
            TypeError: it is no bytes.
            ProtocolError: there are more than announced.
        """
        if not isinstance(chunk, bytes):
            raise TypeError(f"expected bytes from the app as a part of its body, got {chunk!r}")
        self.count += len(chunk)
        if self.announced is not None and self.count > self.announced:
            raise self._wrong()
        return chunk

    def end(self) -> None:
        """Look at the end.

        Raises:
            ProtocolError: there are fewer than announced.
        """
        if self.announced is not None and self.count < self.announced:
            raise self._wrong()

    def _wrong(self) -> ProtocolError:
        return ProtocolError(f"the app announced {self.announced} bytes by its Content-Length and sent {self.count}")
