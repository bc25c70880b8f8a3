"""Interceptors of others beside ours: what they do with a call of ours, and we with what they leave of gRPC's."""

import asyncio
import gc
import threading

import grpc
import pytest
from grpc import aio

from formation import for_grpc, reply, res
from tests.grpc.hosts import SECONDS, aio_running, sync_running
from tests.grpc.test_ends import nothing_is_left


def passing(ctx, call):
    return call(ctx)


class Codes:
    """A middleware that notes how calls end."""

    def __init__(self):
        self.codes = []

    def __call__(self, ctx, call):
        ctx = call(ctx)
        self.codes.append(res(ctx).code)
        return ctx


class Theirs(grpc.UnaryStreamClientInterceptor):
    """One that changes what the call of a stream is, by a function."""

    def __init__(self, make):
        self.make = make

    def intercept_unary_stream(self, continuation, client_call_details, request):
        return self.make(continuation(client_call_details, request))


def test_an_iterator_that_cannot_be_closed_stands_for_a_call():
    codes = Codes()
    theirs = Theirs(lambda call: map(bytes.upper, call))
    with sync_running() as caller:
        channel = grpc.intercept_channel(caller.channel, for_grpc.client_interceptor([codes]), theirs)
        many = channel.unary_stream("/test.Service/Many")
        call = many(b"a")
        assert call.time_remaining() is None
        assert list(call) == [b"A0", b"A1", b"A2"]
        assert (call.initial_metadata(), call.trailing_metadata()) == ((), ())
        dropped = many(b"hold")
        assert next(dropped) == b"HOLD0"
        dropped.cancel()
        with pytest.raises(grpc.RpcError):
            next(dropped)
        assert dropped.code() is grpc.StatusCode.CANCELLED
        del dropped
    assert codes.codes == ["OK", "CANCELLED"]
    nothing_is_left()


def test_an_iterator_is_cancelled_while_another_thread_waits_in_it():
    codes, asked, may_go = Codes(), threading.Event(), threading.Event()

    def slowly(call):
        yield next(call)
        asked.set()
        may_go.wait(SECONDS)
        yield from call

    with sync_running() as caller:
        channel = grpc.intercept_channel(caller.channel, for_grpc.client_interceptor([codes]), Theirs(slowly))
        call = channel.unary_stream("/test.Service/Many")(b"a")
        taken = [next(call)]
        thread = threading.Thread(target=lambda: taken.append(next(call)))
        thread.start()
        assert asked.wait(SECONDS)
        assert call.cancel()
        may_go.set()
        thread.join(SECONDS)
        assert taken == [b"a0", b"a1"]
        with pytest.raises(grpc.RpcError):
            next(call)
    assert codes.codes == ["CANCELLED"]
    nothing_is_left()


def test_a_stream_is_cancelled_while_another_attempt_is_being_made():
    codes, again, may_go = Codes(), threading.Event(), threading.Event()

    class Slow(grpc.UnaryStreamClientInterceptor):
        attempts = 0

        def intercept_unary_stream(self, continuation, client_call_details, request):
            self.attempts += 1
            if self.attempts == 2:
                again.set()
                may_go.wait(SECONDS)
            return continuation(client_call_details, request)

    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    with sync_running() as caller:
        caller.seen.script = [grpc.StatusCode.UNAVAILABLE]
        channel = grpc.intercept_channel(caller.channel, for_grpc.client_interceptor([codes, twice]), Slow())
        call = channel.unary_stream("/test.Service/Many")(b"hold")
        assert again.wait(SECONDS)
        assert call.cancel()
        may_go.set()
        with pytest.raises(grpc.RpcError):
            list(call)
    assert codes.codes == ["CANCELLED"]
    nothing_is_left()


class AioTheirs(aio.UnaryStreamClientInterceptor):
    """One for a stream on asyncio: ``use(make)`` makes calls, and gives one back."""

    def __init__(self, use):
        self.use = use

    async def intercept_unary_stream(self, continuation, client_call_details, request):
        return await self.use(lambda: continuation(client_call_details, request))


class AioTheirsBoth(aio.StreamStreamClientInterceptor):
    """The same for streams both ways."""

    def __init__(self, use):
        self.use = use

    async def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        return await self.use(lambda: continuation(client_call_details, request_iterator))


def aio_outside(theirs, use, middleware=(passing,)):
    """Run ``use(channel, seen)`` with an interceptor of somebody else around ours."""
    with aio_running() as caller:

        async def run():
            around = [theirs, *for_grpc.aio_client_interceptors(middleware)]
            async with aio.insecure_channel(f"127.0.0.1:{caller.port}", interceptors=around) as channel:
                await use(channel, caller.seen)

        caller.run(run())
    nothing_is_left()


def test_an_interceptor_around_ours_finds_a_call_of_asyncio():
    found = {}

    async def look(make):
        call, ended = await make(), asyncio.Event()
        found["is"] = isinstance(call, aio.UnaryStreamCall)
        found["left"] = call.time_remaining()
        found["first"] = await call.read()
        call.add_done_callback(lambda call: ended.set())
        found["rest"] = [await call.read(), await call.read(), await call.read()]
        await ended.wait()
        late = []
        call.add_done_callback(late.append)
        found["late"] = late == [call]
        found["ended"] = (call.done(), call.cancelled(), call.cancel(), await call.code())
        return call

    async def use(channel, seen):
        assert [each async for each in channel.unary_stream("/test.Service/Many")(b"a", timeout=30)] == []

    aio_outside(AioTheirs(look), use)
    assert 0 < found.pop("left") <= 31
    assert found == {
        "is": True,
        "first": b"a0",
        "rest": [b"a1", b"a2", aio.EOF],
        "late": True,
        "ended": (True, False, False, grpc.StatusCode.OK),
    }


def test_an_interceptor_around_ours_that_drops_a_call_and_makes_another():
    async def twice(make):
        call = await make()
        assert await call.read() == b"hold0"
        del call
        last = await make()  # up to here gRPC holds the first
        gc.collect()
        return last

    async def use(channel, seen):
        call = channel.unary_stream("/test.Service/Many")(b"hold")
        assert await call.read() == b"hold0"
        await asyncio.to_thread(seen.gone.wait, SECONDS)  # the one that was dropped
        assert seen.gone.is_set()
        call.cancel()

    aio_outside(AioTheirs(twice), use)


def test_an_interceptor_around_ours_cannot_write_the_requests_as_with_grpcs_own_calls():
    refused = []

    async def write(make):
        call = await make()
        for asked in (call.write(b"x"), call.done_writing()):
            try:
                await asked
            except aio.UsageError:
                refused.append(type(call).__name__)
        return call

    async def use(channel, seen):
        call = channel.stream_stream("/test.Service/Both")(iter([b"a"]))
        assert [each async for each in call] == [b"<a>"]

    aio_outside(AioTheirsBoth(write), use)
    assert refused == ["StreamStreamCall"] * 2


def test_an_interceptor_around_ours_waits_for_the_connection_of_a_call_that_the_chain_has_answered():
    async def wait(make):
        call = await make()
        await call.wait_for_connection()
        assert call.time_remaining() is None
        return call

    async def use(channel, seen):
        assert [each async for each in channel.unary_stream("/test.Service/Many")(b"a")] == [b"x"]
        assert not seen.calls

    aio_outside(AioTheirs(wait), use, [lambda ctx, call: reply(ctx, 200, body=[b"x"])])


def test_an_interceptor_inside_ours_raises_in_a_stream_of_asyncio():
    async def broken(make):
        call = await make()

        async def messages():
            async for message in call:
                yield message
                raise ZeroDivisionError("theirs")

        return messages()

    raised = []

    async def around(ctx, call):
        try:
            return await call(ctx)
        except ZeroDivisionError as error:
            raised.append(error)
            raise

    with aio_running() as caller:

        async def run():
            inside = [*for_grpc.aio_client_interceptors([around]), AioTheirs(broken)]
            async with aio.insecure_channel(f"127.0.0.1:{caller.port}", interceptors=inside) as channel:
                call = channel.unary_stream("/test.Service/Many")(b"a")
                with pytest.raises(ZeroDivisionError):
                    _ = [each async for each in call]

        caller.run(run())
    assert len(raised) == 1


def again(ctx, call):
    """Try again after an error of somebody else."""
    try:
        return call(ctx)
    except ZeroDivisionError:
        return call(ctx)


def test_an_interceptor_inside_ours_raises_in_an_attempt_at_a_stream_and_not_in_the_next_one():
    codes, errors = Codes(), [ZeroDivisionError("theirs")]

    def once(call):
        if errors:
            call.cancel()
            raise errors.pop()
        yield from call

    with sync_running() as caller:
        channel = grpc.intercept_channel(caller.channel, for_grpc.client_interceptor([codes, again]), Theirs(once))
        assert list(channel.unary_stream("/test.Service/Many")(b"a")) == [b"a0", b"a1", b"a2"]
    assert codes.codes == ["OK"]
    nothing_is_left()


def test_an_interceptor_inside_ours_raises_in_an_attempt_at_a_stream_of_asyncio_and_not_in_the_next_one():
    codes, errors = Codes(), [ZeroDivisionError("theirs")]

    async def once(make):
        call = await make()

        async def messages():
            if errors:
                call.cancel()
                raise errors.pop()
            async for message in call:
                yield message

        return messages()

    with aio_running() as caller:

        async def run():
            inside = [*for_grpc.aio_client_interceptors([codes, again]), AioTheirs(once)]
            async with aio.insecure_channel(f"127.0.0.1:{caller.port}", interceptors=inside) as channel:
                call = channel.unary_stream("/test.Service/Many")(b"a")
                assert [each async for each in call] == [b"a0", b"a1", b"a2"]

        caller.run(run())
    assert codes.codes == ["OK"]


def test_metadata_that_an_inner_call_would_wait_for_is_none_to_the_chain():
    class Slow(aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation, client_call_details, request):
            call = await continuation(client_call_details, request)
            ask = call.trailing_metadata

            async def later():
                await asyncio.sleep(0)
                return await ask()

            call.trailing_metadata = later
            return call

    def look(ctx, call):
        ctx = call(ctx)
        found.append(list(res(ctx).trailers))
        return ctx

    found = []
    with aio_running([], []) as caller:

        async def run():
            inside = [*for_grpc.aio_client_interceptors([look]), Slow()]
            async with aio.insecure_channel(f"127.0.0.1:{caller.port}", interceptors=inside) as channel:
                assert await channel.unary_unary("/test.Service/One")(b"a") == b"<a>"

        caller.run(run())
    assert found == [[]]
