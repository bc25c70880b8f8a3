"""Who the client of a server is: by his address, by a header, or by what somebody says."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from formation.exchange import req
from formation.http.forwarded import UNIX, Proxies, address, grouped
from formation.http.headers import check_name
from formation.resilience.checks import count

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from formation.places import Key

IPV6: Final = 64
"""Bits of an IPv6 address that count: the others are the client's to choose (RFC 4291, 2.5.4), anew each time."""

NOBODY: Final = Proxies()


def client_ip(ctx: Any, *, proxies: Proxies = NOBODY, ipv6_prefix: int = IPV6) -> str | None:
    """Return the address of the client, of IPv6 its network; ``None`` where it is not known.

    Without ``proxies`` it is that of who is connected.

    >>> from formation.http import Request
    >>> client_ip({"fmtn.req.http": Request("GET", "https://h/", peer="2001:db8::1")})
    '2001:db8::/64'
    """
    request = req(ctx)
    return grouped(proxies.client(request.peer, request.headers), ipv6_prefix)


def header(name: str) -> Key:
    """Make a key of a request header: what stands there, hashed, for it may be a secret. Without it: by `client_ip`.

    Whoever makes up another value is another client: let `rate_limit` stand inside of what checks it.

    Raises:
        ValueError: no header has this name.

    >>> from formation.http import Request
    >>> header("X-API-Key")({"fmtn.req.http": Request("GET", "https://h/", headers={"X-API-Key": "s3cret"})})
    '43e5f7d9dcee38263874835a0396cefa'
    """
    check_name(name)

    def header(ctx: Any) -> str | None:
        value = req(ctx).headers.get(name)
        return None if value is None else blake2b(str(value).encode(errors="replace"), digest_size=16).hexdigest()

    return header


def unnamed_proxy(ctx: Any, client: tuple[str, Hashable], ipv6_prefix: int) -> str | None:
    """Return who is connected where he counts as the client, and seems to be a proxy: then all behind him are one.

    He comes from inside, or by a socket without an address, and says for whom.
    """
    request = req(ctx)
    near = address(request.peer or "")
    if client != ("ip", grouped(near, ipv6_prefix)) or not (near is None or near.is_private):
        return None
    return request.peer or UNIX if any(name in request.headers for name in ("Forwarded", "X-Forwarded-For")) else None


def who(key: Key, trusted_proxies: Iterable[str], ipv6_prefix: int) -> Callable[[Any], tuple[str, Hashable]]:
    """Make the function of the context that tells who asks: by ``key``, or, where that says ``None``, by address.

    What a key says is no address, though it look like one: nobody uses up what is another's.

    Raises:
        TypeError: ``key`` is no function, ``trusted_proxies`` no list.
        ValueError: a proxy that is no network, or a prefix that is none.

    >>> who("X-API-Key", [], 64)
    Traceback (most recent call last):
    TypeError: expected key as a function of the context, got 'X-API-Key'
    """
    if not callable(key):
        raise TypeError(f"expected key as a function of the context, got {key!r}")
    proxies = Proxies(trusted_proxies)
    count("ipv6_prefix", ipv6_prefix)

    def who(ctx: Any) -> tuple[str, Hashable]:
        if key is not client_ip and (found := key(ctx)) is not None:
            return "key", found
        return "ip", client_ip(ctx, proxies=proxies, ipv6_prefix=ipv6_prefix)

    return who
