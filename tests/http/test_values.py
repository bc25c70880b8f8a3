"""Single values, as text."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from uuid import UUID

import pytest

from formation.http.query import encode, form, split
from formation.http.values import percent, scalar, utf8
from tests.http.shapes import Mixed, Name, Sort


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-12, "-12"),
        (1.5, "1.5"),
        (1e22, "1e+22"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2026, 11, 1), "2026-11-01"),
        (dt.datetime(2026, 11, 1, 10, 30), "2026-11-01T10:30:00"),  # noqa: DTZ001
        (dt.datetime(2026, 11, 1, 10, 30, tzinfo=dt.UTC), "2026-11-01T10:30:00+00:00"),
        (Sort.STARS, "stars"),
        (Sort.ONE, "1"),
        (Name.Q, "q"),
        (Mixed.A, "a"),
        (enum.IntEnum("Level", {"LOW": 3}).LOW, "3"),
        (type("Own", (int,), {"__str__": lambda self: "wrong", "__repr__": lambda self: "wrong"})(7), "7"),
        (type("Own", (float,), {"__str__": lambda self: "wrong", "__repr__": lambda self: "wrong"})(7.5), "7.5"),
        (type("Own", (str,), {"__str__": lambda self: "wrong"})("right"), "right"),
    ],
)
def test_a_value_becomes_text(value, text):
    assert split({"k": value}) == ([("k", text)], {})
    assert split({"k": [value, value]}) == ([("k", text), ("k", text)], {})
    assert scalar(value) == text
    assert type(scalar(value)) is str


def test_text_that_is_not_utf8_is_refused():
    for function, argument in [
        (encode, [("k", "a\ud800")]),
        (encode, [("a\ud800", "v")]),
        (form, {"k": "a\ud800"}),
        (percent, "a\ud800"),
        (utf8, "a\ud800"),
    ]:
        with pytest.raises(
            ValueError, match=r"expected text that UTF-8 can encode, got 'a\\ud800': it has a lone surrog"
        ):
            function(argument)
