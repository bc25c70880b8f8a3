"""Undo the content encoding of a body that comes in pieces, and see to it that its end has come, too.

Libraries take a gzip body that is cut off for a whole one where its Content-Length is met, as it is behind a proxy that
has stored half of it; httpx drops all but the first member, and unpacks all of a piece of 64 KiB at once, which zstd
makes 2 GiB of. So what we know ourselves is undone here, wherever a library lets us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formation.errors import ProtocolError
from formation.http.codings import codings_of
from formation.http.unpackers import LIMITS, Limits, Undecodable, can_unpack, unpacker_of, within_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from formation.http import Request


def is_ours(headers: Mapping[str, str]) -> bool:
    """Tell whether there is a content encoding, and it is undone here."""
    codings = codings_of(headers.get("Content-Encoding", ""))
    return bool(codings) and can_unpack(codings)


def keeps_limits(request: Request) -> Limits | None:
    """Return the limits for what comes of ``request``, if there are any, and say that it comes unpacked."""
    limits: Limits | None = request.extensions.get(LIMITS)
    if limits is not None:
        limits.are_kept = True
    return limits


def unpacking(headers: Mapping[str, str], request: Request | None = None) -> Callable[[bytes], Iterator[bytes]]:
    """Return what undoes the content encoding, if it is one that is known here.

    It makes of a chunk pieces that are no larger than about `formation.http.unpackers.PIECE`, however much they unpack
    to; of ``b""``, the end. It raises a `ProtocolError` for what is no such encoding, or ends before its time, and a
    `BodyTooLarge` for what unpacks to more than the `LIMITS` of the request let it.
    """
    limits = None if request is None else keeps_limits(request)
    if not is_ours(headers):
        return lambda chunk: iter((chunk,) if chunk else ())
    unpack = unpacker_of(codings_of(headers["Content-Encoding"]))
    if limits is not None:
        unpack = within_ratio(unpack, limits.max_ratio)

    def translated(chunk: bytes) -> Iterator[bytes]:
        try:
            yield from unpack(chunk)
        except Undecodable as error:
            raise ProtocolError(str(error)) from error

    return translated
