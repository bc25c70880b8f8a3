"""A hundred calls at once: the class is the one for requests, but for the import, and the middleware are plain.

The server is a small one on this machine that takes 50 ms for each answer, and fails now and then.
"""

import asyncio
import json
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from itertools import count
from time import perf_counter

from formation.for_aiohttp import client, json_response
from formation.middleware import raise_for_status, request_id, retry

requests = count(1)
connections = set()


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer one request after the other on a connection; each tenth of all is out of luck."""
    connections.add(asyncio.current_task())
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
            status = "503 Service Unavailable" if next(requests) % 10 == 0 else "200 OK"
            body = json.dumps({"path": head.split(b" ", 2)[1].decode()}).encode()
            fields = f"Content-Type: application/json\r\nRetry-After: 0\r\nContent-Length: {len(body)}"
            writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
    except (IncompleteReadError, ConnectionError):  # the client has gone
        writer.close()


def timed(times):
    """Make a middleware that notes how long each call takes, retries and all. It is plain, and waits all the same."""

    def timed(ctx, call):
        started = perf_counter()
        ctx = call(ctx)
        times.append(perf_counter() - started)
        return ctx

    return timed


times: list[float] = []


@client
class Users:
    """A client as it would be on requests."""

    response_as = json_response
    middleware = [timed(times), request_id(), retry(), raise_for_status()]

    def user(self, number):
        """Get a user; to be awaited."""
        return self.request.get("/users/{number}", path={"number": number})


async def main() -> None:
    """Call."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Users(base_uri=f"http://{host}:{port}") as users:
        started = perf_counter()
        results = await asyncio.gather(*[users.user(number) for number in range(100)])
        seconds = perf_counter() - started

        paths = [result.body["path"] for result in results]
        again = sum(len(result.attempts) > 1 for result in results)
        print(f"{len(results)} answers, all where they belong: {paths == [f'/users/{n}' for n in range(100)]}")
        print(f"{again} of them at a second or third attempt")
        print(f"{seconds:.2f} s for all; one after the other they would have taken {sum(times):.1f} s")

        call = asyncio.create_task(users.user(1))
        await asyncio.sleep(0.01)
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            print("a call that nobody wants any more is cancelled as any other task")
    server.close()
    await asyncio.wait(connections)


asyncio.run(main())
