"""RFC 9110, sections 5.6.7, 8.8 and 13, and RFC 9111, section 4.3.2: validators, and what a cache answers to them."""

import pytest

from formation import dates
from formation.caching import validators
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


def test_section_8_8_3_2_only_strong_tags_are_strongly_equal():
    tags = ['W/"1"', 'W/"2"', '"1"']
    assert [validators.strongly_equal(one, other) for one, other in (tags[:2], tags[::2], tags[2:] * 2)] == [
        False,
        False,
        True,
    ]
    assert validators.weakly_equal(tags[0], tags[2])
    assert not validators.weakly_equal(tags[0], tags[1])


DATES = [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
    ("sUN, 06 nOV 1994 08:49:37 gmt", 784111777),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
    ("Sun Nov  6 08:49:37 1994", 784111777),
    ("Sun Nov 16 08:49:37 1994", 784975777),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
    ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),  # a leap second
    ("Mon, 06 Nov 1994 08:49:37 GMT", 784111777),  # no Monday
    ("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
]


@pytest.mark.parametrize(("value", "seconds"), DATES)
def test_section_5_6_7_a_date_is_read_in_three_forms(value, seconds):
    assert dates.parse(value, NOW) == seconds


NO_DATES = [
    "",
    "0",
    "-1",
    "784111777",
    "1994-11-06T08:49:37Z",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 AEST",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun 06 Nov 1994 08:49:37 GMT",
    "Sun, 06  Nov  1994 08:49:37 GMT",
    "Sun, 06-Nov-1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08.49.37 GMT",
    "Sun, 06 Nov 1994 8:49:37 GMT",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun, 06 Nov 1994 08:60:00 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT",
    "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, 06 Foo 1994 08:49:37 GMT",
    "Foo, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT ",
    "Sun, 06 Nov 1994 08:49:37 GMT\n",
    "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-1994 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov  6 08:49:37 94",
    None,
]


@pytest.mark.parametrize("value", NO_DATES)
def test_section_5_6_7_anything_else_is_no_date(value):
    assert dates.parse(value, NOW) is None


def test_section_5_6_7_a_year_of_two_digits_is_not_more_than_fifty_years_ahead():
    in_2001, in_2051 = NOW, 2561155200.0
    assert dates.parse("Thursday, 18-Aug-51 02:01:18 GMT", in_2001) == dates.parse(
        "Fri, 18 Aug 2051 02:01:18 GMT", in_2001
    )
    assert dates.parse("Thursday, 18-Aug-52 02:01:18 GMT", in_2001) == dates.parse(
        "Mon, 18 Aug 1952 02:01:18 GMT", in_2001
    )
    assert dates.parse("Thursday, 18-Aug-99 02:01:18 GMT", in_2051) == dates.parse(
        "Tue, 18 Aug 2099 02:01:18 GMT", in_2051
    )


def test_a_date_is_written_in_the_preferred_form():
    assert dates.format(784111777.9) == "Sun, 06 Nov 1994 08:49:37 GMT"
