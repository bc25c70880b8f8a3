"""Templates, and values that would like to be more than a value."""

from __future__ import annotations

import datetime as dt
import enum
import re
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from formation.http.templates import expand, names
from formation.http.url import resolve

BASE = "https://h.example/v1"


class Colour(enum.Enum):
    RED = "dark red"
    NUMBER = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    HI = "hi"


class Odd(enum.Enum):
    FLAG = True
    NOTHING = None
    EMPTY = ""


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/users/:id", "/users/7"),
        (":id", "7"),
        (":id/x", "7/x"),
        ("/users/{id}", "/users/7"),
        ("{id}", "7"),
        ("/a{id}b", "/a7b"),
        ("/{id}.json", "/7.json"),
        ("/:id.json", "/7.json"),
        ("/{id}{id2}", "/78"),
        ("/{id}:cancel", "/7:cancel"),
        ("/:id:cancel", "/7:cancel"),
        ("/:id/:id2", "/7/8"),
        ("/:id2/:id", "/8/7"),
        ("/:id/:id", "/7/7"),
        ("/{user-id}/{user.id}", "/9/10"),
        ("/:größe", "/11"),
        ("/a:id", "/a:id"),
        ("/a/b:id/c", "/a/b:id/c"),
        ("/:8080/:", "/:8080/:"),
        ("/users", "/users"),
        ("", ""),
        ("/x/{id}?q={id}&r=:id", "/x/7?q={id}&r=:id"),
        ("/x/{id}?p=/:id", "/x/7?p=/:id"),
        ("/x/{id}#{id}", "/x/7#{id}"),
        ("/x#a?{id}", "/x#a?{id}"),
        ("?{id}", "?{id}"),
        ("https://h:8080/:id", "https://h:8080/7"),
        ("https://:id/:id", "https://:id/7"),
        ("https://{id}/{id}", "https://{id}/7"),
        ("{id}://h", "7://h"),
        ("https://h?{id}", "https://h?{id}"),
        ("https://h", "https://h"),
    ],
)
def test_a_template_is_filled_in_one_pass_and_only_in_its_path(template, path):
    values = {"id": "7", "id2": 8, "user-id": 9, "user.id": 10, "größe": 11}
    assert expand(template, values) == path


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("a", "a"),
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("a.b-c_d~e", "a.b-c_d~e"),
        (":/?#[]@!$&'()*+,;=%", "%3A%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%25"),
        ("é", "%C3%A9"),
        ("%2e%2e", "%252e%252e"),
        ("..;", "..%3B"),
        ("../x", "..%2Fx"),
        ("...", "..."),
        ("\\", "%5C"),
        ("{id}", "%7Bid%7D"),
        (0, "0"),
        (-7, "-7"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (dt.date(2026, 11, 1), "2026-11-01"),
        (dt.datetime(2026, 11, 1, 10, 30, tzinfo=dt.UTC), "2026-11-01T10%3A30%3A00%2B00%3A00"),
        (Colour.RED, "dark%20red"),
        (Colour.NUMBER, "1"),
        (Level.LOW, "1"),
        (Word.HI, "hi"),
        (type("Own", (str,), {"__str__": lambda self: "wrong"})("right"), "right"),
    ],
)
def test_a_value_is_percent_encoded_with_nothing_safe(value, segment):
    assert expand("/x/{v}", {"v": value}) == f"/x/{segment}"
    assert expand("/x/:v", {"v": value}) == f"/x/{segment}"


@pytest.mark.parametrize(
    ("value", "path"), [("a/b", "a/b"), ("a b/c", "a%20b/c"), ("x", "x"), (7, "7"), ("a:b/c?d", "a%3Ab/c%3Fd")]
)
def test_a_plus_lets_slashes_through_and_nothing_else(value, path):
    assert expand("/x/{+v}/y", {"v": value}) == f"/x/{path}/y"


@pytest.mark.parametrize("value", [None, "", ".", "..", Odd.NOTHING, Odd.EMPTY])
@pytest.mark.parametrize("template", ["/x/{v}", "/x/:v", "/x/{+v}", "/x/a{v}"])
def test_a_value_that_would_change_the_path_is_refused_by_name(template, value):
    with pytest.raises(ValueError, match="path parameter 'v'"):
        expand(template, {"v": value})


@pytest.mark.parametrize("value", ["a/../b", "../a", "a/.", "/a", "a/", "a//b", "/", "//evil.example/x"])
def test_each_segment_of_a_value_with_slashes_is_checked(value):
    with pytest.raises(ValueError, match="path parameter 'v'"):
        expand("/x/{+v}", {"v": value})


@pytest.mark.parametrize("value", [True, False, 1.5, b"x", ["a"], {"a": 1}, object(), Odd.FLAG, {1, 2}])
def test_a_value_of_another_type_is_refused_by_name(value):
    with pytest.raises(TypeError, match="path parameter 'v': expected str, int, UUID, Enum or date, got "):
        expand("/x/{v}", {"v": value})


def test_a_value_that_is_no_text_is_refused_by_name():
    with pytest.raises(ValueError, match="path parameter 'v': expected text that UTF-8 can encode"):
        expand("/x/{v}", {"v": "\ud800"})


@pytest.mark.parametrize("template", ["/repos/{owner}", "/repos/:owner", "/repos/{+owner}", "/{id}/{owner}"])
def test_a_missing_parameter_is_named(template):
    with pytest.raises(TypeError, match=r"^missing path parameter 'owner'$") as caught:
        expand(template, {"id": 1})
    assert caught.value.__suppress_context__


def test_values_that_the_template_does_not_name_are_ignored():
    assert expand("/x/{a}", {"a": 1, "b": object()}) == "/x/1"


@pytest.mark.parametrize(
    "template",
    [
        "/{",
        "/}",
        "/{}",
        "/{+}",
        "/{a",
        "/a}",
        "/{a}}",
        "/{{a}}",
        "/{1a}",
        "/{a b}",
        "/{a,b}",
        "/{a*}",
        "/{?q}",
        "/{/a}",
    ],
)
def test_a_malformed_brace_is_refused(template):
    with pytest.raises(ValueError, match=re.escape(repr(template))):
        expand(template, {"a": 1, "b": 2})
    with pytest.raises(ValueError, match="literal brace"):
        names(template)


@pytest.mark.parametrize("template", [None, 5, b"/x", ["/x"]])
def test_a_template_is_a_str(template):
    with pytest.raises(TypeError, match="expected a path as a str"):
        expand(template, {})


def test_a_template_without_parameters_is_returned_as_it_is():
    for template in ("/users/7", "/a:b", "https://h:80/x?{y}"):
        assert expand(template, {}) is template


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/repos/{owner}/:repo/{+path}", ("owner", "repo", "path")),
        ("/{a}/{a}", ("a",)),
        ("/x?{a}", ()),
        ("https://{host}:80/{a}", ("a",)),
        ("", ()),
    ],
)
def test_a_template_tells_the_names_of_its_parameters(template, expected):
    assert names(template) == expected


values = st.text().filter(lambda text: text not in {"", ".", ".."})


@given(values)
@example("..;")
@example("%2e%2e")
@example("\\..\\")
@example("//evil.example")
@example("\r\nHost: evil")
def test_a_segment_decodes_to_its_value_and_stays_one_segment(value):
    path = expand("/a/{x}/:x", {"x": value})
    assert [unquote(segment, errors="strict") for segment in path.split("/")] == ["", "a", value, value]
    url = resolve(BASE, path)
    assert url == BASE + path
    # What requests makes of it: it decodes and encodes again.
    sent = urlsplit(requests.Request("GET", url).prepare().url)
    assert [unquote(segment) for segment in sent.path.split("/")] == ["", "v1", "a", value, value]
    assert not sent.query


@given(st.lists(values.filter(lambda text: "/" not in text), min_size=1))
def test_a_value_with_slashes_decodes_to_its_segments(segments):
    path = expand("/a/{+x}", {"x": "/".join(segments)})
    assert [unquote(segment) for segment in path.split("/")] == ["", "a", *segments]
    assert resolve(BASE, path) == BASE + path
