"""One snapshot a second for all who look. Nobody looks, nothing is made: there is no thread and no task behind it.

Whoever is first to want the snapshot of a second makes it; the others, in whatever thread or task, send the same bytes.
No lock is held while it is made, for that looks at what users have made.
"""

from __future__ import annotations

import json
from logging import getLogger
from signal import SIGTERM, getsignal
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY: Final = 1.0
"""Seconds between two snapshots: numbers that change faster cannot be read."""

LIFE: Final = 10.0
"""Seconds that a stream lasts. Then the page asks again, by itself and unseen. Servers that stop wait for their last
responses to end, and most tell an app only after that; so they wait no longer than this, see `is_stopping`."""


class Feed:
    """Gives out snapshots, and counts the streams that are open.

    Args:
        make: makes a snapshot.
        clock: monotonic seconds.
    """

    def __init__(self, make: Callable[[], Any], clock: Callable[[], float]) -> None:
        self.closed = Event()
        self.open = 0
        self.made = 0
        self._make = make
        self._clock = clock
        self._lock = Lock()
        self._due = clock()
        self._latest = b""
        self._is_making = False

    def latest(self) -> tuple[int, bytes]:
        """Return the number of the last snapshot, and its JSON; make it, if it is time and nobody else does."""
        with self._lock:
            now = self._clock()
            mine = now >= self._due and not self._is_making
            self._is_making |= mine
        if mine:
            try:
                made = json.dumps(self._make(), separators=(",", ":"), allow_nan=False).encode()
            except Exception:
                getLogger("formation").exception("the dashboard could not make a snapshot")
                made = self._latest
            finally:
                self._is_making = False
            with self._lock:
                self._latest, self._due = made, now + EVERY
                self.made += 1
        return self.made, self._latest

    def wait(self) -> float:
        """Return the seconds until the next one is due; a moment at least, for another may be at it."""
        return min(max(self._due - self._clock(), 0.02), EVERY)

    def enter(self, most: int) -> bool:
        """Begin a stream, unless there are ``most``; tell whether it may."""
        with self._lock:
            if self.open >= most or self.closed.is_set():
                return False
            self.open += 1
            return True

    def leave(self) -> None:
        """End a stream."""
        with self._lock:
            self.open -= 1


def is_stopping() -> bool:
    """Tell whether the server has been asked to stop, where one can see it.

    uvicorn and the workers of gunicorn handle SIGTERM by a method, and what it belongs to knows: ``should_exit``,
    ``alive``. They tell an app only after its last response has ended, which a stream would never do by itself.
    """
    server = getattr(getsignal(SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True or getattr(server, "alive", True) is False


def event(number: int, data: bytes) -> bytes:
    r"""Return an event for a stream; JSON has no line breaks. After a stream has ended, one asks again in a second.

    >>> event(7, b"{}")
    b'retry: 1000\nid: 7\ndata: {}\n\n'
    """
    return b"retry: 1000\nid: %d\ndata: %b\n\n" % (number, data)
