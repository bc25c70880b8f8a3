"""A copy of a body, made as it streams through to whoever it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.http.body import Body


class Copy:
    """Copies ``body``; calls ``done`` once with all of it, or with ``None`` if there is no whole copy.

    Args:
        body: nobody has begun to read it.
        limit: bytes; a longer body is let go of in the middle, and so is the copy.
        expected: bytes that were announced, or ``None``.
        done: called in whatever context the body ends in.
    """

    __slots__ = ("_copied", "_done", "_expected", "_limit")

    def __init__(self, body: Body, limit: int, expected: int | None, done: Callable[[bytes | None], object]) -> None:
        self._copied: bytearray | None = bytearray()
        self._limit = limit
        self._expected = expected
        self._done = done
        body.watch(self._add)
        body.on_close(self._end)

    def _add(self, chunk: bytes) -> None:
        if self._copied is None:
            return
        if len(self._copied) + len(chunk) > self._limit:
            self._copied = None
            self._done(None)
        else:
            self._copied += chunk

    def _end(self, count: int, error: BaseException | None) -> None:
        copied, self._copied = self._copied, None
        if copied is None:
            return
        is_whole = error is None and count == len(copied) and self._expected in {None, count}
        self._done(bytes(copied) if is_whole else None)
