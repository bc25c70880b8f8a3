"""The messages of a WebSocket, where somebody asks to look at them.

By functions (`Connection.on_receive`, `Connection.on_send`), or by ``message_middleware``, a chain of its own for each
direction. The chain of a message that comes runs inside of the app's ``receive()`` and ends in the app's hands, that of
one that goes runs inside of its ``send()`` and ends in the server's. So nothing is read ahead, nothing is queued, and
both directions go on at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from formation.bridge import await_, run
from formation.errors import ClientGone
from formation.keys import DIRECTION, KIND, MESSAGE, NATIVE, WS
from formation.server.asgi.messages import found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from formation.kernel import AsyncChain, Ctx
    from formation.server.asgi.messages import Message, Send

    Messages: TypeAlias = tuple[AsyncChain[Ctx], AsyncChain[Ctx]]

Hook: TypeAlias = "Callable[[str | bytes], str | bytes | Awaitable[str | bytes | None] | None]"


class Passage:
    """What the messages of a connection pass."""

    __slots__ = ("_gone", "_to_server", "broken", "closed", "ctx", "hooks", "incoming", "outgoing", "pending", "told")

    def __init__(self, send: Send) -> None:
        self._to_server = send
        self._gone: Exception | None = None  # what the server has raised at a message
        self.pending: list[Message] = []  # for the app, before the server is asked for more
        self.hooks: dict[str, list[Hook]] = {}
        self.ctx: Ctx | None = None  # of the chain of the connection
        self.incoming: AsyncChain[Ctx] | None = None
        self.outgoing: AsyncChain[Ctx] | None = None
        self.broken: Exception | None = None  # what a middleware has raised at a message
        self.closed = False  # by a middleware, and not by the app or the client
        self.told = False  # the app has been told so

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to look at messages. What a task sends that an app has left behind is the server's."""
        return self.ctx is not None and (self.incoming is not None or bool(self.hooks))

    def forget(self) -> None:
        """Hold nothing of a connection that is over."""
        self.ctx = self.broken = self._gone = None
        self.hooks = {}  # they hold the connection, to close it

    def check(self) -> None:
        """Tell the app what a middleware has done.

        Raises:
            ClientGone: it has failed at a message, or closed the connection.
        """
        if self.closed:
            self.told = True
            raise ClientGone("a middleware has closed the WebSocket: for the app it is as if the client had gone")
        if self.broken is not None:
            raise ClientGone("a middleware has failed at a message: for the app it is as if the client had gone")

    async def let_in(self, message: Message) -> None:
        """Let a message come: it is `pending` then, unless a middleware keeps it, or has closed the connection."""
        if self.closed:
            return
        try:
            await (self.take if self.incoming is None else self.incoming)(self._context("in", message))
        except Exception as error:  # noqa: BLE001  raised at call(ctx)
            self.broken = error

    async def let_out(self, message: Message) -> None:
        """Let a message go."""
        ctx = self._context("out", message)
        try:
            ctx = await self._hooked(ctx)
            await (self.give if self.outgoing is None else self.outgoing)(ctx)
        except Exception as error:
            if error is self._gone:  # the server's
                raise
            self.broken = error
        self.check()

    async def take(self, ctx: Ctx) -> Ctx:
        """Take a message for the app."""
        ctx = await self._hooked(ctx)
        if not self.closed:
            self.pending.append(_message("websocket.receive", ctx[MESSAGE], ctx))
        return ctx

    async def give(self, ctx: Ctx) -> Ctx:
        """Give a message to the server, unless a middleware has closed the connection meanwhile."""
        if self.closed:
            return ctx
        message = _message("websocket.send", ctx[MESSAGE], ctx)
        try:
            await self._to_server(message)
        except Exception as error:
            self._gone = error
            raise
        return ctx

    def _context(self, direction: str, message: Message) -> Ctx:
        ctx: Ctx = dict(self.ctx or {})
        ctx[KIND] = "message"
        ctx[DIRECTION] = direction
        ctx[MESSAGE] = _data(message)
        ctx[NATIVE] = {**ctx[NATIVE], "message": message}
        return ctx

    async def _hooked(self, ctx: Ctx) -> Ctx:
        """Show the message to the functions that want to see it, on the bridge, so that they can wait."""
        return await run(self._show, ctx) if ctx[DIRECTION] in self.hooks else ctx

    def _show(self, ctx: Ctx) -> Ctx:
        for hook in self.hooks[ctx[DIRECTION]]:
            made: Any = hook(ctx[MESSAGE])
            if hasattr(made, "__await__"):
                made = await_(made)
            if made is not None:
                ctx[MESSAGE] = made
        return ctx


async def take(ctx: Ctx) -> Ctx:
    """The endpoint of the chain of a message that comes: it is the app's."""
    passage: Passage = found(ctx, WS).passage
    return await passage.take(ctx)


async def give(ctx: Ctx) -> Ctx:
    """The endpoint of the chain of a message that goes: send it."""
    passage: Passage = found(ctx, WS).passage
    return await passage.give(ctx)


def _data(message: Message) -> str | bytes:
    text: str | None = message.get("text")
    return message.get("bytes") or b"" if text is None else text


def _message(kind: str, data: Any, ctx: Ctx) -> Message:
    """Return the message as it came, unless it has been changed."""
    came: Message = ctx[NATIVE]["message"]
    if data is came.get("text") or data is came.get("bytes"):
        return came
    if isinstance(data, str):
        return {"type": kind, "text": data}
    if isinstance(data, (bytes, bytearray, memoryview)):
        return {"type": kind, "bytes": bytes(data)}
    raise TypeError(f"expected a message of str or bytes as ctx[{MESSAGE!r}], got {data!r}")
