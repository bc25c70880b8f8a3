"""Compression on an ASGI app: pages of JSON of 20 and 200 kB, whole and in pieces, and what is not packed at all.

Beside Starlette's ``GZipMiddleware``, at the same level, and at the level that it has by itself; and as plain zlib, to
see what is left for both. The server is a function that takes what it is sent.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.middleware.gzip import GZipMiddleware

from bench.measure import Row, calls, rounds
from formation.for_asgi import FormationMiddleware
from formation.http.codings import available
from formation.middleware import compress

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = json.dumps([{"id": n, "name": f"cup {n * 7919 % 1000}", "price": n * 31 % 977} for n in range(420)]).encode()
PIECES = [PAGE[at : at + 2048] for at in range(0, len(PAGE), 2048)]
LEVEL = 6


def scope(accept: str) -> dict[str, Any]:
    """Make the scope of a request."""
    headers = [(b"host", b"example.com"), (b"user-agent", b"bench/1"), (b"accept-encoding", accept.encode())]
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/cups", "raw_path": b"/cups", "query_string": b"", "root_path": "",
        "headers": headers, "client": ("192.0.2.1", 4711), "server": ("example.com", 80),
    }  # fmt: skip


def serving(body: list[bytes], *, length: bool = True) -> Any:
    """Make an app that answers with a body in so many messages."""
    said = [(b"content-length", str(sum(map(len, body))).encode())] if length else []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), *said]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at, chunk in enumerate(body):
            await send({"type": "http.response.body", "body": chunk, "more_body": at < len(body) - 1})

    return app


async def receive() -> Any:
    """Receive an empty request."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Take what the app sends."""


def serves(app: Any, accept: str, loop: asyncio.AbstractEventLoop) -> Callable[[int], float]:
    """Time a request."""
    asked = scope(accept)

    async def many(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            await app(asked.copy(), receive, send)
        return perf_counter() - started

    return lambda count: loop.run_until_complete(many(count))


def packed(_: Any) -> bytes:
    """Pack the page by zlib alone."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    return packer.compress(PAGE) + packer.flush()


def rows() -> list[Row]:
    """Time both."""
    loop = asyncio.new_event_loop()

    def ours(app: Any, **settings: Any) -> Any:
        return FormationMiddleware(app, middleware=[compress(**settings)])

    def theirs(app: Any, level: int = LEVEL) -> Any:
        return GZipMiddleware(app, compresslevel=level)

    whole, stream, small = serving([PAGE]), serving(PIECES, length=False), serving([b'{"id": 7}'])
    large = serving([PAGE * 10])
    found = []
    try:
        for what, app, accept in (
            ("a page of 200 kB, gzip at level 6", large, "gzip"),
            ("a page of 20 kB, gzip at level 6", whole, "gzip"),
            ("the same in 10 pieces, flushed", stream, "gzip"),
            ("what is short", small, "gzip"),
            ("who wants nothing packed", whole, "identity"),
        ):
            ways = {"ours": serves(ours(app), accept, loop), "theirs": serves(theirs(app), accept, loop)}
            seconds = rounds({**ways, "zlib": calls(packed)})
            # In pieces Starlette does not flush; what is short, or not packed, shows what an edge costs: it has none.
            at_most = 1.2 if app is large else None
            found.append(Row(what, seconds["ours"], "GZipMiddleware", seconds["theirs"], at_most=at_most))
            if app is whole and accept == "gzip":
                found.append(Row(what, seconds["ours"], "zlib alone", seconds["zlib"]))
        usual = serves(theirs(whole, 9), "gzip", loop)
        for coding in available()[:3]:
            seconds = rounds({"ours": serves(ours(whole, encodings=coding), coding, loop), "theirs": usual})
            found.append(
                Row(f"the page, {coding} as it comes", seconds["ours"], "GZipMiddleware as it comes", seconds["theirs"])
            )
    finally:
        loop.close()
    return found
