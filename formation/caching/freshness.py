"""For how long a response is fresh, and how old it is (RFC 9111, 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from formation import dates
from formation.caching.directives import MAX_DELTA, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formation.caching.directives import Directives

HEURISTIC: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses for which a lifetime may be guessed (RFC 9110, 15.1), but 206, which is not stored."""


class Lifetime(NamedTuple):
    """``seconds`` from the age 0 on; ``explicit``: the response says so."""

    seconds: float
    explicit: bool


def lifetime(
    status: int,
    fields: Mapping[str, str],
    directives: Directives,
    date: float,
    *,
    shared: bool,
    targeted: bool,
    heuristic: float,
    max_heuristic: float,
) -> Lifetime:
    """Return for how long a response is fresh (RFC 9111, 4.2.1).

    What says so but cannot be read, says 0.

    Args:
        status: of the response.
        fields: of the response, see `fields.joined`.
        directives: that apply to this cache.
        date: when the response was made, seconds since 1970.
        shared: whether s-maxage applies.
        targeted: whether ``directives`` are of a targeted field, beside which Expires means nothing (RFC 9213, 2.2).
        heuristic: the part of the time since Last-Modified for which it is supposed not to change again.
        max_heuristic: seconds; that at most.
    """
    for name in ("s-maxage", "max-age") if shared else ("max-age",):
        if name in directives:
            return Lifetime(seconds(directives[name]) or 0, explicit=True)
    if not targeted and "expires" in fields:
        until = dates.parse(fields["expires"], date)
        return Lifetime(0 if until is None else min(max(until - date, 0), MAX_DELTA), explicit=True)
    modified = dates.parse(fields.get("last-modified"), date)
    if modified is None or not (status in HEURISTIC or "public" in directives):
        return Lifetime(0, explicit=False)
    if "cache-control" not in fields and "no-cache" in fields.get("pragma", "").lower():
        return Lifetime(0, explicit=False)  # a server of the last century, and it does not want a guess
    return Lifetime(min(max((date - modified) * heuristic, 0), max_heuristic), explicit=False)


def initial_age(fields: Mapping[str, str], date: float, requested_at: float, received_at: float) -> float:
    """Return the seconds since the origin made the response, at the time it was received (RFC 9111, 4.2.3).

    >>> initial_age({"age": "10"}, date=100, requested_at=102, received_at=105)
    13
    """
    apparent = max(0.0, received_at - date)
    delay = max(0.0, received_at - requested_at)
    return max(apparent, (age(fields.get("age")) or 0) + delay)


def age(value: str | None) -> int | None:
    """Return the seconds of an Age field, the first if there are several (RFC 9111, 5.1); ``None``: there are none.

    >>> age("7200, 0"), age("old"), age("-1")
    (7200, None, None)
    """
    return None if value is None else seconds(value.partition(",")[0].strip(" \t"))
