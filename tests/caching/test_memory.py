import pytest
from attrs import evolve

from formation.caching.memory import OVERHEAD, MemoryStore
from tests.caching.entries import entry


def test_what_has_not_been_used_for_the_longest_time_goes_first():
    one = MemoryStore()
    one.put("a", entry(b"x" * 1000))
    store = MemoryStore(max_bytes=3 * one.size)
    for key in "abc":
        store.put(key, entry(b"x" * 1000))
    store.get("a")
    store.put("d", entry(b"x" * 1000))
    assert [key for key in "abcd" if store.get(key)] == ["a", "c", "d"]


def test_the_size_is_that_of_what_is_kept():
    store = MemoryStore()
    for _ in range(3):
        store.put("a", entry(b"x" * 5000))
    store.put("b", entry(b"x" * 100))
    assert 5100 < store.size < 5100 + 4 * OVERHEAD
    assert repr(store) == f"<MemoryStore: 2 entries, {store.size} of 67108864 bytes>"
    store.drop("a", 1.0)
    store.drop("b", 1.0)
    assert (store.size, len(store)) == (0, 0)


@pytest.mark.parametrize(
    "what",
    [
        {"url": "http://h/" + "a" * 60_000},
        {"headers": tuple((f"x{number}", str(number)) for number in range(500))},
        {"vary": tuple((f"x{number}", None) for number in range(500))},
        {"vary": (("user-agent", "m" * 60_000),)},
    ],
    ids=["a long URL", "many headers", "a long Vary", "a long value that it varies by"],
)
def test_whatever_an_entry_takes_counts(what):
    store, plain = MemoryStore(), MemoryStore()
    plain.put("a", entry())
    store.put("a", evolve(entry(), **what))
    assert store.size > plain.size + 58_000


def test_what_is_larger_than_the_store_is_not_kept():
    store = MemoryStore(max_bytes=5000)
    store.put("a", entry(b"x" * 100))
    store.put("b", entry(b"x" * 5000))
    assert store.get("a")
    assert not store.get("b")


def test_drops_beyond_number_are_remembered_by_the_time_of_the_last(monkeypatch):
    monkeypatch.setattr("formation.caching.memory._DROPS", 2)
    store = MemoryStore()
    for number, key in enumerate("abc"):
        store.drop(key, 100.0 + number)
    store.put("a", entry(asked=99.0))
    store.put("z", entry(asked=99.5))
    assert not store.get("a")
    assert not store.get("z")
    store.put("z", entry(asked=100.5))
    assert store.get("z")


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "64 MiB"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="max_bytes as a number of bytes"):
        MemoryStore(size)
