"""What ``storage=`` of a middleware may be: nothing, for the memory of the process; a Redis; an object of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from formation.storage.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Storage: TypeAlias = Redis | str
"""What a Redis is given as: itself, or its URL."""


def of(storage: Storage) -> Redis:
    """Return ``storage``, or a Redis of the URL, or of the client of redis-py, that it is.

    Raises:
        TypeError: it is none of these.

    >>> of("redis://localhost/3")
    Redis('localhost:6379/3')
    """
    if isinstance(storage, Redis):
        return storage
    if isinstance(storage, str) or callable(getattr(storage, "execute_command", None)):
        return Redis(storage)
    raise TypeError(f"expected storage as a Redis or a URL such as 'redis://localhost:6379/0', got {storage!r}")


def kept_in(storage: Storage | T | None, own: str, memory: Callable[[], T], shared: Callable[[Redis], T]) -> T:
    """Return what a middleware keeps its things in.

    Args:
        storage: what it was given.
        own: the method that an object of the user's own has.
        memory: makes one in the memory of the process, for ``None``.
        shared: makes one in the Redis that is given, or whose URL is.

    Raises:
        TypeError: it is none of these.

    >>> from formation.resilience.shared_turns import RedisTurns
    >>> from formation.resilience.turns import MemoryTurns
    >>> [type(kept_in(given, "reserve", MemoryTurns, RedisTurns)).__name__ for given in (None, "redis://localhost")]
    ['MemoryTurns', 'RedisTurns']
    """
    if storage is None:
        return memory()
    if callable(getattr(storage, own, None)):
        return cast("T", storage)
    return shared(of(cast("Storage", storage)))
