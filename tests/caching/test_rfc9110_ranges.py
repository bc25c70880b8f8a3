"""RFC 9110, sections 13.1.5 and 14: parts of a stored response."""

import pytest

from formation.caching import ranges
from tests.caching.exchanges import NOW, SHARED, date, field, get, sentences, stored

PAGE = {"Cache-Control": "max-age=3600", "Date": 0, "Content-Type": "text/plain", "Content-Length": "10"}
TAGGED = PAGE | {"ETag": '"1"'}
DATED = PAGE | {"Last-Modified": -1000}

TABLE = [
    # section, sentence, status, what is sent of 0123456789, the Range
    ("14.1.2", "a range from here to there", 206, "12", "bytes=1-2"),
    ("14.1.2", "a range of one byte", 206, "0", "bytes=0-0"),
    ("14.1.2", "a range to the end", 206, "456789", "bytes=4-"),
    ("14.1.2", "a range that begins with the last byte", 206, "9", "bytes=9-"),
    ("14.1.2", "a range beyond the end ends with it", 206, "89", "bytes=8-100"),
    ("14.1.2", "a range of the whole is a part", 206, "0123456789", "bytes=0-"),
    ("14.1.2", "the last bytes", 206, "789", "bytes=-3"),
    ("14.1.2", "more last bytes than there are are all", 206, "0123456789", "bytes=-100"),
    ("14.1.2", "a range beyond the end is 416", 416, "", "bytes=10-"),
    ("14.1.2", "a range far beyond the end is 416", 416, "", "bytes=99999999999999999999999-"),
    ("14.1.2", "a range to far beyond the end ends with it", 206, "9", "bytes=9-99999999999999999999999"),
    ("14.1.2", "the last 0 bytes are 416", 416, "", "bytes=-0"),
    ("14.1.1", "a range that ends before it begins is none", 200, "0123456789", "bytes=5-4"),
    ("14.1.1", "a range without numbers is none", 200, "0123456789", "bytes=-"),
    ("14.1.1", "a range that is malformed is none", 200, "0123456789", "bytes=a-b"),
    ("14.1.1", "a range with a sign is none", 200, "0123456789", "bytes=+1-2"),
    ("14.1.1", "a range without a unit is none", 200, "0123456789", "1-2"),
    ("14.2", "a range in another unit is none", 200, "0123456789", "lines=1-2"),
    ("14.1", "the unit may be in any case", 206, "12", "BYTES=1-2"),
    ("14.2", "several ranges may be answered with the whole", 200, "0123456789", "bytes=0-1, 4-5"),
    ("14.2", "two lines of Range may be answered with the whole", 200, "0123456789", ["bytes=0-1", "bytes=4-5"]),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=sentences(TABLE))
def test_ranges(row):
    _, _, status, sent, value = row
    entry = stored(PAGE)
    answer = SHARED.answer(get({"Range": value}), entry, NOW)
    assert answer.status == status
    assert ("" if answer.body is None else entry.body[answer.body].decode()) == sent


def test_section_14_4_a_part_says_which_it_is():
    answer = SHARED.answer(get({"Range": "bytes=1-2"}), stored(TAGGED | DATED), NOW)
    assert field(answer.headers, "Content-Range") == ["bytes 1-2/10"]
    assert field(answer.headers, "Content-Length") == ["2"]
    # 15.3.7: what a 200 would have
    assert field(answer.headers, "ETag") == ['"1"']
    assert field(answer.headers, "Date") == [date()]
    assert field(answer.headers, "Content-Type") == ["text/plain"]
    assert field(answer.headers, "Age") == ["0"]


def test_section_15_5_17_a_416_says_how_long_it_is():
    answer = SHARED.answer(get({"Range": "bytes=10-"}), stored(TAGGED), NOW)
    assert field(answer.headers, "Content-Range") == ["bytes */10"]
    assert field(answer.headers, "Content-Length") == ["0"]
    assert field(answer.headers, "Content-Type") == []


def test_section_14_2_a_range_is_for_get_only():
    answer = SHARED.answer(get({"Range": "bytes=1-2"}, method="HEAD"), stored(PAGE), NOW)
    assert (answer.status, answer.body) == (200, None)
    assert field(answer.headers, "Content-Length") == ["10"]


@pytest.mark.parametrize("status", [203, 301, 404])
def test_section_14_2_a_range_is_for_what_would_be_200(status):
    assert SHARED.answer(get({"Range": "bytes=1-2"}), stored(PAGE, status=status), NOW).status == status


def test_section_14_1_2_of_nothing_there_are_no_last_bytes():
    entry = stored(PAGE, body=b"")
    assert SHARED.answer(get({"Range": "bytes=-5"}), entry, NOW).status == 200
    assert SHARED.answer(get({"Range": "bytes=0-"}), entry, NOW).status == 416


def test_a_content_range_that_was_stored_is_not_sent_beside_ours():
    answer = SHARED.answer(get({"Range": "bytes=1-2"}), stored(PAGE | {"Content-Range": "x"}), NOW)
    assert field(answer.headers, "Content-Range") == ["bytes 1-2/10"]


IF_RANGE = [
    # section, sentence, status, the response, If-Range
    ("13.1.5", "the tag lets a part be sent", 206, TAGGED, '"1"'),
    ("13.1.5", "another tag does not", 200, TAGGED, '"2"'),
    ("13.1.5", "a weak tag never does, for tags are compared strongly", 200, PAGE | {"ETag": 'W/"1"'}, 'W/"1"'),
    ("13.1.5", "a tag does not if there is none", 200, DATED, '"1"'),
    ("13.1.5", "the very date lets a part be sent", 206, DATED, -1000),
    ("13.1.5", "a later date does not", 200, DATED, -999),
    ("13.1.5", "an earlier date does not", 200, DATED, -1001),
    ("13.1.5", "a date does not if there is none", 200, TAGGED, -1000),
    ("13.1.5", "what is neither does not", 200, TAGGED | DATED, "x"),
    ("8.8.2.2", "a date does not that is of the same second as Date, for it is weak", 200,
     PAGE | {"Last-Modified": 0}, 0),
    ("8.8.2.2", "a date does that is a second before Date", 206, PAGE | {"Last-Modified": -1}, -1),
]  # fmt: skip


@pytest.mark.parametrize("row", IF_RANGE, ids=sentences(IF_RANGE))
def test_if_range(row):
    _, _, status, response, value = row
    assert SHARED.answer(get({"Range": "bytes=1-2", "If-Range": value}), stored(response), NOW).status == status


def test_section_13_1_5_if_range_without_range_means_nothing():
    assert SHARED.answer(get({"If-Range": '"2"'}), stored(TAGGED), NOW).status == 200


def test_a_part_is_never_more_than_there_is():
    for length in range(5):
        for first in ["", *range(7)]:
            for last in ["", *range(7)]:
                try:
                    part = ranges.part(f"bytes={first}-{last}", length)
                except LookupError:
                    continue
                assert part is None or 0 <= part.start < part.stop <= length
