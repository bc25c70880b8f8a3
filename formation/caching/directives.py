"""Cache-Control, and the fields that are targeted at some caches (RFC 9111, 5.2; RFC 9213).

Theory of operation
-------------------
Whatever cannot be read counts against caching. A directive that is malformed is there all the same: ``no-store;x`` is
no-store, ``max-age=1s`` is a max-age that nobody can read, so the response is stale. A name that comes twice with
different arguments has both, which is a list to those that are lists and no number to those that are numbers. In a
quoted string that does not end, nobody knows what is meant, so nothing may be stored.

The patterns never go back to what they have read (possessive quantifiers), so time grows with length and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

Directives: TypeAlias = Mapping[str, str | None]
"""Names in lower case, each with its argument, unquoted; ``None``: it has none."""

MAX_DELTA: Final = 2**31
"""Seconds; what is longer counts as this much (RFC 9111, 1.2.2)."""

NUMBERS: Final = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
"""Directives of responses whose argument is a number of seconds."""

SHORT: Final = 256
"""Characters of a field that is remembered once read: what servers say is shorter and always the same."""

_UNREADABLE: Final[Directives] = {"no-store": None}
_NONE: Final[Directives] = {}

_member = re.compile(r"(?:[^,\"]|\"(?:[^\"\\]|\\.)*+\")++", re.DOTALL)  # a comma in quotes parts nothing
_name = re.compile(r"[^ \t;=\"]++")
_quoted = re.compile(r"\"((?:[^\"\\]|\\.)*+)\"", re.DOTALL)
_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_escaped = re.compile(r"\\(.)", re.DOTALL)

_KEY: Final = r"[a-z*][a-z0-9_\-.*]*+"
_BARE: Final = (
    r"(?:(?P<{0}string>\"(?:[ !#-\[\]-~]|\\[\"\\])*+\")"
    r"|(?P<{0}number>-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?+)"
    r"|(?P<{0}token>[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+)"
    r"|(?P<{0}other>:[A-Za-z0-9+/=]*+:|\?[01]|@-?[0-9]{{1,15}}))"
)
_targeted_member = re.compile(
    rf"({_KEY})(?:=(?:{_BARE.format('')}|(?P<list>\([^()]*+\))))?+(?:;[ ]*+{_KEY}(?:={_BARE.format('p_')})?+)*+"
    r"(?:(?P<last>\Z)|[ \t]*+,[ \t]*+(?=[a-z*]))"
)


def parse(value: str | None) -> Directives:
    """Return the directives of a Cache-Control field, request's or response's.

    >>> parse('Max-Age="60", private="Set-Cookie", no-store')
    {'max-age': '60', 'private': 'Set-Cookie', 'no-store': None}
    """
    if not value:
        return _NONE
    return _remembered(value) if len(value) <= SHORT else _parse(value)


def parse_targeted(value: str | None) -> Directives | None:
    """Return the directives of a targeted field, a dictionary of structured fields (RFC 9213, 2.1; RFC 9651, 3.2).

    Returns:
        the directives; ``None``: the field is empty or malformed, and to be ignored.

    >>> parse_targeted("max-age=60, no-cache"), parse_targeted("max-age=60, &")
    ({'max-age': '60', 'no-cache': None}, None)
    """
    value = (value or "").strip(" ")
    found: dict[str, str | None] = {}
    position = 0
    while True:
        member = _targeted_member.match(value, position)
        if member is None:
            return None
        argument: str | None = member["string"] or member["number"] or member["token"] or member["list"]
        if member["other"]:
            if member["other"] != "?1":
                return None  # a value that no directive has
        elif member[1] in NUMBERS:
            argument = member["number"] or "?"  # "60", quoted, is a string and not to be taken for a number
        elif member["string"]:
            argument = _escaped.sub(r"\1", member["string"][1:-1])
        found[member[1]] = argument
        if member["last"] is not None:
            return found
        position = member.end()


def seconds(argument: str | None) -> int | None:
    """Return the argument as delta-seconds (RFC 9111, 1.2.2); ``None``: it is no such number.

    >>> seconds("060"), seconds("99999999999999999999"), seconds("1.5"), seconds(None)
    (60, 2147483648, None, None)
    """
    if not argument or not argument.isascii() or not argument.isdigit():
        return None
    digits = argument.lstrip("0") or "0"
    return MAX_DELTA if len(digits) > 10 else min(int(digits), MAX_DELTA)


@lru_cache(maxsize=256)  # an origin has a handful
def _remembered(value: str) -> Directives:
    return _parse(value)


def _parse(value: str) -> Directives:
    found: dict[str, dict[str | None, None]] = {}  # the arguments of each, in order, none twice
    position, end = 0, len(value)
    while position < end:
        if value[position] in ", \t":
            position += 1
            continue
        member = _member.match(value, position)
        if member is None or value[member.end() : member.end() + 1] == '"':
            return _UNREADABLE
        position = member.end()
        before, _, after = member[0].rstrip(" \t").partition("=")
        name = _name.search(before)
        if name is not None:
            found.setdefault(name[0].lower(), {})[_argument(after) if name[0] == before else None] = None
    # Without fields, private and no-cache mean all of them; without a number, max-age means nothing.
    return {name: None if None in told else ",".join(map(str, told)) for name, told in found.items()}


def _argument(after: str) -> str | None:
    quoted = _quoted.fullmatch(after)
    if quoted:
        return _escaped.sub(r"\1", quoted[1])
    return after if _token.fullmatch(after) else None
