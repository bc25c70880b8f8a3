"""The routes of ``servers.py`` as apps in this process, `wsgi` and `asgi`: the same `Server`, none of its sockets.

The port in the Host header tells which server is meant, so that its URL, its ``watch`` and its ``route`` are used as
ever. A route reads from its connection and writes to it, and an app of WSGI is asked for what comes next; so a route
runs in a greenlet, and each thing it does to its connection is a step that the app takes in its own way.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from greenlet import getcurrent, greenlet

from tests.servers import Connection, Gone, Seen, Server, _phrase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterable, Iterator

    Step = tuple[str, Any]

PIECE = 64 * 1024


class Exchange(Connection):
    """What a route has in place of a connection."""

    def __init__(self) -> None:
        self.keep = True

    def step(self, what: str, value: Any = None) -> Any:
        """Have the app do something; return what comes of it."""
        return getcurrent().parent.switch((what, value))

    def head(
        self,
        status: int,
        headers: Iterable[tuple[str, str | bytes]] = (),
        reason: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Begin the response; an app has no informational ones."""
        if status < 200:
            return
        lines = [(name, value.decode("latin-1") if isinstance(value, bytes) else value) for name, value in headers]
        lines = [line for line in lines if line[0] not in {"Transfer-Encoding", "Connection"}]  # a server's to say
        self.step("head", (f"{status} {_phrase(status) if reason is None else reason}", lines))
        self.send(body)

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        if data:
            self.step("send", data)

    chunk = send

    def wait(self, seconds: float = 20.0) -> None:
        """Wait until the client goes, which raises, or so long."""
        self.step("wait", seconds)

    def take(self, size: int = 0) -> Iterator[bytes]:
        """Read the body of the request, in pieces."""
        while piece := self.step("read"):
            yield piece

    def chunks(self, seen: Seen) -> Iterator[bytes]:
        """Read it, whatever its length."""
        return self.take()

    @property
    def sock(self) -> Any:
        """There is none to play tricks with."""
        raise Gone


def steps(method: str, target: str, headers: Iterable[tuple[str, str]]) -> Generator[Step, Any, None]:
    """Run the route of a request: yields each step, and is sent what came of it."""
    path, _, query = target.partition("?")
    seen = Seen(method, target, unquote(path), parse_qsl(query, keep_blank_values=True), list(headers), 0)
    server = Server.running[int((seen.header("Host") or "").rpartition(":")[2])]
    route = greenlet(server.respond)
    step = route.switch(Exchange(), seen)
    try:
        while not route.dead:
            came = yield step
            route.parent = getcurrent()
            step = route.switch(came)
    finally:
        if not route.dead:
            route.parent = getcurrent()
            with suppress(Gone):
                route.throw(Gone)


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answer as the server does that the Host header names."""
    lines = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
    lines += [(name.replace("_", "-"), environ[name]) for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if name in environ]
    came = None
    with closing(steps(environ["REQUEST_METHOD"], environ["REQUEST_URI"], lines)) as route, suppress(StopIteration):
        while True:
            what, value = route.send(came)
            came = None
            if what == "head":
                start_response(*value)
            elif what == "send":
                yield value
            elif what == "read":
                came = environ["wsgi.input"].read(PIECE)
            else:
                time.sleep(value)


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as the server does that the Host header names."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    body, came = _pieces(receive), None
    with closing(steps(scope["method"], target.decode(), lines)) as route:
        with suppress(StopIteration):
            while True:
                what, value = route.send(came)
                came = None
                if what == "head":
                    status, headers = value
                    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
                    await send({"type": "http.response.start", "status": int(status[:3]), "headers": fields})
                elif what == "send":
                    await send({"type": "http.response.body", "body": value, "more_body": True})
                elif what == "read":
                    came = await anext(body, b"")
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(value):
                            await _gone(receive)
        await send({"type": "http.response.body"})


async def _pieces(receive: Any) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        more = message["more_body"]
        if message["body"]:
            yield message["body"]


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise Gone
