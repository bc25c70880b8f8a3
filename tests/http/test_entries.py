"""Fields by name, whatever they are given in; seen through the query that they become."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import InitVar, dataclass, field
from typing import ClassVar

import attrs
import pytest
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from formation.http.entries import entries
from formation.http.query import form, pairs, split
from tests.http.shapes import Mixed, Name, Page, Serde, Sort

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


# --- structured parameters ---


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


def test_entries_are_the_names_and_the_raw_values():
    thing = object()
    assert list(entries({"a": thing, ":b": None})) == [("a", thing), (":b", None)]
    assert list(entries(None)) == []
