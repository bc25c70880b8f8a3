"""RFC 9110, sections 8.8 and 13, and RFC 9111, section 4.3.2: conditions, and what a cache answers to them."""

import pytest

from tests.caching.exchanges import NOW, SHARED, date, field, get, sentences, stored

PAGE = {"Cache-Control": "max-age=3600", "Date": 0}
TAGGED = PAGE | {"ETag": '"1"'}
DATED = PAGE | {"Last-Modified": -1000}

CONDITIONS = [
    # section, sentence, status, the response, the request
    ("13.1.2", "If-None-Match with the tag is 304", 304, TAGGED, {"If-None-Match": '"1"'}),
    ("13.1.2", "If-None-Match with another tag is 200", 200, TAGGED, {"If-None-Match": '"2"'}),
    ("13.1.2", "If-None-Match with the tag first in a list is 304", 304, TAGGED, {"If-None-Match": '"1", "2", "3"'}),
    ("13.1.2", "If-None-Match with the tag in the middle is 304", 304, TAGGED, {"If-None-Match": '"2","1","3"'}),
    ("13.1.2", "If-None-Match with the tag in the last of two lines is 304", 304, TAGGED,
     {"If-None-Match": ['"2"', '"3" , "1"']}),
    ("13.1.2", "If-None-Match with a star is 304", 304, TAGGED, {"If-None-Match": "*"}),
    ("13.1.2", "If-None-Match with a star is 304 without a tag, too", 304, PAGE, {"If-None-Match": " * "}),
    ("13.1.2", "If-None-Match with a star in quotes is a tag", 200, TAGGED, {"If-None-Match": '"*"'}),
    ("13.1.2", "If-None-Match is 200 if there is no tag", 200, PAGE, {"If-None-Match": '"1"'}),
    ("13.1.2", "a comma in a tag parts no list", 200, PAGE | {"ETag": '"a"'}, {"If-None-Match": '"b,"a","'}),
    ("13.1.2", "a comma in a tag is of the tag", 304, PAGE | {"ETag": '"a,b"'}, {"If-None-Match": '"x", "a,b"'}),
    ("8.8.3.2", "If-None-Match compares weakly", 304, TAGGED, {"If-None-Match": 'W/"1"'}),
    ("8.8.3.2", "If-None-Match compares weakly in both directions", 304, PAGE | {"ETag": 'W/"1"'},
     {"If-None-Match": '"1"'}),
    ("8.8.3", "the W of a weak tag is in upper case", 200, TAGGED, {"If-None-Match": 'w/"1"'}),
    ("8.8.3", "a tag may have letters that are not ASCII", 304, PAGE | {"ETag": '"\xfc"'}, {"If-None-Match": '"\xfc"'}),
    ("8.8.3", "the case of a tag matters", 200, PAGE | {"ETag": '"a"'}, {"If-None-Match": '"A"'}),
    ("13.1.3", "If-Modified-Since with the same date is 304", 304, DATED, {"If-Modified-Since": -1000}),
    ("13.1.3", "If-Modified-Since with a later date is 304", 304, DATED, {"If-Modified-Since": -500}),
    ("13.1.3", "If-Modified-Since with an earlier date is 200", 200, DATED, {"If-Modified-Since": -1001}),
    ("13.1.3", "If-Modified-Since that is no date is 200", 200, DATED, {"If-Modified-Since": "0"}),
    ("13.1.3", "If-Modified-Since with two dates is 200", 200, DATED, {"If-Modified-Since": [0, 0]}),
    ("13.1.3", "If-Modified-Since in the form of RFC 850 is a date", 304, DATED,
     {"If-Modified-Since": "Sunday, 09-Sep-01 01:46:40 GMT"}),
    ("13.1.3", "If-Modified-Since in the form of asctime is a date", 304, DATED,
     {"If-Modified-Since": "Sun Sep  9 01:46:40 2001"}),
    ("13.1.3", "If-None-Match goes before If-Modified-Since, which is met", 200, TAGGED | DATED,
     {"If-None-Match": '"2"', "If-Modified-Since": 0}),
    ("13.1.3", "If-None-Match goes before If-Modified-Since, which is not met", 304, TAGGED | DATED,
     {"If-None-Match": '"1"', "If-Modified-Since": -5000}),
    ("RFC 9111, 4.3.2", "without Last-Modified the Date counts", 304, PAGE, {"If-Modified-Since": 0}),
    ("RFC 9111, 4.3.2", "without Last-Modified an earlier date is 200", 200, PAGE, {"If-Modified-Since": -1}),
    ("RFC 9111, 4.3.2", "without Date the time of receipt counts", 304, {"Cache-Control": "max-age=60"},
     {"If-Modified-Since": 0}),
    ("13.2.2", "the condition goes before the range", 304, TAGGED, {"If-None-Match": '"1"', "Range": "bytes=0-1"}),
]  # fmt: skip


@pytest.mark.parametrize("row", CONDITIONS, ids=sentences(CONDITIONS))
def test_conditions(row):
    _, _, status, response, request = row
    answer = SHARED.answer(get(request), stored(response), NOW)
    assert answer.status == status
    assert (answer.body is None) is (status == 304)


def test_section_13_1_a_condition_holds_for_head_as_well():
    assert SHARED.answer(get({"If-None-Match": '"1"'}, method="HEAD"), stored(TAGGED), NOW).status == 304


@pytest.mark.parametrize("status", [301, 404, 500])
def test_section_13_2_1_conditions_are_for_what_would_be_200(status):
    assert SHARED.answer(get({"If-None-Match": "*"}), stored(TAGGED, status=status), NOW).status == status


def test_section_15_4_5_a_304_has_what_the_client_may_need_and_not_what_it_has():
    names = ["Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary", "X-Name"]
    left_out = ["Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Last-Modified"]
    response = dict.fromkeys(names + left_out, "1") | TAGGED | DATED | {"Expires": 60, "Vary": "Foo"}
    answer = SHARED.answer(get({"If-None-Match": '"1"'}), stored(response), NOW)
    assert {name for name, _ in answer.headers} == {*names, "Age"}


def test_section_15_4_5_a_304_has_last_modified_if_there_is_no_tag():
    answer = SHARED.answer(get({"If-Modified-Since": 0}), stored(DATED), NOW)
    assert field(answer.headers, "Last-Modified") == [date(-1000)]
