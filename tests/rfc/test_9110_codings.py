"""RFC 9110: what sections 8.4, 12.4, 12.5 and 7.7 ask of a server that packs, on every host, through `compress`; and of
one that unpacks, through `decompress`.

Each case names its section and says the rule in a sentence.
"""

import gzip

import pytest

from formation.http.codings import codings_of, packer_of
from formation.http.unpackers import unpacker_of
from formation.middleware import compress, decompress
from tests.middleware.hosts import Reply, answered, every_host

TEXT = b"a text that repeats itself. " * 100

ACCEPTED = [
    # section, the rule, Accept-Encoding, the coding of the answer
    ("12.5.3", "without the header any coding will do, and none does no harm", None, None),
    ("12.5.3", "an empty one wants none", "", None),
    ("12.5.3", "a coding that is listed is acceptable", "gzip", "gzip"),
    ("12.5.3", "unless its weight is 0", "gzip;q=0", None),
    ("12.5.3", "of several, that of the highest weight", "gzip;q=0.2, br;q=0.8", "br"),
    ("12.5.3", "of several, that of the highest weight, in any order", "br;q=0.2, gzip;q=0.8", "gzip"),
    ("12.5.3", "an asterisk is any that is not listed", "*", "zstd"),
    ("12.5.3", "an asterisk is any that is not listed, so not one that is refused", "zstd;q=0, br;q=0, *", "gzip"),
    ("12.5.3", "identity is acceptable where nobody refuses it", "compress", None),
    ("12.5.3", "identity that is liked better is sent", "gzip;q=0.5, identity;q=0.8", None),
    ("12.5.3", "where nothing is acceptable it is sent without a coding (SHOULD)", "compress;q=1, gzip;q=0", None),
    ("12.5.3", "also where identity is refused with all else: 406 is not a must (15.5.7)", "*;q=0", None),
    ("12.5.3", "identity may be refused", "identity;q=0, gzip;q=0.1", "gzip"),
    ("12.5.3", "identity may be refused by an asterisk", "*;q=0, br", "br"),
    ("12.4.2", "no weight is 1", "gzip, br;q=0.9, zstd;q=0.9", "gzip"),
    ("12.4.2", "0.000 is 0", "gzip;q=0.000", None),
    ("12.4.2", "three digits count", "gzip;q=0.101, br;q=0.102", "br"),
    ("8.4.1", "names are case-insensitive", "GZIP", "gzip"),
    ("8.4.1.3", "x-gzip is gzip (SHOULD)", "x-gzip", "gzip"),
    ("5.6.1.2", "empty members of a list are ignored (MUST)", ",, gzip ,", "gzip"),
    ("5.6.3", "spaces around are optional (MUST take)", "gzip ; q=0.5 ,br; q=0.6", "br"),
]


@every_host
@pytest.mark.parametrize("rule", ACCEPTED, ids=lambda rule: f"{rule[0]} {rule[1]}")
def test_sections_8_4_and_12_5_3(host, rule):
    _, _, accept, expected = rule
    headers = {} if accept is None else {"Accept-Encoding": accept}
    got = answered(host, [compress()], Reply(200, [("ETag", '"a"')], [TEXT]), headers=headers)
    assert got.status == 200
    assert got.lines("content-encoding") == ([] if expected is None else [expected])
    unpack = unpacker_of([] if expected is None else [expected])
    assert b"".join([*unpack(got.body), *unpack(b"")]) == TEXT
    assert "Accept-Encoding" in got.lines("vary")[0], "12.5.5: Vary, whatever it came to (SHOULD)"
    assert got.lines("etag") == (['"a"'] if expected is None else ['W/"a"']), "8.8.1: other bytes, no strong tag (MUST)"


@every_host
def test_section_7_7_what_must_not_be_transformed_is_not(host):
    reply = Reply(200, [("Cache-Control", "no-transform, max-age=9")], [TEXT])
    assert answered(host, [compress()], reply, headers={"Accept-Encoding": "gzip"}).body == TEXT


@every_host
def test_section_9_3_2_head_has_the_fields_of_get_and_no_body(host):
    asked = {"headers": {"Accept-Encoding": "gzip"}}
    get = answered(host, [compress()], Reply(200, [("ETag", '"a"')], [TEXT]), **asked)
    head = answered(host, [compress()], Reply(200, [("ETag", '"a"')], [TEXT]), method="HEAD", **asked)
    assert head.body in {b"", TEXT}  # Django's handlers leave it to the server to drop it
    for name in ("content-encoding", "content-type", "etag", "vary"):
        assert head.lines(name) == get.lines(name)


@every_host
@pytest.mark.parametrize("status", [204, 304])
def test_section_6_4_1_what_has_no_content_is_given_none(host, status):
    got = answered(host, [compress()], Reply(status, [], []), headers={"Accept-Encoding": "gzip"})
    assert (got.body, got.lines("content-encoding")) == (b"", [])


@every_host
def test_section_8_4_codings_are_undone_from_the_last_to_the_first(host):
    packer = packer_of("br")
    body = packer.pack(gzip.compress(TEXT)) + packer.finish()
    got = answered(
        host, [decompress()], lambda seen: Reply(200, [], [seen.body]), method="POST", body=body,
        headers={"Content-Encoding": "gzip, br"},
    )  # fmt: skip
    assert got.body == TEXT


@every_host
def test_sections_8_4_and_15_5_16_what_is_not_known_is_a_415_that_says_what_is(host):
    got = answered(host, [decompress()], Reply(), method="POST", body=b"x", headers={"Content-Encoding": "compress"})
    assert (got.status, got.lines("accept-encoding")) == (415, ["zstd, br, gzip, deflate"])


def test_section_8_4_identity_is_no_coding_and_x_gzip_is_gzip():
    assert codings_of("identity, X-Gzip, BR") == ["gzip", "br"]


def test_section_8_4_1_2_deflate_is_zlib_and_some_send_it_bare():
    packer = packer_of("deflate")
    wrapped = packer.pack(TEXT) + packer.finish()
    for body in (wrapped, wrapped[2:-4]):
        unpack = unpacker_of(["deflate"])
        assert b"".join([*unpack(body), *unpack(b"")]) == TEXT
