"""The codes of gRPC, and what they are in HTTP."""

import grpc
import pytest

from formation.errors import AttemptTimeout, BulkheadRejected, DeadlineExceeded, ThrottleRejected
from formation.rpc import Code
from formation.rpc.codes import code_for

TABLE = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


def test_the_table_is_that_of_google_rpc_code():
    assert {code.name: code.status_code for code in Code} == TABLE


@pytest.mark.parametrize("status", grpc.StatusCode, ids=lambda status: status.name)
def test_they_are_those_of_grpc(status):
    code = Code.of(status)
    assert (code.name, code.number) == (status.name, status.value[0])
    assert Code.of(code) is Code.of(code.number) is Code.of(code.name) is code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "OK"), (204, "OK"), (302, "UNKNOWN"), (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (408, "DEADLINE_EXCEEDED"), (409, "ABORTED"),
        (412, "FAILED_PRECONDITION"), (413, "RESOURCE_EXHAUSTED"), (416, "OUT_OF_RANGE"), (418, "FAILED_PRECONDITION"),
        (429, "RESOURCE_EXHAUSTED"), (499, "CANCELLED"), (500, "INTERNAL"), (501, "UNIMPLEMENTED"),
        (502, "UNAVAILABLE"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (599, "INTERNAL"),
    ],
)  # fmt: skip
def test_a_status_of_http_has_a_code(status, code):
    assert Code.of(status) == code


@pytest.mark.parametrize("value", [17, -1, "NOPE", 1.5, True, 1000])
def test_what_is_no_code_is_refused(value):
    if value is True:
        assert Code.of(value) is Code.CANCELLED  # as True is 1
        return
    with pytest.raises(ValueError, match="expected a code of gRPC"):
        Code.of(value)


def test_errors_of_ours_have_a_code():
    assert code_for(DeadlineExceeded()) == code_for(AttemptTimeout()) == "DEADLINE_EXCEEDED"
    assert code_for(ThrottleRejected("no")) == "RESOURCE_EXHAUSTED"
    assert code_for(BulkheadRejected("no")) == "UNAVAILABLE"
    assert code_for(ValueError()) is None
