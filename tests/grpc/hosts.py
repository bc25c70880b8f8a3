"""A service of bytes behind real servers, and callers of it: the same cases sync and asyncio.

`running` starts a server and a channel, each with its middleware, and gives a `Caller`, whose methods are plain in both
worlds: the asyncio one has its event loop in a thread.

What the service does is told by the request: ``abort`` and ``boom`` end it badly, ``hold`` waits until the caller has
gone. All else is answered.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc import aio

from formation import for_grpc

SECONDS = 20
"""A hang must fail, a slow machine must not."""


class Outcome:
    """What a call has come to: its messages, code, details and metadata."""

    def __init__(self, messages, code, details, headers, trailers, error=None):  # noqa: PLR0917
        self.messages = messages
        self.code = code.name
        self.details = details
        self.headers = dict(tuple(headers or ()))  # a mapping of grpc.aio has pairs as keys, in old versions
        self.trailers = dict(tuple(trailers or ()))
        self.error = error

    @property
    def message(self):
        assert len(self.messages) == 1
        return self.messages[0]


class Seen:
    """What the service has seen, and what the test tells it."""

    def __init__(self):
        self.calls = []
        self.gone = threading.Event()  # a handler was ended from outside
        self.held = threading.Event()  # a handler holds
        self.script = []  # codes to abort with, call by call


def service(seen):  # noqa: C901  four handlers
    """The handlers as plain functions."""

    def note(context):
        metadata = {name: value for name, value in context.invocation_metadata() if name != "user-agent"}
        seen.calls.append(metadata)
        seen.left = context.time_remaining()
        if seen.script and (code := seen.script.pop(0)) is not None:
            if isinstance(code, tuple):
                code, trailers = code
                context.set_trailing_metadata(trailers)
            context.abort(code, "as the script says")

    def end(request, context):
        if request == b"abort":
            context.set_trailing_metadata((("why", "asked"), ("raw-bin", b"\x00\xff")))
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        if request == b"set":
            context.set_code(grpc.StatusCode.ALREADY_EXISTS)
            context.set_details("it is there")
        if request == b"boom":
            raise ValueError("boom from inside")
        if request == b"hold":
            ended = threading.Event()
            if not context.add_callback(ended.set):
                ended.set()
            seen.held.set()
            ended.wait(SECONDS)
            seen.gone.set()

    def one(request, context):
        note(context)
        if request == b"head":
            context.send_initial_metadata((("first", "1"),))
        end(request, context)
        return b"<" + request + b">"

    def many(request, context):
        note(context)
        try:
            for number in range(3):
                yield request + str(number).encode()
            end(request, context)
        finally:
            seen.closed = True

    def collect(requests, context):
        note(context)
        taken = []
        for request in requests:
            taken.append(request)
            end(request, context)
        return b"".join(taken)

    def both(requests, context):
        note(context)
        try:
            for request in requests:
                end(request, context)
                yield b"<" + request + b">"
        finally:
            seen.gone.set()

    return one, many, collect, both


def async_service(seen):  # noqa: C901
    """The same as coroutines; the last one reads and writes by itself."""

    async def note(context):
        metadata = {name: value for name, value in context.invocation_metadata() if name != "user-agent"}
        seen.calls.append(metadata)
        seen.left = context.time_remaining()
        if seen.script and (code := seen.script.pop(0)) is not None:
            if isinstance(code, tuple):
                code, trailers = code
                context.set_trailing_metadata(trailers)
            await context.abort(code, "as the script says")

    async def end(request, context):
        if request == b"abort":
            context.set_trailing_metadata((("why", "asked"), ("raw-bin", b"\x00\xff")))
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        if request == b"set":
            context.set_code(grpc.StatusCode.ALREADY_EXISTS)
            context.set_details("it is there")
        if request == b"boom":
            raise ValueError("boom from inside")
        if request == b"hold":
            seen.held.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.gone.set()

    async def one(request, context):
        await note(context)
        if request == b"head":
            await context.send_initial_metadata((("first", "1"),))
        await end(request, context)
        return b"<" + request + b">"

    async def many(request, context):
        await note(context)
        try:
            for number in range(3):
                yield request + str(number).encode()
            await end(request, context)
        finally:
            seen.closed = True

    async def collect(requests, context):
        await note(context)
        taken = []
        async for request in requests:
            taken.append(request)
            await end(request, context)
        return b"".join(taken)

    async def both(requests, context):
        await note(context)
        try:
            while (request := await context.read()) is not aio.EOF:
                await end(request, context)
                await context.write(b"<" + request + b">")
        finally:
            seen.gone.set()

    return one, many, collect, both


def handlers(functions):
    one, many, collect, both = functions
    return grpc.method_handlers_generic_handler(
        "test.Service",
        {
            "One": grpc.unary_unary_rpc_method_handler(one),
            "Many": grpc.unary_stream_rpc_method_handler(many),
            "Collect": grpc.stream_unary_rpc_method_handler(collect),
            "Both": grpc.stream_stream_rpc_method_handler(both),
        },
    )


class Caller:
    """Calls the service; each method returns an `Outcome`."""

    def __init__(self, channel, seen):
        self.channel, self.seen = channel, seen

    def one(self, request, **more):
        return self._unary(self.channel.unary_unary("/test.Service/One"), request, more)

    def collect(self, requests, **more):
        return self._unary(self.channel.stream_unary("/test.Service/Collect"), iter(requests), more)

    def many(self, request, **more):
        return self._stream(self.channel.unary_stream("/test.Service/Many"), request, more)

    def both(self, requests, **more):
        return self._stream(self.channel.stream_stream("/test.Service/Both"), iter(requests), more)

    def _unary(self, method, argument, more):
        try:
            message, call = method.with_call(argument, **more)
        except grpc.RpcError as error:
            return Outcome(
                [], error.code(), error.details(), error.initial_metadata(), error.trailing_metadata(), error
            )
        return Outcome([message], call.code(), call.details(), call.initial_metadata(), call.trailing_metadata())

    def _stream(self, method, argument, more):
        call, messages, failed = method(argument, **more), [], None
        try:
            messages.extend(call)
        except grpc.RpcError as error:
            failed = error
        return Outcome(messages, call.code(), call.details(), call.initial_metadata(), call.trailing_metadata(), failed)


class AioCaller(Caller):
    """The same on asyncio."""

    def __init__(self, channel, seen, loop):
        super().__init__(channel, seen)
        self.loop = loop

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, SECONDS), self.loop).result(SECONDS * 2)

    def _unary(self, method, argument, more):
        async def ask():
            call = method(argument, **more)
            try:
                message = await call
            except aio.AioRpcError as error:
                head, tail = error.initial_metadata(), error.trailing_metadata()
                return Outcome([], error.code(), error.details(), head, tail, error)
            head, tail = await call.initial_metadata(), await call.trailing_metadata()
            return Outcome([message], await call.code(), await call.details(), head, tail)

        return self.run(ask())

    def _stream(self, method, argument, more):
        async def ask():
            call, messages, failed = method(argument, **more), [], None
            try:
                async for message in call:
                    messages.append(message)  # noqa: PERF401  those before an error count
            except aio.AioRpcError as error:
                failed = error
            head, tail = await call.initial_metadata(), await call.trailing_metadata()
            return Outcome(messages, await call.code(), await call.details(), head, tail, failed)

        return self.run(ask())


def split(given):
    """Middleware, and message middleware where there is some."""
    return given if isinstance(given, tuple) else (given, [])


@contextmanager
def sync_running(server=(), client=(), options=None):
    """A sync server and a sync channel."""
    seen = Seen()
    pool = ThreadPoolExecutor(8)
    interceptors = [for_grpc.server_interceptor(*split(server or []))]
    host = grpc.server(pool, interceptors=interceptors)
    host.add_generic_rpc_handlers((handlers(service(seen)),))
    port = host.add_insecure_port("127.0.0.1:0")
    host.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as plain:
            channel = grpc.intercept_channel(plain, for_grpc.client_interceptor(*split(client or [])))
            caller = Caller(channel, seen)
            caller.host, caller.port = host, port
            yield caller
    finally:
        host.stop(0).wait()
        pool.shutdown()


@contextmanager
def event_loop():
    """An event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        left = asyncio.all_tasks(loop)
        loop.close()
        assert not left


@contextmanager
def aio_running(server=(), client=(), options=None, *, make=async_service):
    """An asyncio server and an asyncio channel."""
    seen = Seen()

    async def start():
        interceptors = [for_grpc.aio_server_interceptor(*split(server or []))]
        host = aio.server(interceptors=interceptors)
        host.add_generic_rpc_handlers((handlers(make(seen)),))
        port = host.add_insecure_port("127.0.0.1:0")
        await host.start()
        around = for_grpc.aio_client_interceptors(*split(client or []))
        return host, port, aio.insecure_channel(f"127.0.0.1:{port}", options, interceptors=around)

    async def stop():
        await channel.close()
        await host.stop(0)

    with event_loop() as loop:
        host, port, channel = asyncio.run_coroutine_threadsafe(start(), loop).result(SECONDS)
        caller = AioCaller(channel, seen, loop)
        caller.host, caller.port = host, port
        try:
            yield caller
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(SECONDS)


@contextmanager
def plain_in_aio_running(server=(), client=(), options=None):
    """An asyncio server whose handlers are plain functions."""
    with aio_running(server, client, options, make=service) as caller:
        yield caller


def _named(functions):
    return [pytest.param(fn, id=name) for name, fn in functions.items()]


WORLDS = {"sync": sync_running, "asyncio": aio_running}

every_world = pytest.mark.parametrize("running", _named(WORLDS))
every_server = pytest.mark.parametrize("running", _named({**WORLDS, "plain in asyncio": plain_in_aio_running}))
