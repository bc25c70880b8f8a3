import asyncio
import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from structlog.testing import capture_logs

from formation import compose, lift, reply, sleep, wrap
from formation.errors import CircuitOpenError, Rejected, StorageUnavailable, ThrottleRejected
from formation.for_requests import Adapter, build
from formation.http import Request
from formation.middleware import circuit_breaker, retry, throttle
from formation.resilience.turns import MemoryTurns, Quota
from formation.storage import Redis
from formation.testing import simulate
from tests.middleware.worlds import every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


class Heard:
    """A logger that keeps the warnings."""

    def __init__(self):
        self.said = []

    def warning(self, event, **fields):
        self.said.append((event, fields))

    debug = info = error = lambda self, event, **fields: None


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def time():
    return Time()


def made(time, rate=10, per=1, **settings):
    return throttle(rate, per, **{"logger": SILENT, "clock": time, "sleep": time.sleep, **settings})


def get(url="https://h/users/7", **more):
    return {"fmtn.req.http": Request("GET", url), **more}


def ok(ctx):
    return reply(ctx, 200)


def never(ctx):
    raise AssertionError("the endpoint was asked")


@every_world
def test_who_comes_too_early_waits_for_his_turn(world, time):
    limit = made(time)
    for _ in range(4):
        assert world(limit, get(), ok)["fmtn.res.http"].status_code == 200
    assert time.slept == [0.1, 0.1, 0.1]


@every_world
def test_after_a_pause_a_burst_goes_at_once(world, time):
    limit = made(time, burst=3)
    for _ in range(4):
        world(limit, get(), ok)
    assert time.slept == [0.1]


@every_world
def test_who_would_wait_too_long_is_turned_away_and_takes_nobodys_turn(world, time):
    limit = made(time, max_wait=0)
    world(limit, get(), ok)
    for _ in range(3):
        error = world(limit, get(), never)
        assert type(error) is ThrottleRejected
        assert (error.name, error.retry_after) == ("https://h", pytest.approx(0.1))
    assert str(error) == "the rate is used up: the next turn is in 0.1 s"
    assert time.slept == []
    time.now += error.retry_after
    assert isinstance(world(limit, get(), ok), dict)


@every_world
def test_a_wait_that_would_end_after_the_deadline_is_not_begun(world, time):
    limit = made(time, rate=1)
    world(limit, get(), ok)
    assert type(world(limit, get(**{"fmtn.deadline": time.now + 0.5}), never)) is ThrottleRejected
    assert type(world(limit, get(**{"fmtn.deadline": time.now - 5}), never)) is ThrottleRejected
    assert time.slept == []
    assert isinstance(world(limit, get(**{"fmtn.deadline": time.now + 1.5}), ok), dict)
    assert time.slept == [1]


@every_world
def test_the_shorter_of_the_two_waits_counts(world, time):
    limit = made(time, rate=1, max_wait=0.5)
    world(limit, get(), ok)
    assert type(world(limit, get(**{"fmtn.deadline": time.now + 9}), never)) is ThrottleRejected


@every_world
def test_each_origin_has_a_rate_of_its_own(world, time):
    limit = made(time)
    for url in ("https://a/1", "https://b/1", "http://a/1", "https://a:444/1", "/path"):
        world(limit, get(url), ok)
    assert time.slept == []
    world(limit, get("https://A:443/2"), ok)
    assert time.slept == [0.1]


@every_world
def test_on_a_server_the_host_that_a_client_names_is_no_key(world, time):
    limit = made(time, max_wait=0)
    assert isinstance(world(limit, on_server(url="https://a/1"), ok), dict)
    assert type(world(limit, on_server(url="https://b/1"), never)) is ThrottleRejected


@every_world
def test_a_key_may_be_finer(world, time):
    limit = made(time, key=lambda ctx: ctx["tenant"])
    for tenant in "aba":
        world(limit, get(tenant=tenant), ok)
    assert time.slept == [0.1]


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None], ids=repr)
def test_a_context_without_a_request_or_any_other_will_do(world, time, ctx):
    limit = made(time)
    seen = []
    for _ in range(2):
        world(limit, ctx, lambda ctx: seen.append(ctx) or ctx or {})
    assert seen == [ctx, ctx]
    assert time.slept == [0.1]


@every_lift
def test_calls_of_any_function_share_one_rate(lifted, time):
    limit = made(time, rate=1)
    assert [lifted([limit], lambda x: x + 1, 1)[0] for _ in range(3)] == [2, 2, 2]
    assert time.slept == [1, 1]


@every_world
@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_what_the_endpoint_raises_passes_and_the_turn_is_used(world, time, error):
    def endpoint(ctx):
        raise error

    limit = made(time)
    assert world(limit, get(), endpoint) is error
    world(limit, get(), ok)
    assert time.slept == [0.1]


@every_world
@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(), OSError()], ids=repr)
def test_who_is_ended_while_it_waits_gives_its_turn_back(world, time, error):
    def sleep(seconds):
        raise error

    store = MemoryTurns(time)
    patient, ended = made(time, storage=store), made(time, storage=store, sleep=sleep)
    world(patient, get(), ok)
    for _ in range(5):
        assert world(ended, get(), never) is error
    world(patient, get(), ok)
    assert time.slept == [0.1]


def test_a_task_that_is_cancelled_and_one_that_is_dropped_give_their_turns_back():
    clock = Time()
    limit = throttle(0.001, clock=clock, logger=SILENT)

    async def endpoint(ctx):
        return ctx

    async def main():
        chain = wrap(endpoint, [limit])
        await chain({})
        task = asyncio.create_task(chain({}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        dropped = chain({})
        dropped.send(None)
        dropped.close()
        forgotten = chain({})
        forgotten.send(None)
        del forgotten
        gc.collect()
        with pytest.raises(ThrottleRejected) as caught:
            await chain({"fmtn.deadline": clock.now})
        assert caught.value.retry_after == 1000  # the very next turn: nobody has one before

    asyncio.run(main())


def test_tasks_wait_in_the_order_in_which_they_came_and_the_loop_goes_on():
    limit, order, beats = throttle(50, logger=SILENT), [], []

    async def endpoint(ctx):
        order.append(ctx["n"])
        return ctx

    async def main():
        async def beat():
            while len(order) < 15:
                beats.append(1)
                await asyncio.sleep(0.001)

        chain = wrap(endpoint, [limit])
        await asyncio.gather(beat(), *(chain({"n": n}) for n in range(15)))

    asyncio.run(main())
    assert order == list(range(15))
    assert len(beats) > 10


def test_threads_and_tasks_that_share_one_never_pass_the_rate():
    limit, went, lock = throttle(500, burst=3, logger=SILENT), [], threading.Lock()

    def endpoint(ctx):
        with lock:
            went.append(1)
        return ctx

    async def later(ctx):
        return endpoint(ctx)

    async def tasks():
        chain = wrap(later, [limit])
        await asyncio.gather(*(chain({}) for _ in range(50)))

    chain, store = wrap(endpoint, [limit]), MemoryTurns()
    started = store._clock()
    with ThreadPoolExecutor(9) as pool:
        loop = pool.submit(asyncio.run, tasks())
        list(pool.map(lambda _: chain({}), range(50)))
        loop.result()
    assert len(went) == 100
    assert store._clock() - started >= (100 - 3) / 500


def test_each_attempt_of_a_retry_pays_and_what_an_open_circuit_turns_away_does_not(time):
    store = MemoryTurns(time)
    limit = made(time, rate=1, storage=store)
    again = retry(3, logger=SILENT, sleep=lambda seconds: None)
    chain = wrap(lambda ctx: reply(ctx, 503), [again, circuit_breaker(SILENT, fail_max=3), limit])
    chain(get())
    assert time.slept == [1, 1]
    for _ in range(5):
        with pytest.raises(CircuitOpenError):
            chain(get())
    assert time.slept == [1, 1]
    assert store.reserve("https://h", Quota(1), None)[0] == 1


def test_a_rejection_is_not_retried(time):
    limit, slept = made(time, max_wait=0), []
    chain = compose(retry(3, logger=SILENT, sleep=slept.append), limit)
    wrap(ok, [chain])(get())
    with pytest.raises(Rejected):
        wrap(never, [chain])(get())
    assert slept == []


@every_world
def test_it_says_who_waits_and_who_is_turned_away(world, time):
    limit = made(time, max_wait=0.1, logger=None, sleep=lambda seconds: None)
    with capture_logs() as events:
        for _ in range(3):
            world(limit, get(), ok)
    assert events == [
        {
            "event": "throttle.delayed",
            "log_level": "debug",
            "key": "https://h",
            "delay": 0.1,
            "request": "GET /users/7",
        },
        {
            "event": "throttle.rejected",
            "log_level": "warning",
            "key": "https://h",
            "retry_after": 0.2,
            "request": "GET /users/7",
        },
    ]


def test_a_simulation_moves_its_clock():
    limit = throttle(1, 60, logger=SILENT)
    client = build(base_uri="https://h", middleware=[limit])
    with simulate(client, [200] * 3) as run:
        for _ in range(3):
            run.client.get("/")
    assert run.slept == [60, 60]


def test_it_works_in_a_session_of_requests(server):
    limit = throttle(1, 3600, max_wait=0, logger=SILENT)
    with requests.Session() as session:
        session.mount("http://", Adapter(middleware=[limit]))
        assert session.get(f"{server.url}/echo").status_code == 200
        with pytest.raises(requests.exceptions.RequestException) as caught:
            session.get(f"{server.url}/echo")
    assert isinstance(caught.value.__cause__, ThrottleRejected)


def test_another_store_may_keep_the_turns():
    class Full:
        def reserve(self, key, quota, patience, /):
            return 7.0, None

        def give_back(self, key, quota, slot, /):
            raise AssertionError

    with pytest.raises(ThrottleRejected) as caught:
        lift(len, middleware=[throttle(1, storage=Full(), logger=SILENT)])("")
    assert (caught.value.name, caught.value.retry_after) == ("throttle", 7)


@every_world
def test_several_throttles_on_one_redis_share_the_rate(world, redis_server, time):
    storage = Redis(redis_server.url)
    here, there = (
        made(time, rate=1, per=60, burst=2, max_wait=0, storage=each) for each in (storage, redis_server.url)
    )
    assert world(here, get(), ok)["fmtn.res.http"].status_code == 200
    assert world(there, get(), ok)["fmtn.res.http"].status_code == 200
    error = world(here, get(), never)
    assert type(error) is ThrottleRejected
    assert error.retry_after == pytest.approx(60, abs=10)
    assert isinstance(world(here, get("https://other/"), ok), dict)
    storage.close()


@every_world
def test_who_is_ended_while_it_waits_gives_its_turn_back_to_redis(world, redis_server, time):
    def sleep(seconds):
        raise KeyboardInterrupt

    storage = Redis(redis_server.url)
    ended, hasty = (made(time, rate=1, per=600, storage=storage, sleep=each) for each in (sleep, time.sleep))
    world(hasty, get(), ok)
    for _ in range(3):
        assert type(world(ended, get(), never)) is KeyboardInterrupt
    world(hasty, get(), ok)
    assert time.slept == [pytest.approx(600, abs=10)]
    storage.close()


def test_a_task_that_is_cancelled_while_it_waits_gives_its_turn_back_to_redis(redis_server):
    def waits(seconds):
        waiting.set()
        sleep(seconds)

    limit, waiting = throttle(1, 600, storage=redis_server.url, sleep=waits, logger=SILENT), asyncio.Event()

    async def endpoint(ctx):
        return ctx

    async def main():
        chain = wrap(endpoint, [limit])
        await chain({})
        for _ in range(3):
            task = asyncio.create_task(chain({}))
            await waiting.wait()
            waiting.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(ThrottleRejected) as caught:
            await chain({"fmtn.deadline": 0.0})
        assert caught.value.retry_after == pytest.approx(600, abs=10)

    asyncio.run(main())


@every_world
def test_where_redis_does_not_answer_the_call_is_made_and_it_is_told_once_a_minute(world, time):
    events = Heard()
    limit = made(time, rate=1, max_wait=0, storage="redis://127.0.0.1:1/0", logger=events)
    for _ in range(3):
        assert isinstance(world(limit, get(), ok), dict)
    time.now += 60
    assert isinstance(world(limit, get(), ok), dict)
    assert [event for event, _ in events.said] == ["storage.unavailable"] * 2
    told = events.said[0][1]
    assert (told["middleware"], told["storage"], told["goes_on"]) == ("throttle", "127.0.0.1:1/0", "without it")


@every_world
def test_or_the_call_is_turned_away(world, time):
    limit = made(time, storage="redis://127.0.0.1:1/0", fail_open=False)
    error = world(limit, get(), never)
    assert type(error) is ThrottleRejected
    assert type(error.__cause__) is StorageUnavailable
    assert "127.0.0.1:1/0 is not available" in str(error)
    assert error.retry_after == 1


async def a_sleep(seconds):
    pass


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"rate": 0}, ValueError, "expected rate as a number above 0, got 0"),
        ({"per": 0}, ValueError, "expected per as a number above 0, got 0"),
        ({"burst": 0}, ValueError, "expected burst as a whole number, 1 or more, got 0"),
        ({"max_wait": -1}, ValueError, "expected max_wait in seconds, 0 or more, got -1"),
        ({"key": "tenant"}, TypeError, "expected key as a function of the context, got 'tenant'"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
        ({"storage": 7}, TypeError, "expected storage as a Redis or a URL such as 'redis://localhost:6379/0', got 7"),
        ({"storage": "cache:6379"}, ValueError, "Redis URL must specify"),
        ({"sleep": a_sleep}, TypeError, "expected sleep as a plain function, got <function a_sleep"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, kind, said):
    with pytest.raises(kind, match=said):
        throttle(**{"rate": 1, **settings})
