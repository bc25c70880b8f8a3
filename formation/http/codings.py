"""Content codings (RFC 9110, 8.4.1): which there are, and bodies packed by them piece by piece.

gzip and deflate are the standard library's; ``br`` needs brotli, ``zstd`` Python 3.14 or backports.zstd:
``pip install 'formation[compression]'``. What is not installed is not there: see `available`.

>>> packer = packer_of("gzip")
>>> packed = packer.pack(b"hello ") + packer.flush() + packer.pack(b"world") + packer.finish()
>>> import gzip
>>> gzip.decompress(packed)
b'hello world'
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from formation.http.lists import members
from formation.http.negotiation import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW: Final = 23
"""Base 2 logarithm of the largest window of zstd, 8 MiB: what RFC 9659 (3) allows on the web, and browsers unpack."""

LEVELS: Final = {
    "zstd": (3, 1, 22),  # zstd's own: as small as gzip at 6 in an eighth of its time
    "br": (4, 0, 11),  # as small as gzip at 6 in half its time; 5 takes twice the memory, 9 ten times the time
    "gzip": (6, 0, 9),  # zlib's own; 9 is a hundredth smaller for up to four times the time
    "deflate": (6, 0, 9),
}
"""By coding: the level where nobody says, the least, and the most."""

_BROTLI_WINDOW: Final = 19  # 512 KiB, as nginx's module has it: a body for the web repeats what is near
_NAMES: Final = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3


class Packer(Protocol):
    """Packs a body."""

    def pack(self, chunk: bytes, /) -> bytes:
        """Take bytes; return what comes out so far."""

    def flush(self) -> bytes:
        """Return the rest of what has been taken, so that it can be unpacked now."""

    def finish(self) -> bytes:
        """Return the end."""


@cache
def available() -> tuple[str, ...]:
    """Return the codings that can be packed and unpacked here, the best first."""
    return (*(["zstd"] if zstd_library() else []), *(["br"] if brotli_library() else []), "gzip", "deflate")


def packer_of(coding: str, level: int | None = None) -> Packer:
    """Return a new packer.

    Args:
        coding: one that is `available`.
        level: of effort, within `LEVELS`; ``None``: that of `LEVELS`.
    """
    effort = LEVELS[coding][0] if level is None else level
    return _PACKERS[coding](effort)


def codings_of(value: str) -> list[str]:
    """Return the codings in a Content-Encoding, in lower case, the one that was applied last at the end.

    >>> codings_of("GZip, identity, br"), codings_of("x-gzip"), codings_of("")
    (['gzip', 'br'], ['gzip'], [])
    """
    named = [member.lower() for member in members(value)]
    return [_NAMES.get(name, name) for name in named if name != IDENTITY]


class _Deflate:
    def __init__(self, level: int, bits: int) -> None:
        stream = zlib.compressobj(level, zlib.DEFLATED, bits)
        self.pack, self.finish = stream.compress, stream.flush
        self._stream = stream

    def flush(self) -> bytes:
        return self._stream.flush(zlib.Z_SYNC_FLUSH)


class _Brotli:
    def __init__(self, level: int) -> None:
        stream = brotli_library().Compressor(quality=level, lgwin=_BROTLI_WINDOW)
        self.pack, self.flush, self.finish = stream.process, stream.flush, stream.finish


class _Zstd:
    def __init__(self, level: int) -> None:
        zstd = zstd_library()
        named = zstd.CompressionParameter
        # From 20 on, the levels of zstd have windows that no browser unpacks.
        options = {named.compression_level: level, **({named.window_log: WINDOW} if level >= 20 else {})}
        stream = zstd.ZstdCompressor(options=options)
        self.pack, self.finish = stream.compress, stream.flush
        self._stream = stream

    def flush(self) -> bytes:
        return self._stream.flush(self._stream.FLUSH_BLOCK)  # type: ignore[no-any-return]


_PACKERS: Final[dict[str, Callable[[int], Packer]]] = {
    "gzip": lambda level: _Deflate(level, 16 + zlib.MAX_WBITS),
    "deflate": lambda level: _Deflate(level, zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}


@cache
def zstd_library() -> Any:
    """Return the module for zstd, or ``None``."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        try:
            from backports import zstd  # type: ignore[no-redef,unused-ignore]
        except ImportError:
            return None
    return zstd


@cache
def brotli_library() -> Any:
    """Return the module for br, or ``None``."""
    try:
        import brotli  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    # Before 1.2 it could not be stopped in the middle of a bomb; brotlicffi never could.
    return brotli if hasattr(brotli.Decompressor, "can_accept_more_data") else None
