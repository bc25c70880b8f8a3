"""Bodies over ASGI: what a server receives for a request, and what an app sends as its answer, as bodies and back."""

from __future__ import annotations

import os
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from formation.bridge import run
from formation.errors import BodyConsumed, ClientGone, ProtocolError
from formation.http.sources import CHUNK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from formation.http.body import Body
    from formation.server.asgi.attempt import Attempt
    from formation.server.asgi.messages import Message, Receive

BODY: Final = "http.response.body"
START: Final = "http.response.start"
BODIES: Final = frozenset({BODY, "http.response.pathsend", "http.response.zerocopysend"})

REPLAY: Final = 64 * 1024
"""Bytes of a request that are kept until its answer begins, so that the app can be called again: what a connection
has in its buffers anyway. A middleware that calls twice for longer ones reads ``request.content`` first."""


class Upload:
    """What a server receives for one request; the beginning is kept, in case the app is called again."""

    __slots__ = ("_count", "_kept", "_receive", "_size", "ended", "gone", "replayable")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] | None = []
        self._count = self._size = 0
        self.ended = self.gone = False
        self.replayable = True  # all of it that has come is still there

    @property
    def begun(self) -> bool:
        """Whether any of it has come."""
        return bool(self._count)

    async def message(self, at: int) -> Message:
        """Return a message of the request, or its ``http.disconnect``.

        Raises:
            BodyConsumed: it has come before, and is gone.
        """
        if at < self._count:
            if self._kept is None:
                raise consumed()
            return self._kept[at]
        message = await self._receive()
        if message["type"] != "http.request":
            self.gone = True
            return message
        self._count += 1
        self._size += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        if self._kept is not None:
            self._kept.append(message)
            if self._size > REPLAY:
                self.forget()
        return message

    async def next(self) -> Message:
        """Return a message that nobody has had."""
        return await self.message(self._count)

    async def farewell(self) -> Message:
        """Wait for the client to go; what is left of the body is nobody's."""
        while (message := await self.next())["type"] == "http.request":
            pass
        return message

    def forget(self) -> None:
        """Keep nothing any more: the answer has begun, so that the app is not called again."""
        if self._size:  # the end of nothing takes no room
            self._kept, self.replayable = None, False


def consumed() -> BodyConsumed:
    """Make the error for who calls the app again when it has read the body, and that was too long to be kept."""
    return BodyConsumed("the app has read the body of the request: read request.content before the first call(ctx)")


class Source:
    """The body of a request, as a source of a `Body`."""

    __slots__ = ("_upload",)

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    @property
    def replayable(self) -> bool:
        """Whether it can be read from its start."""
        return self._upload.replayable

    def rewind(self) -> bool:
        """Nothing to do: each iteration starts anew."""
        return self.replayable

    def __aiter__(self) -> _Reading:
        return _Reading(self._upload)


class _Reading:
    """No async generator, for that would have to be closed."""

    __slots__ = ("_at", "_ended", "_upload")

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._at = 0
        self._ended = False

    def __aiter__(self) -> _Reading:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        message = await self._upload.message(self._at)
        if message["type"] != "http.request":
            raise ClientGone("the client has gone in the middle of its request")
        self._at += 1
        self._ended = not message.get("more_body")
        chunk: bytes = message.get("body", b"")
        return chunk


class Download:
    """The body of a request that a middleware has touched, as messages for the app."""

    __slots__ = ("_attempt", "_body", "_chunks", "_pulled")

    def __init__(self, body: Body, attempt: Attempt) -> None:
        self._attempt = attempt
        self._body: Body | None = body
        self._chunks: Any = None
        if not body.is_bytes:
            self._chunks = aiter(body) if body.is_async else iter(body)

    async def receive(self) -> Message:
        """Receive for the app."""
        body = self._body
        if body is None:
            return await self._attempt.exchange.upload.farewell()
        try:
            if self._chunks is None:
                chunk, is_last = b"".join(body), True
            else:
                given = await (anext(self._chunks, None) if body.is_async else run(_next, self._chunks))
                chunk, is_last = given or b"", given is None
        except Exception as error:  # noqa: BLE001  a middleware's, or there is no client any more
            self._attempt.broken = error
            self._body = None
            return {"type": "http.disconnect"}
        if is_last:
            self._body = None
        return {"type": "http.request", "body": chunk, "more_body": not is_last}


def _next(chunks: Any) -> Any:
    return next(chunks, None)


class Chunks:
    """The body of an app's answer, as a source of a `Body`: each chunk as the app sends it."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __aiter__(self) -> Chunks:
        self._attempt.begun = True
        return self

    async def __anext__(self) -> bytes:
        attempt = self._attempt
        if attempt.ended and not attempt.complete:
            raise ProtocolError("the app has ended in the middle of its response")
        chunk: bytes | None = None if attempt.complete else await next_chunk(attempt)
        if chunk is None:
            raise StopAsyncIteration
        return chunk


@coroutine
def next_chunk(attempt: Attempt) -> Generator[Attempt, bytes | None, bytes | None]:
    """Stop the chain until the app has sent the next chunk; ``None``: there is none."""
    return (yield attempt)


def pieces(message: Message) -> Iterator[tuple[bytes, bool]]:
    """Give the bytes of a message, and whether they are the last; of a file, in pieces."""
    is_last = not message.get("more_body", False)
    if message["type"] == BODY:
        yield message.get("body", b""), is_last
        return
    if message["type"] == "http.response.pathsend":
        with open(message["path"], "rb") as file:  # noqa: PTH123  as the server would
            while chunk := file.read(CHUNK):
                yield chunk, False
    else:
        yield from _copied(message["file"].fileno(), message.get("offset"), message.get("count"))
    yield b"", is_last


def _copied(file: int, offset: int | None, left: int | None) -> Iterator[tuple[bytes, bool]]:
    if offset is not None:
        os.lseek(file, offset, os.SEEK_SET)
    while chunk := os.read(file, CHUNK if left is None else min(CHUNK, left)):
        yield chunk, False
        if left is not None:
            left -= len(chunk)
