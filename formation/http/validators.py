"""Validators and preconditions: entity tags, dates, and whether a request with conditions is to be answered in full.

All of it is pure, takes header values as text, whatever they are, raises nothing for them, and takes time in proportion
to their length.

>>> tags('"a", W/"b"'), tags("*"), weak_match('W/"a"', '"a"'), strong_match('W/"a"', 'W/"a"')
(['"a"', 'W/"b"'], ['*'], True, False)
>>> from formation.http import Headers
>>> precondition("GET", Headers({"If-None-Match": '"a"'}), etag='"a"')
304
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime
from time import gmtime, time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_tag = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"').fullmatch  # RFC 9110, 8.8.3
_listed = re.compile(r'(?:^|,)[ \t]*+((?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")[ \t]*+(?=,|\Z)').findall
_digits = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
_fixed = re.compile(rf"([a-z]{{3}}), ([0-9]{{2}}) ([a-z]{{3}}) ([0-9]{{4}}) {_digits} gmt").fullmatch
_rfc850 = re.compile(rf"([a-z]{{6,9}}), ([0-9]{{2}})-([a-z]{{3}})-([0-9]{{2}}) {_digits} gmt").fullmatch
_asctime = re.compile(rf"([a-z]{{3}}) ([a-z]{{3}}) ([ 0-9][0-9]) {_digits} ([0-9]{{4}})").fullmatch


def is_tag(value: str) -> bool:
    """Tell whether it is an entity tag, weak or strong."""
    return _tag(value) is not None


def is_weak(tag: str) -> bool:
    """Tell whether a tag is weak: what it stands for may differ in its bytes."""
    return tag.startswith("W/")


def weakened(tag: str) -> str:
    """Return the tag, weak."""
    return tag if is_weak(tag) else f"W/{tag}"


def tags(value: str) -> list[str]:
    """Return the tags of If-Match or If-None-Match; ``["*"]`` for any. What is no tag is left out."""
    value = value.strip(" \t")
    return ["*"] if value == "*" else _listed(value)


def strong_match(one: str, other: str) -> bool:
    """Tell whether two tags are the same and strong (RFC 9110, 8.8.3.2)."""
    return one == other and not is_weak(one)


def weak_match(one: str, other: str) -> bool:
    """Tell whether two tags are the same, weak or not."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def parse_date(value: str, now: float | None = None) -> int | None:
    """Return the seconds since the epoch of a date (RFC 9110, 5.6.7), ``None`` if it is none.

    The three formats, in any case; no other zone than GMT, and no number that is not as long as it should be. A year of
    two digits is at most 50 years after ``now``, seconds since the epoch; ``None``: this moment.

    >>> parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), parse_date("Sun, 6 Nov 1994 08:49:37 GMT")
    (784111777, None)
    """
    if len(value) > 40:  # the longest, a Wednesday of RFC 850, has 33
        return None
    said = value.strip(" \t").lower()
    if found := _fixed(said):
        name, day, month, year, *clock = found.groups()
        return _seconds(name in _WEEK, year, month, day, clock)
    if found := _rfc850(said):
        name, day, month, short, *clock = found.groups()
        this = gmtime(time() if now is None else now).tm_year
        full = this - this % 100 + int(short)
        if full > this + 50:
            full -= 100
        return _seconds(name in _DAYS, str(full), month, day, clock)
    if found := _asctime(said):
        name, month, day, *clock, year = found.groups()
        return _seconds(name in _WEEK, year, month, day.strip(), clock)
    return None


def format_date(seconds: float) -> str:
    """Return a date as HTTP writes it.

    >>> format_date(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    year, month, day, hour, minute, second, weekday, *_ = gmtime(seconds)
    name, of = _WEEK[weekday].title(), _MONTHS[month - 1].title()
    return f"{name}, {day:02} {of} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def precondition(
    method: str, headers: Mapping[str, str], *, etag: str | None = None, last_modified: str | None = None,
    exists: bool = True,
) -> int | None:  # fmt: skip
    """Return 304 or 412 where the conditions of a request say so, ``None`` where it is to be answered in full.

    In the order of RFC 9110, 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since, which
    is for GET and HEAD. A date that is none is no condition, nor is one where there is nothing to compare it with.

    Args:
        method: of the request; CONNECT, OPTIONS and TRACE have no conditions.
        headers: of the request, their names in any case.
        etag: the tag of what there is.
        last_modified: the date of what there is, as its header says it.
        exists: whether there is anything; If-Match ``*`` asks that.
    """
    if method in {"CONNECT", "OPTIONS", "TRACE"}:
        return None
    modified = None if last_modified is None else parse_date(last_modified)
    wanted, since = headers.get("If-Match"), headers.get("If-Unmodified-Since")
    if wanted is not None:
        if not _is_listed(wanted, etag, exists=exists, strong=True):
            return 412
    elif since is not None and modified is not None:
        limit = parse_date(since)
        if limit is not None and modified > limit:
            return 412

    known, since = headers.get("If-None-Match"), headers.get("If-Modified-Since")
    is_read = method in {"GET", "HEAD"}
    if known is not None:
        if _is_listed(known, etag, exists=exists, strong=False):
            return 304 if is_read else 412
    elif is_read and since is not None and modified is not None:
        limit = parse_date(since)
        if limit is not None and modified <= limit:
            return 304
    return None


def range_is_wanted(if_range: str | None, *, etag: str | None = None, last_modified: str | None = None) -> bool:
    """Tell whether a Range counts: there is no If-Range, or it says what there is (RFC 9110, 13.1.5), strongly.

    A date has to be the very one of the representation.
    """
    if if_range is None:
        return True
    if_range = if_range.strip(" \t")
    if is_tag(if_range):
        return etag is not None and strong_match(if_range, etag)
    wanted = parse_date(if_range)
    return wanted is not None and last_modified is not None and wanted == parse_date(last_modified)


def _is_listed(value: str, etag: str | None, *, exists: bool, strong: bool) -> bool:
    given = tags(value)
    if given == ["*"]:
        return exists
    matches = strong_match if strong else weak_match
    return exists and etag is not None and any(matches(each, etag) for each in given)


def _seconds(is_day: bool, year: str, month: str, day: str, clock: list[str]) -> int | None:  # noqa: FBT001
    if not is_day or month not in _MONTHS:
        return None
    hour, minute, second = map(int, clock)
    if second == 60:  # a leap second, which no clock of ours has
        second = 59
    try:
        moment = datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second)  # noqa: DTZ001  GMT
    except ValueError:
        return None
    return timegm(moment.timetuple())
