"""The request of a server: what the host has got, read only as far as somebody asks.

Most middlewares look at one header, or at none. So the slots of a `Request` are left empty here, and filled when they
are read for the first time: Python calls ``__getattr__`` for a slot that is empty, and never again.

What a middleware changes, the app gets. What nobody has touched, the edge passes on as the very object it is.
"""

# ruff: noqa: SLF001  a fork is a request as well

from __future__ import annotations

import re
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

from multidict import MultiDict, getversion

from formation.http.cookies import received
from formation.http.query import split
from formation.http.request import Request, check_url
from formation.http.timeouts import UNSET
from formation.http.url import merge_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from formation.http.body import Body
    from formation.http.headers import Headers


MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of a body that a middleware may read into memory, unless an edge is told otherwise: what Quart lets a client
send. Without a limit anybody could fill the memory."""


def check_max_body(max_body: Any) -> int | None:
    """Return ``max_body`` if it is a number of bytes, or ``None``: no limit."""
    if max_body is not None and (isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 0):
        raise ValueError(f"expected max_body as a number of bytes, or None, got {max_body!r}")
    return max_body


State: TypeAlias = tuple[int, int]


def state(fields: Any) -> State:
    """Return what tells whether headers or parameters have been changed or replaced since."""
    return id(fields), getversion(fields)


_AUTHORITY: Final = re.compile(r"[\w.~!$&'()*+,;=%-]*(:\d*)?|\[[\da-fA-F:.]+\](:\d*)?", re.ASCII)


def authority(host: str) -> str:
    """Return a Host header as it stands in a URL: the client's word, of which nothing may be read as a path."""
    if _AUTHORITY.fullmatch(host):
        if host[:1] != "[":
            return host
        with suppress(ValueError):  # no address of IPv6 after all
            urlsplit(f"//{host}")
            return host
    return quote(host, safe=":", encoding="latin-1", errors="replace")


class ServerRequest(Request):
    """A request that a server has got. An edge makes a subclass of it, which can read what the host has.

    ``url`` is the whole URL, as the client has asked for it. ``params`` are the parameters in its query, ``cookies``
    those of its Cookie header; a change to ``params`` changes the query, a change to ``cookies`` is for the chain only.
    ``timeout`` means nothing here.
    """

    __slots__ = ("_came", "native")

    headers = property(  # read most of all, so without a frame of Python
        attrgetter("_headers"),
        Request.headers.fset,  # type: ignore[attr-defined]
        doc="The header fields; assigning a mapping keeps lines that did not change.",
    )

    has_aside = False
    """Whether the edge can call the app once more, apart from this exchange, see `formation.resilience.forks.aside`."""

    def __init__(self, native: Any, method: str, peer: str | None) -> None:
        self.native = native
        self._came: dict[str, Any] = {}  # what there was, of what somebody has read
        self._method = method
        self.peer = peer

    # What an edge says

    def read_url(self) -> str:
        """Return the URL."""
        raise NotImplementedError

    def read_headers(self) -> Headers:
        """Return the headers."""
        raise NotImplementedError

    def read_body(self) -> Body:
        """Return the body, unread."""
        raise NotImplementedError

    # What an edge asks

    def is_as_it_came(self, method: str, peer: str | None) -> bool:
        """Whether the app is to get what came: asked for each request, so without detours. It says no in doubt."""
        came = self._came
        if came and (len(came) > 1 or "_headers" not in came or self.headers_changed):
            return False
        return self._method == method and self.peer == peer

    @property
    def url_changed(self) -> bool:
        """Whether the app is to get another URL than the one that came."""
        return "_url" in self._came and self.target != self._came["_url"]

    @property
    def headers_changed(self) -> bool:
        """Whether the app is to get other headers than those that came."""
        came = self._came
        if "_headers" not in came:
            return False
        headers: Any = self._headers
        return bool(came["_headers"] != (id(headers), getversion(headers)))  # `state`

    @property
    def body_read(self) -> bool:
        """Whether somebody has looked at the body, so that the app gets it from here."""
        return "_body" in self._came

    # How

    def fork(self) -> ServerRequest:
        """Return a request of its own for another attempt; what nobody has read yet stays unread in both."""
        cls = type(self)
        fork = cls.__new__(cls)
        for name in _slots(cls):
            with suppress(AttributeError):  # an empty one
                setattr(fork, name, getattr(cls, name).__get__(self))
        fork._came = self._came.copy()
        for name in _OWN & fork._came.keys():
            mine = getattr(self, name)
            setattr(fork, name, own := mine.copy())
            if name != "_cookies" and state(mine) == fork._came[name]:
                fork._came[name] = state(own)
        if "_body" in fork._came and self._body is not None:
            fork._body = self._body.fork()
            fork._body.attach(fork)
        return fork

    __copy__ = fork

    def __getattr__(self, name: str) -> Any:
        """Fill a slot that is empty."""
        made: Any
        if name == "_headers":  # what most are after, so without detours
            self._headers = made = self.read_headers()
            self._came[name] = id(made), getversion(made)  # `state`
            return made
        if name in _UNSAID:
            made = _UNSAID[name]
        elif name in _READ:
            made, self._came[name] = _READ[name](self)
        else:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, made)
        return made

    @property
    def url(self) -> str:
        """The whole URL, as the client has asked for it."""
        return self._url

    @url.setter
    def url(self, value: str) -> None:
        came = self._url  # read now: later it could not be told from what is assigned
        self._url = came if value == came else check_url(value)

    @property
    def target(self) -> str:
        """The URL, with ``params`` in its query if somebody has changed them."""
        url = self._url
        if "_params" not in self._came or state(self.params) == self._came["_params"]:
            return url
        return merge_query(url.partition("?")[0], split(self.params)[0])


def _slots(cls: type) -> Iterator[str]:
    for each in cls.__mro__:
        yield from (name for name in getattr(each, "__slots__", ()) if name != "__weakref__")


_OWN: Final = frozenset({"_headers", "_params", "_cookies"})


def _url(request: ServerRequest) -> tuple[str, str]:
    url = request.read_url()
    return url, url


def _params(request: ServerRequest) -> tuple[MultiDict[str], State]:
    query = request.url.partition("#")[0].partition("?")[2]
    params = MultiDict(parse_qsl(query, keep_blank_values=True))
    return params, state(params)


def _cookies(request: ServerRequest) -> tuple[dict[str, str], None]:
    return received(request.headers.get("Cookie", "")), None


def _body(request: ServerRequest) -> tuple[Body, None]:
    body = request.read_body()
    body.attach(request)
    return body, None


_UNSAID: Final[dict[str, Any]] = {
    **dict.fromkeys(("_extensions", "auth", "_content", "_data", "_json", "_files", "_typed", "template", "deadline")),
    "_timeout": UNSET,
}
"""What no host says, though a request has it."""

_READ: Final[dict[str, Callable[[ServerRequest], tuple[Any, Any]]]] = {
    "_url": _url,
    "_params": _params,
    "_cookies": _cookies,
    "_body": _body,
}
