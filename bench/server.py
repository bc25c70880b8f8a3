"""A server on loopback, in a process of its own, that answers each request with the same JSON.

It prints its port, and ends when its standard input does: with the benchmark, whatever becomes of that.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BODY = b'{"id": 1, "name": "ann", "teams": ["red", "blue"]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Answer(asyncio.Protocol):
    """Answers whatever ends a head; none of the requests here has a body."""

    answer = HEAD + BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.head = b""

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.head += data
        while b"\r\n\r\n" in self.head:
            self.head = self.head.partition(b"\r\n\r\n")[2]
            self.transport.write(self.answer)  # type: ignore[attr-defined]


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def running(module: str = "bench.server") -> Iterator[str]:
    """Start this server, or that of another module; the value is its URL."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve(Answer))
