"""A process of a service whose processes share a Redis: ``python -m tests.storage.service wsgi redis://… '{…}'``.

It says its port in a line, and serves until it is killed. ``POST /orders`` takes an order behind `idempotency`;
``POST /call`` makes a call behind `circuit_breaker`, which fails with ``?fail``. Each counts ``runs`` in Redis, and
while there is a ``hold`` there it waits for a ``go``.
"""

from __future__ import annotations

import json
import socket
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import redis
import redis.asyncio

from formation import lift
from formation.errors import CircuitOpenError
from formation.middleware import circuit_breaker, idempotency
from formation.storage import Redis

PATIENCE = 20
"""Seconds for which a call waits to be let go."""


class Down(Exception):
    """What is called has failed."""


def serve_wsgi(url: str, settings: dict[str, Any]) -> None:
    """Serve by threads."""
    from formation.for_wsgi import FormationMiddleware

    own, shared = redis.Redis.from_url(url), Redis(url, timeout=PATIENCE)

    def run() -> int:
        number = own.incr("runs")
        if own.exists("hold"):
            own.blpop("go", PATIENCE)
        return int(number)

    @lift(middleware=[circuit_breaker(name="shop", storage=shared, **settings.get("breaker", {}))])
    def called(*, fails: bool) -> None:
        run()
        if fails:
            raise Down

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/orders":
            start_response("201 Created", [("Content-Type", "text/plain")])
            return [b"order %d" % run()]
        start_response("200 OK", [("Content-Type", "application/json")])
        try:
            called(fails=environ["QUERY_STRING"] == "fail")
        except (Down, CircuitOpenError) as error:
            return [said(error)]
        return [said(None)]

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        request_queue_size = 50

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Quiet) as server:
        server.set_app(FormationMiddleware(app, [idempotency(shared, **settings.get("idempotency", {}))]))
        tell(server.server_port)
        server.serve_forever()


def serve_asgi(url: str, settings: dict[str, Any]) -> None:
    """Serve by tasks."""
    import uvicorn

    from formation.for_asgi import FormationMiddleware

    own, shared = redis.asyncio.Redis.from_url(url), Redis(url, timeout=PATIENCE)

    async def run() -> int:
        number = await own.incr("runs")
        if await own.exists("hold"):
            await own.blpop("go", PATIENCE)
        return int(number)

    @lift(middleware=[circuit_breaker(name="shop", storage=shared, **settings.get("breaker", {}))])
    async def called(*, fails: bool) -> None:
        await run()
        if fails:
            raise Down

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        status = 201
        if scope["path"] == "/orders":
            body = b"order %d" % await run()
        else:
            status = 200
            try:
                await called(fails=scope["query_string"] == b"fail")
                body = said(None)
            except (Down, CircuitOpenError) as error:
                body = said(error)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    served = FormationMiddleware(app, [idempotency(shared, **settings.get("idempotency", {}))])
    with socket.create_server(("127.0.0.1", 0), backlog=50) as place:
        server = uvicorn.Server(uvicorn.Config(served, lifespan="off", log_level="critical"))
        tell(place.getsockname()[1])
        server.run(sockets=[place])


def tell(port: int) -> None:
    """Say where it is."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def said(error: Exception | None) -> bytes:
    """What came of a call, as JSON."""
    outcome = "rejected" if isinstance(error, CircuitOpenError) else "ok" if error is None else "failed"
    return json.dumps({"outcome": outcome, "retry_after": getattr(error, "retry_after", None)}).encode()


if __name__ == "__main__":
    kind, url, settings = sys.argv[1:]
    {"wsgi": serve_wsgi, "asgi": serve_asgi}[kind](url, json.loads(settings))
