"""The interceptor of a sync server.

Theory of operation
-------------------
gRPC asks an interceptor for a handler and calls that in a thread of its pool. For one response the chain runs right
there, and ``call(ctx)`` calls the handler. For a stream gRPC wants an iterator, and pulls; but ``call(ctx)`` shall
return when the stream has ended. So the chain runs in a greenlet of its own (`formation.bridge.Aside`): it is left
where the handler has given its iterator, gRPC pulls messages through a generator, and at the end of them, at an error,
or when gRPC gives up, the chain goes on. A message costs no switch, only a stream does.

The handler gets a stand-in for its context, which keeps the code, the details and the trailers until the chain has
returned; so an `abort` is a result like any other, and the chain may change it. All else is gRPC's own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from formation.ambient import publish, restore
from formation.bridge import Aside
from formation.for_grpc.common import (
    STATUS,
    Wrapped,
    behaviour_of,
    exchange_of,
    gone,
    handler_like,
    result_of,
    server_context,
    trailing,
)
from formation.for_grpc.context import Context
from formation.introspection import name_of
from formation.kernel import wrap
from formation.keys import REQ_RPC, RES_RPC
from formation.rpc.codes import code_for
from formation.rpc.passing import MessageChains, pulled
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from formation.kernel import Ctx, Middleware
    from formation.rpc.calls import Arity, Call


class ServerInterceptor(grpc.ServerInterceptor):
    """What `server_interceptor` returns."""

    def __init__(self, middleware: Iterable[Middleware[Ctx]], message_middleware: Iterable[Middleware[Ctx]]) -> None:
        self.chain: Any = wrap(enter, middleware, is_async=False)
        self.messages = MessageChains(message_middleware, "server", is_async=False)
        self._wrapped = Wrapped(self._around)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call with the chain around it."""
        handler = continuation(handler_call_details)
        return None if handler is None else self._wrapped(handler_call_details.method, handler)

    def _around(self, method: str, handler: Any) -> Any:
        arity, behaviour = behaviour_of(handler)
        if getattr(behaviour, "experimental_non_blocking", False):
            serve: Any = partial(self._serve_pushing, behaviour, method, arity)
            serve.experimental_non_blocking = True
        else:
            serve = self._serve_stream if arity.endswith("stream") else self._serve
            serve = partial(serve, behaviour, method, arity)
        if hasattr(behaviour, "experimental_thread_pool"):
            serve.experimental_thread_pool = behaviour.experimental_thread_pool
        return handler_like(handler, arity, serve)

    def _serve(self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any) -> Any:
        exchange = Exchange(self, behaviour, native)
        ctx = server_context(method, arity, argument, native, exchange)
        try:
            result = result_of(self.chain(ctx))
        except BaseException as error:  # noqa: BLE001  gRPC gets it
            return exchange.fail(error)
        return exchange.finish(result)

    def _serve_stream(self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any) -> Any:
        exchange = StreamExchange(self, behaviour, native)
        return exchange.begin(server_context(method, arity, argument, native, exchange))

    def _serve_pushing(  # noqa: PLR0917  gRPC passes the last three
        self, behaviour: Any, method: str, arity: Arity, argument: Any, native: Any, on_next: Any
    ) -> None:
        """Serve by a behaviour that returns before its answer has begun: for it, so does the chain."""
        exchange = PushExchange(self, behaviour, native)
        exchange.on_next = on_next
        try:
            result = result_of(self.chain(server_context(method, arity, argument, native, exchange)))
        except BaseException as error:  # noqa: BLE001  gRPC gets it
            exchange.fail(error)
            return
        if result.native is not exchange:  # answered in the place of the behaviour
            exchange.apply(result)
            for message in result.messages or ():
                on_next(message)
            on_next(None)
        result.end(0)

    def __repr__(self) -> str:
        names = ", ".join(map(name_of, self.chain.middleware))
        return f"server_interceptor([{names}])"


def enter(ctx: Ctx) -> Ctx:
    """The endpoint of the chain: call the handler."""
    exchange_of(ctx).call(ctx)
    return ctx


class Exchange:
    """A call that has come, and the way back."""

    __slots__ = ("behaviour", "context", "interceptor", "native")

    def __init__(self, interceptor: ServerInterceptor, behaviour: Any, native: Any) -> None:
        self.interceptor = interceptor
        self.behaviour = behaviour
        self.native = native
        self.context: Context | None = None  # what the handler of the last attempt was given

    def argument(self, ctx: Ctx, call: Call) -> Any:
        """Return what the handler gets: the message, or the stream."""
        if self.context is not None and not self.native.is_active():  # a second attempt
            raise gone(call)
        if call.messages is None:
            return call.message
        return pulled(call.messages.take(), self.interceptor.messages.passing(ctx, call, "in"))

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and put what it answers into ``ctx``."""
        call: Call = ctx[REQ_RPC]
        argument, message = self.argument(ctx, call), None
        self.context = context = Context(self.native, ctx)
        published = publish(ctx)
        try:
            message = self.behaviour(argument, context)
        except Exception as error:  # noqa: BLE001  it may only be the end
            self.judge(error, call)
        finally:
            if published is not None:
                restore(published)
        if not self.native.is_active():
            raise gone(call)
        ctx[RES_RPC] = context.result(call, message)

    def judge(self, error: Exception, call: Call) -> None:
        """Raise an error of the handler, unless it only ends it."""
        if not self.native.is_active():
            raise gone(call) from error
        if self.context is None or not self.context.aborted:
            raise error

    def apply(self, result: Result) -> bool:
        """Let gRPC have what there is beside messages; tell whether there is an error to be raised."""
        native, context = self.native, result.native if isinstance(result.native, Context) else None
        given = None if context is None else context.fields
        fields = trailing(result, given, self._send_head(result))
        if fields is not None:
            native.set_trailing_metadata(fields)
        if not result.ok or (context is not None and context.status is not None):
            native.set_code(STATUS[result.code])
        if result.details:
            native.set_details(result.details)
        return not result.ok

    def _send_head(self, result: Result) -> Any:
        """Send the initial metadata that the chain has set; return what is too late."""
        changed = result.changed_headers
        if changed is None:
            return None
        sent = None if self.context is None else self.context.sent
        if sent is None:
            try:
                self.native.send_initial_metadata(changed.fields())
            except ValueError:  # messages have gone out
                sent = ()
            else:
                return None
        return [field for field in changed.fields() if field not in sent]

    def finish(self, result: Result) -> Any:
        """Return the message to gRPC."""
        failed = self.apply(result)
        result.end(0 if result.message is None else 1)
        if failed and result.message is None:
            self.native.abort(STATUS[result.code], result.details or "")
        return result.message

    def fail(self, error: BaseException) -> Any:
        """Let gRPC have an error that has come out of the chain."""
        if not self.native.is_active() and isinstance(error, Exception):
            return None  # nobody waits for an answer
        context = self.context
        if context is not None:
            if context.fields is not None:
                self.native.set_trailing_metadata(context.fields)
            if context.status is not None:
                self.native.set_code(context.status)
            if context.text is not None:
                self.native.set_details(context.text)
        code = code_for(error)
        if code is not None and (context is None or context.status is None):
            self.native.abort(STATUS[code], str(error))
        raise error


class PushExchange(Exchange):
    """One of a behaviour that pushes its messages from wherever it likes."""

    __slots__ = ("on_next",)
    on_next: Any

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and do not wait for its answer."""
        call: Call = ctx[REQ_RPC]
        argument, on_next = self.argument(ctx, call), self.on_next
        through = self.interceptor.messages.passing(ctx, call, "out") if call.response_streaming else None

        def push(message: Any) -> None:
            on_next(message if message is None or through is None else through(message))

        self.behaviour(argument, self.native, on_next if through is None else push)
        ctx[RES_RPC] = Result(request=call, native=self)


class StreamExchange(Exchange):
    """One with a stream of responses."""

    __slots__ = ("_aside", "_call", "_count", "_ended", "_failure", "_result", "_source", "_through")

    def begin(self, ctx: Ctx) -> Iterator[Any]:
        """Run the chain until there is a stream; return it."""
        self._result: Result | None = None
        self._failure: BaseException | None = None
        self._ended: BaseException | None = None
        self._call: Call = ctx[REQ_RPC]
        self._count = 0
        self._aside = Aside(partial(self._run, ctx))
        self._aside.go_on()
        if self._aside.is_paused:
            return self._stream()
        return self._answer()

    def _run(self, ctx: Ctx) -> None:
        try:
            self._result = result_of(self.interceptor.chain(ctx))
        except BaseException as error:  # noqa: BLE001  it is raised where gRPC asks for the next message
            self._failure = error

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and wait for the end of its stream. Runs aside."""
        call: Call = ctx[REQ_RPC]
        if self._count:
            raise RuntimeError(f"{call.method} cannot be called again: messages of its answer have gone out")
        argument = self.argument(ctx, call)
        self.context = context = Context(self.native, ctx)
        self._through = self.interceptor.messages.passing(ctx, call, "out")
        published = publish(ctx)
        try:
            self._source = iter(self.behaviour(argument, context))
            self._aside.pause()
            if self._ended is not None:
                self.judge(self._ended, call)  # type: ignore[arg-type]  # what is no Exception has not come here
            if not self.native.is_active():
                raise gone(call)  # noqa: TRY301  below it is looked at like any other
        except Exception as error:  # noqa: BLE001  it may only be the end
            self.judge(error, call)
        finally:
            self._ended = None
            if published is not None:
                restore(published)
        ctx[RES_RPC] = context.result(call, None)

    def _stream(self) -> Iterator[Any]:
        count = 0
        while self._aside.is_paused:
            source, error, is_dropped = self._source, None, False
            try:
                try:
                    for message in pulled(source, self._through):
                        yield message
                        count += 1
                except GeneratorExit:  # gRPC has given up
                    is_dropped = True
                finally:  # the handler cleans up before its chain goes on
                    if hasattr(source, "close"):
                        source.close()
            except Exception as failure:  # noqa: BLE001  raised at call(ctx)
                error = failure
            if is_dropped:
                error = gone(self._call)
            self._go_on(error, count)
            if is_dropped:
                if self._result is not None:
                    self._result.end(count, error)
                return
            error = None
        yield from self._answer()

    def _go_on(self, error: Exception | None, count: int) -> None:
        self._ended, self._count = error, count
        if count:
            self._call.begin()
        self._source = self._through = None
        self._aside.go_on()

    def _answer(self) -> Iterator[Any]:
        """Give what the chain has come back with: the end of the stream, or an answer in the handler's place."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                self.fail(failure)
            finally:
                failure = None
            return iter(())
        result = self._result
        assert result is not None  # the chain has returned or raised  # noqa: S101
        self.apply(result)
        result.end(self._count)
        return iter(result.messages or ())
