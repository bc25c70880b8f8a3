"""A call of an ASGI app that is no part of the exchange it comes from: nobody waits for it, and it has no body.

`formation.resilience.forks.aside` asks for it, as for what a cache refreshes in the background. On asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.errors import BodyTooLarge, ProtocolError
from formation.http.body import Body
from formation.http.response import Response
from formation.keys import REQ_HTTP, RES_HTTP
from formation.server.asgi.bodies import BODIES, pieces
from formation.server.asgi.messages import decoded, scope_for
from formation.server.request import MAX_BODY

if TYPE_CHECKING:
    from formation.kernel import Ctx
    from formation.server.asgi.messages import AsgiRequest, Message


async def call_aside(ctx: Ctx) -> Ctx:
    """Call the app with the request of ``ctx``, and put the response there, whole.

    Raises:
        BodyTooLarge: it is longer than `MAX_BODY`.
        ProtocolError: the app has returned in the middle.
    """
    request: AsgiRequest = ctx[REQ_HTTP]
    scope = {**scope_for(request, request.native)}
    if "state" in scope:
        scope["state"] = scope["state"].copy()  # each request has its own (ASGI, Lifespan State)
    answer = _Answer()
    assert request.app is not None  # noqa: S101  for mypy: a WebSocket has none, and is not cached
    await request.app(scope, answer.receive, answer.send)
    if answer.head is None or not answer.is_whole:
        raise ProtocolError("the app has returned in the middle of its response")
    headers = decoded(answer.head.get("headers", ()))
    ctx[RES_HTTP] = Response(answer.head["status"], headers, Body(b"".join(answer.chunks)), request=request)
    return ctx


class _Answer:
    """What the app receives, which is nothing, and what it sends."""

    def __init__(self) -> None:
        from asyncio import Event

        self.head: Message | None = None
        self.chunks: list[bytes] = []
        self.is_whole = self._is_asked = False
        self._size = 0
        self._over = Event()

    async def receive(self) -> Message:
        """Give the end of the body, then, when the response is whole, the client's."""
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take a message of the app."""
        if message["type"] == "http.response.start":
            self.head = message
        elif message["type"] in BODIES and not self.is_whole:
            for chunk, is_last in pieces(message):
                self.chunks.append(bytes(chunk))
                self._size += len(chunk)
                self.is_whole = is_last
            if self._size > MAX_BODY:
                raise BodyTooLarge(limit=MAX_BODY, got=self._size)
            if self.is_whole:
                self._over.set()
