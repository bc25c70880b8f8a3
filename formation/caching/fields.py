"""Header fields as the policy reads them: names in lower case, all lines of a name in one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Lines: TypeAlias = Sequence[tuple[str, str]]
"""Lines of name and value, in the order in which they came; a name may have several."""


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the value of each name, with several lines joined: by a comma (RFC 9110, 5.3), Cookie by a semicolon.

    Not for ``Set-Cookie``, which nothing here reads the value of.

    >>> joined([("Accept", "a"), ("accept", "b"), ("Cookie", "a=1"), ("Cookie", "b=2")])
    {'accept': 'a, b', 'cookie': 'a=1; b=2'}
    """
    fields: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for name, value in headers:
        key = name.lower()
        if key in fields:
            more.setdefault(key, [fields[key]]).append(value)
        else:
            fields[key] = value
    for key, lines in more.items():
        fields[key] = ("; " if key == "cookie" else ", ").join(lines)  # RFC 9113, 8.2.3
    return fields
