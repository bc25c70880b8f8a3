"""What comes compressed, in pieces of any size; what every edge makes of it is in ``test_edges_responses.py``."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.client import wire
from formation.client.unpacking import is_ours, keeps_limits, unpacking
from formation.errors import BodyTooLarge, ProtocolError
from formation.http import Request
from formation.http.codings import packer_of
from formation.http.unpackers import LIMITS, Limits

GZIP = {"Content-Encoding": "gzip"}


def unpacked(chunks, headers=GZIP):
    unpack = unpacking(headers)
    return [piece for chunk in [*chunks, b""] for piece in unpack(chunk)]


def cut(content, size):
    return [content[at : at + size] for at in range(0, len(content), size)]


@given(
    st.lists(st.binary(max_size=500), min_size=1, max_size=4),
    st.integers(1, 200),
    st.sampled_from([b"", b"\0", b"xyz"]),
)
def test_members_come_out_whole_whatever_pieces_they_come_in_and_whatever_follows(members, size, padding):
    packed = b"".join(map(gzip.compress, members)) + padding
    assert b"".join(unpacked(cut(packed, size))) == b"".join(members)


@given(st.binary(max_size=500), st.integers(1, 200), st.data())
def test_what_is_cut_off_anywhere_is_an_error(content, size, data):
    packed = gzip.compress(content)
    packed = packed[: data.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(ProtocolError, match="cut off"):
        unpacked(cut(packed, size))


def test_a_piece_is_no_larger_than_a_chunk_however_much_comes_of_it():
    pieces = unpacked([gzip.compress(bytes(1_000_100))])
    assert sum(map(len, pieces)) == 1_000_100
    assert max(map(len, pieces)) <= wire.CHUNK


@pytest.mark.parametrize("headers", [GZIP, {"Content-Encoding": "deflate"}, {}])
def test_no_body_is_no_error(headers):
    assert unpacked([], headers) == []


def test_deflate_is_undone_and_what_nobody_knows_is_left_alone():
    assert unpacked([zlib.compress(b"hello")], {"Content-Encoding": "deflate"}) == [b"hello"]
    assert unpacked([b"hello"], {"Content-Encoding": "compress"}) == [b"hello"]


def test_what_is_no_gzip_is_an_error():
    with pytest.raises(ProtocolError, match="not what Content-Encoding says"):
        unpacked([b"hello"])


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_every_coding_is_undone_and_several_are(coding):
    packer = packer_of(coding)
    packed = packer.pack(gzip.compress(b"hello")) + packer.finish()
    assert b"".join(unpacked(cut(packed, 3), {"Content-Encoding": f"x-gzip, {coding.upper()}"})) == b"hello"


def test_what_has_no_encoding_or_one_that_nobody_knows_is_not_ours():
    assert is_ours({"Content-Encoding": " X-GZIP"})
    assert is_ours({"Content-Encoding": "gzip, br"})
    assert not is_ours({"Content-Encoding": "gzip, compress"})
    assert not is_ours({"Content-Encoding": "identity"})
    assert not is_ours({})


def test_limits_of_the_request_are_kept_and_said_to_be():
    limits = Limits(20)
    unpack = unpacking(GZIP, Request("GET", "https://h/", extensions={LIMITS: limits}))
    assert limits.are_kept
    with pytest.raises(BodyTooLarge):
        list(unpack(gzip.compress(bytes(3_000_000))))


def test_there_need_be_none():
    assert keeps_limits(Request("GET", "https://h/")) is None
