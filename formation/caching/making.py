"""Entries from heads: what a head says about its use, read once. RFC 9111, 3.1, 3.2 and 4.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import evolve, frozen

from formation import dates
from formation.caching import directives, freshness, storing, variants
from formation.caching.entry import Entry
from formation.caching.fields import joined
from formation.http.validators import is_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formation.caching.directives import Directives
    from formation.caching.fields import Lines
    from formation.caching.request import Request

Key: TypeAlias = tuple[str, str, variants.Vary]
"""Method, URL, and what the request was chosen by."""

NOBODY: Final[variants.Vary] = (("", ""),)
"""The Vary of what answers no other request: no header has such a name."""

FIXED: Final = frozenset({"content-encoding", "content-length", "content-md5", "content-range"})
"""What is true of the stored body stays so, whatever a 304 says (RFC 9111, 3.2)."""


@frozen
class Settings:
    """What `Policy` was given, and how a head is read by it."""

    shared: bool
    heuristic: float
    max_heuristic: float
    stale_if_error: float | None
    targets: tuple[str, ...]

    def directives(self, fields: Mapping[str, str]) -> tuple[Directives, bool]:
        """Return the directives that apply to this cache, and whether they are of a targeted field (RFC 9213, 2.2)."""
        for name in self.targets:
            if name in fields:
                found = directives.parse_targeted(fields[name])
                if found is not None:
                    return found, True
        return directives.parse(fields.get("cache-control")), False

    def lifetime(self, status: int, fields: Mapping[str, str], date: float) -> freshness.Lifetime:
        """Return for how long a response is fresh."""
        found, targeted = self.directives(fields)
        return freshness.lifetime(
            status,
            fields,
            found,
            date,
            shared=self.shared,
            targeted=targeted,
            heuristic=self.heuristic,
            max_heuristic=self.max_heuristic,
        )


def vary(headers: Lines, request: Request) -> variants.Vary:
    """Return what a response to ``request`` depends on, and by which values."""
    names = variants.names(joined(headers).get("vary"))
    return NOBODY if names is None else variants.chosen_by(names, request.fields)


def entry(settings: Settings, head: Lines, status: int, *, key: Key, requested_at: float, received_at: float) -> Entry:
    """Return the entry for a head, without a body."""
    fields = joined(head)
    told = settings.directives(fields)[0]
    drop = storing.dropped(fields, told, shared=settings.shared)
    date = dates.parse(fields.get("date"), received_at)
    added = []
    if date is None:  # RFC 9110, 6.6.1: who receives no Date puts in when it came
        date = received_at
        drop.add("date")
        added = [("Date", dates.format(received_at))]
    life = settings.lifetime(status, fields, date)
    strict = ("must-revalidate", "proxy-revalidate", "s-maxage") if settings.shared else ("must-revalidate",)
    etag = fields.get("etag", "")
    method, url, chosen_by = key
    return Entry(
        method=method,
        url=url,
        vary=chosen_by,
        status=status,
        headers=tuple(storing.kept(head, drop) + added),
        requested_at=requested_at,
        received_at=received_at,
        age=freshness.initial_age(fields, date, requested_at, received_at),
        date=date,
        lifetime=life.seconds,
        heuristic=not life.explicit,
        shared=settings.shared,
        no_cache=storing.whole("no-cache", told),
        must_revalidate=any(name in told for name in strict),
        immutable="immutable" in told,
        stale_while_revalidate=directives.seconds(told.get("stale-while-revalidate")) or 0,
        stale_if_error=(directives.seconds(told["stale-if-error"]) or 0) if "stale-if-error" in told else None,
        etag=etag if is_tag(etag, lenient=True) else None,
        last_modified=dates.parse(fields.get("last-modified"), received_at),
    )


def updated(
    settings: Settings, old: Entry, head: Lines, *, chosen_by: variants.Vary, requested_at: float, received_at: float
) -> Entry:
    """Return ``old`` with the fields of ``head``, which confirms it (RFC 9111, 3.2)."""
    told = joined(head)
    drop = storing.dropped(told, settings.directives(told)[0], shared=settings.shared) - {"age"}
    news = storing.kept(head, drop | FIXED)
    if dates.parse(told.get("date"), received_at) is None:
        news.append(("Date", dates.format(received_at)))  # not the old one, by which it would be old at once
    kept = storing.kept(old.headers, {name.lower() for name, _ in news})
    key = (old.method, old.url, chosen_by)
    new = entry(settings, kept + news, old.status, key=key, requested_at=requested_at, received_at=received_at)
    return evolve(new, body=old.body, length=old.length)
