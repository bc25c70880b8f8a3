"""What is stored, packed and unpacked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.caching.entry import FORMAT, Entry
from tests.caching.exchanges import get, stored

RESPONSE = {"Cache-Control": "max-age=60, stale-if-error=5", "Set-Cookie": ["a=1", "b=2"], "Vary": "Foo, Bar"}


def test_an_entry_is_the_same_after_it_was_packed():
    entry = stored(RESPONSE | {"ETag": '"\xfc"', "Last-Modified": -10}, request=get({"Foo": "\xe9"}))
    assert Entry.unpack(entry.pack(), entry.body) == entry
    assert entry.vary == (("bar", None), ("foo", "\xe9"))


def test_the_body_is_not_packed_with_the_head():
    entry = stored(RESPONSE).with_body(object(), 5)
    assert Entry.unpack(entry.pack(), b"other").body == b"other"


@pytest.mark.parametrize(
    "head",
    [b"", b"x", b"[]", b"1", b"[1, {}]", b"[1, null]", b'[1, {"vary": [1], "headers": []}]', b"[" * 10_000, b"\xff"],
)
def test_what_is_no_entry_is_refused(head):
    with pytest.raises(ValueError, match="cache entry"):
        Entry.unpack(head, b"")


def test_an_entry_of_another_version_is_refused():
    version, head = json.loads(stored(RESPONSE).pack())
    assert version == FORMAT
    with pytest.raises(ValueError, match="expected a cache entry of format"):
        Entry.unpack(json.dumps([FORMAT + 1, head]), b"")
    with pytest.raises(ValueError, match="expected a cache entry of format"):
        Entry.unpack(json.dumps([FORMAT, head | {"more": 1}]), b"")


@given(st.binary() | st.text())
def test_whatever_is_unpacked_is_an_entry_or_a_value_error(head):
    with pytest.raises(ValueError, match="cache entry"):
        Entry.unpack(head, b"")


def test_two_entries_of_one_variant_are_known_by_it():
    one, other, third = (stored(RESPONSE, request=get({"Foo": value})) for value in ("1", " 1", "2"))
    assert one.variant == other.variant != third.variant
