"""Header fields as the policy reads them: names in lower case, all lines of a name in one value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def members(value: str) -> Iterator[str]:
    """Give the members of a comma-separated list of tokens, in lower case, without the empty ones (RFC 9110, 5.6.1).

    >>> list(members(" Accept,, COOKIE "))
    ['accept', 'cookie']
    """
    for member in value.split(","):
        stripped = member.strip(" \t")
        if stripped:
            yield stripped.lower()
