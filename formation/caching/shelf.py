"""A store as the cache uses it: it never fails a request, and nothing that was to be dropped comes back.

Theory of operation
-------------------
A store that raises is a store without entries, which is said once a minute. A drop that has failed is *owed*: the key
has no entries here until it has been made good, which is tried before the next look at the key. Else a Redis that was
away while something changed would come back with what it was before.
"""

from __future__ import annotations

from collections import OrderedDict
from inspect import signature
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from formation.caching.entry import Entry
from formation.caching.memory import MemoryStore
from formation.errors import StorageUnavailable
from formation.storage.outages import Outages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from formation.caching.store import Store
    from formation.events import Events

OWED: Final = 10_000
"""Drops that can be owed; beyond, the oldest is given up, which then lasts as long as its entries do."""

_SCHEMES: Final = "None, 'memory', 'sqlite:///path', 'redis://host', or an object with get, put and drop"


def stored_in(store: Any) -> Store:
    """Return the store that ``store`` names, or is.

    Raises:
        TypeError: it is none.
        ValueError: a URL of no store.
        ImportError: redis-py is not installed.

    >>> stored_in("mysql://h")
    Traceback (most recent call last):
    ValueError: expected store as None, 'memory', 'sqlite:///path', 'redis://host', or an object with get, put and drop,
    got 'mysql://h'
    """
    if store is None or store == "memory":
        return MemoryStore()
    if isinstance(store, str):
        if store.startswith("sqlite:///") and len(store) > len("sqlite:///"):
            from formation.caching.sqlite import SQLiteStore  # loads SQLite

            return SQLiteStore(store.removeprefix("sqlite:///"))
        if store.startswith(("redis://", "rediss://", "unix://")):
            from formation.caching.redis import RedisStore

            return RedisStore(store)
        raise ValueError(f"expected store as {_SCHEMES}, got {store!r}")
    if all(callable(getattr(store, name, None)) for name in ("get", "put", "drop")):
        return store  # type: ignore[no-any-return]
    if callable(getattr(store, "run", None)) and callable(getattr(store, "command", None)):
        from formation.caching.redis import RedisStore

        return RedisStore(store)
    raise TypeError(f"expected store as {_SCHEMES}, got {store!r}")


class Shelf:
    """What a cache keeps and finds.

    ``waits``: whether a call may take so long that an event loop should not stand still meanwhile. ``leaves``: whether
    entries leave the process. A store that does not say so, does both.
    """

    def __init__(self, store: Store, events: Events) -> None:
        self.store = store
        self.waits: bool = getattr(store, "waits", True)
        self.leaves: bool = getattr(store, "leaves", True)
        self._drop: Callable[[str, float], object] = store.drop
        try:
            signature(store.drop).bind("", 0.0)
        except TypeError:  # a store of somebody's, which does not remember drops
            self._drop = lambda key, _: store.drop(key)  # type: ignore[call-arg]
        except ValueError:  # it cannot be looked into, so it is taken to be as it should
            pass
        self._outages = Outages("cache", events)
        self._lock = RLock()  # a finalizer may come back here while this very thread holds it
        self._owed: OrderedDict[str, float] = OrderedDict()

    def get(self, key: str) -> list[Entry]:
        """Return the entries of ``key``; none if the store fails."""
        try:
            if self._owed and (at := self._owed.get(key)) is not None:
                self._drop(key, at)
                self._settle(key, at)
            return [each for each in self.store.get(key) if isinstance(each, Entry) and type(each.body) is bytes]
        except Exception as error:  # noqa: BLE001  whatever is wrong with a store, it is the store's
            self._tell(error)
            return []

    def put(self, key: str, entry: Entry) -> bool:
        """Keep ``entry``; tell whether that has worked."""
        try:
            self.store.put(key, entry)
        except Exception as error:  # noqa: BLE001  as above
            self._tell(error)
            return False
        return True

    def drop(self, keys: Iterable[str], at: float) -> None:
        """Forget the entries of ``keys``, and what was asked for until ``at``."""
        left = iter(keys)
        for key in left:
            try:
                self._drop(key, at)
            except Exception as error:  # noqa: BLE001  as above
                self._owe(key, at)
                self._tell(error)
            except BaseException:  # cancelled: nobody knows whether it was done
                for each in (key, *left):
                    self._owe(each, at)
                raise

    def _owe(self, key: str, at: float) -> None:
        with self._lock:
            self._owed[key] = max(at, self._owed.get(key, at))
            if len(self._owed) > OWED:
                self._owed.popitem(last=False)

    def _settle(self, key: str, at: float) -> None:
        with self._lock:
            if self._owed.get(key) == at:  # else the store has failed again meanwhile
                del self._owed[key]

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, StorageUnavailable):
            error = StorageUnavailable(repr(self.store), f"{type(error).__name__}: {error}")
        self._outages(error, fail_open=True)
