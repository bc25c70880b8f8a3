"""Bodies of 10 GiB of zero bytes, packed into 10 MiB and less; made in a moment, for what is packed is repeated."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final
from zlib import compressobj

BLOCK: Final = 64 * 1024 * 1024
COUNT: Final = 160
SIZE: Final = COUNT * BLOCK


def _whole(packer: Any) -> bytes:
    """A member of a block, as many times: a body of both gzip and zstd may have many."""
    return (packer.compress(bytes(BLOCK)) + packer.flush()) * COUNT


@cache
def gzipped() -> bytes:
    """10 MiB."""
    return _whole(compressobj(9, wbits=31))


@cache
def zstd() -> bytes:
    """A third of a MiB."""
    from formation.http.codings import zstd_library

    return _whole(zstd_library().ZstdCompressor())


@cache
def br() -> bytes:
    """A few KiB: what a flush ends, ends with a byte, and the next block is packed as the last one."""
    from brotli import Compressor

    packer = Compressor(quality=5)
    blocks = [packer.process(bytes(BLOCK)) + packer.flush() for _ in range(3)]
    return b"".join(blocks[:2]) + blocks[2] * (COUNT - 2) + packer.finish()


BOMBS: Final[dict[str, Callable[[], bytes]]] = {"gzip": gzipped, "br": br, "zstd": zstd}
