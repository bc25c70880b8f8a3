"""Messages of a stream: one at a time, in order, through the message middleware, and none before it is asked for."""

import tracemalloc

import grpc
import pytest

from formation import for_grpc, req, res
from formation.bridge import await_, in_async_chain
from tests.grpc.hosts import every_server, every_world


def noting(name, notes):
    def note(ctx, call):
        notes.append((name, ctx["fmtn.side"], ctx["fmtn.direction"], ctx["fmtn.message"]))
        return call(ctx)

    return note


@every_server
def test_each_message_passes_the_middleware_in_both_directions(running):
    notes = []
    server = [noting("outer", notes), noting("inner", notes)]
    with running(([], server)) as caller:
        assert caller.both([b"a"]).messages == [b"<a>"]
    # The first is outermost: next to the wire.
    assert notes == [
        ("outer", "server", "in", b"a"),
        ("inner", "server", "in", b"a"),
        ("inner", "server", "out", b"<a>"),
        ("outer", "server", "out", b"<a>"),
    ]
    notes.clear()
    with running((), ([], server)) as caller:
        assert caller.both([b"a"]).messages == [b"<a>"]
    # The first is outermost: next to the program.
    assert notes == [
        ("outer", "client", "out", b"a"),
        ("inner", "client", "out", b"a"),
        ("inner", "client", "in", b"<a>"),
        ("outer", "client", "in", b"<a>"),
    ]


@every_server
def test_a_single_message_is_no_stream(running):
    notes = []
    with running(([], [noting("", notes)]), ([], [noting("", notes)])) as caller:
        caller.one(b"a")
        assert not notes
        caller.collect([b"a"])
        assert [note[2] for note in notes] == ["out", "in"]
        notes.clear()
        caller.many(b"a")
        assert {note[2] for note in notes if note[1] == "server"} == {"out"}
        assert {note[2] for note in notes if note[1] == "client"} == {"in"}


@every_server
def test_messages_are_changed(running):
    def loud(ctx, call):
        ctx["fmtn.message"] = ctx["fmtn.message"].upper() + b"!"
        return call(ctx)

    with running(([], [loud]), ([], [loud])) as caller:
        assert caller.both([b"a", b"b"]).messages == [b"<A!!>!!", b"<B!!>!!"]
        assert caller.many(b"a").messages == [b"A0!!", b"A1!!", b"A2!!"]
        assert caller.collect([b"a", b"b"]).messages == [b"A!!B!!"]


@every_server
def test_maps_and_hooks_do_the_same_without_a_context(running):
    def hooked(ctx, call):
        call_ = req(ctx)
        if call_.messages is not None:
            call_.messages.map(lambda message: message + b"1")
        call_.on_receive(lambda message: message + b"2")
        call_.on_send(lambda message: None if message == b"b1" else message + b"3")
        return call(ctx)

    with running([hooked]) as caller:
        assert caller.both([b"a"]).messages == [b"<a12>3"]
        assert caller.many(b"a").messages == [b"a03", b"a13", b"a23"]
    with running([], [hooked]) as caller:
        assert caller.both([b"a", b"b"]).messages == [b"<a13>2", b"<b1>2"]


@every_server
def test_hooks_are_next_to_the_program(running):
    def hooked(ctx, call):
        req(ctx).on_receive(lambda message: message + b"h")
        req(ctx).on_send(lambda message: message + b"h")
        return call(ctx)

    def mark(ctx, call):
        ctx["fmtn.message"] += b"m"
        return call(ctx)

    with running(([hooked], [mark])) as caller:
        assert caller.both([b"a"]).messages == [b"<amh>hm"]
    with running((), ([hooked], [mark])) as caller:
        assert caller.both([b"a"]).messages == [b"<ahm>mh"]


@every_world
def test_a_message_has_the_context_of_its_call(running):
    found = []

    def tell(ctx, call):
        ctx["user"] = "ann"
        return call(ctx)

    def look(ctx, call):
        found.append((ctx["user"], ctx["fmtn.kind"], req(ctx).name))
        ctx["mine"] = 1
        assert "seen" not in ctx
        ctx["seen"] = True
        return call(ctx)

    with running(([tell], [look])) as caller:
        caller.collect([b"a", b"b"])
    assert found == [("ann", "message", "/test.Service/Collect")] * 2


@every_server
def test_answer_k_is_there_before_request_k_plus_one_is_made(running):
    made, order = [], []

    def watch(ctx, call):
        order.append((ctx["fmtn.side"], ctx["fmtn.direction"]))
        return call(ctx)

    with running(([], [watch]), ([], [watch])) as caller:
        if not hasattr(caller, "loop"):
            from queue import SimpleQueue

            ask = SimpleQueue()
            call = caller.channel.stream_stream("/test.Service/Both")(iter(ask.get, None))
            for number in range(3):
                ask.put(b"%d" % number)
                made.append(next(call))
            ask.put(None)
            assert list(call) == []
        else:

            async def talk():
                call = caller.channel.stream_stream("/test.Service/Both")()
                for number in range(3):
                    await call.write(b"%d" % number)
                    made.append(await call.read())
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF
                assert await call.code() is grpc.StatusCode.OK

            caller.run(talk())
    assert made == [b"<0>", b"<1>", b"<2>"]
    assert order == [("client", "out"), ("server", "in"), ("server", "out"), ("client", "in")] * 3


@every_world
def test_the_call_of_the_chain_returns_when_the_stream_has_ended(running):
    order = []

    def around(ctx, call):
        side = ctx["fmtn.side"]
        order.append((side, "began"))
        ctx = call(ctx)
        order.append((side, "ended", res(ctx).code))
        return ctx

    def each(ctx, call):
        if ctx["fmtn.direction"] == ("out" if ctx["fmtn.side"] == "server" else "in"):
            order.append((ctx["fmtn.side"], ctx["fmtn.message"]))
        return call(ctx)

    with running(([around], [each]), ([around], [each])) as caller:
        caller.many(b"a")
    messages = [b"a0", b"a1", b"a2"]
    for side in ("server", "client"):
        mine = [each[1:] for each in order if each[0] == side]
        assert mine == [("began",), *[(message,) for message in messages], ("ended", "OK")]


@every_world
@pytest.mark.parametrize("way", ["many", "both"])
@pytest.mark.parametrize("side", ["server", "client"])
def test_an_error_of_a_message_middleware_ends_the_stream_and_is_raised_at_the_call(running, way, side):
    raised = []

    def around(ctx, call):
        try:
            return call(ctx)
        except ZeroDivisionError as error:
            raised.append(error)
            raise

    def broken(ctx, call):
        if ctx["fmtn.direction"] == ("out" if side == "server" else "in") and b"1" in ctx["fmtn.message"]:
            raise ZeroDivisionError("at the second")
        return call(ctx)

    pair = ([around], [broken])
    with running(pair if side == "server" else (), pair if side == "client" else ()) as caller:
        try:
            outcome = getattr(caller, way)(b"a" if way == "many" else [b"0", b"1", b"2"])
        except ZeroDivisionError:
            assert side == "client"
        else:
            assert side == "server"
            assert (outcome.code, len(outcome.messages)) == ("UNKNOWN", 1)
    assert [str(error) for error in raised] == ["at the second"]


@every_world
@pytest.mark.parametrize("way", ["collect", "both"])
def test_an_error_of_a_message_middleware_at_a_request_is_raised_at_the_call(running, way):
    raised = []

    def around(ctx, call):
        try:
            return call(ctx)
        except ZeroDivisionError as error:
            raised.append(error)
            raise

    def broken(ctx, call):
        raise ZeroDivisionError("at a request")

    with running((), ([around], [broken])) as caller, pytest.raises(ZeroDivisionError):
        getattr(caller, way)([b"a"])
    assert len(raised) == 1


@every_world
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("kind", ["middleware", "hook"])
def test_a_message_middleware_does_not_end_a_stream_by_accident(running, error, kind):
    raised = []

    def around(ctx, call):
        if kind == "hook":
            req(ctx).on_send(hook)
        try:
            return call(ctx)
        except RuntimeError as failure:
            raised.append(failure)
            raise

    def hook(message):
        raise error

    def broken(ctx, call):
        raise error

    with running(([around], [] if kind == "hook" else [broken]), ()) as caller:
        assert caller.many(b"a").code == "UNKNOWN"
    assert len(raised) == 1


async def async_mark(ctx, call):
    ctx["fmtn.message"] += b"a"
    return await call(ctx)


def waiting_mark(ctx, call):
    import asyncio

    assert in_async_chain()
    await_(asyncio.sleep(0))
    ctx["fmtn.message"] += b"w"
    return call(ctx)


def test_a_message_middleware_may_wait_and_may_be_a_coroutine():
    from tests.grpc.hosts import aio_running

    with aio_running(([], [async_mark, waiting_mark]), ([], [waiting_mark, async_mark])) as caller:
        assert caller.both([b"x"]).messages == [b"<xwaaw>waaw"]
        assert caller.both(iter([])).messages == []


def test_hooks_are_next_to_the_program_where_a_message_middleware_is_a_coroutine():
    from tests.grpc.hosts import aio_running

    def hooked(ctx, call):
        req(ctx).on_receive(lambda message: message + b"h")
        req(ctx).on_send(lambda message: message + b"h")
        return call(ctx)

    with aio_running(([hooked], [async_mark])) as caller:
        assert caller.both([b"x"]).messages == [b"<xah>ha"]


def test_a_message_middleware_that_is_a_coroutine_does_not_end_a_stream_by_accident():
    from tests.grpc.hosts import aio_running

    raised = []

    def around(ctx, call):
        try:
            return call(ctx)
        except RuntimeError as error:
            raised.append(error)
            raise

    async def broken(ctx, call):
        await call(ctx)
        raise StopAsyncIteration

    with aio_running(([around], [broken])) as caller:
        assert caller.many(b"a").code == "UNKNOWN"
    assert len(raised) == 1


def test_a_coroutine_is_refused_by_a_sync_edge():
    async def middleware(ctx, call):
        return await call(ctx)

    for make in (for_grpc.server_interceptor, for_grpc.client_interceptor):
        with pytest.raises(TypeError, match="'middleware' is async and this chain is sync"):
            make([middleware])
        with pytest.raises(TypeError, match="'middleware' is async and this chain is sync"):
            make([], [middleware])


@every_world
def test_a_long_stream_holds_no_more_than_a_short_one(running):
    """A stream of a million is in ``bench/grpc_edge.py``."""

    def layer(ctx, call):
        return call(ctx)

    def count(ctx, call):
        return call(ctx)

    def peak(number):
        tracemalloc.start()
        try:
            assert sum(1 for _ in drained(number)) == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with running(([layer] * 5, [count] * 5), ([layer] * 5, [count] * 5)) as caller:

        def drained(number):
            method = caller.channel.stream_stream("/test.Service/Both")
            requests = (bytes(1000) for _ in range(number))
            if not hasattr(caller, "loop"):
                yield from method(requests)
                return

            async def counted():
                seen = 0
                async for _ in method(requests):
                    seen += 1
                return seen

            yield from range(caller.run(counted()))

        sum(1 for _ in drained(50))
        few = peak(200)
        many = peak(2000)
    assert many - few < 400_000  # of 1.8 MB more that went each way
