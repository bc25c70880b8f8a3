"""What a server says of when to come back: Retry-After (RFC 9110, 10.2.3), and headers like it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from formation import dates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

UNIX_TIME: Final = 1e9
"""A number in a hint that is larger is a date, in seconds since 1970, as in ``X-RateLimit-Reset``."""

_number = re.compile(r"[0-9]{1,300}(?:\.[0-9]{1,9})?").fullmatch  # so many are no infinity


def retry_after(headers: Mapping[str, str], names: Iterable[str], now: Callable[[], float]) -> float | None:
    """Return the seconds that ``headers`` say to wait (RFC 9110, 10.2.3), or ``None``.

    A date counts from the server's own Date, so that its clock may be wrong, else from ``now``. What cannot be read, or
    is past, says nothing. Dates are those of HTTP (RFC 9110, 5.6.7): one with another zone than GMT is none.

    Args:
        headers: of the response.
        names: headers that may say so; the first that does, counts.
        now: seconds since 1970.

    >>> retry_after({"Retry-After": "120"}, ["Retry-After"], lambda: 0)
    120.0
    >>> date = {"Date": "Sat, 21 Nov 2026 11:00:00 GMT", "Retry-After": "Sat, 21 Nov 2026 11:00:07 GMT"}
    >>> retry_after(date, ["Retry-After"], lambda: 0)
    7.0
    """
    for name in names:
        said = headers.get(name, "").strip()
        if _number(said) and float(said) <= UNIX_TIME:
            return float(said)
        wall = now()
        at = float(said) if _number(said) else dates.parse(said, wall)
        left = -1 if at is None else at - (dates.parse(headers.get("Date"), wall) or wall)
        if left >= 0:
            return min(left, UNIX_TIME)  # no clock can sleep longer
    return None
