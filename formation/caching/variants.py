"""Which requests a response is for: Vary, and when two values of a header are the same (RFC 9111, 4.1)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from formation.http.lists import members, parameters
from formation.http.negotiation import weight

if TYPE_CHECKING:
    from collections.abc import Mapping

Vary: TypeAlias = tuple[tuple[str, str | None], ...]

NO_LISTS: Final = frozenset({"from", "host", "origin", "referer", "user-agent"})
"""Headers in which a comma parts nothing, so space beside it may mean something."""

SECRETS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers of which a hash is kept: stores may be read by others, and to tell whether two are the same it will do."""

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch


def names(vary: str | None) -> tuple[str, ...] | None:
    """Return the headers that ``vary`` names, sorted; ``None``: it is for no other request at all.

    >>> names("Accept, COOKIE, accept"), names("Cookie, *"), names(None)
    (('accept', 'cookie'), None, ())
    """
    found = set(members(vary.lower())) if vary else set()
    return None if any(name == "*" or not _is_token(name) for name in found) else tuple(sorted(found))


def chosen_by(vary: tuple[str, ...], fields: Mapping[str, str]) -> Vary:
    """Return the value of each header that ``vary`` names, as `normal` has it."""
    return tuple([(name, normal(name, fields.get(name))) for name in vary])


def normal(name: str, value: str | None) -> str | None:
    """Return ``value`` so that two values that mean the same are the same.

    That is, without space around commas, and for languages in one case and by preference. Not by name: of two languages
    that are equal to the client, many a server takes the first.

    >>> normal("accept-language", "de; q=0.5,  EN")
    'en,de;q=0.5'
    """
    if value is None:
        return None
    if name in SECRETS:
        return sha256(value.strip(" \t").encode("utf-8", "surrogatepass")).hexdigest()
    if name in NO_LISTS or '"' in value:
        return value.strip(" \t")
    parts = [part for part in (member.strip(" \t") for member in value.split(",")) if part]
    if name == "accept-language":
        parts = [part.lower().replace(" ", "").replace("\t", "") for part in parts]
        parts.sort(key=_preference)
    elif name == "accept-encoding":
        parts = [part.lower().replace(" ", "").replace("\t", "") for part in parts]
    return ",".join(parts)


def _preference(part: str) -> float:
    liked = weight(parameters(part)[1])
    return -1.0 if liked is None else -liked
