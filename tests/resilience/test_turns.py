"""The rate: how many go in any stretch of time, who waits how long, and what becomes of slots that are given back."""

import random
from bisect import bisect_left, bisect_right
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.resilience import keyed
from formation.resilience.turns import MemoryTurns, Quota
from tests.resilience.stress import in_threads


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def most_in(times, seconds):
    """Return how many of the sorted ``times`` are in any stretch of so many seconds, at most."""
    return max((bisect_right(times, start + seconds) - at for at, start in enumerate(times)), default=0)


def take(turns, quota, clock, patience=None, key="a"):
    """Return when it may go, or ``None``."""
    wait, slot = turns.reserve(key, quota, patience)
    return None if slot is None else clock.now + wait


@pytest.mark.parametrize("burst", [1, 2, 10])
def test_after_a_pause_a_burst_goes_at_once_and_then_one_each_interval(burst):
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(4, burst=burst)
    first = [take(turns, quota, clock) - 1000 for _ in range(burst + 3)]
    assert first == [0.0] * burst + [0.25, 0.5, 0.75]
    clock.now += 3600
    assert [take(turns, quota, clock) - 4600 for _ in range(burst + 1)] == [0.0] * burst + [0.25]


def test_who_will_not_wait_so_long_takes_nothing_and_learns_when_to_come():
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(10)
    take(turns, quota, clock)
    for _ in range(3):
        assert turns.reserve("a", quota, 0) == (pytest.approx(0.1), None)
    wait, _ = turns.reserve("a", quota, 0)
    clock.now += wait
    assert turns.reserve("a", quota, 0)[1] is not None


@given(rate=st.floats(0.001, 1e6), start=st.floats(0, 1e7), burst=st.integers(1, 50))
def test_who_comes_after_exactly_the_time_told_is_let_through(rate, start, burst):
    clock = Clock(start)
    turns, quota = MemoryTurns(clock), Quota(rate, burst=burst)
    for _ in range(burst + 3):
        wait, slot = turns.reserve("a", quota, 0)
        if slot is None:
            clock.now += wait
            wait, slot = turns.reserve("a", quota, 0)
        assert slot is not None


def test_each_key_has_a_rate_of_its_own():
    turns, quota = MemoryTurns(Clock()), Quota(1)
    assert [turns.reserve(key, quota, None)[0] for key in "aba"] == [0, 0, 1]


@given(
    rate=st.integers(1, 100),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 0.2), st.one_of(st.none(), st.floats(0, 1)), st.floats(0, 1)), max_size=150),
)
def test_in_no_stretch_of_time_go_more_than_the_burst_and_the_rate(rate, burst, steps):
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(rate, burst=burst)
    went, waiting = [], []
    for pause, patience, chance in steps:
        clock.now += pause
        went += [due for due, _ in waiting if due <= clock.now]
        waiting = [(due, slot) for due, slot in waiting if due > clock.now]
        if chance < 0.3 and waiting:  # somebody who waits is cancelled
            _, slot = waiting.pop(int(chance / 0.3 * len(waiting)))
            turns.give_back("a", quota, slot)
        wait, slot = turns.reserve("a", quota, patience)
        if slot is not None:
            (waiting if wait else went).append((clock.now + wait, slot) if wait else clock.now)
    went = sorted(went + [due for due, _ in waiting])
    for stretch in (0, quota.interval, 0.5, 1, 5):
        assert most_in(went, stretch) <= burst + rate * stretch + 1.0001


def test_the_last_slot_given_back_is_the_next_to_be_had():
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(4)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(4)]
    turns.give_back("a", quota, slots[3])
    assert turns.reserve("a", quota, None) == (0.75, slots[3])


def test_one_in_the_middle_goes_to_the_next_who_comes_and_those_behind_stay_where_they_are():
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(4)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(4)]
    turns.give_back("a", quota, slots[2])
    turns.give_back("a", quota, slots[1])
    assert [turns.reserve("a", quota, None)[0] for _ in range(3)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_when_all_who_wait_have_given_up_it_is_as_if_they_had_never_come(order):
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(10, burst=1)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(4)]
    for each in order:
        turns.give_back("a", quota, slots[each])
    assert [turns.reserve("a", quota, None)[0] for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])


def test_a_slot_given_back_that_nobody_took_in_time_is_gone():
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(4)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(4)]
    turns.give_back("a", quota, slots[1])
    clock.now += 0.5
    assert turns.reserve("a", quota, None)[0] == 0.5


def test_keys_that_have_nothing_to_remember_are_forgotten_and_the_others_never(monkeypatch):
    monkeypatch.setattr(keyed, "LEAST", 8)
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(1)
    for _ in range(100):
        turns.reserve("busy", quota, None)
    for key in range(50):
        clock.now += 1
        turns.reserve(key, quota, None)
    assert len(turns) <= 10
    assert turns.reserve("busy", quota, None)[0] == pytest.approx(50)
    turns.give_back("never seen", quota, 1.0)


def test_a_clock_that_is_set_changes_nothing_for_it_is_not_asked(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    turns, quota = MemoryTurns(), Quota(0.001)
    assert turns.reserve("a", quota, 0)[1] is not None
    assert turns.reserve("a", quota, 0)[1] is None


@pytest.mark.parametrize("threads", [1, 16])
def test_in_the_long_run_the_rate_is_what_was_asked_for_whoever_asks(threads):
    clock = Clock()
    turns, quota = MemoryTurns(clock), Quota(500, burst=5)

    def work(_):
        return [take(turns, quota, clock) for _ in range(16000 // threads)]

    went = sorted(chain(*in_threads(work, threads)))
    assert len(went) / (went[-1] - went[0]) == pytest.approx(500, rel=0.01)
    assert most_in(went, 1) <= 500 + 5 + 1
    assert bisect_left(went, 1001) <= 500 + 5 + 1


def test_with_callers_who_come_and_go_at_random_the_rate_is_reached_and_not_passed():
    chance, clock = random.Random(7), Clock()
    turns, quota = MemoryTurns(clock), Quota(200, burst=10)
    went = []
    while clock.now < 1060:
        clock.now += chance.expovariate(400)
        if (due := take(turns, quota, clock, patience=0.05)) is not None:
            went.append(due)
    assert len(went) / 60 == pytest.approx(200, rel=0.01)
    assert most_in(sorted(went), 1) <= 200 + 10 + 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 0}, "expected rate as a number above 0, got 0"),
        ({"rate": "10"}, "expected rate as a number above 0, got '10'"),
        ({"rate": 1, "per": -1}, "expected per as a number above 0, got -1"),
        ({"rate": 1, "burst": 0}, "expected burst as a whole number, 1 or more, got 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Quota(**settings)
