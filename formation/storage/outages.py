"""What middlewares that share something between processes ask and say: how many there are; that Redis is gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from formation.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.errors import StorageUnavailable
    from formation.events import Events

EVERY: Final = 60.0
"""Seconds between two warnings: an outage is to be seen, and not to fill the disk."""

WORKERS: Final = "WEB_CONCURRENCY"
"""The environment variable by which servers are told how many processes to have."""


def processes() -> int:
    """Return how many processes of the server there are, as far as the environment says so."""
    said = os.environ.get(WORKERS, "")
    return int(said) if said.isdecimal() else 1


class Outages:
    """Say that the storage does not answer: the event ``storage.unavailable``, as a warning, once a minute.

    Args:
        by: the middleware's name.
        events: what says it.
        clock: monotonic seconds.

    >>> import logging
    >>> from formation.errors import StorageUnavailable
    >>> from formation.events import Events
    >>> outages = Outages("throttle", Events(logging.getLogger("quiet")), clock=lambda: 0.0)
    >>> outages(StorageUnavailable("cache:6379/0", "no answer in 0.5 s"), fail_open=True)
    """

    def __init__(self, by: str, events: Events, clock: Callable[[], float] = monotonic) -> None:
        self._by = by
        self._events = events
        self._clock = clock
        self._next = float("-inf")

    def __call__(self, error: StorageUnavailable, *, fail_open: bool) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + EVERY
        self._events(
            "warning",
            "storage.unavailable",
            middleware=self._by,
            storage=error.name,
            reason=error.why,
            goes_on="without it" if fail_open else "not at all",
        )
