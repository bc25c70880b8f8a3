import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from formation import wrap
from formation.bridge import await_
from formation.errors import CircuitOpenError, StorageUnavailable
from formation.resilience.shared_gate import EVERY, SharedGate
from formation.resilience.shared_state import KEPT
from formation.storage import Redis


class World:
    """Gates of as many processes, and a time that passes for them and in Redis when a test says so."""

    def __init__(self, server):
        self.server = server
        self.now = 1000.0
        self.told = []
        self.missed = []
        self.redises = []
        self.key = self.redis().key("breaker", "shop")

    def redis(self):
        self.redises.append(Redis(self.server.url, clock=lambda: self.now))
        return self.redises[-1]

    def gate(self, **settings):
        redis = self.redis()
        return SharedGate(
            "shop",
            redis=redis,
            key=redis.key("breaker", "shop"),
            unavailable=self.missed.append,
            clock=lambda: self.now,
            listener=lambda gate, event, fields: self.told.append((gate, event, fields)),
            **{"fail_max": 3, "reset_timeout": 60, **settings},
        )

    def let_pass(self, seconds):
        self.now += seconds
        client = self.server.client
        for name, value in client.hgetall(self.key).items():
            if name == b"due" or name.startswith(b"trial:"):
                client.hset(self.key, name, float(value) - seconds * 1000)

    def events(self, gate):
        return [event for by, event, fields in self.told if by is gate]


@contextmanager
def closed(world):
    yield world
    for redis in world.redises:
        redis.close()


@pytest.fixture
def world(redis_server):
    with closed(World(redis_server)) as world:
        yield world


@pytest.fixture
def lone(fresh_redis_server):
    """A world whose Redis may be stopped."""
    with closed(World(fresh_redis_server)) as world:
        yield world


@contextmanager
def unreachable(world, gate):
    """Let a gate be cut off from Redis, which goes on."""
    redis = gate._shared.redis
    world.redises.append(Redis("redis://127.0.0.1:1", clock=lambda: world.now))
    gate._shared.redis = world.redises[-1]
    try:
        yield
    finally:
        gate._shared.redis = redis


def fail(gate, times=3):
    for _ in range(times):
        gate.settle(gate.admit(), "fail")


def rejected(gate):
    with pytest.raises(CircuitOpenError) as raised:
        gate.admit()
    return raised.value


# What one has found out, the others know


def test_what_one_has_opened_the_others_know_a_second_later(world):
    one, other = world.gate(), world.gate()
    other.settle(other.admit(), "ok")
    fail(one)
    other.admit()  # it has looked just now
    world.let_pass(EVERY)
    error = rejected(other)
    assert error.retry_after == pytest.approx(59, abs=0.5)
    assert (one.state, other.state) == ("open", "open")


def test_a_process_that_has_just_started_joins_an_open_circuit_at_its_first_call(world):
    fail(world.gate())
    world.let_pass(20)
    fresh = world.gate()
    assert rejected(fresh).retry_after == pytest.approx(40, abs=0.5)
    assert world.events(fresh) == ["opened", "rejected"]
    assert world.told[-2][2]["retry_after"] == pytest.approx(40, abs=0.5)


def test_what_one_has_closed_by_its_trial_is_closed_for_the_others_a_second_later(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.settle(one.admit(), "ok")
    assert one.state == "closed"
    world.let_pass(EVERY)
    other.settle(other.admit(), "ok")
    assert other.state == "closed"
    assert world.events(other) == ["opened", "rejected", "closed"]


def test_a_trial_that_fails_opens_it_anew_for_all(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.settle(one.admit(), "fail")
    world.let_pass(EVERY)
    assert rejected(other).retry_after == pytest.approx(59, abs=0.5)
    assert rejected(one).retry_after == pytest.approx(59, abs=0.5)


def test_who_fails_later_does_not_put_off_the_next_trial(world):
    one, other = world.gate(), world.gate()
    other.admit()
    permits = [other.admit() for _ in range(3)]
    fail(one)
    world.let_pass(40)
    for permit in permits:
        other.settle(permit, "fail")
    assert rejected(other).retry_after == pytest.approx(20, abs=0.5)
    world.let_pass(20)
    other.settle(other.admit(), "ok")


def test_opened_and_closed_by_hand_it_is_so_for_all(world):
    one, other = world.gate(), world.gate()
    one.open()
    rejected(other)
    other.close()
    world.let_pass(EVERY)
    one.admit()
    assert world.events(one) == ["opened", "closed"]


def test_a_ratio_opens_it_for_all_as_well(world):
    one, other = world.gate(ratio=0.5, min_calls=4), world.gate()
    for verdict in ("ok", "fail", "ok", "fail"):
        one.settle(one.admit(), verdict)
    rejected(other)


def test_one_name_is_one_circuit(world):
    fail(world.gate())
    redis = world.redis()
    other = SharedGate("bank", redis=redis, key=redis.key("breaker", "bank"), unavailable=print)
    other.settle(other.admit(), "ok")


def test_half_a_second_open_is_half_a_second_wherever_in_a_second_it_begins(world):
    one, other = world.gate(reset_timeout=0.5), world.gate(reset_timeout=0.5)
    fail(one)
    assert 0.4 < rejected(other).retry_after <= 0.5
    assert 0.4 < rejected(world.gate(reset_timeout=60)).retry_after <= 0.5  # by who has opened it


class Interrupted(Redis):
    """A Redis in which something happens between its answer and the next line of who has asked."""

    meanwhile = None

    def run(self, *args):
        answer = super().run(*args)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        return answer


def test_an_answer_that_was_overtaken_by_another_says_nothing_any_more(world):
    world.redises.append(redis := Interrupted(world.server.url, clock=lambda: world.now))
    one, other = world.gate(), world.gate()
    one._shared.redis = redis
    one.settle(one.admit(), "ok")
    other.close()  # something to take over
    world.let_pass(EVERY)
    redis.meanwhile = one.open
    assert rejected(one).retry_after == pytest.approx(60, abs=0.5)
    assert world.events(one) == ["opened", "rejected"]


def test_an_answer_says_nothing_against_what_was_found_out_since_it_was_asked_for(world):
    world.redises.append(redis := Interrupted(world.server.url, clock=lambda: world.now))
    one, other = world.gate(), world.gate()
    one._shared.redis = redis
    one.settle(one.admit(), "ok")
    permits = [one.admit() for _ in range(3)]
    other.close()
    world.let_pass(EVERY)

    def fail_without_redis():
        with unreachable(world, one):
            for permit in permits:
                one.settle(permit, "fail")

    redis.meanwhile = fail_without_redis
    assert rejected(one).retry_after == 60
    assert len(world.missed) == 1


# Trials


@pytest.mark.parametrize("trials", [1, 2])
def test_of_six_processes_as_many_make_a_trial_as_may_be_in_all(world, trials):
    gates = [world.gate(max_trials=trials) for _ in range(6)]
    fail(gates[0])
    for gate in gates[1:]:
        rejected(gate)
    world.let_pass(60)
    admitted, turned_away = [], []

    def ask(gate):
        try:
            admitted.append((gate, gate.admit()))
        except CircuitOpenError as error:
            turned_away.append(error.retry_after)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, gates * 2))
    assert (len(admitted), turned_away) == (trials, [None] * (12 - trials))


def test_who_was_refused_a_trial_does_not_ask_redis_at_each_call(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.admit()
    rejected(other)
    before = world.server.client.info("commandstats")
    for _ in range(50):
        rejected(other)
    after = world.server.client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] == before["cmdstat_evalsha"]["calls"]


def test_a_trial_that_shows_nothing_gives_its_place_to_any_process(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.settle(one.admit(), "neutral")
    other.settle(other.admit(), "ok")
    assert other.state == "closed"


def test_as_many_good_trials_as_it_takes_may_come_from_different_processes(world):
    one, other = world.gate(success_threshold=2), world.gate(success_threshold=2)
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.settle(one.admit(), "ok")
    assert one.state == "half-open"
    other.settle(other.admit(), "ok")
    assert other.state == "closed"
    world.let_pass(EVERY)
    one.settle(one.admit(), "ok")
    assert one.state == "closed"


def test_a_trial_of_a_process_that_was_killed_is_given_up_when_its_lease_is_over(world):
    one, other = world.gate(trial_lease=30), world.gate(trial_lease=30)
    fail(one)
    rejected(other)
    world.let_pass(60)
    late = one.admit()
    world.let_pass(29)
    rejected(other)
    world.let_pass(1)
    trial = other.admit()
    one.settle(late, "fail")  # nobody waits for that any more
    other.settle(trial, "ok")
    assert other.state == "closed"


def test_a_trial_that_ends_late_says_nothing_of_the_period_after(world):
    one, other = world.gate(trial_lease=30), world.gate(trial_lease=30)
    fail(one)
    rejected(other)
    world.let_pass(60)
    late = one.admit()
    world.let_pass(30)
    other.settle(other.admit(), "fail")
    one.settle(late, "ok")
    assert rejected(one).retry_after == pytest.approx(60, abs=0.5)


def test_who_has_missed_a_whole_period_makes_the_next_trial(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.settle(one.admit(), "neutral")
    other.settle(other.admit(), "fail")
    world.let_pass(60)
    one.settle(one.admit(), "ok")
    assert world.events(one) == ["opened", "half_open", "closed"]


def test_who_finds_at_his_trial_that_it_is_closed_by_now_goes_on(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one._look()  # so that it has looked before the other one closes it
    one._next_look = world.now + EVERY
    other.settle(other.admit(), "ok")
    one.settle(one.admit(), "ok")
    assert (one.state, other.state) == ("closed", "closed")


# How often Redis is asked


def test_a_closed_circuit_asks_once_a_second_whatever_the_calls(world):
    gate, client = world.gate(), world.server.client
    client.config_resetstat()
    for _ in range(3):
        for _ in range(100):
            gate.settle(gate.admit(), "ok")
        world.let_pass(EVERY)
    stats = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] + stats.get("cmdstat_eval", {"calls": 0})["calls"] <= 4  # once by its text


def test_in_an_async_chain_the_loop_goes_on_while_it_asks(lone):
    gate, turns = lone.gate(), []

    def layer(ctx, call):
        gate.settle(gate.admit(), "ok")
        return call(ctx)

    async def main():
        task = asyncio.create_task(wrap(endpoint, [layer])({}))
        while not task.done():
            turns.append(1)
            await asyncio.sleep(0)
        return await task

    lone.server.pause()
    asyncio.run(main())
    assert len(turns) > 10
    assert len(lone.missed) == 1


async def endpoint(ctx):
    await asyncio.sleep(0)
    return ctx


def calls(gate):
    """Make a middleware that does with a gate what `circuit_breaker` does."""

    def layer(ctx, call):
        permit, verdict = gate.admit(), "neutral"
        try:
            out = call(ctx)
            verdict = "ok"
            return out
        finally:
            gate.settle(permit, verdict)

    return layer


def test_at_whatever_point_a_call_is_cancelled_its_trial_is_free_for_any_process(world):
    async def cancelled_after(turns):
        task = asyncio.create_task(wrap(endpoint, [calls(one)])({}))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        return await asyncio.gather(task, return_exceptions=True)

    ended = []
    for turns in range(60):
        one = world.gate()
        one.open()
        world.let_pass(60)
        ended += [type(each) for each in asyncio.run(cancelled_after(turns))]
        other = world.gate()
        other.settle(other.admit(), "ok")
        assert other.state == "closed"
        assert one.state in {"open", "half-open", "closed"}
    assert asyncio.CancelledError in ended


class Suspended:
    """What is waited for until the chain is closed."""

    def __await__(self):
        yield


def test_a_trial_in_a_chain_that_is_dropped_is_free_here_at_once_and_elsewhere_when_its_lease_is_over(world):
    one, other = world.gate(trial_lease=30), world.gate(trial_lease=30)
    one.open()
    rejected(other)
    world.let_pass(60)
    permit = one.admit()

    def layer(ctx, call):
        try:
            await_(Suspended())
        finally:
            one.settle(permit, "neutral")

    chain = wrap(endpoint, [layer])({})
    chain.send(None)
    chain.close()
    rejected(other)
    world.let_pass(30)
    other.settle(other.admit(), "ok")


def test_opened_by_hand_without_redis_it_is_open_here_and_elsewhere_when_it_is_back(lone):
    one = lone.gate()
    lone.server.stop()
    one.open()
    lone.server.start()
    lone.now += 10
    rejected(one)
    assert rejected(lone.gate()).retry_after == pytest.approx(50, abs=0.5)


def test_a_trial_that_is_cancelled_gives_its_place_to_any_process(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)

    begun = asyncio.Event()

    def layer(ctx, call):
        permit = one.admit()
        begun.set()
        try:
            await_(asyncio.Event().wait())
        finally:
            one.settle(permit, "neutral")

    async def endpoint(ctx):
        return ctx

    async def main():
        task = asyncio.create_task(wrap(endpoint, [layer])({}))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    other.settle(other.admit(), "ok")
    assert other.state == "closed"


# Without Redis


def test_without_redis_each_goes_on_by_itself_and_says_so(lone):
    gate = lone.gate()
    lone.server.stop()
    fail(gate)
    assert rejected(gate).retry_after == 60
    lone.now += 60
    gate.settle(gate.admit(), "ok")
    assert gate.state == "closed"
    assert lone.events(gate) == ["opened", "rejected", "half_open", "closed"]
    assert {type(error) for error in lone.missed} == {StorageUnavailable}


def test_what_was_decided_without_redis_is_told_when_it_is_back(lone):
    one = lone.gate()
    lone.server.stop()
    fail(one)
    lone.server.start()
    lone.now += 10
    rejected(one)
    assert rejected(lone.gate()).retry_after == pytest.approx(50, abs=0.5)


def test_a_circuit_that_was_closed_without_redis_is_closed_for_all_when_it_is_back(lone):
    one = lone.gate()
    fail(one)
    lone.let_pass(60)
    lone.server.pause()
    one.settle(one.admit(), "ok")
    assert one.state == "closed"
    lone.server.go_on()
    lone.now += 5
    one.settle(one.admit(), "ok")
    other = lone.gate()
    other.settle(other.admit(), "ok")
    assert (one.state, other.state) == ("closed", "closed")


def test_what_is_told_afterwards_does_not_put_off_the_trial_of_the_others(world):
    one = world.gate()
    one.open()
    world.let_pass(40)
    with unreachable(world, one):
        one.close()
        fail(one)
    world.now += EVERY
    rejected(one)
    assert rejected(world.gate()).retry_after == pytest.approx(20, abs=0.5)


def test_without_redis_those_who_end_late_do_not_ask_it_each(lone):
    gate = lone.gate()
    permits = [gate.admit() for _ in range(10)]
    lone.server.stop()
    for permit in permits:
        gate.settle(permit, "fail")
    assert gate.state == "open"
    assert len(lone.missed) == 1


def test_where_redis_goes_in_the_middle_of_a_trial_the_process_decides_for_itself(lone):
    gate = lone.gate()
    fail(gate)
    lone.let_pass(60)
    trial = gate.admit()
    lone.server.stop()
    gate.settle(trial, "fail")
    assert rejected(gate).retry_after == 60


def test_where_redis_forgets_everything_an_open_circuit_stays_open_until_its_trial(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.server.flush()
    world.let_pass(EVERY)
    rejected(one)
    rejected(other)
    world.let_pass(60)
    trial = one.admit()
    rejected(other)  # it is one trial all the same
    one.settle(trial, "ok")
    world.let_pass(EVERY)
    other.settle(other.admit(), "ok")
    assert (one.state, other.state) == ("closed", "closed")


def test_where_the_clock_of_redis_was_set_back_nobody_waits_longer_than_the_timeout(world):
    fail(world.gate())
    client = world.server.client
    client.hset(world.key, "due", float(client.hget(world.key, "due")) + 3_600_000)
    assert rejected(world.gate()).retry_after == pytest.approx(60, abs=0.5)


def test_where_the_clock_of_redis_was_set_back_no_trial_has_a_longer_lease(world):
    one, other = world.gate(), world.gate()
    fail(one)
    rejected(other)
    world.let_pass(60)
    one.admit()
    client = world.server.client
    (trial,) = [name for name in client.hkeys(world.key) if name.startswith(b"trial:")]
    client.hset(world.key, trial, float(client.hget(world.key, trial)) + 3_600_000)
    other.settle(other.admit(), "ok")
    assert other.state == "closed"


def test_what_is_kept_goes_by_itself(world):
    gate = world.gate()
    fail(gate)
    left = (60 + KEPT) * 1000
    assert left - 5000 < world.server.client.pttl(world.key) <= left
