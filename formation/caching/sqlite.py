"""A store in a file, by the SQLite of the standard library: it outlives the process, and several may share it.

Theory of operation
-------------------
The file is in WAL mode: who reads never waits for who writes. Who writes waits for another writer, `BUSY` at most, and
then gives up, for a cache that makes its callers wait is none. Each thing that is done is one statement or one short
transaction, so a process that is killed leaves the one before or the one after.

A lookup takes some 25 us and a write some 50 on a local disk, which is what handing either to a thread and back would
take as well; so both are done where they stand, in an event loop too. Now and then SQLite moves its log into the file,
which takes some milliseconds. For a file on a network there are better stores.

Threads take turns on one connection. A child process after a fork opens its own, and does not touch its parent's, not
even to close it: closing would take the parent's locks away.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from formation.caching.store import REMEMBERED, VARIANTS, name_of_variant, packed, unpacked

if TYPE_CHECKING:
    from formation.caching.entry import Entry

MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes kept: four times what is kept in memory, for a disk has more to spare."""

BUSY: Final = 0.05
"""Seconds to wait for another writer. A write takes a thousandth of it, so fifty processes may stand in line; and an
event loop that stands still for so long is only just noticed."""

TICK: Final = 0.001
"""Seconds between two tries to make a file ready, which takes about as long."""

SWEEP: Final = 64
"""Writes after which a process looks whether there is too much: adding it all up takes a millisecond."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS formation_cache (
  key TEXT NOT NULL, variant TEXT NOT NULL, asked REAL NOT NULL, put REAL NOT NULL, size INTEGER NOT NULL,
  data BLOB NOT NULL, UNIQUE (key, variant));
CREATE INDEX IF NOT EXISTS formation_cache_put ON formation_cache (put, size);
CREATE TABLE IF NOT EXISTS formation_cache_dropped (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
_GET: Final = "SELECT data FROM formation_cache WHERE key = ?"
_PUT: Final = """
INSERT INTO formation_cache (key, variant, asked, put, size, data) SELECT :key, :variant, :asked, :put, :size, :data
WHERE NOT EXISTS (SELECT 1 FROM formation_cache_dropped WHERE key = :key AND at >= :asked)
ON CONFLICT (key, variant) DO UPDATE SET asked = :asked, put = :put, size = :size, data = :data WHERE asked <= :asked
"""
_FEWER: Final = """
DELETE FROM formation_cache WHERE rowid IN
(SELECT rowid FROM formation_cache WHERE key = ? ORDER BY put DESC LIMIT -1 OFFSET ?)
"""
_DROPPED: Final = """
INSERT INTO formation_cache_dropped (key, at) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET at = max(at, excluded.at)
"""
_OLDEST: Final = """
DELETE FROM formation_cache WHERE rowid IN (SELECT rowid FROM
(SELECT rowid, sum(size) OVER (ORDER BY put DESC, rowid) AS total FROM formation_cache) WHERE total > ?)
"""


class SQLiteStore:
    """Keep entries in a file, which several processes of one machine may use at the same time.

    Only this user may read a file that is made here, for answers may be private.

    Args:
        path: of the file; it is made, but its directory is not.
        max_bytes: of bodies and headers, all in all; the oldest go first.
        busy: seconds to wait for another writer.

    Raises:
        ValueError: a number that cannot be.
    """

    waits = False
    """Whether a call may take so long that an event loop should not stand still meanwhile."""
    leaves = True
    """Whether entries leave the process."""

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, *, busy: float = BUSY) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
            raise ValueError(f"expected max_bytes as a number of bytes above 0, got {max_bytes!r}")
        if not 0 <= busy < float("inf"):
            raise ValueError(f"expected busy as seconds, 0 or more, got {busy!r}")
        self.path = Path(path).absolute()  # whatever directory the process goes to
        self.max_bytes = max_bytes
        self.busy = busy
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._writes = 0
        _all.add(self)

    def get(self, key: str, /) -> list[Entry]:
        """Return the entries of ``key``; what is no entry is left out."""
        with self._lock:
            rows = self._open().execute(_GET, (key,)).fetchall()
        return [entry for (data,) in rows if (entry := unpacked(data)) is not None]

    def put(self, key: str, entry: Entry, /) -> None:
        """Keep ``entry``."""
        if entry.received_at - entry.requested_at > REMEMBERED:
            return
        data = packed(entry)
        if len(data) > self.max_bytes:
            return
        row = {
            "key": key,
            "variant": name_of_variant(entry),
            "asked": entry.requested_at,
            "put": entry.received_at,
            "size": len(data),
            "data": data,
        }
        with self._lock:
            connection = self._open()
            connection.execute(_PUT, row)
            if entry.vary:
                connection.execute(_FEWER, (key, VARIANTS))
            self._written(connection, entry.received_at)

    def drop(self, key: str, at: float, /) -> None:
        """Forget the entries of ``key``."""
        with self._lock:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(_DROPPED, (key, at))
                connection.execute("DELETE FROM formation_cache WHERE key = ?", (key,))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            self._written(connection, at)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._to_wal(connection)
                connection.execute(f"PRAGMA busy_timeout = {min(self.busy * 1000, 2**31 - 1):.0f}").close()
                connection.execute("PRAGMA synchronous = NORMAL").close()  # enough for WAL not to break, and no fsync
                connection.executescript(_SCHEMA).close()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _to_wal(self, connection: sqlite3.Connection) -> None:
        # Of two that change a new file at the same time SQLite fails one at once, however long it may wait.
        give_up = time.monotonic() + self.busy
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").close()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                    raise
                time.sleep(TICK)
            else:
                return

    def _written(self, connection: sqlite3.Connection, now: float) -> None:
        self._writes += 1
        if self._writes % SWEEP == 0:
            self._sweep(connection, now)

    def _sweep(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM formation_cache_dropped WHERE at < ?", (now - REMEMBERED,))
        with closing(connection.execute("SELECT total(size) FROM formation_cache")) as found:
            (total,) = found.fetchone()
        if total > self.max_bytes:
            # An eighth less than may be, so that the next sweep finds nothing to do.
            connection.execute(_OLDEST, (self.max_bytes - self.max_bytes // 8,))


_all: Final[WeakSet[SQLiteStore]] = WeakSet()
_inherited: Final[list[sqlite3.Connection]] = []  # of the parent: kept, also if the store is gone, so as not to close


def _disown() -> None:
    for store in list(_all):
        store._lock = RLock()  # noqa: SLF001  some thread of the parent may have held it
        if store._connection is not None:  # noqa: SLF001
            _inherited.append(store._connection)  # noqa: SLF001
            store._connection = None  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
