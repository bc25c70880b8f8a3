"""Where entries are kept: what every store can do, and how an entry becomes bytes and back.

Theory of operation
-------------------
A store keeps the entries of a key side by side, one for each variant. To put one replaces the one of that variant and
touches no other, so of two processes that put at the same time neither loses what the other has put.

Two things are kept apart by *when they were asked for* (``Entry.requested_at``), not by when they come:

- An answer that was asked for earlier does not replace one that was asked for later.
- After a drop, what was asked for before it is refused: a GET that was under way while a POST changed the resource
  would put back what the POST has outdated. The time of a drop is kept for `REMEMBERED` seconds, and what took longer
  than that to come is refused as well, so nothing gets by.

What is read from outside of the process is believed only if it is whole and says what an entry says. It is never
unpickled.
"""

from __future__ import annotations

import json
from hashlib import sha256
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol
from zlib import crc32

from formation.caching.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

REMEMBERED: Final = 600.0
"""Seconds for which a drop is remembered, and the longest that an answer may take to be kept: ten minutes are more than
proxies and load balancers let a request last."""

VARIANTS: Final = 16
"""Entries of one key: formats by languages, a few of each. A client that makes up new ones pushes out those of this
key alone."""

_FRAME: Final = Struct(">4sII")  # what it is, the checksum of the rest, and where the body begins
_MAGIC: Final = b"fmc1"


class Store(Protocol):
    """Keeps entries by key. Threads, and tasks by way of the bridge, use it at the same time.

    It may raise whatever it likes: a cache whose store fails goes on without it.
    """

    def get(self, key: str, /) -> list[Entry]:
        """Return the entries of ``key``, the body of each as bytes; none is a list that is empty."""

    def put(self, key: str, entry: Entry, /) -> None:
        """Keep ``entry`` in the place of the one of its variant, unless a later one, or a drop, has been there."""

    def drop(self, key: str, at: float, /) -> None:
        """Forget the entries of ``key``, and refuse those that were asked for until ``at``."""


def name_of_variant(entry: Entry) -> str:
    """Return a short name for the variant, which tells nothing of the cookies or tokens that it was chosen by."""
    return sha256(json.dumps(entry.variant).encode()).hexdigest()[:32]


def packed(entry: Entry) -> bytes:
    """Return all of ``entry`` as bytes."""
    head = entry.pack()
    crc = crc32(entry.body, crc32(head))
    return b"".join((_FRAME.pack(_MAGIC, crc, len(head)), head, entry.body))


def unpacked(data: Any) -> Entry | None:
    """Return the entry that `packed` made ``data`` of, or ``None`` for whatever else it is."""
    if not isinstance(data, bytes) or len(data) < _FRAME.size:
        return None
    magic, crc, length = _FRAME.unpack_from(data)
    if magic != _MAGIC or crc32(memoryview(data)[_FRAME.size :]) != crc:
        return None
    stop = _FRAME.size + length
    try:
        entry = Entry.unpack(data[_FRAME.size : stop], data[stop:])
    except ValueError:
        return None
    return entry if _is_sound(entry) else None


def _is_sound(entry: Entry) -> bool:
    """Tell whether the fields are what the policy takes them to be: somebody else may write to a store, too."""
    return (
        all(is_one(getattr(entry, name)) for name, is_one in _KINDS.items())
        and entry.length == len(entry.body)
        and all(type(name) is str and (value is None or type(value) is str) for name, value in entry.vary)
        and all(_is_line(name, value) for name, value in entry.headers)
    )


def _is_line(name: Any, value: Any) -> bool:
    """Tell whether it is a header that breaks no message."""
    if type(name) is not str or type(value) is not str:
        return False
    if not (name.isascii() and name.isprintable()) or {"\r", "\n", "\0"} & set(value):
        return False
    return value.isascii() or max(value) <= "\xff"


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and isfinite(value)


def _is_date(value: Any) -> bool:
    """Tell whether it is a time that HTTP can write, which has four digits for a year."""
    return _is_number(value) and bool(-62_135_596_800 <= value < 253_402_300_800)


def _maybe(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_one(value)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


_KINDS: Final[dict[str, Callable[[Any], bool]]] = {
    "method": _is(str),
    "url": _is(str),
    "status": lambda value: type(value) is int and 100 <= value <= 999,
    **dict.fromkeys(("received_at", "age", "date", "lifetime", "stale_while_revalidate", "requested_at"), _is_number),
    "stale_if_error": _maybe(_is_number),
    "last_modified": _maybe(_is_date),
    **dict.fromkeys(("heuristic", "shared", "no_cache", "must_revalidate", "immutable"), _is(bool)),
    "etag": _maybe(_is(str)),
}
