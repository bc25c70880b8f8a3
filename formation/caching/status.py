"""Cache-Status: what a cache did with a request, for people and tools downstream (RFC 9211)."""

from __future__ import annotations

import re
from math import floor
from typing import TYPE_CHECKING, Any, Final

from formation.caching.decisions import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formation.caching.entry import Entry

FORWARDED: Final = frozenset({"bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"})
"""Why a request was sent on (RFC 9211, 2.2)."""

REASONS: Final[Mapping[Verdict, str]] = {
    Verdict.VALIDATE: "stale",
    Verdict.REFRESH: "stale",
    Verdict.RELOAD: "request",
    Verdict.MISS: "uri-miss",
}
"""The same, by what `Policy.decide` said; where there are entries, and Vary rules out all of them, ``vary-miss``."""

_is_token = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*").fullmatch
_unprintable = re.compile(r"[^ -~]")


def cache_status(cache: str, **told: Any) -> str:
    """Return a member of Cache-Status; a line of it goes below those that came from upstream.

    Args:
        cache: the name of the cache.
        told: what it has done, as for `parameters`.

    Raises:
        ValueError: as `parameters`.

    >>> cache_status("formation", hit=True, ttl=59.9), cache_status("a b", fwd="stale", fwd_status=304)
    ('formation; hit; ttl=59', '"a b"; fwd=stale; fwd-status=304')
    """
    return "; ".join(filter(None, (_text(cache), parameters(**told))))


def parameters(
    *,
    hit: bool = False,
    fwd: str | None = None,
    fwd_status: int | None = None,
    ttl: float | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> str:
    """Return what stands behind the name in a member of Cache-Status.

    Args:
        hit: the request was not sent on.
        fwd: why it was, one of `FORWARDED`. Either this or ``hit``.
        fwd_status: what the next server answered, if not what was sent back.
        ttl: seconds for which the response is fresh yet, negative if it is stale.
        stored: whether the response has been stored.
        collapsed: whether the request waited for the answer to another one.
        key: of the entry.
        detail: anything more.

    Raises:
        ValueError: ``hit`` and ``fwd``, or ``fwd`` is no such word.

    >>> parameters(fwd="uri-miss", stored=True)
    'fwd=uri-miss; stored'
    """
    if (hit and fwd is not None) or (fwd is not None and fwd not in FORWARDED):
        raise ValueError(f"expected hit, or fwd as one of {sorted(FORWARDED)}, got hit={hit!r}, fwd={fwd!r}")
    parts = ["hit"] if hit else []
    if fwd is not None:
        parts.append(f"fwd={fwd}")
    if fwd_status is not None:
        parts.append(f"fwd-status={fwd_status}")
    if ttl is not None:
        parts.append(f"ttl={floor(ttl)}")
    if stored:
        parts.append("stored")
    if collapsed:
        parts.append("collapsed")
    if key is not None:
        parts.append(f"key={_string(key)}")
    if detail is not None:
        parts.append(f"detail={_text(detail)}")
    return "; ".join(parts)


def ttl(entry: Entry, now: float) -> float:
    """Return for how many seconds ``entry`` is fresh yet; negative: since when it is not."""
    return entry.lifetime - entry.age_at(now)


def _text(value: str) -> str:
    return value if _is_token(value) else _string(value)


def _string(value: str) -> str:
    escaped = _unprintable.sub("?", value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
