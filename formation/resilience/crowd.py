"""One thing for each key, as long as it says something; and however many keys come, no more than so many things.

Theory of operation
-------------------
A thing that is *over* says no more than a new one would, so it is forgotten. But where things take long to be over,
there can be more of them than there is room for: one for each address that has ever asked, for a day. Those kept are
not dropped, or who comes with many names would have his earlier ones forgotten. It is the newcomers who share: each
belongs, by his hash, to one of `SHARED` things, and to that one until it is over. What counts calls then counts those
of several together: too strict with some, never too lax with anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

LEAST: Final = 1024
"""Newcomers between two searches for what is over, at least. As many as circuits, see `keyed.LIMIT`."""

MOST: Final = 100_000
"""Keys that have a thing of their own: some 30 MB of small ones."""

SHARED: Final = 1024
"""Things for the others."""


class Crowd(Generic[T]):
    """Things by key. Who asks holds a lock.

    Args:
        make: makes one.
        is_over: tells of one whether it says no more than a new one.
        most: keys that have one of their own.

    >>> crowd = Crowd(list, lambda thing: not thing, most=2)
    >>> crowd["a"].append(1), crowd["b"].append(1), crowd["c"].append(1)
    (None, None, None)
    >>> crowd["a"], len(crowd)
    ([1], 3)
    """

    def __init__(self, make: Callable[[], T], is_over: Callable[[T], bool], most: int = MOST) -> None:
        self._make = make
        self._is_over = is_over
        self._most = most
        self._own: dict[Hashable, T] = {}
        self._shared: dict[int, T] = {}
        self._newcomers_until_search = LEAST

    def get(self, key: Hashable) -> T | None:
        """Return the one for ``key`` if there is one."""
        found = self._own.get(key)
        return self._shared.get(hash(key) % SHARED) if found is None else found

    def __getitem__(self, key: Hashable) -> T:
        found = self._own.get(key)
        if found is not None:
            return found
        self._newcomers_until_search -= 1
        if self._newcomers_until_search < 0:
            self._own = {each: thing for each, thing in self._own.items() if not self._is_over(thing)}
            self._shared = {each: thing for each, thing in self._shared.items() if not self._is_over(thing)}
            # As many again, so that a search costs each newcomer the same, however many there are.
            self._newcomers_until_search = max(LEAST, len(self._own))
        place = hash(key) % SHARED
        shared = self._shared.get(place)
        if shared is not None and not self._is_over(shared):  # perhaps it is this one's call that it counts
            return shared
        made = self._make()
        if len(self._own) < self._most:
            self._own[key] = made
        else:
            self._shared[place] = made
        return made

    def values(self) -> list[T]:
        """Return what there is; that is no asking for it."""
        return [*self._own.values(), *self._shared.values()]

    def __len__(self) -> int:
        return len(self._own) + len(self._shared)
