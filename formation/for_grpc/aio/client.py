"""The interceptors of an asyncio channel, one for each way to stream, as gRPC wants it.

One request and one response: the chain runs in the task that gRPC makes for interceptors, and what is cancelled is the
call in it. For streams gRPC wants a call back at once, to write to and to read from, and ``call(ctx)`` shall return
when it has ended. So their chain runs in a task of its own, which waits for the status; the messages do not pass it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from grpc import aio

from formation.errors import FormationError
from formation.for_grpc.aio.answered import Answered, failure_of
from formation.for_grpc.aio.link import Link
from formation.for_grpc.aio.spanned import CALLS
from formation.for_grpc.chains import Chains, client_context, result_of, seconds_left
from formation.keys import REQ_RPC, RES_RPC
from formation.rpc.codes import OK, Code
from formation.rpc.passing import Pulled
from formation.rpc.results import Result

if TYPE_CHECKING:
    from formation.kernel import Ctx
    from formation.rpc.calls import Arity, Call


class _Interceptor:
    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def _start(self, arity: Arity, continuation: Any, details: Any, argument: Any) -> Any:
        exchange = SpannedExchange(self._chains, continuation, details)
        ctx = client_context(details, arity, argument, exchange)
        exchange.link = link = Link(ctx[REQ_RPC])
        await link.start(self._chains.around, ctx)
        return CALLS[arity](link)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._chains})"


class UnaryUnary(_Interceptor, aio.UnaryUnaryClientInterceptor):
    """For one request and one response."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call, and wait for it."""
        exchange = Exchange(self._chains, continuation, client_call_details)
        ctx = client_context(client_call_details, "unary_unary", request, exchange)
        try:
            result = result_of(await self._chains.around(ctx))
        except FormationError as error:
            if (failed := failure_of(error)) is None:
                raise
            raise failed from error
        result.end(0 if result.message is None else 1)
        if result.native is not None and not result.is_changed:
            return result.native
        return Answered(result)


class UnaryStream(_Interceptor, aio.UnaryStreamClientInterceptor):
    """For a stream of responses."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call."""
        return await self._start("unary_stream", continuation, client_call_details, request)


class StreamUnary(_Interceptor, aio.StreamUnaryClientInterceptor):
    """For a stream of requests."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Make the call."""
        return await self._start("stream_unary", continuation, client_call_details, request_iterator)


class StreamStream(_Interceptor, aio.StreamStreamClientInterceptor):
    """For streams both ways."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Make the call."""
        return await self._start("stream_stream", continuation, client_call_details, request_iterator)


INTERCEPTORS: Final = UnaryUnary, UnaryStream, StreamUnary, StreamStream


class Exchange:
    """A call that is made, and what of it is gRPC's."""

    __slots__ = ("broken", "chains", "continuation", "details")

    def __init__(self, chains: Chains, continuation: Any, details: Any) -> None:
        self.chains = chains
        self.continuation = continuation
        self.details = details
        self.broken: Exception | None = None  # what a message middleware has raised, in a task of gRPC

    def make(self, ctx: Ctx, call: Call) -> Any:
        """Make an attempt; return what is to be awaited for what gRPC does."""
        details, changed = self.details, call.changed
        timeout = seconds_left(ctx, call, details.timeout)
        method = call.method.encode() if isinstance(details.method, bytes) else call.method
        if changed is not None or timeout != details.timeout or method != details.method:
            metadata = details.metadata if changed is None else aio.Metadata(*changed)
            details = aio.ClientCallDetails(method, timeout, metadata, details.credentials, details.wait_for_ready)
        argument = call.message
        if call.messages is not None:
            argument = call.messages.take()
            plain, waits = self.chains.messages.apassing(ctx, call, "out")
            if plain is not None or waits is not None:
                argument = self._passed(argument, plain, waits)
        return self.continuation(details, argument)

    async def _passed(self, source: Any, plain: Any, waits: Any) -> Any:
        """Let requests pass the middleware; what it raises is raised at ``call(ctx)``, too."""
        try:
            if hasattr(source, "__aiter__"):
                async for message in Pulled(source, plain, waits):
                    yield message
            else:
                for message in source:
                    yield plain(message) if plain is not None else await waits(message)
        except Exception as error:
            self.broken = error
            raise

    def result(self, call: Call, code: Code, details: Any, native: Any, message: Any = None) -> Result:
        """Return what has come of an attempt that is over."""
        broken, self.broken = self.broken, None
        if broken is not None:
            raise broken
        return Result(
            code,
            details,
            headers=partial(now, native.initial_metadata),
            trailers=partial(now, native.trailing_metadata),
            message=message,
            request=call,
            native=native,
        )

    async def call(self, ctx: Ctx) -> None:
        """Make the call, and wait for it."""
        call: Call = ctx[REQ_RPC]
        native = await self.make(ctx, call)
        code, details, message = await self._answer(native)
        ctx[RES_RPC] = self.result(call, code, details, native, message)

    async def _answer(self, native: Any) -> tuple[Code, str | None, Any]:
        """Wait for the answer; return the code, the details and the message."""
        try:
            return OK, None, await native
        except aio.AioRpcError as error:
            return Code.of(error.code()), error.details(), None


class SpannedExchange(Exchange):
    """One that gives something back before it is over."""

    __slots__ = ("link",)
    link: Link

    async def call(self, ctx: Ctx) -> None:
        """Make the call, and wait for its end."""
        call: Call = ctx[REQ_RPC]
        link = self.link
        if link.is_cancelled:
            raise asyncio.CancelledError
        passing = self.chains.messages.apassing(ctx, call, "in") if call.response_streaming else (None, None)
        native = await self.make(ctx, call)
        link.attempt(native, passing)
        try:
            code, details, message = await self._end(call, native)
        except asyncio.CancelledError:
            if self.broken is None:
                native.cancel()
                raise
            raise self.broken from None  # for which gRPC has cancelled the call
        if link.broken is not None:
            raise link.broken
        if native.cancelled() and self.broken is None:
            raise asyncio.CancelledError("the call was cancelled here")
        ctx[RES_RPC] = self.result(call, code, details, native, message)

    async def _end(self, call: Call, native: Any) -> tuple[Code, str | None, Any]:
        """Wait for the end; return the code, the details and the message."""
        if not call.response_streaming:  # gRPC's code() alone says INTERNAL if the end comes before the last request
            return await self._answer(native)
        code = Code.of(await native.code())
        return code, None if code is OK else await native.details(), None


def now(ask: Any) -> Any:
    """Return what ``ask()`` gives without waiting, else ``None``: a call of gRPC that is over has its metadata."""
    coroutine = ask()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return None
