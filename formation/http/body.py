"""Bodies: native, a stream, or bytes; read, changed and counted the same way on every edge.

Theory of operation
-------------------
A `Body` starts as whatever the host has: a socket to read from, an iterable, an async iterable, a file, bytes. As long
as nobody looks at it, an edge passes that very object on (`native`). Three things can be done with it:

- *Read it*: ``read()`` takes all of it into memory, within `limit`; from then on the body is bytes and may be read
  again. A plain function may do so in an async chain too: the bridge awaits.
- *Map it*: ``map(fn, finish)`` changes it chunk by chunk as it passes, without reading ahead. ``fn`` and ``finish`` are
  pure functions of bytes and know nothing of who pushes or pulls. A compressor fits: ``body.map(c.compress, c.flush)``.
- *Replace it*: ``response.body = generator(response.body)`` pulls from the old one.

However it ends, ``on_close`` hooks run once: with the number of bytes that came out, and with ``None``, or the error
that stopped it, or `BodyAbandoned` when it was closed before its end.

A stream has one *reader*, the iteration that was begun last. Who has lost that place, since the body was closed or
rewound meanwhile, can neither go on nor end it: the generator of a failed attempt may be collected, and so closed, in
the middle of the next attempt.

>>> body = Body([b"hello ", b"world"]).map(bytes.upper)
>>> body.on_close(lambda count, error: print(count, error))
>>> list(body)
11 None
[b'HELLO ', b'WORLD']
"""

# ruff: noqa: SLF001  the reader of a body is a part of it

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from copy import copy
from inspect import isasyncgenfunction
from io import TextIOBase
from types import AsyncGeneratorType
from typing import Any, BinaryIO, Final, Protocol, TypeAlias
from weakref import ref

from formation.bridge import await_, in_async_chain
from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge

BodyLike: TypeAlias = "bytes | bytearray | memoryview | str | Iterable[bytes] | AsyncIterable[bytes] | Body | None"
OnClose: TypeAlias = Callable[[int, BaseException | None], object]

CHUNK: Final = 64 * 1024
"""Bytes of a file read at a time: the size of a pipe buffer and of the pieces that asyncio and urllib3 use."""

_HOST: Final = object()  # stands for the reader where the host pushes the chunks


class Message(Protocol):
    """Whose body it is: it is told when the body changes, and says whether there is one to change."""

    def body_changed(self, length: int | None) -> None: ...
    def has_changeable_body(self) -> bool: ...


class Body:
    """The body of a request or a response.

    Args:
        source: bytes; ``str``, taken as UTF-8; a binary file; or an iterable or async iterable of bytes. One that has
            ``rewind()`` (`File`, `Factory`, `Multipart`) can be sent again, one that has ``length`` says how long it
            is.
        limit: the most bytes that `read` takes into memory; ``None``: no limit.
        close: called once when the body has ended, with whatever end; may return something to await.
            Without it the source's own ``close`` or ``aclose`` is called.

    Raises:
        TypeError: ``source`` is no such thing.
    """

    __slots__ = (
        "__weakref__",
        "_behind",
        "_close",
        "_closing",
        "_count",
        "_error",
        "_hooks",
        "_maps",
        "_message",
        "_over",
        "_reader",
        "_source",
        "_stream",
        "_watchers",
        "limit",
    )

    def __init__(
        self, source: BodyLike = b"", *, limit: int | None = None, close: Callable[[], Any] | None = None
    ) -> None:
        self._source: Any = source if isinstance(source, bytes) else _source(source)
        self.limit = limit
        self._close = close
        self._closing: list[Any] = []  # what close() could not wait for, or what makes it
        self._stream: Any = None  # the async iterator that is pulled
        self._behind: tuple[Body, ...] = (source,) if isinstance(source, Body) else ()  # closed with this one
        self._maps: list[tuple[Callable[[bytes], bytes], Callable[[], bytes] | None]] = []
        self._watchers: tuple[Callable[[bytes], object], ...] = ()
        self._hooks: list[OnClose] = []
        self._message: ref[Message] | None = None
        self._count = 0
        self._error: BaseException | None = None
        self._reader: object = None  # stands for the iteration that is under way
        self._over = False

    # What it is

    @property
    def native(self) -> Any:
        """The source as it was given, as long as nothing is done to it; else ``None``."""
        if self._maps or self._watchers or self._reader or self._over:
            return None
        return self._source.native if isinstance(self._source, Body) else self._source

    @property
    def is_bytes(self) -> bool:
        """Whether all of it is in memory."""
        return isinstance(self._source, bytes)

    @property
    def is_async(self) -> bool:
        """Whether it can only be iterated by ``async for``, or on the bridge."""
        return _is_async(self._source)

    @property
    def ended(self) -> bool:
        """Whether it has been read to its end, or closed."""
        return self._over

    @property
    def length(self) -> int | None:
        """How many bytes it has, or ``None`` if only reading it tells."""
        if isinstance(self._source, bytes):
            return len(self._source)
        return None if self._maps else getattr(self._source, "length", None)

    @property
    def replayable(self) -> bool:
        """Whether the same bytes can be sent a second time."""
        if isinstance(self._source, bytes):
            return True
        return not self._maps and (
            isinstance(self._source, (list, tuple)) or getattr(self._source, "replayable", False)
        )

    def rewind(self) -> bool:
        """Go back to the start, to be sent again; ``False`` if that cannot be.

        A stream that nobody has begun to read is at its start.
        """
        begun, replayable = self._reader is not None or self._over, self.replayable
        if begun and not replayable:
            return False
        if replayable or isinstance(self._source, Body):  # a fork may have read the same file
            back = getattr(self._source, "rewind", None)
            if back is not None and not back():
                return False
        if hasattr(self._stream, "aclose"):  # of a reader that has not come to its end
            self._closing.append(self._stream.aclose)
        self._reader = self._error = self._stream = None
        self._over = False
        self._count = 0
        return True

    def fork(self) -> Body:
        """Return a body that starts as this one does and is changed apart from it.

        What can be replayed is sent from its start by each fork; a stream is one stream, for one fork or for this body.
        Whichever ends first runs the hooks of this one.
        """
        if not self.replayable:
            return Body(self, limit=self.limit)
        fork = Body(self._source, limit=self.limit)
        fork._hooks.append(self._tell)
        return fork

    def __repr__(self) -> str:
        if isinstance(self._source, bytes):
            return f"<Body: {len(self._source)} bytes>"
        state = ", read or closed" if self._over else ", being read" if self._reader else ""
        return f"<Body: stream of {type(self._source).__name__}{state}>"

    # What can be done with it

    def read(self) -> bytes:
        """Return all of it; what comes after that, and a second `read`, finds it in memory.

        Raises:
            BodyTooLarge: it is larger than ``limit``; the rest is not read.
            BodyConsumed: it has been iterated or closed before.
            RuntimeError: it is async, and this is not a plain function in an async chain.
        """
        if not isinstance(self._source, bytes):
            chunks, size = [], 0
            for chunk in self:
                size += len(chunk)
                if self.limit is not None and size > self.limit:
                    too_large = BodyTooLarge(limit=self.limit, got=size)
                    try:
                        self.close(too_large)
                        raise too_large
                    finally:
                        del too_large  # or the error, its traceback and this frame hold each other
                chunks.append(chunk)
            self._keep(b"".join(chunks))
        return self._source  # type: ignore[no-any-return]

    async def aread(self) -> bytes:
        """Do what `read` does, for an ``async def``."""
        if not isinstance(self._source, bytes):
            chunks, size = [], 0
            async for chunk in self:
                size += len(chunk)
                if self.limit is not None and size > self.limit:
                    too_large = BodyTooLarge(limit=self.limit, got=size)
                    try:
                        await self.aclose(too_large)
                        raise too_large
                    finally:
                        del too_large
                chunks.append(chunk)
            self._keep(b"".join(chunks))
        return self._source  # type: ignore[no-any-return]

    def map(self, fn: Callable[[bytes], bytes], finish: Callable[[], bytes] | None = None) -> Body:
        """Pass each chunk through ``fn`` on its way, and add what ``finish`` returns at the end; returns the body.

        The Content-Length of the message goes and a strong ETag becomes a weak one. What has no body to change is left
        alone: answers to HEAD, 1xx, 204, 304, and parts (206). Bytes are changed at once.

        Raises:
            BodyConsumed: it has been iterated, as a stream, or closed.
        """
        message = None if self._message is None else self._message()
        if message is not None and not message.has_changeable_body():
            return self
        if isinstance(self._source, bytes):
            self._source = _bytes(fn(self._source), fn) + (_bytes(finish(), finish) if finish else b"")
        elif self._reader or self._over:
            raise self._consumed()
        else:
            self._maps.append((fn, finish))
        if message is not None:
            message.body_changed(self.length)
        return self

    def watch(self, fn: Callable[[bytes], object]) -> None:
        """Show ``fn`` each chunk that comes out, as it does; the body and its message stay as they are.

        A watcher that raises stops the body. What is in memory is not shown: `read` has it at once.

        Raises:
            BodyConsumed: it has been iterated, as a stream, or closed.

        >>> body, seen = Body([b"hello ", b"world"]), []
        >>> body.watch(seen.append)
        >>> body.read(), seen
        (b'hello world', [b'hello ', b'world'])
        """
        if not isinstance(self._source, bytes):
            if self._reader or self._over:
                raise self._consumed()
            self._watchers += (fn,)

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once when the body has ended; at once if it has ended already.

        ``count``: the bytes that came out. ``error``: ``None``, what stopped it, or a `BodyAbandoned`. A hook that
        raises is logged and changes nothing.
        """
        if self._over:
            _call_hook(hook, self._count, self._error)
        else:
            self._hooks.append(hook)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the chunks, none empty. A stream can be iterated once; on the bridge an async one can, too."""
        if isinstance(self._source, bytes):
            return self._whole()
        if self.is_async and not in_async_chain():
            raise RuntimeError(
                f"{self!r} is async, and this is not a plain function in an async chain: in an 'async def' use "
                "'await body.aread()' or 'async for chunk in body'"
            )
        return self._chunks(self._begin())

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the chunks in an ``async for``; a sync source blocks while it makes one.

        Whoever leaves it before its end should ``await body.aclose()``: leaving cannot wait for the source to close.
        """
        return _Reader(self, None if isinstance(self._source, bytes) else self._begin())

    def close(self, error: BaseException | None = None) -> None:
        """End it, read or not. Closing it twice does nothing.

        Outside of an async chain this cannot wait for a source that is closed by awaiting: `aclose` does.
        """
        if not self._over:
            self._shut(error or self._abandoned())

    async def aclose(self, error: BaseException | None = None) -> None:
        """Do what `close` does, for an ``async def``."""
        await self._ashut(error or self._abandoned())

    # What a host does that pushes

    @property
    def is_watched(self) -> bool:
        """Whether a host that pushes the chunks has to show them here: there is a map, a hook, or a watcher."""
        return bool(self._maps or self._hooks or self._watchers)

    def push(self, chunk: bytes) -> bytes:
        """Return what comes out for a chunk that goes in; it may be empty.

        Raises:
            BodyConsumed: somebody iterates over it, or it has ended.
        """
        if self._reader is not _HOST:
            if self._reader or self._over:
                raise self._consumed()
            self._reader = _HOST
        return self._mapped(chunk)

    def flush(self) -> bytes:
        """Return what is left to come out at the end; then `end` it."""
        return self._flushed()

    def end(self, error: BaseException | None = None) -> None:
        """Be over: all of it has been pushed, or ``error`` has stopped it. Ending it twice does nothing."""
        if not self._over:
            self._shut(error)

    # How

    def attach(self, message: Message) -> None:
        """Belong to ``message``."""
        self._message = ref(message)

    def replace(self, old: Body) -> None:
        """Stand in the place of ``old``: what is left of it is closed with this one."""
        if self.limit is None:
            self.limit = old.limit
        if not old.ended or old._closing:
            self._behind += (old,)
            if self._over:
                old.close()

    def complete(self, content: bytes) -> None:
        """Be ``content``: somebody has read the source for us."""
        self._count = len(content)
        if not self._over:
            for watcher in self._watchers:
                watcher(content)
            self._shut(None)
        self._keep(content)

    def _keep(self, content: bytes) -> None:
        self._source = content
        self._maps = []

    def _begin(self) -> object:
        if self._reader or self._over:
            raise self._consumed()
        self._reader = reader = object()
        return reader

    def _consumed(self) -> BodyConsumed:
        return BodyConsumed(f"{self!r} can be had once: read .content before anybody iterates or closes it")

    def _abandoned(self) -> BodyAbandoned | None:
        """What closing it now means: nothing, if all of it has come out."""
        return None if self._over or self._count == self.length else BodyAbandoned()

    def _whole(self) -> Iterator[bytes]:
        try:
            if self._source:
                self._count = len(self._source)
                yield self._source
        finally:
            self.close()

    def _chunks(self, reader: object) -> Iterator[bytes]:
        try:
            self._check(reader)
            for chunk in _pulled(self._source):
                if mapped := self._mapped(chunk):
                    yield mapped
                    self._check(reader)
            if tail := self._flushed():
                yield tail
        except GeneratorExit:  # whoever iterates has stopped
            if self._reader is reader:
                self.close()
            raise
        except BaseException as error:
            if self._reader is reader:
                self._shut(error)
            raise
        if self._reader is reader:
            self._shut(None)

    def _check(self, reader: object) -> None:
        if self._reader is not reader:
            raise self._consumed()

    def _mapped(self, chunk: Any) -> bytes:
        mapped = chunk if type(chunk) is bytes else _bytes(chunk, self._source)
        for fn, _ in self._maps:
            mapped = _bytes(fn(mapped), fn)
        self._count += len(mapped)
        if mapped:
            for watcher in self._watchers:
                watcher(mapped)
        return mapped

    def _flushed(self) -> bytes:
        length, carry = self.length, b""
        if length is not None and length != self._count:
            raise ValueError(f"expected {length} bytes from {self._source!r}, got {self._count}: it has been changed")
        for fn, finish in self._maps:
            if carry:
                carry = _bytes(fn(carry), fn)
            if finish is not None:
                carry += _bytes(finish(), finish)
        self._count += len(carry)
        if carry:
            for watcher in self._watchers:
                watcher(carry)
        return carry

    def _shut(self, error: BaseException | None) -> None:
        try:
            self._end(error)
            if self._closing and in_async_chain():
                try:
                    await_(self._wait())
                finally:
                    self._forget()  # the chain has been dropped, so that nobody waits any more
        finally:
            for body in self._behind:
                body.close(error)
            error = None  # or the traceback of the error, this frame and the error hold each other

    async def _ashut(self, error: BaseException | None) -> None:
        try:
            if not self._over:
                self._end(error)
            await self._wait()
        finally:
            for body in self._behind:
                await body.aclose(error)
            error = None

    async def _wait(self) -> None:
        if self._closing:
            try:
                closing = self._closing.pop()
                await (closing() if callable(closing) else closing)
            finally:
                await self._wait()

    def _forget(self) -> None:
        while self._closing:
            closing = self._closing.pop()
            if not callable(closing):
                closing.close()

    def _end(self, error: BaseException | None) -> None:
        """Be over: close the source and tell the hooks."""
        close, self._close = self._close, None
        if close is None and not isinstance(self._source, Body):
            close = getattr(self._source, "close", None) or getattr(self._source, "aclose", None)
        self._over, self._reader = True, None
        try:
            for end in (close, getattr(self._stream, "aclose", None)):
                if isinstance(getattr(end, "__self__", None), AsyncGeneratorType):
                    self._closing.append(end)  # not called before it can be awaited: 3.13 would warn
                elif end is not None and hasattr(closing := end(), "__await__"):
                    self._closing.append(closing)
        except BaseException as failed:
            error = error or failed
            raise
        finally:
            self._stream = None
            self._error = None if error is None else _kept(error)
            self._tell(self._count, error)
            error = None

    def _tell(self, count: int, error: BaseException | None) -> None:
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            _call_hook(hook, count, error)


class _Reader:
    """An ``async for`` over a body.

    It is no async generator: one that is left early lives on until the event loop gets round to closing it.
    """

    __slots__ = ("_body", "_flushed", "_reader", "_started")

    def __init__(self, body: Body, reader: object) -> None:
        self._body = body
        self._reader = reader  # None: the body is bytes, which any number of readers may have
        self._started = self._flushed = False

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> bytes:
        body, first = self._body, not self._started
        self._started = True
        if self._reader is None:
            if first and body._source:
                body._count = len(body._source)
                return body._source  # type: ignore[no-any-return]
            await body.aclose()
        elif not self._flushed:
            try:
                if chunk := await self._pull(first=first):
                    return chunk
            except GeneratorExit:  # nobody can wait any more
                self.__del__()
                raise
            except BaseException as error:
                if self._is_current():
                    await body._ashut(error)
                raise
        if self._is_current():
            await body._ashut(None)
        raise StopAsyncIteration

    async def _pull(self, *, first: bool) -> bytes:
        body = self._body
        body._check(self._reader)
        if first:
            body._stream = _apulled(body._source)
        async for chunk in body._stream:
            if mapped := body._mapped(chunk):
                return mapped
        self._flushed = True
        return body._flushed()

    def _is_current(self) -> bool:
        return self._started and self._reader in {None, self._body._reader}

    async def aclose(self) -> None:
        if self._is_current():
            await self._body.aclose()

    def __del__(self) -> None:
        if self._is_current():
            self._body.close()


class File:
    """A file opened in binary mode, from where it stands, as a source; it stays the caller's to close.

    It is sent as long as it was when it was given, for that length has been announced: what is written behind it
    meanwhile, as to a log, is left out.
    """

    def __init__(self, file: BinaryIO) -> None:
        if isinstance(file, TextIOBase):  # told now, not when the head of the request has been sent
            raise TypeError(f"{file!r} is open in text mode: open it in binary mode")
        self.file = file
        try:
            self.start: int | None = file.tell()
            self.length: int | None = file.seek(0, 2) - self.start
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


class Factory:
    """A function that makes a new iterable or async iterable for each time the body is sent, as a source.

    What it makes is closed after each iteration, if it can be closed.
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
            yield from _pulled(made)
        finally:
            if hasattr(made, "close"):
                made.close()
            elif hasattr(made, "aclose") and in_async_chain():
                await_(made.aclose())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        made: Any = self.make()
        chunks: Any = _apulled(made)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()
            if hasattr(made, "close"):
                made.close()
            elif hasattr(made, "aclose"):
                await made.aclose()


def _source(source: Any) -> Any:
    if isinstance(source, str):
        return source.encode()
    if source is None:
        return b""
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, dict) or not (hasattr(source, "__iter__") or hasattr(source, "__aiter__")):
        raise TypeError(f"expected bytes, str, a binary file or an iterable of bytes as body, got {source!r}")
    return source


def _is_async(source: Any) -> bool:
    if isinstance(source, (Body, Factory)):
        return source.is_async
    return hasattr(source, "__aiter__") and not hasattr(source, "__iter__")


def _pulled(source: Any) -> Iterable[bytes]:
    """What a plain function iterates over."""
    if _is_async(source) and not isinstance(source, Body):
        return _awaiting(source)
    if hasattr(source, "read") and not isinstance(source, Body):
        return _blocks(source)
    return source  # type: ignore[no-any-return]


def _apulled(source: Any) -> AsyncIterator[bytes]:
    """What an ``async def`` iterates over."""
    return source.__aiter__() if hasattr(source, "__aiter__") else _Blocking(_pulled(source))


def _awaiting(source: AsyncIterable[bytes]) -> Iterator[bytes]:
    """Iterate over an async source from a plain function on the bridge."""
    chunks = source.__aiter__()
    while True:
        try:
            chunk = await_(chunks.__anext__())
        except StopAsyncIteration:
            return
        try:
            yield chunk
        except GeneratorExit:
            if hasattr(chunks, "aclose") and in_async_chain():
                await_(chunks.aclose())
            raise


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


def _bytes(chunk: Any, whose: object) -> bytes:
    if type(chunk) is bytes:
        return chunk
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"expected bytes from {whose!r}, got {chunk!r} ({type(chunk).__qualname__})")


def _kept(error: BaseException) -> BaseException:
    """Return a copy for hooks that come late: the error itself holds, by its traceback, frames that hold the body."""
    try:
        return copy(error)
    except Exception:  # noqa: BLE001  some errors cannot be made of their args
        return BodyAbandoned(f"the body ended before its time: {error!r}")


def _call_hook(hook: OnClose, count: int, error: BaseException | None) -> None:
    try:
        hook(count, error)
    except Exception:
        from logging import getLogger  # rarely needed

        getLogger("formation").exception("an on_close hook raised: %r", hook)
