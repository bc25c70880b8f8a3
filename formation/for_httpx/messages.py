"""Requests and responses, from ours to those of httpx and back."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from formation.client import wire
from formation.http import Headers, Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable


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


_NONE = Headers()


class Received(Response):
    """A response as it came from httpx; its headers are decoded when somebody looks at them."""

    __slots__ = ("_seen", "raw")

    def __init__(self, native: Any, request: Request, elapsed: float) -> None:
        self._seen: Headers | None = None
        super().__init__(
            native.status_code,
            reason=native.reason_phrase,
            request=request,
            url=request.target,
            elapsed=elapsed,
            extensions={"http_version": native.http_version},
        )
        self._seen, self.raw = None, native.headers.raw

    @property
    def _headers(self) -> Headers:  # in the place of the attribute, so that all of Response is late
        if self._seen is None:
            self._seen = Headers.received(decoded(self.raw))
        return self._seen

    @_headers.setter
    def _headers(self, value: Headers) -> None:
        self._seen = value

    def is_plain(self, limit: int | None) -> bool:
        """Tell whether the body is what comes over the wire, and known not to be over the limit."""
        headers = self.headers
        return "Content-Encoding" not in headers and (limit is None or "Content-Length" in headers)

    def has_headers_as_they_came(self) -> bool:
        """Tell whether nobody has changed one."""
        return self._seen is None or encoded(self._seen.items()) == self.raw
