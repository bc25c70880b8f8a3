"""What bodies are made of: bytes, files, functions, and what is async."""

import io
import tempfile
from functools import partial

import pytest

from formation.errors import BodyConsumed
from formation.http import Body, Factory, File
from formation.http.multipart import Multipart
from formation.http.sources import CHUNK
from tests.http.bodies import AsyncSource, Source, once, turn, watched

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


# --- reading ---


def test_a_file_is_read_in_large_pieces_not_in_lines():
    content = b"line\n" * 50_000
    assert [len(chunk) for chunk in Body(io.BytesIO(content))] == [CHUNK, CHUNK, CHUNK, len(content) - 3 * CHUNK]


def test_a_file_given_as_it_is_is_closed_at_the_end():
    file = io.BytesIO(b"abc")
    assert Body(file).read() == b"abc"
    assert file.closed


def test_a_file_in_text_mode_is_told_apart():
    with pytest.raises(TypeError, match="text mode: open it in binary mode"):
        Body(io.StringIO("text")).read()


# --- sending it again ---


def test_a_form_can_be_sent_again():
    body = Body(Multipart({"a": "1"}, {"f": io.BytesIO(b"content")}))
    first = b"".join(body)
    assert body.rewind()
    assert b"".join(body) == first
    assert body.length == len(first)


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


def test_a_file_that_stands_behind_its_end_is_empty():
    file = io.BytesIO(b"abc")
    file.seek(100)
    body = Body(File(file))
    assert (body.length, list(body), file.tell()) == (0, [], 100)


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


def test_a_text_file_behind_a_wrapper_is_refused_at_once():
    with tempfile.NamedTemporaryFile("w+") as file, pytest.raises(TypeError, match="open it in binary mode"):
        File(file)
    with tempfile.SpooledTemporaryFile() as file:  # which has an encoding only if it is opened in text mode
        file.write(b"abc")
        file.seek(1)
        assert list(File(file)) == [b"bc"]


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


def counted():
    """A function that makes generators, and how many of them are in the middle."""
    open_ = []

    def make():
        open_.append(1)
        try:
            yield b"ab"
            yield b"cd"
        finally:
            open_.pop()

    return make, open_


def test_what_a_function_makes_is_closed_with_the_body_even_where_its_reader_lives_on():
    make, open_ = counted()
    body = Body(Factory(make))
    reader = iter(body)
    assert (next(reader), open_) == (b"ab", [1])
    body.close()
    assert open_ == []
    with pytest.raises(BodyConsumed):
        next(reader)


def test_what_a_failed_attempt_has_made_is_closed_before_the_next_one():
    make, open_ = counted()
    body = Body(Factory(make))
    reader = iter(body)
    next(reader)
    assert body.rewind()
    assert open_ == []
    assert list(body) == [b"ab", b"cd"]
    with pytest.raises(BodyConsumed):
        next(reader)


def test_a_function_may_make_a_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"line\n" * 30_000)
    body = Body(Factory(lambda: path.open("rb")))
    assert [len(chunk) for chunk in body] == [CHUNK, CHUNK, 150_000 - 2 * CHUNK]


# --- async ---


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
