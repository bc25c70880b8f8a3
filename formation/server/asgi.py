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

import os
from enum import Enum
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from formation.ambient import Ambient, current, publish, restore
from formation.bridge import await_, run
from formation.errors import BodyAbandoned, BodyTooLarge, ClientGone, ProtocolError
from formation.http.body import CHUNK, Body
from formation.http.response import BODILESS, Response
from formation.keys import REQ_HTTP, RES_HTTP, TEMPLATE
from formation.server.asgi_messages import AsgiResponse, Source, Upload, encoded, scope_for, template_of
from formation.server.request import ServerRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

    from formation.kernel import AsyncChain, Ctx
    from formation.server.asgi_messages import Message, Receive, Scope, Send

START: Final = "http.response.start"
BODY: Final = "http.response.body"
BODIES: Final = frozenset({BODY, "http.response.pathsend", "http.response.zerocopysend"})
TRAILERS: Final = "http.response.trailers"


App: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"


class Call:
    """What the chain stops on when it calls the app."""

    __slots__ = ("ctx",)

    def __init__(self, ctx: Ctx) -> None:
        self.ctx = ctx

    def __repr__(self) -> str:
        return "<call(ctx) of an ASGI chain: it has to be awaited in the task of the chain, not in one of its own>"


@coroutine
def enter(ctx: Ctx) -> Generator[Call, Ctx, Ctx]:
    """The endpoint of the chain: stop, until the app has answered."""
    return (yield Call(ctx))


enter.is_async = True  # type: ignore[attr-defined]


class Exchange:
    """One request of the server, and its answer."""

    __slots__ = ("_at", "_busy", "answer", "app", "called", "chain", "error", "gone", "max_body", "over", "pumping",
                 "ran", "root_path", "scope", "send", "upload", "waiting")  # fmt: skip

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send, max_body: int | None) -> None:
        self.app = app
        self.scope = scope
        self.root_path = scope.get("root_path", "")  # an app adds to it what it is mounted under
        self.send = send
        self.upload = Upload(receive)
        self.max_body = max_body
        self.called: Ctx | None = None  # the chain calls the app, with this
        self.waiting: Attempt | None = None  # the chain waits for what this call of the app sends
        self.answer: Response | None = None  # what the chain has returned, until somebody sends it
        self.error: Exception | None = None  # to be raised once all apps have unwound
        self.gone: Exception | None = None  # what the server has raised when it was given a part of the answer
        self.over = self.pumping = self.ran = self._busy = False

    @coroutine
    def step(  # noqa: C901, PLR0912  what may come of a step, in one place
        self, value: Any = None, error: BaseException | None = None
    ) -> Generator[Any, Any, None]:
        """Let the chain, or the pump, go on until it calls the app, wants what the app sends, or is over."""
        if self._busy:
            raise RuntimeError("the app sends from two tasks at once while its answer is being looked at")
        at, self._busy, self.waiting = self._at, True, None
        try:
            got = at.send(value) if error is None else at.throw(error)
            while type(got) is not Call and type(got) is not Attempt:
                try:
                    value = yield got
                except GeneratorExit:  # nobody can wait any more
                    at.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001  cancellation too: it belongs to whoever waits
                    got = at.throw(thrown)
                else:
                    got = at.send(value)
        except StopIteration as end:
            self.over = True
            if not self.pumping:
                self._take(end.value)
        except Exception as raised:
            self.over = True
            if raised is self.gone:  # the server's: the app hears of it, as from any send
                raise
            self.error = raised
        except BaseException:
            self.over = True
            raise
        else:
            if isinstance(got, Call):
                self.called = got.ctx
            else:
                self.waiting = got
        finally:
            self._busy = False
            error = None

    async def run(self, chain: AsyncChain[Ctx], ctx: Ctx) -> None:
        """Answer the request."""
        self.chain = chain
        self._at: Coroutine[Any, Any, Any] = chain(ctx)
        try:
            await self.step()
            await self.serve()
            if isinstance(self.error, BodyTooLarge) and self.error.request is None and not self.ran:
                self.error, self.answer = None, Response(413, body=Body(b""), request=ctx[REQ_HTTP])
            if self.answer is not None:  # and no app that would send it
                await self.pump()
        finally:
            self._at.close()
            error, self.error = self.error, None
            self.waiting = self.answer = self.gone = None
        if error is not None and not (isinstance(error, ClientGone) and self.upload.gone):  # nobody to answer
            try:
                raise error
            finally:
                del error  # or the error, its traceback and this frame hold each other

    def _take(self, ctx: Any) -> None:
        answer = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if isinstance(answer, Response):
            self.answer = answer
        else:
            self.error = TypeError(
                f"{self.chain!r} returned without a response: expected a formation.http.Response as "
                f"ctx[{RES_HTTP!r}], got {answer!r}; call on, or answer with reply(ctx, status)"
            )

    async def serve(self) -> None:
        """Run the app as often as the chain calls it."""
        while self.called is not None:
            ctx, self.called = self.called, None
            self.ran = True
            await Attempt(self, ctx).run()

    async def pump(self) -> None:
        """Begin to send an answer that is not just the app's passing through."""
        answer, self.answer = self.answer, None
        self.upload.forget()
        self.pumping, self.over = True, False
        self._at = self._pump(answer)  # type: ignore[arg-type]
        await self.step()

    async def _pump(self, answer: Response) -> None:
        body, is_bodiless = answer.body, self.scope["method"] == "HEAD" or answer.status_code in BODILESS
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
                    await self._give({"type": BODY, "body": chunk, "more_body": True})
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
            await_(self._give({"type": BODY, "body": chunk, "more_body": True}))
        return chunks

    async def _give(self, message: Message) -> None:
        try:
            await self.send(message)
        except Exception as error:
            self.gone = error
            raise


class State(Enum):
    """What is done with what the app sends."""

    HELD = "held"  # it is the chain's, or the pump's
    PASSING = "passing"  # it is the server's, as it is
    WATCHED = "watched"  # it is the server's, by way of the maps and hooks of the body
    DROPPED = "dropped"  # it is nobody's: there is another answer


class Attempt:
    """One call of the app. Most requests have one."""

    __slots__ = ("_ambient", "_at", "_body", "_mapped", "_state", "_trails", "begun", "broken", "complete", "ctx",
                 "ended", "exchange", "left", "message", "request", "response", "scope")  # fmt: skip

    def __init__(self, exchange: Exchange, ctx: Ctx) -> None:
        self.exchange = exchange
        self.ctx = ctx
        self.message: Message = {}  # http.response.start
        self.response: AsgiResponse | None = None
        self.broken: Exception | None = None  # what a middleware's request body has raised
        self.begun = False  # somebody reads the body of the response
        self.complete = False  # the app has sent all of it
        self.ended = False  # the app has returned
        self.left = False  # the app has been told that the client is gone
        self._state = State.HELD
        self._body: Body | None = None
        self._at = 0
        self._ambient: Ambient | None = None
        self._trails = self._mapped = False

    def __repr__(self) -> str:
        return "<the body of an ASGI response: it has to be read in the task of its chain>"

    async def run(self) -> None:
        """Call the app, and tell the chain how it ended, if it waits for that."""
        exchange, ctx, published, failure = self.exchange, self.ctx, None, None
        exchange.waiting = self
        try:
            self.request = ctx[REQ_HTTP]
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
            await self._end(failure)
        finally:
            if self.response is not None and self.response.body_read:
                self.response.came_body.end(failure or BodyAbandoned())
            self.ctx = self.response = self._body = failure = None  # type: ignore[assignment]  # they hold us, too

    async def _end(self, failure: BaseException | None) -> None:
        exchange = self.exchange
        if exchange.waiting is self:
            self._tell_template()
            made = None
            if (error := self.broken or failure) is None:
                error = made = self._silent()
            await exchange.step(error=error)
            if made is not None and exchange.error is made:
                exchange.error = None  # the server has its own way to deal with an app like that
            elif exchange.pumping and exchange.error is None and isinstance(failure, Exception):
                exchange.error = failure
        elif failure is not None:
            if not isinstance(failure, Exception):
                raise failure
            if exchange.error is None and not self.left:
                exchange.error = failure

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
        if state is State.PASSING:
            await self.exchange.send(message)
        elif state is State.WATCHED and kind in BODIES:
            await self._watch(message)
        elif state is State.DROPPED:
            await self._drop(message)
        elif state is State.HELD and kind == START and not self.message:
            await self._start(message)
        elif state is State.HELD and kind in BODIES and self.message:
            await self._feed(message)
        else:  # it has its place there, or the server says what is wrong with it
            await self.exchange.send(message)

    async def _start(self, message: Message) -> None:
        if not isinstance(message.get("headers", ()), (list, tuple)):
            message = {**message, "headers": list(message["headers"])}  # it may be had once
        self.message = message
        self.response = self.ctx[RES_HTTP] = AsgiResponse(self, message["status"], "", self.request)
        self._tell_template()
        await self.exchange.step(self.ctx)
        await self._settle()

    async def _feed(self, message: Message) -> None:
        if self.exchange.over:  # the app has cancelled a send, and so the chain that was at work in it
            self._leave()
        for chunk, is_last in _pieces(message):
            self.complete = is_last
            await self.exchange.step(chunk)
            await self._settle()
            if self._state is not State.HELD:
                return

    async def _settle(self) -> None:
        """See where the chain is after its step."""
        exchange = self.exchange
        if exchange.called is not None:
            await exchange.serve()
        if (answer := exchange.answer) is not None:
            if answer is self.response and self.response.is_untouched:
                await self._pass_on()
                return
            if not isinstance(answer, AsgiResponse) or answer.native.ended or answer is self.response:
                self._trails = answer is self.response
                await exchange.pump()
        if exchange.error is not None:
            self._leave()
        if exchange.waiting is not self:
            self._state = State.DROPPED
            if exchange.pumping and exchange.over:
                self._answered()

    async def _pass_on(self) -> None:
        exchange, response = self.exchange, cast("AsgiResponse", self.response)
        exchange.answer = None
        exchange.upload.forget()
        if response.body_read and response.body.is_watched:
            self._body, self._mapped = response.body, response.body.native is None
        self._state = State.PASSING if self._body is None and self._ambient is None else State.WATCHED
        await exchange.send(response.head())

    async def _watch(self, message: Message) -> None:
        exchange, body = self.exchange, self._body
        if body is None or (message["type"] != BODY and not self._mapped):
            await exchange.send(message)
        else:
            for chunk, is_last in _pieces(message):
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
            self._answered()

    async def _drop(self, message: Message) -> None:
        kind = message["type"]
        if self.exchange.error is not None or (kind in BODIES and message.get("more_body")):
            self._leave()
        if kind == TRAILERS and self._trails:
            await self.exchange.send(message)

    def _leave(self) -> None:
        self._state, self.left = State.DROPPED, True
        raise ClientGone("a middleware has given another answer: for the app it is as if the client had gone")

    def _answered(self) -> None:
        if self._ambient is not None:
            self._ambient.answered()


class Download:
    """The body of a request that a middleware has touched, as messages for the app."""

    __slots__ = ("_attempt", "_body", "_chunks", "_pulled")

    def __init__(self, body: Body, attempt: Attempt) -> None:
        self._attempt = attempt
        self._body: Body | None = body
        self._chunks: Any = None
        if not body.is_bytes:
            self._chunks = aiter(body) if body.is_async else iter(body)

    async def receive(self) -> Message:
        """Receive for the app."""
        body = self._body
        if body is None:
            return await self._attempt.exchange.upload.farewell()
        try:
            if self._chunks is None:
                chunk, is_last = b"".join(body), True
            else:
                given = await (anext(self._chunks, None) if body.is_async else run(_next, self._chunks))
                chunk, is_last = given or b"", given is None
        except Exception as error:  # noqa: BLE001  a middleware's, or there is no client any more
            self._attempt.broken = error
            self._body = None
            return {"type": "http.disconnect"}
        if is_last:
            self._body = None
        return {"type": "http.request", "body": chunk, "more_body": not is_last}


def _next(chunks: Any) -> Any:
    return next(chunks, None)


def _head(answer: Response, *, is_bodiless: bool) -> Message:
    headers = answer.headers
    if answer.body.is_bytes and not (is_bodiless and not answer.body.length) and "Content-Length" not in headers:
        headers["Content-Length"] = str(answer.body.length)
    return {"type": START, "status": answer.status_code, "headers": encoded(headers)}


def _pieces(message: Message) -> Iterator[tuple[bytes, bool]]:
    """Give the bytes of a message, and whether they are the last; of a file, in pieces."""
    is_last = not message.get("more_body", False)
    if message["type"] == BODY:
        yield message.get("body", b""), is_last
        return
    if message["type"] == "http.response.pathsend":
        with open(message["path"], "rb") as file:  # noqa: PTH123  as the server would
            while chunk := file.read(CHUNK):
                yield chunk, False
    else:
        yield from _copied(message["file"].fileno(), message.get("offset"), message.get("count"))
    yield b"", is_last


def _copied(file: int, offset: int | None, left: int | None) -> Iterator[tuple[bytes, bool]]:
    if offset is not None:
        os.lseek(file, offset, os.SEEK_SET)
    while chunk := os.read(file, CHUNK if left is None else min(CHUNK, left)):
        yield chunk, False
        if left is not None:
            left -= len(chunk)
