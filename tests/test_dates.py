"""Dates of HTTP (RFC 9110, 5.6.7): three formats, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.dates import format, parse  # noqa: A004  as they read in `dates.format`

SECONDS = 784111777


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", SECONDS),
        ("Sunday, 06-Nov-94 08:49:37 GMT", SECONDS),
        ("Sun Nov  6 08:49:37 1994", SECONDS),
        ("Sun Nov 06 08:49:37 1994", SECONDS),
        ("Sun Nov 16 08:49:37 1994", SECONDS + 10 * 86400),
        ("sUN, 06 NOV 1994 08:49:37 gmt", SECONDS),
        ("Mon, 06 Nov 1994 08:49:37 GMT", SECONDS),  # which was no Monday
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
    ],
)
def test_a_date_has_three_formats_in_any_case(value, seconds):
    assert parse(value, 0) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "-1",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT+1",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Xxx, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xxx 1994 08:49:37 GMT",
        "Someday, 06-Nov-94 08:49:37 GMT",
        "\u0661un, 0\u0661 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37 AEST",
        "Sun, 06  Nov  1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        None,
    ],
)
def test_and_nothing_else_is_one(value):
    assert parse(value, 0) is None


def test_a_leap_second_is_a_second():
    assert parse("Sat, 31 Dec 2016 23:59:60 GMT", 0) == parse("Sun, 01 Jan 2017 00:00:00 GMT", 0)


@pytest.mark.parametrize(("short", "year"), [("94", 1994), ("74", 2074), ("77", 1977), ("00", 2000)])
def test_a_year_of_two_digits_is_at_most_50_years_ahead(short, year):
    at = parse(f"Sunday, 06-Nov-{short} 08:49:37 GMT", parse("Fri, 06 Nov 2026 00:00:00 GMT", 0))
    assert format(at)[12:16] == str(year)


def test_a_date_is_written_in_the_preferred_form():
    assert format(SECONDS + 0.9) == "Sun, 06 Nov 1994 08:49:37 GMT"


@given(st.integers(0, 253402300799))
def test_a_date_that_is_written_is_read(seconds):
    assert parse(format(seconds), 0) == seconds
