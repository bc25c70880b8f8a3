"""Pack the bodies that a server sends, as its clients like them best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from formation.errors import ProtocolError
from formation.http.codings import LEVELS, available, packer_of
from formation.http.headers import Headers
from formation.http.lists import members
from formation.http.media_types import TYPES, matching
from formation.http.negotiation import IDENTITY, coding, vary_on
from formation.http.response import BODILESS, Response
from formation.http.validators import tags, weakened
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, RES_HTTP, SIDE


def compress(
    encodings: Iterable[str] = ("zstd", "br", "gzip"),
    min_size: int = 500,
    *,
    types: Iterable[str] = TYPES,
    levels: Mapping[str, int] | None = None,
    when: Callable[[Any], object] | None = None,
) -> Middleware[Any]:
    """Pack a server's responses by the coding that the client likes best (RFC 9110, 8.4 and 12.5.3).

    A body is packed as it streams, and one whose length is not known is flushed with each piece, so that events and
    long polls arrive in time. Vary is set, Content-Length and Accept-Ranges go, a strong ETag becomes a weak one, and
    what comes with If-None-Match matches it all the same. HEAD has the headers that GET would have.

    Left alone is what is encoded already, what has no body (1xx, 204, 205, 304), a part (206, Content-Range), and
    Cache-Control: no-transform. What the client refuses in every form, ``identity;q=0`` too, is sent as it is, and no
    406 is made up; who refuses ``identity`` alone gets small bodies and other types packed, too. On a client nothing is
    packed: `compress_request` does that.

    A page that has a secret and something that an attacker has chosen tells the secret by its packed length (BREACH,
    CVE-2013-3587). Let ``when`` leave such pages out.

    Args:
        encodings: of ``zstd``, ``br``, ``gzip`` and ``deflate``, the one that you like best first. What is not
            installed is not offered: ``pip install 'formation[compression]'``.
        min_size: bytes; what is known to be shorter is left alone. 500, as in Starlette: what would be saved fits into
            the packet that goes anyway.
        types: media types, with ``*`` for anything.
        levels: effort by encoding; where none is given, zstd 3, br 4, gzip 6: see `formation.http.codings.LEVELS`.
        when: gets the context with the response, and says whether it may be packed.

    Raises:
        ValueError: an encoding or a level that there is not, a negative ``min_size``.
        TypeError: ``when`` cannot be called.

    Order:
        Outside of `etag`, which would have another tag for each encoding, and of whatever looks at the body; inside of
        `request_logger`. A `cache` outside keeps packed answers, each for its kind of client.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> request = Request("GET", "https://h/", headers={"Accept-Encoding": "gzip"})
    >>> page = lambda ctx: reply(ctx, 200, {"Content-Type": "text/css", "Content-Length": "900"}, b"hello " * 150)
    >>> ctx = compress()({"fmtn.side": "server", "fmtn.req.http": request}, page)
    >>> [ctx["fmtn.res.http"].headers[name] for name in ("Content-Encoding", "Content-Length", "Vary")]
    ['gzip', '34', 'Accept-Encoding']
    """
    names = [encodings] if isinstance(encodings, str) else list(encodings)
    if min_size < 0:
        raise ValueError(f"expected min_size as a number of bytes, got {min_size!r}")
    if when is not None and not callable(when):
        raise TypeError(f"expected when as a function of ctx, got {when!r}")
    packing = _Packing(names, min_size, types, _effort(names, levels or {}))

    def compress(ctx: Any, call: Call[Any]) -> Any:
        if not isinstance(ctx, dict) or ctx.get(SIDE) != "server" or ctx.get(KIND) in {"websocket", "rpc"}:
            return call(ctx)
        asked = ctx[REQ_HTTP].headers
        accept, known = asked.get("Accept-Encoding"), asked.get("If-None-Match")
        ctx = call(ctx)
        response: Response | None = ctx.get(RES_HTTP)
        if response is not None and _is_whole_and_plain(response) and (when is None or when(ctx)):
            packing.apply(response, accept, known)
        return ctx

    return compress


def _effort(names: Iterable[str], levels: Mapping[str, int]) -> dict[str, int]:
    for name in (*names, *levels):
        if name not in LEVELS:
            raise ValueError(f"expected an encoding of {', '.join(LEVELS)}, got {name!r}")
    for name, level in levels.items():
        _, least, most = LEVELS[name]
        if isinstance(level, bool) or not isinstance(level, int) or not least <= level <= most:
            raise ValueError(f"expected a level from {least} to {most} for {name}, got {level!r}")
    return {name: usual for name, (usual, _, _) in LEVELS.items()} | dict(levels)


class _Packing:
    """How responses are packed."""

    def __init__(self, names: list[str], min_size: int, types: Iterable[str], effort: dict[str, int]) -> None:
        self.offered = [name for name in names if name in available()]
        self.min_size, self.effort = min_size, effort
        self.fits = matching(types)
        self.liked = lru_cache(maxsize=128)(self.judge)  # browsers are few

    def apply(self, response: Response, accept: str | None, known: str | None) -> None:
        """Pack a response to a request with ``accept`` as Accept-Encoding and ``known`` as If-None-Match."""
        headers, length, is_text = response.headers, _length(response), self.fits(response.content_type)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            if is_text or not response.content_type:
                _freshen(headers, known)
            return
        if length == 0:
            return
        encoding, may_be_plain = (self.judge if accept is not None and len(accept) > 100 else self.liked)(accept)
        is_worth_it = is_text and (length is None or length >= self.min_size)
        if may_be_plain and not is_worth_it:
            return
        is_packed = encoding is not None and encoding != IDENTITY
        if is_worth_it or is_packed:
            vary_on(headers, "Accept-Encoding")  # packed or not: the next client may like something else
        if is_packed:
            _pack(response, encoding, self.effort[encoding], length)  # type: ignore[arg-type,index]

    def judge(self, accept: str | None) -> tuple[str | None, bool]:
        """Return the encoding for ``accept``, and whether the client takes what is not packed, too."""
        return coding(accept, self.offered), coding(accept, ()) is not None


def _is_whole_and_plain(response: Response) -> bool:
    status, headers = response.status_code, response.headers
    if (status in BODILESS and status != HTTPStatus.NOT_MODIFIED) or status == HTTPStatus.PARTIAL_CONTENT:
        return False
    if "Content-Encoding" in headers or "Content-Range" in headers:
        return False
    directives = headers.get("Cache-Control")
    return directives is None or "no-transform" not in {each.lower() for each in members(directives)}


def _length(response: Response) -> int | None:
    said = response.headers.get("Content-Length", "")
    if said.isascii() and said.isdecimal() and len(said) < 20:
        return int(said)
    if response.request is not None and response.request.method == "HEAD":
        return None
    return response.body.length if response.body.is_bytes else None


def _freshen(headers: Headers, known: str | None) -> None:
    """Let a 304 say what the 200 has said (RFC 9110, 15.4.5), or a cache would not find it."""
    vary_on(headers, "Accept-Encoding")
    etag = headers.get("ETag")
    if etag is not None and known is not None and weakened(etag) in tags(known):
        headers["ETag"] = weakened(etag)


def _pack(response: Response, encoding: str, level: int, length: int | None) -> None:
    if response.request is not None and response.request.method == "HEAD":
        if length is None:  # nobody knows whether GET would have one that is long enough
            return
        response.body_changed(None)
        response.on_close(lambda count, error: None)  # or a server that is handed a file would say how long that is
    else:
        body, packer, came = response.body, packer_of(encoding, level), 0
        if body.is_bytes:
            if length != body.length:  # the server says what is wrong with it
                return
        elif body.ended:  # somebody has had it, and there is nothing to send
            return

        def pack(chunk: bytes) -> bytes:
            nonlocal came
            came += len(chunk)
            return packer.pack(chunk)

        def flushed(chunk: bytes) -> bytes:
            return packer.pack(chunk) + packer.flush() if chunk else b""

        def finish() -> bytes:
            if length is not None and came < length:  # packed to its end, it would look whole
                raise ProtocolError(
                    f"expected {length} bytes of the response's body, as Content-Length says, got {came}"
                )
            return packer.finish()

        body.map(flushed if length is None else pack, finish)
    response.headers["Content-Encoding"] = encoding
    response.headers.popall("Accept-Ranges", None)  # of what is packed anew each time there are no parts
