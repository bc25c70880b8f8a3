"""Whether an entry may be used, as it is or in place of an error: RFC 9111, 4.2 and 5.2; RFC 5861; RFC 8246."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from formation.caching.directives import seconds

if TYPE_CHECKING:
    from formation.caching.directives import Directives
    from formation.caching.entry import Entry
    from formation.caching.request import Request

ERRORS: Final = frozenset({500, 502, 503, 504})
"""Answers that a stale one may be better than (RFC 5861, 4)."""


class Verdict(Enum):
    """What to do with a request."""

    FRESH = "fresh"
    """Answer from the entry."""
    STALE = "stale"
    """Answer from the entry, which is stale, for the request allows it (max-stale)."""
    REFRESH = "refresh"
    """Answer from the entry, which is stale, and validate it in the background (stale-while-revalidate)."""
    VALIDATE = "validate"
    """Ask, with `Policy.conditional`: the entry is stale."""
    RELOAD = "reload"
    """Ask, with `Policy.conditional`: the entry is fresh, but the request wants it validated."""
    MISS = "miss"
    """Ask: no entry answers this request."""
    UNAVAILABLE = "unavailable"
    """Answer 504: nothing may be used and the request wants nothing asked (only-if-cached)."""


def decide(request: Request, entry: Entry | None, now: float) -> Verdict:
    """Decide what to do with ``request``, for which `Policy.select` gave ``entry``."""
    wanted = request.directives
    if entry is None or request.for_origin:
        return _asked(wanted, Verdict.MISS)
    stale = entry.age_at(now) - entry.lifetime
    if wanted:
        return _asked(wanted, _decided(wanted, entry, stale))
    if entry.no_cache:
        return Verdict.VALIDATE
    if stale < 0:
        return Verdict.FRESH
    return Verdict.REFRESH if _may_refresh(entry, stale) else Verdict.VALIDATE


def may_serve_stale(request: Request, entry: Entry, now: float, setting: float | None) -> bool:
    """Tell whether ``entry`` may be used in place of an error (RFC 5861, 4).

    The narrower of what response and request say counts; where neither does, ``setting``: seconds, or ``None``.
    """
    wanted = request.directives
    if entry.no_cache or entry.must_revalidate or "no-cache" in wanted or request.for_origin:
        return False
    limit = entry.stale_if_error
    if "stale-if-error" in wanted:
        asked = seconds(wanted["stale-if-error"]) or 0
        limit = asked if limit is None else min(asked, limit)
    elif ("max-age" in wanted or "min-fresh" in wanted) and "max-stale" not in wanted:
        return False  # that says how old it may be (RFC 9111, 5.2.1.1)
    elif limit is None:
        limit = setting
    return limit is not None and entry.age_at(now) - entry.lifetime < limit


def _asked(wanted: Directives, verdict: Verdict) -> Verdict:
    if "only-if-cached" in wanted and verdict in (Verdict.MISS, Verdict.VALIDATE, Verdict.RELOAD):
        return Verdict.UNAVAILABLE
    return verdict


def _decided(wanted: Directives, entry: Entry, stale: float) -> Verdict:
    if _wants_better(wanted, entry, stale):
        return Verdict.RELOAD if stale < 0 else Verdict.VALIDATE
    if entry.no_cache:
        return Verdict.VALIDATE
    if stale < 0:
        return Verdict.FRESH
    if _may_refresh(entry, stale) and ("max-age" not in wanted or "max-stale" in wanted):
        return Verdict.REFRESH
    if "max-stale" in wanted and not entry.must_revalidate:
        argument = wanted["max-stale"]
        limit = inf if argument is None else seconds(argument)
        if limit is not None and stale <= limit:
            return Verdict.STALE
    return Verdict.VALIDATE


def _wants_better(wanted: Directives, entry: Entry, stale: float) -> bool:
    if "no-cache" in wanted:
        return True
    spare = entry.immutable and stale < 0  # to validate it would be for nothing (RFC 8246, 2.1)
    if "max-age" in wanted and not spare and stale + entry.lifetime > (seconds(wanted["max-age"]) or 0):
        return True
    if "min-fresh" in wanted:
        least = seconds(wanted["min-fresh"])
        return least is None or -stale < least
    return False


def _may_refresh(entry: Entry, stale: float) -> bool:
    return stale < entry.stale_while_revalidate and not entry.must_revalidate
