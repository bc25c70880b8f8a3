"""How full and how well the parts of a chain are: read from the middlewares as they stand, at the moment one looks.

Nothing is told by events, so nothing is missed, and a call pays nothing for it. A middleware shows what it keeps as an
attribute, ``circuit_breaker.gates`` for example; here it is known by that. Read are numbers in the memory of the
process; nothing is asked of a Redis or of a storage of somebody else's.

A part is kept for each key, which is an origin as a rule. What a user has made the key, a tenant or a token, may be
nobody's business: it is shown by its number alone.
"""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.introspection import name_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

Part: TypeAlias = dict[str, Any]
"""``kind``, ``name``, ``state``: good, warn or bad; ``says``: in words; ``used`` and ``of`` where it has a measure."""

MOST: Final = 8
"""Parts of a kind that a chain shows, the worst first; how many more there are is said."""

READ: Final = 100
"""Keys of a middleware that are looked at, those asked for last: a crawler has a thousand, and this is each second."""

OURS: Final = "formation.middleware."

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/@?#\s]{1,200}")

_WORSE: Final = {"bad": 0, "warn": 1, "good": 2}


def parts_of(layers: Iterable[Any]) -> list[Part]:
    """Return the parts of the middlewares that have any."""
    found: list[Part] = []
    for layer in layers:
        if not str(getattr(layer, "__module__", "")).startswith(OURS):  # of others, an attribute may mean anything
            continue
        kind = name_of(layer)
        for attribute, read in READERS.items():
            kept = getattr(layer, attribute, None)
            if kept is not None:
                parts = [{"kind": kind} | part for part in read(layer, kept)]
                parts.sort(key=lambda part: (_WORSE[part["state"]], -_share(part)))
                found += parts[:MOST]
                if len(parts) > MOST:
                    found.append({"kind": kind, "name": f"{len(parts) - MOST} more", "state": "good", "says": ""})
    return found


def _share(part: Part) -> float:
    return float(part["used"] / part["of"]) if part.get("of") else 0.0


def _named(kept: Any) -> Iterator[tuple[str, Any]]:
    for at, (key, thing) in enumerate(kept.items()[-READ:], 1):
        yield shown(key, at), thing


def shown(key: Hashable, at: int) -> str:
    """Return an origin as it is, and of any other key only which one it is.

    >>> shown("https://h", 1), shown(None, 1), shown("tenant-7", 2), shown("https://me:secret@h", 3)
    ('https://h', '', 'key 2', 'key 3')
    """
    if key is None:
        return ""
    return key if isinstance(key, str) and _ORIGIN.fullmatch(key) else f"key {at}"


def _measure(name: str, used: float, of: float, says: str, *, warn: float = 0.8) -> Part:
    share = used / of if of else 0.0
    return {
        "name": name,
        "state": "bad" if share >= 1 else "warn" if share >= warn else "good",
        "says": says,
        "used": round(used, 3),
        "of": round(of, 3),
    }


def _circuits(layer: Any, gates: Any) -> Iterator[Part]:
    for name, gate in _named(gates):
        if not gate.in_memory:  # to ask may take a while
            yield {"name": name, "state": "good", "says": "kept elsewhere"}
            continue
        state = gate.state
        how = {"closed": "good", "open": "bad"}.get(state, "warn")
        yield {"name": name, "state": how, "says": state}


def _places(layer: Any, places: Any) -> Iterator[Part]:
    for name, permits in _named(places):
        used, of, waiting = permits.in_use, permits.number, permits.waiting
        says = f"{used} of {of}" + (f", {waiting} wait" if waiting else "")
        yield _measure(name, used, of, says)


def _limits(layer: Any, limiters: Any) -> Iterator[Part]:
    for name, limiter in _named(limiters):
        used, of = limiter.in_flight, limiter.limit
        yield _measure(name, used, of, f"{used} of {of}, found by itself")


def _budgets(layer: Any, budget: Any) -> Iterator[Part]:
    spent = dict(budget.spent)
    for at, (key, tokens) in enumerate(spent.items() or [(None, 0.0)], 1):
        left = max(budget.capacity - tokens, 0)
        worth = left / budget.cost
        says = f"{int(worth)} retries left" if spent else "full"
        used_up = {} if left >= budget.cost else {"state": "bad", "says": "used up"}
        yield {**_measure(shown(key, at), tokens, budget.capacity, says), **used_up, "kind": f"{name_of(layer)} budget"}


def _turns(layer: Any, turns: Any) -> Iterator[Part]:
    booked, per = getattr(turns, "booked", None), getattr(layer, "per", 1)
    if booked is None:
        yield {"name": "", "state": "good", "says": "kept elsewhere"}
        return
    interval = per / layer.rate
    ahead = booked()
    queue = max(0, ceil(round(ahead / interval, 6)) - layer.burst)
    rate = f"{layer.rate:g} in {per:g} s" if per != 1 else f"{layer.rate:g} in a second"
    says = f"{rate}; {queue} wait" if queue else rate
    yield {"name": "", "state": "warn" if queue else "good", "says": says}


def _refusals(layer: Any, counts: Any) -> Iterator[Part]:
    for name, counted in _named(counts):
        asked, accepted = counted.requests, counted.accepts
        part = accepted / asked if asked else 1.0
        state = "bad" if part < 0.5 else "warn" if part < 0.9 else "good"
        yield {"name": name, "state": state, "says": f"accepts {part:.0%} of {asked}"}


READERS: Final = {
    "gates": _circuits,
    "places": _places,
    "limiters": _limits,
    "budget": _budgets,
    "turns": _turns,
    "counts": _refusals,
}
"""By the attribute that shows it."""
