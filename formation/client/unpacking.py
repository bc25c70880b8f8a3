"""Undo the content encoding of a body that comes in pieces, and see to it that its end has come, too.

Libraries take a gzip body that is cut off for a whole one where its Content-Length is met, as it is behind a proxy that
has stored half of it; and httpx drops all but the first member. So gzip is undone here wherever a library lets us.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from formation.client import wire
from formation.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_OF_ZLIB: Final = _GZIP | {"deflate"}


def is_gzip(headers: Mapping[str, str]) -> bool:
    """Tell whether it is gzip, and nothing else besides."""
    return _encoding(headers) in _GZIP


def unpacking(headers: Mapping[str, str]) -> Callable[[bytes], Iterator[bytes]]:
    """Return what undoes the content encoding, if it is one of the standard library's.

    It makes of a chunk pieces that are no larger than `wire.CHUNK`, however much they unpack to; of ``b""``, the end.
    It raises a `ProtocolError` for what is no such encoding, or ends before its time.
    """
    return _unpacking() if _encoding(headers) in _OF_ZLIB else lambda chunk: iter((chunk,) if chunk else ())


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Encoding", "").strip().lower()


def _unpacking() -> Callable[[bytes], Iterator[bytes]]:
    inflate, begun = zlib.decompressobj(_GZIP_OR_ZLIB), False

    def unpack(chunk: bytes) -> Iterator[bytes]:
        nonlocal inflate, begun
        begun = begun or bool(chunk)
        try:
            for at in range(0, len(chunk), wire.CHUNK):
                rest = chunk[at : at + wire.CHUNK]  # what is left of a larger one would be copied for each piece
                while rest:
                    if inflate.eof:  # another member (RFC 1952, 2.2), or padding
                        if rest[0] != 0x1F:
                            break
                        inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
                    if piece := inflate.decompress(rest, wire.CHUNK):
                        yield piece
                    rest = inflate.unconsumed_tail or inflate.unused_data
            if not chunk and (piece := inflate.flush()):
                yield piece
        except zlib.error as error:
            raise ProtocolError(f"the body is not what Content-Encoding says: {error}") from error
        if not chunk and begun and not inflate.eof:
            raise ProtocolError("the body ends before what Content-Encoding says does: it has been cut off")

    return unpack
