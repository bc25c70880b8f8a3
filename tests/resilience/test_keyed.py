import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.resilience import keyed
from formation.resilience.keyed import LIMIT, Keyed
from tests.resilience.collection import at_each_line
from tests.resilience.stress import in_threads


def test_a_key_has_one_thing_and_another_key_another():
    lists = Keyed(lambda key: [key])
    assert lists["a"] is lists["a"]
    assert lists["a"] is not lists["b"]
    assert (list(lists), len(lists)) == (["a", "b"], 2)


def test_over_the_limit_what_was_not_asked_for_longest_goes():
    lists = Keyed(lambda key: [key], limit=2)
    first = lists["a"]
    lists["b"], lists["a"], lists["c"]
    assert list(lists) == ["a", "c"]
    assert lists["a"] is first


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_it_is_the_last_keys_that_are_kept(asked, limit):
    made = Keyed(lambda key: [key], limit)
    for key in asked:
        assert made[key] == [key]
    last = list(dict.fromkeys(reversed(asked)))[:limit]
    assert list(made) == last[::-1]


def test_what_is_in_use_is_kept_whatever_the_limit():
    used = {"a", "b"}
    lists = Keyed(lambda key: [key], limit=2, in_use=lambda thing: thing[0] in used)
    first = lists["a"]
    lists["b"], lists["c"], lists["d"]
    assert list(lists) == ["a", "b", "d"]
    used.clear()
    lists["e"]
    assert list(lists) == ["b", "d", "e"]
    assert lists["a"] is not first


def test_a_crawler_does_not_fill_the_memory():
    made = Keyed(lambda key: [key])
    for key in range(3 * LIMIT):
        made[key]
    assert len(made) == LIMIT


def test_what_cannot_be_made_is_not_kept():
    def make(key):
        raise ValueError(key)

    made = Keyed(make)
    with pytest.raises(ValueError, match="a"):
        made["a"]
    assert len(made) == 0


def test_threads_that_ask_at_once_get_the_same():
    for _ in range(20):
        made, barrier = Keyed(lambda key: [key]), threading.Barrier(8)

        def ask(_, made=made, barrier=barrier):
            barrier.wait()
            return made["key"]

        assert len({id(each) for each in in_threads(ask, 8)}) == 1


def test_what_is_made_may_ask_itself_and_there_is_still_one_thing_for_a_key():
    def make(key):
        inner.append(lists[0])  # as what a collection ends in this very moment
        return [key]

    inner = []
    lists = Keyed(lambda key: make(key) if key else [key, "inner"], limit=2)
    asking = threading.Thread(target=lambda: inner.append(lists["a"]), daemon=True)
    asking.start()
    asking.join(10)
    assert not asking.is_alive()
    assert inner == [[0, "inner"], ["a"]]
    assert lists[0] is inner[0]


def test_whenever_a_collection_asks_for_the_same_key_both_get_the_same():
    def prepare():
        lists, got = Keyed(lambda key: [key], limit=2), []
        lists["b"], lists["c"]
        return lambda: (lists["a"], got, lists), lambda: got.append(lists["a"])

    for mine, (theirs,), lists in at_each_line(keyed, prepare):
        assert mine is theirs
        assert list(lists) in (["c", "a"], ["a"])  # each has made room
