"""Pack the bodies that a client sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from formation.http.codings import LEVELS, available, packer_of
from formation.http.media_types import TYPES, matching
from formation.http.recoded import recoded
from formation.http.request import Request
from formation.http.unpackers import Unpack
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, SIDE


def compress_request(
    encoding: str = "gzip",
    min_size: int = 500,
    *,
    level: int | None = None,
    types: Iterable[str] = TYPES,
) -> Middleware[Any]:
    """Pack the body of a client's request, and say so in Content-Encoding (RFC 9110, 8.4).

    What is in memory is packed at once, and left as it is where that does not make it smaller. A file or a stream is
    packed while it is sent, without a Content-Length; what could be sent a second time still can. Left alone is what
    has a Content-Encoding or a Content-Range. On a server nothing is packed.

    The server has to know the encoding: one that does not answers 415 (RFC 9110, 15.5.16), and may say in
    Accept-Encoding which it knows.

    Args:
        encoding: ``gzip``, which nearly every server that knows any knows, ``deflate``, ``br`` or ``zstd``.
        min_size: bytes; what is shorter is left alone. 500, as in `compress`.
        level: of effort; ``None``: gzip 6, br 4, zstd 3, see `formation.http.codings.LEVELS`.
        types: media types, with ``*`` for anything. A body without a Content-Type is packed.

    Raises:
        ValueError: an encoding that there is not, or is not installed; a level or a size that there is not.

    Order:
        Inside of what sets the body or its type, and of `request_logger`; outside of what signs the body, and of
        `retry`, so that it is packed once.

    >>> from formation.http import Request
    >>> ctx = {"fmtn.req.http": Request("POST", "https://h/", json=["hello"] * 1000)}
    >>> ctx = compress_request()(ctx, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Content-Encoding"], len(ctx["fmtn.req.http"].content)
    ('gzip', 60)
    """
    if encoding not in LEVELS:
        raise ValueError(f"expected an encoding of {', '.join(LEVELS)}, got {encoding!r}")
    if encoding not in available():
        raise ValueError(f"{encoding!r} is not installed: pip install 'formation[compression]'")
    usual, least, most = LEVELS[encoding]
    effort = usual if level is None else level
    if not least <= effort <= most:
        raise ValueError(f"expected a level from {least} to {most} for {encoding}, got {level!r}")
    if min_size < 0:
        raise ValueError(f"expected min_size as a number of bytes, got {min_size!r}")
    fits = matching(types)

    def packing() -> Unpack:
        packer = packer_of(encoding, effort)

        def pack(chunk: bytes) -> Iterator[bytes]:
            yield packer.pack(chunk) if chunk else packer.finish()

        return pack

    def compress_request(ctx: Any, call: Call[Any]) -> Any:
        if isinstance(ctx, dict) and ctx.get(SIDE) != "server" and REQ_HTTP in ctx:
            request: Request = ctx[REQ_HTTP]
            length = request.body.length  # made now, as its Content-Type is
            kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            is_free = "Content-Encoding" not in request.headers and request.has_changeable_body()
            if is_free and (length is None or length >= max(min_size, 1)) and (not kind or fits(kind)):
                _pack(request, packing, encoding)
        return call(ctx)

    return compress_request


def _pack(request: Request, packing: Any, encoding: str) -> None:
    plain, headers = request.in_memory, request.headers
    if plain is not None:
        pack = packing()
        packed = b"".join([*pack(plain), *pack(b"")])
        if len(packed) >= len(plain):
            return
        request.body.map(lambda _: packed)
    else:
        said = headers.getlist("Content-Type")
        request.body = recoded(request.body, packing)
        for line in said:  # which goes with a body that is replaced, and this is the same one
            headers["Content-Type"] = line
    headers["Content-Encoding"] = encoding
