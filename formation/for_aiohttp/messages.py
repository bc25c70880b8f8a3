"""What comes back from aiohttp: the head, the body, and what goes wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import aiohttp

from formation import errors
from formation.client import wire
from formation.client.settings import MAX_BODY
from formation.client.unpacking import unpacking
from formation.clock import monotonic
from formation.http import Body, Headers, Request, Response
from formation.http.response import received as made

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from formation.for_aiohttp.direct import Answer
    from formation.http.unpackers import Unpack

    Native: TypeAlias = aiohttp.ClientResponse | Answer


def received_headers(fields: Any, raw: Iterable[tuple[bytes, bytes]] | None = None) -> Headers:
    """Make headers of those of aiohttp."""
    if raw is None or "".join(fields.values()).isascii():
        return Headers.received(fields)
    # aiohttp takes them for UTF-8, where HTTP has bytes and everybody else latin-1.
    return Headers.received([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])


def head(native: Native, request: Request, elapsed: float) -> Response:
    """Make the response of ours, its body still to come."""
    headers = received_headers(native.headers, native.raw_headers)
    return made(native.status, headers, native.reason or "", request, elapsed)


async def received(
    native: Native, request: Request, deadline: float | None, elapsed: float, *, is_ours: bool = False
) -> Response:
    """Make the response of ours: whole, unless the request asks for a stream; ``is_ours``: aiohttp unpacks nothing."""
    response = head(native, request, elapsed)
    limit: int | None = request.extensions.get("max_body", MAX_BODY)
    unpack = unpacking(response.headers, request) if is_ours and "Content-Encoding" in response.headers else None
    if request.extensions.get("stream"):
        response.receive(Body(Stream(native, deadline, unpack=unpack), limit=limit))
    elif unpack is None and native.content.is_eof() and (limit is None or native.content.total_bytes <= limit):
        response.receive(_whole(native, deadline))  # the usual case: it is all there, and not too large
    else:
        try:
            wire.check_length(request, response.headers)
        except errors.BodyTooLarge:
            native.close()
            raise
        response.receive(await Body(Stream(native, deadline, unpack=unpack), limit=limit).aread())
    return response


def _whole(native: Native, deadline: float | None) -> bytes:
    try:
        return native.content.read_nowait()
    except (aiohttp.ClientError, OSError) as error:
        raise translated(error, deadline) from error
    finally:
        native.release()


class Stream:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(
        self, native: Native, deadline: float | None, *, is_timed: bool | None = None, unpack: Unpack | None = None
    ) -> None:
        self.native, self.deadline, self.unpack = native, deadline, unpack
        if is_timed is None:
            is_timed = isinstance(native, aiohttp.ClientResponse)  # by the session, which knows of the deadline
        self.is_timed = is_timed or deadline is None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self.native.content
        try:
            while chunk := await (content.readany() if self.is_timed else self._readany()):
                for piece in (chunk,) if self.unpack is None else self.unpack(chunk):
                    yield piece
            for piece in () if self.unpack is None else self.unpack(b""):
                yield piece
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: the session has been closed
            if isinstance(error, errors.FormationError):
                raise
            raise translated(error, self.deadline) from error

    async def _readany(self) -> bytes:
        async with asyncio.timeout(wire.remaining(self.deadline or 0)):
            return await self.native.content.readany()

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.release() if self.native.content.at_eof() else self.native.close()


def translated(error: Exception, deadline: float | None) -> errors.FormationError:
    """Return our error for one of aiohttp."""
    said = str(error) or type(error).__name__
    if deadline is not None and monotonic() >= deadline - 0.001:  # the event loop's clock is that coarse
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    for ours, theirs in _TREE:
        if isinstance(error, theirs):
            return ours(said)
    return errors.ProtocolError(said)


_TREE: Final[tuple[tuple[type[errors.TransportError], Any], ...]] = (
    (errors.TLSError, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)),
    (errors.ConnectTimeout, aiohttp.ConnectionTimeoutError),
    (errors.ConnectError, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)),
    (errors.ReadTimeout, TimeoutError),
)
