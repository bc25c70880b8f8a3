"""One WebSocket connection over ASGI: one context, and the chain around all of it.

Theory of operation
-------------------
The chain of a connection is awaited as any coroutine: its endpoint (`connect`) runs the app, from the handshake to the
end, so ``call(ctx)`` returns when the connection is over. The app receives and sends by way of `Connection`, which
knows from what passes whether it has been accepted, denied or closed, and passes everything on as the object it is.

Only where somebody asks for it is a message looked at, see `formation.server.asgi.websocket_messages`. As with HTTP, an
error of a middleware there does not enter the app: for the app the client is gone, and the error is raised at
``call(ctx)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from formation.ambient import publish, restore
from formation.bridge import await_, in_async_chain
from formation.errors import ProtocolError
from formation.http.headers import Headers, check_value
from formation.http.response import Response
from formation.keys import REQ_HTTP, RES_HTTP, TEMPLATE, WS
from formation.server.asgi.messages import decoded, encoded, found, objection_to, scope_for, template_of
from formation.server.asgi.websocket_messages import Passage

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from formation.http.body import BodyLike
    from formation.http.headers import HeadersLike
    from formation.kernel import AsyncChain, Ctx
    from formation.server.asgi.messages import App, Message, Receive, Scope, Send
    from formation.server.asgi.websocket_messages import Hook, Messages

DENIAL: Final = "websocket.http.response"
REASON: Final = 123
"""Bytes of a reason: a control frame has 125, and the code takes two (RFC 6455, 5.5.1)."""


class Connection:
    """A WebSocket connection, as ``ctx["fmtn.ws"]``.

    ``subprotocols`` are those that the client offers; what is assigned is what the app sees. ``headers`` are added to
    the answer that accepts the handshake. ``subprotocol`` is the one that was chosen. ``is_accepted`` and ``is_over``
    tell how far it is; in the end, ``code`` and ``reason`` are those of the side that closed it.

    `accept`, `deny` and `close` wait for the server: in an ``async def`` they are awaited, in a plain function they
    wait by themselves.
    """

    __slots__ = ("_accepting", "_begun", "_clean", "_from_server", "_handshake", "_scope", "_silent",
                 "_status", "_to_server", "app", "code", "headers", "is_accepted", "is_over", "passage", "reason",
                 "subprotocol", "subprotocols")  # fmt: skip

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self.app = app
        self.subprotocols: list[str] = list(scope.get("subprotocols") or ())
        self.subprotocol: str | None = None
        self.headers = Headers()
        self.is_accepted = self.is_over = False
        self.code: int | None = None
        self.reason = ""
        self._scope = scope
        self._from_server = receive
        self._to_server = send
        self._accepting: Message = {}  # websocket.accept
        self._status = 403  # of a denial
        self._handshake: Message = {}  # websocket.connect
        self.passage = Passage(send)  # of messages
        self._begun = False  # the handshake has come
        self._silent: Exception | None = None  # what the chain was told of an app that has not answered
        self._clean: bool | None = None  # whether the app has returned; None: it was not called

    def __repr__(self) -> str:
        state = "over" if self.is_over else "open" if self.is_accepted else "not accepted"
        return f"<Connection: {state}, subprotocol {self.subprotocol!r}, code {self.code}>"

    # What a middleware does

    def accept(self, subprotocol: str | None = None, headers: HeadersLike | None = None) -> Any:
        """Accept the handshake in place of the app, to say by `close` more than a denial can.

        Raises:
            RuntimeError: it has been accepted or denied already.
            ValueError: the subprotocol, or a header, would break the answer.
        """
        if subprotocol is not None:
            check_value("Sec-WebSocket-Protocol", subprotocol)
        return _now(self._accept(subprotocol, Headers(headers)))

    def deny(self, status: int = 403, headers: HeadersLike | None = None, body: BodyLike = b"") -> Any:
        """Refuse the handshake; a server that cannot send an answer (the extension for it is rare) says 403.

        ``reply(ctx, status, headers, body)`` does the same at the end of the chain.

        Raises:
            RuntimeError: it has been accepted or denied already.
        """
        return _now(self._deny(Response(status, headers, body)))

    def close(self, code: int = 1000, reason: str = "") -> Any:
        """Close it; closing it twice does nothing. Before it is accepted, the client sees a 403.

        Raises:
            ValueError: the reason is longer than the 123 bytes that a close frame has for it (RFC 6455, 5.5).
        """
        if len(reason.encode()) > REASON:
            raise ValueError(f"expected a reason of at most {REASON} bytes in UTF-8, got {reason!r}: shorten it")
        return _now(self._close(code, reason))

    def on_receive(self, hook: Hook) -> None:
        """Call ``hook(data)`` for each message that comes; what it returns takes its place, ``None`` leaves it.

        A plain function waits by itself, as a plain middleware does; an ``async def`` is awaited.
        """
        self.passage.hooks.setdefault("in", []).append(hook)

    def on_send(self, hook: Hook) -> None:
        """Call ``hook(data)`` for each message that goes, as `on_receive` does for each that comes."""
        self.passage.hooks.setdefault("out", []).append(hook)

    # The chain

    async def run(self, chain: AsyncChain[Ctx], ctx: Ctx, messages: Messages | None) -> None:
        """Run the chain of the connection, and see to it that there is an end."""
        if messages is not None:
            self.passage.incoming, self.passage.outgoing = messages
        try:
            ctx = await chain(ctx)
        except ProtocolError as error:
            if error is not self._silent:
                raise
            return  # the server has its own way to deal with an app like that
        finally:
            self.passage.forget()
            self._silent = None
        answer = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if self.is_accepted:
            if not self._clean:
                await self._close(1000 if self._clean is None else 1011, "")
        elif isinstance(answer, Response):
            if not self.is_over:
                await self._deny(answer)
        elif not self.is_over:
            raise TypeError(
                f"{chain!r} returned without a response: expected a formation.http.Response as "
                f"ctx[{RES_HTTP!r}], got {answer!r}; call on, or answer with reply(ctx, status)"
            )

    async def serve(self, ctx: Ctx) -> Ctx:
        """Run the app; called by the chain."""
        if self.is_over or (self.is_accepted and self._clean is not None):
            raise RuntimeError("the WebSocket has been answered: the app can be called again only before that")
        request, published, failure = found(ctx, REQ_HTTP), publish(ctx), None
        root_path = self._scope.get("root_path", "")
        scope = scope_for(request, self._scope)
        if self.subprotocols != list(scope.get("subprotocols") or ()):
            scope = {**scope, "subprotocols": self.subprotocols}
        self.passage.ctx, self._clean = ctx, False
        if self._begun:  # an app that was called before has received it
            self.passage.pending = [self._handshake]
        try:
            await self.app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  raised again below, unless there is a better one
            failure = None if self.passage.told else error  # for it unwinds, as we have asked it to
        finally:
            if published is not None:
                restore(published)
            if (template := template_of(scope, root_path)) is not None:
                ctx[TEMPLATE] = request.template = template
        try:
            if self.passage.broken is not None:
                raise self.passage.broken
            if failure is not None:
                raise failure
        finally:
            failure = None  # or the error, its traceback and this frame hold each other
        self._clean = True
        if not (self.is_accepted or self.is_over):
            self._silent = ProtocolError("the app has returned without an answer to the handshake")
            raise self._silent
        headers = decoded(self._accepting.get("headers") or ())
        ctx[RES_HTTP] = Response(101 if self.is_accepted else self._status, headers, request=request)
        return ctx

    # What the app receives and sends

    async def _receive(self) -> Message:
        await self._begin()
        passage = self.passage
        while not passage.pending:
            if passage.closed:
                passage.told = True
                return {"type": "websocket.disconnect", "code": self.code, "reason": self.reason}
            if passage.broken is not None:
                return {"type": "websocket.disconnect", "code": 1011, "reason": ""}
            message = await self._from_server()
            if message["type"] == "websocket.disconnect":
                self._end(message.get("code", 1005), message.get("reason") or "")
            elif message["type"] == "websocket.receive" and (passage.closed or passage.is_watched):
                await passage.let_in(message)
                continue
            return message
        return passage.pending.pop(0)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        self.passage.check()
        if kind == "websocket.send":
            if self.passage.is_watched:
                await self.passage.let_out(message)
            else:
                await self._to_server(message)
        elif kind == "websocket.accept":
            await self._pass_accept(message)
        else:
            await self._to_server(message)
            if kind == "websocket.close":
                self._end(message.get("code", 1000), message.get("reason") or "")
            elif kind == f"{DENIAL}.start":
                self._status, self._accepting, self.is_over = message["status"], message, True

    async def _pass_accept(self, message: Message) -> None:
        if self._accepting:  # by a middleware; the app need not know
            return
        if self.headers:
            message = {**message, "headers": [*(message.get("headers") or ()), *encoded(self.headers)]}
        await self._to_server(message)
        self._accepting, self.is_accepted = message, True
        self.subprotocol = message.get("subprotocol")

    async def _begin(self) -> None:
        """Take the handshake from the server, which comes before everything else."""
        if not self._begun:
            self._handshake = await self._from_server()
            self._begun, self.passage.pending = True, [self._handshake]

    def _end(self, code: int, reason: str) -> None:
        if not self.is_over:
            self.is_over, self.code, self.reason = True, code, reason

    async def _accept(self, subprotocol: str | None, headers: Headers) -> None:
        self._check()
        await self._begin()
        await self._pass_accept({"type": "websocket.accept", "subprotocol": subprotocol, "headers": encoded(headers)})

    async def _deny(self, answer: Response) -> None:
        self._check()
        if (objection := objection_to(answer)) is not None:
            await answer.aclose()
            raise objection
        await self._begin()
        self._status, self.is_over = answer.status_code, True
        if DENIAL not in (self._scope.get("extensions") or {}):
            await answer.aclose()
            await self._to_server({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        head = {"type": f"{DENIAL}.start", "status": answer.status_code, "headers": encoded(answer.headers)}
        content = await answer.body.aread()  # whole, so that nothing is answered if that fails
        await self._to_server(head)
        await self._to_server({"type": f"{DENIAL}.body", "body": content, "more_body": False})
        answer.body.complete(content)

    async def _close(self, code: int, reason: str) -> None:
        if not self.is_over:
            await self._begin()
            self._end(code, reason)
            self.passage.closed = True
            await self._to_server({"type": "websocket.close", "code": code, "reason": reason})

    def _check(self) -> None:
        if self.is_accepted or self.is_over:
            raise RuntimeError(f"the handshake has been answered already: {self!r}")


async def connect(ctx: Ctx) -> Ctx:
    """The endpoint of the chain: run the app, to the end of the connection."""
    connection: Connection = found(ctx, WS)
    return await connection.serve(ctx)


def _now(doing: Coroutine[Any, Any, None]) -> Any:
    """Wait, where a plain function can; else return what is to be awaited."""
    return await_(doing) if in_async_chain() else doing
