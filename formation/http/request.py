"""The request: what a client sends and what a server got, in the same class.

>>> request = Request("post", "https://h/users", headers={"Accept": "text/html"}, json={"name": "ann"})
>>> request.method, request.name, request.content
('POST', 'POST /users', b'{"name":"ann"}')
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import define, field, fields
from multidict import MultiDict

from formation.errors import BodyConsumed
from formation.http.body import Body
from formation.http.headers import Headers, HeadersLike
from formation.http.payload import Payload, too_many
from formation.http.query import split
from formation.http.secrets import redact
from formation.http.timeouts import UNSET, Timeout, Unset, check_timeout
from formation.http.url import merge_query, to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


@define(eq=False, repr=False, init=False, match_args=False)  # its own __init__ takes half the time of a generated one
class Request(Payload):
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
    _typed: str | None = field(init=False)

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
            raise too_many(content=content, data=data, json=json, files=files)
        self._content = content
        self._data = data
        self._json = json
        self._files = files
        self._body = self._typed = None
        self._timeout = check_timeout(timeout)
        self.template = template
        self.deadline = deadline
        self.peer = peer

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
    def timeout(self) -> Timeout | Unset:
        """Seconds, or a pair (connect, read)."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: Timeout | Unset) -> None:
        self._timeout = check_timeout(value)

    # Names

    @property
    def target(self) -> str:
        """The URL with ``params`` in its query: what is sent, but for a fragment. Only the host may have non-ASCII."""
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

    # Again

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
        if self._body is None and not self._is_empty:
            self.body  # noqa: B018  made once, so that a file starts where it stood at the first attempt
        fork: Request = Request.__new__(Request)
        for name in _SHARED:
            setattr(fork, name, getattr(self, name))
        for name in _OWN:
            own = getattr(self, name)
            setattr(fork, name, None if own is None else own.copy())
        fork._body = None
        if self._body is not None:
            fork._body = body = self._body.fork()
            body.attach(fork)
        return fork

    __copy__ = fork

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


_OWN: Final = ("_headers", "_params", "_cookies", "_extensions")
_SHARED: Final = tuple(each.name for each in fields(Request) if each.name not in {*_OWN, "_body"})


def _restore(method: str, url: str, more: dict[str, Any]) -> Request:
    return Request(method, url, **more)


def _multidict(params: Any) -> MultiDict[Any]:
    return params.copy() if type(params) is MultiDict else MultiDict(split(params)[0])
