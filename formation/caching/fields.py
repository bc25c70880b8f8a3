"""Header fields as the policy reads them: names in lower case, all lines of a name in one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Lines of name and value, in the order in which they came; a name may have several."""


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the value of each name, with several lines joined by a comma (RFC 9110, 5.3).

    Not for ``Set-Cookie``, which nothing here reads the value of.

    >>> joined([("Vary", "Accept"), ("vary", "Cookie")])
    {'vary': 'Accept, Cookie'}
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
        fields[key] = ", ".join(lines)
    return fields
