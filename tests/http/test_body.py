"""Bodies as a whole: in memory or not, how large, whose, sent again, and in the place of another."""

import io
import weakref
import zlib
from functools import partial

import pytest

from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge
from formation.http import Body, Factory, File
from tests.http.bodies import AsyncSource, Ends, Source, collected_only_by_count, fail, once, watched

# --- what it is ---


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


# --- maps ---


def test_bytes_are_changed_at_once():
    body = Body(b"abc").map(bytes.upper, lambda: b"!")
    assert body.native == body.read() == b"ABC!"
    assert body.map(bytes.lower) is body
    assert body.read() == b"abc!"


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


def test_a_watcher_that_raises_ends_what_somebody_has_read_for_us():
    source = Source()
    body, ends = watched(source)
    body.watch(fail)
    with pytest.raises(ArithmeticError):
        body.complete(b"all")
    assert (ends.once, source.closed) == ((3, ArithmeticError), 1)


def test_completing_what_has_ended_tells_nobody_again():
    body, ends = watched(Source())
    body.close()
    body.complete(b"abc")
    assert ends.once == (0, BodyAbandoned)
    assert body.read() == b"abc"


# --- async ---


@pytest.mark.parametrize("kind", [AsyncSource, Source, partial(bytes, b"abcdef"), partial(once, b"abcdef")])
def test_anything_is_read_in_an_async_def(run, kind):
    source = kind()
    body, ends = watched(source)

    async def main():
        return await body.aread(), await body.aread(), [chunk async for chunk in body]

    assert run(main) == (b"abcdef", b"abcdef", [b"abcdef"])
    assert ends.once == (6, type(None))
    assert getattr(source, "closed", 1) == 1


def test_a_plain_function_on_the_bridge_reads_an_async_source(plainly):
    source = AsyncSource()
    body, ends = watched(source)
    assert plainly(body.read) == b"abcdef"
    assert ends.once == (6, type(None))
    assert source.closed == source.unwound == 1


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


@pytest.mark.parametrize("read", [list, iter, Body.read])
def test_reading_an_async_source_where_nothing_can_wait_says_what_to_do_and_does_no_harm(run, read):
    body = Body(AsyncSource())
    with pytest.raises(RuntimeError, match=r"is async, and .* 'await body\.aread\(\)' or 'async for chunk in body'"):
        read(body)
    assert run(body.aread) == b"abcdef"


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


def test_a_body_in_a_body_is_read_in_an_async_def(run):
    inner, ends = watched(AsyncSource())
    outer = Body(inner).map(bytes.upper)
    assert run(outer.aread) == b"ABCDEF"
    assert ends.once == (6, type(None))


def test_a_body_in_a_body_is_read_on_the_bridge(plainly):
    inner, ends = watched(AsyncSource())
    assert plainly(Body(inner).map(bytes.upper).read) == b"ABCDEF"
    assert ends.once == (6, type(None))


# --- memory ---


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
