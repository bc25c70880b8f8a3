"""Middleware inside of any `aiohttp.ClientSession`: hand the session to a library that knows nothing of it.

`Weather` stands for any SDK on aiohttp. Its server is on this machine, and busy every other time; what tries again, and
prints a line for each call, stands in the session.
"""

import asyncio
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from itertools import count

import aiohttp

from formation import req, res
from formation.for_aiohttp import client_middleware
from formation.middleware import retry

calls = count(1)
connections = set()


class Weather:
    """Somebody else's code."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def today(self, city: str) -> str:
        async with self.session.get(f"{self.url}/today/{city}", raise_for_status=True) as response:
            return await response.text()


def tell(ctx, call):
    """Print a line for each call. It is plain, and waits all the same."""
    ctx = call(ctx)
    print(f"  {req(ctx).name}: {res(ctx).status_code} at attempt {ctx['attempt']}")
    return ctx


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer one request after the other on a connection."""
    connections.add(asyncio.current_task())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            city = head.split(b" ", 2)[1].rpartition(b"/")[2]
            status = "404 Not Found" if city == b"atlantis" else "200 OK"
            status, body = ("503 Busy", b"") if next(calls) % 2 else (status, city + b": sunny")
            writer.write(f"HTTP/1.1 {status}\r\nRetry-After: 0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    except (IncompleteReadError, ConnectionError):  # the client has gone
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with aiohttp.ClientSession(middlewares=[client_middleware([tell, retry()])]) as session:
        weather = Weather(f"http://{host}:{port}", session)
        for city in ("oslo", "rome"):
            print(await weather.today(city))
        try:
            await weather.today("atlantis")
        except aiohttp.ClientResponseError as error:  # the SDK's errors are what they were
            print(f"aiohttp.ClientResponseError: {error.status}")
    server.close()
    await asyncio.wait(connections)


if __name__ == "__main__":
    asyncio.run(main())
