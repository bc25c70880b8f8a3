"""How long a caller waits."""

import copy
import pickle
from decimal import Decimal

import pytest

from formation.http import UNSET, Request
from formation.http.timeouts import Unset, check_timeout


def get(**settings):
    return Request("GET", "https://h.example/", **settings)


@pytest.mark.parametrize("timeout", [0.001, 1, 30.5, (1, 2), (None, 2), (1.5, None), (None, None), None, UNSET, 10**9])
def test_a_timeout_is_seconds_a_pair_nothing_or_unset(timeout):
    request = get(timeout=timeout)
    assert request.timeout == timeout
    request.timeout = timeout
    assert request.timeout == check_timeout(timeout) == timeout


@pytest.mark.parametrize(
    "timeout",
    [0, -1, 0.0, True, False, "5", (1,), (1, 2, 3), (), (0, 1), (1, -1), [1, 2], ("1", 2), (1, True), Decimal(5),
     float("nan"), float("inf"), (1, float("inf"))],
)  # fmt: skip
def test_anything_else_is_no_timeout(timeout):
    with pytest.raises(ValueError, match=r"expected a timeout in seconds, above 0, or a pair .*: None waits for ever"):
        get(timeout=timeout)
    request = get()
    with pytest.raises(ValueError, match="expected a timeout"):
        request.timeout = timeout
    assert request.timeout is UNSET


def test_unset_is_one_thing_and_says_so():
    assert repr(UNSET) == "UNSET"
    assert pickle.loads(pickle.dumps(UNSET)) is copy.deepcopy(UNSET) is UNSET
    assert Unset.UNSET is UNSET
