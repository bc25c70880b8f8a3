"""A server that is not there: it calls an ASGI app in this process and keeps what the app sends."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel

from formation import res


class Host:
    """Calls an app with ``received``, one message after another, then waits as a server does for the client to go.

    It is a real ASGI server but for the socket: what it is sent it takes in order, and it may be slow (``taking``), or
    raise (``fails`` tells at which message).
    """

    def __init__(self, *received: Any, fails: dict[int, BaseException] | None = None, **scope: Any) -> None:
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"example.com")],
            "client": ("192.0.2.1", 4711),
            "server": ("example.com", 80),
            "extensions": {},
            **scope,
        }
        if self.scope["type"] != "http":
            del self.scope["method"]
        self.received = list(received)
        self.asked = 0
        self.sent: list[dict[str, Any]] = []
        self.fails = fails or {}

    async def receive(self) -> Any:
        self.asked += 1
        while not self.received:
            if self.scope["type"] == "http" and self.sent and self.sent[-1].get("more_body") is False:
                return {"type": "http.disconnect"}  # as servers say it once the answer is out
            await anyio.sleep(0.001)
        return self.received.pop(0)

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if (error := self.fails.get(len(self.sent))) is not None:
            raise error
        self.sent.append(message)

    async def call(self, app: Any) -> Host:
        await app(self.scope, self.receive, self.send)
        return self

    # What came

    @property
    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("http.response.") for message in self.sent]

    @property
    def status(self) -> int:
        return next(message["status"] for message in self.sent if message["type"].endswith("response.start"))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return next(message["headers"] for message in self.sent if message["type"].endswith("response.start"))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def chunk(body: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    """A part of a request."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    """The head of a response."""
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(chunk: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    """A part of a response."""
    return {"type": "http.response.body", "body": chunk, "more_body": more}


def answering(*messages: dict[str, Any], first: Any = None, last: Any = None) -> Any:
    """Make an app that sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if first is not None:
            await first(scope, receive, send)
        for message in messages:
            await send(message)
        if last is not None:
            await last(scope, receive, send)

    return app


HELLO = (start(200, (b"content-type", b"text/plain"), (b"content-length", b"5")), body(b"hello"))


async def fails(scope, receive, send):
    """Fail, as a part of an app."""
    raise ZeroDivisionError("the app failed")


# Middleware


def plain(ctx, call):
    return call(ctx)


async def colored(ctx, call):
    return await call(ctx)


def header(name, value="1"):
    def header(ctx, call):
        ctx = call(ctx)
        res(ctx).headers[name] = value
        return ctx

    return header


def reading(ctx, call):
    ctx = call(ctx)
    res(ctx).content  # noqa: B018
    return ctx


def upper(ctx, call):
    ctx = call(ctx)
    res(ctx).body.map(bytes.upper)
    return ctx


def pulling(ctx, call):
    ctx = call(ctx)
    res(ctx).body = (part.upper() for part in res(ctx).body)
    return ctx


async def apulling(ctx, call):
    ctx = await call(ctx)
    old = res(ctx).body

    async def new():
        async for part in old:
            yield part.upper()

    res(ctx).body = new()
    return ctx
