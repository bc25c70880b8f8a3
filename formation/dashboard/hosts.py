"""The two ways in, WSGI and ASGI: what came is made an `Asked`, and the answer goes out as that server wants it."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from formation.dashboard.answers import Answer, answer
from formation.dashboard.feed import LIFE, event, is_stopping
from formation.dashboard.guard import Asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from formation.dashboard import Dashboard

_ENDED: Final = object()


# WSGI


def serve_wsgi(board: Dashboard, environ: dict[str, Any], start_response: Any, most: int) -> Iterable[bytes]:
    """Answer a request of a WSGI server."""
    asked = of_environ(environ)
    said = answer(asked, board.token, board.now())
    fields = list(said.headers.items())
    is_head = asked.method == "HEAD"
    if said.streams and not is_head:
        start_response("200 OK", fields)
        return _Stream(board, most)
    body = board.feed.latest()[1] if said.is_json else said.body
    if not said.streams and said.status != HTTPStatus.NO_CONTENT:
        fields.append(("Content-Length", str(len(body))))
    start_response(f"{said.status} {HTTPStatus(said.status).phrase}", fields)
    return [] if is_head else [body]


class _Stream:
    """Events of one client.

    Each takes a thread of the server while it lasts, so there may be few: whoever comes when there are enough gets one
    event, and asks again in a second.
    """

    def __init__(self, board: Dashboard, most: int) -> None:
        self._feed = board.feed
        self._clock = board.clock
        self._until = board.clock() + LIFE
        self._last = -1
        self._is_in = board.feed.enter(most)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        feed = self._feed
        while True:
            if self._clock() >= self._until or (self._last >= 0 and (not self._is_in or is_stopping())):
                raise StopIteration
            number, data = feed.latest()
            if number != self._last and data:
                self._last = number
                return event(number, data)
            if feed.closed.wait(feed.wait()):
                raise StopIteration

    def close(self) -> None:
        """Give the place to somebody else."""
        if self._is_in:
            self._is_in = False
            self._feed.leave()

    def __del__(self) -> None:
        self.close()  # a server that was interrupted may not have said so


def of_environ(environ: dict[str, Any]) -> Asked:
    """Return what came, of a WSGI environ (PEP 3333)."""
    headers = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    return Asked(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO", ""),
        environ.get("REMOTE_ADDR", "") or "",
        headers,
        environ.get("wsgi.url_scheme") == "https",
        environ.get("SCRIPT_NAME", ""),
    )


# ASGI


async def serve_asgi(board: Dashboard, scope: Any, receive: Any, send: Any, most: int) -> None:
    """Answer a request of an ASGI server; where the dashboard is the app itself, its lifespan, too."""
    if scope["type"] == "lifespan":
        await _lifespan(board, receive, send)
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    asked = of_scope(scope)
    said = answer(asked, board.token, board.now())
    is_head = asked.method == "HEAD"
    if said.streams and not is_head:
        await _head(send, said)
        await _stream(board, receive, send, most)
        return
    body = board.feed.latest()[1] if said.is_json else said.body
    size = {} if said.streams or said.status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
    await _head(send, said, size)
    await send({"type": "http.response.body", "body": b"" if is_head else body})


async def _head(send: Any, said: Answer, more: dict[str, str] | None = None) -> None:
    fields = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in {**said.headers, **(more or {})}.items()
    ]
    await send({"type": "http.response.start", "status": said.status, "headers": fields})


async def _stream(board: Dashboard, receive: Any, send: Any, most: int) -> None:
    """Send events until the client leaves, is too slow, or has had its time."""
    feed, until, last = board.feed, board.clock() + LIFE, -1
    is_in = feed.enter(most)
    try:
        while board.clock() < until and (last < 0 or is_in):
            number, data = feed.latest()
            if number != last and data:
                last = number
                sent = send({"type": "http.response.body", "body": event(number, data), "more_body": True})
                if await _within(LIFE, sent) is _ENDED:
                    return  # it has not read for that long; nobody else has waited for it
            if feed.closed.is_set() or is_stopping():
                break
            if (is_in or last < 0) and await _is_gone(receive, feed.wait()):
                return
        await send({"type": "http.response.body", "body": b""})
    except OSError:  # so servers say that the client has gone (ASGI 2.4)
        return
    finally:
        if is_in:
            feed.leave()


async def _is_gone(receive: Callable[[], Awaitable[Any]], seconds: float) -> bool:
    """Wait so long; tell whether the client has left meanwhile. What it sends is not looked at."""
    while (message := await _within(seconds, receive())) is not _ENDED:
        if message["type"] == "http.disconnect":
            return True
    return False


async def _within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    """Await something, on asyncio or on trio, for so long at most."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        with trio.move_on_after(seconds):
            return await awaitable
        return _ENDED
    from asyncio import timeout

    try:
        async with timeout(seconds) as limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            return _ENDED
        raise


async def _lifespan(board: Dashboard, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            board.close()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def of_scope(scope: Any) -> Asked:
    """Return what came, of an ASGI scope. Its path has the mount in front of it, or not, as the framework does."""
    mount, path = scope.get("root_path", ""), scope["path"]
    if mount and (path == mount or path.startswith(f"{mount}/")):
        path = path[len(mount) :]
    client = scope.get("client")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Asked(scope["method"], path, client[0] if client else "", headers, scope.get("scheme") == "https", mount)
