"""Streams of Django: each step in the colour of the stack, and where what has been published is found.

Of a sync iterator in an async stack Django itself would make a list, and send that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from formation import ambient
from formation.http.sources import CHUNK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from formation.ambient import Ambient
    from formation.http.body import Body


class Chunks:
    """A body as ``streaming_content``; Django closes it with the response."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body  # begun when somebody asks for the first chunk, and not before

    def close(self) -> None:
        """Close the body, with the response."""
        self._body.close()


class AsyncChunks:
    """The same in an async stack: of an iterator that is sync Django would make a list, and then send that."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    def close(self) -> None:
        """Close the body, with the response."""
        self._body.close()


class Threaded:
    """A sync stream in an async stack, pulled in the thread that Django has for what is sync, a block at a time."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> Threaded:
        return self

    async def __anext__(self) -> bytes:
        if block := await sync_to_async(self._block)():
            return block
        raise StopAsyncIteration

    def _block(self) -> bytes:
        chunks, size = [], 0
        for chunk in self._chunks:
            chunks.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                break
        return b"".join(chunks)


class Within:
    """An iterator each of whose steps finds what has been published."""

    def __init__(self, chunks: Any, around: Ambient) -> None:
        self._chunks = chunks
        self._around = around

    def __iter__(self) -> Within:
        return self

    def __next__(self) -> bytes:
        published = ambient.current.set(self._around)
        try:
            return next(self._chunks)  # type: ignore[no-any-return]
        finally:
            ambient.restore(published)


class AsyncWithin:
    """The same for an async iterator."""

    def __init__(self, chunks: Any, around: Ambient) -> None:
        self._chunks = chunks
        self._around = around

    def __aiter__(self) -> AsyncWithin:
        return self

    async def __anext__(self) -> bytes:
        published = ambient.current.set(self._around)
        try:
            return await anext(self._chunks)
        finally:
            ambient.restore(published)
