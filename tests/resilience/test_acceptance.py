"""SRE client throttling, step by step; what reaches an endpoint, ``simulate/overload.py`` shows."""

import pytest

from formation.resilience.acceptance import Acceptance
from tests.resilience.stress import in_threads


def counted(k=2.0, window=30.0, most=0.9, min_rate=5.0):
    return Acceptance(k, window=window, most=most, min_rate=min_rate)


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
