"""How a body ends: every way, and what is told and closed then."""

import asyncio
import io
import logging

import pytest

from formation import wrap
from formation.errors import BodyAbandoned
from formation.http import Body, File
from tests.http.bodies import AsyncSource, Ends, Source, fail, turn, watched

# --- how it ends ---


def test_an_end_is_told_with_the_bytes_that_came_out_not_those_that_went_in():
    body, ends = watched([b"abc", b"def"])
    body.map(lambda chunk: chunk[:1], lambda: b"!!")
    assert body.read() == b"ad!!"
    assert ends.once == (4, type(None))


def test_whoever_stops_early_abandons_it():
    source = Source()
    body, ends = watched(source)
    for _chunk in body:
        break
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == 1
    assert source.given == 1


def test_a_body_that_is_closed_unread_is_abandoned():
    source = Source()
    body, ends = watched(source)
    body.close()
    body.close()
    assert ends.once == (0, BodyAbandoned)
    assert source.closed == 1
    assert source.given == 0


def test_a_body_that_is_closed_in_mid_stream_is_abandoned_even_where_its_reader_lives_on():
    body, ends = watched(Source())
    chunks = iter(body)
    next(chunks)
    body.close()
    assert ends.once == (2, BodyAbandoned)
    del chunks
    assert len(ends) == 1


def test_what_it_is_closed_with_is_told():
    error = ConnectionError("gone")
    body, ends = watched(Source())
    body.close(error)
    assert ends == [(0, error)]


def test_bytes_that_were_not_sent_are_abandoned_and_nothing_is_not():
    body, ends = watched(b"abc")
    body.close()
    assert ends.once == (0, BodyAbandoned)
    body, ends = watched(b"")
    body.close()
    assert ends.once == (0, type(None))


def test_whoever_has_taken_all_the_bytes_may_stop_before_being_told_that_there_are_no_more():
    body, ends = watched(b"abc")
    assert next(iter(body)) == b"abc"
    assert ends.once == (3, type(None))
    body, ends = watched(File(io.BytesIO(b"abc")))
    chunks = iter(body)
    next(chunks)
    body.close()
    assert ends.once == (3, type(None))


def test_an_error_of_the_source_is_told_and_goes_on_as_it_is():
    error = ConnectionError("reset")
    source = Source(b"abc", error=error)
    body, ends = watched(source)
    with pytest.raises(ConnectionError) as caught:
        list(body)
    assert caught.value is error
    assert ends == [(3, error)]
    assert ends[0][1] is error
    assert source.closed == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_error_that_is_no_exception_is_told_as_well(kind):
    body, ends = watched(Source(b"abc", error=kind()))
    with pytest.raises(kind):
        list(body)
    assert ends.once == (3, kind)


@pytest.mark.parametrize(
    "maps", [[(fail,)], [(bytes.upper, fail)], [(bytes.upper,), (fail,)], [(bytes, fail), (bytes,)]]
)
def test_an_error_in_a_map_is_told_and_the_source_closed(maps):
    source = Source(b"abc")
    body, ends = watched(source)
    for each in maps:
        body.map(*each)
    with pytest.raises(ArithmeticError):
        list(body)
    assert ends.once == (3 if fail in maps[0][1:] else 0, ArithmeticError)
    assert source.closed == 1


def test_an_error_thrown_in_by_whoever_iterates_is_told():
    body, ends = watched(Source())
    chunks = iter(body)
    next(chunks)
    with pytest.raises(ArithmeticError):
        chunks.throw(ArithmeticError())
    assert ends.once == (2, ArithmeticError)


def test_an_error_of_the_closing_goes_on_and_is_told_where_there_is_no_other():
    def close():
        raise OSError("close")

    body, ends = watched([b"a"], close=close)
    with pytest.raises(OSError, match="close"):
        list(body)
    assert ends.once == (1, OSError)
    assert body.ended

    body, ends = watched(Source(error=ArithmeticError()), close=close)
    with pytest.raises(OSError, match="close") as caught:
        list(body)
    assert ends.once == (6, ArithmeticError)
    assert type(caught.value.__context__) is ArithmeticError


def test_a_close_of_ones_own_takes_the_place_of_the_sources():
    source, closed = Source(), []
    body = Body(source, close=lambda: closed.append(1))
    body.read()
    body.close()
    assert closed == [1]
    assert source.closed == 0


def test_what_is_sent_again_is_closed_by_ones_own_once_and_never_by_the_sources():
    class Again(Source):
        replayable = True

        def rewind(self):
            return True

    source, closed = Again(), []
    body = Body(source, close=lambda: closed.append(1))
    for _ in range(2):
        assert body.rewind()
        list(body)
    assert (closed, source.closed) == ([1], 0)


def test_bytes_may_have_something_to_close_too():
    closed = []
    body = Body(b"abc", close=lambda: closed.append(1))
    assert list(body) == [b"abc"]
    body.close()
    assert closed == [1]


def test_a_source_that_closes_the_body_while_it_is_closed_does_not_go_round_in_circles():
    class Circular(Source):
        def close(self):
            super().close()
            body.close()

    source = Circular()
    body, ends = watched(source)
    body.close()
    assert source.closed == 1
    assert len(ends) == 1


def test_hooks_run_in_order_once_each_and_late_ones_at_once():
    told = []
    body = Body([b"ab"])
    body.on_close(lambda *args: told.append((1, *args)))
    body.on_close(lambda *args: told.append((2, *args)))
    assert told == []
    body.read()
    assert told == [(1, 2, None), (2, 2, None)]
    body.on_close(lambda *args: told.append((3, *args)))
    assert told[2:] == [(3, 2, None)]


def test_a_hook_that_comes_late_is_told_of_the_error_without_its_traceback():
    body = Body(Source(b"ab", error=ConnectionError("reset")))
    with pytest.raises(ConnectionError):
        list(body)
    ends = Ends()
    body.on_close(ends)
    assert ends.once == (2, ConnectionError)
    assert ends[0][1].args == ("reset",)
    assert ends[0][1].__traceback__ is None


def test_an_error_that_cannot_be_made_again_is_described_to_a_hook_that_comes_late():
    class Odd(Exception):
        def __init__(self, *, needed):
            super().__init__(needed)

    body = Body(Source(error=Odd(needed=1)))
    with pytest.raises(Odd):
        list(body)
    ends = Ends()
    body.on_close(ends)
    assert ends.once == (6, BodyAbandoned)
    assert "Odd(1)" in str(ends[0][1])


def test_a_hook_that_raises_is_logged_and_changes_nothing(caplog):
    body, ends = Body([b"a"]), Ends()
    body.on_close(fail)
    body.on_close(ends)
    with caplog.at_level(logging.ERROR, "formation"):
        assert body.read() == b"a"
        body.on_close(fail)
    assert ends.once == (1, type(None))
    assert len(caplog.records) == 2
    assert "fail" in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info[0] is ArithmeticError


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_hook_goes_on_when_the_others_have_been_told(kind):
    def interrupted(*_):
        raise kind

    body, first = watched(source := Source())
    second, last = Ends(), Ends()
    for hook in (interrupted, second, interrupted, last):
        body.on_close(hook)
    with pytest.raises(kind):
        body.read()
    assert first == second == last == [(6, None)]
    assert source.closed == 1


def test_what_stands_behind_is_closed_though_the_closing_fails():
    closed = []
    body = Body(b"", close=fail)
    body.replace(Body([b"a"], close=fail))
    body.replace(Body([b"a"], close=lambda: closed.append(1)))
    with pytest.raises(ArithmeticError):
        body.close()
    assert closed == [1]


def test_a_hook_may_be_added_by_a_hook():
    body, ends = Body([b"a"]), Ends()
    body.on_close(lambda *_: body.on_close(ends))
    body.read()
    assert ends.once == (1, type(None))


# --- async ---


def test_a_task_that_is_dropped_while_it_waits_for_a_chunk_abandons_the_body():
    body, ends = watched(stuck())

    async def main():
        async for _chunk in body:
            pass

    dropped = main()
    dropped.send(None)
    assert ends == []
    dropped.close()
    assert ends.once == (2, BodyAbandoned)


def test_an_async_error_is_told_and_goes_on_as_it_is(run):
    error = ConnectionError()
    for source in (AsyncSource(error=error), Source(error=error)):
        body, ends = watched(source)
        with pytest.raises(ConnectionError) as caught:
            run(body.aread)
        assert caught.value is error
        assert ends == [(6, error)]
        assert source.closed == 1


def test_an_error_in_an_async_close_goes_on_after_the_hooks(run):
    async def close():
        await turn()
        raise OSError("close")

    body, ends = watched([b"a"], close=close)
    with pytest.raises(OSError, match="close"):
        run(body.aread)
    assert ends.once == (1, type(None))


def test_cancellation_is_told_and_the_source_is_closed():
    source = AsyncSource()
    body, ends = watched(source)

    async def main():
        task = asyncio.current_task()
        async for _chunk in body:
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ends.once == (2, asyncio.CancelledError)
    assert source.closed == source.unwound == 1


def test_cancellation_reaches_a_plain_function_in_mid_body_and_the_source_is_closed():
    source = AsyncSource()
    body, ends = watched(source)

    async def endpoint(ctx):
        return ctx

    def layer(ctx, call):
        for _chunk in body:
            ctx["task"].cancel()
        return call(ctx)

    async def main():
        await wrap(endpoint, [layer])({"task": asyncio.current_task()})

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ends.once == (2, asyncio.CancelledError)
    assert source.closed == source.unwound == 1


def test_what_close_could_not_wait_for_aclose_does(run):
    source = AsyncSource()
    body, ends = watched(source)
    body.close()
    assert ends.once == (0, BodyAbandoned)
    assert source.closed == 0
    run(body.aclose)
    run(body.aclose)
    assert source.closed == 1
    assert len(ends) == 1


def test_what_close_could_not_wait_for_is_closed_by_who_takes_its_place(run):
    source, new = AsyncSource(), Body(b"new")
    old = Body(source)
    old.close()
    new.replace(old)
    run(new.aclose)
    assert source.closed == 1


def test_aclose_reaches_what_was_replaced(run):
    source = AsyncSource()
    old, ends = watched(source)
    new = Body(chunk async for chunk in old)
    new.replace(old)
    run(new.aclose)
    assert source.closed == 1
    assert ends.once == (0, BodyAbandoned)


def test_a_source_that_has_both_ways_to_close_is_closed_the_plain_way(run):
    class Both(AsyncSource):
        def close(self):
            self.closed += 1

        async def aclose(self):
            raise NotImplementedError

    source = Both()
    run(Body(source).aread)
    assert source.closed == 1
    source = Both()
    Body(source).close()
    assert source.closed == 1


def test_an_async_generator_that_is_the_source_itself_is_closed(run):
    closed = []

    async def source():
        try:
            yield b"a"
            yield b"b"
        finally:
            await turn()
            closed.append(1)

    body, ends = watched(source())

    async def main():
        chunks = aiter(body)
        await anext(chunks)
        await chunks.aclose()

    run(main)
    assert closed == [1]
    assert ends.once == (1, BodyAbandoned)


class Forever:
    """Awaiting it never ends."""

    def __await__(self):
        yield


class Stuck(AsyncSource):
    """A source that is about to be closed by awaiting, and then cannot be."""

    async def __aiter__(self):
        yield b"ab"
        await Forever()


async def stuck():
    yield b"ab"
    await Forever()


@pytest.mark.parametrize("make", [Stuck, stuck])
def test_a_chain_that_is_dropped_in_mid_body_abandons_it(make):
    body, ends = watched(make())

    async def endpoint(ctx):
        return ctx

    def layer(ctx, call):
        list(body)
        return call(ctx)

    dropped = wrap(endpoint, [layer])({})
    dropped.send(None)
    dropped.close()
    assert ends.once == (2, BodyAbandoned)


class Twice(AsyncSource):
    """A source that is closed by awaiting, and whose reader is."""

    def close(self):
        raise ConnectionError


def test_the_iterator_is_closed_though_the_closing_of_its_source_fails(run):
    source = Twice()
    body, ends = watched(source)

    async def main():
        reader = aiter(body)
        await anext(reader)
        with pytest.raises(ConnectionError):
            await body.aclose()

    run(main)
    assert source.unwound == 1
    assert ends.once == (2, BodyAbandoned)


def test_the_iterator_is_closed_on_the_bridge_too_though_the_closing_of_its_source_fails(plainly):
    source = Twice()
    body = Body(source)

    def main():
        reader = iter(body)
        next(reader)
        with pytest.raises(ConnectionError):
            body.close()
        return source.unwound

    assert plainly(main) == 1


def test_what_stands_behind_is_closed_by_awaiting_though_the_closing_fails(run):
    first, second = AsyncSource(), AsyncSource()
    body = Body(b"", close=fail)

    async def main():
        body.replace(Body(first, close=fail))
        body.replace(Body(second))
        with pytest.raises(ArithmeticError):
            await body.aclose()

    run(main)
    assert second.closed == 1


def test_what_a_plain_function_has_begun_is_closed_by_an_async_one(run):
    source = AsyncSource()
    body, ends = watched(source)

    def begin(ctx, call):
        ctx["reader"] = iter(body)
        next(ctx["reader"])
        return call(ctx)

    async def endpoint(ctx):
        return ctx

    async def main():
        ctx = await wrap(endpoint, [begin])({})
        await body.aclose()
        assert "reader" in ctx  # which lives on
        return source.unwound, source.closed

    assert run(main) == (1, 1)
    assert ends.once == (2, BodyAbandoned)
