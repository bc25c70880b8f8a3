"""A gibibyte down and a gibibyte up, through five middlewares: the most memory that the process holds, in MiB.

Each case runs in a process of its own, which loads one edge, or the bare library, and nothing else; the server is in
another one. One of the middlewares changes the body of each request and response, chunk by chunk. Both sides send the
same generator and read the same stream. What our modules take counts, too. Linux only.
"""

import asyncio
import io
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.server import running

SIZE = 1 << 30
PIECE = bytes(1 << 16)
METHODS = {"down": "GET", "up": "POST"}
MORE = 20
"""MiB that we may hold over what the bare library does."""


@dataclass(frozen=True)
class Row:
    """One line of the table: the MiB of ours, and those of a peer."""

    what: str
    ours: float
    peer: str
    theirs: float

    def cells(self) -> tuple[str, ...]:
        """The cells of the line."""
        more = self.ours - self.theirs
        verdict = "ok" if more <= MORE else "over"
        return self.what, f"{self.ours:.1f}", self.peer, f"{self.theirs:.1f}", f"{more:+.1f}", f"<= +{MORE}", verdict


def rows() -> list[Row]:
    """Run each case in a process of its own, one after the other."""
    with running("bench.gibibyte") as url:
        return [
            Row(f"{_name(ours)}, {way}", _held(ours, way, url), _name(bare), _held(bare, way, url))
            for bare, ours in PAIRS
            for way in METHODS
        ]


def _name(case: Callable[..., Any]) -> str:
    return case.__name__.strip("_").replace("_", " ")


def _held(case: Callable[..., Any], way: str, url: str) -> float:
    """Return the MiB that a case has held at most."""
    command = [sys.executable, "-m", "bench.gibibyte", case.__name__, way, url]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(name: str, way: str, url: str) -> None:
    """Run a case here, and print the MiB."""
    run: Any = globals()[name](url, way)
    count = asyncio.run(run) if asyncio.iscoroutine(run) else run
    assert count == SIZE, f"{count} bytes of {SIZE} have come through"
    # What getrusage says begins with what the parent held.
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(int(peak) / 1024)


# What is sent, and the middlewares


def pieces() -> Iterator[bytes]:
    """Make a gibibyte."""
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


async def apieces() -> AsyncIterator[bytes]:
    """Make one for an async library."""
    for piece in pieces():
        yield piece


def swapped(ctx: Any, call: Any) -> Any:
    """Look at every byte on its way, both ways."""
    ctx["fmtn.req.http"].body.map(bytes.swapcase)
    ctx = call(ctx)
    ctx["fmtn.res.http"].body.map(bytes.swapcase)
    return ctx


def five() -> list[Any]:
    """Make the middlewares."""
    from formation.middleware import context, raise_for_status, request_duration, request_id

    return [request_id(), context(), request_duration(), swapped, raise_for_status()]


# The cases: each returns how many bytes have come through


def _requests(url: str, way: str) -> int:
    import requests

    return _by_session(requests.Session(), url, way)


def _requests_adapter(url: str, way: str) -> int:
    import requests

    from formation.for_requests import Adapter

    session = requests.Session()
    session.mount("http://", Adapter(five()))
    return _by_session(session, url, way)


def _requests_client(url: str, way: str) -> int:
    from formation.for_requests import build

    return _by_client(build(base_uri=url, middleware=five()), way)


def _httpx2(url: str, way: str) -> int:
    import httpx2

    return _by_httpx(httpx2.Client(), url, way)


def _httpx2_transport(url: str, way: str) -> int:
    import httpx2

    from formation.for_httpx import Transport

    return _by_httpx(httpx2.Client(transport=Transport(five())), url, way)


def _httpx2_client(url: str, way: str) -> int:
    from formation.for_httpx import build

    return _by_client(build(base_uri=url, middleware=five()), way)


async def _httpx2_async(url: str, way: str) -> int:
    import httpx2

    return await _by_async_httpx(httpx2.AsyncClient(), url, way)


async def _httpx2_async_transport(url: str, way: str) -> int:
    import httpx2

    from formation.for_httpx import AsyncTransport

    return await _by_async_httpx(httpx2.AsyncClient(transport=AsyncTransport(five())), url, way)


async def _httpx2_async_client(url: str, way: str) -> int:
    from formation.for_httpx import async_build

    return await _by_async_client(async_build(base_uri=url, middleware=five()), way)


async def _aiohttp(url: str, way: str) -> int:
    import aiohttp

    return await _by_aiohttp(aiohttp.ClientSession(), url, way)


async def _aiohttp_middleware(url: str, way: str) -> int:
    import aiohttp

    from formation.for_aiohttp import client_middleware

    return await _by_aiohttp(aiohttp.ClientSession(middlewares=[client_middleware(five())]), url, way)


async def _aiohttp_client(url: str, way: str) -> int:
    from formation.for_aiohttp import build

    return await _by_async_client(build(base_uri=url, middleware=five()), way)


def _wsgi_app(url: str, way: str) -> int:
    file = io.BufferedReader(_Raw(pieces()), len(PIECE))
    answer = _wsgi({"REQUEST_METHOD": METHODS[way], "wsgi.input": file}, lambda *_: None)
    return int(b"".join(answer)) if way == "up" else _count(answer)


def _wsgi_app_client(url: str, way: str) -> int:
    from formation.for_requests import build
    from formation.for_wsgi import endpoint

    return _by_client(build(base_uri="http://app", endpoint=endpoint(_wsgi), middleware=five()), way)


async def _asgi_app(url: str, way: str) -> int:
    chunks, count, said = pieces(), 0, b""

    async def receive() -> dict[str, Any]:
        chunk = next(chunks, b"")
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    async def send(message: dict[str, Any]) -> None:
        nonlocal count, said
        said = message.get("body", b"")
        count += len(said)

    await _asgi({"type": "http", "method": METHODS[way]}, receive, send)
    return int(said) if way == "up" else count


async def _asgi_app_client(url: str, way: str) -> int:
    from formation.for_aiohttp import build
    from formation.for_asgi import endpoint

    return await _by_async_client(build(base_uri="http://app", endpoint=endpoint(_asgi), middleware=five()), way)


PAIRS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (_requests, _requests_client),
    (_requests, _requests_adapter),
    (_httpx2, _httpx2_client),
    (_httpx2, _httpx2_transport),
    (_httpx2_async, _httpx2_async_client),
    (_httpx2_async, _httpx2_async_transport),
    (_aiohttp, _aiohttp_client),
    (_aiohttp, _aiohttp_middleware),
    (_wsgi_app, _wsgi_app_client),
    (_asgi_app, _asgi_app_client),
]


# How they do it


def _count(chunks: Any) -> int:
    return sum(map(len, chunks))


async def _acount(chunks: Any) -> int:
    count = 0
    async for chunk in chunks:
        count += len(chunk)
    return count


def _by_session(session: Any, url: str, way: str) -> int:
    with session:
        if way == "up":
            return int(session.post(url, data=pieces()).content)
        with session.get(url, stream=True) as response:
            return _count(response.iter_content(len(PIECE)))


def _by_httpx(client: Any, url: str, way: str) -> int:
    with client:
        if way == "up":
            return int(client.post(url, content=pieces()).content)
        with client.stream("GET", url) as response:
            return _count(response.iter_bytes())


async def _by_async_httpx(client: Any, url: str, way: str) -> int:
    async with client:
        if way == "up":
            return int((await client.post(url, content=apieces())).content)
        async with client.stream("GET", url) as response:
            return await _acount(response.aiter_bytes())


async def _by_aiohttp(session: Any, url: str, way: str) -> int:
    async with session:
        if way == "up":
            async with session.post(url, data=apieces()) as response:
                return int(await response.read())
        async with session.get(url) as response:
            return await _acount(response.content.iter_any())


def _by_client(sender: Any, way: str) -> int:
    with sender:
        if way == "up":
            return int(sender.post(content=pieces()).body)
        with sender.get(stream=True) as result:
            return _count(result.body)


async def _by_async_client(sender: Any, way: str) -> int:
    async with sender:
        if way == "up":
            return int((await sender.post(content=apieces())).body)
        async with sender.get(stream=True) as result:
            return await _acount(result.body)


# The other side


def _wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    """Send a gibibyte, or count what comes."""
    start_response("200 OK", [])
    if environ["REQUEST_METHOD"] == "GET":
        return pieces()
    return [b"%d" % _count(iter(lambda: environ["wsgi.input"].read(len(PIECE)), b""))]


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    """Do the same."""
    if scope["type"] == "lifespan":
        return
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200})
        for piece in pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        return
    count, more = 0, True
    while more:
        message = await receive()
        count, more = count + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % count})


class _Raw(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = next(self.chunks, b"")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def serve() -> None:
    """Serve until standard input ends, a thread for each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listening,), daemon=True).start()
    sys.stdin.read()


def _accept(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    """Send a gibibyte, or count what comes in chunks."""
    with suppress(OSError), connection, connection.makefile("rb", 1 << 20) as file:
        while method := file.readline()[:4]:
            while file.readline().strip():
                pass
            if method == b"POST":
                count = 0
                while size := int(file.readline(), 16):
                    count += len(file.read(size))
                    file.readline()
                file.readline()
                body = b"%d" % count
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                for piece in pieces():
                    connection.sendall(piece)


if __name__ == "__main__":
    measure(*sys.argv[1:]) if sys.argv[1:] else serve()
