"""ASGI servers on loopback, each in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 20.0
"""Many times what a start takes: a hang must fail, a slow machine must not."""


def uvicorn(app: Any, port: int) -> tuple[Any, Callable[[], object]]:
    """Uvicorn; return what runs and what ends it."""
    from uvicorn import Config, Server

    server = Server(Config(app, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=2))
    return server.serve(), lambda: setattr(server, "should_exit", True)


def hypercorn(app: Any, port: int) -> tuple[Any, Callable[[], object]]:
    """Hypercorn."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind, config.errorlog, config.accesslog = [f"127.0.0.1:{port}"], None, None
    config.graceful_timeout = 2
    over = asyncio.Event()
    return serve(app, config, shutdown_trigger=over.wait), over.set


def granian(app: Any, port: int) -> tuple[Any, Callable[[], object]]:
    """Granian, in this process."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    return server.serve(), server.stop


@contextmanager
def running(kind: Any, app: Any) -> Iterator[int]:
    """Run ``app`` on one of the servers above; the value is its port."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    stop: list[Callable[[], object]] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        serving, end = kind(app, port)
        stop.append(end)
        await serving

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    try:
        _wait_for(port, thread)
        yield port
    finally:
        loops[0].call_soon_threadsafe(stop[0])
        thread.join(SECONDS)
        assert not thread.is_alive(), "the server did not end"


def _wait_for(port: int, thread: threading.Thread) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and thread.is_alive():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)  # there is no other way to hear of it
        else:
            return
    raise TimeoutError("the server did not start")
