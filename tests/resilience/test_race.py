from threading import Thread

import pytest

from formation import reply
from formation.http import Request
from formation.resilience.attempts import Attempt, Outcome
from formation.resilience.race import Arrivals, Attempts, in_threads


def attempts(call=dict, extra=1, pays=lambda number: True):
    return Attempts({}, call, extra, pays, lambda outcome: outcome.error is not None)


def outcome(number, error=None):
    return Outcome(number, {"from": number}, error, 0)


def test_each_attempt_has_a_number_and_a_context_of_its_own_and_there_are_no_more_than_said():
    race = attempts(extra=2)
    found = [race.next() for _ in range(4)]
    assert found == [(1, {"attempt": 1}), (2, {"attempt": 2}), (3, {"attempt": 3}), None]
    assert not race.is_more


def test_who_is_not_paid_for_does_not_start_and_nobody_is_asked_again():
    asked = []
    race = attempts(extra=3, pays=asked.append)
    race.next()
    assert race.next() is race.next() is None
    assert asked == [2]


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_good_outcome_counts(winner):
    race = attempts()
    race.next(), race.next()
    assert race.judge(outcome(winner)).number == winner


def test_a_failure_says_nothing_while_another_one_may_do_better_and_if_all_fail_the_first_counts():
    race = attempts()
    race.next(), race.next()
    first = outcome(1, OSError())
    assert race.judge(first) is None
    assert race.first() is None
    assert race.judge(outcome(2, OSError())) is first


def test_the_ledger_has_each_attempt_and_says_which_was_given_up():
    now = iter([0.0, 1.0, 5.0, 7.0])
    race = Attempts({}, dict, 1, lambda number: True, lambda outcome: False, clock=lambda: next(now))
    race.next(), race.next()
    race.judge(outcome(2))
    assert race.ledger == [Attempt(1, None, "Overtaken", 0.0, 7.0), Attempt(2, None, None, 0.0, 4.0)]


def test_what_arrives_after_the_end_or_beside_the_winner_is_closed():
    closed = []

    def endpoint(ctx):
        ctx = reply(ctx, 200, body=iter([b"x"]))
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append(count))
        return ctx

    arrivals = Arrivals()
    for end in (False, True):
        if end:
            arrivals.end()
        arrivals.run(endpoint, 1, {"fmtn.req.http": Request("GET", "https://h/")})
    assert closed == [0, 0]


def test_a_base_exception_of_a_thread_is_an_outcome_here():
    def endpoint(ctx):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        in_threads(attempts(endpoint), 60).unwrap()


@pytest.mark.parametrize(("threads", "made"), [(0, 1), (1, 1), (2, 2)])
def test_an_attempt_for_which_there_is_no_thread_is_made_here_or_not_at_all(monkeypatch, threads, made):
    start, left = Thread.start, [threads]

    def starts(thread):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(Thread, "start", starts)
    numbers = []

    def call(ctx):
        numbers.append(ctx["attempt"])
        raise OSError

    race = attempts(call, extra=2)
    first = in_threads(race, 0)
    assert (first.number, type(first.error)) == (1, OSError)
    assert numbers == [attempt.number for attempt in race.ledger] == list(range(1, made + 1))


def test_who_waits_for_longer_than_a_clock_can_tell_waits_for_as_long_as_it_can():
    arrivals = Arrivals()
    arrivals.run(dict, 1, {})
    assert arrivals.next(1e300).number == 1
