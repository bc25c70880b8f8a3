"""The request: what a client sends and what a server got, in the same class.

>>> request = Request("post", "https://h/users", headers={"Accept": "text/html"}, json={"name": "ann"})
>>> request.method, request.name, request.content
('POST', 'POST /users', b'{"name":"ann"}')
"""

from __future__ import annotations

import json as json_
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from attrs import define, field, fields
from multidict import MultiDict

from formation.errors import BodyConsumed
from formation.http.body import Body, BodyLike, Factory, File
from formation.http.headers import Headers, HeadersLike, charset, fit_length
from formation.http.query import form, split
from formation.http.secrets import redact
from formation.http.url import merge_query, to_ascii


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
MULTIPART_TYPE: Final = "multipart/form-data"

_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_breaking = re.compile(r"[\x00-\x20\x7f]").search
_values = re.compile(r"=[^&;]*").sub


def check_method(method: str) -> str:
    """Return ``method`` in upper case if it is an HTTP method."""
    if method in _METHODS:  # nearly always, and fast
        return method
    if not isinstance(method, str) or not _token(method):
        raise ValueError(f"expected an HTTP method such as 'GET', got {method!r}")
    return method.upper()


def check_url(url: str) -> str:
    """Return ``url`` if nothing in it could end the request line."""
    if not isinstance(url, str):
        raise TypeError(f"expected a str as URL, got {url!r}")
    if _breaking(url):
        raise ValueError(f"the URL {redact(url)!r} has a space or a control character: percent-encode it")
    return url


def check_timeout(timeout: Timeout | Unset) -> Timeout | Unset:
    """Return ``timeout`` if it is one: positive seconds, a pair of them, or ``None``."""
    if timeout is UNSET or timeout is None:
        return timeout
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if len(parts) != 2 or not all(map(_is_seconds, parts)):
        raise ValueError(
            f"expected a timeout in seconds, above 0, or a pair (connect, read), got {timeout!r}: None waits for ever"
        )
    return timeout


def _is_seconds(part: object) -> bool:
    if isinstance(part, bool) or not isinstance(part, (int, float)):
        return part is None
    return 0 < part < float("inf")


@define(eq=False, repr=False, init=False, match_args=False)  # its own __init__ takes half the time of a generated one
class Request:
    """A request, with the names that users of requests and httpx know. One is made for each call; nothing is shared.

    Args:
        method: any case; kept in upper case.
        url: the absolute URL; ``params`` come on top of its query, see `target`.
        headers: a mapping or pairs; kept as `Headers`. Assigning a mapping keeps lines that did not change.
        params: query parameters, see `formation.http.query.split`; kept as a ``MultiDict``.
        cookies: name to value, for this request.
        auth: ``(user, password)``, or a function that gets the request and sets what it has to.
        content: the body: bytes, ``str``, a binary file, an iterable or async iterable of bytes, a function that makes
            one.
        data: a form, as a mapping or pairs; or the same as ``content``.
        json: anything `json.dumps` takes, but for NaN and the infinities: they are no JSON.
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

    _method: str
    _url: str
    _headers: Headers
    _params: MultiDict[Any] | None  # this and the next two are made when somebody looks
    _cookies: dict[str, str] | None
    _extensions: dict[str, Any] | None
    auth: Any
    _content: Any
    _data: Any
    _json: Any
    _files: Any
    _timeout: Timeout | Unset
    template: str | None
    deadline: float | None
    peer: str | None
    _body: Body | None = field(init=False)
    _typed: str | None = field(init=False)  # the Content-Type that came with the body

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: Any = None,
        cookies: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        auth: Any = None,
        content: Any = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        timeout: Timeout | Unset = UNSET,
        extensions: Mapping[str, Any] | None = None,
        template: str | None = None,
        deadline: float | None = None,
        peer: str | None = None,
    ) -> None:
        self._method = check_method(method)
        self._url = check_url(url)
        self._headers = headers.copy() if isinstance(headers, Headers) else Headers(headers)
        self._params = _multidict(params) if params else None
        self._cookies = dict(cookies) if cookies else None
        self._extensions = dict(extensions) if extensions else None
        self.auth = auth
        if (content is not None) + (json is not None) + (data is not None or files is not None) > 1:
            given = {"content": content, "data": data, "json": json, "files": files}
            names = " and ".join(name for name, value in given.items() if value is not None)
            raise TypeError(
                f"a request has one body: expected one of content, data and json, or data and files, got {names}"
            )
        self._content = content
        self._data = data
        self._json = json
        self._files = files
        self._timeout = check_timeout(timeout)
        self.template = template
        self.deadline = deadline
        self.peer = peer
        self._body = self._typed = None

    def __repr__(self) -> str:
        """Show the names in the query, but no values: nobody knows which of them are secret."""
        path, mark, query = redact(self._url).partition("#")[0].partition("?")
        return f"<Request {self._method} {path}{mark}{_values('=…', query)}>"

    # What is sent

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return self._method

    @method.setter
    def method(self, value: str) -> None:
        self._method = check_method(value)

    @property
    def url(self) -> str:
        """The URL, without ``params``."""
        return self._url

    @url.setter
    def url(self, value: str) -> None:
        self._url = check_url(value)

    @property
    def headers(self) -> Headers:
        """The header fields; assigning a mapping keeps lines that did not change."""
        return self._headers

    @headers.setter
    def headers(self, value: HeadersLike | None) -> None:
        if value is not self._headers:
            self._headers = self._headers.replaced(value or ())

    @property
    def params(self) -> MultiDict[Any]:
        """The query parameters that come on top of those of the URL."""
        if self._params is None:
            self._params = MultiDict()
        return self._params

    @params.setter
    def params(self, value: Any) -> None:
        self._params = _multidict(value)

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies for this request."""
        if self._cookies is None:
            self._cookies = {}
        return self._cookies

    @cookies.setter
    def cookies(self, value: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> None:
        self._cookies = dict(value or ())

    @property
    def extensions(self) -> dict[str, Any]:
        """What a transport understands beyond that."""
        if self._extensions is None:
            self._extensions = {}
        return self._extensions

    @extensions.setter
    def extensions(self, value: Mapping[str, Any] | None) -> None:
        self._extensions = dict(value or ())

    @property
    def timeout(self) -> Timeout | Unset:
        """Seconds, or a pair (connect, read)."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: Timeout | Unset) -> None:
        self._timeout = check_timeout(value)

    # Names

    @property
    def target(self) -> str:
        """The URL with ``params`` in its query: what is sent, so that nothing but its host has other than ASCII."""
        url = merge_query(self._url, split(self._params)[0]) if self._params else self._url
        return url if url.isascii() else to_ascii(url)

    @property
    def path(self) -> str:
        """The path of the URL, ``/`` if it has none."""
        return urlsplit(self._url).path or "/"

    @property
    def host(self) -> str:
        """The host of the URL."""
        return urlsplit(self._url).hostname or ""

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return urlsplit(self._url).scheme

    @property
    def name(self) -> str:
        """``GET /repos/{owner}``: the method with the template, or with the path where there is none."""
        return f"{self._method} {self.path if self.template is None else self.template}"

    # The body

    @property
    def body(self) -> Body:
        """The body as it is sent, made of whichever of ``content``, ``data``, ``json`` and ``files`` is given.

        Assigning takes what the argument ``content`` takes, a generator over the old body for example.
        """
        if self._body is None:
            body, content_type = _encode(self._content, self._data, self._json, self._files)
            self._body = body
            body.attach(self)
            if content_type is not None:
                given = self._headers.get("Content-Type", "")
                if not given or (self._files is not None and _media_type(given) == MULTIPART_TYPE):  # another boundary
                    self._headers["Content-Type"] = self._typed = content_type
            if body.length is not None:
                self.body_changed(body.length)
        return self._body

    @body.setter
    def body(self, value: BodyLike) -> None:
        self._change(content=value)

    @property
    def in_memory(self) -> bytes | None:
        """All of the body, if it is in memory; ``None`` if it is a stream."""
        if self._body is None and self._content is self._data is self._json is self._files is None:
            return b""  # nearly always, and without making a `Body`
        return self.body.read() if self.body.is_bytes else None

    @property
    def content(self) -> bytes:
        """All of the body, within its limit. Assigning takes what the argument ``content`` takes."""
        return self.body.read()

    @content.setter
    def content(self, value: Any) -> None:
        self._change(content=value)

    @property
    def text(self) -> str:
        """The content, decoded by the charset of Content-Type, else as UTF-8; what does not decode becomes U+FFFD."""
        return self.content.decode(charset(self._headers), "replace")

    @property
    def data(self) -> Any:
        """The form, as it was given, or ``None``."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._change(data=value, files=self._files)

    @property
    def files(self) -> Any:
        """The files, as they were given, or ``None``."""
        return self._files

    @files.setter
    def files(self, value: Any) -> None:
        self._change(data=self._data, files=value)

    @property
    def json(self) -> Any:
        """What was given as ``json``; otherwise the content parsed, ``None`` if there is none.

        Raises:
            ValueError: the content is no JSON.
        """
        if self._json is not None:
            return self._json
        content = self.content
        try:
            return json_.loads(content) if content else None
        except RecursionError as error:
            raise ValueError("the JSON is nested too deep") from error

    @json.setter
    def json(self, value: Any) -> None:
        self._change(json=value)

    def _change(self, *, content: Any = None, data: Any = None, json: Any = None, files: Any = None) -> None:
        """Take another body in the place of the one there was; a content type that came with that one goes."""
        given, old = self._headers.get("Content-Type"), self._body
        if given is not None:
            typed = json is not None or files is not None or _is_form(data)
            if given == self._typed or (typed and _media_type(given) in {JSON_TYPE, FORM_TYPE, MULTIPART_TYPE}):
                del self._headers["Content-Type"]
        self._content, self._data, self._json, self._files = content, data, json, files
        self._body = self._typed = None
        if old is not None and old is not self.body:
            self.body.replace(old)
        if "Content-Length" in self._headers:
            self.body_changed(self.body.length)

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
            raise BodyConsumed(
                f"the body of {self.name} is a one-shot stream and has been sent: "
                "give bytes, a file, or a function that makes the stream"
            )

    def fork(self) -> Request:
        """Return a request of its own for another attempt.

        What is done to its headers, parameters, cookies, extensions and body, such as a map, is not done here. A stream
        is still one stream: `rewind` this request before the next fork is sent.
        """
        if self._body is None and (self._content, self._data, self._json, self._files) != (None,) * 4:
            self.body  # noqa: B018  made once, so that a file starts where it stood at the first attempt
        fork: Request = Request.__new__(Request)
        for name in _FIELDS:
            setattr(fork, name, getattr(self, name))
        for name in _OWN:
            if (own := getattr(self, name)) is not None:
                setattr(fork, name, own.copy())
        if self._body is not None:
            body = self._body.fork()
            body.attach(fork)
            fork._body = body
        return fork

    __copy__ = fork

    def has_changeable_body(self) -> bool:
        """Whether a map may change the body: not where it is part of something."""
        return "Content-Range" not in self._headers

    def body_changed(self, length: int | None) -> None:
        """Set the headers right after the body has changed."""
        fit_length(self._headers, length)

    def __reduce__(self) -> Any:
        """Leave a stream, auth and extensions behind; what remains tells which request it was."""
        content = None
        if self._body is not None or not self._files:
            with suppress(TypeError, ValueError):  # no JSON, no form
                content = self.body.read() if self.body.is_bytes else None
        more = {
            "headers": self._headers,
            "params": self._params and [(str(name), value) for name, value in self._params.items()],
            "cookies": self._cookies,
            "content": content,
            "timeout": self._timeout,
            "template": self.template,
            "peer": self.peer,
        }
        return _restore, (self._method, self._url, more)


_FIELDS: Final = tuple(attribute.name for attribute in fields(Request))
_OWN: Final = ("_headers", "_params", "_cookies", "_extensions")


def _restore(method: str, url: str, more: dict[str, Any]) -> Request:
    return Request(method, url, **more)


def _multidict(params: Any) -> MultiDict[Any]:
    return params.copy() if type(params) is MultiDict else MultiDict(split(params)[0])


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _encode(content: Any, data: Any, json: Any, files: Any) -> tuple[Body, str | None]:
    """Make the body, and the content type that goes with it."""
    if files is not None:
        from formation.http.multipart import Multipart  # few requests need it

        multipart = Multipart(data, files)
        return Body(multipart), multipart.content_type
    if json is not None:
        return Body(json_.dumps(json, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()), JSON_TYPE
    if _is_form(data):
        return Body(form(data)), FORM_TYPE
    return _body(content if data is None else data), None


def _body(content: Any) -> Body:
    if content is None or isinstance(content, (bytes, str)):
        return Body(content)
    if isinstance(content, Body):
        return content
    if hasattr(content, "__aiter__") and not hasattr(content, "__iter__"):
        return Body(content)
    if hasattr(content, "read"):
        return Body(File(content))
    if callable(content) and not hasattr(content, "__iter__"):
        return Body(Factory(content))
    return Body(content)


def _is_form(data: Any) -> bool:
    """Whether ``data`` has fields: a mapping, pairs, or an object with attributes; else it is a body as it stands."""
    if isinstance(data, (list, tuple)):
        return all(isinstance(each, (list, tuple)) and len(each) == 2 for each in data)
    if data is None or isinstance(data, (bytes, bytearray, memoryview, str, Mapping)):
        return isinstance(data, Mapping)
    return not (hasattr(data, "read") or isinstance(data, (Iterable, AsyncIterable, Callable)))  # type: ignore[arg-type]
