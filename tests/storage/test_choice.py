import logging

import pytest

from formation.events import Events
from formation.resilience.claims import MemoryClaims
from formation.resilience.rates import MemoryRates
from formation.resilience.register import Claim, Register
from formation.resilience.shared_claims import RedisClaims
from formation.resilience.turns import MemoryTurns
from formation.storage import Redis
from formation.storage.choice import kept_in


def chosen(storage):
    return kept_in(storage, "claim", lambda: "memory", lambda redis: ("redis", repr(redis)))


def test_nothing_is_the_memory_and_a_url_a_redis_or_its_client_is_redis():
    shared = ("redis", "Redis('h:6379/1')")
    redis = Redis("redis://h/1")
    assert chosen(None) == "memory"
    assert chosen("redis://h/1") == chosen(redis) == chosen(redis._client) == shared


def test_what_has_the_method_is_taken_as_it_is_and_nothing_else_is():
    own = MemoryClaims()
    assert chosen(own) is own
    for other in (7, "no url", MemoryTurns(), MemoryRates):
        with pytest.raises((TypeError, ValueError), match=r"storage|scheme"):
            chosen(other)


def test_claims_in_a_redis_of_ones_own_making_are_as_good_as_the_redis():
    own = RedisClaims(Redis("redis://127.0.0.1:1/0"))
    events = Events(logging.getLogger("quiet"))
    register = Register(own, 60, 60, events, fail_open=True)
    assert register.claim(Claim("place", "beans")) is None  # it is not there, so the memory goes on
    assert register.claim(Claim("place", "beans")).outcome is None
