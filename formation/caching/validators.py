"""ETag and Last-Modified: when two representations are the same (RFC 9110, 8.8 and 13)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from formation import dates

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_SECOND: Final = 1.0
"""By so much Last-Modified must be before Date, for a file may change twice in a second (RFC 9110, 8.8.2.2)."""

_tag = re.compile(r"[ \t,]*+((?:W/)?+\"[^\"]*+\"|[^\", \t][^,]*+)")


def tags(value: str) -> Iterator[str]:
    """Give the entity tags of a list; also what stands there without quotes, which many servers send.

    >>> list(tags('"a,b", W/"c", d'))
    ['"a,b"', 'W/"c"', 'd']
    """
    position = 0
    while found := _tag.match(value, position):
        yield found[1].rstrip(" \t")
        position = found.end()


def weakly_equal(one: str, other: str) -> bool:
    """Tell whether the tags are the same but for weakness (RFC 9110, 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def strongly_equal(one: str, other: str) -> bool:
    """Tell whether the tags are the same and both strong (RFC 9110, 8.8.3.2)."""
    return one == other and not one.startswith("W/")


def none_match(value: str, etag: str | None) -> bool:
    """Tell whether If-None-Match lets the request go on (RFC 9110, 13.1.2)."""
    if value.strip(" \t") == "*":
        return False
    return etag is None or not any(weakly_equal(tag, etag) for tag in tags(value))


def modified_since(value: str, modified: float, now: float) -> bool:
    """Tell whether If-Modified-Since lets the request go on; what is no date always does (RFC 9110, 13.1.3)."""
    since = dates.parse(value, now)
    return since is None or modified > since


def same_range(value: str, etag: str | None, modified: float | None, date: float) -> bool:
    """Tell whether If-Range lets a part be sent: what the client has is of this very response (RFC 9110, 13.1.5)."""
    value = value.strip(" \t")
    if value.startswith(('"', "W/")):
        return etag is not None and strongly_equal(value, etag)
    return modified is not None and modified + ONE_SECOND <= date and dates.parse(value, date) == modified
