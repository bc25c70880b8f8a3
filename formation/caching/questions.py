"""What to ask the origin about entries, and which of them a 304 is about: RFC 9111, 4.3.

The entity tags of all variants are offered, for one of them may be what this request gets, too. Last-Modified only of
the one that Vary has selected: variants may well be of the same time, and a 304 would not tell them apart. Nor would it
by weak tags, which many a server, nginx for one, gives alike to what is packed and what is not. Nor is the tag offered
of what was chosen by a cookie or by credentials: many a server has one tag for the pages of all its users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation import dates
from formation.caching import storing
from formation.caching.fields import joined
from formation.http.validators import is_weak, strong_match, weak_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formation.caching.entry import Entry
    from formation.caching.fields import Lines
    from formation.caching.request import Request

TAGS: Final = 16
"""Entity tags in one question, the newest: with more, the headers may get longer than a server takes."""

PERSONAL: Final = frozenset({"authorization", "cookie"})
"""Headers that tell users apart."""

CONDITIONS: Final = frozenset(
    {"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"}
)
"""Request headers that ours replace: an answer to them would be of no use to the entry."""


def conditional(request: Request, entry: Entry | None, entries: Iterable[Entry]) -> list[tuple[str, str]] | None:
    """Return the request headers to send in place of the caller's; ``None``: there is nothing to validate.

    Args:
        request: to be answered.
        entry: that `Policy.select` gave.
        entries: of the same URL, which a request by this method may be answered with.
    """
    if request.for_origin or "no-store" in request.directives:
        return None
    tags = list(dict.fromkeys(str(one.etag) for one in offered(entry, entries)))
    modified = None if entry is None else entry.last_modified
    if not tags and modified is None:
        return None
    headers = storing.kept(request.headers, CONDITIONS)
    if tags:
        headers.append(("If-None-Match", ", ".join(tags)))
    if modified is not None:
        headers.append(("If-Modified-Since", dates.format(modified)))
    return headers


def validated(headers: Lines, entry: Entry | None, entries: Iterable[Entry]) -> Entry | None:
    """Return the entry that a 304 with ``headers`` is about; ``None``: one that we do not have.

    Args:
        headers: of the 304.
        entry: as given to `conditional`.
        entries: the same.
    """
    asked = offered(entry, entries)
    told = joined(headers)
    tag = told.get("etag")
    if tag is None:  # it does not say, and need not if only one was asked about
        return entry if all(one is entry for one in asked) else None
    if entry is not None and not asked:  # whose date was asked about, for it has no tag
        return entry if dates.parse(told.get("last-modified"), entry.received_at) == entry.last_modified else None
    same = weak_match if is_weak(tag) else strong_match
    found = (one for one in asked if same(str(one.etag), tag))
    return next(found, None)


def offered(entry: Entry | None, entries: Iterable[Entry]) -> Sequence[Entry]:
    """Return the entries whose tags are offered, the selected one first, then the newest."""
    if entry is not None and entry.etag is None and entry.last_modified is not None:
        return ()  # beside If-None-Match, its If-Modified-Since would count for nothing
    others = [one for one in entries if one.etag and _tells_apart(one)]
    others.sort(key=lambda one: (one.date, one.received_at), reverse=True)
    if entry is not None and entry.etag:
        others = [entry, *(one for one in others if one is not entry)]
    return others[:TAGS]


def _tells_apart(one: Entry) -> bool:
    """Whether the tag of a variant stands for that one alone."""
    return not is_weak(str(one.etag)) and PERSONAL.isdisjoint(name for name, _ in one.vary)
