"""How long a caller waits: seconds, a pair of them, for ever, or whatever is usual.

>>> check_timeout((3.05, 27)), check_timeout(UNSET)
((3.05, 27), UNSET)
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Nobody has said anything. ``None`` is something to say: ``timeout=None`` waits for ever, on purpose."""

Timeout: TypeAlias = float | tuple[float | None, float | None] | None
"""Seconds for connecting and for reading, the same for both or a pair; ``None`` waits for ever."""


def check_timeout(timeout: Timeout | Unset) -> Timeout | Unset:
    """Return ``timeout`` if it is one: positive seconds, a pair of them, ``None``, or `UNSET`.

    Raises:
        ValueError: it is none: zero, for example, which some libraries take for "for ever" and some for "at once".

    >>> check_timeout(0)
    Traceback (most recent call last):
    ValueError: expected a timeout in seconds, above 0, or a pair (connect, read), got 0: None waits for ever
    """
    if timeout is UNSET or timeout is None:
        return timeout
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if len(parts) != 2 or not all(map(_is_seconds, parts)):
        raise ValueError(
            f"expected a timeout in seconds, above 0, or a pair (connect, read), got {timeout!r}: None waits for ever"
        )
    return timeout


def _is_seconds(part: object) -> bool:
    if isinstance(part, bool) or not isinstance(part, (int, float)):
        return part is None
    return 0 < part < float("inf")
