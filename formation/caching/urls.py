"""The URL as a key: spellings that are certain to mean one target are one key (RFC 9111, 2; RFC 3986, 6.2)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

PORTS: Final = {"http": "80", "https": "443"}

_plain = re.compile(r"https?://[a-z0-9.\-]++/[!$-;=?-\[\]_a-z~|^`{}\\]*+").fullmatch
_parts = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+)://([^/?#]*+)([^#]*+)", re.DOTALL)


def normal(url: str) -> str:
    """Return ``url`` without a fragment, with scheme and host in lower case, without the port that goes without saying.

    A relative URL is returned without its fragment.

    >>> normal("HTTP://Example.com:80?q=1#top"), normal("http://example.com/A")
    ('http://example.com/?q=1', 'http://example.com/A')
    """
    if _plain(url):
        return url
    found = _parts.match(url)
    if found is None:
        return url.partition("#")[0]
    scheme, authority, rest = found.groups()
    scheme = scheme.lower()
    user, at, host = authority.rpartition("@")
    host = host.lower()
    name, colon, port = host.rpartition(":")
    if colon and (not port or port == PORTS.get(scheme)) and "]" not in port:
        host = name
    return f"{scheme}://{user}{at}{host}{rest if rest.startswith('/') else '/' + rest}"


def origin(url: str) -> str:
    """Return scheme, host and port of a normal URL.

    >>> origin("http://example.com/a?b"), origin("http://user@example.com:8080/")
    ('http://example.com', 'http://example.com:8080')
    """
    scheme, slashes, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}"


def joined(base: str, reference: str) -> str | None:
    """Return the normal URL that ``reference`` means on ``base``; ``None``: it means none.

    >>> joined("http://example.com/a/b", "../c"), joined("http://example.com/", "//[")
    ('http://example.com/c', None)
    """
    try:
        return normal(urljoin(base, reference.strip(" \t")))
    except ValueError:
        return None
