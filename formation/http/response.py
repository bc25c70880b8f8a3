"""The response: what a client got and what a server answers, in the same class.

>>> response = Response(status_code=404, headers={"Content-Type": "application/json"}, body=b'{"error": "no such user"}')
>>> response.ok, response.reason, response.json()
(False, 'Not Found', {'error': 'no such user'})
"""

from __future__ import annotations

import codecs
import json
from http import HTTPStatus
from typing import Any

from attrs import define, field

from formation.errors import DecodeError
from formation.http.body import Body, BodyLike, OnClose
from formation.http.headers import Headers, HeadersLike
from formation.http.request import Request
from formation.http.url import redact

_BODILESS = frozenset({*range(100, 200), 204, 205, 304})  # RFC 9110, 6.4.1, and 15.3.6


def _headers(value: HeadersLike | None) -> Headers:
    return value if isinstance(value, Headers) else Headers(value)


def _set_headers(response: Response, _: Any, value: HeadersLike | None) -> Headers:
    return response.headers.replaced(value or ())


def _status(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 999:  # noqa: PLR2004
        message = f"expected a status code from 100 to 999, got {value!r}"
        raise ValueError(message)
    return int(value)


def _set_body(response: Response, _: Any, value: BodyLike) -> BodyLike:
    old = response._body  # noqa: SLF001
    if value is old:
        return value
    if not isinstance(value, (bytes, Body)):
        value = Body(value)
    if isinstance(value, Body):
        if isinstance(old, Body) and value is not old:
            value._under = value._under or old  # noqa: SLF001  closing the new one closes the old one
            value.limit = old.limit if value.limit is None else value.limit
        value.attach(response)
    response.body_changed(len(value) if isinstance(value, bytes) else value.length)
    return value


@define(eq=False, repr=False)
class Response:
    """A response, with the names that users of requests and httpx know.

    Args:
        status_code: 100 to 999.
        headers: `Headers`, or whatever they can be made of. Assigning a mapping keeps lines that did not change.
        body: bytes, ``str``, an iterable or async iterable of bytes, or a `Body`.
        reason: the reason phrase; the standard one where none is given.
        request: the request that it answers; after redirects, the last one.
        url: where it came from, after redirects.
        elapsed: seconds from sending the request to the head of the response, ``None`` on servers.
        history: the responses that redirected here, oldest first.
        trailers: header fields after the body, where the host has them.
        extensions: what a transport says beyond that, such as ``http_version``.

    Raises:
        ValueError: a status that is none, a header that breaks the message.
    """

    status_code: int = field(converter=_status)
    headers: Headers = field(default=None, converter=_headers, on_setattr=_set_headers)
    _body: Any = field(default=b"", on_setattr=_set_body)
    reason: str = field(default="", kw_only=True)
    request: Request | None = field(default=None, kw_only=True)
    url: str = field(default="", kw_only=True)
    elapsed: float | None = field(default=None, kw_only=True)
    history: tuple[Response, ...] = field(default=(), kw_only=True)
    trailers: Headers | None = field(default=None, kw_only=True)
    extensions: dict[str, Any] = field(factory=dict, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.reason:
            self.reason = _reason(self.status_code)
        if not isinstance(self._body, bytes):
            self.receive(self._body if isinstance(self._body, Body) else Body(self._body))

    def __repr__(self) -> str:
        return f"<Response {self.status_code}{f' of {redact(self.url)}' if self.url else ''}>"

    # What it says

    @property
    def code(self) -> int:
        """The status, by the name that gRPC results have as well."""
        return self.status_code

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400  # noqa: PLR2004

    @property
    def name(self) -> str:
        """The name of the request."""
        return "" if self.request is None else self.request.name

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without parameters; empty if there is none."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset of the text: what Content-Type says if Python knows it, else UTF-8."""
        for parameter in str(self.headers.get("Content-Type", "")).split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                try:
                    return codecs.lookup(value.strip().strip("\"'")).name
                except LookupError:
                    break
        return "utf-8"

    # The body

    @property
    def body(self) -> Body:
        """The body; assign bytes, a stream, or a generator over the old body to replace it."""
        if isinstance(self._body, bytes):
            body = Body(self._body)
            body.attach(self)
            if self.request is not None:  # a client has read it
                body.complete(self._body)
            object.__setattr__(self, "_body", body)
        return self._body  # type: ignore[no-any-return]

    @body.setter
    def body(self, value: BodyLike) -> None:
        self._body = value

    @property
    def content(self) -> bytes:
        """All of the body, within its limit; a stream is read, and may be read again afterwards."""
        return self._body if isinstance(self._body, bytes) else self._body.read()  # type: ignore[no-any-return]

    @property
    def text(self) -> str:
        """The content, decoded by `charset`; what does not decode becomes U+FFFD."""
        return self.content.decode(self.charset, "replace")

    def json(self) -> Any:
        """Return the content parsed as JSON, whatever Content-Type says.

        Raises:
            DecodeError: it is no JSON.
        """
        content = self.content
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.undecodable(str(error)) from error

    def undecodable(self, *problems: str) -> DecodeError:
        """Make the error that says what is wrong with this body."""
        said = str(self.headers.get("Content-Type", ""))
        error = DecodeError(status_code=self.status_code, content_type=said, head=self.content[:200], problems=problems)
        error.request, error.response = self.request, self
        return error

    def receive(self, body: bytes | Body) -> None:
        """Take the body that came with the head. Nothing has changed by it, so the headers stay."""
        object.__setattr__(self, "_body", body)
        if isinstance(body, Body):
            body.attach(self)

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once when the body has been sent, read or dropped, see `Body.on_close`."""
        self.body.on_close(hook)

    def close(self) -> None:
        """Give up what is left of the body, and its connection."""
        if not isinstance(self._body, bytes):
            self._body.close()

    def has_changeable_body(self) -> bool:
        """Whether a map may change the body: there is one, and it is whole."""
        head = self.request is not None and self.request.method == "HEAD"
        partial = self.status_code == HTTPStatus.PARTIAL_CONTENT or "Content-Range" in self.headers
        return not (head or partial or self.status_code in _BODILESS)

    def body_changed(self, length: int | None) -> None:
        """Set the headers right after the body has changed: Content-Length, and an ETag that no longer is strong."""
        headers = self.headers
        if "Content-Length" in headers:
            if length is None:
                del headers["Content-Length"]
            else:
                headers["Content-Length"] = str(length)
        etag = headers.get("ETag")
        if etag is not None and not etag.startswith("W/"):
            headers["ETag"] = f"W/{etag}"

    def __reduce__(self) -> Any:
        """Leave a stream and the host's objects behind; what remains tells which response it was."""
        content = self._body if isinstance(self._body, bytes) else self._body.read() if self._body.is_bytes else b""
        return _restore, (self.status_code, list(self.headers.items()), content, self.reason, self.request, self.url, self.elapsed)


def _restore(  # noqa: PLR0913, PLR0917  what pickle passes
    status_code: int,
    headers: list[tuple[str, str]],
    content: bytes,
    reason: str,
    request: Request | None,
    url: str,
    elapsed: float | None,
) -> Response:
    return Response(status_code, headers, content, reason=reason, request=request, url=url, elapsed=elapsed)


def _reason(status_code: int) -> str:
    try:
        return HTTPStatus(status_code).phrase
    except ValueError:
        return ""
