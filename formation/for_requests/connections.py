"""What the connections of http.client and urllib3 lack: the right answer after informational ones, and a deadline."""

from __future__ import annotations

import io
from contextvars import ContextVar
from http.client import BadStatusLine, HTTPResponse, RemoteDisconnected, parse_headers
from typing import Any, Final, cast

import urllib3
from requests.adapters import HTTPAdapter

from formation.clock import monotonic

deadline: Final[ContextVar[float | None]] = ContextVar("formation.for_requests.connections.deadline", default=None)
"""Monotonic time by which the answer to the request that is being sent has to be read to its end."""


class FinalResponse(HTTPResponse):
    """Skips 1xx responses, of which http.client knows only 100 as no answer (urllib3 3336), and keeps a deadline."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        until = deadline.get()
        if until is not None:
            self.fp.close()
            self.fp = io.BufferedReader(TimedSocket(sock, until))

    def begin(self) -> None:
        """Read the head; one that the connection's end cuts short is none."""
        fp, self.fp = self.fp, cast("io.BufferedReader", Lines(self.fp))
        try:
            super().begin()
        finally:
            self.fp = self.fp and fp  # None: it has been closed
        if self.chunked and self.length == 0:  # a 304 only says what a 200 would be (RFC 9112, 6.1): no chunks to come
            self._close_conn()  # type: ignore[attr-defined]  # not in typeshed, there since 2.x

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(100):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in typeshed, there since 2.x
            if not 100 < status < 200 or status == 101:
                return version, status, reason
            parse_headers(self.fp)
        message = "more than 100 informational responses"
        raise BadStatusLine(message)


class Lines:
    """The lines of a head. http.client takes the end of the connection for the empty line that ends the head."""

    def __init__(self, fp: io.BufferedReader) -> None:
        self.fp = fp

    def readline(self, limit: int = -1, /) -> bytes:
        """Read a line.

        Raises:
            RemoteDisconnected: there is none.
        """
        line = self.fp.readline(limit)
        if not line:
            message = "Remote end closed connection in the middle of the head, or without response"
            raise RemoteDisconnected(message)
        return line

    def close(self) -> None:
        """Close the file."""
        self.fp.close()


class TimedSocket(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly the bytes trickle in."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self.sock, self.deadline = sock, deadline
        self.raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it: until the socket's timeout, or the deadline if that is earlier."""
        timeout, remaining = self.sock.gettimeout(), self.deadline - monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.sock.settimeout(remaining if timeout is None else min(timeout, remaining))
        try:
            return self.raw.readinto(buffer)  # type: ignore[no-any-return]
        finally:
            if self.sock.fileno() >= 0:
                self.sock.settimeout(timeout)

    def close(self) -> None:
        """Close the file, not the socket."""
        self.raw.close()
        super().close()


class HTTPConnection(urllib3.connection.HTTPConnection):
    """A connection that reads final responses."""

    response_class = FinalResponse


class HTTPSConnection(urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    response_class = FinalResponse


class HTTPPool(urllib3.HTTPConnectionPool):
    """A pool of them."""

    ConnectionCls = HTTPConnection


class HTTPSPool(urllib3.HTTPSConnectionPool):
    """A pool of them."""

    ConnectionCls = HTTPSConnection


POOLS: Final = {"http": HTTPPool, "https": HTTPSPool}
"""For ``PoolManager.pool_classes_by_scheme``."""


class FinalAdapter(HTTPAdapter):
    """An adapter that takes no informational response for the final one, and that closes its connections at once."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the pools for a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def close(self) -> None:
        """Close every connection."""
        # urllib3 2 leaves that to the garbage collector, which waits for the last response that anybody keeps.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for pool in filter(None, map(manager.pools.get, manager.pools.keys())):
                pool.close()
        super().close()
