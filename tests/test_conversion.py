"""Settings of a configuration: text and TOML's types, made into what an annotation asks for."""

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Annotated, Any, Literal, Optional, Protocol, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import formation.middleware as package
from formation.config import built_in
from formation.conversion import convert, told
from formation.http.timeouts import Timeout, Unset

EMPTY = inspect.Parameter.empty
T = TypeVar("T")


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Sized(Protocol):
    def size(self) -> int: ...


TEXT = [
    ("4", int, 4),
    ("-4", int, -4),
    ("0.5", float, 0.5),
    ("4", float, 4.0),
    ("4", str, "4"),
    ("", str, ""),
    ("yes", bool, True),
    ("True", bool, True),
    ("on", bool, True),
    ("1", bool, True),
    ("no", bool, False),
    ("FALSE", bool, False),
    ("off", bool, False),
    ("0", bool, False),
    ("1.5", timedelta, timedelta(seconds=1.5)),
    ("none", int | None, None),
    ("None", Optional[float], None),  # noqa: UP045  written so, too
    ("", int | None, None),
    ("", str | None, None),
    ("none", str | None, "none"),
    ("none", None | Literal["a"], None),
    ("header", Literal["header", "query"], "header"),
    ("2", Literal[1, 2], 2),
    ("RED", Colour, Colour.RED),
    ("r", Colour, Colour.RED),
    ("2", Level, Level.HIGH),
    ("HIGH", Level | None, Level.HIGH),
    ("a b", list[str], ["a", "b"]),
    ("a, b,c", Iterable[str], ("a", "b", "c")),
    ("\nX-A\nX-B", Sequence[str], ("X-A", "X-B")),
    ("", Iterable[str], ()),
    ("a a", set[str], {"a"}),
    ("1 2", frozenset[int], frozenset({1, 2})),
    ("1 2", AbstractSet[int], frozenset({1, 2})),
    ("1 2", Collection[int], (1, 2)),
    ("1 2", tuple[int, ...], (1, 2)),
    ("1 b", tuple[int, str], (1, "b")),
    ("1 2", tuple, ("1", "2")),
    ("1 2", list, ["1", "2"]),
    ("2.5", Timeout | Unset, 2.5),
    ("3, 27", Timeout | Unset, (3.0, 27.0)),
    ("3 none", Timeout | Unset, (3.0, None)),
    ("none", Timeout | Unset, None),
    ("\nX-A = 1, 2\nX-B=c=d", Mapping[str, str], {"X-A": "1, 2", "X-B": "c=d"}),
    ("KeyError = 404\nfractions:Fraction = 5", Mapping[type, int] | None, {KeyError: 404, Fraction: 5}),
    ("a = 1", dict, {"a": "1"}),
    ("503", type[Exception] | int | Iterable[type[Exception] | int] | None, 503),
    ("KeyError", type[Exception] | int | None, KeyError),
    ("503 KeyError", type[Exception] | int | Iterable[type[Exception] | int], (503, KeyError)),
    ("decimal:Decimal", type, Decimal),
    ("math:gcd", Callable[[int, int], int] | None, math.gcd),
    ("decimal:Decimal.from_float", Callable[..., Any], Decimal.from_float),
    ("abc", str | Callable[[], str], "abc"),
    ("math:gcd", str | Callable[[], str], math.gcd),
    ("math:gcd", Any, math.gcd),
    ("localhost:8080", Any, "localhost:8080"),
    ("https://a.test/", Any, "https://a.test/"),
    ("math:gcd", str, "math:gcd"),
    ("math:gcd", EMPTY, "math:gcd"),
    ("4", EMPTY, "4"),
    ("4", Annotated[int, "seconds"], 4),
    ("4", list[Annotated[int, "seconds"]], [4]),
    ("4", T, "4"),
    ("4", int | str, 4),
    ("four", int | str, "four"),
]

VALUES = [
    (4, int, 4),
    (4, float, 4),
    (0.5, float, 0.5),
    ("a", str, "a"),
    (True, bool, True),
    (1.5, timedelta, timedelta(seconds=1.5)),
    (timedelta(1), timedelta, timedelta(1)),
    (None, int | None, None),
    ("none", int | None, None),
    ("", int | None, None),
    ("", str | None, None),
    ("none", str | None, "none"),
    ("none", type(None), None),
    (1, int | bool, 1),
    (True, int | bool, True),
    ("header", Literal["header", "query"], "header"),
    ("RED", Colour, Colour.RED),
    (Colour.RED, Colour, Colour.RED),
    (2, Level, Level.HIGH),
    (["a", "b"], Iterable[str], ("a", "b")),
    (["a", "b"], list[str], ["a", "b"]),
    ({"a"}, frozenset[str], frozenset("a")),
    ([3, 27.5], Timeout, (3, 27.5)),
    ([3, "none"], Timeout, (3, None)),
    ({"KeyError": 404}, Mapping[type[Exception], int], {KeyError: 404}),
    ({KeyError: 404}, Mapping[type[Exception], int], {KeyError: 404}),
    ({"404": "a"}, dict[int, str], {404: "a"}),
    ({"a": [1]}, dict, {"a": [1]}),
    (["KeyError", 503], type[Exception] | int | Iterable[type[Exception] | int], (KeyError, 503)),
    (len, Callable[..., Any], len),
    (KeyError, type[Exception], KeyError),
    (date(2026, 1, 2), date, date(2026, 1, 2)),
    ("math:pi", float | Callable[..., Any] | Any, math.pi),
    (7, Any, 7),
    (7, EMPTY, 7),
    (7, Sized, 7),  # Python cannot say whether it is
]

WRONG = [
    ("four", int, True, "a whole number"),
    ("1.5", int, True, "a whole number"),
    ("4", int, False, "a whole number"),
    (True, int, False, "a whole number"),
    (1.5, int, False, "a whole number"),
    ("soon", float, True, "a number"),
    (False, float, False, "a number"),
    ("soon", timedelta, True, "seconds"),
    ("maybe", bool, True, "true or false"),
    ("true", bool, False, "true or false"),
    (1, bool, False, "true or false"),
    (4, str, False, "text"),
    (4, str | None, False, "text or none"),
    ("x", type(None), True, "none"),
    (0, type(None), False, "none"),
    ("body", Literal["header", 2], True, "'header' or 2"),
    ("GREEN", Colour, True, "'RED' or 'BLUE'"),
    ("x", Timeout | Unset, True, "a number or 2 values (a number or none, a number or none) or none"),
    ("1 2 3", tuple[int, int], True, "2 values (a whole number, a whole number)"),
    ("a b", list[int], True, "a list of a whole number"),
    ("a", list[str], False, "a list of text"),
    (["a", 1], Iterable[str], False, "a list of text"),
    (5, list, False, "a list"),
    ("a", Mapping[str, int], True, "pairs of text = a whole number"),
    ("a = b", Mapping[str, int], True, "pairs of text = a whole number"),
    ("a", Mapping, True, "pairs"),
    (["a"], dict[str, str], False, "pairs of text = text"),
    ("KeyEror", type[Exception], True, "the name of a class, package.module:name"),
    ("int", type[Exception], True, "the name of a class, package.module:name"),
    ("fractions:Fraction", type[Exception], True, "the name of a class, package.module:name"),
    (503, type[Exception], False, "the name of a class, package.module:name"),
    ("gcd", Callable[..., int], True, "the name of a function, package.module:name"),
    ("math:pi", Callable[..., int], True, "the name of a function, package.module:name"),
    ("math:pi", Decimal, True, "the name of a Decimal, package.module:name"),
]


@pytest.mark.parametrize(("text", "kind", "expected"), TEXT, ids=repr)
def test_text_becomes_what_the_annotation_says(text, kind, expected):
    found = convert(text, kind, is_text=True)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(("value", "kind", "expected"), VALUES, ids=repr)
def test_a_value_is_checked_against_its_annotation(value, kind, expected):
    found = convert(value, kind)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(("value", "kind", "is_text", "expected"), WRONG, ids=repr)
def test_what_does_not_fit_is_told_with_what_is_expected(value, kind, is_text, expected):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        convert(value, kind, is_text=is_text)
    assert str(caught.value) == f"expected {expected}, got {value!r}"


@pytest.mark.parametrize("kind", [Any, Callable[..., Any], type[Exception], str | Callable[[], str], Decimal | None])
@pytest.mark.parametrize(
    ("name", "why"),
    [("no_such_module:name", "No module named 'no_such_module'"), ("math:no_such", "has no attribute 'no_such'")],
)
def test_an_object_that_cannot_be_found_is_told_by_its_name(kind, name, why):
    with pytest.raises(LookupError, match=f"^'{name}' cannot be found: .*{why}"):
        convert(name, kind, is_text=True)


@given(st.integers() | st.none())
def test_a_number_that_is_written_is_the_number_that_is_read(number):
    assert convert(str(number), int | None, is_text=True) == number


@given(st.lists(st.from_regex(r"[\w-]+", fullmatch=True)))
def test_a_list_that_is_written_is_the_list_that_is_read(names):
    assert convert(", ".join(names), list[str], is_text=True) == names


@given(st.text(), st.sampled_from([int, float | None, bool, Colour, list[int], Mapping[str, int], type[Exception]]))
def test_any_text_is_read_or_refused_and_nothing_else_happens(text, kind):
    with suppress(ValueError, LookupError):
        convert(text, kind, is_text=True)


SETTINGS = [
    pytest.param(each.annotation, id=f"{name}-{each.name}")
    for name in built_in()
    for each in inspect.signature(getattr(package, name), eval_str=True).parameters.values()
]


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_of_every_middleware_is_asked_for_in_plain_words(kind):
    asked_for = told(kind)
    assert not re.search(r"formation|typing|collections|<|\[", asked_for)
