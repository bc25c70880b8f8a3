"""What every store does alike; each is a real one."""

import threading

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from formation.caching.entry import Entry
from formation.caching.memory import MemoryStore
from formation.caching.policy import Policy, Request
from formation.caching.redis import RedisStore
from formation.caching.sqlite import SQLiteStore
from formation.caching.store import REMEMBERED, VARIANTS, packed, unpacked
from formation.storage import Redis
from tests.caching.entries import entry

FRENCH, GERMAN = (("accept-language", "fr"),), (("accept-language", "de"),)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "sqlite":
        store = SQLiteStore(tmp_path / "cache.db")
        yield store
        store.close()
    else:
        store = RedisStore(Redis(request.getfixturevalue("redis_server").url, timeout=10))  # threads crowd here
        yield store
        store.storage.close()


def test_a_store_gives_back_what_was_put_under_its_key_and_nothing_else(store):
    assert store.get("a") == []
    store.put("a", entry())
    store.put("b", entry(b"\x00\xff" * 999, lifetime=float(2**31)))
    assert store.get("a") == [entry()]
    assert store.get("b") == [entry(b"\x00\xff" * 999, lifetime=float(2**31))]
    assert store.get("c") == []


def test_variants_live_side_by_side_and_one_put_replaces_that_of_its_own(store):
    for language, body in ((FRENCH, b"the"), (GERMAN, b"Tee"), (FRENCH, b"the vert")):
        store.put("a", entry(body, vary=language))
    store.put("a", entry(b"", method="HEAD"))
    assert sorted(each.body for each in store.get("a")) == [b"", b"Tee", b"the vert"]


def test_what_was_asked_for_earlier_does_not_replace_what_was_asked_for_later(store):
    store.put("a", entry(b"new", asked=101.0))
    store.put("a", entry(b"old", asked=100.0, took=5))
    assert [each.body for each in store.get("a")] == [b"new"]


def test_what_was_asked_for_before_a_drop_does_not_come_back(store):
    store.put("a", entry(b"old", asked=100.0))
    store.drop("a", 105.0)
    assert store.get("a") == []
    store.put("a", entry(b"under way", asked=104.0, took=9))
    assert store.get("a") == []
    store.drop("a", 103.0)  # a second one that comes late takes nothing of the first
    store.put("a", entry(b"under way", asked=104.5))
    assert store.get("a") == []
    store.put("a", entry(b"new", asked=105.5))
    assert [each.body for each in store.get("a")] == [b"new"]


def test_what_took_longer_than_a_drop_is_remembered_is_not_kept(store):
    store.put("a", entry(took=REMEMBERED + 1))
    assert store.get("a") == []


def test_a_client_that_makes_up_variants_pushes_out_those_of_its_key_alone(store):
    store.put("b", entry(b"other"))
    for number in range(VARIANTS + 5):
        store.put("a", entry(b"%d" % number, asked=100.0 + number, vary=(("accept", str(number)),)))
    kept = sorted(int(each.body) for each in store.get("a"))
    assert kept == list(range(5, VARIANTS + 5))
    assert store.get("b")


def test_dropping_what_is_not_there_is_no_error(store):
    store.drop("a", 1.0)
    assert store.get("a") == []


def test_a_key_may_be_anything_that_a_url_may_be(store):
    for key in ("https://h/\xeb?q=" + "x" * 9000, "a{b}c", "", "a b"):
        store.put(key, entry(key.encode()))
    for key in ("https://h/\xeb?q=" + "x" * 9000, "a{b}c", "", "a b"):
        assert [each.body for each in store.get(key)] == [key.encode()]


def test_threads_that_put_at_the_same_time_lose_no_variant_of_each_other(store):
    def put(number):
        for each in range(20):
            store.put("a", entry(b"%d %d" % (number, each), asked=float(each), vary=(("accept", str(number)),)))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.body for each in store.get("a")) == [b"%d 19" % number for number in range(8)]


def test_a_packed_entry_is_unpacked_as_it_was():
    assert unpacked(packed(entry(vary=FRENCH))) == entry(vary=FRENCH)


@pytest.mark.parametrize("at", [0, 3, 4, 9, 20, 100, -1])
def test_a_byte_that_was_changed_makes_no_entry(at):
    data = bytearray(packed(entry()))
    data[at] ^= 1
    assert unpacked(bytes(data)) is None


@pytest.mark.parametrize("data", [b"", b"fmc1", None, 7, "text", b"\x80\x04N.", packed(entry())[:-1]])
def test_what_is_foreign_or_cut_off_makes_no_entry(data):
    assert unpacked(data) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "200"},
        {"status": 20},
        {"lifetime": float("nan")},
        {"received_at": None},
        {"no_cache": 1},
        {"etag": 7},
        {"length": 99},
        {"headers": (("X-A", "a\r\nSet-Cookie: b"),)},
        {"headers": ((7, "a"),)},
        {"vary": (("accept", 7),)},
        {"url": None},
    ],
)
def test_an_entry_that_says_what_none_would_is_none(wrong):
    assert unpacked(packed(evolve(entry(), **wrong))) is None


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=20))
def test_nothing_that_may_lie_in_a_store_raises(data, at, more):
    whole = packed(entry())
    for found in (data, b"fmc1" + data, whole[:at] + more, whole[:at] + more + whole[at + len(more) :]):
        assert unpacked(found) == (entry() if found == whole else None)


@pytest.mark.parametrize("seconds", [253402300800.0, -62135596801.0, 1e300])
def test_a_date_that_http_cannot_write_is_none(seconds):
    assert unpacked(packed(evolve(entry(), last_modified=seconds))) is None
    assert unpacked(packed(evolve(entry(), last_modified=253402300799.0))) is not None


@given(
    st.dictionaries(
        st.sampled_from([each.name for each in fields(Entry) if each.name not in {"body", "length"}]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(()),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_fields_an_entry_is_packed_with_what_comes_back_is_sound_or_nothing(wrong):
    try:
        made = evolve(entry(), **wrong)
        data = packed(made)
    except (TypeError, ValueError, UnicodeEncodeError):
        return
    found = unpacked(data)
    if found is not None:
        policy = Policy(shared=True)
        request = Request("GET", "https://h/a", [])
        policy.decide(request, found, 200.0)
        policy.answer(request, found, 200.0)
        policy.conditional(request, found, [found])
