"""Bodies that are packed or unpacked on their way."""

import asyncio
from io import BytesIO

import pytest

from formation.errors import BodyConsumed
from formation.http import Body
from formation.http.recoded import recoded
from formation.http.sources import Factory, File


def thrice():
    def pieces(chunk):
        for _ in range(3):
            yield chunk or b"."

    return pieces


async def later(*chunks):
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def read(body):
    return [chunk async for chunk in body]


def test_any_number_of_pieces_comes_of_a_chunk_and_of_the_end():
    assert list(recoded(Body(iter([b"a", b"b"])), thrice)) == [b"a"] * 3 + [b"b"] * 3 + [b"."] * 3


def test_what_is_awaited_stays_so():
    body = recoded(Body(later(b"a")), thrice)
    assert body.is_async
    assert asyncio.run(read(body)) == [b"a"] * 3 + [b"."] * 3


def test_an_async_client_reads_what_can_only_be_iterated():
    assert asyncio.run(read(recoded(Body(iter([b"a"])), thrice))) == [b"a"] * 3 + [b"."] * 3


@pytest.mark.parametrize("source", [[b"a"], File(BytesIO(b"a")), Factory(lambda: iter([b"a"])), b"a"])
def test_what_can_be_sent_again_still_can_and_by_two_at_a_time(source):
    body = recoded(Body(source), thrice)
    assert body.replayable
    one, other = iter(body.fork()), iter(body.fork())
    assert next(one) == next(other) == b"a"
    assert body.rewind()
    assert body.read() == b"aaa..."
    assert body.length == 6


def test_what_cannot_is_refused_once_it_has_begun():
    body = recoded(Body(iter([b"a"])), thrice)
    assert not body.replayable
    assert body.rewind()
    list(body)
    assert not body.rewind()
    with pytest.raises(BodyConsumed):
        list(body)


def test_an_async_source_is_closed_with_it():
    ended = []

    async def source():
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(True)

    async def main():
        old = Body(source())
        body = recoded(old, thrice)
        body.replace(old)
        async for _ in body:
            break
        await body.aclose()

    asyncio.run(main())
    assert ended == [True]


def broken():
    def pieces(chunk):
        yield chunk
        raise ValueError

    return pieces


@pytest.mark.parametrize("chunks", [lambda: iter([b"ab", b"c"]), lambda: [b"ab", b"c"]], ids=["once", "again"])
def test_what_cannot_be_recoded_is_told_to_who_waits_for_the_end_of_what_it_comes_of(chunks):
    body, awaited, ends = Body(chunks()), Body(later(b"ab", b"c")), []
    for each in (body, awaited):
        each.on_close(lambda count, error: ends.append((count, type(error))))
    with pytest.raises(ValueError, match=r"^$"):
        recoded(body, broken).read()
    with pytest.raises(ValueError, match=r"^$"):
        asyncio.run(recoded(awaited, broken).aread())
    assert ends == [(2, ValueError), (2, ValueError)]


def test_the_limit_is_that_of_the_body():
    assert recoded(Body(b"a", limit=7), thrice).limit == 7
