"""Bodies: those of responses as they come from httpx, and those of requests that httpx made and sends itself."""

from __future__ import annotations

from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING, Any

from formation.client import wire
from formation.client.unpacking import is_ours, keeps_limits, unpacking
from formation.for_httpx.library import failures, translated, within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator

    from formation.http import Request


class Download:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(self, native: Any, deadline: float | None, library: Any, request: Request) -> None:
        self.native, self.deadline, self.library = native, deadline, library
        self.request = request
        keeps_limits(request)

    def is_ours_to_unpack(self) -> bool:
        """Tell whether we know its encoding, and no hook of a client has read it."""
        return is_ours(self.native.headers) and not self.native.is_stream_consumed


class SyncDownload(Download):
    """The same, to be iterated."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks():
                yield chunk
                if self.deadline is not None:
                    wire.remaining(self.deadline)
        except failures(self.library) as error:
            raise translated(error, self.deadline) from error

    def _chunks(self) -> Iterator[bytes]:
        if not self.is_ours_to_unpack():
            yield from self.native.iter_bytes()
            return
        unpack = unpacking(self.native.headers, self.request)
        for chunk in chain(self.native.iter_raw(), (b"",)):
            yield from unpack(chunk)

    def whole(self) -> bytes:
        """Return all of it, where nothing is to be decoded."""
        try:
            return b"".join(self.native.stream)
        except failures(self.library) as error:
            raise translated(error, self.deadline) from error
        finally:
            self.native.close()

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.close()


class AsyncDownload(Download):
    """The same, to be awaited."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._chunks()) as chunks:
                while (chunk := await within(self.deadline, anext, chunks, None)) is not None:
                    yield chunk
        except failures(self.library) as error:
            raise translated(error, self.deadline) from error

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        is_ours = self.is_ours_to_unpack()
        unpack = unpacking(self.native.headers, self.request)
        async with aclosing(self.native.aiter_raw() if is_ours else self.native.aiter_bytes()) as chunks:
            async for chunk in chunks:
                for piece in unpack(chunk) if is_ours else (chunk,):
                    yield piece
        for piece in unpack(b"") if is_ours else ():
            yield piece

    async def whole(self) -> bytes:
        """Return all of it, where nothing is to be decoded."""
        try:
            return await within(self.deadline, self._joined)  # type: ignore[no-any-return]
        except failures(self.library) as error:
            raise translated(error, self.deadline) from error
        finally:
            await self.native.aclose()

    async def _joined(self) -> bytes:
        async with aclosing(self.native.stream.__aiter__()) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def close(self) -> Awaitable[None]:
        """Give the connection back if the body is through, else close it."""
        return _Closing(self.native)


class _Closing:
    """Closes a response once it is awaited, and does not complain if nobody can."""

    def __init__(self, native: Any) -> None:
        self.native = native

    def __await__(self) -> Any:
        return self.native.aclose().__await__()


class Upload:
    """The body of a request of httpx, which sends it itself unless somebody looks at it here."""

    replayable = False

    def __init__(self, stream: Any, length: int | None) -> None:
        self.stream, self.length, self.sent = stream, length, False

    def rewind(self) -> bool:
        """Tell whether it is still at its start."""
        return not self.sent


class SyncUpload(Upload):
    """The same, of a sync client."""

    def __iter__(self) -> Iterator[bytes]:
        self.sent = True
        return iter(self.stream)


class AsyncUpload(Upload):
    """The same, of an async client."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.sent = True
        return self.stream.__aiter__()  # type: ignore[no-any-return]
