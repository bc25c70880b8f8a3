"""A WSGI server on loopback, in a thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from waitress.server import create_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def waitress(app: Any) -> Iterator[int]:
    """Run ``app`` on waitress; the value is its port."""
    server = create_server(app, host="127.0.0.1", port=0, threads=6)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        with suppress(OSError):  # a worker that pulls at the same time has had it closed already
            server.trigger.pull_trigger(server.close)  # in its own thread, so that nothing is closed under its select
        thread.join(20)
