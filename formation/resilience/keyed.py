"""One thing for each key: a circuit for each origin, a count for each client. However many come, there is an end to it.

Theory of operation
-------------------
There are two answers to keys without end, for forgetting costs different things.

`Keyed` forgets what has not been asked for longest. A circuit of a host that nobody asks may be forgotten.

`KeyedUntilOver` forgets only what is *over*, which says no more than a new one would: a client who has used up his
limit is not to get another one for having waited among many. But where things take long to be over, there can be more
of them than there is room for: one for each address that has ever asked, for a day. Those kept are not dropped, or who
comes with many names would have his earlier ones forgotten. It is the newcomers who share: each belongs, by his hash,
to one of `SHARED` things, and to that one until it is over. What counts calls then counts those of several together:
too strict with some, never too lax with anybody.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

LIMIT: Final = 1024
"""Things kept: a client that talks to more hosts than that is a crawler, and meets each of them once."""

MOST: Final = 100_000
"""Keys that have a thing of their own until it is over: some 30 MB of small ones."""

SHARED: Final = 1024
"""Things for the others."""

LEAST: Final = LIMIT
"""Newcomers between two searches for what is over, at least."""


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


class KeyedUntilOver(Generic[T]):
    """A mapping that makes what it is asked for, and keeps it until it is over. Who asks holds a lock.

    Args:
        make: makes one.
        is_over: tells of one whether it says no more than a new one.
        most: keys that have one of their own.

    >>> lists = KeyedUntilOver(list, lambda thing: not thing, most=2)
    >>> lists["a"].append(1), lists["b"].append(1), lists["c"].append(1)
    (None, None, None)
    >>> lists["a"], len(lists)
    ([1], 3)
    """

    def __init__(self, make: Callable[[], T], is_over: Callable[[T], bool], most: int = MOST) -> None:
        self._make = make
        self._is_over = is_over
        self._most = most
        self.own: dict[Hashable, T] = {}  # by key, for who looks here first
        self._shared: dict[int, T] = {}
        self._newcomers_until_search = LEAST

    def get(self, key: Hashable) -> T | None:
        """Return the one for ``key`` if there is one."""
        found = self.own.get(key)
        return self._shared.get(hash(key) % SHARED) if found is None else found

    def __getitem__(self, key: Hashable) -> T:
        found = self.own.get(key)
        if found is not None:
            return found
        self._newcomers_until_search -= 1
        if self._newcomers_until_search < 0:
            self.own = {each: thing for each, thing in self.own.items() if not self._is_over(thing)}
            self._shared = {each: thing for each, thing in self._shared.items() if not self._is_over(thing)}
            # As many again, so that a search costs each newcomer the same, however many there are.
            self._newcomers_until_search = max(LEAST, len(self.own))
        place = hash(key) % SHARED
        shared = self._shared.get(place)
        if shared is not None and not self._is_over(shared):  # perhaps it is this one's call that it counts
            return shared
        made = self._make()
        if len(self.own) < self._most:
            self.own[key] = made
        else:
            self._shared[place] = made
        return made

    def values(self) -> list[T]:
        """Return what there is; that is no asking for it."""
        return [*self.own.values(), *self._shared.values()]

    def __len__(self) -> int:
        return len(self.own) + len(self._shared)
