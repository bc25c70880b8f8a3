"""Query strings and forms."""

from __future__ import annotations

import datetime as dt
import enum
from collections import deque
from urllib.parse import parse_qsl

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from formation.http.query import encode, form, pairs, split
from tests.http.shapes import Page, Serde

# --- values ---


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


texts = st.lists(st.tuples(st.text(), st.text()))


@given(texts)
def test_the_standard_library_reads_back_what_was_encoded(query):
    assert parse_qsl(encode(query), keep_blank_values=True) == query
    assert parse_qsl(form(query).decode("ascii"), keep_blank_values=True) == query


@given(st.dictionaries(st.text().filter(lambda name: not name.startswith(":")), st.lists(st.text())))
def test_a_list_says_the_same_as_repeated_pairs(params):
    assert split(params) == split([(name, value) for name, values in params.items() for value in values])
