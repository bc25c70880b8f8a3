"""Requests and responses, from ours to those of httpx and back."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from formation.client import wire
from formation.client.settings import MAX_BODY
from formation.http import UNSET, Body, Headers, Request, Response
from formation.http.timeouts import check_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from formation.for_httpx.bodies import AsyncDownload, SyncDownload


@lru_cache(maxsize=256)  # a client calls few places; httpx takes 10 µs to parse one
def parsed(library: Any, target: str) -> tuple[Any, bytes | None]:
    """Return the URL for httpx, and the target of the request line if httpx would write it in another way."""
    url = library.URL(target)
    parts = urlsplit(target)
    exact = ((parts.path or "/") + ("?" + parts.query if "?" in target.partition("#")[0] else "")).encode()
    return url, None if exact == url.raw_path else exact


def encoded(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return header lines as httpx takes them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]


def decoded(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return header lines of httpx as ours are."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]


def added(before: list[tuple[str, str]], now: Headers) -> list[tuple[str, str]] | None:
    """Return the lines that ``now`` has more, if each has a name of its own, and all else is as it was."""
    lines, count = list(now.items()), len(before)
    if lines[:count] != before:
        return None
    more = lines[count:]
    return more if all(value.isascii() and len(now.getall(name)) == 1 for name, value in more) else None


def timeouts(request: Request, deadline: float | None, default: Any) -> dict[str, float | None]:
    """Return the seconds for each operation: ``default`` if there is one, and never past the deadline."""
    if default is None:
        connect, read = wire.timeouts(request, deadline)
        # Who waits for a connection waits for the answers to others: in line, not on a network that does not answer.
        return {"connect": connect, "read": read, "write": read, "pool": read}
    if deadline is None:
        return default  # type: ignore[no-any-return]
    left = wire.remaining(deadline)
    limits = {name: default.get(name) for name in ("connect", "read", "write", "pool")}
    return {name: left if limit is None else min(limit, left) for name, limit in limits.items()}


def patience(native: Any) -> Any:
    """Return what a request of httpx says about timeouts, as ours has it."""
    limits = native.extensions.get("timeout")
    if limits:
        with suppress(ValueError):  # 0 seconds are httpx's to refuse
            return check_timeout((limits.get("connect"), limits.get("read")))
    return UNSET


class late:  # noqa: N801  as property is called
    """An attribute that is made when somebody looks: `functools.cached_property`, without the lock that 3.11 has."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make, self.name = make, make.__name__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        made = instance.__dict__[self.name] = self.make(instance)
        return made


BODY: Final = frozenset({"_content", "_data", "_json", "_files", "_body"})
"""The attributes that a body is made of."""

_EVERYTHING: Final = BODY | {"_headers", "_url", "_params", "_timeout"}


def looked_at(message: Request | Response) -> AbstractSet[str]:
    """Return the attributes that somebody has looked at, or set; all of them, if it was not made of one of httpx."""
    return message.__dict__.keys() if isinstance(message, (Seen, Received)) else _EVERYTHING


class Seen(Request):
    """A request of httpx. What httpx has checked is not checked again, and converted when somebody looks."""

    # What httpx does not have, or has put into the URL, the headers and the content.
    _params = _cookies = auth = _data = _json = _files = template = deadline = peer = _body = _typed = None

    def __init__(self, native: Any, content: Any) -> None:
        self.native, self.given = native, content
        self._method = native.method
        self._extensions = {"stream": True}  # the client's caller reads the body

    @late
    def before(self) -> list[tuple[str, str]]:
        """The header lines as they came."""
        return decoded(self.native.headers.raw)

    @late
    def _headers(self) -> Headers:
        return Headers.received(self.before)

    @late
    def _url(self) -> str:
        return str(self.native.url)

    @late
    def _content(self) -> Any:
        return self.given or None

    @late
    def _timeout(self) -> Any:
        return patience(self.native)


class Received(Response):
    """A response of httpx, the same way."""

    history, trailers, _whole = (), None, False

    def __init__(self, download: SyncDownload | AsyncDownload, request: Request, elapsed: float) -> None:
        self.download, self.native = download, download.native
        self.request, self.elapsed = request, elapsed
        self._status_code = self.native.status_code

    @late
    def _headers(self) -> Headers:
        return Headers.received(decoded(self.native.headers.raw))

    @late
    def _reason(self) -> Any:
        return self.native.reason_phrase

    @late
    def _extensions(self) -> dict[str, Any]:
        return {"http_version": self.native.http_version}

    @late
    def url(self) -> str:
        """Where it came from."""
        return str(self.native.request.url)

    @late
    def _body(self) -> Body:
        body = Body(self.download, limit=MAX_BODY)
        body.attach(self)
        return body

    def is_plain(self, limit: int | None) -> bool:
        """Tell whether the body is what comes over the wire, and known not to be over the limit."""
        headers = self.headers
        return "Content-Encoding" not in headers and (limit is None or "Content-Length" in headers)
