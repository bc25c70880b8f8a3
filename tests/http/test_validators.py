"""Entity tags and conditions (RFC 9110, 8.8 and 13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Headers
from formation.http.validators import (
    is_listed,
    is_tag,
    precondition,
    strong_match,
    tags,
    weak_match,
    weakened,
)

DATE, OLDER, NEWER = (f"Sun, 06 Nov 1994 08:49:3{n} GMT" for n in (7, 6, 8))
TEXT = st.text(st.sampled_from('W/"ab,* \t\\\xff'), max_size=60) | st.text(max_size=60)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"a"', ['"a"']),
        ('W/"a","b" ,\t"c"', ['W/"a"', '"b"', '"c"']),
        ('"a,b", "c\\"', ['"a,b"', '"c\\"']),  # a backslash is a character like any other (8.8.3)
        ('"", "\xe4"', ['""', '"\xe4"']),
        (" * ", ["*"]),
        ('*, "a"', ['"a"']),
        ("", []),
        ('a, w/"b", "c d", "e"f, "g', []),
        (',, "a",,', ['"a"']),
    ],
)
def test_a_list_of_tags_is_taken_apart_and_what_is_no_tag_left_out(value, found):
    assert tags(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", ["a"]),
        ('"a b", c d , W/"e"', ['"a b"', "c d", 'W/"e"']),
        ('"a,b",,"c"', ['"a,b"', '"c"']),
        (" * ", ["*"]),
        ("", []),
        ('"a', []),
    ],
)
def test_with_lenience_a_list_has_what_servers_send_for_tags_too(value, found):
    assert tags(value, lenient=True) == found


@pytest.mark.parametrize(("value", "is_one"), [("a", True), ('"a b"', True), ("*", False), ("a,b", False), ("", False)])
def test_with_lenience_what_servers_send_for_a_tag_is_one(value, is_one):
    assert is_tag(value, lenient=True) is is_one
    assert not is_tag(value)


def test_the_table_of_section_8_8_3_2():
    for one, other, strong, weak in [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ]:
        assert (strong_match(one, other), weak_match(one, other)) == (strong, weak)
        assert (strong_match(other, one), weak_match(other, one)) == (strong, weak)


def test_a_tag_is_weakened_once():
    assert weakened('"a"') == weakened(weakened('"a"')) == 'W/"a"'
    assert is_tag('W/"a"')
    assert not is_tag("a")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, None),
        ({"If-Match": '"a"'}, None),
        ({"If-Match": '"b", "a"'}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": '"b"'}, 412),
        ({"If-Match": 'W/"a"'}, 412),  # strong (13.1.1)
        ({"If-Match": "junk"}, 412),
        ({"If-Unmodified-Since": DATE}, None),
        ({"If-Unmodified-Since": NEWER}, None),
        ({"If-Unmodified-Since": OLDER}, 412),
        ({"If-Unmodified-Since": "junk"}, None),
        ({"If-Match": '"a"', "If-Unmodified-Since": OLDER}, None),  # which is ignored (13.1.4)
        ({"If-None-Match": '"a"'}, 304),
        ({"If-None-Match": 'W/"a"'}, 304),  # weak (13.1.2)
        ({"If-None-Match": '"b", "a"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"b"'}, None),
        ({"If-None-Match": "a"}, None),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": NEWER}, 304),
        ({"If-Modified-Since": OLDER}, None),
        ({"If-Modified-Since": "junk"}, None),
        ({"If-None-Match": '"b"', "If-Modified-Since": DATE}, None),  # which is ignored (13.1.3)
        ({"If-Match": '"b"', "If-None-Match": '"a"'}, 412),  # the order of 13.2.2
        ({"If-Match": '"a"', "If-None-Match": '"a"'}, 304),
        ({"If-Unmodified-Since": OLDER, "If-Modified-Since": DATE}, 412),
        ({"If-Unmodified-Since": DATE, "If-Modified-Since": DATE}, 304),
    ],
)
def test_conditions_of_a_read_are_judged_in_the_order_of_section_13_2_2(method, headers, answer):
    assert precondition(method, Headers(headers), etag='"a"', last_modified=DATE) == answer


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"If-Match": '"a"'}, None),
        ({"If-Match": '"b"'}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": '"a"'}, 412),
        ({"If-None-Match": '"b"'}, None),
        ({"If-Modified-Since": DATE}, None),  # for GET and HEAD only
        ({"If-Unmodified-Since": OLDER}, 412),
    ],
)
def test_conditions_of_a_write(headers, answer):
    assert precondition("PUT", Headers(headers), etag='"a"', last_modified=DATE) == answer


def test_where_there_is_nothing_to_compare_with_only_a_tag_is_missed():
    assert precondition("GET", Headers({"If-Match": '"a"'})) == 412
    assert precondition("GET", Headers({"If-Unmodified-Since": OLDER})) is None
    assert precondition("GET", Headers({"If-None-Match": '"a"'})) is None
    assert precondition("GET", Headers({"If-Modified-Since": DATE})) is None
    assert precondition("GET", Headers({"If-Modified-Since": DATE}), last_modified="junk") is None


def test_what_is_not_there_matches_nothing():
    assert precondition("PUT", Headers({"If-Match": "*"}), exists=False) == 412
    assert precondition("PUT", Headers({"If-None-Match": "*"}), exists=False) is None


@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "TRACE"])
def test_some_methods_have_no_conditions(method):
    assert precondition(method, Headers({"If-None-Match": "*", "If-Match": '"b"'}), etag='"a"') is None


@given(TEXT)
def test_nothing_that_a_client_writes_is_an_error(value):
    assert all(is_tag(each) or each == "*" for each in tags(value))


@pytest.mark.parametrize("unit", ['"', '"a', ',"', "W/", ", ", '"a",', " ", 'W/"', '"a" ', "\t,"])
@pytest.mark.parametrize("start", ["", '"', ",", "Sun, 06 Nov 1994 "])
def test_a_mebibyte_is_read_in_no_time_to_speak_of(start, unit):
    value = start + unit * (2**20 // len(unit))
    for lenient in (False, True):
        tags(value, lenient=lenient)
        is_tag(value, lenient=lenient)
        is_listed(value, '"x"', strong=False, lenient=lenient)
