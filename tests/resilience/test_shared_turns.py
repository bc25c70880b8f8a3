"""The slots in Redis: the same as those in memory, for as many processes as there are."""

import multiprocessing
import random
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from formation.resilience.shared_turns import RedisTurns
from formation.resilience.turns import MemoryTurns, Quota
from formation.storage import Redis

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "give back"]),
        st.sampled_from("ab"),
        st.one_of(st.just(0.0), st.floats(0, 3)),  # seconds since the step before
        st.one_of(st.none(), st.just(0.0), st.floats(0, 5)),  # patience
        st.integers(0, 10),  # which slot to give back
    ),
    max_size=40,
)


class Clock:
    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


ALL_GIVEN_BACK = [  # when the first of them is past already: whoever comes then need not wait
    *[("reserve", "a", 0.0, None, 0)] * 3,
    *[("give back", "a", 0.0, None, 0)] * 2,
    ("give back", "a", 4.0, None, 0),
    ("reserve", "a", 0.0, None, 0),
]


@example(steps=ALL_GIVEN_BACK, rate=0.3, burst=1)
@given(steps=STEPS, rate=st.sampled_from([0.3, 1, 2.5, 7, 100]), burst=st.integers(1, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_the_slots_in_redis_are_those_in_memory(redis_server, steps, rate, burst):
    redis_server.client.flushall()
    clock = Clock()
    both, quota = [MemoryTurns(clock), RedisTurns(Redis(redis_server.client), clock)], Quota(rate, burst=burst)
    taken = []
    for what, key, pause, patience, which in steps:
        clock.now += pause
        if what == "reserve":
            (wait, slot), (shared_wait, shared_slot) = (turns.reserve(key, quota, patience) for turns in both)
            # Where the patience ends within the rounding of a sum, either may say so.
            if patience is not None and abs(wait - patience) < 1e-5 and (slot is None) != (shared_slot is None):
                return
            assert shared_wait == pytest.approx(wait, abs=1e-5)
            assert (shared_slot is None) == (slot is None)
            if slot is not None:
                assert shared_slot == pytest.approx(slot, abs=1e-5)
                taken.append((key, slot, shared_slot))
        elif taken:
            whose, *slots = taken.pop(which % len(taken))
            if slots[0] - clock.now > 1e-5:  # one that is past now or then may be lost to one and not to the other
                for turns, slot in zip(both, slots, strict=True):
                    turns.give_back(whose, quota, slot)


def test_a_key_expires_with_its_last_slot(redis_server):
    turns, quota = RedisTurns(Redis(redis_server.url)), Quota(1000, burst=20)
    for _ in range(5):
        turns.reserve("a", quota, None)
    (key,) = redis_server.keys()
    assert 0 <= redis_server.client.pttl(key) <= 6
    while redis_server.keys():
        time.sleep(0.001)
    assert turns.reserve("a", quota, 0)[0] == 0


def test_a_slot_that_is_given_back_when_all_is_forgotten_makes_no_key(redis_server):
    turns, quota = RedisTurns(Redis(redis_server.url)), Quota(0.01)
    _, slot = turns.reserve("a", quota, 0)
    redis_server.flush()
    turns.give_back("a", quota, slot)
    assert redis_server.keys() == []


def test_a_slot_that_is_given_back_goes_to_the_next(redis_server):
    clock = Clock()
    turns, quota = RedisTurns(Redis(redis_server.url), clock), Quota(1)
    waits = [turns.reserve("a", quota, None) for _ in range(4)]
    assert [round(wait, 4) for wait, _ in waits] == [0, 1, 2, 3]
    turns.give_back("a", quota, waits[2][1])
    assert [round(turns.reserve("a", quota, None)[0], 4) for _ in range(2)] == [2, 4]


def test_a_slot_that_was_given_back_and_that_nobody_took_in_time_is_gone(redis_server):
    clock = Clock()
    turns, quota = RedisTurns(Redis(redis_server.url), clock), Quota(1)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(6)]
    turns.give_back("a", quota, slots[1])
    turns.give_back("a", quota, slots[2])
    clock.now += 2.5
    assert turns.reserve("a", quota, None)[0] == pytest.approx(3.5, abs=1e-5)


def test_a_clock_that_is_set_back_makes_nobody_wait_and_lets_nobody_through_at_once(redis_server):
    clock = Clock()
    turns, quota = RedisTurns(Redis(redis_server.url), clock), Quota(1)
    taken = [turns.reserve("a", quota, None) for _ in range(3)]
    clock.now -= 3600
    assert turns.reserve("a", quota, 0)[0] == pytest.approx(3, abs=1e-5)
    clock.now += 1
    assert turns.reserve("a", quota, 0)[0] == pytest.approx(2, abs=1e-5)
    clock.now -= 1
    assert turns.reserve("a", quota, None)[0] == pytest.approx(3, abs=1e-5)
    turns.give_back("a", quota, taken[2][1])  # of before: it is none of these slots
    assert turns.reserve("a", quota, None)[0] == pytest.approx(4, abs=1e-5)
    clock.now += 3600
    assert turns.reserve("a", quota, None)[0] == 0


def test_rates_do_not_meet_in_one_key(redis_server):
    turns = RedisTurns(Redis(redis_server.url))
    for quota in (Quota(0.01), Quota(0.01, burst=2), Quota(0.02)):
        assert turns.reserve("a", quota, 0)[0] == 0
    assert turns.reserve("b", Quota(0.01), 0)[0] == 0
    assert len(redis_server.keys()) == 4


def take(url, tries, pipe):
    """Take what can be had at once, as often as may be, in another process."""
    turns, quota = RedisTurns(Redis(url, timeout=20)), Quota(50, 3600, burst=50)
    pipe.send(sum(turns.reserve("a", quota, 0)[1] is not None for _ in range(tries)))


def test_several_processes_together_get_exactly_what_one_would(redis_server):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    workers = [context.Process(target=take, args=(redis_server.url, 40, there)) for _ in range(4)]
    for worker in workers:
        worker.start()
    got = [here.recv() for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(got) == 50


def test_a_thousand_slots_given_back_in_any_order_are_had_again_once_each(redis_server):
    clock = Clock()
    turns, quota = RedisTurns(Redis(redis_server.client), clock), Quota(10)
    slots = [turns.reserve("a", quota, None)[1] for _ in range(200)]
    chance = random.Random(3)
    chance.shuffle(slots)
    for slot in slots[:100]:
        turns.give_back("a", quota, slot)
    again = [turns.reserve("a", quota, None)[1] for _ in range(100)]
    assert sorted(round(slot, 4) for slot in again) == sorted(round(slot, 4) for slot in slots[:100])
