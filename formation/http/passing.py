"""How a body passes: chunk by chunk, through its maps, to the one who reads it.

>>> from formation.http import Body
>>> body = Body([b"hello ", b"", b"world"])
>>> body.watch(lambda chunk: print(chunk))
>>> b"".join(body)
b'hello '
b'world'
b'hello world'

Theory of operation
-------------------
A stream has one *reader*: a ``for``, an ``async for``, or a host that pushes. It is stood for by an object that the
body keeps while it reads. Whoever finds another one there, or none, since the body was closed or rewound meanwhile, has
lost its place, and can neither go on nor end it: the generator of a failed attempt may be collected, and so closed, in
the middle of the next attempt. What is in memory may have any number of readers.
"""

# ruff: noqa: SLF001  the reader of a body is a part of it

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from formation.bridge import in_async_chain
from formation.errors import BodyAbandoned, BodyConsumed
from formation.http.ending import Ending
from formation.http.sources import apulled, bytes_of, is_async, pulled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_HOST: Final = object()  # stands for the reader where the host pushes the chunks


class Passing(Ending):
    """What passes in chunks, and ends. `Body` fills it in."""

    __slots__ = ("_maps", "_reader", "_source", "_stream", "_watchers")

    _maps: tuple[tuple[Callable[[bytes], bytes], Callable[[], bytes] | None], ...]
    _reader: object  # stands for the iteration that is under way
    _source: Any
    _stream: Any  # the iterator that is pulled
    _watchers: tuple[Callable[[bytes], object], ...]

    @property
    def is_async(self) -> bool:
        """Whether it can only be iterated by ``async for``, or on the bridge."""
        return is_async(self._source)

    @property
    def length(self) -> int | None:
        """How many bytes it has, or ``None`` if only reading it tells."""
        if isinstance(self._source, bytes):
            return len(self._source)
        return None if self._maps else getattr(self._source, "length", None)

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
            self._check_untouched()
            self._watchers += (fn,)

    # Pulled

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

    # Pushed, by a host that does

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
            self._check_untouched()
            self._reader = _HOST
        return self._mapped(chunk)

    def flush(self) -> bytes:
        """Return what is left to come out at the end; then `end` it."""
        return self._flushed()

    # How

    def _begin(self) -> object:
        self._check_untouched()
        self._reader = reader = object()
        return reader

    def _check_untouched(self) -> None:
        if self._reader or self._over:
            raise self._consumed()

    def _check(self, reader: object) -> None:
        if self._reader is not reader:
            raise self._consumed()

    def _consumed(self) -> BodyConsumed:
        return BodyConsumed(f"{self!r} can be had once: read .content before anybody iterates or closes it")

    def _abandoned(self) -> BodyAbandoned | None:
        """Return what closing it now means: nothing, if all of it has come out."""
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
            self._stream = stream = iter(pulled(self._source))
            for chunk in stream:
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
            self._stream = None  # it has come to its end
            self._shut(None)

    def _mapped(self, chunk: Any) -> bytes:
        mapped = chunk if type(chunk) is bytes else bytes_of(chunk, self._source)
        for fn, _ in self._maps:
            mapped = bytes_of(fn(mapped), fn)
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
                carry = bytes_of(fn(carry), fn)
            if finish is not None:
                carry += bytes_of(finish(), finish)
        self._count += len(carry)
        if carry:
            for watcher in self._watchers:
                watcher(carry)
        return carry

    def _closers(self) -> tuple[Callable[[], Any], ...]:
        source, close, self._reader = self._source, self._close, None
        if close is not None:
            self._close = _nothing  # it may be sent again, and has been closed once
        elif not isinstance(source, (bytes, Passing)):  # a body is closed with this one
            close = getattr(source, "close", None) or getattr(source, "aclose", None)
        leave = None if self._stream is None else self._leave()
        if leave is None:
            return () if close is None else (close,)
        return (leave,) if close is None else (close, leave)

    def _leave_for_good(self) -> None:
        """Close the iterator that is pulled, whose reader has not come to its end, now or when somebody can wait."""
        leave = self._leave()
        if leave is not None and isinstance(leave.__self__, GeneratorType):  # type: ignore[attr-defined]  # a method
            leave()
        elif leave is not None:
            self._closing += (leave,)

    def _leave(self) -> Callable[[], Any] | None:
        """Forget the iterator that is pulled; return what closes it, if it may be in the middle."""
        stream, self._stream = self._stream, None
        if isinstance(stream, GeneratorType):  # one that runs closes the body itself, or another thread does
            is_ours = stream is not self._source and not isinstance(self._source, Passing)
            return stream.close if is_ours and not stream.gi_running else None
        return getattr(stream, "aclose", None)


class _Reader:
    """An ``async for`` over a body.

    It is no async generator: one that is left early lives on until the event loop gets round to closing it.
    """

    __slots__ = ("_body", "_flushed", "_reader", "_started")

    def __init__(self, body: Passing, reader: object) -> None:
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
            body._stream = apulled(body._source)
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


def _nothing() -> None:
    """Close what has been closed."""
