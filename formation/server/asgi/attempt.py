"""One call of the app: what it receives, and what becomes of what it sends.

Each message that it sends is, by the state of its call, held for the chain, watched by the maps and hooks of the body,
passed on as it is, or dropped. `formation.server.asgi.exchange` has the theory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.ambient import Ambient, current, publish, restore
from formation.errors import BodyAbandoned, ClientGone, ProtocolError
from formation.keys import REQ_HTTP, RES_HTTP, TEMPLATE
from formation.server.asgi.bodies import BODIES, BODY, START, Download, Source, consumed, pieces
from formation.server.asgi.messages import AsgiResponse, found, scope_for, template_of
from formation.server.request import ServerRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from formation.http.body import Body
    from formation.http.request import Request
    from formation.kernel import Ctx
    from formation.server.asgi.exchange import Exchange
    from formation.server.asgi.messages import Message, Receive

TRAILERS: Final = "http.response.trailers"

# What is done with what an app sends.
HELD: Final = "held"  # it is the chain's, or the pump's
PASSING: Final = "passing"  # it is the server's, as it is
WATCHED: Final = "watched"  # it is the server's, by way of the maps and hooks of the body
DROPPED: Final = "dropped"  # it is nobody's: there is another answer


class Attempt:
    """One call of the app. Most requests have one."""

    __slots__ = ("_ambient", "_at", "_body", "_mapped", "_state", "_trails", "begun", "broken", "complete", "ctx",
                 "ended", "exchange", "left", "message", "request", "response", "scope")  # fmt: skip

    def __init__(self, exchange: Exchange, ctx: Ctx) -> None:
        self.exchange = exchange
        self.ctx = ctx
        self.scope = exchange.scope
        self.message: Message = {}  # http.response.start
        self.response: AsgiResponse | None = None
        self.broken: Exception | None = None  # what a middleware's request body has raised
        self.begun = False  # somebody reads the body of the response
        self.complete = False  # the app has sent all of it
        self.ended = False  # the app has returned
        self.left = False  # the app has been told that the client is gone
        self._state = HELD
        self._body: Body | None = None
        self._at = 0
        self._ambient: Ambient | None = None
        self._trails = self._mapped = False

    def __repr__(self) -> str:
        return "<the body of an ASGI response: it has to be read in the task of its chain>"

    async def run(self) -> None:
        """Call the app, and tell the chain how it ended, if it waits for that."""
        exchange, ctx, published, failure = self.exchange, self.ctx, None, None
        exchange.waiting, exchange.called, exchange.ran = self, None, True
        try:
            self.request: Request = found(ctx, REQ_HTTP)
            self.scope = scope_for(self.request, exchange.scope)
            receive = self._receive()
            if (published := publish(ctx)) is not None:
                self._ambient = current.get()
            await exchange.app(self.scope, receive, self.send)
        except GeneratorExit:  # nobody can wait any more
            raise
        except BaseException as error:  # noqa: BLE001  the chain's, or raised again once we are out of here
            failure = error
        finally:
            if published is not None:
                restore(published)
            self.ended = True
        try:
            if failure is not None or exchange.waiting is self:
                await self._end(failure)
        finally:
            if self.response is not None and self.response.body_read:
                self.response.came_body.end(failure or BodyAbandoned())
            self.ctx = self.response = self._body = failure = None  # type: ignore[assignment]  # they hold us, too
            if self._state is HELD:
                self._state = DROPPED  # what a task that it has left behind may still send

    async def _end(self, failure: BaseException | None) -> None:
        exchange = self.exchange
        try:
            if exchange.waiting is self:
                await self._tell(failure)
            elif isinstance(failure, Exception):
                if exchange.error is None and not self.left:
                    exchange.error = failure
            elif failure is not None:
                raise failure
        finally:
            failure = None  # or the error, its traceback and this frame hold each other

    async def _tell(self, failure: BaseException | None) -> None:
        """Tell the chain, or the pump, that there is no more to come."""
        exchange, error, made = self.exchange, self.broken or failure, None
        if "route" in self.scope:
            self._tell_template()
        try:
            if error is None:
                error = made = self._silent()
            if (rest := exchange.step(error=error)) is not None:
                await rest
            if made is not None and exchange.error is made:
                exchange.error = None  # the server has its own way to deal with an app like that
            elif exchange.pumping and exchange.error is None and isinstance(failure, Exception):
                exchange.error = failure
        finally:
            error = failure = made = None  # as above

    def _silent(self) -> Exception:
        when = "in the middle of its response" if self.message else "without a response"
        if self.exchange.upload.gone:
            return ClientGone(f"the client has gone, and the app has returned {when}")
        return ProtocolError(f"the app has returned {when}")

    def _tell_template(self) -> None:
        if (template := template_of(self.scope, self.exchange.root_path)) is not None:
            self.ctx[TEMPLATE] = self.request.template = template

    # What the app receives

    def _receive(self) -> Receive:
        upload, request = self.exchange.upload, self.request
        if not isinstance(request, ServerRequest) or request.body_read:
            body = request.body
            if body.is_watched or not isinstance(body.native, Source):
                return Download(body, self).receive
        if not upload.replayable:
            raise consumed()
        return self.receive

    async def receive(self) -> Message:
        """Receive for the app what the server has."""
        message = await self.exchange.upload.message(self._at)
        self._at += 1
        return message

    # What the app sends

    async def send(self, message: Message) -> None:
        """Send for the app."""
        state, kind = self._state, message["type"]
        if state is PASSING:
            await self.exchange.send(message)
        elif state is WATCHED and kind in BODIES:
            await self._watch(message)
        elif state is DROPPED:
            await self._drop(message)
        elif state is HELD and kind == START:
            if (rest := self._start(message)) is not None:
                await rest
            exchange, response = self.exchange, self.response
            if response is not None and exchange.answer is response and response.is_untouched:  # nearly always
                await exchange.send(self._pass_on(response))
            else:
                await self._settle()
        elif state is HELD and kind in BODIES and self.message:
            await self._feed(message)
        else:  # it has its place there, or the server says what is wrong with it
            await self.exchange.send(message)

    def _start(self, message: Message) -> Awaitable[None] | None:
        """Let the chain have its response; return what it waits for."""
        if self.message:  # the server has not seen the first one yet, so it could not tell
            raise RuntimeError("the app has sent http.response.start twice")
        if type(message.get("headers")) is not list and "headers" in message:
            message = {**message, "headers": list(message["headers"])}  # it may be had once
        self.message = message
        self.response = self.ctx[RES_HTTP] = AsgiResponse(self, message["status"], "", self.request)
        if "route" in self.scope:
            self._tell_template()
        return self.exchange.step(self.ctx)

    async def _feed(self, message: Message) -> None:
        if self.exchange.over:  # the app has cancelled a send, and so the chain that was at work in it
            self._leave()
        for chunk, is_last in pieces(message):
            self.complete = is_last
            if (rest := self.exchange.step(chunk)) is not None:
                await rest
            await self._settle()
            if self._state is not HELD:
                return

    async def _settle(self) -> None:
        """See where the chain is after its step."""
        exchange = self.exchange
        while exchange.called is not None:  # again
            await Attempt(exchange, exchange.called.ctx).run()
        if (answer := exchange.answer) is not None:
            if answer is self.response and self.response.is_untouched:
                await exchange.send(self._pass_on(self.response))
                return
            if not isinstance(answer, AsgiResponse) or answer.native.ended or answer is self.response:
                self._trails = answer is self.response
                await exchange.pump()
        if exchange.error is not None:
            self._leave()
        if exchange.waiting is not self:
            self._state = PASSING if self._trails and self.complete else DROPPED
            if exchange.pumping and exchange.over:
                self._answered()

    def _pass_on(self, response: AsgiResponse) -> Message:
        """Let the app's answer pass from now on; return its head."""
        self.exchange.answer = None
        self.exchange.upload.forget()
        if (body := response.watched) is not None:
            self._body, self._mapped = body, body.native is None
        self._state = PASSING if self._body is None and self._ambient is None else WATCHED
        return response.head()

    async def _watch(self, message: Message) -> None:
        exchange, body = self.exchange, self._body
        if body is None or (message["type"] != BODY and not self._mapped):
            await exchange.send(message)
        else:
            for chunk, is_last in pieces(message):
                try:
                    out = body.push(chunk)
                    if is_last and (rest := body.flush()):
                        out += rest
                except Exception as error:  # noqa: BLE001  a middleware's
                    exchange.error = error
                    body.end(error)
                    self._leave()
                try:
                    if out is not chunk or message["type"] != BODY:
                        await exchange.send({"type": BODY, "body": out, "more_body": not is_last})
                    else:
                        await exchange.send(message)
                except OSError as error:
                    body.end(error)
                    raise
        if not message.get("more_body"):
            if body is not None:
                body.end()
            self._state = PASSING
            self._answered()

    async def _drop(self, message: Message) -> None:
        kind = message["type"]
        if self.exchange.error is not None or (kind in BODIES and message.get("more_body")):
            self._leave()
        if kind == TRAILERS and self._trails:
            await self.exchange.send(message)

    def _leave(self) -> None:
        self._state, self.left = DROPPED, True
        raise ClientGone("a middleware has given another answer: for the app it is as if the client had gone")

    def _answered(self) -> None:
        if self._ambient is not None:
            self._ambient.answered()
