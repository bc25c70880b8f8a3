import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from formation import wrap
from formation.errors import StorageUnavailable
from formation.resilience.claims import Found, MemoryClaims
from formation.resilience.shared_claims import RedisClaims
from formation.storage import Redis


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class OverRedis:
    """Claims in a Redis, and a time that passes there when a test says so."""

    def __init__(self, server):
        self.claims = RedisClaims(Redis(server.url))
        self._client = server.client

    def let_pass(self, seconds):
        for key in self._client.keys("*"):
            left = self._client.pttl(key) - round(seconds * 1000)
            self._client.pexpire(key, left) if left > 0 else self._client.delete(key)


class InMemory:
    def __init__(self):
        self._time = Time()
        self.claims = MemoryClaims(clock=self._time)

    def let_pass(self, seconds):
        self._time.now += seconds


@pytest.fixture(params=["memory", "redis"])
def store(request):
    if request.param == "memory":
        yield InMemory()
    else:
        store = OverRedis(request.getfixturevalue("redis_server"))
        yield store
        store.claims.redis.close()


@pytest.fixture
def claims(store):
    return store.claims


def test_the_first_gets_the_claim_and_the_others_are_told_that_it_is_under_way(claims):
    assert claims.claim("k", "a", "print", 60) is None
    assert claims.claim("k", "b", "print", 60) == Found("print", None)
    assert claims.claim("k", "c", "other", 60) == Found("print", None)
    assert claims.claim("another", "d", "print", 60) is None


def test_of_many_at_once_one_gets_it(claims):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda token: claims.claim("k", str(token), "print", 60), range(50)))
    assert found.count(None) == 1


def test_what_is_settled_is_known_for_as_long_as_it_is_to_be_kept(store, claims):
    claims.claim("k", "a", "print", 60)
    assert claims.settle("k", "a", "print", "brewed", 100)
    store.let_pass(99)
    assert claims.claim("k", "b", "other", 60) == Found("print", "brewed")
    store.let_pass(1)
    assert claims.claim("k", "c", "print", 60) is None


def test_what_is_released_can_be_claimed_anew_at_once(claims):
    claims.claim("k", "a", "print", 60)
    claims.release("k", "a")
    assert claims.claim("k", "b", "other", 60) is None


def test_who_does_not_come_back_loses_the_claim_when_the_lease_is_over(store, claims):
    claims.claim("k", "a", "print", 60)
    store.let_pass(59)
    assert claims.claim("k", "b", "print", 60) == Found("print", None)
    store.let_pass(1)
    assert claims.claim("k", "b", "print", 60) is None


def test_who_comes_back_late_takes_nothing_from_who_has_it_now(store, claims):
    claims.claim("k", "a", "print", 60)
    store.let_pass(60)
    claims.claim("k", "b", "print", 60)
    claims.release("k", "a")
    assert not claims.settle("k", "a", "print", "late", 100)
    assert claims.claim("k", "c", "print", 60) == Found("print", None)
    assert claims.settle("k", "b", "print", "in time", 100)
    assert not claims.settle("k", "a", "print", "late", 100)
    claims.release("k", "a")
    assert claims.claim("k", "c", "print", 60) == Found("print", "in time")


def test_who_comes_back_late_and_finds_nobody_settles_all_the_same(store, claims):
    claims.claim("k", "a", "print", 60)
    store.let_pass(61)
    assert claims.settle("k", "a", "print", "late", 100)
    assert claims.claim("k", "b", "print", 60) == Found("print", "late")


def test_what_is_settled_is_not_released_by_who_has_settled_it(claims):
    claims.claim("k", "a", "print", 60)
    claims.settle("k", "a", "print", "brewed", 100)
    claims.release("k", "a")
    assert not claims.settle("k", "a", "print", "again", 100)
    assert claims.claim("k", "b", "print", 60) == Found("print", "brewed")


def test_an_empty_outcome_is_one(claims):
    claims.claim("k", "a", "print", 60)
    claims.settle("k", "a", "print", "", 100)
    assert claims.claim("k", "b", "print", 60) == Found("print", "")


# In memory


def test_what_is_kept_for_less_long_than_others_is_forgotten_in_time():
    time = Time()
    claims = MemoryClaims(clock=time)
    claims.settle("long", "a", "print", "one", 100)
    claims.settle("short", "a", "print", "two", 10)
    time.now += 10
    assert claims.claim("short", "b", "print", 60) is None
    assert claims.settle("short", "b", "print", "three", 10)
    assert claims.claim("short", "c", "print", 60) == Found("print", "three")


def test_over_the_bytes_the_oldest_outcomes_become_empty_and_are_still_known():
    claims = MemoryClaims(max_bytes=10)
    for key in "abc":
        claims.settle(key, "t", "print", "four", 100)
    assert [claims.claim(key, "u", "print", 60).outcome for key in "abc"] == ["", "four", "four"]
    claims.settle("d", "t", "print", "longer than all of it", 100)
    assert [claims.claim(key, "u", "print", 60).outcome for key in "abcd"] == [""] * 4


def test_over_the_keys_the_oldest_that_are_done_are_forgotten_and_none_that_is_under_way():
    claims = MemoryClaims(max_keys=2)
    claims.claim("first", "t", "print", 60)
    for key in "abc":
        claims.settle(key, "t", "print", "done", 100)
    assert claims.claim("first", "u", "print", 60) == Found("print", None)
    assert claims.claim("a", "u", "print", 60) is None
    assert len(claims) == 4


def test_what_is_over_leaves_nothing_behind():
    time = Time()
    claims = MemoryClaims(clock=time)
    for key in "abc":
        claims.claim(key, "t", "print", 60)
        claims.settle(key, "t", "print", "done", 100)
    claims.claim("d", "t", "print", 60)
    claims.release("d", "t")
    time.now += 100
    claims.claim("e", "t", "print", 60)
    assert repr(claims) == "<MemoryClaims: 1 under way, 0 done, 0 bytes>"


@pytest.mark.parametrize("limits", [{"max_bytes": -1}, {"max_keys": 0}, {"max_keys": 1.5}])
def test_a_limit_that_is_none_is_refused(limits):
    with pytest.raises(ValueError, match="expected max_"):
        MemoryClaims(**limits)


# In Redis


def test_in_an_async_chain_redis_is_awaited(redis_server):
    claims = RedisClaims(Redis(redis_server.url))

    def layer(ctx, call):
        return [claims.claim("k", token, "print", 60) for token in "ab"]

    async def endpoint(ctx):
        return ctx

    assert asyncio.run(wrap(endpoint, [layer])({})) == [None, Found("print", None)]
    assert "redis" in repr(claims).lower()


def test_a_redis_that_has_gone_says_so(fresh_redis_server):
    with closing(Redis(fresh_redis_server.url)) as redis:
        fresh_redis_server.stop()
        with pytest.raises(StorageUnavailable):
            RedisClaims(redis).claim("k", "a", "print", 60)


def test_what_stands_in_redis_is_gone_when_its_time_is_over(redis_server):
    with closing(Redis(redis_server.url)) as redis:
        claims = RedisClaims(redis)
        claims.claim("k", "a", "print", 60)
        (key,) = redis_server.keys()
        assert 59_000 < redis_server.client.pttl(key) <= 60_000
        claims.settle("k", "a", "print", "done", 100)
        assert 99_000 < redis_server.client.pttl(key) <= 100_000
