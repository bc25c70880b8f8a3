"""Content codings: what is packed here, by others, in any pieces, stacked, cut off, and made to explode."""

import gzip
import random
import sys
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formation.errors import BodyTooLarge
from formation.http import codings
from formation.http.codings import LEVELS, available, codings_of, packer_of
from formation.http.unpackers import STACKED, Undecodable, can_unpack, unpacker_of, within_ratio
from tests.bombs import BOMBS

EVERY = pytest.mark.parametrize("coding", available())
PIECES = 100_000  # what brotli gives at most where it is asked for 65 536


def packed(coding, content, level=None):
    packer = packer_of(coding, level)
    return packer.pack(content) + packer.finish()


def unpacked(names, chunks):
    unpack = unpacker_of(names)
    return [piece for chunk in [*chunks, b""] for piece in unpack(chunk)]


def cut(content, size):
    return [content[at : at + size] for at in range(0, len(content), size)]


def test_all_that_the_extra_brings_is_there_the_best_first():
    assert available() == ("zstd", "br", "gzip", "deflate")


@EVERY
@given(content=st.binary(max_size=2000), size=st.integers(1, 300))
def test_what_is_packed_comes_out_whatever_pieces_it_comes_in(coding, content, size):
    assert b"".join(unpacked([coding], cut(packed(coding, content), size))) == content


@EVERY
@pytest.mark.parametrize("content", [bytes(3_000_000), random.Random(1).randbytes(300_000), b"a" * 65_536])
def test_no_piece_is_large_whatever_comes_of_it(coding, content):
    pieces = unpacked([coding], [packed(coding, content)])
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECES


@EVERY
@given(content=st.binary(min_size=1, max_size=500), size=st.integers(1, 100), data=st.data())
def test_what_is_cut_off_anywhere_is_never_taken_for_whole(coding, content, size, data):
    whole = packed(coding, content)
    short = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(Undecodable, match="cut off") as caught:
        unpacked([coding], cut(short, size))
    assert caught.value.is_cut_off


@EVERY
def test_no_body_is_no_error(coding):
    assert unpacked([coding], []) == []


@EVERY
def test_what_has_been_flushed_can_be_unpacked_at_once(coding):
    packer, unpack = packer_of(coding), unpacker_of([coding])
    for word in (b"one", b"two", b"three"):
        assert b"".join(unpack(packer.pack(word) + packer.flush())) == word
    assert list(unpack(packer.finish())) == list(unpack(b"")) == []


@EVERY
@given(st.binary(min_size=1, max_size=300))
def test_what_is_no_such_coding_is_undecodable_or_a_body(coding, junk):
    with suppress(Undecodable):
        unpacked([coding], [junk])


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_plain_text_is_undecodable(coding):
    with pytest.raises(Undecodable, match="not what Content-Encoding says"):
        unpacked([coding], [b"hello, this is plain text"])


@EVERY
def test_a_flipped_byte_in_the_middle_is_no_hang(coding):
    whole = bytearray(packed(coding, random.Random(2).randbytes(5000)))
    whole[2500] ^= 0xFF
    with suppress(Undecodable):
        unpacked([coding], cut(bytes(whole), 100))


@given(
    st.sampled_from(["gzip", "zstd"]),
    st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    st.integers(1, 100),
    st.sampled_from([b"", b"\0", b"xyz", bytes(2000)]),
)
def test_members_come_out_whole_and_padding_does_not(coding, members, size, padding):
    joined = b"".join(packed(coding, member) for member in members) + padding
    assert b"".join(unpacked([coding], cut(joined, size))) == b"".join(members)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_that_only_keep_us_busy_are_refused(coding):
    empty, block = packed(coding, b""), packed(coding, random.Random(4).randbytes(600))
    assert unpacked([coding], cut(empty * 900, 1000)) == []
    with pytest.raises(Undecodable, match="the body has 1001 members or more, of under 512 bytes each"):
        unpacked([coding], cut(empty * 2000, 1000))
    assert len(b"".join(unpacked([coding], cut(block * 2000, 1000)))) == 600 * 2000


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("left", [1, 2, 3, 5, 8])
def test_a_second_member_that_is_cut_off_is_not_taken_for_padding(coding, left):
    one = packed(coding, b"hello")
    with pytest.raises(Undecodable, match="cut off"):
        unpacked([coding], [one + one[:left]])


@given(st.lists(st.sampled_from(available()), min_size=1, max_size=STACKED), st.binary(max_size=500))
def test_codings_on_top_of_each_other_are_undone_in_their_order(names, content):
    body = content
    for name in names:
        body = packed(name, body)
    assert b"".join(unpacked(names, cut(body, 50))) == content


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_deflate_is_zlib_and_what_old_servers_take_for_it(size):
    content = b"hello " * 5000
    bare = zlib.compressobj(wbits=-15)
    for body in (zlib.compress(content), bare.compress(content) + bare.flush(), gzip.compress(content)):
        assert b"".join(unpacked(["deflate"], cut(body, size))) == content


@pytest.mark.parametrize("size", range(65_530, 66_100, 3))
def test_what_zlib_has_taken_in_and_not_given_yet_is_not_forgotten(size):
    bare = zlib.compressobj(wbits=-15)
    assert b"".join(unpacked(["deflate"], [bare.compress(bytes(size)) + bare.flush()])) == bytes(size)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip", "zstd"])
def test_what_comes_after_the_end_is_not_looked_at(coding):
    assert unpacked([coding], [packed(coding, b"hello"), b"\0\0\0\0", b"more"]) == [b"hello"]


def test_gzip_with_all_its_optional_fields_is_undone():
    file = BytesIO()
    with gzip.GzipFile("name.txt", "wb", fileobj=file, mtime=1) as out:
        out.write(b"hello")
    assert b"".join(unpacked(["gzip"], cut(file.getvalue(), 1))) == b"hello"


def test_a_window_over_8_mib_is_refused():
    zstd = codings.zstd_library()
    options = {zstd.CompressionParameter.window_log: 24}
    packer = zstd.ZstdCompressor(options=options)
    body = packer.compress(b"hello", packer.FLUSH_BLOCK) + packer.flush()
    with pytest.raises(Undecodable, match="too much memory"):
        unpacked(["zstd"], [body])


@pytest.mark.parametrize("level", [3, 19, 20, 22])
def test_and_none_is_made_at_any_level(level):
    packer = packer_of("zstd", level)
    body = packer.pack(bytes(100)) + packer.flush() + packer.finish()
    assert b"".join(unpacked(["zstd"], [body])) == bytes(100)


@EVERY
def test_more_effort_makes_it_no_larger(coding):
    content = b"".join(b"user %d, " % number for number in range(3000))
    usual, least, most = LEVELS[coding]
    sizes = [len(packed(coding, content, level)) for level in (least, usual, most)]
    assert sizes[0] > sizes[2]
    assert len(packed(coding, content)) == sizes[1]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("gzip", ["gzip"]),
        (" X-GZip ", ["gzip"]),
        ("gzip, identity,, br", ["gzip", "br"]),
        ("", []),
        ("identity", []),
        ("compress", ["compress"]),
    ],
)
def test_a_content_encoding_is_a_list(value, names):
    assert codings_of(value) == names


def test_what_nobody_knows_or_is_too_much_cannot_be_undone():
    assert can_unpack([])
    assert can_unpack(["gzip"] * STACKED)
    assert not can_unpack(["gzip"] * (STACKED + 1))
    assert not can_unpack(["compress"])


@pytest.mark.parametrize("coding", BOMBS)
def test_10_gib_are_unpacked_in_constant_memory(coding):
    """A part of it, for the time it takes; each piece is as the next."""
    unpack, size, chunks = unpacker_of([coding]), 0, cut(BOMBS[coding](), 65_536)
    tracemalloc.start()
    try:
        for piece in (piece for chunk in chunks for piece in unpack(chunk)):
            size += len(piece)
            if size > 200_000_000:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 200_000_000
    assert peak < 3_000_000


@EVERY
def test_a_ratio_is_kept_to_after_the_first_mebibyte(coding):
    bomb = packed(coding, bytes(30_000_000))
    guarded, size = within_ratio(unpacker_of([coding]), 20), 0
    with pytest.raises(BodyTooLarge, match="max_ratio, 20 times what came") as caught:  # noqa: PT012
        for chunk in cut(bomb, 65_536):
            for piece in guarded(chunk):
                size += len(piece)
    assert caught.value.ratio == 20
    assert caught.value.limit - PIECES <= size <= caught.value.limit
    guarded = within_ratio(unpacker_of([coding]), 20)
    assert len(b"".join(guarded(packed(coding, bytes(1_000_000))))) == 1_000_000


@settings(max_examples=20)
@given(st.binary(max_size=2000))
def test_no_ratio_is_no_limit(content):
    assert b"".join(within_ratio(unpacker_of(["gzip"]), None)(packed("gzip", content))) == content


def test_libraries_are_there_or_they_are_not(monkeypatch):
    assert codings.zstd_library()
    assert codings.brotli_library()
    for name in ("compression", "backports", "brotli"):
        monkeypatch.setitem(sys.modules, name, None)
    assert codings.zstd_library.__wrapped__() is codings.brotli_library.__wrapped__() is None


def test_a_brotli_that_cannot_be_stopped_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(Decompressor=object))
    assert codings.brotli_library.__wrapped__() is None


def test_what_is_not_installed_is_not_there(monkeypatch):
    monkeypatch.setattr(codings, "zstd_library", lambda: None)
    monkeypatch.setattr(codings, "brotli_library", lambda: None)
    assert available.__wrapped__() == ("gzip", "deflate")
