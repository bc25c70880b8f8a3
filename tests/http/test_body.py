"""Bodies: every state, every way from one to the next, and every way to end."""

import asyncio
import gc
import gzip
import io
import logging
import tempfile
import tracemalloc
import weakref
import zlib
from contextlib import contextmanager
from functools import partial
from operator import methodcaller

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from formation import wrap
from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge
from formation.http import Body, Factory, File, Response
from formation.http.multipart import Multipart
from formation.http.sources import CHUNK


class Ends(list):
    """What on_close hooks were told."""

    def __call__(self, count, error):
        self.append((count, error))

    @property
    def once(self):
        """The one count, and the kind of the one error."""
        [(count, error)] = self
        return count, type(error)


def watched(source, **settings):
    body, ends = Body(source, **settings), Ends()
    body.on_close(ends)
    return body, ends


class Source:
    """A source that counts what it gives and how often it is closed, and fails at the end if it is told to."""

    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks or (b"ab", b"cd", b"ef"), error
        self.given = self.closed = 0

    def __iter__(self):
        for chunk in self.chunks:
            self.given += 1
            yield chunk
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


class AsyncSource:
    """The same, async: it is neither read nor closed without waiting."""

    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks or (b"ab", b"cd", b"ef"), error
        self.given = self.closed = self.unwound = 0

    async def __aiter__(self):
        try:
            for chunk in self.chunks:
                self.given += 1
                await turn()
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.unwound += 1

    async def aclose(self):
        await turn()
        self.closed += 1


async def turn():
    """Let the event loop go round once, whichever it is."""
    if trio.lowlevel.in_trio_run():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def once(*chunks):
    for chunk in chunks:
        await turn()
        yield chunk


def run_asyncio(fn):
    return asyncio.run(fn())


LOOPS = {"asyncio": run_asyncio, "trio": trio.run}


@pytest.fixture(params=LOOPS)
def run(request):
    """Run an ``async def``, in each event loop."""
    return LOOPS[request.param]


@pytest.fixture
def plainly(run):
    """Run a plain function in an async chain."""

    async def endpoint(ctx):
        await turn()
        return ctx

    def plainly(fn):
        def layer(ctx, call):
            ctx["result"] = fn()
            return call(ctx)

        async def main():
            return (await wrap(endpoint, [layer])({}))["result"]

        return run(main)

    return plainly


@contextmanager
def collected_only_by_count():
    """What dies in here is in no reference cycle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# --- what it is ---


@pytest.mark.parametrize(
    ("source", "content"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        ("grün", b"gr\xc3\xbcn"),
        ("", b""),
        (None, b""),
    ],
)
def test_what_is_in_memory_is_bytes(source, content):
    body = Body(source)
    assert body.is_bytes
    assert not body.is_async
    assert body.replayable
    assert body.length == len(content)
    assert body.read() == content
    assert body.native == content


@pytest.mark.parametrize("source", [1, 1.5, object(), {"a": 1}, {}, len])
def test_what_is_no_body_is_refused_where_it_is_given(source):
    with pytest.raises(TypeError, match="expected bytes, str, a binary file or an iterable of bytes as body, got"):
        Body(source)


def test_bytes_are_the_very_object_that_was_given():
    source = b"x" * 100
    assert Body(source).native is Body(source).read() is Body(Body(source)).native is source


@pytest.mark.parametrize("kind", [list, Source, AsyncSource, io.BytesIO, once])
def test_a_stream_is_native_until_something_is_done_to_it(kind):
    source = kind()
    assert Body(source).native is source
    assert Body(source).fork().native is source
    assert Body(source).map(bytes.upper).native is None
    assert Body(source).length is None
    ended = Body(source, close=list)
    ended.close()
    assert ended.native is None


def test_a_stream_that_is_being_read_is_native_no_more():
    body = Body([b"a", b"b"])
    chunks = iter(body)
    assert body.native is None
    next(chunks)
    assert body.native is None


def test_asking_questions_leaves_a_stream_native():
    source = iter([b"a"])
    body = Body(source)
    assert (body.is_bytes, body.is_async, body.ended, body.length, body.replayable) == (
        False,
        False,
        False,
        None,
        False,
    )
    repr(body)
    body.on_close(print)
    assert body.native is source


def test_async_is_what_can_only_be_iterated_by_async_for():
    class Both:
        def __iter__(self):
            return iter([])

        def __aiter__(self):
            raise NotImplementedError

    assert Body(AsyncSource()).is_async
    assert Body(Body(AsyncSource())).is_async
    assert Body(AsyncSource()).fork().is_async
    assert Body(Factory(lambda: once(b"")).make()).is_async
    assert not Body(Both()).is_async
    assert not Body(b"").is_async


def test_a_function_is_async_if_that_can_be_seen():
    async def make():
        yield b""

    assert Body(Factory(make)).is_async
    assert not Body(Factory(list)).is_async


def test_a_repr_tells_the_size_and_the_state_and_no_content():
    assert repr(Body(b"s3cret")) == "<Body: 6 bytes>"
    body = Body(Source())
    assert repr(body) == "<Body: stream of Source>"
    iter(body)
    assert repr(body) == "<Body: stream of Source, being read>"
    body.close()
    assert repr(body) == "<Body: stream of Source, read or closed>"


# --- reading ---


def test_reading_takes_all_of_it_into_memory_and_closes_the_source():
    source = Source()
    body, ends = watched(source)
    assert body.read() == b"abcdef"
    assert source.closed == 1
    assert ends.once == (6, type(None))
    assert body.is_bytes
    assert body.ended
    assert body.read() == body.read() == b"abcdef"
    assert list(body) == list(body) == [b"abcdef"]
    assert body.length == 6
    assert len(ends) == 1


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


def test_a_file_is_read_in_large_pieces_not_in_lines():
    content = b"line\n" * 50_000
    assert [len(chunk) for chunk in Body(io.BytesIO(content))] == [CHUNK, CHUNK, CHUNK, len(content) - 3 * CHUNK]


def test_a_file_given_as_it_is_is_closed_at_the_end():
    file = io.BytesIO(b"abc")
    assert Body(file).read() == b"abc"
    assert file.closed


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


def test_a_file_in_text_mode_is_told_apart():
    with pytest.raises(TypeError, match="text mode: open it in binary mode"):
        Body(io.StringIO("text")).read()


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


def test_a_reader_that_never_started_does_not_end_it():
    body, ends = watched(Source())
    del (chunks := [iter(body)])[0]
    assert ends == chunks == []
    body.close()
    assert ends.once == (0, BodyAbandoned)


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


def fail(*_):
    raise ArithmeticError


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


def test_a_hook_may_be_added_by_a_hook():
    body, ends = Body([b"a"]), Ends()
    body.on_close(lambda *_: body.on_close(ends))
    body.read()
    assert ends.once == (1, type(None))


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


def test_bytes_are_changed_at_once():
    body = Body(b"abc").map(bytes.upper, lambda: b"!")
    assert body.native == body.read() == b"ABC!"
    assert body.map(bytes.lower) is body
    assert body.read() == b"abc!"


@pytest.mark.parametrize("source", [b"abc", [b"abc"]])
@pytest.mark.parametrize("maps", [(lambda chunk: None,), (bytes.upper, lambda: None), (lambda chunk: "text",)])
def test_a_map_that_returns_no_bytes_is_named(source, maps):
    with pytest.raises(TypeError, match=r"expected bytes from <function <lambda>.*, got (None|'text')"):
        Body(source).map(*maps).read()


def test_bytes_that_failed_to_be_mapped_stay_as_they_were():
    body = Body(b"abc")
    with pytest.raises(ArithmeticError):
        body.map(bytes.upper, fail)
    assert body.read() == b"abc"


def test_mapped_streams_have_no_length_and_cannot_be_sent_again():
    body = Body(File(io.BytesIO(b"abc")))
    assert (body.length, body.replayable) == (3, True)
    body.map(bytes.upper)
    assert (body.length, body.replayable) == (None, False)
    assert body.rewind()  # nobody has begun
    assert body.read() == b"ABC"


class Message:
    """What a body knows of its request or response."""

    def __init__(self, *, changeable=True):
        self.changeable, self.lengths = changeable, []

    def has_changeable_body(self):
        return self.changeable

    def body_changed(self, length):
        self.lengths.append(length)


@pytest.mark.parametrize(("source", "length"), [(b"abc", 4), ([b"abc"], None)])
def test_the_message_is_told_of_each_change(source, length):
    message, body = Message(), Body(source)
    body.attach(message)
    body.map(bytes.upper, lambda: b"!")
    assert message.lengths == [length]
    body.map(bytes.lower)
    assert message.lengths == [length, length]
    assert body.read() == b"abc!"


@pytest.mark.parametrize("source", [b"abc", [b"abc"]])
def test_where_there_is_no_body_to_change_a_map_is_silently_left_out(source):
    message, body = Message(changeable=False), Body(source)
    body.attach(message)
    assert body.map(fail, fail) is body
    assert body.native is source
    assert message.lengths == []


def test_a_body_does_not_keep_its_message_alive():
    message, body = Message(), Body([b"abc"])
    body.attach(message)
    gone = weakref.ref(message)
    with collected_only_by_count():
        del message
        assert gone() is None
    assert body.map(bytes.upper).read() == b"ABC"


# --- limits ---


def test_more_than_the_limit_is_not_read():
    source = Source(b"x" * 10, b"x" * 10, b"x" * 10)
    body, ends = watched(source, limit=15)
    with pytest.raises(BodyTooLarge) as caught:
        body.read()
    assert (caught.value.limit, caught.value.got) == (15, 20)
    assert source.given == 2
    assert source.closed == 1
    assert ends == [(20, caught.value)]
    with pytest.raises(BodyConsumed):
        body.read()


def test_the_limit_itself_is_allowed():
    assert Body([b"x" * 5] * 3, limit=15).read() == b"x" * 15
    assert Body([], limit=0).read() == b""


def test_the_limit_is_on_what_comes_out_of_the_maps():
    bomb = zlib.compress(b"\0" * 10_000_000)
    body = Body([bomb[i : i + 100] for i in range(0, len(bomb), 100)], limit=200_000)
    body.map(zlib.decompressobj().decompress)
    with pytest.raises(BodyTooLarge) as caught:
        body.read()
    assert caught.value.got < 1_000_000


def test_the_limit_is_for_memory_not_for_passing_on():
    assert sum(map(len, Body([b"x" * 10] * 5, limit=15))) == 50
    assert Body(b"x" * 50, limit=15).read() == b"x" * 50


# --- sending it again ---


def test_bytes_lists_files_functions_and_forms_can_be_sent_again():
    for source in (
        b"abc",
        [b"ab", b"c"],
        (b"ab", b"c"),
        File(io.BytesIO(b"abc")),
        Factory(lambda: iter([b"ab", b"c"])),
    ):
        body = Body(source)
        assert body.replayable
        for _ in range(3):
            assert b"".join(body) == b"abc"
            assert body.ended
            assert body.rewind()
            assert not body.ended


def test_a_form_can_be_sent_again():
    body = Body(Multipart({"a": "1"}, {"f": io.BytesIO(b"content")}))
    first = b"".join(body)
    assert body.rewind()
    assert b"".join(body) == first
    assert body.length == len(first)


def test_each_time_it_is_sent_its_end_is_told():
    body, ends = watched([b"ab"])
    list(body)
    body.rewind()
    body.on_close(again := Ends())
    assert again == []
    list(body)
    assert ends.once == again.once == (2, type(None))


@pytest.mark.parametrize("source", [iter([b"ab", b"cd"]), Source(), AsyncSource(), once(b"ab")])
def test_a_one_shot_stream_that_nobody_has_begun_is_at_its_start(source):
    body = Body(source)
    assert not body.replayable
    assert body.rewind()
    assert body.native is source


@pytest.mark.parametrize("begin", [list, iter, Body.close, Body.read])
def test_a_one_shot_stream_that_has_been_begun_does_not_go_back(begin):
    body = Body(Source())
    begin(body)
    assert body.rewind() is body.is_bytes  # what has been read is in memory


def test_a_mapped_file_that_has_been_begun_does_not_go_back():
    body = Body(File(io.BytesIO(b"abc"))).map(bytes.upper)
    list(body)
    assert not body.rewind()


def test_a_file_is_sent_from_where_it_stands():
    file = io.BytesIO(b"0123456789")
    file.seek(3)
    body = Body(File(file))
    assert body.length == 7
    assert b"".join(body) == b"3456789"
    file.seek(1)
    body.rewind()
    assert b"".join(body) == b"3456789"
    assert not file.closed


def test_a_file_that_grows_is_sent_as_long_as_it_was():
    file = io.BytesIO(b"0123456789")
    body = Body(File(file))
    file.seek(0, 2)
    file.write(b"more")
    assert body.read() == b"0123456789"


def test_a_file_that_has_shrunk_is_an_error_for_its_length_has_been_announced():
    file = io.BytesIO(b"0123456789")
    body, ends = watched(File(file))
    file.truncate(4)
    with pytest.raises(ValueError, match=r"expected 10 bytes from .*, got 4: it has been changed"):
        list(body)
    assert ends.once == (4, ValueError)


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(buffer)


def test_a_pipe_can_be_sent_once():
    body = Body(File(Pipe(b"abc")))
    assert (body.length, body.replayable) == (None, False)
    assert list(body) == [b"abc"]
    assert not body.rewind()
    assert not File(Pipe(b"")).rewind()


def test_what_only_reads_is_a_file_too():
    class Reader:
        def __init__(self):
            self.chunks = [b"ab", b"c", b""]

        def read(self, size):
            return self.chunks.pop(0)

    assert Body(File(Reader())).read() == b"abc"


def test_a_file_that_has_been_closed_does_not_go_back():
    file = io.BytesIO(b"abc")
    body = Body(File(file))
    list(body)
    file.close()
    assert not body.rewind()
    with pytest.raises(ValueError, match="closed file"):
        body.fork().read()


def test_a_text_file_is_refused_while_it_is_read_whatever_says_that_it_is_none():
    with tempfile.TemporaryFile("w+") as file:
        file.write("text")
        file.seek(0)
        with pytest.raises(TypeError, match="open it in binary mode"):
            list(File(file))


def test_what_a_function_makes_is_closed_after_each_time():
    made = []

    def make():
        made.append(Source())
        return made[-1]

    body = Body(Factory(make))
    assert b"".join(body) == b"abcdef"
    body.rewind()
    next(iter(body))
    assert [each.closed for each in made] == [1, 1]


def test_a_function_may_make_a_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"line\n" * 30_000)
    body = Body(Factory(lambda: path.open("rb")))
    assert [len(chunk) for chunk in body] == [CHUNK, CHUNK, 150_000 - 2 * CHUNK]


# --- forks ---


def test_what_is_done_to_a_fork_is_not_done_to_the_body():
    for source in (b"abc", [b"abc"], File(io.BytesIO(b"abc")), iter([b"abc"])):
        body = Body(source)
        fork = body.fork()
        assert fork.map(bytes.upper).read() == b"ABC"
        assert not body.ended or not body.replayable
        if body.replayable:
            assert body.fork().read() == b"abc"
            assert body.read() == b"abc"


def test_forks_of_what_can_be_replayed_are_sent_from_the_start_each():
    body = Body(File(io.BytesIO(b"abc")))
    first, second = body.fork(), body.fork()
    assert first.read() == second.read() == b"abc"
    assert first.length == second.length == 3


def test_forks_of_a_stream_share_it():
    body = Body(Source())
    first, second = body.fork(), body.fork()
    assert not first.replayable
    assert body.rewind()
    assert second.rewind()
    assert list(first) == [b"ab", b"cd", b"ef"]
    assert not body.rewind()
    assert not second.rewind()
    with pytest.raises(BodyConsumed):
        list(second)


def test_a_fork_has_the_limit_of_the_body():
    assert Body(b"", limit=5).fork().limit == Body(iter([]), limit=5).fork().limit == 5


def test_the_end_of_the_first_fork_is_the_end_that_the_bodys_hooks_are_told():
    for source in (b"abc", [b"abc"], File(io.BytesIO(b"abc")), iter([b"abc"])):
        body, ends = watched(source)
        fork = body.fork()
        fork.on_close(forks := Ends())
        assert list(fork) == [b"abc"]
        assert ends.once == forks.once == (3, type(None))


def test_closing_a_fork_of_a_stream_closes_the_stream():
    source = Source()
    body, ends = watched(source)
    body.fork().close()
    assert source.closed == 1
    assert ends.once == (0, BodyAbandoned)


# --- one body in the place of another ---


def test_a_generator_over_a_body_ends_it_when_it_has_pulled_it():
    source = Source()
    old, ends = watched(source)
    new, new_ends = watched(chunk.upper() for chunk in old)
    new.replace(old)
    assert list(new) == [b"AB", b"CD", b"EF"]
    assert ends.once == new_ends.once == (6, type(None))
    assert source.closed == 1


def test_a_generator_that_was_never_started_still_closes_what_it_would_have_pulled():
    source = Source()
    old, ends = watched(source)
    new, new_ends = watched(chunk.upper() for chunk in old)
    new.replace(old)
    new.close()
    assert ends.once == new_ends.once == (0, BodyAbandoned)
    assert source.closed == 1


def test_what_replaces_what_replaced_closes_all_the_way_down():
    source = Source()
    bodies = [watched(source)]
    for _ in range(5):
        new = watched(iter(bodies[-1][0]) for _ in ())
        new[0].replace(bodies[-1][0])
        bodies.append(new)
    error = ConnectionError()
    bodies[-1][0].close(error)
    assert [ends for _, ends in bodies] == [[(0, error)]] * 6
    assert source.closed == 1


def test_a_generator_that_stops_before_the_end_abandons_the_rest():
    source = Source()
    old, ends = watched(source)
    new = Body(iter([next(iter(old))]))
    new.replace(old)
    assert list(new) == [b"ab"]
    assert ends.once == (2, BodyAbandoned)
    assert source.closed == 1


def test_the_limit_is_inherited_unless_there_is_another():
    for limit, expected in ((None, 5), (9, 9)):
        new = Body([b""], limit=limit)
        new.replace(Body([b""], limit=5))
        assert new.limit == expected


def test_what_is_put_in_the_place_of_a_body_by_one_that_has_ended_is_closed_at_once():
    source, new = Source(), Body(b"")
    new.close()
    new.replace(Body(source))
    assert source.closed == 1


def test_a_body_that_has_ended_is_not_kept_by_the_next():
    old, new = Body(b"x"), Body(b"")
    list(old)
    new.replace(old)
    gone = weakref.ref(old)
    with collected_only_by_count():
        del old
        assert gone() is None


def test_a_body_in_a_body_is_read_mapped_and_closed_through():
    source = Source()
    inner, ends = watched(source)
    outer = Body(inner.map(bytes.upper)).map(lambda chunk: chunk + b".")
    assert outer.read() == b"AB.CD.EF."
    assert ends.once == (6, type(None))
    assert source.closed == 1
    assert Body(Body(File(io.BytesIO(b"abc")))).length == 3


# --- somebody has read it for us ---


def test_a_body_can_be_completed():
    source = Source()
    body, ends = watched(source)
    body.map(bytes.upper)
    body.complete(b"all of it")
    assert body.read() == b"all of it"
    assert body.ended
    assert ends.once == (9, type(None))
    assert source.closed == 1


def test_completing_what_has_ended_tells_nobody_again():
    body, ends = watched(Source())
    body.close()
    body.complete(b"abc")
    assert ends.once == (0, BodyAbandoned)
    assert body.read() == b"abc"


# --- async ---


def test_an_async_source_is_iterated_by_async_for(run):
    source = AsyncSource()
    body, ends = watched(source)

    async def main():
        return [chunk async for chunk in body.map(bytes.upper, lambda: b"!")]

    assert run(main) == [b"AB", b"CD", b"EF", b"!"]
    assert ends.once == (7, type(None))
    assert source.closed == source.unwound == 1


@pytest.mark.parametrize("kind", [AsyncSource, Source, partial(bytes, b"abcdef"), partial(once, b"abcdef")])
def test_anything_is_read_in_an_async_def(run, kind):
    source = kind()
    body, ends = watched(source)

    async def main():
        return await body.aread(), await body.aread(), [chunk async for chunk in body]

    assert run(main) == (b"abcdef", b"abcdef", [b"abcdef"])
    assert ends.once == (6, type(None))
    assert getattr(source, "closed", 1) == 1


def test_a_sync_source_is_iterated_by_async_for(run):
    source = Source()
    body, ends = watched(source)

    async def main():
        return [chunk async for chunk in body]

    assert run(main) == [b"ab", b"cd", b"ef"]
    assert ends.once == (6, type(None))
    assert source.closed == 1


def test_a_file_is_read_in_large_pieces_in_async_for_too(run):
    async def main():
        return [len(chunk) async for chunk in Body(io.BytesIO(b"line\n" * 20_000))]

    assert run(main) == [CHUNK, 100_000 - CHUNK]


def test_a_plain_function_on_the_bridge_reads_an_async_source(plainly):
    source = AsyncSource()
    body, ends = watched(source)
    assert plainly(body.read) == b"abcdef"
    assert ends.once == (6, type(None))
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


def test_a_generator_over_an_async_body_runs_on_the_bridge(plainly):
    source = AsyncSource()
    old = Body(source)

    def shouted(body):
        for chunk in body:
            yield chunk.upper()

    new = Body(shouted(old))
    new.replace(old)
    assert plainly(new.read) == b"ABCDEF"
    assert source.closed == 1


def test_an_error_of_an_async_source_reaches_the_plain_function(plainly):
    error = ConnectionError("reset")
    source = AsyncSource(b"ab", error=error)
    body, ends = watched(source)
    with pytest.raises(ConnectionError) as caught:
        plainly(body.read)
    assert caught.value is error
    assert ends == [(2, error)]
    assert source.closed == 1


@pytest.mark.parametrize("read", [list, iter, Body.read])
def test_reading_an_async_source_where_nothing_can_wait_says_what_to_do_and_does_no_harm(run, read):
    body = Body(AsyncSource())
    with pytest.raises(RuntimeError, match=r"is async, and .* 'await body\.aread\(\)' or 'async for chunk in body'"):
        read(body)
    assert run(body.aread) == b"abcdef"


def test_a_function_that_turns_out_to_be_async_says_so_too():
    body, ends = watched(Factory(lambda: once(b"ab")))
    with pytest.raises(RuntimeError, match="cannot be waited for here"):
        body.read()
    assert ends.once == (0, RuntimeError)


@pytest.mark.parametrize("make", [partial(once, b"ab", b"cd"), partial(list, [b"abcd"]), partial(io.BytesIO, b"abcd")])
def test_a_function_may_make_anything_for_async_for(run, make):
    body = Body(Factory(make))

    async def main():
        first = b"".join([chunk async for chunk in body])
        assert body.rewind()
        return first, await body.aread()

    assert run(main) == (b"abcd", b"abcd")


def test_what_a_function_makes_is_closed_in_async_for_too(run):
    made = []

    async def asynchronous():
        made.append([])
        try:
            yield b"ab"
            yield b"cd"
        finally:
            await turn()
            made[-1].append("closed")

    source = Source()

    async def main():
        for body in (Body(Factory(asynchronous)), Body(Factory(lambda: source))):
            chunks = aiter(body)
            assert await anext(chunks) == b"ab"
            await chunks.aclose()

    run(main)
    assert made == [["closed"]]
    assert source.closed == 1


def test_what_a_function_makes_is_closed_even_by_awaiting(run, plainly):
    made = []

    def make():
        made.append(AsyncSource())
        return made[-1]

    body = Body(Factory(make))
    assert run(body.fork().aread) == plainly(body.fork().read) == b"abcdef"
    with pytest.raises(RuntimeError, match="cannot be waited for here"):
        body.read()
    assert [each.closed for each in made] == [1, 1, 0]


def test_an_async_function_is_sent_again_from_plain_functions(plainly):
    async def make():
        yield b"ab"

    body = Body(Factory(make))
    assert plainly(body.fork().read) == plainly(body.fork().read) == b"ab"


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


def test_more_than_the_limit_is_not_read_in_an_async_def(run):
    source = AsyncSource(b"x" * 10, b"x" * 10, b"x" * 10)
    body, ends = watched(source, limit=15)
    with pytest.raises(BodyTooLarge) as caught:
        run(body.aread)
    assert ends == [(20, caught.value)]
    assert source.given == 2
    assert source.closed == source.unwound == 1


def test_within_the_limit_is_read_in_an_async_def(run):
    assert run(Body(AsyncSource(), limit=6).aread) == b"abcdef"


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


def test_an_async_iterator_without_aclose_is_fine(run, plainly):
    class Bare:
        def __init__(self):
            self.left = [b"a", b"b"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            await turn()
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    assert run(Body(Bare()).aread) == b"ab"
    assert plainly(Body(Bare()).read) == b"ab"
    assert run(Body(Factory(Bare)).aread) == b"ab"

    def first():
        return next(iter(Body(Bare())))

    assert plainly(first) == b"a"


def test_a_body_in_a_body_is_read_in_an_async_def(run):
    inner, ends = watched(AsyncSource())
    outer = Body(inner).map(bytes.upper)
    assert run(outer.aread) == b"ABCDEF"
    assert ends.once == (6, type(None))


def test_a_body_in_a_body_is_read_on_the_bridge(plainly):
    inner, ends = watched(AsyncSource())
    assert plainly(Body(inner).map(bytes.upper).read) == b"ABCDEF"
    assert ends.once == (6, type(None))


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


def test_nothing_keeps_a_body_alive_once_it_is_let_go():
    def begin(body):
        next(iter(body))

    def abandon(body):
        chunks = iter(body)
        next(chunks)
        chunks.close()

    def fail(body):
        body.map(lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            body.read()

    with collected_only_by_count():
        for use in (Body.read, Body.close, begin, abandon, fail, repr):
            for source in (Source(), [b"ab"], iter([b"ab"]), File(io.BytesIO(b"ab"))):
                body = Body(source)
                body.map(bytes.upper)
                body.on_close(lambda *_: None)
                use(body)
                gone = weakref.ref(body)
                del body, source
                assert gone() is None, use


def test_nothing_keeps_an_async_body_alive_once_it_is_let_go(run):
    with collected_only_by_count():
        body = Body(AsyncSource()).map(bytes.upper)
        run(body.aread)
        gone = weakref.ref(body)
        del body
        assert gone() is None


def test_an_error_does_not_hold_the_frames_that_hold_the_body():
    def middleware(body):
        return list(body)

    with collected_only_by_count():
        body = Body([b"ab"]).map(fail)
        gone = weakref.ref(body)
        try:
            middleware(body)
        except ArithmeticError:
            del body
        assert gone() is None


# --- all of it, in any order ---


class AnyOrder(RuleBasedStateMachine):
    """A body against a model of a few lines, through any sequence of calls."""

    KINDS = ("bytes", "list", "once", "file", "function")

    @initialize(kind=st.sampled_from(KINDS), chunks=st.lists(st.binary(max_size=3), max_size=4))
    def make(self, kind, chunks):
        content = b"".join(chunks)
        self.source = {
            "bytes": lambda: content,
            "list": lambda: chunks,
            "once": lambda: iter(chunks),
            "file": lambda: File(io.BytesIO(content)),
            "function": lambda: Factory(lambda: iter(chunks)),
        }[kind]()
        self.body = Body(self.source)
        self.chunks = {"bytes": [content], "file": [content]}.get(kind, chunks)
        self.in_memory = kind == "bytes"
        self.kind = kind
        self.maps = []
        self.fresh()
        self.pending = []  # hooks to be told
        self.readers = []  # [iterator, what it will give, whether it has started]

    def fresh(self):
        self.begun = self.over = False
        self.count = 0
        self.error = type(None)
        self.current = None

    @property
    def out(self):
        """The chunks that come out of the maps."""
        chunks = self.chunks
        for fn in self.maps:
            chunks = [fn(chunk) for chunk in chunks]
        return [chunk for chunk in chunks if chunk]

    @property
    def replayable(self):
        return self.in_memory or (self.kind in {"list", "file", "function"} and not self.maps)

    @property
    def length(self):
        return sum(map(len, self.out)) if self.in_memory or (self.kind == "file" and not self.maps) else None

    def end(self, error):
        self.over, self.error, self.current = True, error, None
        for ends in self.pending:
            assert ends.once == (self.count, error)
        self.pending = []

    def abandon(self):
        self.end(type(None) if self.count == self.length else BodyAbandoned)

    def refused(self, call):
        with pytest.raises(BodyConsumed):
            call()

    @rule(fn=st.sampled_from([bytes.upper, bytes.swapcase, lambda chunk: chunk * 2, lambda chunk: chunk[1:]]))
    def map(self, fn):
        if self.in_memory:
            assert self.body.map(fn) is self.body
            self.chunks = [fn(b"".join(self.chunks))]
        elif self.begun or self.over:
            self.refused(lambda: self.body.map(fn))
        else:
            assert self.body.map(fn) is self.body
            self.maps.append(fn)

    @rule()
    def read(self):
        if not self.in_memory and (self.begun or self.over):
            self.refused(self.body.read)
            return
        content = b"".join(self.out)
        assert self.body.read() == content
        if not self.in_memory:
            self.count = len(content)
            self.end(type(None))
            self.chunks, self.maps, self.in_memory = [content], [], True

    @rule()
    def iterate(self):
        if not self.in_memory and (self.begun or self.over):
            self.refused(lambda: iter(self.body))
        elif self.in_memory:
            assert list(self.body) == self.out
            if self.out:
                self.count = len(self.out[0])
            if not self.over:
                self.end(type(None))
        else:
            self.begun = True
            self.current = [iter(self.body), self.out, False]
            self.readers.append(self.current)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def step(self, data):
        reader = data.draw(st.sampled_from(self.readers))
        chunks, left, _ = reader
        if reader is not self.current:
            with pytest.raises((BodyConsumed, StopIteration)):
                next(chunks)
        elif left:
            assert next(chunks) == left[0]
            self.count += len(left[0])
            reader[1:] = left[1:], True
        else:
            with pytest.raises(StopIteration):
                next(chunks)
            self.end(type(None))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data):
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        reader[0].close()
        if reader is self.current and reader[2]:
            self.abandon()

    @rule(error=st.sampled_from([None, ConnectionError()]))
    def close(self, error):
        self.body.close(error)
        if not self.over:
            self.abandon() if error is None else self.end(ConnectionError)

    @rule()
    def rewind(self):
        possible = self.replayable or not (self.begun or self.over)
        assert self.body.rewind() is possible
        if possible:
            self.fresh()

    @rule()
    def hook(self):
        ends = Ends()
        self.body.on_close(ends)
        if self.over:
            assert ends.once == (self.count, self.error)
        else:
            self.pending.append(ends)

    @rule()
    def fork(self):
        assert self.body.fork().replayable is self.replayable

    @invariant()
    def says_what_it_is(self):
        if not hasattr(self, "body"):
            return
        assert self.body.is_bytes is self.in_memory
        assert self.body.ended is self.over
        assert self.body.length == self.length
        assert self.body.replayable is self.replayable
        assert all(ends == [] for ends in self.pending)
        untouched = not (self.begun or self.over or self.maps)
        if untouched and not self.in_memory:
            assert self.body.native is self.source
        elif not untouched:
            assert self.body.native is None


TestAnyOrder = AnyOrder.TestCase


# A host that pushes


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
