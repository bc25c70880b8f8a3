"""Asking in the background (``stale-while-revalidate``, RFC 5861, 3): once for a key, and not too often at a time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from formation.caching.asking import ask_behind
from formation.caching.lookup import Lookup, response_of
from formation.keys import STATE, STATE_ASIDE
from formation.resilience.background import in_background
from formation.resilience.forks import aside

if TYPE_CHECKING:
    from formation.caching.serving import Caching

MOST: Final = 32
"""Entries refreshed at a time: a thread each, in a sync program. The next who asks for another tries again."""


def refresh(caching: Caching, lookup: Lookup) -> bool:
    """Ask in the background, unless somebody does; ``False``: there is no background, so it is to be asked for now."""
    if STATE_ASIDE in (lookup.ctx.get(STATE) or {}) or not getattr(lookup.request, "has_aside", True):
        return False
    refreshing, key, mine = caching.refreshing, lookup.key, object()
    if len(refreshing) >= MOST or refreshing.setdefault(key, mine) is not mine:
        return True
    begun = False
    try:
        again = Lookup(lookup.policy, aside(lookup.ctx), lookup.call, lookup.parsed)
        again.key, again.entries, again.entry = key, lookup.entries, lookup.entry
        begun = in_background(lambda: _refresh(caching, again), lambda: refreshing.pop(key, None), "formation.cache")
    finally:
        if not begun:
            refreshing.pop(key, None)
    return begun


def _refresh(caching: Caching, lookup: Lookup) -> None:
    """Ask, and read what comes for as long as it is kept."""
    try:
        response = response_of(ask_behind(caching, lookup))
        if response is None:
            return
        with closing(response):
            if lookup.keeping is not None and not lookup.keeping.is_over:
                for _ in response.body:
                    if lookup.keeping.is_over:
                        break
    except Exception as error:  # noqa: BLE001  nobody waits for it; who asks next tries again
        caching.reports.note("cache.refresh_failed", lookup, error=type(error).__name__)
