"""An answer of a server as a whole, if it is short; what is longer goes out as it would have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from formation.bridge import await_
from formation.http import Body, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def whole(response: Response, limit: int) -> bytes | None:
    """Read the body; ``None``: it is longer, and goes out as it would have."""
    body = response.body
    if body.is_bytes:
        content = body.read()
        return content if len(content) <= limit else None
    if body.length is not None and body.length > limit:
        return None
    begun, size = deque[bytes](), 0
    chunks: Any = aiter(body) if body.is_async else iter(body)
    while (chunk := await_(anext(chunks, None)) if body.is_async else next(chunks, None)) is not None:
        begun.append(chunk)
        size += len(chunk)
        if size > limit:
            rest = Body(_AsyncRest(begun, chunks) if body.is_async else _rest(begun, chunks))
            rest.replace(body)
            response.receive(rest)  # no change, so the headers stay as they are
            return None
    content = b"".join(begun)
    body.complete(content)
    return content


def _rest(begun: deque[bytes], chunks: Iterator[bytes]) -> Iterator[bytes]:
    while begun:
        yield begun.popleft()
    yield from chunks


class _AsyncRest:
    """No async generator, for that would have to be closed."""

    def __init__(self, begun: deque[bytes], chunks: AsyncIterator[bytes]) -> None:
        self._begun = begun
        self._chunks = chunks

    def __aiter__(self) -> _AsyncRest:
        return self

    async def __anext__(self) -> bytes:
        return self._begun.popleft() if self._begun else await anext(self._chunks)
