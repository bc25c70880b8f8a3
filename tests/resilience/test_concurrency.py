"""Limits that are found, step by step; what they are worth in an overload, ``simulate/overload.py`` shows."""

import pytest

from formation.resilience.concurrency import AIMD, BACKOFF, SAMPLES, Gradient2, Limiter, Seat
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
    seats = [Seat() for _ in range(4)]
    assert [limiter.admit(seat) for seat in seats] == [1, 2, 0, 0]
    assert limiter.leave(seats[1], 0.0, 0.1, dropped=None) is None
    assert limiter.leave(seats[0], 0.0, 0.1) == 3
    assert [limiter.leave(seat, 0.0, 0.1) for seat in seats] == [None] * 4  # a second time, or never admitted
    assert (limiter.in_flight, limiter.limit) == (0, 3)
    limiter.admit(seats[0])
    assert limiter.leave(seats[0], 0.0, 0.1) is None


def test_under_stress_the_count_is_exact():
    limiter, most = Limiter(Fixed(5)), []

    def work(_):
        for _ in range(500):
            seat = Seat()
            if admitted := limiter.admit(seat):
                most.append(admitted)
                limiter.leave(seat, 0.0, 0.1)

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
