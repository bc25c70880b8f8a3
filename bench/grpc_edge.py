"""The gRPC edge: interceptors that read metadata and count, as our chain and as one writes them by hand.

All of them do the same: for each call they look at a field of the metadata, for each message of a stream they count it.
*No network*: what the interceptors take by themselves; one layer of ours has a context and a result to make, which by
hand nobody has. The others go over loopback, through a server and a
channel in this process; a time is that of one call, or of a stream of 200 messages. Then 1 000 000 messages go both
ways through five middlewares of a server; they must not take memory.
"""

import asyncio
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import grpc
from grpc import aio

from bench.measure import Row, awaits, rounds
from formation.for_grpc import aio_client_interceptors, aio_server_interceptor, client_interceptor, server_interceptor

LAYERS = (1, 5, 10)
ROUNDS = 40  # each of some calls over loopback, so that a row takes a few seconds
MESSAGES = 200  # of a stream that is timed
MANY = 1_000_000
SPARE = 16  # MiB that the process may grow by while a million messages go through it
WHAT = {"unary": "a call", "stream": f"{MESSAGES} messages"}
METADATA = (("x-request-id", "7f3a"), ("user-agent", "bench"))


class Count:
    """What the interceptors count."""

    seen = 0


def layer(ctx: Any, call: Any) -> Any:
    """Look at the metadata: one of ours."""
    ctx["fmtn.req.rpc"].headers.get("x-request-id")
    return call(ctx)


def message_layer(ctx: Any, call: Any) -> Any:
    """Count a message: one of ours."""
    Count.seen += 1
    return call(ctx)


def look(metadata: Any) -> None:
    """Look at the metadata by hand."""
    dict(metadata or ()).get("x-request-id")


class ByHand(grpc.ServerInterceptor):
    """A server interceptor as one writes it."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler."""
        handler = continuation(handler_call_details)
        look(handler_call_details.invocation_metadata)
        if not handler.response_streaming:
            inner = handler.unary_unary

            def one(request: Any, context: Any) -> Any:
                return inner(request, context)

            return grpc.unary_unary_rpc_method_handler(one, handler.request_deserializer, handler.response_serializer)
        stream = handler.unary_stream

        def many(request: Any, context: Any) -> Any:
            for message in stream(request, context):
                Count.seen += 1
                yield message

        return grpc.unary_stream_rpc_method_handler(many, handler.request_deserializer, handler.response_serializer)


class AioByHand(aio.ServerInterceptor):  # type: ignore[misc]
    """The same for an asyncio server."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        look(handler_call_details.invocation_metadata)
        if not handler.response_streaming:
            inner = handler.unary_unary

            async def one(request: Any, context: Any) -> Any:
                return await inner(request, context)

            return grpc.unary_unary_rpc_method_handler(one, handler.request_deserializer, handler.response_serializer)
        stream = handler.unary_stream

        async def many(request: Any, context: Any) -> Any:
            async for message in stream(request, context):
                Count.seen += 1
                yield message

        return grpc.unary_stream_rpc_method_handler(many, handler.request_deserializer, handler.response_serializer)


class ClientByHand(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """A client interceptor as one writes it."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Go on."""
        look(client_call_details.metadata)
        return continuation(client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Go on, and count."""
        look(client_call_details.metadata)
        return self._counted(continuation(client_call_details, request))

    def _counted(self, call: Any) -> Any:
        for message in call:
            Count.seen += 1
            yield message


class AioOneByHand(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """The same for an asyncio channel."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Go on."""
        look(client_call_details.metadata)
        return await continuation(client_call_details, request)


class AioManyByHand(aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """The same for a stream."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Go on, and count."""
        look(client_call_details.metadata)
        return self._counted(await continuation(client_call_details, request))

    async def _counted(self, call: Any) -> Any:
        async for message in call:
            Count.seen += 1
            yield message


def one(request: bytes, context: Any) -> bytes:
    """Answer."""
    return request


def many(request: bytes, context: Any) -> Any:
    """Answer so many times."""
    for _ in range(int(request)):
        yield request


def both(requests: Any, context: Any) -> Any:
    """Answer each."""
    yield from requests


async def aio_one(request: bytes, context: Any) -> bytes:
    """Answer."""
    return request


async def aio_many(request: bytes, context: Any) -> Any:
    """Answer so many times."""
    for _ in range(int(request)):
        yield request


async def aio_both(requests: Any, context: Any) -> Any:
    """Answer each."""
    async for request in requests:
        yield request


def service(*functions: Any) -> Any:
    """Return the handlers."""
    names = ("One", "Many", "Both")
    makers = (
        grpc.unary_unary_rpc_method_handler,
        grpc.unary_stream_rpc_method_handler,
        grpc.stream_stream_rpc_method_handler,
    )
    made = {name: make(fn) for name, make, fn in zip(names, makers, functions, strict=True)}
    return grpc.method_handlers_generic_handler("bench.Service", made)


class Sync:
    """A server and a channel."""

    def __init__(self, stack: ExitStack, server: Any, client: Any) -> None:
        self.server = grpc.server(stack.enter_context(ThreadPoolExecutor(4)), interceptors=server)
        self.server.add_generic_rpc_handlers((service(one, many, both),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        stack.callback(lambda: self.server.stop(0).wait())
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
        self.channel = grpc.intercept_channel(channel, *client)

    def unary(self, count: int) -> float:
        """Time calls."""
        method = self.channel.unary_unary("/bench.Service/One")
        metadata = (("x-request-id", "7f3a"),)
        started = perf_counter()
        for _ in range(count):
            method(b"1", metadata=metadata)
        return perf_counter() - started

    def stream(self, count: int) -> float:
        """Time streams."""
        method = self.channel.unary_stream("/bench.Service/Many")
        started = perf_counter()
        for _ in method(b"%d" % (count * MESSAGES)):
            pass
        return perf_counter() - started


class Aio:
    """The same on asyncio."""

    def __init__(self, loop: Any, stack: ExitStack, server: Any, client: Any) -> None:
        self.loop = loop
        loop.run_until_complete(self._start(server, client))
        stack.callback(lambda: loop.run_until_complete(self._stop()))

    async def _start(self, server: Any, client: Any) -> None:
        self.server = aio.server(interceptors=server)
        self.server.add_generic_rpc_handlers((service(aio_one, aio_many, aio_both),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = aio.insecure_channel(f"127.0.0.1:{port}", interceptors=client)

    async def _stop(self) -> None:
        await self.channel.close()
        await self.server.stop(0)

    def unary(self, count: int) -> float:
        """Time calls."""

        async def ask() -> float:
            method = self.channel.unary_unary("/bench.Service/One")
            metadata = (("x-request-id", "7f3a"),)
            started = perf_counter()
            for _ in range(count):
                await method(b"1", metadata=metadata)
            return perf_counter() - started

        return float(self.loop.run_until_complete(ask()))

    def stream(self, count: int) -> float:
        """Time streams."""

        async def ask() -> float:
            method = self.channel.unary_stream("/bench.Service/Many")
            started = perf_counter()
            async for _ in method(b"%d" % (count * MESSAGES)):
                pass
            return perf_counter() - started

        return float(self.loop.run_until_complete(ask()))


class Fake:
    """A servicer context without a network."""

    def invocation_metadata(self) -> Any:
        """Return some."""
        return METADATA

    def time_remaining(self) -> None:
        """Return nothing: there is no deadline."""

    def is_active(self) -> bool:
        """Tell that somebody waits."""
        return True

    def cancelled(self) -> bool:
        """Tell that nobody has gone."""
        return False

    def peer(self) -> str:
        """Return an address."""
        return "ipv4:127.0.0.1:50000"

    async def write(self, message: bytes) -> None:
        """Send nothing."""


class Details(NamedTuple):
    """What gRPC tells an interceptor."""

    method: str
    invocation_metadata: Any


def served(interceptors: list[Any], handler: Any) -> Any:
    """Return a function that answers a call as a sync server does, without a network."""

    def step(at: int) -> Any:
        return (
            (lambda details: handler)
            if at == len(interceptors)
            else partial(interceptors[at].intercept_service, step(at + 1))
        )

    steps = step(0)
    return lambda: steps(Details("/bench.Service/Any", METADATA))


def aio_served(interceptors: list[Any], handler: Any) -> Any:
    """Do the same as an asyncio server does."""

    async def last(details: Any) -> Any:
        return handler

    steps: Any = last
    for interceptor in reversed(interceptors):
        steps = partial(interceptor.intercept_service, steps)
    return lambda: steps(Details("/bench.Service/Any", METADATA))


def bare(interceptors: list[Any]) -> Any:
    """Time calls of a sync server, without a network."""
    find, context = served(interceptors, grpc.unary_unary_rpc_method_handler(one)), Fake()

    def timer(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            find().unary_unary(b"1", context)
        return perf_counter() - started

    return timer


def aio_bare(interceptors: list[Any]) -> Any:
    """Time calls of an asyncio server, without a network."""
    find, context = aio_served(interceptors, grpc.unary_unary_rpc_method_handler(aio_one)), Fake()

    async def loop(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            await (await find()).unary_unary(b"1", context)
        return perf_counter() - started

    def timer(count: int) -> float:
        try:
            loop(count).send(None)
        except StopIteration as stop:
            return float(stop.value)
        raise RuntimeError("what is timed without an event loop must not wait")

    return timer


class Asked(NamedTuple):
    """What gRPC tells an interceptor of a client."""

    method: str
    timeout: None
    metadata: Any


class Over:
    """A call that went well, sync or asyncio."""

    def code(self) -> Any:
        """Return the code."""
        return grpc.StatusCode.OK

    def result(self) -> bytes:
        """Return the answer."""
        return b"1"

    def initial_metadata(self) -> Any:
        """Return nothing."""
        return ()

    trailing_metadata = initial_metadata

    def __await__(self) -> Any:
        return b"1"
        yield


def client_bare(interceptors: list[Any]) -> Any:
    """Time calls of a sync client, without a network."""
    call, asked = Over(), Asked("/bench.Service/Any", None, METADATA)

    def last(details: Any, request: bytes) -> Any:
        return call

    step: Any = last
    for interceptor in reversed(interceptors):
        step = partial(interceptor.intercept_unary_unary, step)

    def timer(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            step(asked, b"1").result()
        return perf_counter() - started

    return timer


def aio_client_bare(interceptors: list[Any]) -> Any:
    """Time calls of an asyncio client, without a network."""
    call, asked = Over(), Asked("/bench.Service/Any", None, METADATA)

    async def last(details: Any, request: bytes) -> Any:
        return call

    step: Any = last
    for interceptor in reversed(interceptors):
        step = partial(interceptor.intercept_unary_unary, step)

    async def ask(_: Any) -> None:
        await (await step(asked, b"1"))

    return awaits(ask)


def rows() -> list[Row]:
    """Time the interceptors alone, then the four edges over loopback; let a million messages through."""
    made: list[Row] = []
    for count in LAYERS:
        ours, what = [layer] * count, f"{count} layer{'s' * (count > 1)}"
        sync = {"ours": bare([server_interceptor(ours)]), "by hand": bare([ByHand() for _ in range(count)])}
        asyncio_ = {
            "ours": aio_bare([aio_server_interceptor(ours)]),
            "by hand": aio_bare([AioByHand() for _ in range(count)]),
        }
        client = {
            "ours": client_bare([client_interceptor(ours)]),
            "by hand": client_bare([ClientByHand() for _ in range(count)]),
        }
        aio_client = {
            "ours": aio_client_bare(aio_client_interceptors(ours)[:1]),
            "by hand": aio_client_bare([AioOneByHand() for _ in range(count)]),
        }
        bars = {"sync server": 1.0, "asyncio server": 1.0} if count == 10 else {}
        for edge, candidates in (
            ("sync server", sync),
            ("asyncio server", asyncio_),
            ("sync client", client),
            ("asyncio client", aio_client),
        ):
            seconds, bar = rounds(candidates), bars.get(edge)
            said = f"{edge}, {what}, no network"
            made.append(Row(said, seconds["ours"], "by hand", seconds["by hand"], at_most=bar))
    loop = asyncio.new_event_loop()
    try:
        for world in ("sync", "asyncio"):
            for side in ("server", "client"):
                for count in LAYERS:
                    made += _timed(loop, world, side, count)
    finally:
        loop.close()
    return [*made, million(), aio_million()]


def _timed(loop: Any, world: str, side: str, count: int) -> list[Row]:
    ours = [layer] * count
    with ExitStack() as stack:

        def start(server: Any, client: Any) -> Any:
            return Sync(stack, server, client) if world == "sync" else Aio(loop, stack, server, client)

        hosts = {}
        if side == "server":
            make = server_interceptor if world == "sync" else aio_server_interceptor
            hosts["Formation"] = start([make(ours, [message_layer] * count)], [])
            hosts["by hand"] = start([(ByHand if world == "sync" else AioByHand)() for _ in range(count)], [])
        elif world == "sync":
            hosts["Formation"] = start([], [client_interceptor(ours, [message_layer] * count)])
            hosts["by hand"] = start([], [ClientByHand() for _ in range(count)])
        else:
            hosts["Formation"] = start([], aio_client_interceptors(ours, [message_layer] * count))
            hosts["by hand"] = start([], [kind() for kind in (AioOneByHand, AioManyByHand) for _ in range(count)])
        made = []
        for what in ("unary", "stream"):
            seconds = rounds({name: getattr(host, what) for name, host in hosts.items()}, ROUNDS)
            said = f"{world} {side}, {count} layer{'s' * (count > 1)}, {WHAT[what]}"
            bar = 1.3 if count == 1 else None
            made.append(Row(said, seconds["Formation"], "by hand", seconds["by hand"], at_most=bar))
        return made


def million() -> Row:
    """Let a million messages pass five middlewares of a sync server, both ways, and look at the memory."""
    layers = [layer] * 5, [message_layer] * 5
    handler = served([server_interceptor(*layers)], grpc.stream_stream_rpc_method_handler(both))()

    def drain(count: int) -> int:
        return sum(1 for _ in handler.stream_stream((b"%d" % number for number in range(count)), Fake()))

    return _constant("sync", drain)


def aio_million() -> Row:
    """Do the same in an asyncio server."""
    layers = [layer] * 5, [message_layer] * 5
    interceptor = aio_server_interceptor(*layers)

    async def requests(count: int) -> Any:
        for number in range(count):
            yield b"%d" % number

    class Counting(Fake):
        seen = 0

        async def write(self, message: bytes) -> None:
            self.seen += 1

    async def serve(count: int) -> int:
        context = Counting()
        handler = await aio_served([interceptor], grpc.stream_stream_rpc_method_handler(aio_both))()
        async for message in handler.stream_stream(requests(count), context):
            await context.write(message)
        return context.seen

    return _constant("asyncio", lambda count: asyncio.run(serve(count)))


def _constant(world: str, drain: Any) -> Row:
    drain(10_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = perf_counter()
    seen = drain(MANY)
    seconds = [(perf_counter() - started) / MANY]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if grown > SPARE or seen != MANY:
        raise RuntimeError(
            f"expected {MANY} messages to go through in constant memory, the process grew by {grown} MiB"
        )
    return Row(f"{world} server, {MANY} messages both ways, 5 layers, no network", seconds)
