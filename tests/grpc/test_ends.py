"""How calls end before their time: callers that cancel, deadlines that pass, servers that die. Nothing is left."""

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from formation import for_grpc, req, res
from formation.bridge import Aside
from formation.errors import ClientGone, DeadlineExceeded
from formation.for_grpc.aio import link
from tests.grpc.hosts import SECONDS, aio_running, every_server, every_world, sync_running


class Watch:
    """A middleware that tells when it was left, and how."""

    def __init__(self):
        self.left = threading.Event()
        self.how = None

    def __call__(self, ctx, call):
        try:
            ctx = call(ctx)
            self.how = res(ctx).code
        except BaseException as error:
            self.how = type(error)
            raise
        finally:
            self.left.set()
        return ctx

    def was_left(self):
        assert self.left.wait(SECONDS)
        return self.how


def soon(condition):
    """Wait until something that another thread does has been done."""
    ended = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ended
        threading.Event().wait(0.001)


def nothing_is_left():
    soon(lambda: not [each for each in threading.enumerate() if each.name == "formation-grpc"])
    assert not link._running
    assert not [each for each in gc.get_objects() if type(each) is Aside and each.is_paused]


GONE = {ClientGone, asyncio.CancelledError}
LATE = {DeadlineExceeded, asyncio.CancelledError}


@every_server
def test_a_client_that_cancels_a_call_of_one_message(running):
    server, client = Watch(), Watch()
    with running([server], [client]) as caller:
        method = caller.channel.unary_unary("/test.Service/One")
        if not hasattr(caller, "loop"):
            future = method.future(b"hold")
            assert caller.seen.held.wait(SECONDS)
            assert not future.done()
            assert future.cancel()
            assert future.cancelled()
            with pytest.raises(grpc.FutureCancelledError):
                future.result(SECONDS)
            assert future.code() is grpc.StatusCode.CANCELLED
            assert client.was_left() == "CANCELLED"
        else:

            async def cancel():
                call = method(b"hold")
                await asyncio.to_thread(caller.seen.held.wait, SECONDS)
                assert call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                assert call.cancelled()
                assert await call.code() is grpc.StatusCode.CANCELLED

            caller.run(cancel())
            assert client.was_left() is asyncio.CancelledError
        assert caller.seen.gone.wait(SECONDS)
        assert server.was_left() in GONE
    nothing_is_left()


@every_world
def test_the_task_that_waits_is_cancelled(running):
    if running is sync_running:
        return
    server, client = Watch(), Watch()
    with running([server], [client]) as caller:
        for way in ("One", "Many"):
            caller.seen.held.clear()
            caller.seen.gone.clear()

            async def ask(way=way):
                if way == "One":
                    await caller.channel.unary_unary("/test.Service/One")(b"hold")
                else:
                    async for _ in caller.channel.unary_stream("/test.Service/Many")(b"hold"):
                        pass

            async def cancel(ask=ask):
                task = asyncio.create_task(ask())
                await asyncio.to_thread(caller.seen.held.wait, SECONDS)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

            caller.run(cancel())
            assert client.was_left() is asyncio.CancelledError
            assert caller.seen.gone.wait(SECONDS)
            assert server.was_left() in GONE
            server.left.clear()
            client.left.clear()
    nothing_is_left()


@every_server
@pytest.mark.parametrize("how", ["cancel", "drop"])
def test_a_client_that_gives_up_a_stream(running, how):
    server, client = Watch(), Watch()
    if how == "drop" and running is not sync_running:
        return  # on asyncio the channel holds a call that is dropped, and without us it goes on, too
    with running([server], [client]) as caller:
        method = caller.channel.unary_stream("/test.Service/Many")
        if not hasattr(caller, "loop"):
            call = method(b"hold")
            assert next(call) == b"hold0"
            assert caller.seen.held.wait(SECONDS)
            if how == "cancel":
                assert call.cancel()
                with pytest.raises(grpc.RpcError) as caught:
                    list(call)
                assert caught.value.code() is grpc.StatusCode.CANCELLED
                assert call.code() is grpc.StatusCode.CANCELLED
            else:
                del call
            assert client.was_left() == "CANCELLED"
        else:

            async def give_up():
                call = method(b"hold")
                assert await call.read() == b"hold0"
                await asyncio.to_thread(caller.seen.held.wait, SECONDS)
                assert call.cancel()
                assert call.done()
                with pytest.raises(asyncio.CancelledError):
                    _ = [message async for message in call]
                assert await call.code() is grpc.StatusCode.CANCELLED

            caller.run(give_up())
            assert client.was_left() is asyncio.CancelledError
        assert caller.seen.gone.wait(SECONDS)
        assert server.was_left() in GONE
        soon(lambda: getattr(caller.seen, "closed", False))
    nothing_is_left()


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_handler_cleans_up_before_its_chain_goes_on(is_broken):
    order, over = [], threading.Event()

    def around(ctx, call):
        try:
            return call(ctx)
        except ClientGone:
            order.append("chain")
            raise
        finally:
            over.set()

    def handler(request, context):
        try:
            while True:
                yield request
        finally:
            order.append("handler")
            if is_broken:
                raise ValueError("while it cleans up")

    pool = ThreadPoolExecutor(1)
    host = grpc.server(pool, interceptors=[for_grpc.server_interceptor([around])])
    methods = {"Many": grpc.unary_stream_rpc_method_handler(handler)}
    host.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
    port = host.add_insecure_port("127.0.0.1:0")
    host.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream("/test.Service/Many")(b"a")
            assert next(call) == b"a"
            call.cancel()
            assert over.wait(SECONDS)
    finally:
        host.stop(0).wait()
        pool.shutdown()
    assert order == ["handler", "chain"]


@every_server
def test_a_client_that_cancels_while_the_server_waits_for_requests(running):
    server, client = Watch(), Watch()
    with running([server], [client]) as caller:
        if not hasattr(caller, "loop"):
            ended = threading.Event()

            def requests():
                yield b"a"
                ended.wait(SECONDS)

            call = caller.channel.stream_stream("/test.Service/Both")(requests())
            assert next(call) == b"<a>"
            call.cancel()
            ended.set()
        else:

            async def cancel():
                call = caller.channel.stream_stream("/test.Service/Both")()
                await call.write(b"a")
                assert await call.read() == b"<a>"
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call.read()

            caller.run(cancel())
        assert caller.seen.gone.wait(SECONDS)
        assert server.was_left() in {*GONE, "OK"}  # gRPC may tell the handler first that there are no more requests
        assert client.was_left() in {"CANCELLED", asyncio.CancelledError}
    nothing_is_left()


@every_server
@pytest.mark.parametrize("way", ["one", "many"])
def test_a_deadline_that_passes(running, way):
    server, client, found = Watch(), Watch(), []

    def look(ctx, call):
        found.append(req(ctx).deadline is not None and ctx["fmtn.deadline"] == req(ctx).deadline)
        return call(ctx)

    with running([server, look], [client, look]) as caller:
        outcome = getattr(caller, way)(b"hold", timeout=0.2)
        assert outcome.code == "DEADLINE_EXCEEDED"
        assert client.was_left() == "DEADLINE_EXCEEDED"
        assert caller.seen.gone.wait(SECONDS)
        assert server.was_left() in LATE
    assert found == [True, True]
    nothing_is_left()


@every_server
@pytest.mark.parametrize("way", ["one", "many"])
def test_a_server_that_dies(running, way):
    client = Watch()
    with running([], [client]) as caller:
        found = []
        thread = threading.Thread(target=lambda: found.append(getattr(caller, way)(b"hold")))
        thread.start()
        assert caller.seen.held.wait(SECONDS)
        if hasattr(caller, "loop"):
            caller.run(caller.host.stop(0))
        else:
            caller.host.stop(0)
        thread.join(SECONDS)
        assert found[0].code in {"UNAVAILABLE", "CANCELLED"}
        assert client.was_left() == found[0].code
    nothing_is_left()


@every_world
def test_nobody_is_there(running):
    client = Watch()
    with running([], [client]) as caller:
        if hasattr(caller, "loop"):
            caller.run(caller.host.stop(0))
        else:
            caller.host.stop(0).wait()
        assert caller.one(b"a").code == "UNAVAILABLE"
        assert caller.many(b"a").code == "UNAVAILABLE"
    assert client.how == "UNAVAILABLE"
    nothing_is_left()


@every_world
def test_a_call_that_is_cancelled_between_two_attempts_makes_no_other(running):
    between = threading.Event()

    def again(ctx, call):
        call(ctx)
        between.set()
        if running is sync_running:
            time.sleep(0)
            assert cancelled.wait(SECONDS)
        else:
            from formation.bridge import await_

            await_(asyncio.sleep(SECONDS))
        return call(ctx)

    cancelled = threading.Event()
    with running([], [again]) as caller:
        caller.seen.script = [grpc.StatusCode.UNAVAILABLE]
        method = caller.channel.unary_stream("/test.Service/Many")
        if running is sync_running:
            call = method(b"a")
            assert between.wait(SECONDS)
            call.cancel()
            cancelled.set()
            with pytest.raises(grpc.RpcError):
                next(call)
            assert call.code() is grpc.StatusCode.CANCELLED
        else:

            async def cancel():
                call = method(b"a")
                reading = asyncio.create_task(call.read())
                await asyncio.to_thread(between.wait, SECONDS)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading

            caller.run(cancel())
        assert len(caller.seen.calls) == 1
    nothing_is_left()


def test_an_iterator_that_is_forgotten_without_having_begun_ends_its_chain():
    server = Watch()
    with sync_running([server]) as caller, pytest.raises(grpc.RpcError):
        caller.channel.unary_stream("/test.Service/Many")(b"a", timeout=0).result()
    nothing_is_left()


def test_an_event_loop_that_ends_in_the_middle_of_a_stream_cancels_it():
    client = Watch()

    async def leave(port):
        from grpc import aio

        from formation import for_grpc

        channel = aio.insecure_channel(f"127.0.0.1:{port}", interceptors=for_grpc.aio_client_interceptors([client]))
        call = channel.unary_stream("/test.Service/Many")(b"hold")
        assert await call.read() == b"hold0"
        await channel.close()

    with sync_running() as caller:
        asyncio.run(leave(caller.port))
        assert client.was_left() is asyncio.CancelledError or client.how == "CANCELLED"
    nothing_is_left()


def test_a_thousand_streams_leave_no_worker_and_no_task():
    with aio_running([lambda ctx, call: call(ctx)], [lambda ctx, call: call(ctx)]) as caller:

        async def many():
            async def one():
                return [message async for message in caller.channel.unary_stream("/test.Service/Many")(b"a")]

            for _ in range(10):
                for answer in await asyncio.gather(*(one() for _ in range(30))):
                    assert answer == [b"a0", b"a1", b"a2"]

        caller.run(many())
    nothing_is_left()


class Thing:
    """Something that a middleware puts into the context."""


@every_server
@pytest.mark.parametrize(
    ("way", "request_"), [("one", b"a"), ("many", b"a"), ("collect", [b"a", b"b"]), ("both", [b"a", b"b"])]
)
def test_what_is_over_is_freed_without_the_garbage_collector(running, way, request_):
    things = []

    def put(ctx, call):
        ctx["thing"] = thing = Thing()
        things.append(weakref.ref(thing))
        return call(ctx)

    def each(ctx, call):
        return call(ctx)

    with running(([put], [each]), ([put], [each])) as caller:
        gc.collect()
        gc.disable()
        try:
            assert getattr(caller, way)(request_).code == "OK"
            soon(lambda: not any(thing() for thing in things))
        finally:
            gc.enable()
    assert len(things) == 2
