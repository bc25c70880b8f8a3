"""Settings that are numbers, checked where they are given."""

from __future__ import annotations

from math import isfinite


def count(name: str, value: int, least: int = 1) -> int:
    """Return ``value`` if it is an ``int`` of at least ``least``.

    Raises:
        ValueError: it is not.

    >>> count("attempts", 0)
    Traceback (most recent call last):
    ValueError: expected attempts as a whole number, 1 or more, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = f"expected {name} as a whole number, {least} or more, got {value!r}"
        raise ValueError(message)
    return value


def seconds(name: str, value: float) -> float:
    """Return ``value`` if it is a number of seconds, 0 or more, and not infinite.

    Raises:
        ValueError: it is not.

    >>> seconds("cap", -1)
    Traceback (most recent call last):
    ValueError: expected cap in seconds, 0 or more, got -1
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        message = f"expected {name} in seconds, 0 or more, got {value!r}"
        raise ValueError(message)
    return value


def positive(name: str, value: float) -> float:
    """Return ``value`` if it is a number above 0, and not infinite.

    Raises:
        ValueError: it is not.

    >>> positive("rate", 0)
    Traceback (most recent call last):
    ValueError: expected rate as a number above 0, got 0
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value <= 0:
        message = f"expected {name} as a number above 0, got {value!r}"
        raise ValueError(message)
    return value
