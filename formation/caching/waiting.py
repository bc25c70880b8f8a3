"""Of those who miss the same at the same time one asks: who waits for him, and for how long."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from formation import clock
from formation.caching.policy import Verdict
from formation.caching.users import credentials
from formation.keys import DEADLINE
from formation.resilience.collapse import ALONE, PATIENCE, STORED
from formation.resilience.together import Trip

if TYPE_CHECKING:
    from formation.caching.entry_keys import Keys
    from formation.caching.lookup import Lookup
    from formation.resilience.collapse import Collapse

_HELD: Final = frozenset({"range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "if-range"})
"""Whoever sends one of these on a miss gets an answer that is of no use to others, so nobody waits for it."""


def wait_for_another(collapse: Collapse, keys: Keys, lookup: Lookup, verdict: Verdict) -> bool:
    """Wait for who asks for the same, if somebody does; tell whether to look again, for there may be an entry now.

    If nobody does, this one is to ask for all, and has ``lookup.landing``. It looks again, too: what was not there may
    have come between its look and that.
    """
    if lookup.has_waited or lookup.landing is not None or verdict is Verdict.RELOAD:
        return False
    parsed = lookup.parsed
    if parsed.directives or lookup.request.extensions.get("stream") or not _HELD.isdisjoint(parsed.fields):
        return False  # it wants something else than the others, or the time it takes is its own
    lookup.credentials = credentials(lookup.ctx, lookup.request)
    if lookup.policy.shared and keys.is_signed(lookup):
        return False  # most such answers are for nobody else, which says nothing about those without credentials
    what = lookup.key if parsed.method == "GET" else f"{parsed.method} {lookup.key}"  # HEAD brings nothing for GET
    if collapse.passes(what):
        return False
    mine = Trip()
    lookup.landing = partial(collapse.land, what, mine)  # first, for an interrupt may come between
    trip = collapse.join(what, mine)
    if trip is mine:
        return True
    lookup.landing = None
    until = lookup.ctx.get(DEADLINE)
    seconds = PATIENCE if until is None else min(PATIENCE, until - clock.monotonic())
    if not trip.wait(seconds):
        if seconds == PATIENCE:
            collapse.land(what, trip, ALONE)  # nor need the others wait any longer
        return False
    lookup.has_waited = trip.brought is not None
    return trip.brought is None or trip.brought is STORED
