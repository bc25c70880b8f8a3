"""Undo content codings (RFC 9110, 8.4.1), in pieces that are never large, and within limits.

>>> import gzip
>>> unpack = unpacker_of(["gzip"])
>>> b"".join([*unpack(gzip.compress(b"hello world")), *unpack(b"")])
b'hello world'
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from formation.errors import BodyTooLarge
from formation.http.codings import WINDOW, available, brotli_library, zstd_library

Unpack: TypeAlias = Callable[[bytes], Iterator[bytes]]
"""Gives what comes of a chunk, in pieces; of ``b""``, the end."""

LIMITS: Final = "unpack"
"""Among the extensions of a request: the `Limits` that an edge is to keep to."""

PIECE: Final = 64 * 1024
"""Bytes that come out of an unpacker at a time, as `formation.http.sources.CHUNK`. Brotli gives up to half more."""

STACKED: Final = 5
"""Codings on top of each other that are undone, as in urllib3. Nobody means more than two; each has its memory."""

MEMBERS: Final = (1000, 512)
"""Members of gzip, or frames of zstd, that a body may have; from there on, the bytes that one has to have on average.
Each costs a new unpacker, and an empty one has 9 bytes: a megabyte of them would take 5 s. Whoever packs in blocks, as
bgzip and pzstd do, makes them of 10 kB and more."""

_FREE: Final = 1024 * 1024
_ZSTD_FRAMES: Final = (b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60)))


class Undecodable(ValueError):
    """A body is not what Content-Encoding says. ``is_cut_off``: as far as it goes, it is."""

    def __init__(self, message: str, *, is_cut_off: bool = False) -> None:
        self.is_cut_off = is_cut_off
        super().__init__(message)


def can_unpack(codings: Sequence[str]) -> bool:
    """Tell whether all of them can be undone here, and are not too many."""
    return len(codings) <= STACKED and set(codings) <= set(available())


def unpacker_of(codings: Sequence[str]) -> Unpack:
    """Return what undoes ``codings``, as `codings_of` has them.

    It makes of a chunk pieces that are no larger than about `PIECE`, however much they unpack to; of ``b""``, the end.
    It raises `Undecodable` for what is no such coding, or ends before its time; a body without a byte is none at all.
    Memory is bounded: a window of each, and a piece.
    """
    unpack: Unpack = lambda chunk: iter((chunk,) if chunk else ())  # noqa: E731
    for coding in reversed(codings):
        unpack = _stacked(unpack, _UNPACKERS[coding]())
    return unpack


class Limits:
    """What an unpacker is to keep to: an edge that does says so, by ``are_kept``.

    Args:
        max_ratio: how many times as large as it came a body may become; ``None``: any.
    """

    def __init__(self, max_ratio: float | None) -> None:
        self.max_ratio = max_ratio
        self.are_kept = False


def within_ratio(unpack: Unpack, max_ratio: float | None) -> Unpack:
    """Return an unpacker that raises `BodyTooLarge` once it gives more than ``max_ratio`` times what it has taken.

    The first MiB is free: what is small does no harm, and a page of blanks may be a thousandth of itself.
    """
    came = gave = 0

    def guarded(chunk: bytes) -> Iterator[bytes]:
        nonlocal came, gave
        came += len(chunk)
        for piece in unpack(chunk):
            gave += len(piece)
            if max_ratio is not None and gave > max(_FREE, max_ratio * came):
                raise BodyTooLarge(limit=int(max(_FREE, max_ratio * came)), got=gave, ratio=max_ratio)
            yield piece

    return guarded


def _stacked(outer: Unpack, inner: _Unpacker) -> Unpack:
    def unpack(chunk: bytes) -> Iterator[bytes]:
        for piece in outer(chunk):
            yield from inner.unpack(piece)
        if not chunk:
            inner.end()

    return unpack


class _Unpacker(ABC):
    """One coding, undone."""

    begun = False
    over = False  # its end has come; what is behind it is padding
    came = members = 0

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Give what comes of ``data``, which is not empty."""
        self.begun = True
        self.came += len(data)
        try:
            for at in range(0, len(data), PIECE):  # what is left of a larger one would be copied for each piece
                yield from self.pieces(data[at : at + PIECE])
        except self.errors as error:
            raise Undecodable(f"the body is not what Content-Encoding says: {error}") from error

    def another(self) -> None:
        """See that there are not too many members."""
        self.members += 1
        free, least = MEMBERS
        if self.members > free and self.members * least > self.came:
            raise Undecodable(f"the body has {self.members} members or more, of under {least} bytes each")

    def end(self) -> None:
        """See that the end has come."""
        if self.begun and not self.over:
            raise Undecodable(
                "the body ends before what Content-Encoding says does: it has been cut off", is_cut_off=True
            )

    errors: tuple[type[Exception], ...]

    @abstractmethod
    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Give what comes of ``data``."""


class _Inflate(_Unpacker):
    """gzip (RFC 1952) of any number of members; zlib (RFC 1950), and what servers send as deflate that is none."""

    errors = (zlib.error,)

    def __init__(self, *, bare: bool) -> None:
        self.bare = bare  # deflate (RFC 1951) without a wrapper is taken, too
        self.inflate: Any = None
        self.padded = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self.padded:
            if self.inflate is None:
                self.inflate = zlib.decompressobj(self.format_of(data[0]))
            elif self.inflate.eof:  # another member (RFC 1952, 2.2), or padding
                if data[0] != 0x1F:
                    self.padded = True
                    return
                self.another()
                self.inflate = zlib.decompressobj(32 + zlib.MAX_WBITS)
            if piece := self.inflate.decompress(data, PIECE):
                yield piece
            data = self.inflate.unconsumed_tail or self.inflate.unused_data
            self.over = self.inflate.eof
        if self.inflate.unconsumed_tail == b"" and not self.over:  # what zlib has taken in, and has more of
            while piece := self.inflate.decompress(b"", PIECE):
                yield piece
            self.over = self.inflate.eof

    def format_of(self, first: int) -> int:
        """Tell by the first byte: in one of zlib its low half is 8, in bare deflate of any packer it is not."""
        is_wrapped = first == 0x1F or first & 0x8F == 0x08
        return 32 + zlib.MAX_WBITS if is_wrapped or not self.bare else -zlib.MAX_WBITS


class _Unzstd(_Unpacker):
    """zstd (RFC 8878) of any number of frames, with windows as in RFC 9659."""

    def __init__(self) -> None:
        self.zstd = zstd_library()
        self.errors = (self.zstd.ZstdError,)
        self.frame: Any = None
        self.ahead = b""  # of a frame, the first bytes, until there are enough to tell it from padding

    def end(self) -> None:
        """See that the end has come, and that nothing has begun after it."""
        if self.ahead and any(magic.startswith(self.ahead) for magic in _ZSTD_FRAMES):
            self.over = False
        super().end()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self.frame is None:
                data = self.ahead + data
                if len(data) < 4:
                    self.ahead = data
                    return
                self.ahead = b""
                if self.over and not data.startswith(_ZSTD_FRAMES):
                    return
                self.another()
                options = {self.zstd.DecompressionParameter.window_log_max: WINDOW}
                self.frame, self.over = self.zstd.ZstdDecompressor(options=options), False
            frame = self.frame
            if piece := frame.decompress(data, PIECE):
                yield piece
            data = b""
            while not frame.needs_input and not frame.eof and (piece := frame.decompress(b"", PIECE)):
                yield piece
            if frame.eof:
                data, self.frame, self.over = frame.unused_data, None, True


class _Unbrotli(_Unpacker):
    """br (RFC 7932)."""

    def __init__(self) -> None:
        brotli = brotli_library()
        self.errors = (brotli.error,)
        self.stream = brotli.Decompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        stream = self.stream
        if self.over:
            return
        piece = stream.process(data, output_buffer_limit=PIECE)
        while piece:  # and not as long as it cannot accept more: it may be able to, and have more to give all the same
            yield piece
            piece = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=PIECE)
        self.over = stream.is_finished()


_UNPACKERS: Final[dict[str, Callable[[], _Unpacker]]] = {
    "gzip": lambda: _Inflate(bare=False),
    "deflate": lambda: _Inflate(bare=True),
    "br": _Unbrotli,
    "zstd": _Unzstd,
}
