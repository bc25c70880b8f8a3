"""One thing for each key: a circuit for each origin. Made when it is first asked for, and not more than so many."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

LIMIT: Final = 1024
"""Things kept: a client that talks to more hosts than that is a crawler, and meets each of them once."""


class Keyed(Generic[T]):
    """A mapping that makes what it is asked for; over its limit, what has not been asked for longest goes.

    Threads may share it: for a key there is one thing, as long as it is kept. What is ``in_use`` is kept, whatever the
    limit.

    >>> lists = Keyed(lambda key: [key], limit=2)
    >>> lists["a"] is lists["a"], lists["b"], lists["c"], list(lists)
    (True, ['b'], ['c'], ['b', 'c'])
    """

    def __init__(
        self, make: Callable[[Hashable], T], limit: int = LIMIT, in_use: Callable[[T], bool] = lambda thing: False
    ) -> None:
        self._make = make
        self._limit = limit
        self._in_use = in_use
        # A collection may end something that asks here, too, while this very thread holds the lock.
        self._lock = RLock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._last: tuple[Hashable, T | None] = (None, None)  # that was asked for

    def __getitem__(self, key: Hashable) -> T:
        last, found = self._last
        if found is not None and last == key:  # most have one key, and it costs a third
            return found
        kept = self._kept
        with self._lock:
            found = kept.get(key)
            if found is None:
                made = self._make(key)
                if len(kept) >= self._limit:
                    for old in [each for each, thing in list(kept.items()) if not self._in_use(thing)][:1]:
                        kept.pop(old, None)
                found = kept.setdefault(key, made)
            kept.move_to_end(key)
            self._last = key, found
        return found

    def __iter__(self) -> Iterator[Hashable]:
        with self._lock:
            return iter(list(self._kept))

    def items(self) -> list[tuple[Hashable, T]]:
        """Return what there is; that is no asking for it.

        >>> lists = Keyed(lambda key: [key])
        >>> lists["a"], lists.items()
        (['a'], [('a', ['a'])])
        """
        with self._lock:
            return list(self._kept.items())

    def __len__(self) -> int:
        return len(self._kept)
