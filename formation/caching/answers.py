"""What an entry answers a request: 200, 304, 206 or 416, in the order of RFC 9110, 13.2.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from formation import dates
from formation.caching import ranges
from formation.http.validators import is_listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formation.caching.entry import Entry
    from formation.caching.request import Request

LEFT_OUT: Final = frozenset(
    {
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "last-modified",
    }
)
"""What a 304 does not repeat: the client has it (RFC 9110, 15.4.5). Nor does a 416, which is about something else."""


@frozen
class Answer:
    """What to send: ``body`` is the part of the entry's body, ``slice(start, stop)``; ``None``: no body."""

    status: int
    headers: list[tuple[str, str]]
    body: slice | None


def answer(request: Request, entry: Entry, now: float) -> Answer:
    """Return what ``entry`` answers ``request``. What is for the origin only is not looked at (RFC 9111, 4.3.2)."""
    fields = request.fields
    age = ("Age", str(int(entry.age_at(now))))
    if 200 <= entry.status < 300 and _not_modified(fields, entry, now):
        left_out = LEFT_OUT if entry.etag else LEFT_OUT - {"last-modified"}
        return Answer(304, [*_but(entry, left_out), age], None)
    if request.method == "HEAD" or entry.method == "HEAD":
        return Answer(entry.status, [*entry.headers, age], None)
    if "range" in fields and entry.status == 200:
        partial = _part(fields, entry, age)
        if partial is not None:
            return partial
    return Answer(entry.status, [*entry.headers, age], slice(0, entry.length))


def _not_modified(fields: Mapping[str, str], entry: Entry, now: float) -> bool:
    if "if-none-match" in fields:
        return is_listed(fields["if-none-match"], entry.etag, strong=False, lenient=True)
    if "if-modified-since" in fields:
        modified = entry.date if entry.last_modified is None else entry.last_modified  # RFC 9111, 4.3.2
        since = dates.parse(fields["if-modified-since"], now)
        return since is not None and modified <= since
    return False


def _part(fields: Mapping[str, str], entry: Entry, age: tuple[str, str]) -> Answer | None:
    same = fields.get("if-range")
    if same is not None and not ranges.is_of_this(same, entry.etag, entry.last_modified, entry.date):
        return None
    try:
        taken = ranges.part(fields["range"], entry.length)
    except LookupError as beyond:
        told = [("Content-Range", str(beyond.args[0])), ("Content-Length", "0"), age]
        return Answer(416, _but(entry, LEFT_OUT) + told, None)
    if taken is None:
        return None
    told = [("Content-Range", ranges.content_range(taken, entry.length))]
    told += [("Content-Length", str(taken.stop - taken.start)), age]
    return Answer(206, _but(entry, {"content-length", "content-range"}) + told, taken)


def _but(entry: Entry, names: frozenset[str] | set[str]) -> list[tuple[str, str]]:
    return [line for line in entry.headers if line[0].lower() not in names]
