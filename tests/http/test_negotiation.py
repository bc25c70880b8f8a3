"""Lists of preferences (RFC 9110, 12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http.negotiation import coding, media_type, weights

OURS = ["zstd", "br", "gzip"]
CHARACTERS = st.text(st.sampled_from('ab,;="\\ q*01./\t'), max_size=80) | st.text(max_size=80)
NASTY = ["{0}", '"{0}', '{0}"', "a;q={0}"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a, b;q=0.5", {"a": 1, "b": 0.5}),
        ("A;Q=0.5", {"a": 0.5}),
        ("a ; q=0.5 ; x=1", {"a": 0.5}),
        ("a;q=1.000, b;q=0.", {"a": 1, "b": 0}),
        ("a;q=1.5, b;q=-1, c;q=x, d;q=0.1234, e", {"e": 1}),  # what is no weight says nothing
        ("a;q=0.1, a", {"a": 0.1}),
    ],
)
def test_each_member_has_a_weight(value, found):
    assert weights(value) == found


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZip", "gzip"),
        ("gzip, br, zstd", "zstd"),  # as much as another: ours
        ("gzip;q=0.9, br;q=0.8", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "br"),
        ("compress", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.1", "gzip"),
        ("identity;q=0.5", "identity"),
        ("*;q=0, identity", "identity"),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("compress, *;q=0", None),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("identity;q=0, *;q=0.1", "zstd"),
    ],
)
def test_a_coding_is_chosen_by_section_12_5_3(accept, answer):
    assert coding(accept, OURS) == answer


def test_where_there_is_no_coding_to_offer_all_is_sent_as_it_is():
    assert coding("gzip, br", []) == "identity"


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, "text/html"),
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/plain", "text/plain"),
        ("text/*;q=0.5, text/plain;q=0.4", "text/html"),
        ("text/html;level=1;q=0.1, text/plain", "text/plain"),
        ("text/html;q=0, */*", "text/plain"),
        ("image/png", None),
        ("*/*;q=0", None),
    ],
)
def test_the_most_specific_range_says_how_much_a_media_type_is_liked(accept, answer):
    assert media_type(accept, ["text/html", "text/plain"]) == answer


@given(CHARACTERS)
def test_nothing_that_a_client_writes_is_an_error(value):
    weights(value)
    assert coding(value, OURS) in {*OURS, "identity", None}
    assert media_type(value, ["text/html"]) in {"text/html", None}


@pytest.mark.parametrize("pattern", NASTY)
@pytest.mark.parametrize("unit", ["a", '"', "\\", ",", ";", '\\"', '",', '";', " ", '"a'])
def test_a_mebibyte_is_read_in_no_time_to_speak_of(pattern, unit):
    value = pattern.format(unit * (2**20 // len(unit)))
    weights(value)
