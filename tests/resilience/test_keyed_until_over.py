"""Many keys: what is over is forgotten, what is not never is, and there is an end to how many there are."""

from hypothesis import given
from hypothesis import strategies as st

from formation.resilience import keyed
from formation.resilience.keyed import SHARED, KeyedUntilOver
from formation.resilience.turns import MemoryTurns, Quota


def made(monkeypatch, most=8):
    monkeypatch.setattr(keyed, "LEAST", 8)
    return KeyedUntilOver(list, lambda thing: not thing, most)


def test_a_key_has_the_same_thing_as_long_as_it_says_something(monkeypatch):
    things = made(monkeypatch)
    things["a"].append("said")
    for key in range(1000):
        _ = things[key]
    assert things["a"] == things.get("a") == ["said"]
    assert len(things) < 20
    assert things.get("never seen") is None


def test_over_the_limit_newcomers_share_and_nobody_is_forgotten(monkeypatch):
    things = made(monkeypatch)
    for key in range(10 * SHARED):
        things[key].append(key)
    assert len(things) == 8 + SHARED
    assert all(key in things[key] for key in range(10 * SHARED))


def test_who_shares_does_so_until_it_is_over_also_when_there_is_room_again(monkeypatch):
    things = made(monkeypatch, most=1)
    things["a"].append("a")
    things["b"].append("b")
    things["a"].clear()
    for key in range(100):
        _ = things[key]
    assert things["b"] == ["b"]
    things["b"].clear()
    things["b"].append("new")
    assert things["b"] == ["new"]


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 50)), max_size=200), st.integers(1, 5))
def test_however_few_have_a_line_of_their_own_nobody_is_let_through_too_often(calls, most):
    now = [0.0]
    turns, quota, went = MemoryTurns(lambda: now[0], most=most), Quota(1, 20, burst=2), {}
    turns._lines._newcomers_until_search = 3
    for key, pause in calls:
        now[0] += pause
        if turns.reserve(key, quota, 0)[1] is not None:
            times = went.setdefault(key, [])
            times.append(now[0])
            assert len(times) <= 2 or times[-1] - times[-3] >= 20 - 1e-6
