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

Each of these is in a file of its own: what a body is made of in ``sources.py``, how its chunks pass in ``passing.py``,
how it ends in ``ending.py``. Here is what it is as a whole: in memory or not, how long, whose, and whether it can be
sent again.

>>> body = Body([b"hello ", b"world"]).map(bytes.upper)
>>> body.on_close(lambda count, error: print(count, error))
>>> list(body)
11 None
[b'HELLO ', b'WORLD']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import ref

from formation.errors import BodyTooLarge
from formation.http.passing import Passing
from formation.http.sources import Source, bytes_of, source_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

BodyLike: TypeAlias = "bytes | bytearray | memoryview | str | Iterable[bytes] | AsyncIterable[bytes] | Body | None"


class Owner(Protocol):
    """Whose body it is: it is told when the body changes, and says whether there is one to change."""

    def body_changed(self, length: int | None) -> None: ...
    def has_changeable_body(self) -> bool: ...


class Body(Passing, Source):
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

    __slots__ = ("__weakref__", "_message", "limit")

    def __init__(
        self, source: BodyLike = b"", *, limit: int | None = None, close: Callable[[], Any] | None = None
    ) -> None:
        self._source = source if isinstance(source, bytes) else source_of(source)
        self.limit = limit
        self._close = close
        self._behind = (source,) if isinstance(source, Body) else ()
        self._closing = self._hooks = self._maps = self._watchers = ()
        self._message: ref[Owner] | None = None
        self._error = self._reader = self._stream = None
        self._count = 0
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
        self._leave_for_good()
        self._reader = self._error = None
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
        fork.on_close(self._tell)
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
            self._source = bytes_of(fn(self._source), fn) + (bytes_of(finish(), finish) if finish else b"")
        else:
            self._check_untouched()
            self._maps += ((fn, finish),)
        if message is not None:
            message.body_changed(self.length)
        return self

    # How

    def attach(self, message: Owner) -> None:
        """Belong to ``message``."""
        self._message = ref(message)

    def replace(self, old: Body) -> None:  # type: ignore[override]  # a body takes the place of a body
        """Stand in the place of ``old``: its limit stays, unless there is another, and what is left of it is closed."""
        if self.limit is None:
            self.limit = old.limit
        super().replace(old)

    def complete(self, content: bytes) -> None:
        """Be ``content``: somebody has read the source for us."""
        self._count = len(content)
        if not self._over:
            try:
                for watcher in self._watchers:
                    watcher(content)
            except BaseException as error:
                self._shut(error)
                raise
            self._shut(None)
        self._keep(content)

    def _keep(self, content: bytes) -> None:
        self._source = content
        self._maps = ()
