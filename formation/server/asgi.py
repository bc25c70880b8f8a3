"""One HTTP exchange over ASGI: the chain and the app, in lock step in one task.

Theory of operation
-------------------
ASGI pushes: an app is handed ``send`` and calls it. A middleware pulls: ``ctx = call(ctx)``. Between the two stands
neither a task nor a queue. The chain is a coroutine that is driven by hand (`Exchange.step`), one step at a time:

1. It runs until its endpoint, `enter`, stops on a `Call`, which no event loop ever sees. Whatever else it waits for on
   its way is handed up to the event loop, in the task of the server, as by any ``await``.
2. Now the app runs, in that same task (`Attempt.run`). What it receives comes from the server, unless a middleware has
   touched the request's body.
3. The app sends ``http.response.start``. *Inside of that send* the chain takes its next step: its ``call(ctx)`` returns
   the response, and it runs to its end. Then the head goes out (`Attempt.settle`), and the app goes on.
4. The body passes through: untouched, or through the maps and hooks that somebody has put on it (`Attempt.watch`).

A middleware that reads the body makes the chain stop once more, on the `Attempt` whose next chunk it wants; each send
of the app is one step then (`Attempt.feed`). A body that is replaced, as by a generator over the old one, is sent by a
second coroutine, the *pump*, which is driven like the chain.

A chain that calls a second time stops on another `Call`, somewhere in a send of the first app. So the second one runs
right there, and the first one's answer is dropped: its last message is swallowed, for its background work goes on, and
with another one it is told that the client has gone, so that endless streams end.

An error that a middleware raises after its ``call`` has no business in the app, in whose send it comes up. The app is
told that the client has gone, and unwinds; then the error is raised, outside (`Exchange.run`).
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from formation.ambient import Ambient, current, publish, restore
from formation.bridge import await_, run
from formation.errors import BodyAbandoned, BodyTooLarge, ClientGone, ProtocolError
from formation.http.body import Body
from formation.http.response import BODILESS, Response
from formation.keys import REQ_HTTP, RES_HTTP, STATE, TEMPLATE
from formation.resilience.forks import ASIDE
from formation.server.asgi_aside import call_aside
from formation.server.asgi_bodies import BODIES, BODY, Download, Source, Upload, pieces
from formation.server.asgi_leaving import Leaving
from formation.server.asgi_messages import AsgiResponse, encoded, found, frames, scope_for, template_of
from formation.server.request import ServerRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

    from formation.http.request import Request
    from formation.kernel import AsyncChain, Ctx
    from formation.server.asgi_messages import Message, Receive, Scope, Send

START: Final = "http.response.start"
TRAILERS: Final = "http.response.trailers"

# What is done with what an app sends.
HELD: Final = "held"  # it is the chain's, or the pump's
PASSING: Final = "passing"  # it is the server's, as it is
WATCHED: Final = "watched"  # it is the server's, by way of the maps and hooks of the body
DROPPED: Final = "dropped"  # it is nobody's: there is another answer

App: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"


class Call:
    """What the chain stops on when it calls the app."""

    __slots__ = ("ctx",)

    def __init__(self, ctx: Ctx) -> None:
        self.ctx = ctx

    def __repr__(self) -> str:
        return "<call(ctx) of an ASGI chain: it has to be awaited in the task of the chain, not in one of its own>"


@coroutine
def enter(ctx: Ctx) -> Generator[Any, Any, Ctx]:
    """The endpoint of the chain: stop, until the app has answered."""
    if isinstance(ctx, dict) and STATE in ctx and ASIDE in ctx[STATE]:  # nobody drives it
        return (yield from call_aside(ctx).__await__())
    answered: Ctx = yield Call(ctx)
    return answered


enter.is_async = True  # type: ignore[attr-defined]


class Exchange:
    """One request of the server, and its answer."""

    __slots__ = ("_at", "_busy", "answer", "app", "called", "chain", "error", "gone", "leaving", "max_body", "over",
                 "pumping", "ran", "root_path", "scope", "send", "upload", "waiting")  # fmt: skip

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send, max_body: int | None) -> None:
        self.app = app
        self.scope = scope
        self.root_path = scope.get("root_path", "")  # an app adds to it what it is mounted under
        self.send = send
        self.upload = Upload(receive)
        self.max_body = max_body
        self.called: Call | None = None  # the chain calls the app
        self.waiting: Attempt | None = None  # the chain waits for what this call of the app sends
        self.answer: Response | None = None  # what the chain has returned, until somebody sends it
        self.error: Exception | None = None  # to be raised once all apps have unwound
        self.gone: Exception | None = None  # what the server has raised when it was given a part of the answer
        self.leaving: Leaving | None = None  # listens for the client to go, where no app does
        self.over = self.pumping = self.ran = self._busy = False
        self._at: Coroutine[Any, Any, Any]  # the chain, later the pump

    async def run(self, chain: AsyncChain[Ctx], ctx: Ctx) -> None:
        """Answer the request."""
        self.chain = chain
        self._at = chain(ctx)
        try:
            if (rest := self.step()) is not None:
                await rest
            while self.called is not None:
                await Attempt(self, self.called.ctx).run()
            if isinstance(self.error, BodyTooLarge) and self.error.request is None and not self.ran:
                self.error, self.answer = None, Response(413, body=Body(b""), request=ctx[REQ_HTTP])
            if self.answer is not None:  # and no app that would send it
                self.leaving = None if self.ran else Leaving(self.upload, self.scope)
                await self.pump()
        finally:
            if self.leaving is not None:
                self.leaving.close()
            self._at.close()
            error, self.error = self.error, None
            self.waiting = self.answer = self.gone = None
        if error is not None and not (isinstance(error, ClientGone) and self.upload.gone):  # nobody to answer
            try:
                raise error
            finally:
                del error  # or the error, its traceback and this frame hold each other

    # The chain

    def step(self, value: Any = None, error: BaseException | None = None) -> Awaitable[None] | None:
        """Let the chain, or the pump, go on until it calls the app, wants what the app sends, or is over.

        Returns:
            What to await, if it waits for something of the event loop first.
        """
        if self._busy:
            raise RuntimeError("the app sends from two tasks at once while its answer is being looked at")
        self.waiting = None
        try:
            got = self._at.send(value) if error is None else self._at.throw(error)
        except BaseException as raised:  # noqa: BLE001  StopIteration, mostly
            error = None
            self._end(raised)
            return None
        return None if self._stops(got) else self._wait(got)

    def _stops(self, got: Any) -> bool:
        """Take notice of a mark on which the chain stops; else it waits for the event loop."""
        if type(got) is Call:
            self.called = got
        elif type(got) is Attempt:
            self.waiting = got
        else:
            return False
        return True

    @coroutine
    def _wait(self, got: Any) -> Generator[Any, Any, None]:
        self._busy = True
        try:
            while not self._stops(got):
                try:
                    value = yield got
                except GeneratorExit:  # nobody can wait any more
                    self._at.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001  cancellation too: it belongs to whoever waits
                    got = self._at.throw(thrown)
                else:
                    got = self._at.send(value)
        except BaseException as raised:  # noqa: BLE001  as above
            self._end(raised)
        finally:
            self._busy = False

    def _end(self, raised: BaseException) -> None:
        self.over = True
        if isinstance(raised, StopIteration):
            if not self.pumping:
                self._take(raised.value)
        elif isinstance(raised, Exception) and raised is not self.gone:
            self.error = raised
        else:  # cancellation; or the server's own, of which the app hears as from any send
            raise raised

    def _take(self, ctx: Any) -> None:
        answer = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if isinstance(answer, Response) and frames(answer):
            self.error = ValueError(
                "expected headers for the client from a middleware, got 'Transfer-Encoding', which is about the "
                "connection, and the server's to set: leave it out"
            )
        elif isinstance(answer, Response):
            self.answer = answer
        else:
            self.error = TypeError(
                f"{self.chain!r} returned without a response: expected a context with a formation.http.Response as "
                f"ctx[{RES_HTTP!r}], got {answer if isinstance(ctx, dict) else ctx!r}; "
                "a middleware returns what call(ctx) returned, or what reply(ctx, status) does"
            )

    # The pump

    async def pump(self) -> None:
        """Begin to send an answer that is not just the app's passing through."""
        answer, self.answer = self.answer, None
        self.upload.forget()
        self.pumping, self.over = True, False
        self._at = self._pump(cast("Response", answer))
        if (rest := self.step()) is not None:
            await rest

    async def _pump(self, answer: Response) -> None:
        body, is_bodiless = answer.body, self.scope["method"] == "HEAD" or answer.status_code in BODILESS
        if answer.status_code in BODILESS:
            answer.headers.popall("Content-Length", None)  # some servers wait for as many bytes
        head = answer.head() if isinstance(answer, AsgiResponse) else _head(answer, is_bodiless=is_bodiless)
        try:
            if body.is_bytes:
                content = body.read()
                await self._give(head)
                await self._give({"type": BODY, "body": b"" if is_bodiless else content, "more_body": False})
                body.complete(content)
                return
            if is_bodiless:
                await self._give(head)
                await body.aclose()
            elif body.is_async:
                chunks = aiter(body)
                await self._give(head)
                async for chunk in chunks:
                    await self._give_more(chunk)
            else:
                pulled = iter(body)
                await self._give(head)
                await run(self._pull, pulled)
            await self._give({"type": BODY, "body": b"", "more_body": False})
        except GeneratorExit as error:
            body.close(error)
            raise
        except BaseException as error:
            await body.aclose(error)
            raise

    def _pull(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            await_(self._give_more(chunk))
        return chunks

    async def _give_more(self, chunk: bytes) -> None:
        if self.leaving is not None:
            self.leaving.check()
        await self._give({"type": BODY, "body": chunk, "more_body": True})

    async def _give(self, message: Message) -> None:
        try:
            await self.send(message)
        except Exception as error:
            self.gone = error
            raise


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
        if "route" in self.scope and (template := template_of(self.scope, self.exchange.root_path)) is not None:
            self.ctx[TEMPLATE] = self.request.template = template

    # What the app receives

    def _receive(self) -> Receive:
        upload, request = self.exchange.upload, self.request
        if not isinstance(request, ServerRequest) or request.body_read:
            body = request.body
            if body.is_watched or not isinstance(body.native, Source):
                return Download(body, self).receive
        upload.check()
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
            await self._start(message)
        elif state is HELD and kind in BODIES and self.message:
            await self._feed(message)
        else:  # it has its place there, or the server says what is wrong with it
            await self.exchange.send(message)

    async def _start(self, message: Message) -> None:
        if self.message:  # the server has not seen the first one yet, so it could not tell
            raise RuntimeError("the app has sent http.response.start twice")
        if not isinstance(message.get("headers", ()), (list, tuple)):
            message = {**message, "headers": list(message["headers"])}  # it may be had once
        self.message = message
        response = self.response = self.ctx[RES_HTTP] = AsgiResponse(self, message["status"], "", self.request)
        self._tell_template()
        exchange = self.exchange
        if (rest := exchange.step(self.ctx)) is not None:
            await rest
        if exchange.answer is response and response.is_untouched:
            await exchange.send(self._pass_on(response))
        else:
            await self._settle()

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
        if response.body_read and response.body.is_watched:
            self._body, self._mapped = response.body, response.body.native is None
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


def _head(answer: Response, *, is_bodiless: bool) -> Message:
    headers, has_length = answer.headers, answer.body.is_bytes and answer.status_code not in BODILESS
    if has_length and not (is_bodiless and not answer.body.length) and "Content-Length" not in headers:
        headers["Content-Length"] = str(answer.body.length)
    return {"type": START, "status": answer.status_code, "headers": encoded(headers)}
