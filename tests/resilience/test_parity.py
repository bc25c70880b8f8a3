"""The same in sync and in async code: whatever comes of calls, in any order, the same events, results and pauses."""

import random

import pytest

from formation.errors import ConnectError, ReadTimeout, TLSError
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    chaos,
    circuit_breaker,
    client_throttle,
    coalesce,
    deadline,
    fallback,
    hedge,
    load_shed,
    retry,
    throttle,
    timeout,
)
from formation.resilience.budget import Budget
from formation.stacks import resilient
from tests.middleware.worlds import WORLDS
from tests.test_worlds import told

ANSWERS = [200, 200, 200, 404, 429, 500, 503, 503, ConnectError("no"), ReadTimeout("late"), TLSError("who?")]
STACKS = {
    "retry": lambda: [retry(3)],
    "retry with little to spend": lambda: [retry(3, budget=Budget(28))],
    "circuit_breaker": lambda: [circuit_breaker(fail_max=2, reset_timeout=0)],
    "circuit_breaker by ratio": lambda: [circuit_breaker(ratio=0.5, min_calls=4)],
    "retry around a circuit": lambda: [retry(3, base=40, cap=80), circuit_breaker(fail_max=2)],
    "throttle": lambda: [throttle(2, burst=2, max_wait=1)],
    "throttle that does not wait": lambda: [throttle(2, burst=2, max_wait=0)],
    "client_throttle": lambda: [client_throttle(min_rate=0.1, k=1)],
    "adaptive_limit": lambda: [adaptive_limit(2, algorithm="aimd")],
    "bulkhead": lambda: [bulkhead(1, queue=1, max_wait=1)],
    "deadline": lambda: [deadline(5), retry(9, base=3)],
    "timeout": lambda: [timeout(3)],
    "fallback": lambda: [fallback("sorry")],
    "coalesce": lambda: [coalesce()],
    "load_shed": lambda: [load_shed()],
    "chaos": lambda: [retry(3), chaos(0.2, 0.2, 0.2, enabled=True)],
    "hedge": lambda: [hedge(60)],
    "resilient": lambda: resilient(rate=5, instead="sorry"),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_call_is_the_same_in_every_world_whatever_comes_of_it(name):
    for seed in range(4):
        answers = random.Random(seed).choices(ANSWERS, k=15)
        first, *others = (told(world, STACKS[name], answers) for world in WORLDS)
        assert len(first["came"]) > 3
        for other in others:
            assert other == first


def test_what_is_not_in_every_run_is_in_some():
    events = set()
    for make in STACKS.values():
        for seed in range(4):
            seen = told(WORLDS[0], make, random.Random(seed).choices(ANSWERS, k=15))
            events |= {line["event"].strip("'") for line in seen["events"]}
    assert events >= {
        "retry.scheduled",
        "retry.exhausted",
        "retry.budget_exhausted",
        "breaker.opened",
        "breaker.half_open",
        "breaker.closed",
        "breaker.rejected",
        "throttle.delayed",
        "throttle.rejected",
        "client_throttle.rejected",
        "limit.changed",
        "fallback.used",
        "chaos.injected",
        "hedge.sent",
    }
