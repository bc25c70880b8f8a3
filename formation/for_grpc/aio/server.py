"""The interceptor of an asyncio server.

The chain is a coroutine in the task that gRPC has made for the call, and ``call(ctx)`` is the handler in it. A stream
goes out message by message while the chain waits, so ``call(ctx)`` returns when it has ended. What gRPC, or another
interceptor around, is given has the style of the handler: a generator (see ``given.py``), or a coroutine that writes.
A plain function runs in a thread.
"""

from __future__ import annotations

from asyncio import sleep
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any

from grpc import aio

from formation.ambient import publish, restore
from formation.for_grpc.aio.context import STRAIGHT, Context
from formation.for_grpc.aio.given import given
from formation.for_grpc.aio.in_thread import in_thread, streamed_in_thread
from formation.for_grpc.chains import STATUS, Chains, result_of, server_context
from formation.for_grpc.handlers import Wrapped, behaviour_of, handler_like
from formation.for_grpc.servicer_context import trailing
from formation.keys import DEADLINE, REQ_RPC, RES_RPC
from formation.rpc.codes import code_for
from formation.rpc.passing import Pulled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import AnyMiddleware, Ctx
    from formation.rpc.calls import Call
    from formation.rpc.results import Result


class AioServerInterceptor(aio.ServerInterceptor):
    """What `aio_server_interceptor` returns."""

    def __init__(self, middleware: Iterable[AnyMiddleware], message_middleware: Iterable[AnyMiddleware]) -> None:
        self._chains = Chains(middleware, message_middleware, "server", is_async=True)
        self._wrapped = Wrapped(self._around)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call with the chain around it."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._wrapped(handler_call_details.method, handler)

    def _around(self, method: str, handler: Any) -> Any:
        arity, behaviour = behaviour_of(handler)
        streams, is_awaited = arity.endswith("stream"), iscoroutinefunction(behaviour)

        async def serve(argument: Any, native: Any, write: Any = None) -> Any:
            if write is None and streams:
                write = native.write
            exchange = Exchange(self._chains, behaviour, native, write, is_awaited=is_awaited)
            ctx = server_context(method, arity, argument, native, exchange)
            try:
                result = result_of(await self._chains.around(ctx))
            except BaseException as error:
                await exchange.fail(error)
                raise
            return await exchange.finish(result, streams=streams)

        return handler_like(handler, arity, partial(given, serve) if isasyncgenfunction(behaviour) else serve)

    def __repr__(self) -> str:
        return f"aio_server_interceptor({self._chains})"


class Exchange:
    """A call that has come, and the way back."""

    __slots__ = ("behaviour", "chains", "context", "is_awaited", "native", "write")

    def __init__(self, chains: Chains, behaviour: Any, native: Any, write: Any, *, is_awaited: bool) -> None:
        self.chains = chains
        self.behaviour = behaviour
        self.is_awaited = is_awaited  # the behaviour is a coroutine function
        self.native = native
        self.write = write  # lets a message go
        self.context: Context | None = None  # what the handler of the last attempt was given

    @property
    def count(self) -> int:
        """The messages that have gone out."""
        return 0 if self.context is None else self.context.count

    async def call(self, ctx: Ctx) -> None:
        """Call the handler, and put what it answers into ``ctx``."""
        call: Call = ctx[REQ_RPC]
        if self.count:
            raise RuntimeError(f"{call.method} cannot be called again: messages of its answer have gone out")
        self.context = context = Context(self.native, call, ctx.get(DEADLINE))
        argument, message = self._argument(ctx, call, context), None
        published = publish(ctx)
        try:
            if call.response_streaming:
                context.way_out = self.chains.messages.apassing(ctx, call, "out")
                await self._stream(argument, context)
            elif self.is_awaited:
                message = await self.behaviour(argument, context)
            else:
                message = await in_thread(self.behaviour, argument, context)
        except Exception:
            if not context.aborted:
                raise
        finally:
            if context.count:
                call.begin()
            context.way_in = context.way_out = STRAIGHT  # they hold ctx
            if published is not None:
                restore(published)
        if call.request_streaming:
            await sleep(0)  # gRPC cancels for a caller that has gone right after the end of its requests
        ctx[RES_RPC] = context.result(message)

    def _argument(self, ctx: Ctx, call: Call, context: Context) -> Any:
        """Return what the handler gets: the message, or the stream, which it may also read from the context."""
        if call.messages is None:
            return call.message
        source = call.messages.take()
        context.way_in = passing = self.chains.messages.apassing(ctx, call, "in")
        return source if passing == (None, None) else Pulled(source, *passing)

    async def _stream(self, argument: Any, context: Context) -> None:
        """Write what the handler gives, unless it writes by itself."""
        behaviour = self.behaviour
        if self.is_awaited:
            await behaviour(argument, context)
            return
        source = behaviour(argument, context) if isasyncgenfunction(behaviour) else None
        if source is None:
            source = streamed_in_thread(behaviour, argument, context)
        write, (passes, waits) = self.write, context.way_out
        try:
            async for message in source:
                if passes is not None:
                    message = passes(message)  # noqa: PLW2901
                elif waits is not None:
                    message = await waits(message)  # noqa: PLW2901
                await write(message)
                context.count += 1
        finally:
            await source.aclose()

    async def finish(self, result: Result, *, streams: bool) -> Any:
        """Let gRPC have the answer: all that is not written yet."""
        native, context = self.native, result.native if isinstance(result.native, Context) else None
        if context is not None and context.is_silent and not result.is_changed and result.messages is None:
            result.end(context.count if streams else int(result.message is not None))
            return result.message
        late = await self._send_head(result)
        fields = trailing(result, None if context is None else context.fields, late)
        if fields is not None:
            native.set_trailing_metadata(fields)
        if streams and result.ok and result.messages is not None:
            async for message in aiterated(result.messages):
                await self.write(message)
        result.end(self.count if streams else int(result.message is not None))
        if not result.ok:
            if result.message is None:
                await native.abort(STATUS[result.code], result.details or "", fields or ())
            native.set_code(STATUS[result.code])
        elif context is not None and context.status is not None:
            native.set_code(STATUS[result.code])
        if result.details:
            native.set_details(result.details)
        return result.message

    async def _send_head(self, result: Result) -> Any:
        """Send the initial metadata that the chain has set; return what is too late."""
        changed = result.changed_headers
        if changed is None:
            return None
        sent = None if self.context is None else self.context.sent
        if sent is None and not self.count:
            await self.native.send_initial_metadata(changed.fields())
            return None
        return [field for field in changed.fields() if field not in (sent or ())]

    async def fail(self, error: BaseException) -> None:
        """Let gRPC have an error that has come out of the chain."""
        context, native = self.context, self.native
        if context is not None and isinstance(error, Exception):
            context.hand_over()
        code = code_for(error)
        if code is not None and (context is None or context.status is None):
            await native.abort(STATUS[code], str(error))


async def aiterated(messages: Any) -> Any:
    """Iterate over what may be had by ``async for`` or by ``for``."""
    if hasattr(messages, "__aiter__"):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message
