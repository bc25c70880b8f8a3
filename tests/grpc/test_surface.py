"""What of gRPC keeps its meaning through the chain: contexts, calls, futures, options, other people's interceptors."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import aio

from formation import for_grpc, req, res
from formation.for_grpc.servicer_context import Context, code_of
from formation.rpc import Call
from tests.grpc.hosts import SECONDS, aio_running, every_server, sync_running


def passing(ctx, call):
    return call(ctx)


def serve(handler, interceptors=None):
    """A sync server with one method."""
    pool = ThreadPoolExecutor(4)
    host = grpc.server(pool, interceptors=interceptors or [for_grpc.server_interceptor([passing])])
    host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", {"Any": handler}),))
    port = host.add_insecure_port("127.0.0.1:0")
    host.start()
    return host, pool, f"127.0.0.1:{port}"


@pytest.fixture
def served():
    hosts = []

    def make(handler, interceptors=None):
        host, pool, target = serve(handler, interceptors)
        hosts.append((host, pool))
        return target

    yield make
    for host, pool in hosts:
        host.stop(0).wait()
        pool.shutdown()


# The context of a handler


def test_a_handler_finds_all_of_grpcs_context(served):
    found = {}

    def handler(request, context):
        found["is"] = isinstance(context, grpc.ServicerContext)
        found["active"] = context.is_active()
        found["peer"] = context.peer()
        found["left"] = context.time_remaining()
        found["code"] = (context.code(), context.details(), context.trailing_metadata())
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("lost")
        context.set_trailing_metadata((("a", "1"),))
        found["set"] = (context.code(), context.details(), context.trailing_metadata())
        found["auth"] = (context.auth_context(), context.peer_identities(), context.peer_identity_key())
        context.set_compression(grpc.Compression.Gzip)
        context.disable_next_message_compression()
        ended = threading.Event()
        found["callback"] = context.add_callback(ended.set)
        found["ended"] = ended
        return request

    target = served(grpc.unary_unary_rpc_method_handler(handler))
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Service/Any")(b"a")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "lost")
    assert found["ended"].wait(SECONDS)
    assert (found["is"], found["active"], found["callback"]) == (True, True, True)
    assert found["peer"].startswith("ipv4:127.0.0.1:")
    assert found["left"] > 1e9  # there is no deadline
    assert found["code"] == (None, None, None)
    assert found["set"] == (grpc.StatusCode.DATA_LOSS, b"lost", (("a", "1"),))
    assert (found["auth"][0]["security_level"], found["auth"][1:]) == ([b"TSI_SECURITY_NONE"], (None, None))


def test_a_context_keeps_what_is_put_on_it_as_grpcs_does(served):
    class Login(grpc.ServerInterceptor):
        def intercept_service(self, continuation, handler_call_details):
            inner = continuation(handler_call_details)

            def many(request, context):
                context.user = b"ann"
                return inner.unary_stream(request, context)

            return grpc.unary_stream_rpc_method_handler(many)

    def handler(request, context):
        context.greeting = request + b" " + context.user
        yield context.greeting

    target = served(grpc.unary_stream_rpc_method_handler(handler), [for_grpc.server_interceptor([passing]), Login()])
    with grpc.insecure_channel(target) as channel:
        assert list(channel.unary_stream("/test.Service/Any")(b"hello")) == [b"hello ann"]


def test_an_abort_with_a_status_and_one_that_is_none(served):
    class Status(grpc.Status):
        code, details, trailing_metadata = grpc.StatusCode.ABORTED, "by status", (("a", "1"),)

    def handler(request, context):
        if request == b"status":
            context.abort_with_status(Status())
        context.abort(grpc.StatusCode.OK, "all is well")

    target = served(grpc.unary_unary_rpc_method_handler(handler))
    with grpc.insecure_channel(target) as channel:
        method = channel.unary_unary("/test.Service/Any")
        with pytest.raises(grpc.RpcError) as caught:
            method(b"status")
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "by status")
        assert dict(caught.value.trailing_metadata()) == {"a": "1"}
        with pytest.raises(grpc.RpcError) as caught:
            method(b"ok")
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNKNOWN, "")


def test_metadata_that_the_chain_has_changed_has_the_names_that_gRPC_gives(served):  # noqa: N802
    def sign(ctx, call):
        req(ctx).headers["signed"] = "1"
        ctx = call(ctx)
        res(ctx).trailers["late"] = "2"
        return ctx

    def handler(request, context):
        return ",".join(each.key for each in context.invocation_metadata()).encode()

    target = served(grpc.unary_unary_rpc_method_handler(handler), [for_grpc.server_interceptor([sign])])
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, for_grpc.client_interceptor([sign]))
        message, call = channel.unary_unary("/test.Service/Any").with_call(b"")
        assert b"signed" in message
        assert [(each.key, each.value) for each in call.trailing_metadata()] == [("late", "2")]


SEVERAL = (("tag", "1"), ("tag", "2"), ("raw-bin", b"\x00"), ("raw-bin", b"\xff"))


def by_name(fields):
    """The fields in the order of their names: gRPC keeps that of the values of one name."""
    return sorted([tuple(field) for field in fields], key=lambda field: field[0])


def test_values_of_one_name_stay_apart_and_in_order(served):
    def add(ctx, call):
        req(ctx).headers.add("tag", "3")
        ctx = call(ctx)
        res(ctx).trailers.add("tag", "3")
        return ctx

    came = []

    def note(context):
        came.append([(key, value) for key, value in context.invocation_metadata() if key in {"tag", "raw-bin"}])
        context.set_trailing_metadata(SEVERAL)

    def handler(request, context):
        note(context)
        context.send_initial_metadata(SEVERAL)
        return request

    async def ahandler(request, context):
        note(context)
        await context.send_initial_metadata(SEVERAL)
        yield request

    def check(head, tail):
        assert by_name(head) == by_name(SEVERAL)
        assert by_name(tail) == by_name([*SEVERAL, ("tag", "3"), ("tag", "3")])

    target = served(grpc.unary_unary_rpc_method_handler(handler), [for_grpc.server_interceptor([add])])
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, for_grpc.client_interceptor([add]))
        _, call = channel.unary_unary("/test.Service/Any").with_call(b"", metadata=SEVERAL)
        check(call.initial_metadata(), call.trailing_metadata())

    async def use(method):
        call = method(b"", metadata=SEVERAL)
        assert [each async for each in call] == [b""]
        check(await call.initial_metadata(), await call.trailing_metadata())

    around = for_grpc.aio_client_interceptors([add])
    aio_serve(use, ahandler, [for_grpc.aio_server_interceptor([add])], around)
    assert [by_name(each) for each in came] == [by_name([*SEVERAL, ("tag", "3"), ("tag", "3")])] * 2


@pytest.mark.parametrize("world", ["sync", "asyncio"])
def test_a_handler_may_send_no_initial_metadata_at_once(served, world):
    def handler(request, context):
        context.send_initial_metadata(None)
        return request

    async def ahandler(request, context):
        await context.send_initial_metadata(None)
        return request

    async def use():
        host = aio.server(interceptors=[for_grpc.aio_server_interceptor([passing])])
        methods = {"Any": grpc.unary_unary_rpc_method_handler(ahandler)}
        host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
        port = host.add_insecure_port("127.0.0.1:0")
        await host.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.unary_unary("/test.Service/Any")(b"a") == b"a"
        await host.stop(0)

    if world == "asyncio":
        asyncio.run(use())
    else:
        with grpc.insecure_channel(served(grpc.unary_unary_rpc_method_handler(handler))) as channel:
            assert channel.unary_unary("/test.Service/Any")(b"a") == b"a"


def test_a_handler_that_sets_a_code_and_raises_keeps_the_code(served):
    def handler(request, context):
        context.set_trailing_metadata((("a", "1"),))
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("lost")
        raise ValueError("why")

    target = served(grpc.unary_unary_rpc_method_handler(handler))
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Service/Any")(b"a")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "lost")
    assert dict(caught.value.trailing_metadata()) == {"a": "1"}


def test_a_code_that_is_none_is_unknown():
    assert code_of("nope") == code_of(4711) == "UNKNOWN"


def test_a_context_stands_in_for_grpcs():
    class Native:
        def time_remaining(self):
            return None

    context = Context(Native(), Call("/a/b"), None)
    assert context.time_remaining() is None
    with pytest.raises(AttributeError):
        context.nothing  # noqa: B018


def test_an_asyncio_handler_finds_all_of_grpcs_context():
    found = {}

    def service(seen):
        async def one(request, context):
            found["is"] = isinstance(context, aio.ServicerContext)
            found["code"] = (context.code(), context.details(), context.trailing_metadata())
            context.set_code(grpc.StatusCode.DATA_LOSS)
            context.set_details("lost")
            context.set_trailing_metadata((("a", "1"),))
            found["set"] = (context.code(), context.details(), context.trailing_metadata())
            found["done"] = (context.done(), context.cancelled())
            if request == b"raise":
                raise ValueError("why")
            if request == b"again":
                try:
                    await context.abort(grpc.StatusCode.OK)
                except aio.AbortError:
                    await context.abort(grpc.StatusCode.ABORTED)
            return request

        async def many(request, context):
            class Status(grpc.Status):
                code, details, trailing_metadata = grpc.StatusCode.ABORTED, "by status", (("b", "2"),)

            yield request
            await context.abort_with_status(Status())

        return one, many, None, None

    with aio_running([passing], make=service) as caller:
        outcome = caller.one(b"a")
        assert (outcome.code, outcome.details) == ("DATA_LOSS", "lost")
        assert caller.one(b"raise").code == "DATA_LOSS"
        assert caller.one(b"again").code == "UNKNOWN"
        outcome = caller.many(b"a")
        assert (outcome.code, outcome.details, outcome.trailers) == ("ABORTED", "by status", {"b": "2"})
    assert found["is"]
    assert found["code"] == (None, "", ())
    assert found["set"] == (grpc.StatusCode.DATA_LOSS, "lost", (("a", "1"),))
    assert found["done"] == (False, False)


def test_a_plain_handler_in_an_asyncio_server_finds_its_context():
    found = {}

    def service(seen):
        def one(request, context):
            found["active"] = context.is_active()
            found["thread"] = threading.current_thread()
            ended = found["ended"] = threading.Event()
            found["callback"] = context.add_callback(ended.set)
            found["peer"] = context.peer()
            context.send_initial_metadata((("first", "1"),))
            if request == b"status":

                class Status(grpc.Status):
                    code, details, trailing_metadata = grpc.StatusCode.ABORTED, "by status", (("b", "2"),)

                context.abort_with_status(Status())
            return request

        def many(request, context):
            return [request, request]

        return one, many, None, None

    with aio_running([passing], make=service) as caller:
        assert caller.one(b"a").headers == {"first": "1"}
        assert found["ended"].wait(SECONDS)
        assert (found["active"], found["callback"]) == (True, True)
        assert caller.many(b"a").messages == [b"a", b"a"]  # what it gives need not be an iterator
        outcome = caller.one(b"status")
        assert (outcome.code, outcome.trailers) == ("ABORTED", {"b": "2"})


# Handlers of other kinds


def test_the_attributes_of_a_handler_survive(served):
    def handler(request, context):
        return request

    handler.experimental_thread_pool = pool = ThreadPoolExecutor(1, thread_name_prefix="own")
    seen = []

    def look(ctx, call):
        seen.append(threading.current_thread().name)
        return call(ctx)

    made = grpc.unary_unary_rpc_method_handler(
        handler, request_deserializer=int, response_serializer=lambda n: b"%d" % n
    )
    target = served(made, [for_grpc.server_interceptor([look])])
    with grpc.insecure_channel(target) as channel:
        assert channel.unary_unary("/test.Service/Any")(b"007") == b"7"
    pool.shutdown()
    assert seen[0].startswith("own")


def test_a_behaviour_that_pushes_its_answer(served):
    notes, ended = [], []

    def handler(request, context, on_next):
        def push():
            for number in range(3):
                on_next(b"%d" % number)
            on_next(None)

        threading.Thread(target=push).start()

    handler.experimental_non_blocking = True

    def around(ctx, call):
        if "refuse" in req(ctx).headers:
            from formation import reply

            return reply(ctx, 403)
        if "fail" in req(ctx).headers:
            raise ValueError("why")
        if "answer" in req(ctx).headers:
            from formation import reply

            return reply(ctx, 200, body=[b"x"])
        ctx = call(ctx)
        ended.append(res(ctx).code)
        return ctx

    def note(ctx, call):
        notes.append(ctx["fmtn.message"])
        return call(ctx)

    target = served(grpc.unary_stream_rpc_method_handler(handler), [for_grpc.server_interceptor([around], [note])])
    with grpc.insecure_channel(target) as channel:
        method = channel.unary_stream("/test.Service/Any")
        assert list(method(b"a")) == [b"0", b"1", b"2"]
        assert list(method(b"a", metadata=[("answer", "1")])) == [b"x"]
        for name, code in (("refuse", grpc.StatusCode.PERMISSION_DENIED), ("fail", grpc.StatusCode.UNKNOWN)):
            with pytest.raises(grpc.RpcError) as caught:
                list(method(b"a", metadata=[(name, "1")]))
            assert caught.value.code() is code
    assert (notes, ended) == ([b"0", b"1", b"2"], ["OK"])


def test_two_interceptors_around_each_other(served):
    order = []

    def noted(name):
        def note(ctx, call):
            order.append(name)
            ctx = call(ctx)
            order.append((name, res(ctx).code, res(ctx).trailers.get("why")))
            return ctx

        return note

    def handler(request, context):
        yield request
        context.set_trailing_metadata((("why", "asked"),))
        context.abort(grpc.StatusCode.ABORTED, "enough")

    interceptors = [for_grpc.server_interceptor([noted("outer")]), for_grpc.server_interceptor([noted("inner")])]
    target = served(grpc.unary_stream_rpc_method_handler(handler), interceptors)
    with grpc.insecure_channel(target) as channel:
        around = grpc.intercept_channel(
            channel, for_grpc.client_interceptor([noted("first")]), for_grpc.client_interceptor([noted("second")])
        )
        call = around.unary_stream("/test.Service/Any")(b"a")
        assert next(call) == b"a"
        with pytest.raises(grpc.RpcError, match="enough"):
            next(call)
    ends = [("second", "ABORTED", "asked"), ("first", "ABORTED", "asked")]
    assert [each for each in order if each[0] in {"second", "first"} and len(each) == 3] == ends
    ends = [("inner", "ABORTED", "asked"), ("outer", "ABORTED", "asked")]
    assert [each for each in order if each[0] in {"inner", "outer"} and len(each) == 3] == ends


def test_an_interceptor_of_somebody_else_around_ours(served):
    class Theirs(grpc.ServerInterceptor):
        def intercept_service(self, continuation, handler_call_details):
            inner = continuation(handler_call_details).unary_stream

            def behaviour(request, context):
                yield from inner(request, context)

            return grpc.unary_stream_rpc_method_handler(behaviour)

    ended = []

    def around(ctx, call):
        ctx = call(ctx)
        ended.append(res(ctx).code)
        return ctx

    def handler(request, context):
        yield request

    target = served(grpc.unary_stream_rpc_method_handler(handler), [Theirs(), for_grpc.server_interceptor([around])])
    with grpc.insecure_channel(target) as channel:
        assert list(channel.unary_stream("/test.Service/Any")(b"a")) == [b"a"]
    assert ended == ["OK"]


class AioIterating(aio.ServerInterceptor):
    """An interceptor as most are: it iterates over what the handler gives."""

    def __init__(self, most=None):
        self.most = most
        self.seen = []

    async def intercept_service(self, continuation, handler_call_details):
        handler = await continuation(handler_call_details)
        if not handler.response_streaming or handler.request_streaming:
            return handler

        async def behaviour(request, context):
            messages = handler.unary_stream(request, context)
            try:
                async for message in messages:
                    self.seen.append(message)
                    yield message
                    if len(self.seen) == self.most:
                        break
            finally:
                await messages.aclose()

        return grpc.unary_stream_rpc_method_handler(behaviour)


class AioAround:
    """A middleware that cleans up, and takes its time."""

    def __init__(self):
        self.ended, self.is_over = [], asyncio.Event()

    async def __call__(self, ctx, call):
        try:
            ctx = await call(ctx)
            self.ended.append(res(ctx).code)
        except BaseException as error:
            await asyncio.sleep(0)
            self.ended.append(type(error))
            raise
        finally:
            self.is_over.set()
        return ctx


def aio_serve(use, handler, interceptors, around=()):
    """Run ``use(channel)`` by a server of one method."""

    async def run():
        host = aio.server(interceptors=interceptors)
        methods = {"Any": grpc.unary_stream_rpc_method_handler(handler)}
        host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
        port = host.add_insecure_port("127.0.0.1:0")
        await host.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}", interceptors=list(around)) as channel:
            await asyncio.wait_for(use(channel.unary_stream("/test.Service/Any")), SECONDS)
        await host.stop(0)

    asyncio.run(run())


async def three(request, context):
    for number in range(3):
        yield b"%d" % number
    if request == b"abort":
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


@pytest.mark.parametrize("plain", [True, False])
def test_an_interceptor_that_iterates_around_ours_on_asyncio(plain):
    around, theirs = AioAround(), AioIterating()

    async def use(method):
        assert [each async for each in method(b"a")] == [b"0", b"1", b"2"]
        with pytest.raises(aio.AioRpcError, match="no such thing"):
            _ = [each async for each in method(b"abort")]

    aio_serve(use, three, [theirs, for_grpc.aio_server_interceptor([passing, around] if plain else [around])])
    assert theirs.seen == [b"0", b"1", b"2"] * 2
    assert around.ended == ["OK", "NOT_FOUND"]


def test_an_interceptor_around_ours_that_takes_no_more_messages():
    around = AioAround()

    async def use(method):
        assert [each async for each in method(b"a")] == [b"0", b"1"]

    aio_serve(use, three, [AioIterating(most=2), for_grpc.aio_server_interceptor([around])])
    assert around.ended == [asyncio.CancelledError]


def test_a_middleware_that_puts_the_rest_of_a_stream_into_a_task():
    async def in_a_task(ctx, call):
        return await asyncio.create_task(call(ctx))

    around = AioAround()

    async def use(method):
        assert [each async for each in method(b"a")] == [b"0", b"1", b"2"]

    aio_serve(use, three, [for_grpc.aio_server_interceptor([around, in_a_task])])
    assert around.ended == ["OK"]


def test_a_client_that_goes_while_a_message_is_being_sent():
    around = AioAround()

    async def endless(request, context):
        while True:
            yield b"x" * 1_000_000

    async def use(method):
        call = method(b"a")
        assert await call.read()
        call.cancel()
        await around.is_over.wait()

    aio_serve(use, endless, [for_grpc.aio_server_interceptor([around])])
    assert around.ended == [asyncio.CancelledError]


def test_a_client_interceptor_of_somebody_else_that_raises():
    class Theirs(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
        def intercept_unary_unary(self, continuation, client_call_details, request):
            raise ZeroDivisionError("theirs")

        intercept_unary_stream = intercept_unary_unary

    raised = []

    def around(ctx, call):
        try:
            return call(ctx)
        except ZeroDivisionError as error:
            raised.append(error)
            raise

    with grpc.insecure_channel("127.0.0.1:1") as channel:
        ours = grpc.intercept_channel(channel, for_grpc.client_interceptor([around]), Theirs())
        with pytest.raises(ZeroDivisionError):
            ours.unary_unary("/a/b")(b"")
        with pytest.raises(ZeroDivisionError):
            ours.unary_unary("/a/b").future(b"").result()
        with pytest.raises(ZeroDivisionError):
            list(ours.unary_stream("/a/b")(b""))
    assert len(raised) == 3


@pytest.mark.parametrize("order", ["ours outside", "ours inside"])
def test_a_client_interceptor_of_somebody_else_that_is_a_generator(order):
    class Theirs(grpc.UnaryStreamClientInterceptor):
        def intercept_unary_stream(self, continuation, client_call_details, request):
            yield from continuation(client_call_details, request)

    ended = []

    def around(ctx, call):
        ctx = call(ctx)
        ended.append((res(ctx).code, res(ctx).details))
        return ctx

    with sync_running() as caller:
        pair = [for_grpc.client_interceptor([around]), Theirs()]
        many = grpc.intercept_channel(caller.channel, *(pair if order == "ours outside" else pair[::-1])).unary_stream(
            "/test.Service/Many"
        )
        assert list(many(b"a")) == [b"a0", b"a1", b"a2"]
        taken = []
        with pytest.raises(grpc.RpcError, match="no such thing") as raised:
            taken.extend(many(b"abort"))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert ("why", "asked") in raised.value.trailing_metadata()
        held = many(b"hold")
        assert [next(held) for _ in range(3)] == [b"hold0", b"hold1", b"hold2"]
        assert caller.seen.held.wait(SECONDS)
        held.cancel() if order == "ours outside" else held.close()
        with pytest.raises((grpc.RpcError, StopIteration)):
            next(held)
        assert caller.seen.gone.wait(SECONDS)
    assert ended[:2] == [("OK", ended[0][1]), ("NOT_FOUND", "no such thing")]
    assert ended[2][0] == "CANCELLED"


def test_an_error_of_a_generator_around_the_call_is_raised_at_the_call_and_to_the_program():
    class Theirs(grpc.UnaryStreamClientInterceptor):
        def intercept_unary_stream(self, continuation, client_call_details, request):
            for message in continuation(client_call_details, request):
                yield message
                raise ZeroDivisionError("theirs")

    raised = []

    def around(ctx, call):
        try:
            return call(ctx)
        except ZeroDivisionError as error:
            raised.append(error)
            raise

    with sync_running() as caller:
        channel = grpc.intercept_channel(caller.channel, for_grpc.client_interceptor([around]), Theirs())
        messages = channel.unary_stream("/test.Service/Many")(b"a")
        assert next(messages) == b"a0"
        with pytest.raises(ZeroDivisionError):
            next(messages)
    assert len(raised) == 1


# Calls of a client


def test_a_callback_that_raises_is_logged_and_the_others_are_called(caplog):
    def broken(future):
        raise ValueError("theirs")

    with sync_running([], [passing]) as caller:
        done = threading.Event()
        future = caller.channel.unary_unary("/test.Service/One").future(b"hold")
        future.add_done_callback(broken)
        future.add_done_callback(lambda future: done.set())
        future.cancel()
        assert done.wait(SECONDS)
    with aio_running([], [passing]) as caller:

        async def use():
            call, done = caller.channel.unary_stream("/test.Service/Many")(b"a"), asyncio.Event()
            assert await call.read() == b"a0"
            call.add_done_callback(broken)
            call.add_done_callback(lambda call: done.set())
            assert [each async for each in call] == [b"a1", b"a2"]
            await done.wait()

        caller.run(use())
    assert [record.exc_info[1].args for record in caplog.records] == [("theirs",), ("theirs",)]


def test_a_future_is_a_future_and_a_call():
    with sync_running([], [passing]) as caller:
        method = caller.channel.unary_unary("/test.Service/One")
        future, done = method.future(b"a", metadata=[("a", "1")]), threading.Event()
        future.add_done_callback(lambda future: done.set())
        assert future.result(SECONDS) == b"<a>"
        assert done.wait(SECONDS)
        assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (True, False, False, False)
        assert (future.exception(), future.traceback()) == (None, None)
        assert (future.code(), future.is_active()) == (grpc.StatusCode.OK, False)
        assert not future.add_callback(done.set)
        late = []
        future.add_done_callback(late.append)
        assert late == [future]
        assert future.initial_metadata() == ()
        assert future.trailing_metadata() == ()
        assert future.time_remaining() is None
        failed = method.future(b"abort")
        assert failed.exception(SECONDS).code() is grpc.StatusCode.NOT_FOUND
        assert failed.traceback() is not None or failed.exception().__traceback__ is None
        with pytest.raises(grpc.RpcError, match="no such thing"):
            failed.result()
        assert failed.debug_error_string()
        held = method.future(b"hold", timeout=30)
        assert 0 < held.time_remaining() <= 31
        assert held.running()
        with pytest.raises(grpc.FutureTimeoutError):
            held.result(0.01)
        held.cancel()
        assert (held.done(), held.running(), held.is_active()) == (True, False, False)
        assert not held.cancel()
        stream = caller.channel.stream_unary("/test.Service/Collect").future(iter([b"a", b"b"]))
        assert stream.result(SECONDS) == b"ab"


def test_a_stream_is_a_call():
    with sync_running([], [passing]) as caller:
        call = caller.channel.unary_stream("/test.Service/Many")(b"a", timeout=30)
        ended = threading.Event()
        assert call.add_callback(ended.set)
        assert isinstance(call, grpc.Call)
        assert call.initial_metadata() == ()
        assert next(call) == b"a0"
        assert call.next() == b"a1"
        assert 0 < call.time_remaining() <= 31
        assert list(call) == [b"a2"]
        assert ended.wait(SECONDS)
        assert (call.code(), call.details(), call.trailing_metadata()) == (grpc.StatusCode.OK, "", ())
        assert call.result() is call
        with pytest.raises(AttributeError):
            call._nothing  # noqa: B018


def test_a_stream_of_asyncio_is_a_call():
    with aio_running([], [passing]) as caller:

        async def use():
            call = caller.channel.unary_stream("/test.Service/Many")(b"a", timeout=30)
            ended = asyncio.Event()
            call.add_done_callback(lambda call: ended.set())
            await call.wait_for_connection()
            assert await call.initial_metadata() == aio.Metadata()
            assert not call.done()
            assert [message async for message in call] == [b"a0", b"a1", b"a2"]
            await ended.wait()
            assert call.done()
            assert not call.cancelled()
            assert not call.cancel()
            assert await call.code() is grpc.StatusCode.OK
            assert await call.details() == ""
            assert await call.debug_error_string() is not None
            call.add_done_callback(lambda call: ended.clear())
            assert not ended.is_set()
            one = caller.channel.unary_unary("/test.Service/One")(b"a")
            assert await one == await one == b"<a>"
            collect = caller.channel.stream_unary("/test.Service/Collect")()
            await collect.write(b"a")
            await collect.done_writing()
            assert await collect == b"a"
            assert await collect.code() is grpc.StatusCode.OK

        caller.run(use())


def test_an_answer_of_the_chain_is_a_call_like_any_other():
    def refuse(ctx, call):
        from formation import reply

        return reply(ctx, 403, {"a": "1"}, "not you")

    with sync_running([], [refuse]) as caller:
        method = caller.channel.unary_unary("/test.Service/One")
        future = method.future(b"a")
        error = future.exception()
        assert (error.code(), error.details(), str(error)) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "not you",
            "<StatusCode.PERMISSION_DENIED: not you>",
        )
        assert (error.is_active(), error.cancelled(), error.running(), error.done()) == (False, False, False, True)
        assert (error.cancel(), error.add_callback(None), error.time_remaining()) == (False, False, None)
        assert (error.exception(), error.debug_error_string()) == (error, "answered by middleware")
        late = []
        error.add_done_callback(late.append)
        assert late == [error]
        assert error.traceback() is error.__traceback__
        assert future.debug_error_string() == "answered by middleware"
        assert future.initial_metadata() == ()
        assert future.trailing_metadata() == (("a", "1"),)
    with aio_running([], [refuse]) as caller:

        async def use():
            call = caller.channel.unary_unary("/test.Service/One")(b"a")
            with pytest.raises(aio.AioRpcError):
                await call
            assert (await call.code(), await call.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
            assert dict(tuple(await call.trailing_metadata())) == {"a": "1"}
            assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
            assert await call.debug_error_string() == "answered by middleware"
            await call.wait_for_connection()
            late = []
            call.add_done_callback(late.append)
            assert late == [call]
            stream = caller.channel.unary_stream("/test.Service/Many")(b"a")
            with pytest.raises(aio.AioRpcError):
                await stream.read()
            assert await stream.code() is grpc.StatusCode.PERMISSION_DENIED
            assert dict(tuple(await stream.trailing_metadata())) == {"a": "1"}
            assert await stream.initial_metadata() == aio.Metadata()
            assert await stream.debug_error_string() == ""

        caller.run(use())


@every_server
def test_options_of_a_call_reach_grpc(running):
    seen = []

    def note(ctx, call):
        details = ctx["fmtn.native"].get("details")
        if details is not None:
            seen.append((details.wait_for_ready, details.timeout))
        req(ctx).headers["x"] = "1"  # so that gRPC gets other details than it gave
        return call(ctx)

    with running([passing], [note]) as caller:
        outcome = caller.one(b"a" * 2000, wait_for_ready=True, timeout=9, compression=grpc.Compression.Gzip)
    assert outcome.message == b"<" + b"a" * 2000 + b">"
    assert seen == [(True, 9)]


def test_credentials_of_a_call_reach_the_server(ca):
    cert = ca.issue_cert("localhost")
    key, chain = cert.private_key_pem.bytes(), cert.cert_chain_pems[0].bytes()
    found = []

    def handler(request, context):
        found.append(dict(context.invocation_metadata()).get("authorization"))
        return request

    pool = ThreadPoolExecutor(2)
    host = grpc.server(pool, interceptors=[for_grpc.server_interceptor([passing])])
    made = grpc.unary_unary_rpc_method_handler(handler)
    host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", {"Any": made}),))
    port = host.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    host.start()

    def add(ctx, call):
        req(ctx).headers["x"] = "1"
        return call(ctx)

    trusted = grpc.ssl_channel_credentials(ca.cert_pem.bytes())
    options = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"127.0.0.1:{port}", trusted, options) as channel:
        ours = grpc.intercept_channel(channel, for_grpc.client_interceptor([add]))
        token = grpc.access_token_call_credentials("t0k3n")
        assert ours.unary_unary("/test.Service/Any")(b"a", credentials=token) == b"a"
    host.stop(0).wait()
    pool.shutdown()
    assert found == ["Bearer t0k3n"]


def test_interceptors_say_what_they_are_made_of():
    around = [passing]
    assert repr(for_grpc.server_interceptor(around)) == "server_interceptor([passing])"
    assert repr(for_grpc.client_interceptor(around)) == "client_interceptor([passing])"
    assert repr(for_grpc.aio_server_interceptor(around)) == "aio_server_interceptor([passing])"
    names = ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"]
    assert [repr(each) for each in for_grpc.aio_client_interceptors(around)] == [f"{name}([passing])" for name in names]


def test_who_calls_with_another_context_is_told_so():
    def lost(ctx, call):
        return call({})

    with sync_running([], [lost]) as caller, pytest.raises(TypeError, match=r"expected call\(ctx\) with the context"):
        caller.one(b"a")


def test_a_stream_that_an_asyncio_chain_has_ended_tells_why():
    from formation.errors import BulkheadRejected

    def full(ctx, call):
        call(ctx)
        raise BulkheadRejected("full")

    def broken(ctx, call):
        call(ctx)
        raise ZeroDivisionError("broken")

    async def use(method, error, code):
        call = method(b"a")
        with pytest.raises(error):
            _ = [message async for message in call]
        assert await call.code() is code
        assert await call.details() == ("full" if error is aio.AioRpcError else "broken")
        assert call.done()
        late = []
        call.add_done_callback(late.append)
        assert len(late) == 1

    for middleware, error, code in (
        (full, aio.AioRpcError, grpc.StatusCode.UNAVAILABLE),
        (broken, ZeroDivisionError, grpc.StatusCode.INTERNAL),
    ):
        with aio_running([], [middleware]) as caller:
            caller.run(use(caller.channel.unary_stream("/test.Service/Many"), error, code))
        with sync_running([], [middleware]) as caller:
            call = caller.channel.unary_stream("/test.Service/Many")(b"a")
            with pytest.raises(grpc.RpcError if middleware is full else ZeroDivisionError):
                list(call)
            assert call.code() is code


def test_a_stream_of_requests_that_the_program_gives_asyncio_as_an_async_iterator():
    def mark(ctx, call):
        ctx["fmtn.message"] += b"!"
        return call(ctx)

    def hooked(ctx, call):
        req(ctx).on_send(lambda message: message + b"?")
        return call(ctx)

    async def requests():
        yield b"a"
        yield b"b"

    async def use(caller):
        return await caller.channel.stream_unary("/test.Service/Collect")(requests())

    for client, answer in ((([], [mark]), b"a!b!"), ([hooked], b"a?b?")):
        with aio_running([], client) as caller:
            assert caller.run(use(caller)) == answer


def test_the_trailers_of_a_stream_may_be_changed_on_asyncio():
    def add(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["x"] = "1"
        res(ctx).trailers["y"] = "2"
        return ctx

    with aio_running([], [add]) as caller:
        outcome = caller.many(b"a")
    assert (outcome.headers, outcome.trailers) == ({"x": "1"}, {"y": "2"})


def test_without_grpcio_the_edge_says_what_to_install(monkeypatch):
    import importlib
    import sys

    for name in [
        name for name in sys.modules if name == "formation.for_grpc" or name.startswith("formation.for_grpc.")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ImportError, match=r"pip install 'formation\[grpc\]'"):
        importlib.import_module("formation.for_grpc")


@every_server
def test_a_server_calls_no_handler_again_after_its_first_answer(running):
    from structlog.testing import capture_logs

    from formation.middleware import retry

    seen = []

    def again(ctx, call):
        call(ctx)
        try:
            return call(ctx)
        except RuntimeError as error:
            seen.append(str(error))
            raise

    with capture_logs(), running([retry(on=["NOT_FOUND"], idempotent=True, base=0)]) as caller:
        outcome = caller.many(b"abort")
        assert (outcome.code, len(outcome.messages)) == ("NOT_FOUND", 3)
        assert len(caller.seen.calls) == 1
    with running([again]) as caller:
        assert caller.many(b"a").code == "UNKNOWN"
    assert seen == ["/test.Service/Many cannot be called again: messages of its answer have gone out"]


@every_server
def test_a_middleware_that_changes_nothing_but_the_code_on_a_server(running):
    def other(ctx, call):
        ctx = call(ctx)
        res(ctx).code = "DATA_LOSS"
        return ctx

    with running([other]) as caller:
        assert caller.one(b"set").code == "DATA_LOSS"
        assert caller.collect([b"a"]).code == "DATA_LOSS"


def test_messages_of_an_answer_may_come_from_an_async_iterator():
    from formation.rpc import Result

    async def messages():
        yield b"x"
        yield b"y"

    def answer(ctx, call):
        ctx["fmtn.res.rpc"] = Result("OK", messages=messages(), headers={"a": "1"})
        return ctx

    with aio_running([answer]) as caller:
        assert caller.many(b"a").messages == [b"x", b"y"]


def test_a_call_that_is_cancelled_before_it_has_begun():
    began = threading.Event()

    def wait(ctx, call):
        from formation.bridge import await_

        began.set()
        await_(asyncio.Event().wait())
        return call(ctx)

    with aio_running([], [wait]) as caller:

        async def use():
            call = caller.channel.unary_stream("/test.Service/Many")(b"a")
            await asyncio.to_thread(began.wait, SECONDS)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call.read()
            assert await call.code() is grpc.StatusCode.CANCELLED

        caller.run(use())
        assert not caller.seen.calls


def test_one_who_waits_for_a_stream_of_requests_is_cancelled():
    with aio_running([], [passing]) as caller:

        async def use():
            call = caller.channel.stream_unary("/test.Service/Collect")(iter([b"hold"]))

            async def ask():
                return await call

            task = asyncio.create_task(ask())
            await asyncio.to_thread(caller.seen.held.wait, SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert await call.details() == "Locally cancelled by application!"
            assert call.cancelled()
            with pytest.raises(asyncio.InvalidStateError):
                await caller.channel.stream_unary("/test.Service/Collect")(iter([b"a"])).write(b"b")

        with pytest.raises(aio.UsageError):
            caller.run(use())
        assert caller.seen.gone.wait(SECONDS)
