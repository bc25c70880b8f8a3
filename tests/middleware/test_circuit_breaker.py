import asyncio
import logging
import subprocess
import sys
import threading
import time
from abc import ABCMeta
from contextlib import closing

import pybreaker
import pytest
import requests
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from formation import compose, lift, reply, wrap
from formation.errors import (
    BreakerTriggerException,
    BulkheadRejected,
    CircuitOpenError,
    ConnectError,
    DeadlineExceeded,
    ReadTimeout,
    Rejected,
    StatusError,
)
from formation.for_requests import Adapter, build
from formation.http import Request, Response
from formation.middleware import circuit_breaker, raise_for_status, retry, timeout, trigger_breaker_if
from formation.storage import Redis
from tests.middleware.worlds import every_lift, every_world
from tests.servers import refused

SILENT = logging.getLogger("tests.silent")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def breaker(clock=time.monotonic, logger=SILENT, **settings):
    return circuit_breaker(logger, **{"fail_max": 3, "clock": clock, **settings})


def get(url="https://h/users/7"):
    return {"fmtn.req.http": Request("GET", url)}


def answers(step):
    """Make an endpoint that does the same each time: a status, an error, or a function of ctx."""

    def endpoint(ctx):
        if isinstance(step, BaseException):
            raise step
        return step(ctx) if callable(step) else reply(ctx, step)

    return endpoint


def times(count, world, middleware, endpoint, ctx=get):
    return [world(middleware, ctx(), endpoint) for _ in range(count)]


def status_of(out):
    return out["fmtn.res.http"].status_code if isinstance(out, dict) else type(out)


def never(ctx):
    raise AssertionError("the endpoint was asked")


# Opening


@every_world
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_response_that_opens_the_circuit_is_returned_and_the_next_call_turned_away(world, clock, status):
    made = breaker(clock)
    assert [status_of(out) for out in times(3, world, made, answers(status))] == [status] * 3
    error = world(made, get(), never)
    assert type(error) is CircuitOpenError
    assert (error.name, error.retry_after) == ("https://h", 60)


@every_world
@pytest.mark.parametrize(
    "error",
    [ConnectError("no"), ReadTimeout("slow"), TimeoutError("slow"), BreakerTriggerException("no"), ValueError("bug")],
    ids=lambda error: type(error).__name__,
)
def test_the_error_that_opens_it_is_raised_as_it_is(world, clock, error):
    made = breaker(clock)
    assert times(3, world, made, answers(error)) == [error] * 3
    assert type(world(made, get(), never)) is CircuitOpenError


@every_world
@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 408, 422, 501])
def test_any_other_response_is_a_success(world, clock, status):
    made = breaker(clock)
    for _ in range(4):
        times(2, world, made, answers(503))
        times(1, world, made, answers(status))
    assert made.gates["https://h"].state == "closed"


@every_world
@pytest.mark.parametrize(
    "step",
    [
        429,
        BulkheadRejected("full"),
        DeadlineExceeded("late"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
    ],
    ids=lambda step: str(step) or type(step).__name__,
)
def test_what_is_neutral_counts_for_nothing(world, clock, step):
    made = breaker(clock)
    times(2, world, made, answers(503))
    out = times(5, world, made, answers(step))
    assert {status_of(each) for each in out} == {type(step) if isinstance(step, BaseException) else step}
    assert made.gates["https://h"].state == "closed"
    times(1, world, made, answers(503))
    assert made.gates["https://h"].state == "open"


@every_world
def test_three_cancelled_calls_do_not_open_it_nor_is_an_interrupt_replaced(world, clock):
    made = breaker(clock)
    interrupt = KeyboardInterrupt()
    assert times(5, world, made, answers(interrupt)) == [interrupt] * 5
    assert status_of(world(made, get(), answers(200))) == 200


@every_world
def test_an_error_made_of_a_status_counts_as_that_status(world, clock):
    made = compose(breaker(clock), raise_for_status())
    assert {type(error) for error in times(9, world, made, answers(404))} == {StatusError}
    times(3, world, made, answers(500))
    assert type(world(made, get(), never)) is CircuitOpenError


# Trials


def open_circuit(world, clock, **settings):
    made = breaker(clock, **settings)
    times(3, world, made, answers(503))
    return made


@every_world
def test_after_the_timeout_a_good_call_closes_it(world, clock):
    made = open_circuit(world, clock)
    clock.now += 60
    assert status_of(world(made, get(), answers(200))) == 200
    assert [status_of(out) for out in times(2, world, made, answers(503))] == [503, 503]


@every_world
def test_a_failed_trial_is_returned_and_opens_it_for_the_whole_time(world, clock):
    made = open_circuit(world, clock)
    clock.now += 60
    assert status_of(world(made, get(), answers(502))) == 502
    clock.now += 59
    assert world(made, get(), never).retry_after == 1


@every_world
@pytest.mark.parametrize(
    "step", [asyncio.CancelledError(), KeyboardInterrupt(), BulkheadRejected("full"), 429], ids=repr
)
def test_a_neutral_trial_neither_closes_it_nor_keeps_its_place(world, clock, step):
    made = open_circuit(world, clock)
    clock.now += 60
    world(made, get(), answers(step))
    assert made.gates["https://h"].state == "half-open"
    assert status_of(world(made, get(), answers(200))) == 200
    assert made.gates["https://h"].state == "closed"


@every_world
def test_so_many_trials_must_succeed(world, clock):
    made = open_circuit(world, clock, success_threshold=2)
    clock.now += 60
    times(1, world, made, answers(200))
    assert made.gates["https://h"].state == "half-open"
    times(1, world, made, answers(200))
    assert made.gates["https://h"].state == "closed"


# What is excluded


class Meta(ABCMeta):
    pass


class Business(Exception, metaclass=Meta):
    pass


class Other(Exception):
    pass


@every_world
@pytest.mark.parametrize(
    "exclude", [[Business], (lambda error: isinstance(error, Business),)], ids=["type", "function"]
)
def test_an_excluded_error_counts_for_nothing_and_others_still_do(world, clock, exclude):
    made = breaker(clock, exclude=exclude)
    times(2, world, made, answers(Other("no")))
    times(5, world, made, answers(Business("no")))
    assert made.gates["https://h"].state == "closed"
    times(1, world, made, answers(Other("no")))
    assert made.gates["https://h"].state == "open"


@every_world
def test_an_excluded_error_does_not_close_a_circuit_that_is_being_tried(world, clock):
    made = open_circuit(world, clock, exclude=[Business])
    clock.now += 60
    times(1, world, made, answers(Business("no")))
    assert made.gates["https://h"].state == "half-open"


@every_world
def test_nor_does_a_cancellation_that_somebody_excludes(world, clock):
    made = open_circuit(world, clock, exclude=[asyncio.CancelledError, BaseException])
    clock.now += 60
    times(1, world, made, answers(asyncio.CancelledError()))
    assert made.gates["https://h"].state == "half-open"


# Which circuit


@every_world
def test_each_origin_has_a_circuit_of_its_own(world, clock):
    made = breaker(clock)
    times(3, world, made, answers(503), lambda: get("https://a/x"))
    for same in ("https://a/y", "https://A:443/z?q=1"):
        assert type(world(made, get(same), never)) is CircuitOpenError
    for other in ("https://b/x", "http://a/x", "https://a:8443/x"):
        assert status_of(world(made, get(other), answers(200))) == 200


@every_world
def test_a_key_says_otherwise(world, clock):
    made = breaker(clock, key=lambda ctx: ctx["fmtn.req.http"].path)
    times(3, world, made, answers(503), lambda: get("https://a/x"))
    assert type(world(made, get("https://b/x"), never)) is CircuitOpenError
    assert status_of(world(made, get("https://a/y"), answers(200))) == 200


@every_world
def test_a_path_alone_has_no_origin_and_goes_through_the_common_circuit(world, clock):
    made = breaker(clock)
    times(3, world, made, answers(503), lambda: get("/users"))
    error = world(made, get("/other"), never)
    assert (type(error), error.name) == (CircuitOpenError, "circuit_breaker")


@every_lift
def test_a_function_has_one_circuit(lifted, clock):
    made = breaker(clock)

    def read(n):
        raise OSError("no such device")

    for n in range(3):
        with pytest.raises(OSError, match="no such device"):
            lifted([made], read, n)
    with pytest.raises(CircuitOpenError, match="circuit 'circuit_breaker' is open"):
        lifted([made], read, 3)


def test_a_storage_keeps_one_circuit_for_all(clock):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    made = breaker(clock, state_storage=storage)
    for url in ("https://a/", "https://b/", "https://c/"):
        made(get(url), answers(503))
    assert storage.state == "open"
    with pytest.raises(CircuitOpenError):
        made(get("https://d/"), never)


def test_two_middlewares_have_nothing_in_common(clock):
    first, second = breaker(clock), breaker(clock)
    times(3, lambda *call: call[0](call[1], call[2]), first, answers(503))
    assert status_of(second(get(), answers(200))) == 200


def test_a_circuit_can_be_looked_at_and_opened_by_hand(clock):
    made = breaker(clock)
    made(get(), answers(200))
    assert list(made.gates) == ["https://h"]
    made.gates["https://h"].open()
    with pytest.raises(CircuitOpenError):
        made(get(), never)


@every_world
def test_what_is_outside_finds_the_state_of_the_circuit_in_the_context(world, clock):
    made = breaker(clock)
    states = []
    for step in [200, *[503] * 3, None]:
        ctx = get()
        world(made, ctx, never if step is None else answers(step))
        states.append(ctx["fmtn.state"]["breaker"])
    assert states == [*["closed"] * 3, "open", "open"]


# What a call has shown


@every_world
def test_classify_says_what_a_call_has_shown(world, clock):
    seen = []

    def classify(ctx, error):
        seen.append((status_of(ctx) if error is None else "fmtn.req.http" in ctx, error))
        return "fail" if error is None else "ok"

    made = breaker(clock, classify=classify)
    error = OSError("no")
    times(1, world, made, answers(error))
    times(3, world, made, answers(200))
    assert seen == [(True, error), *[(200, None)] * 3]
    assert made.gates["https://h"].state == "open"


@every_world
def test_a_classify_that_fails_or_talks_nonsense_leaves_no_trial_behind(world, clock):
    def fail(ctx, error):
        raise KeyError("bug")

    for classify, kind in ((fail, KeyError), (lambda ctx, error: "good", ValueError)):
        made = breaker(clock, classify=classify)
        made.gates["https://h"].open()
        clock.now += 60
        assert type(world(made, get(), answers(200))) is kind
        assert not made.gates["https://h"]._trials
        assert made.gates["https://h"].state == "half-open"


@every_world
def test_a_stream_counts_when_its_head_is_there_whether_it_is_read_or_not(world, clock):
    def stream(ctx):
        ctx["fmtn.res.http"] = Response(503, body=(piece for piece in [b"never read"]))
        return ctx

    made = breaker(clock)
    for out in times(3, world, made, answers(stream)):
        out["fmtn.res.http"].close()
    assert made.gates["https://h"].state == "open"


@every_lift
def test_a_generator_is_a_result_like_any_other(lifted, clock):
    made = breaker(clock)

    def rows():
        return (row for row in [1, 2])

    out, _ = lifted([made], rows)
    assert list(out) == [1, 2]
    assert made.gates[None].state == "closed"


# Events


def run_a_life(made, clock):
    for step in (503, 503, 503):
        made(get(), answers(step))
    for _ in range(2):
        with pytest.raises(CircuitOpenError):
            made(get(), never)
    clock.now += 60
    made(get(), answers(200))


LIFE = [
    ("error", "breaker.opened", {"retry_after": 60}),
    ("info", "breaker.rejected", {"retry_after": 60}),
    ("debug", "breaker.rejected", {"retry_after": 60}),
    ("warning", "breaker.half_open", {}),
    ("info", "breaker.closed", {}),
]


@pytest.mark.parametrize("given_logger", [True, False], ids=["given", "structlog's"])
def test_the_life_of_a_circuit_is_logged(clock, given_logger):
    with capture_logs() as lines:
        logger = structlog.get_logger() if given_logger else None
        run_a_life(circuit_breaker(logger, "github", fail_max=3, clock=clock), clock)
    assert lines == [
        {"log_level": level, "event": event, "circuit": "github", **fields} for level, event, fields in LIFE
    ]


def test_a_logger_of_logging_will_do(clock, caplog):
    with caplog.at_level("DEBUG", "app"):
        run_a_life(circuit_breaker(logging.getLogger("app"), fail_max=3, clock=clock), clock)
    assert [(record.levelname.lower(), record.message.split()[0]) for record in caplog.records] == [
        (level, event) for level, event, _ in LIFE
    ]
    assert caplog.messages[0] == "breaker.opened circuit='https://h' retry_after=60"


def test_a_logger_that_raises_changes_neither_result_nor_turn(clock, caplog):
    class Broken(logging.LoggerAdapter):
        def log(self, *args, **kwargs):
            raise OSError("the disk is full")

        debug = info = warning = error = log

    run_a_life(breaker(clock, Broken(logging.getLogger("app"))), clock)
    assert {record.name for record in caplog.records} == {"formation"}
    assert len(caplog.records) == len(LIFE)


# As in 0.1


def test_the_arguments_of_0_1_may_be_given_by_position(clock):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    made = circuit_breaker(SILENT, "disk", 1, 10, storage, [Business], clock=clock)
    with pytest.raises(Business):
        made({}, answers(Business("no")))
    made(get(), answers(503))
    with pytest.raises(CircuitOpenError) as raised:
        made({}, never)
    assert (raised.value.name, raised.value.retry_after, storage.state) == ("disk", 10, "open")


def test_the_rejection_is_caught_as_what_0_1_users_catch_and_as_what_we_turn_away(clock):
    made = breaker(clock, fail_max=1)
    made(get(), answers(503))
    for kind in (pybreaker.CircuitBreakerError, Rejected):
        with pytest.raises(kind):
            made(get(), never)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"logger": "github"}, TypeError, "expected a logger, got 'github'"),
        ({"fail_max": 0}, ValueError, "expected fail_max as a whole number, 1 or more, got 0"),
        ({"reset_timeout": -1}, ValueError, "expected reset_timeout in seconds"),
        ({"max_trials": 0}, ValueError, "expected max_trials"),
        ({"success_threshold": 0}, ValueError, "expected success_threshold"),
        ({"trial_lease": "1"}, ValueError, "expected trial_lease in seconds"),
        ({"exclude": Business}, TypeError, "expected exclude as a list, got"),
        ({"exclude": "Business"}, TypeError, "expected exclude as a list, got 'Business'"),
        ({"exclude": [Business, "Other"]}, TypeError, "expected exclude as types of errors and functions"),
        ({"exclude": [int]}, TypeError, "expected exclude as types of errors and functions"),
        ({"key": "origin"}, TypeError, "expected key as a function of the context, got 'origin'"),
        ({"classify": None}, TypeError, "expected classify as a function of the context and the error, got None"),
        (
            {"key": id, "state_storage": pybreaker.CircuitMemoryStorage("closed")},
            ValueError,
            "expected key or state_storage, got both: that keeps one circuit, and its state",
        ),
        (
            {"storage": "redis://localhost", "state_storage": pybreaker.CircuitMemoryStorage("closed")},
            ValueError,
            "expected storage or state_storage, got both: that keeps one circuit, and its state",
        ),
        ({"storage": 6379}, TypeError, "expected storage as a Redis or a URL"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_once(settings, error, said):
    with pytest.raises(error) as raised:
        circuit_breaker(**settings)
    assert said in str(raised.value)


# Over Redis


@every_world
def test_two_processes_share_a_circuit_for_an_origin_over_redis(world, redis_server):
    redises = [Redis(redis_server.url) for _ in range(3)]
    one, other, fresh = (breaker(storage=redis) for redis in redises)
    times(3, world, one, answers(503))
    assert type(world(other, get(), never)) is CircuitOpenError
    assert status_of(world(other, get("https://elsewhere/"), answers(200))) == 200
    other.gates["https://h"].close()
    assert status_of(world(fresh, get(), answers(200))) == 200
    for redis in redises:
        redis.close()


@every_world
def test_circuits_with_other_names_and_keys_are_others(world, redis_server):
    with closing(Redis(redis_server.url)) as redis:
        for settings in ({}, {"name": "shop"}, {"key": lambda ctx: ("shop", 7)}, {"key": lambda ctx: None}):
            made = breaker(storage=redis, **settings)
            assert [status_of(out) for out in times(3, world, made, answers(503))] == [503] * 3
            assert type(world(breaker(storage=redis, **settings), get(), never)) is CircuitOpenError


@every_world
def test_without_redis_it_breaks_by_itself_and_says_so_once(world, fresh_redis_server, clock):
    with closing(Redis(fresh_redis_server.url)) as redis:
        fresh_redis_server.stop()
        made = breaker(clock, logger=None, storage=redis)
        with capture_logs() as events:
            times(3, world, made, answers(503))
            clock.now += 5
            assert type(world(made, get(), never)) is CircuitOpenError
            clock.now += 60
            assert status_of(world(made, get(), answers(200))) == 200
    assert [each["event"] for each in events] == [
        "storage.unavailable",
        "breaker.opened",
        "breaker.rejected",
        "breaker.half_open",
        "breaker.closed",
    ]


def test_without_pybreaker_it_says_what_to_install():
    code = "import sys; sys.modules['pybreaker'] = None; from formation.middleware import circuit_breaker"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert "ImportError: pybreaker is not installed: pip install 'formation[resilience]'" in done.stderr


# Order


def test_inside_of_retry_each_attempt_counts_and_a_rejection_ends_the_attempts(clock):
    calls, slept = [], []

    def endpoint(ctx):
        calls.append(ctx)
        return reply(ctx, 503)

    again = retry(5, sleep=slept.append, clock=clock, logger=SILENT)
    out = wrap(endpoint, [again, breaker(clock)])(get())
    assert status_of(out) == 503
    assert [each.error or each.status for each in out["fmtn.attempts"]] == [503, 503, 503, "CircuitOpenError"]
    assert (len(calls), len(slept)) == (3, 3)


def test_a_trigger_inside_opens_it(clock):
    made = wrap(answers(200), [breaker(clock), trigger_breaker_if(lambda response: response.status_code == 200)])
    for _ in range(3):
        with pytest.raises(BreakerTriggerException):
            made(get())
    with pytest.raises(CircuitOpenError):
        made(get())


@given(st.lists(st.sampled_from([200, 404, 429, 503, "error", "cancel", "wait"]), max_size=30))
def test_whatever_comes_the_same_happens_in_a_sync_and_in_an_async_chain(steps):
    errors = {"error": OSError("no"), "cancel": asyncio.CancelledError()}

    def run(in_chain):
        clock, out = Clock(), []
        with capture_logs() as lines:
            made = circuit_breaker(fail_max=2, clock=clock)
            for step in steps:
                if step == "wait":
                    clock.now += 61
                    continue
                try:
                    out.append(status_of(in_chain(made, answers(errors.get(step, step)))))
                except BaseException as error:  # noqa: BLE001
                    out.append(type(error))
                out.append(made.gates["https://h"].state)
        return out, lines

    def in_sync(made, endpoint):
        return wrap(endpoint, [made])(get())

    def in_async(made, endpoint):
        async def fetch(ctx):
            return endpoint(ctx)

        coroutine = wrap(fetch, [made])(get())
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value

    assert run(in_sync) == run(in_async)


# Threads and tasks


def test_calls_of_many_threads_run_side_by_side():
    barrier = threading.Barrier(8)

    def endpoint(ctx):
        barrier.wait(10)  # which they pass only together
        return reply(ctx, 200)

    made, outs = wrap(endpoint, [breaker()]), []
    threads = [threading.Thread(target=lambda: outs.append(made(get()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [status_of(out) for out in outs] == [200] * 8


def test_of_fifty_threads_that_come_when_a_trial_is_due_one_is_let_through():
    others, turned_away, asked = threading.Event(), [], []
    barrier = threading.Barrier(50)

    def endpoint(ctx):
        asked.append(ctx)
        assert others.wait(10), "the others wait for the trial"
        return reply(ctx, 200)

    made = breaker(fail_max=1, reset_timeout=0)
    made(get(), answers(503))
    chain = wrap(endpoint, [made])

    def call():
        barrier.wait()
        try:
            chain(get())
        except CircuitOpenError as error:
            turned_away.append(error)
            if len(turned_away) == 49:
                others.set()

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(asked), len(turned_away)) == (1, 49)
    assert made.gates["https://h"].state == "closed"


def test_of_fifty_tasks_too_and_a_cancelled_trial_gives_its_place_back():
    made = breaker(fail_max=1, reset_timeout=0)
    made(get(), answers(503))
    asked = []

    async def endpoint(ctx):
        asked.append(asyncio.current_task())
        await asyncio.sleep(60 if len(asked) == 1 else 0)
        return reply(ctx, 200)

    async def main():
        chain = wrap(endpoint, [made])
        tasks = [asyncio.create_task(chain(get())) for _ in range(50)]
        done, pending = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_EXCEPTION)
        while len(done) < 49:
            done, pending = await asyncio.wait(tasks, timeout=0.01)
        assert {type(task.exception()) for task in done} == {CircuitOpenError}
        (trial,) = pending
        assert asked == [trial]
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        assert made.gates["https://h"].state == "half-open"
        return await chain(get())

    assert status_of(asyncio.run(main())) == 200
    assert made.gates["https://h"].state == "closed"


def test_a_thread_does_not_wait_for_the_tasks_of_a_loop_that_share_its_circuit():
    made = breaker()
    running, done = threading.Event(), threading.Event()

    async def endpoint(ctx):
        running.set()
        await asyncio.to_thread(done.wait, 10)
        return reply(ctx, 200)

    loop = threading.Thread(target=lambda: asyncio.run(wrap(endpoint, [made])(get())))
    loop.start()
    assert running.wait(10)
    out = wrap(answers(200), [made])(get())
    done.set()
    loop.join(10)
    assert status_of(out) == 200
    assert not loop.is_alive()


# With a real server


def test_a_server_that_fails_is_left_alone_and_another_one_is_not(server, other_server, clock):
    made = breaker(clock)
    with build(middleware=[made]) as api, server.watch() as seen:
        for _ in range(3):
            assert api.get(f"{server.url}/status/503").status_code == 503
        with pytest.raises(CircuitOpenError) as raised:
            api.get(f"{server.url}/echo")
        assert api.get(f"{other_server.url}/echo").status_code == 200
        clock.now += 60
        assert api.get(f"{server.url}/echo").status_code == 200
    assert len(seen.requests) == 4
    assert raised.value.request.url == f"{server.url}/echo"
    assert "in circuit_breaker" in raised.value.__notes__[-1]


def test_nobody_there_and_no_answer_in_time_are_failures(server, clock):
    made = breaker(clock, fail_max=2)
    with build(middleware=[made, timeout(0.05)]) as api:
        for url in (refused(), f"{server.url}/hang"):
            for _ in range(2):
                with pytest.raises((ConnectError, ReadTimeout)):
                    api.get(url)
            with pytest.raises(CircuitOpenError):
                api.get(url)


def test_in_a_session_of_requests_the_rejection_is_an_error_of_requests(server, clock):
    with requests.Session() as session:
        session.mount("http://", Adapter(middleware=[breaker(clock, fail_max=1)]))
        assert session.get(f"{server.url}/status/503").status_code == 503
        with pytest.raises(requests.ConnectionError) as raised:
            session.get(f"{server.url}/echo")
    assert isinstance(raised.value.__cause__, CircuitOpenError)


def test_it_can_be_a_decorator_of_a_function(clock):
    @lift(middleware=[breaker(clock, fail_max=1, name="disk")])
    def read():
        raise OSError("no such device")

    with pytest.raises(OSError, match="no such device"):
        read()
    with pytest.raises(CircuitOpenError, match="circuit 'disk' is open"):
        read()


# By a ratio


@every_world
def test_by_a_ratio_it_leaves_alone_what_answers_each_fifth_call(world, clock):
    calls = []

    def flaky(ctx):
        calls.append(ctx)
        return reply(ctx, 503 if len(calls) % 5 else 200)

    outs = times(40, world, breaker(clock, ratio=0.5), flaky)
    assert len(calls) == 20
    assert {type(out) for out in outs[20:]} == {CircuitOpenError}


def test_a_dead_endpoint_is_shielded_from_all_threads_by_a_ratio():
    calls = []

    def dead(ctx):
        calls.append(ctx)
        time.sleep(0.005)
        raise ConnectError("dead")

    chain = wrap(dead, [breaker(ratio=0.5)])

    def work():
        for _ in range(30):
            with pytest.raises((ConnectError, CircuitOpenError)):
                chain(get())

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) <= 20 + 16


@pytest.mark.parametrize("settings", [{"ratio": 2}, {"window": -1}, {"min_calls": 0}], ids=repr)
def test_a_ratio_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=f"expected {next(iter(settings))}"):
        circuit_breaker(**settings)
