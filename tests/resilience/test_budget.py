import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.resilience.budget import KEYS, Budget
from tests.resilience.stress import in_threads


def test_a_full_account_pays_35_retries_and_takes_no_memory_before():
    budget = Budget()
    assert budget.spent == {}
    assert [budget.take("h") for _ in range(36)] == [14] * 35 + [0]
    assert [budget.take("h", throttled=True) for _ in range(3)] == [5, 5, 0]


def test_successes_fill_an_account_up_and_no_further():
    budget = Budget()
    budget.take("h")
    for _ in range(13):
        budget.settle("h", paid=0, ok=True)
    assert budget.spent == {"h": 1}
    for _ in range(3):
        budget.settle("h", paid=0, ok=True)
    assert budget.spent == {}


@pytest.mark.parametrize(
    ("paid", "ok", "left"),
    [(14, True, 14), (14, None, 14), (14, False, 28), (0, None, 28), (0, False, 28), (0, True, 27)],
)
def test_what_is_paid_back(paid, ok, left):
    budget = Budget()
    budget.take("h")
    budget.take("h")
    budget.settle("h", paid=paid, ok=ok)
    assert budget.spent == {"h": left}


def test_a_ratio_earns_by_the_call_whatever_comes_of_it_and_pays_nothing_back_for_success():
    budget = Budget.ratio(0.25)
    assert [budget.take("h") for _ in range(11)] == [1] * 10 + [0]
    budget.settle("h", paid=1, ok=True)
    budget.settle("h", paid=1, ok=False)
    assert budget.spent == {"h": 9.5}
    budget.settle("h", paid=1, ok=None)
    assert budget.spent == {"h": 8.5}


def test_accounts_that_are_not_full_have_a_bound():
    budget = Budget()
    for key in range(KEYS + 5):
        budget.take(key)
    assert len(budget.spent) == KEYS
    assert 4 not in budget.spent
    assert 5 in budget.spent


@pytest.mark.parametrize(
    "settings", [{"capacity": 0}, {"cost": 0}, {"throttled_cost": -1}, {"per_success": -1}, {"per_call": -1}]
)
def test_a_number_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        Budget(**settings)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([True, False, None]))))
def test_no_account_is_ever_overdrawn_or_overfull(steps):
    budget = Budget(100)
    paid = 0
    for take, ok in steps:
        if take:
            paid = budget.take("h")
        else:
            budget.settle("h", paid=paid, ok=ok)
            paid = 0
        assert 0 <= budget.spent.get("h", 0) <= budget.capacity


def test_threads_count_exactly():
    budget = Budget(1_000_000)

    def work(_):
        for _ in range(2000):
            budget.take("h")
            budget.settle("h", paid=0, ok=True)

    in_threads(work, 8)
    assert budget.spent == {"h": 8 * 2000 * 13}
