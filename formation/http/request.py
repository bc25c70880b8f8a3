"""The request: what a client sends and what a server got, in the same class.

>>> request = Request("post", "https://h/users", headers={"Accept": "text/html"}, json={"name": "ann"})
>>> request.method, request.name, request.content
('POST', 'POST /users', b'{"name":"ann"}')
"""

from __future__ import annotations

import json as json_
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from copy import copy
from enum import Enum
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from attrs import define, field
from multidict import MultiDict

from formation.errors import BodyConsumed
from formation.http.body import Body, BodyLike, Factory, File
from formation.http.headers import Headers, HeadersLike
from formation.http.query import form, split
from formation.http.url import merge_query, redact


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Nobody has said anything. ``None`` is something to say: ``timeout=None`` waits for ever, on purpose."""

Timeout: TypeAlias = float | tuple[float | None, float | None] | None
"""Seconds for connecting and for reading, the same for both or a pair; ``None`` waits for ever."""

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BREAKING: Final = re.compile(r"[\x00-\x20\x7f]")


def _method(value: str) -> str:
    if not isinstance(value, str) or not _METHOD.fullmatch(value):
        message = f"expected an HTTP method such as 'GET', got {value!r}"
        raise ValueError(message)
    return value.upper()


def _url(value: str) -> str:
    if not isinstance(value, str):
        message = f"expected a str as URL, got {value!r}"
        raise TypeError(message)
    if _BREAKING.search(value):
        message = f"the URL {value!r} has a space or a control character: percent-encode it"
        raise ValueError(message)
    return value


def _set_headers(request: Request, _: Any, value: HeadersLike | None) -> Headers:
    return request.headers.replaced(value or ())


def _headers(value: HeadersLike | None) -> Headers:
    return value if isinstance(value, Headers) else Headers(value)


def _params(value: Any) -> MultiDict[Any]:
    if isinstance(value, MultiDict):
        return value
    return MultiDict(split(value)[0] if value else ())


def check_timeout(value: Timeout | Unset) -> Timeout | Unset:
    """Return ``value`` if it is a timeout: positive seconds, a pair of them, or ``None``."""
    if value is UNSET or value is None:
        return value
    parts = value if isinstance(value, tuple) else (value, value)
    good = len(parts) == 2 and all(p is None or (isinstance(p, (int, float)) and not isinstance(p, bool) and p > 0) for p in parts)  # noqa: PLR2004
    if not good:
        message = f"expected a timeout in seconds, above 0, or a pair (connect, read), got {value!r}"
        raise ValueError(message)
    return value


@define(eq=False, repr=False)
class Request:
    """A request, with the names that users of requests and httpx know. One is made for each call; nothing is shared.

    Args:
        method: any case; kept in upper case.
        url: the absolute URL; ``params`` come on top of its query, see `target`.
        headers: `Headers`, or whatever they can be made of. Assigning a mapping keeps lines that did not change.
        params: query parameters, see `formation.http.query.split`; a ``MultiDict``.
        cookies: name to value, for this request.
        auth: ``(user, password)``, or a function that gets the request and sets what it has to.
        content: the body: bytes, ``str``, a binary file, an iterable or async iterable of bytes, a function that makes one.
        data: a form, as a mapping or pairs; or the same as ``content``.
        json: anything `json.dumps` takes.
        files: files of a multipart form, ``data`` are its fields; see `formation.http.multipart.Multipart`.
        timeout: seconds, or ``(connect, read)``; `UNSET`: the client's default.
        extensions: what a transport understands beyond that.
        template: the path before its parameters were filled in: the name for logs and metrics that does not explode.
        deadline: monotonic time by which the caller wants the answer, where a server got one.
        peer: the address of the other side, where a server knows it.

    Raises:
        ValueError: a URL with control characters, a method that is none, a timeout of zero or less.
        TypeError: more than one of ``content``, ``data`` and ``json`` (``files`` goes with ``data``).
    """

    method: str = field(converter=_method)
    url: str = field(converter=_url)
    headers: Headers = field(default=None, converter=_headers, on_setattr=_set_headers, kw_only=True)
    params: MultiDict[Any] = field(default=None, converter=_params, kw_only=True)
    cookies: dict[str, str] = field(default=None, converter=lambda value: dict(value or ()), kw_only=True)
    auth: Any = field(default=None, kw_only=True)
    _content: Any = field(default=None, kw_only=True)
    _data: Any = field(default=None, kw_only=True)
    _json: Any = field(default=None, kw_only=True)
    _files: Any = field(default=None, kw_only=True)
    timeout: Timeout | Unset = field(default=UNSET, converter=check_timeout, kw_only=True)
    extensions: dict[str, Any] = field(factory=dict, kw_only=True)
    template: str | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    peer: str | None = field(default=None, kw_only=True)
    _body: Body | None = field(default=None, init=False, repr=False)
    _typed: str | None = field(default=None, init=False, repr=False)  # the Content-Type that came with the body

    def __attrs_post_init__(self) -> None:
        given = {"content": self._content, "data": self._data, "json": self._json, "files": self._files}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1 and given.keys() != {"data", "files"}:
            message = f"a request has one body: expected one of content, data and json, or data and files, got {' and '.join(given)}"
            raise TypeError(message)

    def __repr__(self) -> str:
        return f"<Request {self.method} {redact(self.url)}>"

    # Names

    @property
    def target(self) -> str:
        """The URL with ``params`` in its query: what is sent."""
        return merge_query(self.url, split(self.params)[0]) if self.params else self.url

    @property
    def path(self) -> str:
        """The path of the URL, ``/`` if it has none."""
        return urlsplit(self.url).path or "/"

    @property
    def host(self) -> str:
        """The host of the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return urlsplit(self.url).scheme

    @property
    def name(self) -> str:
        """``GET /repos/{owner}``: the method with the template, or with the path where there is none."""
        return f"{self.method} {self.path if self.template is None else self.template}"

    # The body

    @property
    def body(self) -> Body:
        """The body as it is sent, made of whichever of ``content``, ``data``, ``json`` and ``files`` is given."""
        if self._body is None:
            self._body, content_type = _encode(self)
            self._body.attach(self)
            if content_type is not None and "Content-Type" not in self.headers:
                self.headers["Content-Type"] = self._typed = content_type
        return self._body

    @body.setter
    def body(self, value: BodyLike) -> None:
        self._change(_content=value)

    @property
    def content(self) -> bytes:
        """All of the body. Assigning takes what the argument ``content`` takes."""
        return self.body.read()

    @content.setter
    def content(self, value: Any) -> None:
        self._change(_content=value)

    @property
    def text(self) -> str:
        """The content as UTF-8; what does not decode becomes U+FFFD."""
        return self.content.decode("utf-8", "replace")

    @property
    def data(self) -> Any:
        """The form, as it was given, or ``None``."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._change(_data=value, _files=self._files)

    @property
    def files(self) -> Any:
        """The files, as they were given, or ``None``."""
        return self._files

    @files.setter
    def files(self, value: Any) -> None:
        self._change(_data=self._data, _files=value)

    @property
    def json(self) -> Any:
        """What was given as ``json``; otherwise the content parsed, ``None`` if there is none.

        Raises:
            ValueError: the content is no JSON.
        """
        if self._json is not None:
            return self._json
        content = self.content
        return json_.loads(content) if content else None

    @json.setter
    def json(self, value: Any) -> None:
        self._change(_json=value)

    def _change(self, *, _content: Any = None, _data: Any = None, _json: Any = None, _files: Any = None) -> None:
        """Take another body in the place of the one there was; a content type that we set goes with it."""
        if self._typed is not None and self.headers.get("Content-Type") == self._typed:
            del self.headers["Content-Type"]
        self._content, self._data, self._json, self._files = _content, _data, _json, _files
        self._body = self._typed = None

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time: bytes, forms, JSON, seekable files, functions that make one."""
        return self.body.replayable

    def rewind(self) -> None:
        """Make ready to be sent again.

        Raises:
            BodyConsumed: the body was a one-shot stream.
        """
        if self._body is not None and not self._body.rewind():
            what = f"the body of {self.name} is a one-shot stream and has been sent: give bytes, a file, or a function that makes the stream"
            raise BodyConsumed(what)

    def fork(self) -> Request:
        """Return a request of its own for another attempt.

        The body is made of this one's, so that what is done to it there, such as a map, is not done here. A stream is
        still one stream: `rewind` this request before the next fork is sent.
        """
        body = self.body  # made once, so that a file starts where it stood at the first attempt
        fork = copy(self)
        for name in ("headers", "params", "cookies", "extensions"):
            object.__setattr__(fork, name, getattr(self, name).copy())
        object.__setattr__(fork, "_body", own := body.fork())
        own.attach(fork)
        return fork

    def __copy__(self) -> Request:
        copied = Request.__new__(Request)
        for name in _FIELDS:
            object.__setattr__(copied, name, getattr(self, name))
        return copied

    def has_changeable_body(self) -> bool:
        """Whether a map may change the body."""
        return True

    def body_changed(self, length: int | None) -> None:
        """Set the headers right after the body has changed."""
        if "Content-Length" in self.headers:
            if length is None:
                del self.headers["Content-Length"]
            else:
                self.headers["Content-Length"] = str(length)

    def __reduce__(self) -> Any:
        """Leave a stream behind; what remains tells which request it was."""
        body = self.body
        content = body.read() if body.is_bytes else None
        return _restore, (self.method, self.url, list(self.headers.items()), self.template, content)


_FIELDS: Final = tuple(name for name in Request.__slots__ if name != "__weakref__")


def _restore(method: str, url: str, headers: list[tuple[str, str]], template: str | None, content: bytes | None) -> Request:
    return Request(method, url, headers=headers, template=template, content=content)


def _encode(request: Request) -> tuple[Body, str | None]:
    """Make the body, and the content type that goes with it."""
    if request._files is not None:  # noqa: SLF001  these are its parts
        from formation.http.multipart import Multipart  # noqa: PLC0415  few requests need it

        multipart = Multipart(request._data, request._files)  # noqa: SLF001
        return Body(multipart), multipart.content_type
    if request._json is not None:  # noqa: SLF001
        text = json_.dumps(request._json, separators=(",", ":"), ensure_ascii=False, allow_nan=False)  # noqa: SLF001
        return Body(text.encode()), JSON_TYPE
    data = request._data  # noqa: SLF001
    if _is_form(data):
        return Body(form(data)), FORM_TYPE
    return _body(request._content if data is None else data), None  # noqa: SLF001


def _body(content: Any) -> Body:
    if isinstance(content, Body):
        return content
    if hasattr(content, "read"):
        return Body(File(content))
    if callable(content):
        return Body(Factory(content))
    return Body(content)


def _is_form(data: Any) -> bool:
    """Whether ``data`` has fields: a mapping, pairs, or an object with attributes; else it is a body as it stands."""
    if isinstance(data, (list, tuple)):
        return all(isinstance(each, (list, tuple)) and len(each) == 2 for each in data)  # noqa: PLR2004
    streamed = (bytes, bytearray, memoryview, str, Iterable, AsyncIterable, Callable)
    return data is not None and (isinstance(data, Mapping) or not (hasattr(data, "read") or isinstance(data, streamed)))  # type: ignore[arg-type]
