"""Ends that come seldom: callers that go between two attempts, handlers that do not mind, answers that come late."""

import _thread
import asyncio
import gc
import threading

import grpc
import pytest
from grpc import aio

from formation import for_grpc, reply, res
from formation.errors import ClientGone
from formation.for_grpc.sync.link import Link
from formation.for_grpc.sync.spanned import Spanned
from formation.rpc import Call
from tests.grpc.hosts import SECONDS, aio_running, sync_running
from tests.grpc.test_ends import nothing_is_left, soon
from tests.grpc.test_surface import AioIterating, aio_serve, served, three  # noqa: F401  a fixture


def passing(ctx, call):
    return call(ctx)


# On a server


def watch(native):
    """Return an event that is set when the call is over."""
    gone = threading.Event()
    if not native.add_callback(gone.set):
        gone.set()
    return gone


def test_a_second_attempt_on_a_server_for_a_caller_that_has_gone():
    first, ends, ended = threading.Event(), [], threading.Event()

    def again(ctx, call):
        gone = watch(ctx["fmtn.native"]["context"])
        ctx = call(ctx)
        first.set()
        assert gone.wait(SECONDS)
        try:
            return call(ctx)
        except ClientGone as error:
            ends.append(error)
            raise
        finally:
            ended.set()

    with sync_running([again]) as caller:
        future = caller.channel.unary_unary("/test.Service/One").future(b"a")
        assert first.wait(SECONDS)
        future.cancel()
        assert ended.wait(SECONDS)
        assert (len(caller.seen.calls), len(ends)) == (1, 1)


def test_a_chain_that_answers_one_that_has_gone_from_a_stream(served):  # noqa: F811
    told, over = [], threading.Event()

    def calm(ctx, call):
        try:
            return call(ctx)
        except ClientGone:
            ctx = reply(ctx, 499)
            res(ctx).on_close(lambda count, error: (told.append((count, type(error))), over.set()))
            return ctx

    def handler(request, context):
        return iter([b"x" * 1_000_000] * 1000)  # cannot be closed, and does not fit into the window of the connection

    target = served(grpc.unary_stream_rpc_method_handler(handler), [for_grpc.server_interceptor([calm])])
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_stream("/test.Service/Any")(b"a")
        assert next(call)
        call.cancel()
        gc.collect()
        assert over.wait(SECONDS)
    assert [error for _, error in told] == [ClientGone]
    assert told[0][0] < 1000


def test_a_chain_around_a_behaviour_that_pushes_fails_when_nobody_waits(served):  # noqa: F811
    began, failed = threading.Event(), threading.Event()

    def handler(request, context, on_next):
        began.set()

    handler.experimental_non_blocking = True

    def broken(ctx, call):
        gone = watch(ctx["fmtn.native"]["context"])
        call(ctx)
        gone.wait(SECONDS)
        failed.set()
        raise ValueError("nobody hears it")

    target = served(grpc.unary_stream_rpc_method_handler(handler), [for_grpc.server_interceptor([broken])])
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_stream("/test.Service/Any")(b"a")
        assert began.wait(SECONDS)
        call.cancel()
        assert failed.wait(SECONDS)


def test_a_behaviour_that_pushes_one_answer_is_called_as_by_grpc(served):  # noqa: F811
    def handler(request, context):
        return request

    handler.experimental_non_blocking = True
    target = served(grpc.unary_unary_rpc_method_handler(handler), [for_grpc.server_interceptor([passing])])
    with grpc.insecure_channel(target) as channel:
        assert channel.unary_unary("/test.Service/Any")(b"a") == b"a"


def test_a_handler_of_asyncio_that_does_not_mind_to_be_cancelled():
    codes, over, held = [], threading.Event(), threading.Event()

    async def around(ctx, call):
        ctx = await call(ctx)
        codes.append(res(ctx).code)
        over.set()
        return ctx

    def service(seen):
        async def one(request, context):
            held.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return b"never mind"

        return one, None, None, None

    with aio_running([around], make=service) as caller:

        async def use():
            call = caller.channel.unary_unary("/test.Service/One")(b"a")
            await asyncio.to_thread(held.wait, SECONDS)
            call.cancel()

        caller.run(use())
        assert over.wait(SECONDS)
    assert codes == ["OK"]  # for nobody


def test_a_chain_of_asyncio_that_answers_when_nobody_wants_more_of_the_stream():
    codes = []

    async def calm(ctx, call):
        try:
            return await call(ctx)
        except asyncio.CancelledError:
            codes.append("cancelled")
            return reply(ctx, 200, body=[b"x", b"y"])

    async def use(method):
        assert [each async for each in method(b"a")] == [b"0", b"1"]

    aio_serve(use, three, [AioIterating(most=2), for_grpc.aio_server_interceptor([calm])])
    assert codes == ["cancelled"]


def test_a_code_that_says_all_is_well_is_kept_on_asyncio():
    def service(seen):
        async def one(request, context):
            context.set_code(grpc.StatusCode.OK)
            return request

        return one, None, None, None

    with aio_running([passing], make=service) as caller:
        assert caller.one(b"a").code == "OK"


def test_a_plain_handler_of_asyncio_that_asks_its_context_too_late():
    found = {}

    def service(seen):
        def one(request, context):
            found["context"] = context
            return request

        return one, None, None, None

    with aio_running([passing], make=service) as caller:
        assert caller.one(b"a").code == "OK"
        context = found["context"]
        soon(lambda: not context.is_active())
        assert not context.add_callback(print)


def test_an_interceptor_keeps_no_more_handlers_than_a_program_has():
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    interceptor = for_grpc.server_interceptor([passing])

    def ask(method):
        details = type("Details", (), {"method": method})
        return interceptor.intercept_service(lambda _: handler, details)

    first = [ask(f"/any/{number}") for number in range(1024)]
    assert [ask(f"/any/{number}") for number in range(1024)] == first
    assert ask("/any/more") is not ask("/any/more")


# On a client


def test_an_interrupt_while_a_stream_begins(ctrl_c):
    codes, began, over = [], threading.Event(), threading.Event()
    may_go = threading.Event()

    def slow(ctx, call):
        began.set()
        _thread.interrupt_main()
        may_go.wait(SECONDS)
        ctx = call(ctx)
        codes.append(res(ctx).code)
        over.set()
        return ctx

    with sync_running([], [slow]) as caller:
        with pytest.raises(KeyboardInterrupt):
            caller.channel.unary_stream("/test.Service/Many")(b"a")
        gc.collect()
        may_go.set()
        assert over.wait(SECONDS)
        assert not caller.seen.calls
    assert codes == ["CANCELLED"]
    nothing_is_left()


def test_a_chain_of_asyncio_that_calls_again_what_was_cancelled():
    between, ends = threading.Event(), []

    async def again(ctx, call):
        await call(ctx)
        between.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            return await call(ctx)

    with aio_running([], [again]) as caller:
        caller.seen.script = [grpc.StatusCode.UNAVAILABLE]

        async def use():
            call = caller.channel.unary_stream("/test.Service/Many")(b"a")
            reading = asyncio.create_task(call.read())
            await asyncio.to_thread(between.wait, SECONDS)
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

        caller.run(use())
        assert len(caller.seen.calls) == 1
    assert ends == ["cancelled"]
    nothing_is_left()


def test_a_call_that_was_answered_is_over_for_an_interceptor_around_ours():
    class Look(aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation, client_call_details, request):
            call = await continuation(client_call_details, request)
            assert call.time_remaining() is None
            late = []
            call.add_done_callback(late.append)
            assert late == [call]
            return call

    with aio_running() as caller:

        async def run():
            around = [Look(), *for_grpc.aio_client_interceptors([lambda ctx, call: reply(ctx, 200, body=b"x")])]
            async with aio.insecure_channel(f"127.0.0.1:{caller.port}", interceptors=around) as channel:
                assert await channel.unary_unary("/test.Service/One")(b"a") == b"x"

        caller.run(run())


def test_an_attempt_begins_just_when_somebody_looks_for_the_call_of_the_last_one():
    class Between(Link):
        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "native" and self.number == 1:
                self.native, self.number = iter([b"a"]), 2
            return value

    link = Between(Call("/test.Service/Many", "unary_stream"))
    link.native, link.number, link.is_over = iter([]), 1, True
    assert next(Spanned(link)) == b"a"
