"""The URL as a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.caching import urls

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
    assert urls.normal(url) == key


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_what_may_be_two_targets_has_two(one, other):
    assert urls.normal(one) != urls.normal(other)


def test_the_origin_is_scheme_host_and_port():
    assert urls.origin("http://me:x@example.com:81/a@b?c#d") == "http://example.com:81"
    assert urls.origin("http://example.com?a") == "http://example.com"


@given(st.text())
def test_a_key_has_itself_as_key_whatever_it_was_made_of(url):
    key = urls.normal(url)
    assert urls.normal(key) == key
    urls.origin(key)
    urls.joined("http://example.com/", url)
