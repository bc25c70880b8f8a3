"""The limits in Redis: the same as those in memory, for as many processes as there are."""

import multiprocessing
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formation.resilience.rates import MemoryRates, limits_of
from formation.resilience.shared_rates import RedisRates
from formation.storage import Redis

STRATEGIES = ["gcra", "moving-window", "sliding-window-counter"]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


class Clock:
    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


def let_in(verdict):
    return verdict.is_let_in


@given(
    strategy=st.sampled_from(STRATEGIES),
    written=st.sampled_from(["1/second", "3/second", "7/10 seconds", "10/second; 20/minute", "3/2s; 5/5s; 7/minute"]),
    burst=st.one_of(st.none(), st.integers(1, 8)),
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5_000)), max_size=60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_the_limits_in_redis_are_those_in_memory(redis_server, strategy, written, burst, steps):
    redis_server.client.flushall()
    clock, limits, burst = Clock(), limits_of(written), burst if strategy == "gcra" else None
    here = MemoryRates(limits, strategy, burst, clock=clock)
    there = RedisRates(Redis(redis_server.client), limits, strategy, burst, clock=clock)
    for key, pause in steps:
        clock.now += pause / 1000
        (mine_in, mine_all), (other_in, other_all) = here.hit(key), there.hit(key)
        assert other_in == mine_in
        for mine, other in zip(mine_all, other_all, strict=True):
            assert other.wait == pytest.approx(mine.wait, abs=1e-5)
            assert other.full == pytest.approx(mine.full, abs=1e-5)
            assert other.left == mine.left


@every_strategy
def test_what_is_let_in_and_told_goes_by_the_clock_of_redis(strategy, redis_server):
    rates = RedisRates(Redis(redis_server.url), limits_of("5/hour"), strategy)
    assert [let_in(rates.hit("a")) for _ in range(8)] == [True] * 5 + [False] * 3
    assert 700 <= rates.hit("a").standings[0].wait <= 3600
    assert let_in(rates.hit("b"))
    assert len(redis_server.keys()) == 2


@every_strategy
def test_a_key_expires_when_there_is_nothing_to_remember(strategy, redis_server):
    rates = RedisRates(Redis(redis_server.url), limits_of("10/second; 5/minute"), strategy)
    rates.hit("a")
    (key,) = redis_server.keys()
    assert 0 < redis_server.client.pttl(key) <= (12_001 if strategy == "gcra" else 60_001)
    short = RedisRates(Redis(redis_server.url), limits_of("1000/second"), strategy)
    short.hit("a")
    while len(redis_server.keys()) > 1:
        time.sleep(0.01)


@every_strategy
def test_a_clock_that_is_set_back_keeps_nobody_out_and_lets_nobody_in(strategy, redis_server):
    clock = Clock()
    rates = RedisRates(Redis(redis_server.url), limits_of("2/10s; 3/minute"), strategy, clock=clock)
    for _ in range(3):
        rates.hit("a")
    before = rates.hit("a").standings
    clock.now -= 3600
    after = rates.hit("a").standings
    assert [each.wait for each in after] == pytest.approx([each.wait for each in before], abs=1e-5)
    clock.now += before[0].wait + 1e-6
    assert let_in(rates.hit("a"))


def test_limits_and_strategies_do_not_meet_in_one_key(redis_server):
    storage = Redis(redis_server.url)
    for written in ("1/hour", "1/day", "1/hour; 1/day"):
        for strategy in STRATEGIES:
            assert let_in(RedisRates(storage, limits_of(written), strategy).hit("a"))
    assert let_in(RedisRates(storage, limits_of("2/hour"), burst=1).hit("a"))
    assert let_in(RedisRates(storage, limits_of("2/hour"), burst=2).hit("a"))


def hit(url, strategy, pipe):
    """Ask as often as may be, in another process."""
    rates = RedisRates(Redis(url, timeout=20), limits_of("60/hour; 100/day"), strategy)
    pipe.send(sum(let_in(rates.hit("a")) for _ in range(50)))


@every_strategy
def test_several_processes_together_get_exactly_what_one_would(strategy, redis_server):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    workers = [context.Process(target=hit, args=(redis_server.url, strategy, there)) for _ in range(3)]
    for worker in workers:
        worker.start()
    got = [here.recv() for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(got) == 60


def test_what_cannot_be_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="lets twice the limit through"):
        RedisRates(Redis(), limits_of("1/second"), "fixed-window")


@every_strategy
def test_who_is_denied_always_has_to_wait_for_something_and_is_let_in_after_it(strategy, redis_server):
    clock = Clock(1_700_000_000)
    rates = RedisRates(Redis(redis_server.client), limits_of("1/second"), strategy, clock=clock)
    assert let_in(rates.hit("a"))
    clock.now = 1_700_000_000 + 1 - 1.5e-6  # of a microsecond, which is the least that Redis knows
    while not (found := rates.hit("a")).is_let_in:
        assert found.standings[0].wait > 0
        clock.now += found.standings[0].wait
    assert clock.now == pytest.approx(1_700_000_001, abs=3e-6)
