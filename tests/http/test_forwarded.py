"""Who has sent a request: what proxies that are known say, and nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Headers
from formation.http.forwarded import HOPS, Proxies, address, grouped

PROXIES = Proxies(["10.0.0.0/8", "192.168.1.7", "2001:db8:ffff::/48", "fd00::/8"])


def client(peer, *lines, proxies=PROXIES):
    found = proxies.client(peer, Headers(list(lines)))
    return None if found is None else str(found)


def xff(*values):
    return [("X-Forwarded-For", value) for value in values]


def forwarded(*values):
    return [("Forwarded", value) for value in values]


def test_without_proxies_it_is_who_is_connected_whatever_the_headers_say():
    assert client("192.0.2.7", *xff("1.1.1.1"), *forwarded("for=2.2.2.2"), proxies=Proxies()) == "192.0.2.7"
    assert client("10.0.0.1", *xff("1.1.1.1"), proxies=Proxies()) == "10.0.0.1"


def test_who_is_connected_and_is_no_proxy_is_the_client_whatever_he_says():
    assert client("192.0.2.7", *xff("1.1.1.1")) == "192.0.2.7"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (xff("192.0.2.7"), "192.0.2.7"),
        (xff("1.1.1.1, 192.0.2.7"), "192.0.2.7"),
        (xff("1.1.1.1,192.0.2.7 , 10.9.9.9, 192.168.1.7"), "192.0.2.7"),
        (xff("1.1.1.1", "192.0.2.7", "10.9.9.9"), "192.0.2.7"),
        (xff("192.0.2.7:4711"), "192.0.2.7"),
        (xff("2001:db8::1"), "2001:db8::1"),
        (xff("[2001:db8::1]:443, 2001:db8:ffff::2"), "2001:db8::1"),
        (xff("fe80::1%eth0"), "fe80::1"),
        (xff("::ffff:192.0.2.7, ::ffff:10.1.2.3"), "192.0.2.7"),
        (forwarded("for=192.0.2.7"), "192.0.2.7"),
        (forwarded("for=1.1.1.1, For=192.0.2.7;proto=https;by=10.0.0.1"), "192.0.2.7"),
        (forwarded('by="[::1]:80" ; FOR="[2001:db8::1]:443"'), "2001:db8::1"),
        (forwarded('for="192.0.2.7:4711", for=10.3.3.3'), "192.0.2.7"),
        (forwarded("for=1.1.1.1", "for=192.0.2.7"), "192.0.2.7"),
        (forwarded("for=192.0.2.7") + xff("192.0.2.7"), "192.0.2.7"),
        # all of them are proxies: the first, which has asked by itself
        (xff("10.1.1.1, 10.2.2.2"), "10.1.1.1"),
        ([], "10.0.0.1"),
    ],
    ids=str,
)
def test_it_is_the_last_address_that_is_no_proxys(lines, found):
    assert client("10.0.0.1", *lines) == found


@pytest.mark.parametrize(
    "line",
    [
        *xff("", ",", "unknown", "1.1.1.1, unknown", "1.1.1.1, 999.1.1.1", "1.1.1.1, 1.2.3", "1.1.1.1, [2001:db8::1",
             "1.1.1.1, 192.0.2.7:http", "1.1.1.1, [::1]x", "1.1.1.1, 192.0.2.7 x", "1.1.1.1, 192.0.2.7:8\u00b2",
             "1.1.1.1, " + "1" * 60_000, "1.1.1.1,"),
        *forwarded("", "for", "for=", "for=unknown", "for=_hidden", "for=1.1.1.1, proto=https", "for=1.1.1.1,;;;",
                   "host=1.1.1.1", '"', 'for="1.1.1.1, for="'),
    ],
    ids=lambda line: str(line)[:60],
)  # fmt: skip
def test_what_a_proxy_has_not_said_is_not_looked_for_further_on(line):
    assert client("10.0.0.1", line) == "10.0.0.1"


def test_a_quote_that_a_client_leaves_open_hides_nothing():
    assert client("10.0.0.1", *forwarded('for="1.1.1.1, for=192.0.2.7')) == "192.0.2.7"


def test_where_the_headers_contradict_each_other_neither_is_believed():
    assert client("10.0.0.1", *xff("192.0.2.7"), *forwarded("for=1.1.1.1")) == "10.0.0.1"


def test_only_so_many_proxies_are_believed_in():
    assert client("10.0.0.1", *xff(", ".join(["1.1.1.1"] + ["10.2.2.2"] * HOPS))) == "10.2.2.2"
    assert client("10.0.0.1", *xff(", ".join(["1.1.1.1"] + ["10.2.2.2"] * (HOPS - 1)))) == "1.1.1.1"


def test_a_socket_without_an_address_is_a_proxy_where_it_is_said():
    for peer in (None, "", "unix:", "/run/app.sock"):
        assert client(peer, *xff("192.0.2.7"), proxies=Proxies(["unix"])) == "192.0.2.7"
        assert client(peer, *xff("192.0.2.7")) is None
    assert client(None, *xff("1.1.1.1, nonsense"), proxies=Proxies(["unix"])) is None


@given(st.text(st.sampled_from('0123456789abcdef.:;,=[]%"\\ \tforx_')), st.booleans())
def test_no_header_makes_it_fail(value, is_forwarded):
    name = "Forwarded" if is_forwarded else "X-Forwarded-For"
    assert PROXIES.client("10.0.0.1", Headers({name: value})) is not None


@given(st.text())
def test_no_peer_makes_it_fail(peer):
    PROXIES.client(peer, Headers())
    assert address(peer) is None or str(address(peer))


@pytest.mark.parametrize("value", [",", "1.1.1.1,", "for=", "for=1.1.1.1;", '"', "10.0.0.1,", ";", "["])
def test_the_time_for_a_long_header_is_that_of_reading_it(value):
    assert PROXIES.client("10.0.0.1", Headers({"X-Forwarded-For": value * 65_536})) is not None
    assert PROXIES.client("10.0.0.1", Headers({"Forwarded": value * 65_536})) is not None


def test_addresses_of_ipv6_are_grouped_for_a_client_has_a_network_of_them():
    assert grouped(address("2001:db8:1:2:3:4:5:6"), 64) == "2001:db8:1:2::/64"
    assert grouped(address("2001:db8:1:2:3:4:5:6"), 48) == "2001:db8:1::/48"
    assert grouped(address("2001:db8::1"), 128) == "2001:db8::1"
    assert grouped(address("::ffff:192.0.2.7"), 64) == "192.0.2.7"
    assert grouped(None, 64) is None


@pytest.mark.parametrize(
    ("peer", "found"),
    [("ipv4:192.0.2.7:4711", "192.0.2.7"), ("ipv6:%5B2001:db8::1%5D:80", "2001:db8::1"), ("unix:/run/app", None)],
)
def test_a_peer_may_be_told_as_grpc_does(peer, found):
    assert client(peer, proxies=Proxies()) == found


@pytest.mark.parametrize("networks", [["proxy.local"], ["10.0.0.0/33"], [""], ["10.0.0.1:80"]], ids=str)
def test_what_is_no_network_is_refused(networks):
    with pytest.raises(ValueError, match=r"expected an address or a network such as '10.0.0.0/8'"):
        Proxies(networks)


@pytest.mark.parametrize("networks", ["10.0.0.0/8", None, 7], ids=repr)
def test_what_is_no_list_is_refused(networks):
    with pytest.raises(TypeError, match="expected proxies as a list"):
        Proxies(networks)
