from __future__ import annotations

import datetime as dt
import enum
from collections import deque
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from typing import ClassVar
from urllib.parse import parse_qsl
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from formation.http.query import encode, entries, form, pairs, percent, scalar, split, utf8


class Sort(enum.Enum):
    STARS = "stars"
    ONE = 1


class Name(enum.StrEnum):
    Q = "q"


class Mixed(str, enum.Enum):  # noqa: UP042  whose str() is 'Mixed.A'
    A = "a"


# --- shapes ---


@pytest.mark.parametrize(
    "params",
    [
        {"a": 1, "b": "x"},
        [("a", 1), ("b", "x")],
        (["a", 1], ["b", "x"]),
        deque([("a", 1), ("b", "x")]),
        MultiDict([("a", "1"), ("b", "x")]),
        MultiDictProxy(MultiDict([("a", "1"), ("b", "x")])),
    ],
)
def test_parameters_are_a_mapping_or_pairs(params):
    assert split(params) == ([("a", "1"), ("b", "x")], {})
    assert pairs(params) == [("a", "1"), ("b", "x")]


@pytest.mark.parametrize("params", [None, {}, [], (), MultiDict()])
def test_no_parameters_are_no_pairs(params):
    assert split(params) == ([], {})
    assert pairs(params) == []
    assert form(params) == b""


def test_pairs_and_multi_dicts_repeat_a_name():
    assert split([("a", 1), ("a", 2)])[0] == [("a", "1"), ("a", "2")]
    assert split(MultiDict([("a", "1"), ("b", "2"), ("a", "3")]))[0] == [("a", "1"), ("b", "2"), ("a", "3")]


class OnlyItems:
    """Werkzeug's and Django's multi-dicts, Starlette's and httpx's: items() has but one value of a name."""

    def items(self):
        return [("a", "2")]


class Lists(dict):
    def lists(self):
        return [("a", ["1", "2"])]


class MultiItems(OnlyItems):
    def multi_items(self):
        return [("a", "1"), ("a", "2")]


@pytest.mark.parametrize("multi", [Lists(a="2"), MultiItems()])
def test_a_multi_dict_that_hides_repeated_names_is_asked_for_all_of_them(multi):
    assert split(multi)[0] == [("a", "1"), ("a", "2")]


def test_anything_with_items_will_do():
    assert split(OnlyItems())[0] == [("a", "2")]
    assert split(CIMultiDict({"A": "1"}))[0] == [("A", "1")]


@pytest.mark.parametrize(
    "params", ["a=1", b"b=1", bytearray(b"a"), 5, object(), {"a", "b"}, iter([("a", 1)]), dict, OnlyItems]
)
def test_anything_else_is_refused(params):
    for function in (split, pairs, form):
        with pytest.raises(TypeError, match="expected a mapping, a sequence of pairs"):
            function(params)


@pytest.mark.parametrize("params", [["ab"], [("a", 1, 2)], [("a",)], ["a", "b"], [1], [{"a", "b"}]])
def test_a_sequence_is_of_pairs(params):
    with pytest.raises(TypeError, match="expected pairs of a name and a value"):
        split(params)


@pytest.mark.parametrize("params", [{1: "a"}, {None: "a"}, [(b"a", "x")], {Sort.ONE: 1}])
def test_a_name_is_a_str(params):
    with pytest.raises(TypeError, match="expected a str as a name"):
        split(params)


def test_a_name_may_be_a_subclass_of_str_or_a_member_of_an_enum_of_str():
    assert split({Name.Q: 1, Mixed.A: 2})[0] == [("q", "1"), ("a", "2")]
    name = split(CIMultiDict({"X": "1"}))[0][0][0]
    assert type(name) is str


# --- values ---


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


def test_none_is_left_out():
    assert split({"a": None, "b": 1, "c": [None, 2, None]})[0] == [("b", "1"), ("c", "2")]


@pytest.mark.parametrize("value", [["x", 1, True], ("x", 1, True), deque(["x", 1, True])])
def test_a_sequence_repeats_the_name(value):
    assert split({"k": value})[0] == [("k", "x"), ("k", "1"), ("k", "true")]


def test_an_empty_sequence_is_nothing():
    assert split({"k": [], "l": range(2)})[0] == [("l", "0"), ("l", "1")]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (b"x", "decode it first"),
        (bytearray(b"x"), "decode it first"),
        (memoryview(b"x"), "decode it first"),
        ({"a": 1}, "nested parameters need params_encoder="),
        ({1, 2}, r"a set has no order, so give sorted\(...\)"),
        (frozenset({1}), r"a set has no order, so give sorted\(...\)"),
        (object(), "convert it first"),
        (iter([1]), "convert it first"),
        (dt.time(10), "convert it first"),
        (1j, "convert it first"),
        (enum.Enum("Odd", {"X": None}).X, "convert it first"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_name_and_type(value, advice):
    for params in ({"k": value}, [("k", [value])]):
        for function in (split, pairs, form):
            with pytest.raises(TypeError, match=rf"(?s)^parameter 'k': expected str, .*{advice}$") as caught:
                function(params)
            assert f"({type(value).__qualname__})" in str(caught.value)


@pytest.mark.parametrize("value", [["x"], ("x",), {"a": 1}])
def test_a_sequence_has_no_sequences(value):
    with pytest.raises(TypeError, match="parameter 'k'"):
        split({"k": [value]})


# --- parameters of the path ---


def test_a_name_with_a_colon_is_a_parameter_of_the_path_and_keeps_its_value():
    thing = object()
    assert split({":owner": "o", "q": 1, ":thing": thing}) == ([("q", "1")], {"owner": "o", "thing": thing})


def test_none_for_the_path_is_kept_so_that_it_can_be_refused():
    assert split({":owner": None}) == ([], {"owner": None})


def test_a_form_has_no_parameters_of_the_path():
    assert pairs({":owner": "o"}) == [(":owner", "o")]
    assert form({":owner": "o"}) == b"%3Aowner=o"


# --- structured parameters ---


@attrs.define
class Page:
    number: int = attrs.field(default=1, metadata={"to": ["page"]})
    size: int | None = attrs.field(default=None, metadata={"to": "per_page"})


@attrs.define
class Search(Page):
    q: str = ""
    sort: Sort | None = None
    tags: list[str] = attrs.field(factory=list, metadata={"to": ["tag"]})
    owner: str | None = attrs.field(default=None, metadata={"to": ":owner"})


@dataclass
class DataPage:
    kind: ClassVar[str] = "not a field"
    seed: InitVar[int] = 0
    number: int = field(default=1, metadata={"to": ["page"]})
    size: int | None = field(default=None, metadata={"to": "per_page"})


@dataclass
class DataSearch(DataPage):
    q: str = ""
    sort: Sort | None = None
    tags: list[str] = field(default_factory=list, metadata={"to": ("tag",)})
    owner: str | None = field(default=None, metadata={"to": [":owner"]})


@pytest.mark.parametrize("kind", [Search, DataSearch])
def test_the_fields_of_an_object_are_parameters_under_the_names_in_their_metadata(kind):
    params = kind(number=2, q="http", sort=Sort.STARS, tags=["x", "y"], owner="octo")
    assert split(params) == (
        [("page", "2"), ("q", "http"), ("sort", "stars"), ("tag", "x"), ("tag", "y")],
        {"owner": "octo"},
    )


@pytest.mark.parametrize("kind", [Search, DataSearch])
def test_fields_that_are_none_are_left_out_but_not_those_of_the_path(kind):
    assert split(kind()) == ([("page", "1"), ("q", "")], {"owner": None})


def test_a_class_without_a_decorator_inherits_the_fields():
    class Plain(Search):
        pass

    assert split(Plain(number=3, owner="o")) == ([("page", "3"), ("q", "")], {"owner": "o"})


def test_a_frozen_class_with_slots_will_do():
    @attrs.frozen(slots=True)
    class Frozen:
        a: int

    @dataclass(frozen=True, slots=True)
    class DataFrozen:
        a: int

    assert split(Frozen(1)) == split(DataFrozen(1)) == ([("a", "1")], {})


@pytest.mark.parametrize("page", [Page(2, 50), DataPage(number=2, size=50)])
def test_a_structured_field_is_flattened_into_its_parent(page):
    @attrs.define
    class Query:
        q: str
        page: object
        owner: object = attrs.field(default=None, metadata={"to": ":owner"})

    assert split(Query("x", page, "o")) == ([("q", "x"), ("page", "2"), ("per_page", "50")], {"owner": "o"})


def test_a_structured_field_may_fill_the_path_of_its_parent():
    @dataclass
    class Repo:
        owner: str = field(metadata={"to": ":owner"})

    @dataclass
    class Query:
        repo: Repo
        q: str

    assert split(Query(Repo("octo"), "x")) == ([("q", "x")], {"owner": "octo"})


def test_an_enum_with_fields_is_a_value_all_the_same():
    class Odd(enum.Enum):
        A = "a"

        def to_dict(self):
            raise AssertionError

    @attrs.define
    class Query:
        odd: Odd

    assert split(Query(Odd.A))[0] == [("odd", "a")]


class Serde:
    """As attrs-serde makes them."""

    def __init__(self, made):
        self.made = made

    def to_dict(self):
        return self.made


def test_an_object_with_to_dict_is_taken_as_it_is():
    assert split(Serde({"q": "x", "none": None, ":owner": "o"})) == ([("q", "x")], {"owner": "o"})


def test_to_dict_goes_before_the_fields():
    @attrs.define
    class Query:
        a: int

        def to_dict(self):
            return {"b": self.a}

    assert split(Query(1))[0] == [("b", "1")]


def test_a_field_with_to_dict_is_flattened_too():
    @attrs.define
    class Query:
        a: Serde
        b: int = 2

    assert split(Query(Serde({"x": 1})))[0] == [("x", "1"), ("b", "2")]


def test_to_dict_returns_a_mapping():
    with pytest.raises(TypeError, match=r"expected to_dict\(\) of Serde to return a mapping, got 5"):
        split(Serde(5))


def test_a_mapping_with_to_dict_is_a_mapping():
    class Multi(dict):
        def to_dict(self):
            raise AssertionError

    @attrs.define
    class Query:
        multi: Multi

    assert split(Multi(a=1))[0] == [("a", "1")]
    with pytest.raises(TypeError, match="nested parameters"):
        split(Query(Multi(a=1)))


@pytest.mark.parametrize("params", [Search, DataSearch, Serde])
def test_a_class_is_no_instance(params):
    with pytest.raises(TypeError, match="expected a mapping"):
        split(params)


def test_a_field_named_items_is_only_a_field():
    @dataclass
    class Query:
        items: int

    assert split(Query(3))[0] == [("items", "3")]


@pytest.mark.parametrize("to", [5, [], "", ["a", ""], ["a", 5], {"a": 1}])
def test_metadata_that_is_no_name_is_refused_by_field_and_class(to):
    @attrs.define
    class Query:
        a: int = attrs.field(default=1, metadata={"to": to})

    with pytest.raises(TypeError, match=r"field 'a' of .*Query: expected 'to' in its metadata"):
        split(Query())


def test_the_last_of_two_fields_with_one_name_wins():
    @attrs.define
    class Query:
        a: int = attrs.field(metadata={"to": "x"})
        b: int = attrs.field(metadata={"to": "x"})

    assert split(Query(1, 2))[0] == [("x", "2")]


# --- nested parameters ---


@attrs.define
class Filtered:
    state: str = attrs.field(default="open", metadata={"to": ["filter", "state"]})
    draft: bool | None = attrs.field(default=None, metadata={"to": ["filter", "draft"]})
    deep: int = attrs.field(default=1, metadata={"to": ["filter", "by", "id"]})
    page: Page = attrs.field(factory=Page, metadata={"to": "paging"})
    owner: str = attrs.field(default="octo", metadata={"to": ":owner"})


def seen(params):
    seen.params = params
    return []


@pytest.mark.parametrize("params", [Filtered(), Serde({"filter": {"state": 1}}), {"filter": {}}, {"filter": Page()}])
def test_nested_parameters_are_refused_without_an_encoder(params):
    with pytest.raises(TypeError, match=r"parameter 'filter': .* nested parameters need params_encoder="):
        split(params)


def test_an_encoder_gets_one_nested_mapping():
    assert split(Filtered(), seen) == ([], {"owner": "octo"})
    assert seen.params == {"filter": {"state": "open", "by": {"id": 1}}, "paging": {"page": 1}}


def test_an_encoder_gets_structured_values_as_mappings_and_no_none():
    split({"page": Page(2, 3), "serde": Serde({"a": 1}), "none": None, "when": dt.date(2026, 1, 1), ":x": 1}, seen)
    assert seen.params == {"page": {"page": 2, "per_page": 3}, "serde": {"a": 1}, "when": dt.date(2026, 1, 1)}


def test_an_encoder_gets_repeated_names_as_a_list():
    split([("a", 1), ("b", [1, 2]), ("a", "2"), ("b", (3,)), ("a", True)], seen)
    assert seen.params == {"a": [1, "2", True], "b": [1, 2, 3]}


@pytest.mark.parametrize(
    "made",
    [
        {"a[b]": 1, "c": [True, None], "d": None},
        [("a[b]", 1), ("c", True)],
        (pair for pair in [("a[b]", 1), ("c", [True])]),
    ],
)
def test_an_encoder_returns_flat_pairs_or_a_flat_mapping_which_become_text(made):
    assert split({"a": {"b": 1}}, lambda _: made)[0] == [("a[b]", "1"), ("c", "true")]


def test_what_an_encoder_returns_is_not_encoded_again():
    with pytest.raises(TypeError, match="parameter 'a'"):
        split({"a": {"b": 1}}, lambda params: params)
    with pytest.raises(TypeError, match="expected pairs"):
        split({"a": 1}, lambda _: [5])


def test_a_form_may_have_an_encoder_too():
    def dots(params):
        return {f"{name}.{key}": value for name, inner in params.items() for key, value in inner.items()}

    assert form({"a": {"b": 1, "c": "x y"}}, dots) == b"a.b=1&a.c=x+y"


def test_nothing_of_the_callers_is_changed():
    inner = {"a": 1}
    made = {"filter": inner}

    @attrs.define
    class Query:
        first: Serde
        second: int = attrs.field(default=2, metadata={"to": ["filter", "b"]})

    split(Query(Serde(made)), seen)
    assert seen.params == {"filter": {"a": 1, "b": 2}}
    assert (inner, made) == ({"a": 1}, {"filter": {"a": 1}})


# --- encode ---


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ([], ""),
        ([("a", "1"), ("b", "2"), ("a", "3")], "a=1&b=2&a=3"),
        ([("a b", "c d")], "a%20b=c%20d"),
        ([("q", "a+b&c=d#e?f/g:h%")], "q=a%2Bb%26c%3Dd%23e%3Ff%2Fg%3Ah%25"),
        ([("q", "é\n\0")], "q=%C3%A9%0A%00"),
        ([("a", ""), ("", "b")], "a=&=b"),
        ([("q", "-._~azAZ09")], "q=-._~azAZ09"),
        ([("filter[x]", "'*!()")], "filter%5Bx%5D=%27%2A%21%28%29"),
    ],
)
def test_a_query_is_percent_encoded_with_spaces_as_20(query, text):
    assert encode(query) == encode(iter(query)) == text


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ({"a": "1", "b": [2, True]}, b"a=1&b=2&b=true"),
        ([("q", "a b+c")], b"q=a+b%2Bc"),
        ({"é": "&=\r\n"}, b"%C3%A9=%26%3D%0D%0A"),
        (Page(2), b"page=2"),
        (MultiDict([("a", "1"), ("a", "2")]), b"a=1&a=2"),
    ],
)
def test_a_form_is_encoded_with_spaces_as_plus(data, body):
    assert form(data) == body


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


def test_entries_are_the_names_and_the_raw_values():
    thing = object()
    assert list(entries({"a": thing, ":b": None})) == [("a", thing), (":b", None)]
    assert list(entries(None)) == []


texts = st.lists(st.tuples(st.text(), st.text()))


@given(texts)
def test_the_standard_library_reads_back_what_was_encoded(query):
    assert parse_qsl(encode(query), keep_blank_values=True) == query
    assert parse_qsl(form(query).decode("ascii"), keep_blank_values=True) == query


@given(st.dictionaries(st.text().filter(lambda name: not name.startswith(":")), st.lists(st.text())))
def test_a_list_says_the_same_as_repeated_pairs(params):
    assert split(params) == split([(name, value) for name, values in params.items() for value in values])
