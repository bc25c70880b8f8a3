import io

import pytest

from formation.for_requests import build
from formation.http import Request
from formation.middleware import content_type
from tests.middleware.worlds import every_lift, every_world

FORM = "application/x-www-form-urlencoded"

CASES = {
    "bytes": ({"content": b"a"}, "text/csv"),
    "text": ({"content": "a"}, "text/csv"),
    "bytes given as data": ({"data": b"a"}, "text/csv"),
    "a file": ({"content": io.BytesIO(b"a")}, "text/csv"),
    "a stream": ({"content": [b"a"]}, "text/csv"),
    "no body at all": ({}, "text/csv"),
    "JSON, which has many names": ({"json": {"a": 1}}, "text/csv"),
    "a form keeps its own": ({"data": {"a": "1"}}, FORM),
    "a form of pairs keeps its own": ({"data": [("a", "1")]}, FORM),
    "the header of the call wins": ({"content": b"a", "headers": {"CONTENT-TYPE": "text/plain"}}, "text/plain"),
    "the header of the call wins over JSON": ({"json": 1, "headers": {"content-type": "text/plain"}}, "text/plain"),
    "the header of the call wins, if it is JSON's": (
        {"json": 1, "headers": {"content-type": "application/json"}},
        "application/json",
    ),
}


@every_world
@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES)
def test_fills_what_is_unset(world, body, expected):
    ctx = {"fmtn.req.http": Request("POST", "https://h/", **body)}
    sent = []

    def endpoint(ctx):
        request = ctx["fmtn.req.http"]
        request.body  # noqa: B018  as what sends it does
        sent.append(request.headers.getlist("Content-Type"))
        return ctx

    assert world(content_type("text/csv"), ctx, endpoint) is ctx
    assert sent == [[expected]]


def test_a_multipart_form_keeps_its_boundary():
    request = Request("POST", "https://h/", files={"f": ("a.txt", b"a")})
    content_type("text/csv")({"fmtn.req.http": request}, lambda ctx: ctx)
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")


def test_does_not_read_a_stream():
    request = Request("POST", "https://h/", content=iter([b"a", b"b"]))
    content_type("text/csv")({"fmtn.req.http": request}, lambda ctx: ctx)
    assert list(request.body) == [b"a", b"b"]


@every_world
def test_passes_a_context_without_a_request_through(world):
    assert world(content_type("text/csv"), {"n": 1}, lambda ctx: {**ctx, "n": 2}) == {"n": 2}


@every_lift
def test_passes_a_plain_function_through(lifted):
    assert lifted([content_type("text/csv")], len, "four")[0] == 4


@pytest.mark.parametrize(
    ("mime", "error"),
    [
        (None, TypeError),
        (b"text/csv", TypeError),
        ("", ValueError),
        ("csv", ValueError),
        ("text/csv\r\nX-Evil: 1", ValueError),
        ("text/☃", ValueError),
    ],
)
def test_refuses_what_is_no_media_type_when_it_is_given(mime, error):
    with pytest.raises(error):
        content_type(mime)


def test_says_what_it_expected():
    with pytest.raises(ValueError, match="expected a media type such as 'application/json', got 'csv'"):
        content_type("csv")


def test_a_client_sends_it_and_a_call_overrides_it(server):
    merge_patch = "application/merge-patch+json"
    with build(base_uri=server.url, middleware=[content_type(merge_patch)]) as api, server.watch() as seen:
        api.patch("/echo", json={"a": 1})
        api.patch("/echo", json={"a": 1}, headers={"content-type": "application/json"})
        api.post("/echo", data={"a": "1"})
    assert [request.header("Content-Type") for request in seen.requests] == [merge_patch, "application/json", FORM]
    assert seen.requests[0].body == b'{"a":1}'
