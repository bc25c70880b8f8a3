"""Limits of a server: whatever the strategy, no more than may be, nobody kept out for longer than told."""

import threading
from bisect import bisect_left
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.resilience.counters import Parts, Times
from formation.resilience.rates import MemoryRates, limits_of
from tests.resilience.stress import in_threads

STRATEGIES = ["gcra", "moving-window", "sliding-window-counter"]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def made(written, clock, strategy="gcra", **settings):
    return MemoryRates(limits_of(written), strategy, clock=clock, **settings)


def let_in(verdict):
    return verdict.is_let_in


@every_strategy
def test_as_many_as_the_limit_says_go_at_once_and_then_none(strategy):
    rates = made("5/minute", Clock(), strategy)
    assert [let_in(rates.hit("a")) for _ in range(8)] == [True] * 5 + [False] * 3
    assert let_in(rates.hit("b"))


@given(
    strategy=st.sampled_from(STRATEGIES),
    written=st.sampled_from(["1/second", "3/second", "7/10 seconds", "10/second; 20/minute", "3/2s, 5/5s, 7/minute"]),
    burst=st.one_of(st.none(), st.integers(1, 8)),
    start=st.floats(0, 1e6),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 30)), max_size=120),
)
def test_in_no_window_go_more_than_the_limit_and_the_burst(strategy, written, burst, start, pauses):
    burst = burst if strategy == "gcra" else None
    clock, limits, times = Clock(start), limits_of(written), []
    rates = made(written, clock, strategy, burst=burst)
    for pause in pauses:
        clock.now += pause
        if let_in(rates.hit("a")):
            times.append(clock.now)
    for limit in limits:
        most = limit.amount + (min(burst or limit.amount, limit.amount) if strategy == "gcra" else 0)
        window = limit.per - 1e-6  # times are rounded to nanoseconds
        assert all(bisect_left(times, time + window) - at <= most for at, time in enumerate(times))


@given(
    strategy=st.sampled_from(STRATEGIES),
    written=st.sampled_from(["1/second", "3/second", "7/10 seconds", "10/second; 20/minute", "3/2s; 5/5s; 7/minute"]),
    start=st.floats(0, 1e7),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 5)), max_size=60),
)
def test_who_comes_back_after_exactly_the_time_told_is_let_in_and_nobody_before(strategy, written, start, pauses):
    clock = Clock(start)
    rates = made(written, clock, strategy)
    for pause in pauses:
        clock.now += pause
        verdict = rates.hit("a")
        if not verdict.is_let_in:
            wait = max(standing.wait for standing in verdict.standings)
            if wait > 0.002:
                clock.now += wait - 0.001
                assert not let_in(rates.hit("a"))
                clock.now += 0.001
            clock.now += max(ceil(wait), 1) - wait
            assert let_in(rates.hit("a"))


@given(amount=st.integers(1, 30), pauses=st.lists(st.integers(0, 300), max_size=100))
def test_who_is_counted_by_parts_waits_a_tenth_of_the_window_longer_at_most(amount, pauses):
    parts, times, now = Parts(amount, 1000), Times(amount, 1000), 0
    for pause in pauses:
        now += pause
        assert times.wait(now) <= parts.wait(now) <= max(times.wait(now), 0) + 100
        assert parts.left(now) <= times.left(now)
        if parts.wait(now) <= 0:
            parts.take(now)
            times.take(now)
            assert len(parts.parts) <= 11


def test_a_part_counts_until_its_last_request_is_out_of_the_window():
    clock = Clock(0.0)
    rates = made("2/10s", clock, "sliding-window-counter")
    for now, goes in ((0, True), (0.9, True), (10.05, False), (10.89, False), (10.91, True)):
        clock.now = now
        assert let_in(rates.hit("a")) == goes


@given(
    strategy=st.sampled_from(STRATEGIES),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), min_size=1, max_size=60),
    burst=st.one_of(st.none(), st.integers(1, 5)),
)
def test_as_many_are_left_as_are_then_let_in_at_once_and_no_time_told_is_too_long(strategy, pauses, burst):
    clock = Clock()
    rates = made("5/10s; 3/4s", clock, strategy, burst=burst if strategy == "gcra" else None)
    for pause in pauses:
        clock.now += pause
        verdict = rates.hit("a")
    left = min(standing.left for standing in verdict.standings)
    assert (left == 0) == (max(standing.wait for standing in verdict.standings) > 0)
    if let_in(verdict):
        assert [let_in(rates.hit("a")) for _ in range(left + 1)] == [True] * left + [False]
    else:
        assert left == 0
    clock.now += max(standing.full for standing in rates.hit("a").standings) + 1e-6
    full = [5, 3] if burst is None or strategy != "gcra" else [min(burst, 5), min(burst, 3)]
    assert [standing.left for standing in rates.hit("a").standings] == [each - 1 for each in full]


@every_strategy
def test_where_one_limit_says_no_none_is_charged(strategy):
    clock = Clock()
    rates = made("2/second; 4/minute", clock, strategy)
    assert [let_in(rates.hit("a")) for _ in range(50)] == [True] * 2 + [False] * 48
    clock.now += 1.2
    assert [let_in(rates.hit("a")) for _ in range(50)] == [True] * 2 + [False] * 48
    clock.now += 1.2
    second, minute = rates.hit("a").standings
    assert (second.wait, second.left) == (0, 2)
    assert minute.wait > 10


@every_strategy
def test_who_asks_evenly_gets_what_the_limit_says(strategy):
    clock = Clock()
    rates = made("100/minute", clock, strategy)
    went = 0
    for _ in range(6000):
        clock.now += 0.1
        went += let_in(rates.hit("a"))
    assert 900 <= went <= 1100
    if strategy == "moving-window":
        assert went == 1000


def test_the_time_around_the_end_of_a_window_lets_no_more_through():
    for strategy in STRATEGIES[1:]:
        clock = Clock(59.95)
        rates = made("100/minute", clock, strategy)
        assert sum(let_in(rates.hit("a")) for _ in range(150)) == 100
        clock.now += 0.1
        assert sum(let_in(rates.hit("a")) for _ in range(150)) == 0


@every_strategy
def test_clients_that_are_done_are_forgotten_and_the_number_of_others_has_an_end(strategy):
    clock = Clock()
    rates = made("10/second", clock, strategy)
    for client in range(50_000):
        clock.now += 0.01
        rates.hit(client)
    assert len(rates) < 5_000
    few = made("1/day", clock, strategy, most=100)
    went = [client for client in range(5000) if let_in(few.hit(client))]
    assert len(few) <= 100 + 1024
    assert went[:100] == list(range(100))
    assert not any(let_in(few.hit(client)) for client in went)


def test_the_more_times_a_client_may_have_the_fewer_have_them_to_themselves():
    assert MemoryRates(limits_of("10000/day"), "moving-window")._clients._most == 201
    assert MemoryRates(limits_of("10000/day"), "gcra")._clients._most == 100_000


@every_strategy
def test_threads_together_get_exactly_what_one_would(strategy):
    rates = made("100/hour", Clock(), strategy)
    went, lock = [], threading.Lock()

    def work(_):
        mine = sum(let_in(rates.hit("a")) for _ in range(100))
        with lock:
            went.append(mine)

    in_threads(work, 8)
    assert sum(went) == 100


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("100/minute", [(100, 60, "100/minute")]),
        ("100 per minute", [(100, 60, "100/minute")]),
        (" 5 / 10 Seconds ", [(5, 10, "5/10seconds")]),
        ("5 per 10 s", [(5, 10, "5/10seconds")]),
        ("1/h;2/d", [(1, 3600, "1/hour"), (2, 86400, "2/day")]),
        (["10/sec", "20/2min"], [(10, 1, "10/second"), (20, 120, "20/2minutes")]),
    ],
)
def test_limits_are_read_as_they_are_said(written, read):
    assert [(limit.amount, limit.per, limit.name) for limit in limits_of(written)] == read


@pytest.mark.parametrize(
    "written",
    ["", "100", "100/", "/minute", "0/minute", "5/0 seconds", "-1/minute", "1.5/minute", "100/fortnight", "100/minute;",
     [], ["100/minute", "100/min"], "\u0665/minute", "1/" + " " * 60_000 + "x"],
    ids=lambda written: str(written)[:20],
)  # fmt: skip
def test_a_limit_that_cannot_be_read_is_refused_and_shown(written):
    with pytest.raises(ValueError, match="expected"):
        limits_of(written)


@pytest.mark.parametrize("written", [7, None, [7]], ids=repr)
def test_what_is_no_text_is_no_limit(written):
    with pytest.raises(TypeError, match=r"expected .* such as '100/minute', got"):
        limits_of(written)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "fixed-window"}, "lets twice the limit through around the end of a window"),
        ({"strategy": "leaky"}, "expected strategy 'gcra', 'moving-window' or 'sliding-window-counter', got 'leaky'"),
        ({"burst": 0}, "expected burst as a whole number, 1 or more, got 0"),
        ({"strategy": "moving-window", "burst": 2}, "expected burst with strategy 'gcra' only"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(settings, said):
    with pytest.raises(ValueError, match=said):
        MemoryRates(limits_of("1/second"), **settings)
