import pytest

from formation.errors import (
    AttemptTimeout,
    BreakerTriggerException,
    BulkheadRejected,
    ConnectError,
    DeadlineExceeded,
    DecodeError,
    FormationError,
    ReadTimeout,
    Rejected,
    StatusError,
    TooManyRedirects,
)
from formation.http import Response
from formation.resilience.verdicts import classify


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "ok"), (204, "ok"), (302, "ok"), (400, "ok"), (401, "ok"), (404, "ok"), (408, "ok"), (418, "ok"),
        (429, "neutral"), (500, "fail"), (501, "ok"), (502, "fail"), (503, "fail"), (504, "fail"), (505, "ok"),
    ],
)  # fmt: skip
def test_a_response_is_judged_by_its_status(status, verdict):
    assert classify({"fmtn.res.http": Response(status)}) == verdict
    error = StatusError(status_code=status)
    error.response = Response(status)
    assert classify({}, error) == verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ConnectError("x"), "fail"),
        (ReadTimeout("x"), "fail"),
        (AttemptTimeout("x"), "fail"),
        (BreakerTriggerException("x"), "fail"),
        (TimeoutError("x"), "fail"),
        (ValueError("x"), "fail"),
        (Rejected("x"), "neutral"),
        (BulkheadRejected("x"), "neutral"),
        (DeadlineExceeded("x"), "neutral"),
        (DecodeError(status_code=200, content_type="", head=b""), "neutral"),
        (TooManyRedirects(limit=1, url="/"), "neutral"),
        (FormationError("x"), "neutral"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_error_is_judged_by_its_type(error, verdict):
    assert classify({}, error) == verdict


def test_any_result_of_a_function_is_good():
    assert classify({"fmtn.result": None}) == classify(42) == "ok"
