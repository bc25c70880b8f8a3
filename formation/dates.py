"""Dates of HTTP: three formats, GMT, and nothing else (RFC 9110, 5.6.7; RFC 9111, 4.2).

`email.utils` reads far more than that, and what HTTP calls invalid it takes for a date in the future.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, date, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Final

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

FIFTY_YEARS: Final = 50
"""A year of two digits that is further ahead is of the century before (RFC 9110, 5.6.7)."""

_MONTH: Final = "(?P<month>" + "|".join(MONTHS) + ")"
_TIME: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_SHORT: Final = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG: Final = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_date = re.compile(
    rf"{_SHORT}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} gmt", re.IGNORECASE | re.ASCII
).fullmatch
_rfc850 = re.compile(
    rf"{_LONG}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} gmt", re.IGNORECASE | re.ASCII
).fullmatch
_asctime = re.compile(
    rf"{_SHORT} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})", re.IGNORECASE | re.ASCII
).fullmatch

LONGEST: Final = 40
"""No date is longer, so what is longer is not looked at, and not remembered."""


def parse(value: str | None, now: float) -> float | None:
    """Return the seconds since 1970 that ``value`` says; ``None``: it is no date of HTTP.

    Args:
        value: of the field. Case does not matter (RFC 9111, 4.2); what day of the week it claims neither.
        now: seconds since 1970, for years of two digits.

    >>> parse("Sun, 06 Nov 1994 08:49:37 GMT", 0), parse("Sun, 06 Nov 1994 08:49:37 UTC", 0)
    (784111777.0, None)
    """
    if value is None or len(value) > LONGEST:
        return None
    return _parsed(value, datetime.fromtimestamp(min(max(now, 0.0), 2e11), UTC).year)


def format(seconds: float) -> str:  # noqa: A001 - dates.format reads as what it is
    """Return ``seconds`` since 1970 as HTTP writes it.

    >>> format(784111777)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    return formatdate(seconds, usegmt=True)


@lru_cache(maxsize=512)  # a server says the same Date for a second, and Last-Modified for days
def _parsed(value: str, this_year: int) -> float | None:
    found = _date(value) or _rfc850(value) or _asctime(value)
    if found is None:
        return None
    part = found.groupdict()
    year, month, day = int(part["year"]), MONTHS.index(part["month"].lower()) + 1, int(part["day"])
    if len(part["year"]) == 2:
        year += this_year - this_year % 100
        year -= 100 if year > this_year + FIFTY_YEARS else 0
    hour, minute, second = int(part["hour"]), int(part["minute"]), int(part["second"])
    if hour > 23 or minute > 59 or second > 60:  # a leap second is one
        return None
    try:
        date(year, month, day)
    except ValueError:
        return None
    return float(timegm((year, month, day, hour, minute, second)))
