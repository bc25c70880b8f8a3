"""Who has sent a request, where proxies stand before a server (RFC 7239, and X-Forwarded-For).

What a header says about its sender is the sender's word. So a header is read from its end, where the proxy next to us
has written, and only as far as those who have written are proxies that are known. The first address that is none of
them is the client. What stands before it, anybody may have made up.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from multidict import CIMultiDict

    Address: TypeAlias = IPv4Address | IPv6Address

HOPS: Final = 32
"""Proxies in a row that are believed in. More than ten are unheard of, and a header may have thousands."""

LONGEST: Final = 100
"""Characters of a hop: an address has less than fifty, with its zone and its port."""

UNIX: Final = "unix"
"""Stands for a proxy that comes by a socket without an address."""


class Proxies:
    """Proxies that are known.

    Args:
        networks: addresses and networks, ``"10.0.0.0/8"``; ``"unix"``: who comes by a socket without an address.

    Raises:
        ValueError: one is no network.
        TypeError: it is no list.

    >>> proxies = Proxies(["10.0.0.0/8"])
    >>> from formation.http import Headers
    >>> proxies.client("10.0.0.1", Headers({"X-Forwarded-For": "1.1.1.1, 192.0.2.7, 10.0.0.2"}))
    IPv4Address('192.0.2.7')
    >>> proxies.client("192.0.2.9", Headers({"X-Forwarded-For": "1.1.1.1"}))
    IPv4Address('192.0.2.9')
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        if isinstance(networks, str) or not isinstance(networks, Iterable):
            raise TypeError(f"expected proxies as a list of addresses and networks, got {networks!r}")
        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for each in networks:
            if each == UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(each, strict=False))
            except ValueError as error:
                raise ValueError(
                    f"expected an address or a network such as '10.0.0.0/8', or 'unix', got {each!r}"
                ) from error

    def client(self, peer: str | None, headers: CIMultiDict[str]) -> Address | None:
        """Return the address of who has sent the request; ``None`` where that cannot be told.

        Where there are both headers, and they do not say the same, one is the client's: neither is believed.

        Args:
            peer: who is connected.
            headers: of the request.
        """
        near = address(peer or "")
        if not self._knows(near, is_peer=True):
            return near
        said = {
            self._walk(near, hops_of(",".join(lines)))
            for name, hops_of in (("Forwarded", _forwarded), ("X-Forwarded-For", _x_forwarded_for))
            if (lines := headers.getall(name, None))
        }
        return said.pop() if len(said) == 1 else near

    def _walk(self, near: Address | None, hops: Iterable[str]) -> Address | None:
        for hop in hops:
            found = address(hop)
            if found is None:  # "unknown", or a name that hides the address, or nonsense
                return near
            near = found
            if not self._knows(near):
                return near
        return near

    def _knows(self, address: Address | None, *, is_peer: bool = False) -> bool:
        if address is None:
            return self._unix and is_peer
        return any(address in network for network in self._networks)


def address(text: str) -> Address | None:
    """Read an address, with or without its port, its zone, or brackets; ``None``: it is none.

    An IPv4 address in an IPv6 one is the IPv4 address, and a zone is dropped: it is a name on one machine.

    >>> address("[2001:db8::1%eth0]:443"), address("192.0.2.7:80"), address("::ffff:192.0.2.7"), address("_hidden")
    (IPv6Address('2001:db8::1'), IPv4Address('192.0.2.7'), IPv4Address('192.0.2.7'), None)
    """
    return _address(text.strip(" \t")) if len(text) <= LONGEST else None


@lru_cache(1024)  # clients come again, and reading an address is most of what telling who asks costs
def _address(text: str) -> Address | None:
    if text[:5] in {"ipv4:", "ipv6:"}:  # as gRPC has it, "ipv6:%5B::1%5D:50051"
        text = unquote(text[5:])
    if text[:1] == "[":
        text, bracket, port = text[1:].partition("]")
        if not bracket or not _is_port(port):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    found = None
    with suppress(ValueError):
        found = ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(1024)
def grouped(address: Address | None, prefix: int) -> str | None:
    """Return the name of an address; of IPv6 that of its network, for a client has many addresses in one.

    >>> grouped(ip_address("2001:db8::1"), 64), grouped(ip_address("192.0.2.7"), 64)
    ('2001:db8::/64', '192.0.2.7')
    """
    if isinstance(address, IPv6Address) and prefix < 128:
        return str(ip_network((int(address), prefix), strict=False))
    return None if address is None else str(address)


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text[1:].isascii() and text[1:].isdigit())


def _x_forwarded_for(value: str) -> Iterable[str]:
    return reversed(value.rsplit(",", HOPS)[-HOPS:])


def _forwarded(value: str) -> Iterable[str]:
    # No address has a comma or a semicolon in it, so quotes need not be heeded: one that a client has left open would
    # hide what a proxy has written behind it.
    for element in _x_forwarded_for(value):
        found = ""
        for pair in element.split(";"):
            name, _, node = pair.partition("=")
            if name.strip(" \t").lower() == "for":
                found = node.strip(" \t").strip('"')
        yield found
