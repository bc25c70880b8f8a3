"""Validators and preconditions: entity tags, and whether a request with conditions is to be answered in full.

All of it is pure, takes header values as text, whatever they are, raises nothing for them, and takes time in proportion
to their length.

>>> tags('"a", W/"b"'), tags("*"), weak_match('W/"a"', '"a"'), strong_match('W/"a"', 'W/"a"')
(['"a"', 'W/"b"'], ['*'], True, False)
>>> from formation.http import Headers
>>> precondition("GET", Headers({"If-None-Match": '"a"'}), etag='"a"')
304
"""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING

from formation import dates

if TYPE_CHECKING:
    from collections.abc import Mapping

_tag = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"').fullmatch  # RFC 9110, 8.8.3
_listed = re.compile(r'(?:^|,)[ \t]*+((?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")[ \t]*+(?=,|\Z)').findall
_meant = re.compile(r'(?:W/)?"[^"\x00-\x1f\x7f]*+"|[!#-)+\--~]++').fullmatch  # no star: that would match anything
_listed_as_meant = re.compile(r'[ \t,]*+((?:W/)?+"[^"]*+"|[^", \t][^,]*+)').match


def is_tag(value: str, *, lenient: bool = False) -> bool:
    """Tell whether it is an entity tag, weak or strong.

    Args:
        value: of ETag.
        lenient: whether what many a server sends for one is one: without quotes, or with a space in them.

    >>> is_tag("a"), is_tag("a", lenient=True), is_tag("*", lenient=True)
    (False, True, False)
    """
    return (_meant if lenient else _tag)(value) is not None


def is_weak(tag: str) -> bool:
    """Tell whether a tag is weak: what it stands for may differ in its bytes."""
    return tag.startswith("W/")


def weakened(tag: str) -> str:
    """Return the tag, weak."""
    return tag if is_weak(tag) else f"W/{tag}"


def tags(value: str, *, lenient: bool = False) -> list[str]:
    """Return the tags of If-Match or If-None-Match; ``["*"]`` for any. What is no tag is left out.

    >>> tags('"a,b", c'), tags('"a,b", c', lenient=True)
    (['"a,b"'], ['"a,b"', 'c'])
    """
    value = value.strip(" \t")
    if value == "*":
        return ["*"]
    if not lenient:
        return _listed(value)
    found, position = [], 0
    while member := _listed_as_meant(value, position):
        found.append(member[1].rstrip(" \t"))
        position = member.end()
    return found


def strong_match(one: str, other: str) -> bool:
    """Tell whether two tags are the same and strong (RFC 9110, 8.8.3.2)."""
    return one == other and not is_weak(one)


def weak_match(one: str, other: str) -> bool:
    """Tell whether two tags are the same, weak or not."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def is_listed(value: str, etag: str | None, *, strong: bool, exists: bool = True, lenient: bool = False) -> bool:
    """Tell whether If-Match (``strong``) or If-None-Match names what there is (RFC 9110, 13.1.1 and 13.1.2).

    Args:
        value: of the field.
        etag: the tag of what there is; ``None``: it has none.
        strong: how tags are compared.
        exists: whether there is anything, which is what ``*`` asks.
        lenient: as for `is_tag`.
    """
    given = tags(value, lenient=lenient)
    if given == ["*"]:
        return exists
    matches = strong_match if strong else weak_match
    return exists and etag is not None and any(matches(each, etag) for each in given)


def precondition(
    method: str, headers: Mapping[str, str], *, etag: str | None = None, last_modified: str | None = None,
    exists: bool = True,
) -> int | None:  # fmt: skip
    """Return 304 or 412 where the conditions of a request say so, ``None`` where it is to be answered in full.

    In the order of RFC 9110, 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since, which
    is for GET and HEAD. A date that is none is no condition, nor is one where there is nothing to compare it with.

    Args:
        method: of the request; CONNECT, OPTIONS and TRACE have no conditions.
        headers: of the request, their names in any case.
        etag: the tag of what there is.
        last_modified: the date of what there is, as its header says it.
        exists: whether there is anything; If-Match ``*`` asks that.
    """
    if method in {"CONNECT", "OPTIONS", "TRACE"}:
        return None
    modified = _date(last_modified)
    wanted, since = headers.get("If-Match"), headers.get("If-Unmodified-Since")
    if wanted is not None:
        if not is_listed(wanted, etag, exists=exists, strong=True):
            return 412
    elif since is not None and modified is not None:
        limit = _date(since)
        if limit is not None and modified > limit:
            return 412

    known, since = headers.get("If-None-Match"), headers.get("If-Modified-Since")
    is_read = method in {"GET", "HEAD"}
    if known is not None:
        if is_listed(known, etag, exists=exists, strong=False):
            return 304 if is_read else 412
    elif is_read and since is not None and modified is not None:
        limit = _date(since)
        if limit is not None and modified <= limit:
            return 304
    return None


def _date(value: str | None) -> float | None:
    return None if value is None else dates.parse(value.strip(" \t"), time())
