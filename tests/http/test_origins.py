"""Origins, and what tells two URLs apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http.origins import is_downgrade, normal, origin, origin_of, same_origin


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h", "https://h"),
        ("https://h/x?y#z", "https://h"),
        ("HTTPS://H.Example:443/", "https://h.example"),
        ("http://h:80", "http://h"),
        ("http://h:443", "http://h:443"),
        ("https://h:080", "https://h:80"),
        ("https://h:", "https://h"),
        ("ws://h:80/x", "ws://h"),
        ("wss://h:443/x", "wss://h"),
        ("ftp://h/x", "ftp://h"),
        ("ftp://h:21/x", "ftp://h:21"),
        ("http://h:0/x", "http://h:0"),
        ("https://me:pw@h/x", "https://h"),
        ("https://a@b@h/x", "https://h"),
        ("https://[::1]/x", "https://[::1]"),
        ("https://[2001:DB8:0:0::1]:8443/x", "https://[2001:db8::1]:8443"),
        ("https://[fe80::1%25eth0]/x", "https://[fe80::1%25eth0]"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://STRAßE.example", "https://straße.example"),
    ],
)
def test_an_origin_is_in_normal_form(url, expected):
    assert origin(url) == expected
    assert origin(expected) == expected


@pytest.mark.parametrize(
    "url", ["", "/x", "//h/x", "h", "mailto:x", "https:/h", "https://h\\@e/", "https://h\n", "https://h x/"]
)
def test_what_is_no_absolute_url_has_no_origin(url):
    with pytest.raises(ValueError, match="expected"):
        origin(url)
    assert not same_origin(url, url)
    assert not same_origin("https://h", url)


def test_origins_are_compared_in_normal_form():
    assert same_origin("https://h/a", "https://me@H:443/b")
    assert not same_origin("https://h", "http://h")
    assert not same_origin("https://h", "https://h:8443")
    assert not same_origin("https://h", "https://www.h")


@pytest.mark.parametrize(
    ("a", "b", "down"),
    [
        ("https://h", "http://h", True),
        ("HTTPS://h", "HTTP://other", True),
        ("https://h", "https://h", False),
        ("http://h", "http://h", False),
        ("http://h", "https://h", False),
        ("https://h", "/x", False),
    ],
)
def test_from_https_to_http_is_a_downgrade(a, b, down):
    assert is_downgrade(a, b) is down


SAME = [
    ("http://example.com/", "http://example.com/"),
    ("HTTP://EXAMPLE.com/", "http://example.com/"),
    ("http://example.com", "http://example.com/"),
    ("http://example.com?a=1", "http://example.com/?a=1"),
    ("http://example.com:80/", "http://example.com/"),
    ("https://example.com:443/", "https://example.com/"),
    ("http://example.com:/", "http://example.com/"),
    ("http://[::1]:80/", "http://[::1]/"),
    ("http://[::1]/", "http://[::1]/"),
    ("http://example.com/a#b", "http://example.com/a"),
    ("http://Me:Secret@EXAMPLE.com/", "http://Me:Secret@example.com/"),
    ("/a#b", "/a"),
    ("http://h:no/a#b", "http://h:no/a"),
]
OTHERS = [
    ("http://example.com/a", "http://example.com/A"),
    ("http://example.com/a", "http://example.com/a/"),
    ("http://example.com/a", "http://example.com/a?"),
    ("http://example.com/?a=1&b=2", "http://example.com/?b=2&a=1"),
    ("http://example.com/", "https://example.com/"),
    ("http://example.com/", "http://example.com:443/"),
    ("http://example.com/a%2Fb", "http://example.com/a/b"),
    ("http://me@example.com/", "http://you@example.com/"),
]


@pytest.mark.parametrize(("url", "key"), SAME)
def test_spellings_of_one_target_have_one_key(url, key):
    assert normal(url) == key


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_what_may_be_two_targets_has_two(one, other):
    assert normal(one) != normal(other)


def test_what_is_longer_than_a_name_can_be_is_no_origin_and_is_not_remembered():
    url = f"http://{'A' * 60_000}/"
    before = origin_of.cache_info().currsize
    assert normal(url) == url
    assert not same_origin(url, url)
    assert origin_of.cache_info().currsize == before


@given(st.text())
def test_a_key_has_itself_as_key_whatever_it_was_made_of(url):
    assert normal(normal(url)) == normal(url)
    assert normal(normal(f"HTTP://{url}/")) == normal(f"HTTP://{url}/")
