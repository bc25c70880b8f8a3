import random
import statistics
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from formation.errors import ConnectError, DeadlineExceeded, ReadTimeout, Rejected, TLSError
from formation.http import Headers, Request, Response
from formation.resilience.attempts import Attempt, Outcome
from formation.resilience.policy import STATUSES, Policy
from formation.resilience.retry_after import retry_after

DEFAULTS = {
    "attempts": 3,
    "base": 0.1,
    "throttled_base": 1,
    "cap": 20,
    "on": None,
    "idempotent": False,
    "max_retry_after": 30,
    "hints": ("Retry-After",),
    "wait": None,
    "stop": None,
    "random": random.uniform,
    "now": lambda: 0.0,
}


def policy(**settings):
    return Policy(**{**DEFAULTS, **settings})


def outcome(status=None, error=None, number=1, ended=0.0, headers=None):
    ctx = {} if status is None else {"fmtn.res.http": Response(status, headers)}
    return Outcome(number, ctx, error, ended)


def state(upcoming_sleep=0.0):
    return SimpleNamespace(upcoming_sleep=upcoming_sleep, attempt_number=1)


def test_a_status_fails_by_the_table_with_and_without_a_request():
    for http in (True, False):
        assert {code for code in range(100, 600) if policy().failed(outcome(code), http=http)} == STATUSES


@pytest.mark.parametrize(
    ("error", "http", "plain"),
    [
        (ConnectError("x"), True, True),
        (ReadTimeout("x"), True, True),
        (TimeoutError("x"), True, True),
        (TLSError("x"), False, True),
        (ValueError("x"), False, True),
        (Rejected("x"), False, False),
        (DeadlineExceeded("x"), False, False),
        (KeyboardInterrupt(), False, False),
        (GeneratorExit(), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_fails_by_its_type(error, http, plain):
    assert policy().failed(outcome(error=error), http=True) is http
    assert policy().failed(outcome(error=error), http=False) is plain


def test_a_condition_has_the_say_once_there_is_something_to_show_it():
    asked = policy(on=lambda state: state.attempt_number == 2)
    assert asked.failed(outcome(200), http=True)
    assert not asked.failed(outcome(200), state(), http=True)
    assert not asked.failed(outcome(error=Rejected("x")), state(), http=True)


@given(st.integers(1, 80), st.floats(0, 5), st.floats(0, 100), st.sampled_from([503, 429, None]), st.random_module())
def test_the_pause_lies_between_nothing_and_a_bound_that_doubles_up_to_the_cap(number, base, cap, status, seeded):
    made = policy(base=base, throttled_base=2 * base, cap=cap)
    failed = outcome(status, None if status else ReadTimeout("x"), number)
    bound = min(cap, (2 if status == 429 else 1) * base * 2.0 ** (number - 1))
    assert 0 <= made.wait(failed, state()) <= bound


@given(st.integers(0, 10_000), st.integers(1, 6), st.random_module())
def test_with_retry_after_the_pause_is_as_long_as_that_and_little_more(said, number, seeded):
    failed = outcome(503, number=number, headers={"Retry-After": str(said)})
    pause = policy().wait(failed, state())
    least = max(said, 0)
    most = max(said, 0.1 * 2 ** (number - 1)) + min(0.1 * said, 1)
    assert least <= pause <= most


def test_clients_that_failed_together_do_not_come_back_together():
    source = random.Random(7)
    made = policy(random=source.uniform)
    pauses = sorted(made.wait(outcome(503), state()) for _ in range(2000))
    bins = [sum(low / 100 <= pause < (low + 1) / 100 for pause in pauses) for low in range(10)]
    assert max(bins) <= 3 * statistics.mean(bins)
    # Kolmogorov–Smirnov against the uniform distribution; 1.63 / sqrt(n) is the critical value for p = 0.01.
    distance = max(abs(pause / 0.1 - (rank + 0.5) / 2000) for rank, pause in enumerate(pauses))
    assert distance < 1.63 / 2000**0.5


def test_at_the_cap_they_are_as_far_apart_as_before():
    source = random.Random(7)
    made = policy(random=source.uniform, cap=10)
    pauses = [made.wait(outcome(503, number=number), state()) for number in (20, 50, 1000) for _ in range(500)]
    assert statistics.stdev(pauses) == pytest.approx(10 / 12**0.5, rel=0.1)


def test_the_reasons_to_give_up_are_asked_for_in_order_and_rewinding_comes_last():
    asked = []

    class Body:
        def rewind(self):
            asked.append("rewind")

    def stop(state):
        asked.append("stop")
        return False

    made = policy(stop=stop)
    assert made.gives_up(outcome(503, number=3), state(), None, Body()) == "attempts"
    assert asked == []
    assert made.gives_up(outcome(503, headers={"Retry-After": "31"}), state(), None, Body()) == "retry_after"
    assert made.gives_up(outcome(503, ended=5), state(2), 7.0, Body()) == "deadline"
    assert asked == ["stop", "stop"]
    assert made.gives_up(outcome(503, ended=5), state(2), 7.1, Body()) is None
    assert asked == ["stop", "stop", "stop", "rewind"]


def test_a_body_that_cannot_be_rewound_is_a_reason():
    class Body:
        def rewind(self):
            raise ValueError("closed file")

    assert policy().gives_up(outcome(503), state(), None, Body()) == "body"


def test_an_object_of_tenacity_is_taken_as_it_is():
    made = policy(attempts=None, stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(3))
    seen = SimpleNamespace(upcoming_sleep=0.0, attempt_number=2)
    assert made.wait(outcome(503), seen) == 3
    assert made.gives_up(outcome(503), seen, None, None) == "stop"
    assert made.gives_up(outcome(503), state(), None, None) is None


@pytest.mark.parametrize(
    ("request_", "error", "expected"),
    [
        (Request("GET", "http://h/"), None, True),
        (Request("POST", "http://h/"), None, False),
        (Request("POST", "http://h/"), ConnectError("x"), True),
        (Request("POST", "http://h/", headers={"idempotency-key": "1"}), None, True),
        (Request("POST", "http://h/", content=iter([b""])), ConnectError("x"), False),
        (Request("PUT", "http://h/", content=iter([b""])), None, False),
    ],
    ids=str,
)
def test_which_requests_may_be_repeated(request_, error, expected):
    assert policy().repeatable(request_, error) is expected


# Retry-After


def at(seconds):
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "0"}, 0),
        ({"retry-after": " 120 "}, 120),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": at(1_800_000_005)}, 5),
        ({"Retry-After": at(1_800_000_000)}, 0),
        ({"Retry-After": at(1_799_999_999)}, None),
        ({"Retry-After": at(0)}, None),
        ({"Retry-After": "1800000060"}, 60),
        ({"Retry-After": at(1_500_000_007), "Date": at(1_500_000_000)}, 7),
        ({"Retry-After": at(1_800_000_005), "Date": "yesterday"}, 5),
        ({"Retry-After": "Friday, 15-Jan-27 08:00:05 GMT"}, 5),
        ({"Retry-After": "Fri Jan 15 08:00:05 2027"}, 5),
        ({"Retry-After": "Fri, 15 Jan 2027 13:00:05 +0500"}, None),  # the other two of RFC 9110, 5.6.7, and none of it
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:05 -0000"}, None),
        ({"Retry-After": at(1_800_000_005), "Date": "Fri, 15 Jan 2027 08:00:03 +0000"}, 5),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "5 s"}, None),
        ({"Retry-After": "99999999999999999999"}, 1e9),
        ({"Retry-After": "Mon, 99 Jan 2026 99:99:99 GMT"}, None),
        ({"X-RateLimit-Reset": "9"}, 9),
        ({"Retry-After": "soon", "X-RateLimit-Reset": "9"}, 9),
        ({}, None),
    ],
    ids=str,
)
def test_what_the_server_says_in_seconds(headers, expected):
    names = ("Retry-After", "X-RateLimit-Reset")
    assert retry_after(Headers(headers), names, lambda: 1_800_000_000.0) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
def test_a_date_without_a_zone_is_of_no_zone_of_ours(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        said = {"Retry-After": "Fri Jan 15 08:00:05 2027"}
        assert retry_after(said, ["Retry-After"], lambda: 1_800_000_000.0) == 5
    time.tzset()


@given(st.text())
def test_whatever_it_says_it_is_understood_or_ignored(said):
    found = retry_after({"Retry-After": said}, ["Retry-After"], lambda: 1_800_000_000.0)
    assert found is None or 0 <= found < float("inf")


def test_it_is_heard_with_429_and_503_only():
    heard = {
        code
        for code in range(400, 600)
        if policy().retry_after(outcome(code, headers={"Retry-After": "1"})) is not None
    }
    assert heard == {429, 503}


# Outcomes


def test_an_outcome_hands_its_error_over_once():
    error = ReadTimeout("slow")
    failed = outcome(error=error)
    assert failed.failure == "ReadTimeout"
    with pytest.raises(ReadTimeout):
        failed.unwrap()
    assert failed.error is None
    assert outcome(200).unwrap()["fmtn.res.http"].status_code == 200


def test_closing_an_outcome_closes_the_response_of_the_error_and_the_one_in_the_context():
    closed = []

    def response(name):
        made = Response(503, body=iter([b"x"]))
        made.on_close(lambda count, error: closed.append(name))
        return made

    error = ReadTimeout("slow")
    error.response = response("of the error")
    Outcome(1, {"fmtn.res.http": response("in the context")}, error, 0).close()
    Outcome(1, {"fmtn.res.http": response("returned")}, None, 0).close()
    Outcome(1, 42, None, 0).close()
    assert closed == ["of the error", "in the context", "returned"]


def test_an_entry_of_the_ledger_says_what_it_is():
    assert repr(Attempt(2, 503, None, 0.1, 0.25)) == (
        "Attempt(number=2, status=503, error=None, delay=0.1, elapsed=0.25)"
    )
