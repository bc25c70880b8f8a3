import asyncio
import pickle
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pybreaker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import errors
from formation.errors import (
    Rejected,
)
from formation.resilience import gate as gate_module
from formation.resilience.gate import CircuitOpenError, Gate
from tests.resilience.collection import at_each_line
from tests.resilience.stress import in_threads


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def gate(clock=time.monotonic, **settings):
    return Gate("h", **{"fail_max": 3, "clock": clock, **settings})


def fail(gate, times=1):
    for _ in range(times):
        gate.settle(gate.admit(), "fail")


def opened(clock, **settings):
    made = gate(clock, **settings)
    fail(made, made.fail_max)
    assert made.state == "open"
    return made


def half_open(clock, **settings):
    made = opened(clock, **settings)
    clock.now += made.reset_timeout
    return made


def rejection(gate):
    with pytest.raises(CircuitOpenError) as raised:
        gate.admit()
    return raised.value


# Opening


def test_it_opens_after_so_many_failures_in_a_row(clock):
    made = gate(clock)
    fail(made, 2)
    assert made.state == "closed"
    fail(made)
    assert made.state == "open"


def test_a_success_between_starts_the_count_anew(clock):
    made = gate(clock)
    for _ in range(5):
        fail(made, 2)
        made.settle(made.admit(), "ok")
    assert made.state == "closed"


def test_what_is_neutral_neither_counts_nor_starts_the_count_anew(clock):
    made = gate(clock)
    fail(made, 2)
    for _ in range(10):
        made.settle(made.admit(), "neutral")
    assert made.state == "closed"
    fail(made)
    assert made.state == "open"


def test_while_it_is_open_nobody_passes_and_everybody_hears_when_a_trial_is_due(clock):
    made = opened(clock)
    assert rejection(made).retry_after == 60
    clock.now += 59
    error = rejection(made)
    assert (error.name, error.retry_after) == ("h", 1)
    assert str(error) == "circuit 'h' is open; the next trial is due in 1 s"


def test_it_can_be_opened_and_closed_by_hand(clock):
    made = gate(clock)
    made.open()
    assert rejection(made).retry_after == 60
    made.close()
    assert made.state == "closed"
    made.admit()
    assert repr(made) == "<Gate h: closed>"


# Opening by a ratio


def settle(gate, *verdicts):
    """Settle calls until the circuit opens; return how many there were."""
    for number, verdict in enumerate(verdicts):
        if gate.state != "closed":
            return number
        gate.settle(gate.admit(), verdict)
    return len(verdicts)


def by_ratio(clock, ratio=0.5, **settings):
    return gate(clock, ratio=ratio, **settings)


def test_by_a_ratio_it_opens_no_sooner_than_after_min_calls(clock):
    assert settle(by_ratio(clock), *["fail"] * 30) == 20
    assert settle(by_ratio(clock, min_calls=3), *["fail"] * 30) == 3


def test_an_endpoint_that_answers_each_fifth_call_is_left_alone_by_a_ratio_and_never_by_a_row(clock):
    calls = ["fail", "fail", "fail", "fail", "ok"] * 40
    assert settle(by_ratio(clock), *calls) == 20
    assert settle(gate(clock, fail_max=5), *calls) == 200


def test_below_the_ratio_it_stays_closed_and_exactly_at_it_it_opens(clock):
    made = by_ratio(clock, ratio=0.1)
    assert settle(made, *(["ok"] * 10 + ["fail"]) * 9) == 99
    assert settle(by_ratio(clock, ratio=0.1), *["ok"] * 18, "fail", "fail") == 20


def test_what_counts_for_nothing_is_no_call_of_the_window(clock):
    assert settle(by_ratio(clock), *["neutral", "fail"] * 25) == 40


def test_what_is_older_than_the_window_is_forgotten(clock):
    made = by_ratio(clock)
    settle(made, *["fail"] * 19)
    clock.now += 30
    assert settle(made, *["fail"] * 30) == 20


def test_after_it_has_closed_the_window_starts_anew(clock):
    made = by_ratio(clock, min_calls=2)
    for _ in range(2):
        assert settle(made, "fail", "fail") == 2
        assert made.state == "open"
        clock.now += made.reset_timeout
        made.settle(made.admit(), "ok")
        assert made.state == "closed"


def test_a_failed_trial_opens_it_anew_whatever_the_ratio(clock):
    made = by_ratio(clock, min_calls=2)
    settle(made, "fail", "fail")
    clock.now += made.reset_timeout
    made.settle(made.admit(), "fail")
    assert made.state == "open"


def test_what_comes_late_is_no_call_of_the_next_window(clock):
    made = by_ratio(clock, min_calls=2)
    late = [made.admit() for _ in range(5)]
    settle(made, "fail", "fail")
    clock.now += made.reset_timeout
    made.settle(made.admit(), "ok")
    for permit in late:
        made.settle(permit, "fail")
    assert made.state == "closed"


def test_a_ratio_is_counted_exactly_by_many_threads(clock):
    made = by_ratio(clock, ratio=1, min_calls=8 * 500)

    def work(_):
        for _ in range(500):
            made.settle(made.admit(), "fail")

    in_threads(work, 8)
    assert made.state == "open"


@pytest.mark.parametrize(
    "settings", [{"ratio": 0}, {"ratio": 1.1}, {"ratio": True}, {"window": 0}, {"min_calls": 0}], ids=repr
)
def test_a_ratio_a_window_and_a_number_of_calls_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=f"expected {next(iter(settings))}"):
        gate(**settings)


# Trials


def test_after_the_timeout_one_call_is_let_through_and_the_others_are_not(clock):
    made = half_open(clock)
    made.admit()
    assert made.state == "half-open"
    error = rejection(made)
    assert error.retry_after is None
    assert str(error) == "circuit 'h' is half-open, and its trials are under way"


def test_a_good_trial_closes_it(clock):
    made = half_open(clock)
    made.settle(made.admit(), "ok")
    assert made.state == "closed"
    fail(made, 2)
    assert made.state == "closed"


def test_a_failed_trial_opens_it_for_the_whole_time_again(clock):
    made = half_open(clock)
    clock.now += 13
    trial = made.admit()
    clock.now += 5
    made.settle(trial, "fail")
    assert (made.state, rejection(made).retry_after) == ("open", 60)
    clock.now += 59.9
    rejection(made)
    clock.now += 0.1
    made.admit()


def test_a_neutral_trial_gives_its_place_back_and_proves_nothing(clock):
    made = half_open(clock)
    for _ in range(3):
        made.settle(made.admit(), "neutral")
        assert made.state == "half-open"
    made.settle(made.admit(), "ok")
    assert made.state == "closed"


def test_so_many_trials_may_be_under_way_and_no_more(clock):
    made = half_open(clock, max_trials=3)
    trials = [made.admit() for _ in range(3)]
    rejection(made)
    made.settle(trials[0], "neutral")
    made.admit()
    rejection(made)


def test_so_many_must_succeed_for_it_to_close(clock):
    made = half_open(clock, success_threshold=3)
    for expected in ("half-open", "half-open", "closed"):
        made.settle(made.admit(), "ok")
        assert made.state == expected


def test_a_failure_among_them_opens_it_and_the_count_starts_anew(clock):
    made = half_open(clock, success_threshold=2)
    made.settle(made.admit(), "ok")
    made.settle(made.admit(), "fail")
    assert made.state == "open"
    clock.now += 60
    made.settle(made.admit(), "ok")
    assert made.state == "half-open"


def test_a_trial_that_never_ends_keeps_others_out_for_its_lease_only(clock):
    made = half_open(clock, trial_lease=5)
    lost = made.admit()
    clock.now += 4.9
    rejection(made)
    clock.now += 0.1
    trial = made.admit()
    rejection(made)
    made.settle(lost, "fail")
    assert made.state == "half-open"
    made.settle(trial, "ok")
    assert made.state == "closed"


@pytest.mark.parametrize(("reset_timeout", "lease"), [(60, 60), (10, 10), (0.05, 1), (0, 1)])
def test_the_lease_is_the_timeout_and_at_least_a_second_where_nobody_says(clock, reset_timeout, lease):
    assert gate(clock, reset_timeout=reset_timeout).trial_lease == lease


def test_a_timeout_of_nothing_lets_a_trial_through_at_once(clock):
    made = opened(clock, reset_timeout=0)
    made.admit()
    rejection(made)


# What comes late


def test_a_late_failure_does_not_put_off_the_next_trial(clock):
    made = gate(clock)
    late = made.admit()
    fail(made, 3)
    clock.now += 30
    made.settle(late, "fail")
    assert rejection(made).retry_after == 30


def test_a_late_success_does_not_close_it(clock):
    made = gate(clock)
    late = made.admit()
    fail(made, 3)
    made.settle(late, "ok")
    assert made.state == "open"
    clock.now += 60
    trial = made.admit()
    made.settle(late, "ok")
    assert made.state == "half-open"
    made.settle(trial, "fail")
    assert made.state == "open"


def test_a_late_failure_does_not_open_a_circuit_that_has_closed_since(clock):
    made = gate(clock, fail_max=1)
    late = [made.admit() for _ in range(5)]
    fail(made)
    clock.now += 60
    made.settle(made.admit(), "ok")
    for permit in late:
        made.settle(permit, "fail")
    assert made.state == "closed"


def test_of_several_trials_the_first_decides_and_the_others_are_late(clock):
    made = half_open(clock, max_trials=3)
    first, second, third = made.admit(), made.admit(), made.admit()
    made.settle(first, "fail")
    made.settle(second, "ok")
    assert made.state == "open"
    clock.now += 60
    trial = made.admit()
    made.settle(third, "fail")
    made.settle(trial, "ok")
    assert made.state == "closed"


def test_a_trial_settled_twice_counts_once(clock):
    made = half_open(clock, success_threshold=2)
    trial = made.admit()
    made.settle(trial, "ok")
    made.settle(trial, "ok")
    assert made.state == "half-open"


# Time


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
def test_whoever_sets_the_wall_clock_neither_opens_nor_closes_it(clock, monkeypatch, jump):
    made = opened(clock)

    class Wall(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + jump

    monkeypatch.setattr(pybreaker, "datetime", Wall)
    monkeypatch.setattr("formation.resilience.gate.datetime", Wall)
    clock.now += 59
    assert rejection(made).retry_after == 1
    clock.now += 1
    made.settle(made.admit(), "fail")
    assert made.state == "open"
    clock.now += 60
    made.settle(made.admit(), "ok")
    assert made.state == "closed"


# Storages


def test_the_state_is_kept_where_it_is_told_and_a_restart_finds_it(clock):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    fail(gate(clock, storage=storage), 2)
    assert storage.counter == 2
    fail(gate(clock, storage=storage))
    after = gate(clock, storage=storage)
    assert after.state == "open"
    assert rejection(after).retry_after == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("age", "left"), [(45, 15), (3600, 0), (-3600, 60)], ids=["by its clock", "long ago", "in the future"]
)
@pytest.mark.parametrize("naive", [False, True], ids=["aware", "naive"])
def test_what_somebody_else_has_opened_is_open_as_long_as_its_own_wall_clock_says_but_no_longer(
    clock, age, left, naive
):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_OPEN)
    storage.opened_at = datetime.now(UTC) - timedelta(seconds=age)
    if naive:
        storage.opened_at = storage.opened_at.replace(tzinfo=None)
    made = gate(clock, storage=storage)
    if left:
        assert rejection(made).retry_after == pytest.approx(left, abs=5)
        clock.now += left
    made.admit()
    assert made.state == "half-open"


def test_what_was_opened_nobody_knows_when_gets_its_trial(clock):
    made = gate(clock, storage=pybreaker.CircuitMemoryStorage(pybreaker.STATE_OPEN))
    made.settle(made.admit(), "ok")
    assert made.state == "closed"


def test_a_circuit_that_another_process_opens_during_a_call_stays_open(clock):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    here, there = gate(clock, storage=storage), gate(clock, storage=storage)
    permit = here.admit()
    fail(there, 3)
    here.settle(permit, "ok")
    assert (here.state, rejection(here).name) == ("open", "h")


@pytest.mark.parametrize("verdict", ["ok", "fail"])
def test_a_call_that_ends_late_makes_no_trial_of_a_circuit_that_another_process_has_opened(clock, verdict):
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    made = gate(clock, storage=storage)
    fail(made)
    permit = made.admit()
    storage.state, storage.opened_at = pybreaker.STATE_OPEN, datetime.now(UTC) - timedelta(hours=1)
    made.settle(permit, verdict)
    assert made.state == "open"


# Listeners


def test_the_listener_is_told_of_each_turn_and_of_each_call_turned_away(clock):
    told = []
    made = half_open(clock, listener=lambda gate, event, fields: told.append((event, fields, gate.state)))
    trial = made.admit()
    rejection(made)
    made.settle(trial, "fail")
    rejection(made)
    clock.now += 10
    rejection(made)
    clock.now += 50
    made.settle(made.admit(), "ok")
    assert told == [
        ("opened", {"retry_after": 60}, "open"),
        ("half_open", {}, "half-open"),
        ("rejected", {"first": True, "retry_after": None}, "half-open"),
        ("opened", {"retry_after": 60}, "open"),
        ("rejected", {"first": True, "retry_after": 60}, "open"),
        ("rejected", {"first": False, "retry_after": 50}, "open"),
        ("half_open", {}, "half-open"),
        ("closed", {}, "closed"),
    ]


def test_a_listener_that_raises_changes_nothing_and_is_logged(clock, caplog):
    def listen(gate, event, fields):
        raise RuntimeError(event)

    made = half_open(clock, listener=listen)
    made.settle(made.admit(), "ok")
    assert made.state == "closed"
    assert {record.name for record in caplog.records} == {"formation"}
    assert all(record.message.startswith("the listener of <Gate h: ") for record in caplog.records)
    assert len(caplog.records) == 3


def test_the_listener_runs_under_no_lock(clock):
    states = []

    def listen(gate, event, fields):
        def look():
            gate.settle(gate.admit() if gate.state == "closed" else object(), "neutral")
            states.append(gate.state)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()

    made = half_open(clock, listener=listen)
    made.settle(made.admit(), "ok")
    assert states == ["open", "half-open", "closed"]


# Threads and tasks


def together(count, fn):
    """Call ``fn(n)`` in as many threads at once; return what comes of it, with the seconds it took."""
    barrier, outcomes = threading.Barrier(count), []

    def run(n):
        barrier.wait()
        started = time.perf_counter()
        try:
            value = fn(n)
        except Exception as error:  # noqa: BLE001
            value = error
        outcomes.append((value, time.perf_counter() - started))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


@pytest.mark.parametrize("trials", [1, 3])
def test_of_fifty_threads_at_the_half_open_gate_exactly_so_many_pass_and_the_others_do_not_wait(trials):
    made = gate(max_trials=trials, reset_timeout=0, trial_lease=60)
    fail(made, 3)
    turned_away, all_others = [], threading.Event()

    def call(n):
        try:
            permit = made.admit()
        except CircuitOpenError:
            turned_away.append(n)
            if len(turned_away) == 50 - trials:
                all_others.set()
            raise
        assert all_others.wait(10), "the others wait for the trial"
        made.settle(permit, "neutral")

    outcomes = [type(value) for value, _ in together(50, call)]
    assert outcomes.count(CircuitOpenError) == 50 - trials
    assert outcomes.count(type(None)) == trials


def test_fifty_threads_that_arrive_while_a_trial_is_under_way_are_all_turned_away_before_it_ends():
    made = gate(reset_timeout=0, trial_lease=60)
    fail(made, 3)
    trial = made.admit()
    outcomes = together(50, lambda n: made.admit())
    made.settle(trial, "ok")
    assert {type(value) for value, _ in outcomes} == {CircuitOpenError}
    assert made.state == "closed"


def test_fifty_tasks_at_the_half_open_gate_neither():
    made = gate(reset_timeout=0, trial_lease=60)
    fail(made, 3)
    passed = []

    async def call():
        try:
            permit = made.admit()
        except CircuitOpenError:
            return
        passed.append(permit)
        await asyncio.sleep(0.01)
        made.settle(permit, "ok")

    async def main():
        await asyncio.gather(*(call() for _ in range(50)))

    asyncio.run(main())
    assert len(passed) == 1
    assert made.state == "closed"


def test_a_slow_call_delays_no_other_call_no_turn_and_no_look_at_the_state():
    made = gate()
    slow = made.admit()  # under way for as long as this test takes
    started = time.perf_counter()
    outcomes = together(8, lambda n: made.settle(made.admit(), "ok"))
    assert made.state == "closed"
    made.open()
    assert made.state == "open"
    made.close()
    assert [value for value, _ in outcomes] == [None] * 8
    assert time.perf_counter() - started < 5
    made.settle(slow, "fail")
    assert made.state == "closed"


def test_failures_of_many_threads_are_counted_exactly():
    made = gate(fail_max=10**9)
    in_threads(lambda n: fail(made, 500), 8)
    assert made._breaker.fail_counter == 4000


def test_threads_that_do_as_they_please_leave_no_trial_behind():
    made = gate(fail_max=2, reset_timeout=0, max_trials=2, trial_lease=60)

    def call(n):
        for turn in range(300):
            try:
                permit = made.admit()
            except CircuitOpenError:
                continue
            assert len(made._trials) <= 2
            made.settle(permit, ("ok", "fail", "neutral")[(n + turn) % 3])

    in_threads(call, 8)
    assert not made._trials


# A model


class Model:
    """The rules, said again in the plainest way: which state, and who is under way."""

    def __init__(self, fail_max, max_trials, threshold):
        self.fail_max, self.max_trials, self.threshold = fail_max, max_trials, threshold
        self.state, self.failures, self.successes, self.opened = "closed", 0, 0, 0.0
        self.under_way, self.late = [], []

    def turn(self, state, now):
        self.state, self.failures, self.successes, self.opened = state, 0, 0, now
        self.late, self.under_way = self.late + self.under_way, []

    def admits(self, now):
        if self.state == "open" and now - self.opened >= 60:
            self.turn("half-open", now)
        return self.state == "closed" or (self.state == "half-open" and len(self.under_way) < self.max_trials)

    def settled(self, verdict, now):
        if verdict == "ok":
            self.failures, self.successes = 0, self.successes + 1
            if self.state == "half-open" and self.successes == self.threshold:
                self.turn("closed", now)
        elif verdict == "fail":
            self.failures += 1
            if self.state == "half-open" or self.failures == self.fail_max:
                self.turn("open", now)


STEPS = ["ok", "fail", "neutral", "wait", "admit", "late ok", "late fail"]


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.lists(st.sampled_from(STEPS), max_size=40))
def test_it_does_what_the_rules_say_whatever_happens(fail_max, max_trials, threshold, steps):
    clock, model = Clock(), Model(fail_max, max_trials, threshold)
    made = gate(clock, fail_max=fail_max, max_trials=max_trials, success_threshold=threshold, trial_lease=10**6)
    for step in steps:
        if step == "wait":
            clock.now += 31
        elif step == "admit":
            if model.admits(clock.now):
                model.under_way.append(made.admit())
            else:
                rejection(made)
        elif step.startswith("late") and model.late:
            made.settle(model.late.pop(), step.split()[1])
        elif step in {"ok", "fail", "neutral"} and model.under_way:
            made.settle(model.under_way.pop(), step)
            model.settled(step, clock.now)
        assert made.state == model.state


# The error


def test_the_error_is_one_of_ours_and_one_of_pybreaker_and_errors_hands_it_out():
    assert errors.CircuitOpenError is CircuitOpenError
    assert issubclass(CircuitOpenError, Rejected)
    assert issubclass(CircuitOpenError, pybreaker.CircuitBreakerError)


def test_the_error_pickles(clock):
    error = rejection(opened(clock))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.name, again.retry_after) == (CircuitOpenError, str(error), "h", 60)


@pytest.mark.parametrize(
    "settings",
    [
        {"fail_max": 0},
        {"fail_max": 1.5},
        {"reset_timeout": -1},
        {"reset_timeout": "60"},
        {"max_trials": 0},
        {"success_threshold": 0},
        {"trial_lease": -1},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=f"expected {next(iter(settings))} "):
        Gate(**settings)


# A collection, which may end a forgotten call anywhere


@pytest.mark.parametrize("lease", [0, 60])
def test_whenever_a_collection_ends_a_forgotten_trial_nobody_waits_for_himself(lease):
    def prepare():
        clock = Clock()
        made = half_open(clock, trial_lease=lease)
        forgotten = made.admit()
        return partial(ask, made), partial(made.settle, forgotten, "neutral")

    def ask(made):
        with suppress(CircuitOpenError):  # the forgotten one has not been ended yet
            made.settle(made.admit(), "ok")
        return made

    for made in at_each_line(gate_module, prepare):
        made.settle(made.admit(), "ok")
        assert made.state == "closed"
