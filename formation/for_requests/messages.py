"""What goes to requests and what comes back: headers, bodies, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from formation import errors
from formation.client import wire
from formation.client.unpacking import is_ours, keeps_limits, unpacking
from formation.clock import monotonic
from formation.http import Body, Headers, Request, Response
from formation.http.response import received as made

if TYPE_CHECKING:
    from collections.abc import Iterator


def sendable(body: Body) -> tuple[Any, int | None]:
    """Return what urllib3 sends, and its length if that is known."""
    if body.is_async:
        message = f"{body!r} can only be sent by an async client"
        raise TypeError(message)
    return (body.read() or None if body.is_bytes else iter(body)), body.length


def header_dict(request: Request, defaults: Headers) -> Any:
    """Return the headers as requests has them: ``defaults``, and what ``request`` says."""
    headers = CaseInsensitiveDict(defaults)
    for name in request.headers:
        headers[str(name)] = request.headers[name]
    return headers


def pairs(headers: Any) -> Iterator[tuple[str, str]]:
    """Return the lines of requests' headers, which may be bytes."""
    for name, value in headers.items():
        yield _text(name), _text(value)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def received(native: requests.Response, request: Request, deadline: float | None, elapsed: float) -> Response:
    """Make the response of ours: whole, unless the request asks for a stream."""
    fields: Any = getattr(native.raw, "headers", None)
    headers = Headers.received((fields if hasattr(fields, "iteritems") else native.headers).items())
    response = made(native.status_code, headers, native.reason or "", request, elapsed)
    keeps_limits(request)
    stream = Stream(native, request, deadline)
    try:
        body = Body(stream, limit=wire.check_length(request, headers))
    except errors.BodyTooLarge:
        stream.close()
        raise
    if request.extensions.get("stream"):
        response.receive(body)
        return response
    response.receive(body.read())  # closes it, whatever happens
    return response


class Stream:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(self, native: requests.Response, request: Request, deadline: float | None) -> None:
        self.native, self.request, self.deadline = native, request, deadline

    def __iter__(self) -> Iterator[bytes]:
        raw = self.native.raw
        try:
            if not isinstance(raw, urllib3.BaseHTTPResponse) or raw.closed:  # of another make, or read by a hook
                yield from self.native.iter_content(wire.CHUNK)
                return
            # A stream wants bytes as soon as they come; for a whole body fewer and larger pieces are faster.
            read = raw.read1 if self.request.extensions.get("stream") or self.deadline is not None else raw.read
            ours = is_ours(raw.headers) and not raw.tell()  # else a hook has begun to read, and so to unpack
            unpack = unpacking(raw.headers, self.request)
            while chunk := read(wire.CHUNK, decode_content=not ours):
                yield from unpack(chunk) if ours else (chunk,)
                if self.deadline is not None and monotonic() >= self.deadline:  # our own connections see to it, too
                    raise errors.DeadlineExceeded("the deadline has passed while the body was read")
            yield from unpack(b"") if ours else ()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, self.deadline) from error

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.close()


def translated(error: Exception, deadline: float | None) -> errors.FormationError:
    """Return our error for one of requests or urllib3."""
    inner: Any = error.args[0] if error.args and isinstance(error, requests.ConnectionError) else error
    inner = getattr(inner, "reason", None) or inner
    parts = inner.args if isinstance(inner, urllib3.exceptions.ProtocolError) else (inner,)
    # Before each part urllib3 puts the repr of its pool.
    said = ": ".join(str(part).rpartition("): ")[2].rstrip(".") for part in parts)
    if deadline is not None and monotonic() >= deadline:
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    for ours, theirs in _TREE:
        if isinstance(error, theirs) or isinstance(inner, theirs):
            return ours(said)
    if isinstance(inner, urllib3.exceptions.ProtocolError) and any(
        isinstance(each, TimeoutError) for each in inner.args
    ):
        return errors.WriteTimeout(said)
    return errors.ProtocolError(said)


_TREE: Final[tuple[tuple[type[errors.TransportError], Any], ...]] = (
    (errors.TLSError, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)),
    (errors.ConnectError, (requests.exceptions.ProxyError, urllib3.exceptions.NewConnectionError)),
    (errors.ConnectTimeout, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)),
    (errors.ReadTimeout, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)),
)
