"""A body that is packed or unpacked on its way: made of another one, and to be sent again if that one can.

`Body.map` makes one chunk of one chunk; here any number of pieces may come of it, so that no chunk is ever large.

>>> from formation.http.body import Body
>>> def doubling():
...     return lambda chunk: iter((chunk, chunk))
>>> list(recoded(Body([b"a", b"b"]), doubling))
[b'a', b'a', b'b', b'b']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formation.http.body import Body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from formation.http.unpackers import Unpack


def recoded(body: Body, make: Callable[[], Unpack]) -> Body:
    """Return a body of the pieces that come of ``body``.

    Args:
        body: read when the new one is.
        make: called for each time that it is sent; makes what gives pieces for a chunk, and for ``b""`` the end.
    """
    return Body((_AsyncSource if body.is_async else _Source)(body, make), limit=body.limit)


class _From:
    length = None

    def __init__(self, body: Body, make: Callable[[], Unpack]) -> None:
        self.body, self.make = body, make

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again."""
        return self.body.replayable

    def rewind(self) -> bool:
        """Go back to the start; ``False`` if that cannot be."""
        return self.body.replayable or self.body.rewind()

    def start(self) -> Body:
        """Return the body to read: one of its own for each time, as two attempts may be under way."""
        if not self.body.replayable:
            return self.body
        fork = self.body.fork()
        fork.rewind()
        return fork


class _Source(_From):
    """To be iterated."""

    def __iter__(self) -> Iterator[bytes]:
        pieces, body = self.make(), self.start()
        chunks = iter(body)
        try:
            for chunk in chunks:
                yield from pieces(chunk)
            yield from pieces(b"")
        except Exception as error:
            body.close(error)  # so that its hooks are told what has stopped it
            raise


class _AsyncSource(_From):
    """To be iterated by awaiting."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces, body = self.make(), self.start()
        chunks = aiter(body)
        try:
            async for chunk in chunks:
                for piece in pieces(chunk):
                    yield piece
            for piece in pieces(b""):
                yield piece
        except Exception as error:
            await body.aclose(error)
            raise
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]  # of a body, it has one
