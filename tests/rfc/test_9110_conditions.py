"""RFC 9110: what section 13, and 8.8, 15.4.5 and 15.5.13 of it, ask of a server, on every host, through `etag`.

Each case names its section and says the rule in a sentence; MUST and SHOULD are the RFC's.
"""

import pytest

from formation.http import Headers
from formation.http.validators import precondition, strong_match, weak_match
from formation.middleware import etag
from tests.middleware.hosts import Reply, answered, every_host

NOW, BEFORE, AFTER = (f"Sun, 06 Nov 1994 08:49:3{n} GMT" for n in (7, 6, 8))
TAGGED, DATED = [("ETag", '"a"')], [("Last-Modified", NOW)]
BOTH = [*TAGGED, *DATED]
WEAK = [("ETag", 'W/"a"')]

MATCH, NONE, SINCE, UNTIL = "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"

RULES = [
    # section, the rule, method, headers of the request, validators of the app, its status, the status that goes out
    ("13.1.1", "If-Match compares strongly (MUST)", "GET", {MATCH: 'W/"a"'}, WEAK, 200, 412),
    ("13.1.1", "If-Match is true if one of its tags matches", "GET", {MATCH: '"x", "a"'}, TAGGED, 200, 200),
    ("13.1.1", "If-Match is false if none does (MUST NOT perform)", "GET", {MATCH: '"x"'}, TAGGED, 200, 412),
    ("13.1.1", "If-Match * is true if there is anything", "GET", {MATCH: "*"}, TAGGED, 200, 200),
    ("13.1.2", "If-None-Match compares weakly (MUST)", "GET", {NONE: 'W/"a"'}, TAGGED, 200, 304),
    ("13.1.2", "If-None-Match compares weakly (MUST), the other way", "GET", {NONE: '"a"'}, WEAK, 200, 304),
    ("13.1.2", "If-None-Match is false if one of its tags matches", "GET", {NONE: '"x", "a"'}, TAGGED, 200, 304),
    ("13.1.2", "If-None-Match is true if none does", "GET", {NONE: '"x"'}, TAGGED, 200, 200),
    ("13.1.2", "If-None-Match * is false if there is anything", "GET", {NONE: "*"}, TAGGED, 200, 304),
    ("13.1.2", "a HEAD is answered by a 304 as well", "HEAD", {NONE: '"a"'}, TAGGED, 200, 304),
    ("13.1.3", "an equal date is not modified (SHOULD 304)", "GET", {SINCE: NOW}, DATED, 200, 304),
    ("13.1.3", "nor is an earlier one", "GET", {SINCE: AFTER}, DATED, 200, 304),
    ("13.1.3", "a later one is", "GET", {SINCE: BEFORE}, DATED, 200, 200),
    ("13.1.3", "ignored beside If-None-Match (MUST)", "GET", {SINCE: NOW, NONE: '"x"'}, BOTH, 200, 200),
    ("13.1.3", "ignored if it is no date (MUST)", "GET", {SINCE: "yesterday"}, DATED, 200, 200),
    ("13.1.3", "ignored if it is several (MUST)", "GET", {SINCE: f"{NOW}, {NOW}"}, DATED, 200, 200),
    ("13.1.3", "ignored for other methods than GET and HEAD (MUST)", "POST", {SINCE: NOW}, DATED, 200, 200),
    ("13.1.3", "ignored if no date is known (MUST)", "GET", {SINCE: NOW}, TAGGED, 200, 200),
    ("13.1.4", "a later date fails (MUST NOT perform)", "GET", {UNTIL: BEFORE}, DATED, 200, 412),
    ("13.1.4", "an equal one does not", "GET", {UNTIL: NOW}, DATED, 200, 200),
    ("13.1.4", "ignored beside If-Match (MUST)", "GET", {UNTIL: BEFORE, MATCH: '"a"'}, BOTH, 200, 200),
    ("13.1.4", "ignored if it is no date (MUST)", "GET", {UNTIL: "yesterday"}, DATED, 200, 200),
    ("13.1.4", "ignored if no date is known (MUST)", "GET", {UNTIL: BEFORE}, TAGGED, 200, 200),
    ("13.2.1", "ignored where there is no success (MUST): 404", "GET", {MATCH: '"x"'}, TAGGED, 404, 404),
    ("13.2.1", "ignored where there is no success (MUST): 302", "GET", {NONE: "*"}, TAGGED, 302, 302),
    ("13.2.1", "ignored where there is no success (MUST): 500", "GET", {NONE: "*"}, TAGGED, 500, 500),
    ("13.2.1", "OPTIONS has no conditions (MUST ignore)", "OPTIONS", {MATCH: '"x"'}, TAGGED, 200, 200),
    ("13.2.2", "If-Match is judged first", "GET", {MATCH: '"x"', NONE: '"a"'}, TAGGED, 200, 412),
    ("13.2.2", "If-Unmodified-Since before If-None-Match", "GET", {UNTIL: BEFORE, NONE: '"a"'}, BOTH, 200, 412),
    ("13.2.2", "what holds goes on to the next", "GET", {MATCH: '"a"', NONE: '"a"'}, TAGGED, 200, 304),
]  # fmt: skip


@every_host
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule[0]} {rule[1]}")
def test_section_13(host, rule):
    _, _, method, headers, validators, status, expected = rule
    got = answered(host, [etag()], Reply(status, validators, [b"hello"]), method=method, headers=headers)
    assert got.status == expected
    if expected in {304, 412} and expected != status:
        assert got.body == b""


@every_host
@pytest.mark.parametrize("name", ["Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary"])
def test_section_15_4_5_a_304_has_what_the_200_would_have(host, name):
    value = {"ETag": '"a"', "Date": NOW, "Expires": NOW, "Vary": "Cookie", "Content-Location": "/b"}.get(
        name, "max-age=9"
    )
    headers = [(name, value), *([] if name == "ETag" else TAGGED)]
    got = answered(host, [etag()], Reply(200, headers, [b"hello"]), headers={"If-None-Match": '"a"'})
    assert (got.status, got.lines(name)) == (304, [value])


@every_host
@pytest.mark.parametrize("name", ["Content-Type", "Content-Language", "Content-Length", "Last-Modified"])
def test_section_15_4_5_and_no_other_metadata(host, name):
    headers = [*TAGGED, ("Content-Language", "en"), ("Last-Modified", NOW)]
    got = answered(host, [etag()], Reply(200, headers, [b"hello"]), headers={"If-None-Match": '"a"'})
    assert got.status == 304
    assert [line for line in got.lines(name) if line != "0"] == []


def test_section_8_8_3_2_two_tags_match_strongly_if_neither_is_weak_and_weakly_if_they_are_the_same_but_for_that():
    table = {('W/"1"', 'W/"1"'): (0, 1), ('W/"1"', 'W/"2"'): (0, 0), ('W/"1"', '"1"'): (0, 1), ('"1"', '"1"'): (1, 1)}
    for pair, found in table.items():
        assert (strong_match(*pair), weak_match(*pair)) == found


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_section_13_1_2_what_is_no_read_is_refused_by_a_412_where_a_tag_matches(method):
    assert precondition(method, Headers({"If-None-Match": '"a"'}), etag='"a"') == 412


def test_section_13_1_1_if_match_star_fails_where_there_is_nothing_and_if_none_match_star_holds():
    assert precondition("PUT", Headers({"If-Match": "*"}), exists=False) == 412
    assert precondition("PUT", Headers({"If-None-Match": "*"}), exists=False) is None


@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "TRACE"])
def test_section_13_2_1_methods_that_select_nothing_have_no_conditions(method):
    assert precondition(method, Headers({"If-Match": '"x"', "If-None-Match": "*"}), etag='"a"') is None
