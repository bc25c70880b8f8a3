"""Range, If-Range and Content-Range (RFC 9110, 14 and 13.1.5)."""

from __future__ import annotations

import re
from typing import Final

from formation import dates
from formation.http.validators import strong_match

DIGITS: Final = 18
"""A position with more is beyond the end of anything."""

ONE_SECOND: Final = 1.0
"""By so much Last-Modified must be before Date, for a file may change twice in a second (RFC 9110, 8.8.2.2)."""

_one = re.compile(r"bytes[ \t]*+=[ \t,]*+([0-9]*+)-([0-9]*+)[ \t,]*+", re.IGNORECASE | re.ASCII).fullmatch


def part(value: str, length: int) -> slice | None:
    """Return the part of ``length`` bytes that a Range field asks for.

    Returns:
        the part; ``None``: the whole, for what is no byte range, or several of them, a server may ignore (14.2).

    Raises:
        LookupError: there is no such part: 416.

    >>> part("bytes=2-", 10), part("bytes=-3", 10), part("bytes=0-0,5-9", 10)
    (slice(2, 10, None), slice(7, 10, None), None)
    """
    found = _one(value)
    if found is None:
        return None
    first, last = found.groups()
    if first:
        start, stop = _number(first), _number(last) + 1 if last else length
        if stop <= start and last:
            return None  # the last before the first is no range
        if start >= length:
            raise LookupError(f"bytes */{length}")
        return slice(start, min(stop, length))
    if not last:
        return None
    wanted = _number(last)
    if wanted == 0:
        raise LookupError(f"bytes */{length}")
    return slice(max(length - wanted, 0), length) if length else None  # nothing has no Content-Range


def is_of_this(value: str, etag: str | None, modified: float | None, date: float) -> bool:
    """Tell whether If-Range lets a part be sent: what the client has is of this very response (RFC 9110, 13.1.5).

    Args:
        value: of the field, a tag or a date.
        etag: of the response.
        modified: its Last-Modified, seconds since 1970.
        date: its Date, the same.
    """
    value = value.strip(" \t")
    if value.startswith(('"', "W/")):
        return etag is not None and strong_match(value, etag)
    return modified is not None and modified + ONE_SECOND <= date and dates.parse(value, date) == modified


def content_range(taken: slice, length: int) -> str:
    """Return the Content-Range of a part.

    >>> content_range(slice(2, 10), 10)
    'bytes 2-9/10'
    """
    return f"bytes {taken.start}-{taken.stop - 1}/{length}"


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= DIGITS else int(10**DIGITS)
