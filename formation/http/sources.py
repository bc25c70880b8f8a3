"""What bodies are made of: bytes, files, functions, and whatever can be iterated over, plainly or by awaiting.

>>> import io
>>> file = io.BytesIO(b"hello world")
>>> file.read(6), (source := File(file)).length, list(source), list(source)
(b'hello ', 5, [b'world'], [b'world'])

Theory of operation
-------------------
A body asks a source four things, and whatever answers may be one: ``__iter__`` or ``__aiter__`` for its chunks;
``length``, how many bytes it has, if it knows; ``replayable`` and ``rewind()``, whether it can be had again, from its
start; ``close()`` or ``aclose()`` at the end. `pulled` and `apulled` make one world's iterator of the other's source: a
plain function on the bridge awaits each chunk, and an ``async for`` over a plain source blocks while it makes one.
"""

from __future__ import annotations

from inspect import isasyncgenfunction
from io import TextIOBase
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from formation.bridge import await_, in_async_chain

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

CHUNK: Final = 64 * 1024
"""Bytes of a file read at a time: the size of a pipe buffer and of the pieces that asyncio and urllib3 use."""


class Source:
    """What is to be iterated over, even if it has a ``read``, and says itself whether that takes awaiting."""

    __slots__ = ()

    @property
    def is_async(self) -> bool:
        """Whether it can only be iterated by ``async for``, or on the bridge."""
        raise NotImplementedError


class File:
    """A file opened in binary mode, from where it stands, as a source; it stays the caller's to close.

    It is sent as long as it was when it was given, for that length has been announced: what is written behind it
    meanwhile, as to a log, is left out.

    Raises:
        TypeError: it is opened in text mode.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Told now, not when the head of the request has been sent. A wrapper (tempfile's) is known by its encoding.
        if isinstance(file, TextIOBase) or hasattr(file, "encoding"):
            raise TypeError(f"{file!r} is open in text mode: open it in binary mode")
        self.file = file
        try:
            self.start: int | None = file.tell()
            self.length: int | None = max(file.seek(0, 2) - self.start, 0)  # it may stand behind its end
            file.seek(self.start)
        except (AttributeError, OSError):  # a pipe
            self.start = self.length = None

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again: whether it can seek."""
        return self.start is not None

    def rewind(self) -> bool:
        """Go back to where it stood; ``False`` if it cannot."""
        if self.start is None:
            return False
        try:
            self.file.seek(self.start)
        except (OSError, ValueError):  # ValueError: it has been closed
            return False
        return True

    def __iter__(self) -> Iterator[bytes]:
        self.rewind()
        return _blocks(self.file, self.length)


class Factory(Source):
    """A function that makes a new iterable or async iterable for each time the body is sent, as a source.

    What it makes is closed after each iteration, if it can be closed.

    >>> from formation.http import Body
    >>> body = Body(Factory(lambda: (b"%d" % number for number in range(3))))
    >>> list(body), body.rewind(), list(body)
    ([b'0', b'1', b'2'], True, [b'0', b'1', b'2'])
    """

    length = None
    replayable = True

    def __init__(self, make: Callable[[], Iterable[bytes] | AsyncIterable[bytes]]) -> None:
        self.make = make

    @property
    def is_async(self) -> bool:
        """Whether it makes an async iterable, as far as can be seen without making one."""
        return isasyncgenfunction(self.make)

    def rewind(self) -> bool:
        """Nothing to do: the next iteration starts anew."""
        return True

    def __iter__(self) -> Iterator[bytes]:
        made: Any = self.make()
        try:
            yield from pulled(made)
        finally:
            if hasattr(made, "close"):
                made.close()
            elif hasattr(made, "aclose") and in_async_chain():
                await_(made.aclose())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        made: Any = self.make()
        chunks: Any = apulled(made)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            try:
                if hasattr(chunks, "aclose"):
                    await chunks.aclose()
            finally:
                if hasattr(made, "close"):
                    made.close()
                elif hasattr(made, "aclose"):
                    await made.aclose()


def source_of(given: Any) -> Any:
    r"""Return what is to be sent: bytes for what is in memory, or the source as it is.

    Raises:
        TypeError: it is none.

    >>> source_of("grün"), source_of(None)
    (b'gr\xc3\xbcn', b'')
    """
    if isinstance(given, str):
        return given.encode()
    if given is None:
        return b""
    if isinstance(given, (bytearray, memoryview)):
        return bytes(given)
    if isinstance(given, dict) or not (hasattr(given, "__iter__") or hasattr(given, "__aiter__")):
        raise TypeError(f"expected bytes, str, a binary file or an iterable of bytes as body, got {given!r}")
    return given


def is_async(source: Any) -> bool:
    """Tell whether a source can only be iterated by awaiting."""
    if isinstance(source, Source):
        return source.is_async
    return hasattr(source, "__aiter__") and not hasattr(source, "__iter__")


def pulled(source: Any) -> Iterable[bytes]:
    """Return what a plain function iterates over."""
    if isinstance(source, Source):
        return source  # type: ignore[return-value]  # it can be
    if is_async(source):
        return _Awaiting(source)
    if hasattr(source, "read"):
        return _blocks(source)
    return source  # type: ignore[no-any-return]


def apulled(source: Any) -> AsyncIterator[bytes]:
    """Return what an ``async def`` iterates over."""
    return source.__aiter__() if hasattr(source, "__aiter__") else _Blocking(pulled(source))


def bytes_of(chunk: Any, whose: object) -> bytes:
    """Return the bytes in a chunk.

    Raises:
        TypeError: it has none; the error names ``whose`` it is.
    """
    if type(chunk) is bytes:
        return chunk
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"expected bytes from {whose!r}, got {chunk!r} ({type(chunk).__qualname__})")


class _Awaiting:
    """An async source in a plain function on the bridge."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._chunks: Any = source.__aiter__()

    @property
    def aclose(self) -> Any:
        """What closes it, if it can be closed."""
        return self._chunks.aclose

    def __iter__(self) -> _Awaiting:
        return self

    def __next__(self) -> bytes:
        try:
            return await_(self._chunks.__anext__())  # type: ignore[no-any-return]
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Close it, if this can wait: what a generator that iterates over it does when it is left."""
        if hasattr(self._chunks, "aclose") and in_async_chain():
            await_(self._chunks.aclose())


class _Blocking:
    """A sync source in an ``async for``. No async generator, for that would have to be closed."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self._chunks = iter(source)

    def __aiter__(self) -> _Blocking:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


def _blocks(file: BinaryIO, left: int | None = None) -> Iterator[bytes]:
    while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
        if isinstance(chunk, str):
            raise TypeError(f"{file!r} is open in text mode: open it in binary mode")
        if left is not None:
            left -= len(chunk)
        yield chunk
