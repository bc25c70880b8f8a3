"""SRE client throttling: what reaches an endpoint in an overload and in an outage, in a simulation; and the counts."""

import random

import pytest

from formation.resilience.accepts import Accepts
from tests.resilience.stress import in_threads


class Call:
    def __init__(self, at, *, made, taken):
        self.at, self.made, self.taken = at, made, taken


def run(counts, offered, capacity, seconds, seed=1):
    """Call ``offered`` times a second, at random; the endpoint accepts ``capacity(now)`` a second. Return the calls."""
    chance, calls = random.Random(seed), []
    now = room = 0.0
    while now < seconds:
        pause = chance.expovariate(offered)
        now += pause
        room = min(room + pause * capacity(now), capacity(now) / 10)
        refusal, bucket = counts.request(now)
        made = chance.random() >= refusal
        taken = made and room >= 1
        if taken:
            room -= 1
            counts.accept(bucket)
        calls.append(Call(now, made=made, taken=taken))
    return calls


def counted(k=2.0, window=30.0, most=0.9, min_rate=5.0):
    return Accepts(k, window=window, most=most, min_rate=min_rate)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("k", [1.1, 1.5, 2.0])
def test_at_three_times_the_load_the_endpoint_gets_k_times_what_it_can_take(k, seed):
    calls = [call for call in run(counted(k), 300, lambda now: 100, 240, seed) if call.at > 60]
    assert sum(call.made for call in calls) / 180 / 100 <= k * 1.02
    assert sum(call.taken for call in calls) / 180 / 100 >= 0.95


def test_an_endpoint_that_is_gone_gets_a_tenth():
    calls = [call for call in run(counted(), 100, lambda now: 0, 120) if call.at > 60]
    assert sum(call.made for call in calls) / len(calls) == pytest.approx(0.1, abs=0.02)


def recovery(window, most=0.9):
    """Return the seconds after an outage until nine calls of ten are accepted."""
    calls = run(counted(window=window, most=most), 100, lambda now: 0 if now < 120 else 200, 120 + 6 * window)
    for second in range(120, int(120 + 6 * window)):
        near = [call.taken for call in calls if second <= call.at < second + 5]
        if sum(near) >= 0.9 * len(near):
            return second - 120
    return None


@pytest.mark.parametrize("window", [10.0, 30.0])
def test_after_an_outage_all_is_well_within_two_windows(window):
    assert recovery(window) <= 2 * window


def test_without_a_highest_probability_it_would_take_more_than_twice_as_long():
    assert recovery(30.0, most=0.999) > 2 * recovery(30.0)


def test_no_call_is_refused_while_there_are_few_or_enough_are_accepted():
    counts = counted(min_rate=1.0)
    assert {counts.request(0.0)[0] for _ in range(30)} == {0.0}
    refusal, bucket = counts.request(0.0)
    assert refusal == pytest.approx(0.9)
    for _ in range(16):
        counts.accept(bucket)
    assert counts.request(0.0)[0] == 0


def test_without_a_least_rate_the_second_call_may_be_refused():
    counts = counted(min_rate=0)
    assert [counts.request(0.0)[0] for _ in range(2)] == [0, 0.5]


def test_the_window_moves_by_a_tenth_and_forgets_what_has_left_it():
    counts = counted(window=10.0, min_rate=0.1)
    for second in range(10):
        counts.accept(counts.request(second + 0.5)[1])
        counts.request(second + 0.5)
    assert (counts.requests, counts.accepts) == (20, 10)
    counts.request(12.5)
    assert (counts.requests, counts.accepts) == (15, 7)
    counts.request(1000.0)
    assert (counts.requests, counts.accepts) == (1, 0)


def test_what_comes_of_a_call_counts_for_when_it_was_made_and_not_after_its_time():
    counts = counted(window=10.0)
    (_, early), (_, late) = counts.request(0.5), counts.request(5.5)
    counts.take_back(counts.request(10.5)[1])
    counts.accept(early)
    counts.take_back(early)
    assert (counts.requests, counts.accepts) == (1, 0)
    counts.accept(late)
    assert (counts.requests, counts.accepts) == (1, 1)
    counts.take_back(counts.request(16.0)[1])
    assert (counts.requests, counts.accepts) == (0, 0)


def test_a_call_that_is_taken_back_was_never_made():
    counts = counted()
    counts.take_back(counts.request(0.0)[1])
    assert (counts.requests, counts.accepts) == (0, 0)


def test_under_stress_the_counts_are_exact():
    counts = counted(window=1000.0)

    def work(_):
        for number in range(600):
            _, bucket = counts.request(float(number))
            counts.take_back(bucket) if number % 3 == 0 else counts.accept(bucket)

    in_threads(work)
    assert (counts.requests, counts.accepts) == (16 * 400, 16 * 400)
