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

import grpc
from grpc import aio

from formation.ambient import publish, restore
from formation.errors import ClientGone, DeadlineExceeded
from formation.for_grpc import context as context_
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
from formation.for_grpc.given import given
from formation.for_grpc.in_thread import in_thread, streamed_in_thread
from formation.introspection import name_of
from formation.kernel import wrap
from formation.keys import REQ_RPC, RES_RPC
from formation.rpc.codes import code_for
from formation.rpc.passing import MessageChains, Pulled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import AnyMiddleware, Ctx
    from formation.rpc.calls import Call
    from formation.rpc.passing import APassing, Passing
    from formation.rpc.results import Result


class AioServerInterceptor(aio.ServerInterceptor):
    """What `aio_server_interceptor` returns."""

    def __init__(self, middleware: Iterable[AnyMiddleware], message_middleware: Iterable[AnyMiddleware]) -> None:
        self.chain: Any = wrap(enter, middleware)
        self.messages = MessageChains(message_middleware, "server", is_async=True)
        self._wrapped = Wrapped(self._around)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call with the chain around it."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._wrapped(handler_call_details.method, handler)

    def _around(self, method: str, handler: Any) -> Any:
        arity, behaviour = behaviour_of(handler)
        streams = arity.endswith("stream")

        async def serve(argument: Any, native: Any, write: Any = None) -> Any:
            exchange = Exchange(self, behaviour, native, native.write if write is None and streams else write)
            ctx = server_context(method, arity, argument, native, exchange)
            try:
                result = result_of(await self.chain(ctx))
            except BaseException as error:  # noqa: BLE001  raised again
                await exchange.fail(error)
                return None
            return await exchange.finish(result, streams=streams)

        return handler_like(handler, arity, partial(given, serve) if isasyncgenfunction(behaviour) else serve)

    def __repr__(self) -> str:
        return f"aio_server_interceptor([{', '.join(map(name_of, self.chain.middleware))}])"


async def enter(ctx: Ctx) -> Ctx:
    """The endpoint of the chain: call the handler."""
    await exchange_of(ctx).call(ctx)
    return ctx


class Exchange:
    """A call that has come, and the way back."""

    __slots__ = ("behaviour", "context", "count", "interceptor", "native", "write")

    def __init__(self, interceptor: AioServerInterceptor, behaviour: Any, native: Any, write: Any) -> None:
        self.interceptor = interceptor
        self.behaviour = behaviour
        self.native = native
        self.write = write  # lets a message go
        self.context: Context | None = None  # what the handler of the last attempt was given
        self.count = 0  # messages that have gone out

    async def call(self, ctx: Ctx) -> None:
        """Call the handler, and put what it answers into ``ctx``."""
        call: Call = ctx[REQ_RPC]
        if self.count:
            raise RuntimeError(f"{call.method} cannot be called again: messages of its answer have gone out")
        self.context = context = Context(self.native, ctx)
        argument, message = self._argument(ctx, call, context), None
        published = publish(ctx)
        try:
            if call.response_streaming:
                context.exchange = self
                context.way_out = self.interceptor.messages.apassing(ctx, call, "out")
                await self._stream(argument, context)
            elif iscoroutinefunction(self.behaviour):
                message = await self.behaviour(argument, context)
            else:
                message = await in_thread(self.behaviour, argument, context)
        except Exception:
            if not context.aborted:
                raise
        finally:
            if self.count:
                call.begin()
            if published is not None:
                restore(published)
        if call.request_streaming:
            await sleep(0)  # gRPC tells of a caller that has gone right after the end of its requests
        if self.native.cancelled():
            raise gone(call)
        ctx[RES_RPC] = context.result(call, message)

    def _argument(self, ctx: Ctx, call: Call, context: Context) -> Any:
        """Return what the handler gets: the message, or the stream, which it may also read from the context."""
        if call.messages is None:
            return call.message
        source = call.messages.take()
        context.way_in = passing = self.interceptor.messages.apassing(ctx, call, "in")
        return source if passing == (None, None) else Pulled(source, *passing)

    async def _stream(self, argument: Any, context: Context) -> None:
        """Write what the handler gives, unless it writes by itself."""
        behaviour = self.behaviour
        if iscoroutinefunction(behaviour):
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
                self.count += 1
        finally:
            await source.aclose()

    async def finish(self, result: Result, *, streams: bool) -> Any:
        """Let gRPC have the answer: all that is not written yet."""
        native, context = self.native, result.native if isinstance(result.native, Context) else None
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
        if isinstance(error, (ClientGone, DeadlineExceeded)) and native.cancelled():
            return  # nobody waits for an answer
        if context is not None and isinstance(error, Exception):
            if context.fields is not None:
                native.set_trailing_metadata(context.fields)
            if context.text is not None:
                native.set_details(context.text)
            if context.status is not None:
                native.set_code(context.status)
        code = code_for(error)
        if code is not None and (context is None or context.status is None):
            await native.abort(STATUS[code], str(error))
        raise error


class Context(context_.Context):
    """Stands in for the servicer context of gRPC. What says how the call ends is kept until the chain has returned."""

    __slots__ = ("exchange", "way_in", "way_out")
    way_in: tuple[Passing | None, APassing | None]
    way_out: tuple[Passing | None, APassing | None]
    exchange: Exchange

    async def read(self) -> Any:
        """Return the next message of the caller, ``grpc.aio.EOF`` at the end."""
        message = await self._native.read()
        if message is aio.EOF:
            return message
        passes, waits = self.way_in
        if passes is not None:
            return passes(message)
        return message if waits is None else await waits(message)

    async def write(self, message: Any) -> None:
        """Send a message."""
        passes, waits = self.way_out
        if passes is not None:
            message = passes(message)
        elif waits is not None:
            message = await waits(message)
        await self._native.write(message)
        self.exchange.count += 1

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata."""
        self.sent = fields = tuple(initial_metadata or ())
        await self._native.send_initial_metadata(fields)

    def details(self) -> Any:
        """Return the details."""
        return self._native.details() if self.text is None else self.text

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:  # type: ignore[override]
        """End the call with this code."""
        if self.aborted:
            raise aio.UsageError("Abort already called!")
        if code == grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        self.aborted, self.status = True, code
        self.text = details or self.text
        if trailing_metadata:
            self.fields = tuple(trailing_metadata)
        raise aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: Any) -> None:  # type: ignore[override]
        """End the call with this status."""
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))


aio.ServicerContext.register(Context)


async def aiterated(messages: Any) -> Any:
    """Iterate over what may be had by ``async for`` or by ``for``."""
    if hasattr(messages, "__aiter__"):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message
