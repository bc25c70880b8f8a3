"""Origins: scheme, host and port of a URL in normal form (RFC 6454), to tell whose a URL is.

Where two spellings may or may not be one host, they are two: what is taken for another origin loses its secrets, and
nothing worse.

>>> origin("https://EXAMPLE.com:443/b"), same_origin("https://a.example", "https://b.example")
('https://example.com', False)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from formation.http.secrets import redact

PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""Those that go without saying (RFC 9110, 4.2; RFC 6455, 3)."""

LONGEST: Final = 300
"""Characters of a host and port: DNS has names of 253. What is remembered of hosts is bounded by their number."""

scheme_and_host = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)").match
"""The scheme and the authority of an absolute URL; no match: it is none."""

FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""What parsers disagree about: backslashes are slashes to some, and some drop tabs and line breaks."""

# What most URLs are, and is in normal form as it stands.
_is_normal = re.compile(r"https?://[a-z0-9.\-]++/[!$-;=?-\[\]_a-z~|^`{}\\]*+").fullmatch
_host_port = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?P<zone>%25[A-Za-z0-9._~-]+)?\]|(?P<name>(?!\.)(?:[A-Za-z0-9._-]|[^\x00-\x9f\s])+))"
    r"(?::(?P<port>[0-9]{0,5}))?"
).fullmatch


def origin(url: str) -> str:
    """Return the origin of an absolute URL in normal form: scheme and host in lower case, the default port left out.

    A host that is not ASCII is written in its IDNA form where there is but one; user info is no part of an origin.

    Raises:
        ValueError: it is no absolute URL, or one whose host parsers disagree about.

    >>> origin("HTTPS://Example.COM:443/x"), origin("http://[::1]:8080/"), origin("https://bücher.example")
    ('https://example.com', 'http://[::1]:8080', 'https://xn--bcher-kva.example')
    """
    found = scheme_and_host(url)
    if not found or FORBIDDEN.search(url):
        raise ValueError(f"expected an absolute URL, got {redact(url)!r}: for example 'https://api.example.com'")
    return origin_of(found[1].lower(), found[2].rpartition("@")[2])


def same_origin(a: str, b: str) -> bool:
    """Tell whether two absolute URLs have the same scheme, host and port (RFC 6454 section 5).

    What `origin` refuses has no origin, so it shares none: the answer is ``False``, which keeps secrets at home.

    >>> same_origin("https://example.com/a", "https://EXAMPLE.com:443/b")
    True
    >>> same_origin("https://example.com", "http://example.com"), same_origin("https://example.com", "/a")
    (False, False)
    """
    try:
        return origin(a) == origin(b)
    except ValueError:
        return False


def normal(url: str) -> str:
    """Return the URL so that spellings that are certain to mean one target are one (RFC 3986, 6.2): for a key.

    The origin is in normal form, user info stays, a path is never empty, and the fragment is left out. A URL that has
    no origin is kept as it is but for the fragment, and so are path and query.

    >>> normal("HTTP://Example.com:80?q=1#top"), normal("http://me@example.com/A"), normal("/a#b")
    ('http://example.com/?q=1', 'http://me@example.com/A', '/a')
    """
    if _is_normal(url):
        return url
    url = url.partition("#")[0]
    found = scheme_and_host(url)
    if found is None:
        return url
    user, at, host = found[2].rpartition("@")
    try:
        scheme, _, host = origin_of(found[1].lower(), host).partition("://")
    except ValueError:
        return url
    rest = url[found.end() :]
    return f"{scheme}://{user}{at}{host}{rest if rest.startswith('/') else '/' + rest}"


def is_downgrade(a: str, b: str) -> bool:
    """Tell whether the way from ``a`` to ``b`` leads from https to http.

    >>> (
    ...     is_downgrade("https://example.com", "http://example.com"),
    ...     is_downgrade("http://example.com", "https://example.com"),
    ... )
    (True, False)
    """
    return a[:6].lower() == "https:" and b[:5].lower() == "http:"


@lru_cache(maxsize=1024)  # hosts that a process talks to; on a server, those that anybody claims it to be
def origin_of(scheme: str, authority: str) -> str:
    """Return the origin of a scheme in lower case and an authority without user info.

    >>> origin_of("http", "Example.com:80")
    'http://example.com'
    """
    if len(authority) > LONGEST:
        raise ValueError(f"expected a host, got {len(authority)} characters")
    found = _host_port(authority)
    default = PORTS.get(scheme)
    port = int(found["port"]) if found and found["port"] else default
    if not found or (port or 0) > 65535:
        raise ValueError(f"expected scheme://host or scheme://host:port, got '{scheme}://{authority}'")
    if found["v6"]:
        host = _v6(found["v6"]) + (found["zone"] or "")
        host = f"[{host}]"
    else:
        host = found["name"].lower() if found["name"].isascii() else _idna(found["name"])
    return f"{scheme}://{host}" if port == default else f"{scheme}://{host}:{port}"


def _v6(address: str) -> str:
    from ipaddress import IPv6Address  # few need it

    try:
        return IPv6Address(address).compressed
    except ValueError:
        raise ValueError(f"expected an IPv6 address in brackets, got '[{address}]'") from None


def _idna(host: str) -> str:
    """The ASCII form of a host where all transports agree about it, else its lower case.

    Python has IDNA 2003, most transports have 2008. They agree where Python's mapping changes no more than the case: it
    turns ``straße`` into ``strasse``, another host.
    """
    from unicodedata import normalize  # few need it

    # As CPython's urlsplit: a character that is compatible with syntax (U+2100 is "a/c") is read in two ways. And the
    # codec takes quadratic time, so no name that is longer than DNS allows.
    if len(host) > 253 or any(mark in normalize("NFKC", host) for mark in "/?#@:\\%"):
        raise ValueError(f"expected a host, got {host!r}")
    try:
        coded = host.encode("idna")
        agreed = coded.decode("idna").lower() == host.lower()
    except UnicodeError:
        raise ValueError(f"expected a host, got {host!r}: it has no IDNA form") from None
    return coded.decode("ascii").lower() if agreed else host.lower()
