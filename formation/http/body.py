"""Bodies: native, a stream, or bytes; read, changed and counted the same way on every edge.

Theory of operation
-------------------
A `Body` starts as whatever the host has: a socket to read from, an iterable, an async iterable, a file, bytes. As long as
nobody looks at it, an edge passes that very object on (`native`). Three things can be done with it:

- *Read it*: ``read()`` takes all of it into memory, within `limit`; from then on the body is bytes and may be read again.
  A plain function may do so in an async chain too: the bridge awaits.
- *Map it*: ``map(fn, finish)`` changes it chunk by chunk as it passes, without reading ahead. ``fn`` and ``finish`` are pure
  functions of bytes and know nothing of who pushes or pulls. A compressor fits: ``body.map(c.compress, c.flush)``.
- *Replace it*: ``response.body = generator(response.body)`` pulls from the old one.

However it ends, ``on_close`` hooks run once: with the number of bytes that came out, and with ``None``, or the error that
stopped it, or `BodyAbandoned` when it was closed before its end.

>>> body = Body([b"hello ", b"world"]).map(bytes.upper)
>>> body.on_close(lambda count, error: print(count, error))
>>> list(body)
11 None
[b'HELLO ', b'WORLD']
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from inspect import isawaitable
from typing import Any, BinaryIO, Final, Protocol, TypeAlias
from weakref import ref

from formation.bridge import await_, in_async_chain
from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge

BodyLike: TypeAlias = "bytes | bytearray | memoryview | str | Iterable[bytes] | AsyncIterable[bytes] | Body | None"
OnClose: TypeAlias = Callable[[int, BaseException | None], object]

CHUNK: Final = 64 * 1024
"""Bytes of a file read at a time: the size of a pipe buffer and of the pieces that asyncio and urllib3 use."""


class Message(Protocol):
    """Whose body it is: it is told when the body changes, and says whether there is one to change."""

    def body_changed(self, length: int | None) -> None: ...
    def has_changeable_body(self) -> bool: ...


class Body:
    """The body of a request or a response.

    Args:
        source: bytes; ``str``, taken as UTF-8; or an iterable or async iterable of bytes. One that has ``rewind()``
            (`File`, `Factory`, `Multipart`) can be sent again, one that has ``length`` says how long it is.
        limit: the most bytes that `read` takes into memory; ``None``: no limit.
        close: called once when the body has ended, with whatever end; may return something to await.
            Without it the source's own ``close`` is called.
    """

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_close",
        "_count",
        "_error",
        "_hooks",
        "_maps",
        "_message",
        "_over",
        "_source",
        "_under",
        "limit",
    )

    def __init__(
        self, source: BodyLike = b"", *, limit: int | None = None, close: Callable[[], Any] | None = None
    ) -> None:
        under = source if isinstance(source, Body) else None
        self._source: Any = source.encode() if isinstance(source, str) else b"" if source is None else source
        if isinstance(self._source, (bytearray, memoryview)):
            self._source = bytes(self._source)
        if not isinstance(self._source, bytes) and not hasattr(source, "__iter__") and not hasattr(source, "__aiter__"):
            message = f"expected bytes, str or an iterable of bytes as body, got {source!r}"
            raise TypeError(message)
        self.limit = limit
        self._under: Body | None = under
        self._close = close
        self._maps: list[tuple[Callable[[bytes], bytes], Callable[[], bytes] | None]] = []
        self._hooks: list[OnClose] = []
        self._message: ref[Message] | None = None
        self._count = 0
        self._error: BaseException | None = None
        self._ahead = False  # somebody has begun to iterate
        self._over = False

    # What it is

    @property
    def native(self) -> Any:
        """The source as it was given, as long as nothing is done to it; else ``None``."""
        if self._maps or self._ahead or self._over:
            return None
        return self._source.native if isinstance(self._source, Body) else self._source

    @property
    def is_bytes(self) -> bool:
        """Whether all of it is in memory."""
        return isinstance(self._source, bytes)

    @property
    def is_async(self) -> bool:
        """Whether it can only be iterated by ``async for``, or on the bridge."""
        if isinstance(self._source, Body):
            return self._source.is_async
        return hasattr(self._source, "__aiter__") and not hasattr(self._source, "__iter__")

    @property
    def length(self) -> int | None:
        """How many bytes it has, or ``None`` if only reading it tells."""
        if isinstance(self._source, bytes):
            return len(self._source)
        return None if self._maps else getattr(self._source, "length", None)

    @property
    def replayable(self) -> bool:
        """Whether the same bytes can be sent a second time."""
        return self.is_bytes or (not self._maps and getattr(self._source, "replayable", False))

    def rewind(self) -> bool:
        """Go back to the start, to be sent again; ``False`` if that cannot be."""
        if not self.is_bytes:
            if not self.replayable or not self._source.rewind():
                return False
            self._ahead = self._over = False
            self._error = None
        self._count = 0
        return True

    def fork(self) -> Body:
        """Return a body that starts as this one does and is changed apart from it; a stream is still one stream."""
        return Body(self._source if self.is_bytes else self, limit=self.limit)

    def __repr__(self) -> str:
        what = (
            f"{len(self._source)} bytes"
            if isinstance(self._source, bytes)
            else f"stream of {type(self._source).__name__}"
        )
        return f"<Body: {what}{', read' if self._over and not self.is_bytes else ''}>"

    # What can be done with it

    def read(self) -> bytes:
        """Return all of it; what comes after that, and a second `read`, finds it in memory.

        Raises:
            BodyTooLarge: it is larger than ``limit``; the rest is not read.
            BodyConsumed: it has been iterated before.
        """
        if not isinstance(self._source, bytes):
            chunks, total = [], 0
            for chunk in self:
                total += self._within_limit(len(chunk), total)
                chunks.append(chunk)
            self._keep(b"".join(chunks))
        return self._source  # type: ignore[no-any-return]

    async def aread(self) -> bytes:
        """Do what `read` does, for an ``async def``."""
        if not isinstance(self._source, bytes):
            chunks, total = [], 0
            async for chunk in self:
                total += self._within_limit(len(chunk), total)
                chunks.append(chunk)
            self._keep(b"".join(chunks))
        return self._source  # type: ignore[no-any-return]

    def map(self, fn: Callable[[bytes], bytes], finish: Callable[[], bytes] | None = None) -> Body:
        """Pass each chunk through ``fn`` on its way, and add what ``finish`` returns at the end; returns the body.

        The Content-Length of the message goes and a strong ETag becomes a weak one. What has no body to change is left
        alone: answers to HEAD, 1xx, 204, 304, and parts (206). Bytes are changed at once.

        Raises:
            BodyConsumed: it has been read, as a stream, already.
        """
        message = self._message and self._message()
        if message is not None and not message.has_changeable_body():
            return self
        if isinstance(self._source, bytes):
            self._source = fn(self._source) + (finish() if finish else b"")
        elif self._ahead or self._over:
            raise BodyConsumed
        else:
            self._maps.append((fn, finish))
        if message is not None:
            message.body_changed(self.length)
        return self

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once when the body has ended; at once if it has ended already.

        ``count``: the bytes that came out. ``error``: ``None``, what stopped it, or a `BodyAbandoned`. A hook that raises is
        logged and changes nothing.
        """
        if self._over:
            _call_hook(hook, self._count, self._error)
        else:
            self._hooks.append(hook)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the chunks, none empty. A stream can be iterated once; on the bridge an async one can, too."""
        if isinstance(self._source, bytes):
            return self._whole()
        self._begin()
        return self._chunks(_awaiting(self._source) if self.is_async else self._source)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the chunks in an ``async for``; a sync source blocks while it makes one."""
        if not isinstance(self._source, bytes):
            self._begin()
        return self._achunks()

    def close(self, error: BaseException | None = None) -> None:
        """End it, read or not. Closing it twice does nothing."""
        waiting = self._end(error)
        if waiting is not None and in_async_chain():
            await_(waiting)
        elif hasattr(waiting, "close"):
            waiting.close()

    async def aclose(self, error: BaseException | None = None) -> None:
        """Do what `close` does, for an ``async def``."""
        waiting = self._end(error)
        if waiting is not None:
            await waiting

    # How

    def attach(self, message: Message) -> None:
        """Belong to ``message``."""
        self._message = ref(message)

    def complete(self, content: bytes) -> None:
        """Be ``content``: somebody has read the source for us."""
        self._keep(content)
        self._count = len(content)
        self._finish(None)

    def _keep(self, content: bytes) -> None:
        self._source = content
        self._maps.clear()

    def _within_limit(self, size: int, total: int) -> int:
        if self.limit is not None and total + size > self.limit:
            raise BodyTooLarge(limit=self.limit, got=total + size)
        return size

    def _begin(self) -> None:
        if self._ahead or self._over:
            raise BodyConsumed
        self._ahead = True

    def _whole(self) -> Iterator[bytes]:
        error: BaseException | None = BodyAbandoned()
        try:
            if self._source:
                self._count = len(self._source)
                yield self._source
            error = None
        finally:
            self.close(error)

    def _chunks(self, source: Iterable[bytes]) -> Iterator[bytes]:
        error: BaseException | None = BodyAbandoned()
        try:
            for chunk in source:
                if chunk := self._mapped(chunk):  # noqa: PLW2901
                    yield chunk
            if tail := self._flushed():
                yield tail
            error = None
        except GeneratorExit:  # whoever iterates has stopped
            raise
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.close(error)
            error = None

    async def _achunks(self) -> AsyncIterator[bytes]:
        error: BaseException | None = BodyAbandoned()
        try:
            if isinstance(self._source, bytes):
                self._count = len(self._source)
                if self._source:
                    yield self._source
            elif hasattr(self._source, "__aiter__"):
                async for chunk in self._source:
                    if chunk := self._mapped(chunk):  # noqa: PLW2901
                        yield chunk
            else:
                for chunk in self._source:
                    if chunk := self._mapped(chunk):  # noqa: PLW2901
                        yield chunk
            if tail := self._flushed():
                yield tail
            error = None
        except GeneratorExit:  # whoever iterates has stopped
            raise
        except BaseException as caught:
            error = caught
            raise
        finally:
            await self.aclose(error)
            error = None

    def _mapped(self, chunk: bytes) -> bytes:
        for fn, _ in self._maps:
            chunk = fn(chunk)
        self._count += len(chunk)
        return chunk

    def _flushed(self) -> bytes:
        carry = b""
        for fn, finish in self._maps:
            if carry:
                carry = fn(carry)
            if finish is not None:
                carry += finish()
        self._count += len(carry)
        return carry

    def _end(self, error: BaseException | None) -> Awaitable[None] | None:
        """Close the source and run the hooks; returns what is left to await."""
        if self._over:
            return None
        if error is None and not self._ahead and not isinstance(self._source, bytes):
            error = BodyAbandoned()
        close = self._close or getattr(self._source, "close", None) or getattr(self._source, "aclose", None)
        self._close = None
        try:
            waiting = close() if close is not None else None
        finally:
            if self._under is not None:
                self._under.close(error)
            self._finish(error)
        return waiting if isawaitable(waiting) else None

    def _finish(self, error: BaseException | None) -> None:
        self._over = True
        self._error = error
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            _call_hook(hook, self._count, error)


class File:
    """A file opened in binary mode, from where it stands, as a source; it stays the caller's to close."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        try:
            self.start: int | None = file.tell()
            self.length: int | None = max(0, file.seek(0, 2) - self.start)
            file.seek(self.start)
        except (AttributeError, OSError):  # a pipe
            self.start = self.length = None

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again: whether it can seek."""
        return self.start is not None

    def rewind(self) -> bool:
        """Go back to where it stood."""
        if self.start is None:
            return False
        self.file.seek(self.start)
        return True

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.file.read(CHUNK):
            if isinstance(chunk, str):
                message = f"{self.file!r} is open in text mode: open it in binary mode"
                raise TypeError(message)
            yield chunk


class Factory:
    """A function that makes a new iterable for each time the body is sent, as a source."""

    length = None
    replayable = True

    def __init__(self, make: Callable[[], Iterable[bytes]]) -> None:
        self.make = make

    def rewind(self) -> bool:
        """Nothing to do: the next iteration starts anew."""
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.make())


def _awaiting(source: AsyncIterable[bytes]) -> Iterator[bytes]:
    """Iterate over an async source from a plain function on the bridge."""
    chunks = source.__aiter__()
    while True:
        try:
            chunk = await_(chunks.__anext__())
        except StopAsyncIteration:
            return
        yield chunk


def _call_hook(hook: OnClose, count: int, error: BaseException | None) -> None:
    try:
        hook(count, error)
    except Exception:  # noqa: BLE001  it is told after the fact and has no say
        from logging import getLogger  # noqa: PLC0415  rarely needed

        getLogger("formation").exception("an on_close hook raised: %r", hook)
