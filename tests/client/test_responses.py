"""What the body of a result is: contexts in, values out."""

import builtins
import json
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, Literal, TypedDict, TypeVar, Union
from uuid import UUID

import attrs
import pydantic
import pytest
from attrs import define

from formation import errors
from formation.client import responses
from formation.client.responses import (
    Result,
    decoder,
    html_response,
    is_type,
    json_response,
    raw_response,
    text_response,
    unstructured,
    xmltodict_response,
)
from formation.http import Request, Response
from formation.keys import ATTEMPTS, REQ_HTTP, RES_HTTP

T = TypeVar("T")
FUNCTIONS = [raw_response, text_response, json_response, html_response, xmltodict_response, decoder(int)]


def answer(body=b"", status=200, content_type="application/json"):
    request = Request("GET", "https://h/users", template="/users")
    response = Response(status, {"Content-Type": content_type} if content_type else {}, body, request=request)
    return {REQ_HTTP: request, RES_HTTP: response}


def made(response_as, body, **kwargs):
    return decoder(response_as)(answer(body.encode() if isinstance(body, str) else body, **kwargs))


# The result


def test_a_result_is_a_tuple_of_three_and_all_the_rest_by_name():
    ctx = answer(b"[1]")
    ctx[RES_HTTP].elapsed, ctx[RES_HTTP].url = 0.5, "https://h/after"
    result = Result([1], ctx)
    body, status_code, headers = result
    assert len(result) == 3
    assert (body, status_code, headers) == (result.body, result.status_code, result.headers)
    assert (result.body, result.status_code) == ([1], 200)
    assert result.headers["content-type"] == "application/json"
    assert result.request is ctx[REQ_HTTP]
    assert result.response is ctx[RES_HTTP]
    assert (result.url, result.elapsed, result.attempts) == ("https://h/after", 0.5, [])
    ctx[ATTEMPTS] = [{"status": 503}, {"status": 200}]
    assert result.attempts == ctx[ATTEMPTS]
    assert repr(result) == "<Result 200 of <Request GET https://h/users>: [1]>"


def test_the_repr_of_a_result_is_short():
    assert len(repr(Result("x" * 10_000, answer()))) < 200


# The functions


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("status", [200, 204, 304, 404, 500])
def test_an_empty_body_is_none(function, status):
    assert function(answer(b"", status)) is None


@pytest.mark.parametrize("function", FUNCTIONS[2:])
def test_an_error_status_is_never_a_decode_error(function):
    assert function(answer(b'{"error": "x"}', 404)) == {"error": "x"}
    assert function(answer(b'{"error": "x"}', 404, "application/problem+json; charset=utf-8")) == {"error": "x"}
    assert function(answer(b'{"error": "x"}', 404, "text/plain")) == '{"error": "x"}'
    assert function(answer("grün".encode("latin-1"), 502, "text/html; charset=latin-1")) == "grün"
    assert function(answer(b"\xff\xfe", 500, None)) == "��"
    assert function(answer(b'{"cut', 500)) == '{"cut'


@pytest.mark.parametrize(
    ("function", "body"),
    [
        (json_response, b"<html>"),
        (json_response, b'{"a": 1'),
        (json_response, b"\xff"),
        (json_response, b"[" * 100_000),
        (xmltodict_response, b"no xml"),
        (xmltodict_response, b"<a><b></a>"),
        (xmltodict_response, b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'),
        (html_response, b"<!-- nothing -->"),
        (html_response, b"   "),
        (decoder(int), b"{}"),
        (decoder(int), b"x"),
    ],
)
def test_a_success_that_does_not_decode_is_an_error_with_all_there_is_to_know(function, body):
    ctx = answer(body, 201, "text/x; charset=utf-8")
    with pytest.raises(errors.DecodeError) as caught:
        function(ctx)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.status_code, error.content_type, error.head) == (201, "text/x; charset=utf-8", body[:200])
    assert error.problems
    assert (error.request, error.response) == (ctx[REQ_HTTP], ctx[RES_HTTP])
    assert error.__cause__ is not None
    assert "cannot decode the body of a 201 text/x" in str(error)


def test_raw_and_text():
    assert raw_response(answer(b"\0\xff")) == b"\0\xff"
    assert text_response(answer("grün".encode())) == "grün"
    assert text_response(answer("grün".encode("utf-16"), content_type='text/plain; charset="UTF-16"')) == "grün"
    assert text_response(answer("grün".encode(), content_type="text/plain; charset=nonsense")) == "grün"
    assert raw_response(answer(b"x", 500)) == b"x"
    assert decoder(None) is raw_response
    assert decoder(text_response) is text_response


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_is_read_in_every_encoding_it_may_have(encoding):
    assert json_response(answer('{"a": "ü"}'.encode(encoding))) == {"a": "ü"}


def test_html_has_xpath():
    page = html_response(answer(b"<p>one<p>two", content_type="text/html"))
    assert page.xpath("//p/text()") == ["one", "two"]


@pytest.mark.parametrize(
    ("header", "meta", "encoding"),
    [
        ("utf-8", "", "utf-8"),
        ("latin-1", "", "latin-1"),
        ("", '<meta charset="utf-8">', "utf-8"),
        ("", '<meta charset="latin-1">', "latin-1"),
        ("", '<meta charset="cp1251">', "cp1251"),
        ("utf-8", '<meta charset="cp1251">', "utf-8"),
    ],
)
def test_html_is_in_the_charset_of_its_header_or_else_of_its_own(header, meta, encoding):
    word = "привет" if encoding == "cp1251" else "grün"
    content_type = f"text/html; charset={header}" if header else "text/html"
    page = html_response(answer(f"{meta}<p>{word}</p>".encode(encoding), content_type=content_type))
    assert page.xpath("string(//p)") == word


def test_xml_is_a_dict():
    assert xmltodict_response(answer(b"<a><b>1</b><b>2</b></a>")) == {"a": {"b": ["1", "2"]}}


@pytest.mark.parametrize(
    ("function", "module", "extra"),
    [(html_response, "lxml", "html"), (xmltodict_response, "xmltodict", "xml")],
)
def test_what_is_missing_names_the_extra(monkeypatch, function, module, extra):
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == module:
            raise ImportError(name=module)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module} is not installed: pip install 'formation\[{extra}\]'") as caught:
        function(answer(b"<a/>"))
    assert caught.value.name.startswith(module)


def test_types_without_cattrs_name_the_extra(monkeypatch):
    for cached in (responses._typed, responses._converter):
        monkeypatch.setattr(responses, cached.__name__, cached.__wrapped__)
    monkeypatch.setitem(sys.modules, "cattrs.preconf.json", None)
    with pytest.raises(ImportError, match=r"^cattrs is not installed: pip install 'formation\[requests\]'$"):
        decoder(dict[str, int])


# Types


class Kind(Enum):
    A = "a"


@define
class User:
    id: int
    name: str
    email: str | None = None


@dataclass
class Repo:
    name: str
    owner: User
    tags: list[str]
    created: datetime
    day: date
    key: UUID
    kind: Kind = Kind.A


class Movie(TypedDict):
    title: str
    year: int


@define
class Page(Generic[T]):
    items: list[T]


class Model(pydantic.BaseModel):
    id: int
    when: datetime
    parent: "Model | None" = None


REPO = """{"name": "r", "owner": {"id": 1, "name": "ann"}, "tags": ["x"], "created": "2026-11-01T10:30:00+00:00",
"day": "2026-11-01", "key": "12345678-1234-5678-1234-567812345678", "kind": "a", "unknown": [1]}"""
UUID_ = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
THE_REPO = Repo("r", User(1, "ann"), ["x"], datetime(2026, 11, 1, 10, 30, tzinfo=UTC), date(2026, 11, 1), UUID_, Kind.A)


@pytest.mark.parametrize(
    ("wanted", "body", "value"),
    [
        (User, '{"id": 1, "name": "ann"}', User(1, "ann")),
        (User, '{"id": 1, "name": "ann", "more": 1}', User(1, "ann")),
        (list[User], '[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]', [User(1, "a"), User(2, "b")]),
        (Repo, REPO, THE_REPO),
        (list[Repo], f"[{REPO}]", [THE_REPO]),
        (dict[str, User], '{"x": {"id": 1, "name": "ann"}}', {"x": User(1, "ann")}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (User | None, "null", None),
        (User | None, '{"id": 1, "name": "ann"}', User(1, "ann")),
        (Union[User, None], '{"id": 1, "name": "ann"}', User(1, "ann")),  # noqa: UP007  the older spelling
        (User | Repo, REPO, THE_REPO),
        (Movie, '{"title": "x", "year": 1}', {"title": "x", "year": 1}),
        (Page[User], '{"items": [{"id": 1, "name": "ann"}]}', Page([User(1, "ann")])),
        (Model, '{"id": 1, "when": "2026-11-01T12:00:00Z"}', Model(id=1, when=NOON)),
        (list[Model], '[{"id": 1, "when": "2026-11-01T12:00:00Z", "parent": null}]', [Model(id=1, when=NOON)]),
        (int, "1", 1),
        (float, "1.5", 1.5),
        (str, '"a"', "a"),
        (dict, '{"a": [1]}', {"a": [1]}),
        (list, "[1]", [1]),
        (date, '"2026-11-01"', date(2026, 11, 1)),
        (time, '"10:30:00"', time(10, 30)),
        (Decimal, '"1.10"', Decimal("1.10")),
        (Decimal, "1.5", Decimal("1.5")),
        (Any, "[1]", [1]),
        (Kind, '"a"', Kind.A),
        (Literal["a", "b"], '"b"', "b"),
    ],
)  # fmt: skip
def test_a_type_is_made_of_json(wanted, body, value):
    found = made(wanted, body)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("wanted", "body", "problem"),
    [
        (User, '{"id": 1}', "name"),
        (User, '{"id": "x", "name": "ann"}', "body.id"),
        (list[User], '[{"id": 1, "name": "a"}, {"id": "x", "name": "b"}]', "body[1].id"),
        (Repo, REPO.replace('"id": 1', '"id": []'), "body.owner.id"),
        (Repo, REPO.replace("2026-11-01T10", "yesterday"), "body.created"),
        (Repo, REPO.replace('"kind": "a"', '"kind": "z"'), "body.kind"),
        (dict[str, int], '{"a": 1, "b": "x"}', "body['b']"),
        (User, "[]", "body"),
        (User, "3", "body"),
        (User, "null", "body"),
        (Model, '{"id": "x", "when": "2026-11-01"}', "body.id"),
        (list[Model], '[{"id": 1, "when": "2026-11-01", "parent": {"id": 2}}]', "body[0].parent.when"),
        (Kind, '"z"', "body"),
    ],
)
def test_a_structure_that_does_not_fit_names_the_path_of_the_field(wanted, body, problem):
    with pytest.raises(errors.DecodeError) as caught:
        made(wanted, body)
    assert any(problem in each for each in caught.value.problems), caught.value.problems
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert caught.value.head == body.encode()[:200]


def test_every_wrong_field_is_named():
    with pytest.raises(errors.DecodeError) as caught:
        made(list[User], '[{"id": "x", "name": "a"}, {"name": "b"}]')
    assert len(caught.value.problems) == 2
    with pytest.raises(errors.DecodeError) as caught:
        made(Model, '{"id": "x"}')
    assert len(caught.value.problems) == 2


def test_a_model_may_find_the_whole_wrong():
    class Span(pydantic.BaseModel):
        start: int
        end: int

        @pydantic.model_validator(mode="after")
        def ordered(self):
            if self.end < self.start:
                raise ValueError("ends before it starts")
            return self

    assert made(Span, '{"start": 1, "end": 2}') == Span(start=1, end=2)
    with pytest.raises(errors.DecodeError) as caught:
        made(list[Span], '[{"start": 2, "end": 1}]')
    assert caught.value.problems == ("Value error, ends before it starts @ body[0]",)


def test_an_error_status_is_not_made_into_a_type():
    assert made(User, '{"error": "x"}', status=404) == {"error": "x"}
    assert made(User, "nope", status=500, content_type="text/plain") == "nope"


def test_a_validator_of_ones_own_is_heard():
    @define
    class Positive:
        n: int = attrs.field(validator=attrs.validators.gt(0))

    assert made(Positive, '{"n": 1}') == Positive(1)
    with pytest.raises(errors.DecodeError, match="must be > 0"):
        made(Positive, '{"n": -1}')


def test_a_type_that_nobody_can_make_is_refused_before_anything_is_sent():
    class Opaque:
        pass

    for wanted in (Opaque, list[Opaque], User | Movie):
        with pytest.raises(TypeError, match="nobody knows how to make"):
            decoder(wanted)


@pytest.mark.parametrize("error", [TypeError, RuntimeError, KeyError])
def test_an_error_without_words_is_an_error_all_the_same(error):
    def check(instance, attribute, value):
        raise error

    @define
    class Strict:
        n: int = attrs.field(validator=check)

    with pytest.raises(errors.DecodeError) as caught:
        made(Strict, '{"n": 1}')
    assert caught.value.problems
    assert isinstance(caught.value.__cause__, Exception)


def test_the_function_of_a_type_is_made_once():
    assert decoder(list[User]) is decoder(list[User])


def test_what_is_a_type_and_what_is_a_function():
    assert all(map(is_type, [User, list[int], int | None, Union[int, None], Page[User], dict]))  # noqa: UP007
    assert not any(map(is_type, [json_response, None, "x", lambda ctx: ctx]))


def test_what_json_can_say_of_a_structure():
    assert unstructured(User(1, "ann")) == {"id": 1, "name": "ann", "email": None}
    assert unstructured(THE_REPO)["created"] == "2026-11-01T10:30:00+00:00"
    assert unstructured(THE_REPO)["kind"] == "a"
    assert unstructured(Model(id=1, when=datetime(2026, 11, 1, tzinfo=UTC)))["when"] == "2026-11-01T00:00:00Z"
    ann = User(1, "ann")
    assert unstructured([ann, {"users": (ann, 2)}]) == [unstructured(ann), {"users": [unstructured(ann), 2]}]
    for value in ({"a": 1}, [1, 1.5, True], "x", 1, None):
        assert unstructured(value) == value
    other = object()  # json tells what it cannot say
    assert unstructured(other) is other

    @define
    class Order:
        key: UUID
        price: Decimal
        at: time
        model: Model

    order = Order(UUID_, Decimal("1.10"), time(10, 30), Model(id=1, when=NOON))
    assert unstructured(order) == {
        "key": str(UUID_),
        "price": "1.10",
        "at": "10:30:00",
        "model": {"id": 1, "when": "2026-11-01T12:00:00Z", "parent": None},
    }
    assert made(Order, json.dumps(unstructured(order))) == order
