"""What is sent by way of aiohttp's payloads: a body of ours, and a body of aiohttp's that somebody looks at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from formation import errors
from formation.client import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from formation.http import Body


class Upload(aiohttp.payload.Payload):
    """A body of ours, as aiohttp sends one: piece by piece, and not for ever to who takes none."""

    _autoclose = True  # nothing to warn of

    def __init__(self, body: Body, patience: float | None) -> None:
        super().__init__(body)
        self.patience = patience
        self.failed: Exception | None = None
        self.writer: asyncio.Task[Any] | None = None

    @property
    def size(self) -> int | None:
        """The length, if it is known."""
        return self._value.length  # type: ignore[no-any-return]

    async def write(self, writer: Any) -> None:
        """Send it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        """Send it; the length is its own."""
        self._consumed = True
        self.writer = asyncio.current_task()
        chunks = aiter(self._value)
        try:
            while chunk := await self._next(chunks):
                view = memoryview(chunk)
                for at in range(0, len(view), wire.CHUNK):
                    await self._send(writer, view[at : at + wire.CHUNK])
        finally:
            await chunks.aclose()

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        try:
            return await anext(chunks, b"")  # a body has no empty ones
        except Exception as error:
            self.failed = error
            raise

    async def _send(self, writer: Any, piece: memoryview) -> None:
        limit = asyncio.timeout(self.patience)
        try:
            async with limit:
                await writer.write(piece)
        except TimeoutError as error:
            if limit.expired():
                self.failed = errors.WriteTimeout(f"the server took nothing for {self.patience} s")
                self.failed.__cause__ = error
            raise

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Read it."""
        return await self._value.aread()  # type: ignore[no-any-return]

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read it as text, if it is in memory."""
        return self._value.read().decode(encoding, errors)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Let go of it; as long as it is written, that is the writer's to do: the answer may have begun before."""
        if self.writer is None or self.writer.done():
            await self._value.aclose()
        elif self.writer.cancelling():
            await asyncio.wait([self.writer])


class NativeUpload:
    """The body of a request of aiohttp, which aiohttp sends itself unless somebody looks at it here."""

    def __init__(self, payload: aiohttp.payload.Payload) -> None:
        self.payload = payload
        self.length = payload.size
        self.replayable = isinstance(payload, (aiohttp.BytesPayload, aiohttp.payload.IOBasePayload))

    def rewind(self) -> bool:
        """Tell whether it can be sent, or sent again."""
        return not self.payload.consumed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(1)
        task = asyncio.create_task(self._write(_Pieces(pieces)))
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _write(self, writer: Any) -> None:
        try:
            await self.payload.write(writer)
        except Exception as error:  # noqa: BLE001  it belongs to who reads
            await writer.pieces.put(error)
        else:
            await writer.pieces.put(None)


class _Pieces:
    """What a payload writes to, where somebody reads it."""

    def __init__(self, pieces: asyncio.Queue[Any]) -> None:
        self.pieces = pieces

    async def write(self, chunk: Any) -> None:
        """Hand it over, and wait until it is taken."""
        if chunk:
            await self.pieces.put(bytes(chunk))
