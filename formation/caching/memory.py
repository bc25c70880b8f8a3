"""A store in the memory of the process: what has not been used for the longest time goes first."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final

from formation.caching.store import REMEMBERED, VARIANTS

if TYPE_CHECKING:
    from formation.caching.entry import Entry

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes kept: a thousand pages of 64 KiB, and no more than a service of one process has to spare."""

OVERHEAD: Final = 768
"""Bytes that an entry takes besides its headers and its body, by what ``tracemalloc`` says: rounded up."""

LINE: Final = 128
"""The same for each header, and each value that it was chosen by: two strings and a pair of them."""

_DROPS: Final = 10_000  # drops remembered one by one; of older ones only the time of the last is


class MemoryStore:
    """Keep entries in memory, for the threads and tasks of this process.

    Args:
        max_bytes: of bodies, headers and URLs, all in all.

    Raises:
        ValueError: ``max_bytes`` is no number of bytes.
    """

    waits = False
    """Whether a call may take so long that an event loop should not stand still meanwhile."""
    leaves = False
    """Whether entries leave the process."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
            raise ValueError(f"expected max_bytes as a number of bytes above 0, got {max_bytes!r}")
        self.max_bytes = max_bytes
        self.size = 0
        # A collection may end a forgotten response, whose body is then put, while this very thread holds the lock.
        self._lock = RLock()
        self._kept: OrderedDict[str, dict[object, Entry]] = OrderedDict()
        self._dropped: OrderedDict[str, float] = OrderedDict()
        self._all_dropped = float("-inf")

    def get(self, key: str, /) -> list[Entry]:
        """Return the entries of ``key``."""
        kept = self._kept
        with self._lock:
            found = kept.get(key)
            if found is None:
                return []
            kept.move_to_end(key)
            return list(found.values())

    def put(self, key: str, entry: Entry, /) -> None:
        """Keep ``entry``."""
        size, variant, asked = _size(entry), entry.variant, entry.requested_at
        if size > self.max_bytes or entry.received_at - asked > REMEMBERED:
            return
        with self._lock:
            if asked <= self._dropped.get(key, self._all_dropped):
                return
            found = self._kept.setdefault(key, {})
            self._kept.move_to_end(key)
            old = found.get(variant)
            if old is not None and old.requested_at > asked:
                return
            found.pop(variant, None)  # to the end of the line
            found[variant] = entry
            self.size += size - (0 if old is None else _size(old))
            if len(found) > VARIANTS:
                self.size -= _size(found.pop(next(iter(found))))
            while self.size > self.max_bytes:
                _, gone = self._kept.popitem(last=False)
                self.size -= sum(map(_size, gone.values()))

    def drop(self, key: str, at: float, /) -> None:
        """Forget the entries of ``key``."""
        with self._lock:
            self.size -= sum(map(_size, self._kept.pop(key, {}).values()))
            self._dropped[key] = max(at, self._dropped.pop(key, at))
            if len(self._dropped) > _DROPS:
                _, then = self._dropped.popitem(last=False)
                self._all_dropped = max(self._all_dropped, then)

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self)} entries, {self.size} of {self.max_bytes} bytes>"


def _size(entry: Entry) -> int:
    lines = sum([LINE + len(name) + len(value or "") for name, value in (*entry.headers, *entry.vary)])
    return OVERHEAD + entry.length + len(entry.url) + lines
