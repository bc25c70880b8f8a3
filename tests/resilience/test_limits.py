"""Limits that are found: under overload, in a simulation; and step by step."""

import pytest

from formation.resilience.limits import AIMD, BACKOFF, SAMPLES, Gradient2, Limiter
from tests.resilience.overload import serve
from tests.resilience.stress import in_threads


class Fixed:
    def __init__(self, limit):
        self.limit = limit

    def sample(self, now, seconds, in_flight, *, dropped):
        pass


def window(algorithm, start, seconds, in_flight=None):
    """Tell it of a window of calls that took so long."""
    for call in range(SAMPLES):
        used = int(algorithm.limit) if in_flight is None else in_flight
        algorithm.sample(start + min(call, 1), seconds, used, dropped=False)
    return algorithm.limit


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_twice_the_load_gradient2_does_what_can_be_done_in_at_most_twice_the_time(seed):
    _, unloaded = serve(None, 0.5, seed=seed)
    goodput, p99 = serve(Limiter(Gradient2()), 2, seed=seed)
    assert goodput >= 0.95
    assert p99 <= 2 * unloaded


def test_without_a_limit_nothing_comes_in_time_and_with_one_that_is_too_high_half():
    assert serve(None, 2)[0] < 0.01
    assert serve(Limiter(Fixed(200)), 2)[0] < 0.6


@pytest.mark.parametrize(("load", "least"), [(0.5, 0.48), (1, 0.93), (4, 0.95)])
def test_gradient2_is_good_at_other_loads_too(load, least):
    assert serve(Limiter(Gradient2()), load)[0] >= least


def test_aimd_is_better_than_a_limit_that_is_too_high_if_its_timeout_is_below_that_of_those_who_ask():
    early, late = (serve(Limiter(AIMD(timeout=timeout)), 2)[0] for timeout in (0.5, 1.0))
    assert early >= 0.85
    assert early > late


def test_gradient2_grows_by_a_part_of_its_queue_while_calls_take_as_long_as_ever():
    found = Gradient2(20)
    assert [round(window(found, second * 2, 0.1), 3) for second in range(3)] == [20.8, 21.6, 22.4]


def test_it_shrinks_in_proportion_when_they_take_longer_and_by_half_of_a_fifth_at_most():
    found = Gradient2(100)
    for second in range(12):
        window(found, second * 2, 0.1)
    before = found.limit
    after = window(found, 30, 0.2)
    assert after == pytest.approx(before + 0.2 * (before * 0.75 + 4 - before), rel=0.01)
    before = after
    assert window(found, 32, 10.0) == pytest.approx(before + 0.2 * (before * 0.5 + 4 - before), rel=0.01)


def test_a_little_longer_is_no_sign():
    found = Gradient2(20)
    for second in range(12):
        window(found, second * 2, 0.1)
    before = found.limit
    assert window(found, 30, 0.14) > before


def test_while_less_than_half_is_in_use_it_stays_as_it_is():
    found = Gradient2(20)
    for second in range(12):
        window(found, second * 2, 0.1 if second < 6 else 9.0, in_flight=9)
    assert found.limit == 20


def test_a_window_is_a_second_and_ten_calls():
    found = Gradient2(20)
    for call in range(100):
        found.sample(call / 101, 0.1, 20, dropped=False)
    assert found.limit == 20
    found.sample(1.0, 0.1, 20, dropped=False)
    assert found.limit > 20
    before = found.limit
    for call in range(9):
        found.sample(10.0 + call, 0.1, 20, dropped=False)
    assert found.limit == before
    found.sample(20.0, 0.1, 20, dropped=False)
    assert found.limit > before


def test_after_bad_times_the_long_run_is_soon_what_it_was():
    found = Gradient2(20)
    for second in range(20):
        window(found, second * 2, 5.0)
    for second in range(20, 100):
        window(found, second * 2, 0.1)
    before = found.limit
    assert window(found, 300, 1.0) < before


@pytest.mark.parametrize("make", [Gradient2, AIMD], ids=lambda make: make.__name__)
def test_the_limit_never_leaves_its_bounds(make):
    found = make(5, 3, 8)
    for second in range(100):
        window(found, second * 2, 0.0)
    assert found.limit == 8
    for second in range(100, 400):
        window(found, second * 2, 2.0 ** (second - 100), in_flight=8)
    assert found.limit >= 3
    found = make(5, 3, 8)
    for call in range(100):
        found.sample(float(call), 9.0 * 2**call, 5, dropped=True)
    assert found.limit >= 3


def test_aimd_adds_one_for_a_good_call_and_takes_a_tenth_for_one_that_failed_or_took_too_long():
    found = AIMD(20, timeout=1.0)
    found.sample(0, 0.5, 20, dropped=False)
    assert found.limit == 21
    found.sample(0, 0.5, 21, dropped=True)
    assert found.limit == 21 * BACKOFF
    found.sample(0, 1.5, 21, dropped=False)
    assert found.limit == 21 * BACKOFF * BACKOFF
    before = found.limit
    found.sample(0, 0.5, 8, dropped=False)
    assert found.limit == before


def test_a_limiter_admits_while_there_is_room_and_says_when_the_limit_changes():
    limiter = Limiter(AIMD(2))
    assert [limiter.admit() for _ in range(4)] == [1, 2, 0, 0]
    assert limiter.leave(2, 0.0, 0.1, dropped=None) is None
    assert limiter.leave(1, 0.0, 0.1) == 3
    assert (limiter.in_flight, limiter.limit) == (0, 3)
    limiter.admit()
    assert limiter.leave(1, 0.0, 0.1) is None


def test_under_stress_the_count_is_exact():
    limiter, most = Limiter(Fixed(5)), []

    def work(_):
        for _ in range(500):
            if admitted := limiter.admit():
                most.append(admitted)
                limiter.leave(admitted, 0.0, 0.1)

    in_threads(work)
    assert max(most) <= 5
    assert limiter.in_flight == 0


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0, 0, 5), "expected initial as a whole number, 1 or more, got 0"),
        ((5, 0, 9), "expected min as a whole number, 1 or more, got 0"),
        ((5, 6, 9), "expected min <= initial <= max, got 6, 5, 9"),
        ((5, 1, 4), "expected min <= initial <= max, got 1, 5, 4"),
    ],
)
@pytest.mark.parametrize("make", [Gradient2, AIMD], ids=lambda make: make.__name__)
def test_bounds_that_cannot_be_are_refused(make, numbers, said):
    with pytest.raises(ValueError, match=said):
        make(*numbers)


def test_a_timeout_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected timeout as a number above 0, got 0"):
        AIMD(timeout=0)
