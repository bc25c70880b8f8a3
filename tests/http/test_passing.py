"""How the chunks of a body pass: pulled or pushed, once, through maps."""

import gzip
import io
import tracemalloc
import zlib
from operator import methodcaller

import pytest

from formation.errors import BodyAbandoned, BodyConsumed
from formation.http import Body, Factory, File, Response
from formation.http.sources import CHUNK
from tests.http.bodies import AsyncSource, Ends, Source, once, watched

# --- reading ---


def test_iterating_gives_the_chunks_as_they_are_and_none_empty():
    body, ends = watched([b"", b"a", b"", b"bc", b""])
    assert list(body) == [b"a", b"bc"]
    assert ends.once == (3, type(None))


def test_no_chunk_is_pulled_before_it_is_asked_for():
    source = Source()
    body = Body(source).map(bytes.upper)
    assert source.given == 0
    chunks = iter(body)
    assert source.given == 0
    assert next(chunks) == b"AB"
    assert source.given == 1


def test_empty_bodies_have_no_chunks():
    for source in (b"", [], [b""], io.BytesIO(), File(io.BytesIO())):
        body, ends = watched(source)
        assert list(body) == []
        assert ends.once == (0, type(None))


@pytest.mark.parametrize("chunk", [bytearray(b"ab"), memoryview(b"ab"), type("Bytes", (bytes,), {})(b"ab")])
def test_a_chunk_may_be_anything_that_is_bytes_in_memory(chunk):
    assert list(Body([chunk])) == [b"ab"]
    assert type(next(iter(Body([chunk])))) is bytes


@pytest.mark.parametrize("chunk", ["text", 5, None, [b"a"]])
def test_a_chunk_that_is_no_bytes_is_an_error_that_shows_it(chunk):
    source = Source(b"ab", chunk)
    body, ends = watched(source)
    with pytest.raises(TypeError, match=r"expected bytes from <.*Source object.*>, got .*"):
        body.read()
    assert ends.once == (2, TypeError)
    assert source.closed == 1


# --- only once ---


@pytest.mark.parametrize("again", [list, iter, Body.read, methodcaller("map", bytes.upper)])
@pytest.mark.parametrize("first", [list, iter, Body.close, any])
def test_a_stream_can_be_had_once(first, again):
    body = Body(Source())
    first(body)
    with pytest.raises(BodyConsumed, match=r"stream of Source.* can be had once: read \.content before"):
        again(body)


def test_a_reader_whose_body_is_closed_meanwhile_does_not_take_it_for_complete():
    source = Source()
    body, ends = watched(source)
    chunks = iter(body)
    next(chunks)
    body.close()
    with pytest.raises(BodyConsumed):
        next(chunks)
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == 1


def test_a_reader_that_starts_after_the_close_gets_nothing():
    body = Body(Source())
    chunks = iter(body)
    body.close()
    with pytest.raises(BodyConsumed):
        next(chunks)


def test_the_reader_of_a_failed_attempt_does_not_end_the_next_one():
    body = Body([b"a", b"b", b"c"])
    stale = iter(body)
    next(stale)
    assert body.rewind()
    ends = Ends()
    body.on_close(ends)
    chunks = iter(body)
    next(chunks)
    stale.close()  # as when it is collected
    assert list(chunks) == [b"b", b"c"]
    assert ends.once == (3, type(None))


def test_a_stale_reader_cannot_go_on():
    body = Body([b"a", b"b"])
    stale = iter(body)
    next(stale)
    body.rewind()
    assert list(body) == [b"a", b"b"]
    with pytest.raises(BodyConsumed):
        next(stale)


def test_a_reader_that_has_all_of_it_may_close_and_go_on():
    body, ends = watched(Source())
    chunks = iter(body.map(bytes.upper, lambda: b"!"))
    assert [next(chunks) for _ in range(4)][-1] == b"!"
    body.close()
    assert list(chunks) == []
    assert ends.once == (7, BodyAbandoned)


# --- how it ends ---


def test_a_reader_that_never_started_does_not_end_it():
    body, ends = watched(Source())
    del (chunks := [iter(body)])[0]
    assert ends == chunks == []
    body.close()
    assert ends.once == (0, BodyAbandoned)


# --- maps ---


def test_maps_apply_in_order_and_what_one_finishes_with_passes_the_next():
    body = Body([b"a", b"b"])
    body.map(lambda chunk: chunk + b"1", lambda: b"end1").map(bytes.upper).map(lambda chunk: chunk + b"|", lambda: b"X")
    assert list(body) == [b"A1|", b"B1|", b"END1|X"]


@pytest.mark.parametrize("source", [b"some text" * 1000, [b"some text" * 500] * 2, io.BytesIO(b"some text" * 1000)])
def test_a_compressor_fits(source):
    compressor = zlib.compressobj(wbits=31)
    body = Body(source).map(compressor.compress, compressor.flush)
    assert gzip.decompress(body.read()) == b"some text" * 1000


def test_a_map_that_waits_for_more_gives_no_empty_chunk():
    held = []
    body = Body([b"a", b"b", b"c"]).map(lambda chunk: held.append(chunk) or b"", lambda: b"".join(held))
    assert list(body) == [b"abc"]


@pytest.mark.parametrize("source", [b"abc", [b"abc"]])
@pytest.mark.parametrize("maps", [(lambda chunk: None,), (bytes.upper, lambda: None), (lambda chunk: "text",)])
def test_a_map_that_returns_no_bytes_is_named(source, maps):
    with pytest.raises(TypeError, match=r"expected bytes from <function <lambda>.*, got (None|'text')"):
        Body(source).map(*maps).read()


# --- async ---


def test_an_async_source_is_iterated_by_async_for(run):
    source = AsyncSource()
    body, ends = watched(source)

    async def main():
        return [chunk async for chunk in body.map(bytes.upper, lambda: b"!")]

    assert run(main) == [b"AB", b"CD", b"EF", b"!"]
    assert ends.once == (7, type(None))
    assert source.closed == source.unwound == 1


def test_a_plain_function_on_the_bridge_iterates_over_an_async_source(plainly):
    source = AsyncSource()
    body, ends = watched(source)
    assert plainly(lambda: [chunk.upper() for chunk in body]) == [b"AB", b"CD", b"EF"]
    assert ends.once == (6, type(None))
    assert source.closed == 1


def test_a_plain_function_on_the_bridge_may_stop_early(plainly):
    source = AsyncSource()
    body, ends = watched(source)

    def first():
        for chunk in body:
            return chunk
        return None

    assert plainly(first) == b"ab"
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == source.unwound == 1
    assert source.given == 1


def test_a_plain_function_on_the_bridge_closes_what_is_closed_by_awaiting(plainly):
    source = AsyncSource()
    body, ends = watched(source)
    plainly(body.close)
    assert source.closed == 1
    assert ends.once == (0, BodyAbandoned)


def test_an_error_of_an_async_source_reaches_the_plain_function(plainly):
    error = ConnectionError("reset")
    source = AsyncSource(b"ab", error=error)
    body, ends = watched(source)
    with pytest.raises(ConnectionError) as caught:
        plainly(body.read)
    assert caught.value is error
    assert ends == [(2, error)]
    assert source.closed == 1


def test_whoever_leaves_an_async_for_early_and_closes_abandons_it(run):
    source = AsyncSource()
    body, ends = watched(source)

    async def main():
        async for _chunk in body:
            break
        await body.aclose()
        await body.aclose()

    run(main)
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == source.unwound == 1


@pytest.mark.parametrize("make", [AsyncSource, Source])
def test_closing_the_async_iterator_abandons_it(run, make):
    source = make()
    body, ends = watched(source)

    async def main():
        chunks = aiter(body)
        await anext(chunks)
        await chunks.aclose()

    run(main)
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == 1


def test_bytes_are_abandoned_or_not_in_async_for_as_anywhere(run):
    body, ends = watched(b"abc")
    unread, unread_ends = watched(b"abc")
    nothing, nothing_ends = watched(b"")

    async def main():
        async for _chunk in body:
            pass
        await unread.aclose()
        async for _chunk in nothing:
            pass

    run(main)
    assert ends.once == (3, type(None))
    assert unread_ends.once == (0, BodyAbandoned)
    assert nothing_ends.once == (0, type(None))


def test_an_async_stream_can_be_had_once(run):
    body = Body(AsyncSource())

    async def main():
        await body.aread()
        other = Body(AsyncSource())
        aiter(other)
        with pytest.raises(BodyConsumed):
            aiter(other)
        with pytest.raises(BodyConsumed):
            await other.aread()
        await other.aclose()

    run(main)


def test_an_async_reader_whose_body_is_closed_meanwhile_does_not_take_it_for_complete(run):
    source = AsyncSource()
    body, ends = watched(source)

    async def main():
        chunks = aiter(body)
        await anext(chunks)
        await body.aclose()
        with pytest.raises(BodyConsumed):
            await anext(chunks)
        late = aiter(other := Body(AsyncSource()))
        await other.aclose()
        with pytest.raises(BodyConsumed):
            await anext(late)

    run(main)
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == source.unwound == 1


def test_an_async_reader_that_has_all_of_it_may_close_and_go_on(run):
    body, ends = watched(AsyncSource())
    body.map(bytes.upper, lambda: b"!")

    async def main():
        chunks = aiter(body)
        assert [await anext(chunks) for _ in range(4)][-1] == b"!"
        await body.aclose()
        assert [chunk async for chunk in chunks] == []

    run(main)
    assert ends.once == (7, BodyAbandoned)


def test_leaving_an_async_for_tells_at_once(run):
    source = Source()
    body, ends = watched(source)

    async def main():
        async for _chunk in body:
            break
        assert ends.once == (2, BodyAbandoned)
        assert source.closed == 1

    run(main)


def test_an_async_map_that_waits_for_more_gives_no_empty_chunk(run):
    held = []
    body = Body(AsyncSource()).map(lambda chunk: held.append(chunk) or b"", lambda: b"".join(held))

    async def main():
        return [chunk async for chunk in body]

    assert run(main) == [b"abcdef"]


def test_the_async_reader_of_a_failed_attempt_does_not_end_the_next_one(run):
    body = Body(Factory(lambda: once(b"a", b"b")))

    async def main():
        stale = aiter(body)
        await anext(stale)
        body.rewind()
        body.on_close(ends := Ends())
        chunks = aiter(body)
        await anext(chunks)
        await stale.aclose()
        assert [chunk async for chunk in chunks] == [b"b"]
        assert ends.once == (2, type(None))

    run(main)


# --- memory ---


def test_a_large_stream_passes_through_maps_in_little_memory():
    size, chunk = 256 * 1024 * 1024, b"x" * CHUNK
    body = Body(chunk for _ in range(size // CHUNK))
    counted = []
    body.map(lambda chunk: chunk).map(bytes.upper)
    body.on_close(lambda count, error: counted.append((count, error)))
    tracemalloc.start()
    try:
        for _chunk in body:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counted == [(size, None)]
    assert peak < 4 * CHUNK


# --- a host that pushes ---


def test_a_host_that_pushes_gets_what_the_maps_make_of_each_chunk():
    ended = []
    body = Body([]).map(bytes.upper, lambda: b"!")
    body.on_close(lambda count, error: ended.append((count, error)))
    assert body.is_watched
    assert [body.push(b"a"), body.push(b""), body.push(b"bc"), body.flush()] == [b"A", b"", b"BC", b"!"]
    body.end()
    body.end()
    assert ended == [(4, None)]


def test_a_body_nobody_watches_need_not_be_pushed():
    assert not Body([b"a"]).is_watched


def test_what_is_being_pushed_cannot_be_iterated_and_the_other_way_round():
    body = Body([b"a", b"b"])
    body.push(b"a")
    with pytest.raises(BodyConsumed):
        list(body)
    iterated = Body([b"a", b"b"])
    next(iter(iterated))
    with pytest.raises(BodyConsumed):
        iterated.push(b"a")


def test_a_push_that_is_stopped_tells_its_error():
    ended = []
    body = Body([])
    body.on_close(lambda count, error: ended.append((count, error)))
    body.push(b"abc")
    error = OSError("gone")
    body.end(error)
    assert ended == [(3, error)]


def test_a_watcher_sees_what_comes_out_and_changes_nothing():
    seen = []
    response = Response(200, {"Content-Length": "6", "ETag": '"1"'}, [b"abc", b"", b"def"])
    response.body.watch(seen.append)
    assert response.body.is_watched
    assert list(response.body) == [b"abc", b"def"]
    assert (seen, dict(response.headers)) == ([b"abc", b"def"], {"Content-Length": "6", "ETag": '"1"'})


def test_a_watcher_sees_what_maps_have_made():
    seen = []
    body = Body([b"abc", b"def"])
    body.watch(seen.append)
    body.map(bytes.upper, lambda: b"!")
    assert body.read() == b"ABCDEF!"
    assert seen == [b"ABC", b"DEF", b"!"]


def test_a_watcher_sees_what_a_host_pushes_or_has_read_by_itself():
    pushed, whole = [], []
    body = Body([])
    body.watch(pushed.append)
    body.push(b"abc")
    body.flush()
    body.end()
    body = Body([b"ignored"])
    body.watch(whole.append)
    body.complete(b"all of it")
    assert (pushed, whole) == ([b"abc"], [b"all of it"])


def test_a_body_that_is_watched_is_not_passed_on_as_it_is():
    body = Body(source := [b"a"])
    assert body.native is source
    body.watch(print)
    assert body.native is None


def test_what_is_over_or_in_memory_is_not_watched():
    body = Body([b"a"])
    list(body)
    with pytest.raises(BodyConsumed):
        body.watch(print)
    whole = Body(b"a")
    whole.watch(print)
    assert not whole.is_watched
