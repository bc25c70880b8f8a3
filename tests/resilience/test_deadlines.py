"""What a header says of a deadline, and how it is read."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Request
from formation.resilience.deadlines import announce, read, written

OWN = "x-request-timeout-ms"


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (1.5, "1500"),
        (0.0019, "1"),
        (0.0009, "0"),
        (0, "0"),
        (-3, "0"),
        (1e9, "99999999"),
        (inf, "99999999"),
        (-inf, "0"),
    ],
)
def test_milliseconds_are_rounded_down(seconds, value):
    assert written(OWN, seconds) == value
    assert written("grpc-timeout", seconds) == f"{value}m"
    assert written("Grpc-Timeout", seconds) == f"{value}m"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("6n", 6e-9),
        ("99999999m", 99999.999),
        ("0m", 0),
    ],
)
def test_the_units_of_grpc_are_understood(value, seconds):
    assert read("grpc-timeout", value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "m", "1", "1s", "-1m", "1.5S", "123456789m", " 1m", "1m\n", "٣m", "1m, 2m", "9" * 10_000 + "m"]
)
def test_what_is_no_timeout_of_grpc_says_nothing(value):
    assert read("grpc-timeout", value) is None


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "1e3", "123456789", "1500m", "٣", "1, 2", "9" * 10_000])
def test_what_is_no_number_says_nothing(value):
    assert read(OWN, value) is None


@given(st.floats(0, 99_999, allow_nan=False))
def test_what_is_written_is_read_again_and_never_more(seconds):
    for name in (OWN, "grpc-timeout"):
        said = read(name, written(name, seconds))
        assert said == pytest.approx(seconds, abs=0.0011)
        assert said <= seconds + 1e-9


@pytest.mark.parametrize(
    "ctx", [{}, {"fmtn.state": None}, {"fmtn.state": {}}, {"fmtn.state": {"deadline.header": OWN}}]
)
def test_who_has_not_asked_or_has_no_deadline_is_told_nothing(ctx):
    request = Request("GET", "https://h/")
    announce({"fmtn.req.http": request, **ctx})
    assert request.headers == {}
