"""The ASGI edge: layers that read a header of the request and set one of the response, around an app that says hello.

The peers do the same: by hand, as pure ASGI middleware with Starlette's ``Headers`` and ``MutableHeaders``; with
Starlette's ``BaseHTTPMiddleware``; and OpenTelemetry's, whose layers open a span that nobody records instead. The
server is a function that takes what it is sent. Memory is measured apart: ``python -m bench.asgi_edge``.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware

from bench.measure import Row, rounds
from formation.for_asgi import FormationMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = (1, 5, 10)
CONNECTIONS = 10_000

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/hello",
    "raw_path": b"/hello",
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"example.com"),
        (b"user-agent", b"bench/1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip"),
        (b"x-request-id", b"7f3a"),
    ],
    "client": ("192.0.2.1", 4711),
    "server": ("example.com", 80),
}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The app."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def receive() -> Any:
    """Receive an empty request."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Take what the app sends."""


def plain(number: int) -> Any:
    """Make a plain middleware."""
    name = f"x-layer-{number}"

    def layer(ctx: Any, call: Any) -> Any:
        seen = ctx["fmtn.req.http"].headers.get("x-request-id")
        ctx = call(ctx)
        ctx["fmtn.res.http"].headers[name] = seen
        return ctx

    return layer


def colored(number: int) -> Any:
    """Make an async middleware."""
    name = f"x-layer-{number}"

    async def layer(ctx: Any, call: Any) -> Any:
        seen = ctx["fmtn.req.http"].headers.get("x-request-id")
        ctx = await call(ctx)
        ctx["fmtn.res.http"].headers[name] = seen
        return ctx

    return layer


class ByHand:
    """Pure ASGI middleware, as Starlette's documentation teaches it."""

    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = Headers(scope=scope).get("x-request-id")

        async def send_with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[self.name] = seen
            await send(message)

        await self.app(scope, receive, send_with_header)


class Based(BaseHTTPMiddleware):
    """The same with ``BaseHTTPMiddleware``."""

    def __init__(self, app: Any, name: str) -> None:
        super().__init__(app)
        self.name = name

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        """Serve."""
        seen = request.headers.get("x-request-id")
        response = await call_next(request)
        response.headers[self.name] = seen
        return response


def nested(layer: Any, count: int) -> Any:
    """Put so many around the app."""
    app: Any = hello
    for number in range(count):
        app = layer(app, f"x-layer-{number}")
    return app


def serves(app: Any, loop: asyncio.AbstractEventLoop) -> Callable[[int], float]:
    """Time a request."""

    async def many(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            await app({**SCOPE}, receive, send)
        return perf_counter() - started

    return lambda count: loop.run_until_complete(many(count))


def rows() -> list[Row]:
    """Time 1 to 10 layers."""
    ways: dict[str, Any] = {
        "plain": lambda count: FormationMiddleware(hello, [plain(number) for number in range(count)]),
        "async": lambda count: FormationMiddleware(hello, [colored(number) for number in range(count)]),
        "by hand": lambda count: nested(ByHand, count),
        "BaseHTTPMiddleware": lambda count: nested(Based, count),
        "OpenTelemetry": lambda count: nested(lambda app, _: OpenTelemetryMiddleware(app), count),
    }
    loop = asyncio.new_event_loop()
    try:
        seconds = rounds({(name, n): serves(way(n), loop) for name, way in ways.items() for n in COUNTS})
    finally:
        loop.close()
    bars = {("by hand", 10): 1.0, ("BaseHTTPMiddleware", 10): 1 / 50}
    return [
        Row(f"{colour} layers: {n}", seconds[colour, n], peer, seconds[peer, n], at_most=bars.get((peer, n)))
        for colour in ("plain", "async")
        for n in COUNTS
        for peer in ("by hand", "BaseHTTPMiddleware", "OpenTelemetry")
    ]


# Memory


def pass_on(ctx: Any, call: Any) -> Any:
    """Be a plain middleware."""
    return call(ctx)


async def pass_on_async(ctx: Any, call: Any) -> Any:
    """Be an async middleware."""
    return await call(ctx)


class Through:
    """Be a hand-written one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""

        async def received() -> Any:
            return await receive()

        async def sent(message: Any) -> None:
            await send(message)

        await self.app(scope, received, sent)


async def quiet(scope: Any, receive: Any, send: Any) -> None:
    """Be an app that accepts a WebSocket and waits."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def memory(app: Any) -> float:
    """Return the bytes of the process that a connection takes which is open and quiet."""

    async def main() -> float:
        over = asyncio.Event()

        def connection() -> Any:
            connects = [{"type": "websocket.connect"}]

            async def receive() -> Any:
                if connects:
                    return connects.pop()
                await over.wait()
                return {"type": "websocket.disconnect", "code": 1001}

            scope = {**SCOPE, "type": "websocket", "scheme": "ws", "subprotocols": []}
            return app(scope, receive, send)

        async def many(count: int) -> list[Any]:
            tasks = [asyncio.create_task(connection()) for _ in range(count)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return tasks

        tasks = await many(100)
        before = resident()
        tasks += await many(CONNECTIONS)
        taken = resident() - before
        over.set()
        await asyncio.gather(*tasks)
        return taken / CONNECTIONS

    return asyncio.run(main())


def resident() -> int:
    """Return the bytes of memory that the process has (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


if __name__ == "__main__":  # each in a process of its own: memory that is given back may stay with it
    by_hand: Any = quiet
    for _ in range(5):
        by_hand = Through(by_hand)
    ways: dict[str, Any] = {
        "none": quiet,
        "by-hand": by_hand,
        "async": FormationMiddleware(quiet, [pass_on_async] * 5),
        "plain": FormationMiddleware(quiet, [pass_on] * 5),
    }
    if sys.argv[1:]:
        print(f"{sys.argv[1]}: {memory(ways[sys.argv[1]]) / 1024:.1f} KiB")
    else:
        print(f"Memory of an open WebSocket with five layers, of {CONNECTIONS}:", flush=True)
        for name in ways:
            subprocess.run([sys.executable, "-m", "bench.asgi_edge", name], check=True)
