"""The response: what a client got and what a server answers, in the same class.

>>> response = Response(404, {"Content-Type": "application/json"}, b'{"error": "no such user"}')
>>> response.ok, response.reason, response.json()
(False, 'Not Found', {'error': 'no such user'})
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from formation.errors import DecodeError
from formation.http.body import Body, BodyLike
from formation.http.headers import Headers, HeadersLike, check_value
from formation.http.message import Message
from formation.http.request import Request
from formation.http.secrets import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from formation.http.ending import OnClose

_json = json.JSONDecoder().decode

BODILESS: Final = frozenset({*range(100, 200), 204, 205, 304})  # RFC 9110, 6.4.1, and 15.3.6
_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}


def check_status(status_code: int) -> int:
    """Return ``status_code`` if it is one."""
    if isinstance(status_code, bool) or not isinstance(status_code, int) or not 100 <= status_code <= 999:
        raise ValueError(f"expected a status code from 100 to 999, got {status_code!r}")
    return int(status_code)


@define(eq=False, repr=False, init=False, match_args=False)  # its own __init__ takes half the time of a generated one
class Response(Message):
    """A response, with the names that users of requests and httpx know.

    Args:
        status_code: 100 to 999.
        headers: a mapping or pairs; kept as `Headers`. Assigning a mapping keeps lines that did not change.
        body: bytes, ``str``, a binary file, an iterable or async iterable of bytes, or a `Body`.
        reason: the reason phrase; the standard one where none is given, and after another status is assigned.
        request: the request that it answers; after redirects, the last one.
        url: where it came from, after redirects.
        elapsed: seconds from sending the request to the head of the response, ``None`` on servers.
        history: the responses that redirected here, oldest first.
        trailers: header fields after the body, where the host has them.
        extensions: what a transport says beyond that, such as ``http_version``.

    Raises:
        ValueError: a status that is none, a header that breaks the message.
        TypeError: a body that is none.
    """

    _status_code: int
    _headers: Headers
    _body: Body | bytes  # bytes until somebody asks for a Body
    _reason: str
    request: Request | None
    url: str
    elapsed: float | None
    history: tuple[Response, ...]
    trailers: Headers | None
    _extensions: dict[str, Any] | None
    _whole: bool = field(init=False)  # it came in one piece, so that nobody will iterate over it

    def __init__(
        self,
        status_code: int,
        headers: HeadersLike | None = None,
        body: BodyLike = b"",
        *,
        reason: str = "",
        request: Request | None = None,
        url: str = "",
        elapsed: float | None = None,
        history: Iterable[Response] = (),
        trailers: Headers | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self._status_code = check_status(status_code)
        self._headers = headers.copy() if isinstance(headers, Headers) else Headers(headers)
        self._reason = check_value("reason", reason) if reason else ""
        self.request = request
        self.url = url
        self.elapsed = elapsed
        self.history = tuple(history)
        self.trailers = trailers
        self._extensions = dict(extensions) if extensions else None
        self.receive(body if isinstance(body, (bytes, Body)) else _body(body))

    def __repr__(self) -> str:
        url = redact(self.url).partition("?")[0]
        return f"<Response {self._status_code}{f' of {url}' if url else ''}>"

    # What it says

    @property
    def status_code(self) -> int:
        """The status."""
        return self._status_code

    @status_code.setter
    def status_code(self, value: int) -> None:
        value = check_status(value)
        if value != self._status_code:
            self._reason = ""
        self._status_code = value

    @property
    def code(self) -> int:
        """The status, by the name that gRPC results have as well."""
        return self._status_code

    @property
    def reason(self) -> str:
        """The reason phrase; empty where there is no standard one and none was given."""
        return self._reason or _REASONS.get(self._status_code, "")

    @reason.setter
    def reason(self, value: str) -> None:
        self._reason = check_value("reason", value)

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self._status_code < 400

    @property
    def name(self) -> str:
        """The name of the request."""
        return "" if self.request is None else self.request.name

    # The body

    @property
    def body(self) -> Body:
        """The body; assign bytes, a stream, or a generator over the old body to replace it.

        What has no body, or only a part of one, keeps it: HEAD, 1xx, 204, 205, 206, 304. The one that is replaced is
        closed with the new one.
        """
        if isinstance(self._body, bytes):
            body = Body(self._body)
            body.attach(self)
            if self._whole and self.request is not None:  # a client has read it
                body.complete(self._body)
            self._body = body
        return self._body

    @body.setter
    def body(self, value: BodyLike) -> None:
        old = self._body
        if value is old or not self.has_changeable_body():
            return
        new = value if isinstance(value, (bytes, Body)) else _body(value)
        if isinstance(old, Body) and old.has_something_to_close:
            new = new if isinstance(new, Body) else Body(new)
            new.replace(old)
        self._take(new)
        self.body_changed(len(new) if isinstance(new, bytes) else new.length)

    @property
    def in_memory(self) -> bytes | None:
        """All of the body, if it is in memory; ``None`` if it is a stream."""
        if isinstance(self._body, bytes):
            return self._body
        return self._body.read() if self._body.is_bytes else None

    @property
    def content(self) -> bytes:
        """All of the body, within its limit; a stream is read, and may be read again afterwards."""
        return self._body if isinstance(self._body, bytes) else self._body.read()

    def json(self) -> Any:
        """Return the content parsed as JSON, whatever Content-Type says.

        Raises:
            DecodeError: it is no JSON.
        """
        content = self.content
        try:
            return _json(content.decode())  # nearly always: JSON is UTF-8 (RFC 8259, 8.1)
        except (ValueError, RecursionError):
            try:
                return json.loads(content)  # which guesses other encodings, and tells what is wrong
            except (ValueError, RecursionError) as error:
                raise self.undecodable(str(error)) from error

    def undecodable(self, *problems: str) -> DecodeError:
        """Make the error that says what is wrong with this body."""
        said = self._headers.get("Content-Type", "")
        error = DecodeError(
            status_code=self._status_code, content_type=said, head=self.content[:200], problems=problems
        )
        error.request, error.response = self.request, self
        return error

    def receive(self, body: bytes | Body) -> None:
        """Take the body that came with the head. Nothing has changed by it, so the headers stay.

        Bytes are taken to be all there is and read already, where the request is known: what is still to be sent has to
        be a `Body`.
        """
        self._whole = isinstance(body, bytes)
        self._take(body)

    def _got(self, status_code: int, headers: Headers, reason: str, request: Request, elapsed: float) -> None:
        """Fill an empty response with what a transport has got, which is neither checked nor copied again."""
        self._status_code = status_code
        self._headers = headers
        self._reason = reason
        self.request = request
        self.url = request.target
        self.elapsed = elapsed
        self.history = ()
        self.trailers = self._extensions = None
        self.receive(b"")

    def _take(self, body: bytes | Body) -> None:
        self._body = body
        if isinstance(body, Body):
            body.attach(self)

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once when the body has been sent, read or dropped, see `Body.on_close`."""
        self.body.on_close(hook)

    def close(self) -> None:
        """Give up what is left of the body, and its connection."""
        if isinstance(self._body, Body):
            self._body.close()

    async def aclose(self) -> None:
        """Do what `close` does, for an ``async def``."""
        if isinstance(self._body, Body):
            await self._body.aclose()

    def has_changeable_body(self) -> bool:
        """Whether a map may change the body: there is one, and it is whole."""
        head = self.request is not None and self.request.method == "HEAD"
        partial = self._status_code == HTTPStatus.PARTIAL_CONTENT or not super().has_changeable_body()
        return not (head or partial or self._status_code in BODILESS)

    def body_changed(self, length: int | None) -> None:
        """Set the headers right after the body has changed: Content-Length, digests, and an ETag that is strong."""
        super().body_changed(length)
        headers = self._headers
        etag = headers.get("ETag")
        if etag is not None and not etag.startswith("W/"):
            headers["ETag"] = f"W/{etag}"

    def __reduce__(self) -> Any:
        """Leave a stream, the extensions and trailers behind; what remains tells which response it was."""
        body = self._body
        more = {
            "headers": self._headers,
            "body": body if isinstance(body, bytes) else body.read() if body.is_bytes else b"",
            "reason": self._reason,
            "request": self.request,
            "url": self.url,
            "elapsed": self.elapsed,
            "history": self.history,
        }
        return _restore, (self._status_code, more)


def received(status_code: int, headers: Headers, reason: str, request: Request, elapsed: float) -> Response:
    """Make the response that a transport has got, its body still to come (`Response.receive`)."""
    response: Response = Response.__new__(Response)
    response._got(status_code, headers, reason, request, elapsed)  # noqa: SLF001
    return response


def _restore(status_code: int, more: dict[str, Any]) -> Response:
    return Response(status_code, **more)


def _body(value: BodyLike) -> bytes | Body:
    body = Body(value)
    return body.read() if body.is_bytes else body
