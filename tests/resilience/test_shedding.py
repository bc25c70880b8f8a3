"""The age of a request, as a proxy tells it, and the queue that stands."""

import random

import pytest

from formation.resilience.shedding import StandingQueue, age

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ("t=1789999999.750", 0.25),
        ("1789999999.750", 0.25),
        (" t=1789999999 ", 1.0),
        ("t=1789999999750", 0.25),
        ("1789999999750", 0.25),
        ("t=1789999999750000", 0.25),
        ("t=1790000005", 0.0),
        ("t=1789996400", 3600.0),
        ("t=1789996399", None),
        ("0", None),
        ("", None),
        ("soon", None),
        ("t=-1789999999", None),
        ("t=1789999999, t=1789999999", None),
        ("t=1e9", None),
        ("t=\u0661\u0667\u0668\u0669\u0669\u0669\u0669\u0669\u0669\u0669", None),
        ("9" * 1000, None),
    ],
)
def test_the_age_is_read_in_any_unit_and_what_cannot_be_is_none(said, waited):
    assert age(said, NOW) == (waited if waited is None else pytest.approx(waited))


def test_a_burst_is_let_through_and_a_queue_that_stands_is_not():
    queue = StandingQueue(0.1, 1.0)
    assert not any(queue.is_too_old(now / 100, 0.5) for now in range(100))
    assert all(queue.is_too_old(1 + now / 100, 0.5) for now in range(100))


def test_one_that_is_in_time_begins_the_interval_anew():
    queue = StandingQueue(0.1, 1.0)
    for now in range(20):
        queue.is_too_old(now / 10, 0.5)
    assert not queue.is_too_old(2.0, 0.1)
    assert not any(queue.is_too_old(2.0 + now / 10, 0.5) for now in range(1, 11))
    assert queue.is_too_old(3.2, 0.5)


def test_of_a_time_without_requests_nothing_is_known():
    queue = StandingQueue(0.1, 1.0)
    assert not queue.is_too_old(0.0, 0.5)
    assert not queue.is_too_old(60.0, 0.5)
    assert not queue.is_too_old(120.0, 0.5)


def goodput(queue, seconds=60, workers=0.01, offered=200.0, patience=0.4):
    """Offer twice what a server with one line can do; return the part of its capacity that came in time."""
    chance, now, free, good = random.Random(1), 0.0, 0.0, 0
    while now < seconds:
        now += chance.expovariate(offered)
        begins = max(now, free)
        if queue is not None and queue.is_too_old(begins, begins - now):
            continue
        free = begins + workers
        good += free - now <= patience
    return good / (seconds / workers)


def test_it_keeps_a_server_useful_that_is_offered_twice_its_load():
    assert goodput(None) < 0.05
    assert goodput(StandingQueue(0.1, 0.1)) > 0.9


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((-1, 1), "expected target in seconds, 0 or more, got -1"),
        ((0.1, 0), "expected interval as a number above 0, got 0"),
    ],
)
def test_seconds_that_cannot_be_are_refused(numbers, said):
    with pytest.raises(ValueError, match=said):
        StandingQueue(*numbers)
