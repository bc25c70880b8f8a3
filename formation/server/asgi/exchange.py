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
   the response, and it runs to its end. Then the head goes out (`Attempt._settle`), and the app goes on.
4. The body passes through: untouched, or through the maps and hooks that somebody has put on it (`Attempt._watch`).

A middleware that reads the body makes the chain stop once more, on the `Attempt` whose next chunk it wants; each send
of the app is one step then (`Attempt._feed`). A body that is replaced, as by a generator over the old one, is sent by a
second coroutine, the *pump*, which is driven like the chain.

A chain that calls a second time stops on another `Call`, somewhere in a send of the first app. So the second one runs
right there, and the first one's answer is dropped: its last message is swallowed, for its background work goes on, and
with another one it is told that the client has gone, so that endless streams end.

An error that a middleware raises after its ``call`` has no business in the app, in whose send it comes up. The app is
told that the client has gone, and unwinds; then the error is raised, outside (`Exchange.run`).
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, cast

from formation.errors import BodyTooLarge, ClientGone
from formation.http.body import Body
from formation.http.response import Response
from formation.keys import REQ_HTTP, RES_HTTP, STATE, STATE_ASIDE
from formation.server.asgi.aside import call_aside
from formation.server.asgi.attempt import Attempt
from formation.server.asgi.bodies import Upload
from formation.server.asgi.leaving import Leaving
from formation.server.asgi.messages import AsgiResponse, objection_to
from formation.server.asgi.pump import pumped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator

    from formation.kernel import AsyncChain, Ctx
    from formation.server.asgi.messages import App, Receive, Scope, Send


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
    if isinstance(ctx, dict) and STATE in ctx and STATE_ASIDE in ctx[STATE]:  # nobody drives it
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
        except GeneratorExit:  # nobody can wait any more
            raise
        except BaseException:
            await _drop(ctx)
            raise
        finally:
            if self.leaving is not None:
                self.leaving.close()
            self._at.close()
            error, self.error = self.error, None
            self.waiting = self.answer = self.gone = None
        if error is not None:
            try:
                await _drop(ctx)
                if not (isinstance(error, ClientGone) and self.upload.gone):  # nobody to answer
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
        except StopIteration as end:
            error = None
            self.over = True
            if not self.pumping:
                self._take(end.value)
            return None
        except BaseException as raised:  # noqa: BLE001  as it may be
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
            try:
                raise raised
            finally:
                del raised  # as in `run`

    def _take(self, ctx: Any) -> None:
        answer = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if isinstance(answer, Response):
            if (objection := objection_to(answer)) is None:
                self.answer = answer
            else:
                self.error = objection
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
        self._at = pumped(self, cast("Response", answer))
        if (rest := self.step()) is not None:
            await rest


async def _drop(ctx: Ctx) -> None:
    """Close a response that does not go out, for an error has come instead: hooks of its body wait for the end."""
    left = ctx.get(RES_HTTP)
    if isinstance(left, Response) and (not isinstance(left, AsgiResponse) or left.body_read):
        await left.aclose()
