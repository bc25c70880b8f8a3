"""The body of a request: one of four, another in its place, and what a server has got."""

import dataclasses
import io
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from formation.errors import BodyTooLarge
from formation.http import Body, Headers, Request
from formation.http.media_types import FORM_TYPE, JSON_TYPE

URL = "https://h.example/users"


def post(**settings):
    return Request("POST", URL, **settings)


# --- one body ---


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"content": b"", "data": {}}, "content and data"),
        ({"content": b"", "json": 1}, "content and json"),
        ({"data": {}, "json": 0}, "data and json"),
        ({"content": b"", "files": {}}, "content and files"),
        ({"json": [], "files": {}}, "json and files"),
        ({"content": "", "data": "", "json": "", "files": ()}, "content and data and json and files"),
        ({"data": {}, "json": 1, "files": {}}, "data and json and files"),
    ],
)
def test_a_request_has_one_body(given, names):
    with pytest.raises(TypeError, match=f"a request has one body: .* got {names}$"):
        post(**given)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"bytes", b"bytes"),
        ("grün", "grün".encode()),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        ([b"a", b"b"], b"ab"),
        ((b"a", b"b"), b"ab"),
        (lambda: io.BytesIO(b"file"), b"file"),
        (lambda: iter([b"a", b"b"]), b"ab"),
        (Body(b"body"), b"body"),
        (None, b""),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("name", ["content", "data"])
def test_content_is_sent_as_it_is(name, content, expected):
    request = post(**{name: content})
    assert request.content == expected
    assert "Content-Type" not in request.headers


def test_content_may_be_a_file_or_an_iterator():
    assert post(content=io.BytesIO(b"file")).content == b"file"
    assert post(data=io.BytesIO(b"file")).content == b"file"
    assert post(content=iter([b"a", b"b"])).content == b"ab"
    assert post(content=(chunk for chunk in [b"a", b"b"])).content == b"ab"


def test_what_can_be_iterated_is_not_called():
    class Both:
        def __iter__(self):
            return iter([b"iterated"])

        def __call__(self):
            raise NotImplementedError

    assert post(content=Both()).content == b"iterated"


def test_an_async_file_is_a_stream():
    class AsyncFile:
        async def read(self, size):
            raise NotImplementedError

        def __aiter__(self):
            raise NotImplementedError

    source = AsyncFile()
    assert post(content=source).body.native is source
    assert post(content=source).body.is_async


@pytest.mark.parametrize("content", [5, 1.5, object(), {"a": 1}])
def test_what_is_no_body_is_refused(content):
    with pytest.raises(TypeError, match="expected bytes, str, a binary file or an iterable of bytes as body"):
        post(content=content).body  # noqa: B018  made when somebody looks


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"a": "1 2", "b": ["x", "y"], "c": None}, b"a=1+2&b=x&b=y"),
        ([("a", 1), ("a", 2)], b"a=1&a=2"),
        ((("a", 1),), b"a=1"),
        ({}, b""),
        ([], b""),
        (MultiDict([("a", "1"), ("a", "2")]), b"a=1&a=2"),
        (attrs.make_class("Form", ["a"])("é"), b"a=%C3%A9"),
        (dataclasses.make_dataclass("Form", ["a"])(a=True), b"a=true"),
    ],
)
def test_fields_are_sent_as_a_form(data, expected):
    request = post(data=data)
    assert request.content == expected
    assert request.headers["Content-Type"] == FORM_TYPE
    assert request.data is data


@pytest.mark.parametrize("value", [{"ä": [1, None, True]}, [], {}, 0, False, "", "null", 1.5, [1, [2]]])
def test_json_is_sent_compact_and_in_utf_8(value):
    request = post(json=value)
    assert json.loads(request.content) == value
    assert b" " not in request.content
    assert request.headers["Content-Type"] == JSON_TYPE
    assert request.json is value


def test_json_is_readable_on_the_wire():
    assert post(json={"name": "Jürgen"}).content == '{"name":"Jürgen"}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        post(json=value).body  # noqa: B018
    with pytest.raises(TypeError, match="not JSON serializable"):
        post(json={1, 2}).body  # noqa: B018


def test_files_are_sent_as_a_multipart_form():
    request = post(data={"a": "1"}, files={"f": ("f.txt", b"content")})
    content_type, content = request.headers.get("Content-Type"), request.content
    assert content_type is None  # nobody has looked at the body before
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert request.headers["Content-Type"].partition("=")[2].encode() in content
    assert b"content" in content
    assert b'name="a"' in content


def test_a_content_type_of_ones_own_stays():
    for body in ({"json": {}}, {"data": {}}):
        request = post(headers={"content-type": "application/vnd.api+json"}, **body)
        request.body  # noqa: B018
        assert request.headers.getlist("Content-Type") == ["application/vnd.api+json"]


def test_a_boundary_is_always_that_of_the_form():
    for content_type in ("multipart/form-data", "Multipart/Form-Data; boundary=other"):
        request = post(headers={"Content-Type": content_type}, files={"f": b"1"})
        boundary = request.body.native.boundary
        assert request.headers.getlist("Content-Type") == [f"multipart/form-data; boundary={boundary}"]
    request = post(headers={"Content-Type": "multipart/mixed; boundary=x"}, files={"f": b"1"})
    request.body  # noqa: B018
    assert request.headers["Content-Type"] == "multipart/mixed; boundary=x"


# --- another body ---

BODIES = {
    "content": (b"content", None),
    "json": ({"a": 1}, JSON_TYPE),
    "data": ({"a": 1}, FORM_TYPE),
    "files": ({"f": b"1"}, "multipart/form-data"),
}


@pytest.mark.parametrize("looked", [True, False], ids=["looked", "unseen"])
@pytest.mark.parametrize("second", BODIES)
@pytest.mark.parametrize("first", BODIES)
def test_a_body_takes_the_place_of_another_and_its_type_goes_with_it(first, second, looked):
    request = post(**{first: BODIES[first][0]})
    if looked:
        request.body  # noqa: B018
    value, content_type = BODIES[second]
    if second == "data" and first == "files":
        content_type = "multipart/form-data"  # they go together
    setattr(request, second, value)
    content = request.content
    assert request.headers.get("Content-Type", "").partition(";")[0] == (content_type or "")
    assert len(request.headers.getlist("Content-Type")) == (content_type is not None)
    if {first, second} == {"data", "files"}:
        assert b'name="a"' in content
        assert b'name="f"' in content
    else:
        assert content == post(**{second: value}).content or second == "files"
        for other in {"data", "files"} - {second}:
            assert getattr(request, other) is None


def test_a_body_that_brings_its_type_replaces_a_type_of_that_kind_whoever_gave_it():
    request = post(headers={"Content-Type": "application/json; charset=utf-8"}, content=b"{}")
    request.data = {"a": 1}
    assert (request.content, request.headers["Content-Type"]) == (b"a=1", FORM_TYPE)
    request = post(headers={"Content-Type": "application/vnd.api+json"}, content=b"{}")
    request.json = {"a": 1}
    assert (request.content, request.headers["Content-Type"]) == (b'{"a":1}', "application/vnd.api+json")


def test_content_keeps_a_type_that_somebody_gave():
    request = post(headers={"Content-Type": JSON_TYPE}, content=b"{}")
    request.content = b"[]"
    assert request.headers["Content-Type"] == JSON_TYPE
    request.body = b"{ }"
    assert request.headers["Content-Type"] == JSON_TYPE


def test_none_takes_the_body_away():
    for name, (value, _) in BODIES.items():
        request = post(**{name: value})
        request.body  # noqa: B018
        request.content = None
        assert request.content == b""
        assert "Content-Type" not in request.headers
    request = post(data={"a": 1}, files={"f": b"1"})
    request.files = None
    assert request.content == b"a=1"


def test_content_length_is_made_to_fit_another_body():
    request = post(headers={"Content-Length": "3"}, content=b"abc")
    request.content = b"abcdef"
    assert request.headers["Content-Length"] == "6"
    request.json = {}
    assert request.headers["Content-Length"] == "2"
    request.content = iter([b"?"])
    assert "Content-Length" not in request.headers


def test_a_content_length_that_does_not_fit_is_put_right():
    request = post(headers={"Content-Length": "3"}, content=b"abcdef")
    request.body  # noqa: B018
    assert request.headers["Content-Length"] == "6"


def test_content_length_of_a_stream_that_was_received_stays():
    request = post(headers={"Content-Length": "6"}, content=Body(iter([b"abcdef"])))
    assert request.content == b"abcdef"
    assert request.headers["Content-Length"] == "6"


def test_maps_of_a_body_change_content_length():
    request = post(headers={"Content-Length": "3"}, content=b"abc")
    request.body.map(lambda chunk: chunk * 2)
    assert (request.content, request.headers["Content-Length"]) == (b"abcabc", "6")
    request = post(headers={"Content-Length": "3"}, content=Body(iter([b"abc"])))
    request.body.map(bytes.upper)
    assert "Content-Length" not in request.headers


def test_a_part_of_something_is_not_mapped():
    request = Request("PUT", URL, headers={"Content-Range": "bytes 0-2/9"}, content=b"abc")
    request.body.map(bytes.upper)
    assert request.content == b"abc"


def test_a_generator_over_the_body_takes_its_place():
    def shouted(body):
        for chunk in body:
            yield chunk.upper()

    ended = []
    request = post(content=iter([b"a", b"b"]))
    request.body.on_close(lambda count, error: ended.append((count, error)))
    request.body = shouted(request.body)
    assert request.content == b"AB"
    assert ended == [(2, None)]


def test_a_body_that_is_replaced_is_closed_with_the_new_one():
    closed = []
    request = post(content=Body(iter([b"a"]), close=lambda: closed.append(1), limit=5))
    request.body  # noqa: B018
    request.content = [b"b" * 10]
    with pytest.raises(BodyTooLarge):
        request.content  # noqa: B018  the limit is that of the old one
    assert closed == [1]


def test_a_body_that_nobody_has_looked_at_is_closed_with_the_one_in_its_place():
    for name in ("content", "data"):
        closed = []
        request = post(**{name: Body(iter([b"a"]), close=lambda: closed.append(1))})  # noqa: B023
        request.content = b"b"
        assert closed == []
        assert list(request.body) == [b"b"]
        assert closed == [1]


def test_assigning_the_body_to_itself_changes_nothing():
    request = post(json={"a": 1})
    body = request.body
    request.body = body
    assert request.body is body
    assert request.headers["Content-Type"] == "application/json"
    assert list(body) == [b'{"a":1}']


@pytest.mark.parametrize("given", [{"content": b"a"}, {"json": 1}, {"data": {"a": "b"}}, {"content": iter([b"a"])}])
def test_a_digest_goes_with_the_body_that_it_was_made_of(given):
    for change in (lambda request: request.body.map(bytes.upper), lambda request: setattr(request, "content", b"b")):
        request = post(headers={"Content-Digest": "sha-256=:x:", "Repr-Digest": "sha-256=:x:", "A": "1"}, **given)
        request.body  # noqa: B018  which changes nothing
        assert "Content-Digest" in request.headers
        change(request)
        assert set(request.headers) & {"Content-Digest", "Repr-Digest", "A"} == {"A"}


def test_a_digest_that_was_there_before_the_body_is_that_of_the_body():
    request = post(headers={"Content-Digest": "sha-256=:x:"})
    request.content = b"abc"
    assert request.headers["Content-Digest"] == "sha-256=:x:"


def test_values_are_not_compared_to_see_whether_there_is_a_body():
    class Odd(list):
        def __eq__(self, other):
            raise AssertionError

        __hash__ = None

    request = post(content=Odd([b"a"]))
    assert request.fork().content == b"a"


# --- as a server has it ---


def received(body=b"", content_type=None, **settings):
    headers = Headers.received([("Content-Type", content_type)] if content_type else [])
    return Request("POST", URL, headers=headers, content=Body(iter([body]), **settings), peer="192.0.2.1", deadline=5.0)


def test_a_received_body_is_read_on_demand_and_stays():
    request = received(b'{"a": 1}', "application/json")
    assert not request.body.is_bytes
    assert request.json == {"a": 1}
    assert (request.content, request.text) == (b'{"a": 1}', '{"a": 1}')
    assert list(request.body) == [b'{"a": 1}']
    assert (request.peer, request.deadline) == ("192.0.2.1", 5.0)


def test_a_received_body_has_a_limit():
    with pytest.raises(BodyTooLarge):
        received(b"x" * 10, limit=5).content  # noqa: B018


@pytest.mark.parametrize("content", [b"{", b"nope", b"\xff", b'{"a": 1} x', b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(content):
    with pytest.raises(ValueError):  # noqa: PT011  json's own, and ours
        received(content).json  # noqa: B018


def test_json_that_nests_too_deep_says_so():
    with pytest.raises(ValueError, match="nested too deep"):
        received(b"[" * 100_000).json  # noqa: B018


def test_an_empty_body_is_no_json():
    assert received(b"").json is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(values)
def test_json_says_what_was_given(value):
    request = post(json=value)
    sent = received(request.content).json
    assert sent == value
