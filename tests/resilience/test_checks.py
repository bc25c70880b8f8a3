import pytest

from formation.resilience.checks import count, positive, seconds


def test_good_numbers_are_returned_as_they_are():
    assert (count("n", 1), count("n", 0, least=0), seconds("s", 0), seconds("s", 1.5)) == (1, 0, 0, 1.5)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True])
def test_no_whole_number_of_at_least_one_is_refused(value):
    with pytest.raises(ValueError, match="expected n as a whole number, 1 or more, got "):
        count("n", value)


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), "1", None, True])
def test_no_length_of_time_is_refused(value):
    with pytest.raises(ValueError, match="expected s in seconds, 0 or more, got "):
        seconds("s", value)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "1", None, True])
def test_no_number_above_0_is_refused(value):
    assert (positive("rate", 1), positive("rate", 0.1)) == (1, 0.1)
    with pytest.raises(ValueError, match="expected rate as a number above 0, got "):
        positive("rate", value)
