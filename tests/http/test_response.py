"""Responses: what they say, how their bodies change, and what their headers say then."""

import asyncio
import copy
import gc
import gzip
import io
import json
import pickle
import weakref
import zlib
from contextlib import suppress
from http import HTTPStatus

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.errors import BodyAbandoned, BodyConsumed, BodyTooLarge, DecodeError
from formation.http import Body, Headers, Request, Response

URL = "https://h.example/users?token=s3cret"
BODILESS = [100, 101, 103, 199, 204, 205, 304]


def answered(status=200, headers=None, body=b"", *, method="GET", **settings):
    """A response as a client has it: it knows its request."""
    return Response(status, headers, body, request=Request(method, URL), url=URL, **settings)


class Ends(list):
    def __call__(self, count, error):
        self.append((count, type(error)))


def shouted(body):
    for chunk in body:
        yield chunk.upper()


# --- what it says ---


def test_a_response_needs_no_more_than_a_status():
    response = Response(204)
    assert (response.status_code, response.code, response.reason, response.ok) == (204, 204, "No Content", True)
    assert response.headers == Headers()
    assert (response.content, response.text) == (b"", "")
    assert (response.request, response.url, response.name, response.elapsed) == (None, "", "", None)
    assert (response.history, response.trailers, response.extensions) == ((), None, {})


def test_arguments_may_be_named_or_not():
    positional = Response(200, {"A": "1"}, b"x")
    named = Response(status_code=200, headers={"A": "1"}, body=b"x")
    for response in (positional, named):
        assert (response.status_code, dict(response.headers), response.content) == (200, {"A": "1"}, b"x")


@pytest.mark.parametrize("status", [100, 200, 299, 599, 600, 999, HTTPStatus.NOT_FOUND])
def test_a_status_is_a_number_from_100_to_999(status):
    response = Response(status)
    assert response.status_code == status
    assert type(response.status_code) is int


@pytest.mark.parametrize("status", [0, 99, 1000, -1, True, "200", 200.0, None])
def test_anything_else_is_no_status(status):
    with pytest.raises(ValueError, match="expected a status code from 100 to 999, got"):
        Response(status)
    response = Response(200)
    with pytest.raises(ValueError, match="expected a status code"):
        response.status_code = status
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("status", "ok"), [(100, True), (200, True), (304, True), (399, True), (400, False), (503, False)]
)
def test_what_is_below_400_is_ok(status, ok):
    assert Response(status).ok is ok


@pytest.mark.parametrize(("status", "reason"), [(200, "OK"), (418, "I'm a Teapot"), (299, ""), (599, ""), (999, "")])
def test_the_reason_is_the_standard_one(status, reason):
    assert Response(status).reason == reason


def test_a_reason_that_was_given_stays_with_its_status():
    response = Response(200, reason="Fine")
    assert response.reason == "Fine"
    response.status_code = 200
    assert response.reason == "Fine"
    response.status_code = 404
    assert response.reason == "Not Found"
    response.reason = "Nowhere"
    assert response.reason == "Nowhere"


@pytest.mark.parametrize("reason", ["OK\r\nX-Evil: 1", "\0", "\n"])
def test_a_reason_cannot_start_a_header(reason):
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        Response(200, reason=reason)
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        Response(200).reason = reason


def test_the_name_is_that_of_the_request():
    request = Request("GET", URL, template="/users")
    assert Response(200, request=request).name == "GET /users"


def test_a_history_is_a_tuple():
    first = Response(302)
    assert Response(200, history=[first]).history == (first,)


def test_what_is_given_is_not_kept():
    headers, extensions = Headers({"A": "1"}), {"a": 1}
    first, second = (Response(200, headers, extensions=extensions) for _ in range(2))
    first.headers["A"] = first.extensions["a"] = "2"
    assert (headers["A"], extensions["a"]) == ("1", 1)
    assert (second.headers["A"], second.extensions["a"]) == ("1", 1)
    first.headers, first.extensions = headers, extensions
    first.headers["A"] = first.extensions["a"] = "3"
    assert (headers["A"], extensions["a"]) == ("1", 1)
    first.extensions = None
    assert first.extensions == {}


def test_assigning_a_mapping_of_headers_keeps_the_lines_that_did_not_change():
    response = Response(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "1")])
    response.headers = {**response.headers, "X": "2"}
    assert list(response.headers.items()) == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "2")]
    response.headers = response.headers
    assert response.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    response.headers = None
    assert response.headers == Headers()


@pytest.mark.parametrize("headers", [{"A": "a\r\nB: 1"}, [("A\n", "1")], {"A": "\0"}])
def test_no_header_breaks_the_message_however_it_is_given(headers):
    with pytest.raises(ValueError, match="header"):
        Response(200, headers)
    with pytest.raises(ValueError, match="header"):
        Response(200).headers = headers


def test_a_repr_shows_no_secret():
    response = answered(200, {"Set-Cookie": "s3cret"}, b"s3cret")
    assert repr(response) == "<Response 200 of https://h.example/users>"
    assert repr(Response(404)) == "<Response 404>"


# --- JSON ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
def test_json_is_found_in_any_unicode_encoding_whatever_the_type_says(encoding):
    response = Response(200, {"Content-Type": "text/plain; charset=latin-1"}, '{"a": "ü"}'.encode(encoding))
    assert response.json() == {"a": "ü"}


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"{", b"\xff\xfe\xfa", b"[" * 100_000, b"1" * 5000, b'{"a": 1} and more']
)
def test_what_is_no_json_is_a_decode_error_that_shows_the_start(content):
    response = answered(200, {"Content-Type": "application/json"}, content)
    with pytest.raises(DecodeError) as caught:
        response.json()
    error = caught.value
    assert (error.status_code, error.content_type, error.head) == (200, "application/json", content[:200])
    assert error.request is response.request
    assert error.response is response
    assert len(error.problems) == 1
    assert error.problems[0] in str(error)
    assert isinstance(error.__cause__, (ValueError, RecursionError))


def test_a_decode_error_can_tell_of_many_problems():
    error = Response(200, body=b"{}").undecodable("a: required", "b: no int")
    assert "a: required; b: no int" in str(error)


# --- the body ---


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"bytes", b"bytes"),
        ("grün", "grün".encode()),
        (bytearray(b"array"), b"array"),
        (None, b""),
        ([b"a", b"b"], b"ab"),
        (Body(b"body"), b"body"),
    ],
)
def test_a_body_is_whatever_bytes_can_be_made_of(body, content):
    assert Response(200, body=body).content == content


def test_what_is_no_body_is_refused():
    with pytest.raises(TypeError, match="expected bytes, str, a binary file or an iterable"):
        Response(200, body=5)
    with pytest.raises(TypeError, match="expected bytes, str, a binary file or an iterable"):
        Response(200).body = {"a": 1}


def test_what_nobody_touched_is_the_very_object_that_was_given():
    source = [b"a"]
    response = Response(200, body=source)
    response.headers["X"] = "1"
    response.status_code = 201
    assert response.body.native is source
    body = Body(source)
    assert Response(200, body=body).body is body


def test_a_stream_that_was_read_may_be_read_again():
    response = Response(200, body=iter([b"a", b"b"]))
    assert (response.content, response.text, response.content) == (b"ab", "ab", b"ab")
    assert list(response.body) == [b"ab"]


def test_a_stream_that_was_iterated_may_not():
    response = Response(200, body=iter([b"a", b"b"]))
    list(response.body)
    with pytest.raises(BodyConsumed):
        response.content  # noqa: B018


def test_a_file_is_sent_and_closed():
    file = io.BytesIO(b"abc")
    assert list(Response(200, body=file).body) == [b"abc"]
    assert file.closed


def test_the_limit_of_the_body_holds():
    with pytest.raises(BodyTooLarge):
        Response(200, body=Body([b"x" * 10], limit=5)).content  # noqa: B018


# --- when it ends ---


def test_what_a_server_sends_ends_when_it_is_sent():
    for body in (b"abc", "abc", [b"abc"], Body(b"abc")):
        response, ends = Response(200, body=body), Ends()
        response.on_close(ends)
        assert ends == []
        assert list(response.body) == [b"abc"]
        assert ends == [(3, type(None))]
        response.close()
        assert len(ends) == 1


def test_what_is_in_memory_is_had_without_reading():
    assert Response(200, body=b"abc").in_memory == b"abc"
    assert Response(200, body=Body(b"abc")).in_memory == b"abc"
    stream = Response(200, body=iter([b"abc"]))
    assert stream.in_memory is None
    assert (stream.content, stream.in_memory) == (b"abc", b"abc")


def test_what_a_client_has_in_memory_has_ended():
    response, ends = answered(200, body=b"abc"), Ends()
    response.on_close(ends)
    assert ends == [(3, type(None))]
    assert response.body.ended
    assert (response.content, list(response.body)) == (b"abc", [b"abc"])


def test_what_a_client_received_in_one_piece_has_ended():
    response, ends = answered(200), Ends()
    response.receive(b"abc")
    response.on_close(ends)
    assert ends == [(3, type(None))]


def test_what_a_client_received_as_a_stream_ends_when_it_is_read():
    response, ends = answered(200, {"Content-Length": "3", "ETag": '"a"'}), Ends()
    response.receive(Body([b"abc"]))
    response.on_close(ends)
    assert ends == []
    assert response.content == b"abc"
    assert ends == [(3, type(None))]
    assert dict(response.headers) == {"Content-Length": "3", "ETag": '"a"'}


def test_a_body_that_is_still_to_be_sent_may_be_bytes():
    response, ends = answered(200, body=Body(b"abc")), Ends()
    response.on_close(ends)
    assert ends == []
    list(response.body)
    assert ends == [(3, type(None))]


def test_closing_gives_up_what_is_left():
    closed = []
    for close in (Response.close, lambda response: asyncio.run(response.aclose())):
        response, ends = Response(200, body=Body([b"abc"], close=lambda: closed.append(1))), Ends()
        response.on_close(ends)
        close(response)
        close(response)
        assert ends == [(0, BodyAbandoned)]
    assert closed == [1, 1]


def test_closing_what_is_in_memory_does_nothing():
    response = answered(200, body=b"abc")
    response.close()
    asyncio.run(response.aclose())
    assert response.content == b"abc"


# --- when it changes ---


@pytest.mark.parametrize("body", [b"abc", [b"abc"]])
def test_a_map_makes_the_headers_right(body):
    response = Response(200, {"Content-Length": "3", "ETag": '"a"', "Digest": "x", "Content-MD5": "y", "A": "1"}, body)
    response.body.map(lambda chunk: chunk * 2)
    known = {"Content-Length": "6"} if isinstance(body, bytes) else {}
    assert dict(response.headers) == {**known, "ETag": 'W/"a"', "A": "1"}
    assert response.content == b"abcabc"


def test_a_weak_etag_stays_as_it_is():
    response = Response(200, {"ETag": 'W/"a"'}, b"abc")
    response.body.map(bytes.upper)
    response.body.map(bytes.lower)
    assert response.headers["ETag"] == 'W/"a"'


def test_no_header_is_made_up():
    response = Response(200, body=b"abc")
    response.body.map(bytes.upper)
    response.body = b"other"
    assert response.headers == Headers()


def test_a_compressor_fits():
    compressor = zlib.compressobj(wbits=31)
    response = Response(200, {"Content-Length": "9000"}, iter([b"some text" * 500] * 2))
    response.body.map(compressor.compress, compressor.flush)
    assert "Content-Length" not in response.headers
    assert gzip.decompress(response.content) == b"some text" * 1000


def no_body(**settings):
    headers = {"Content-Length": "3", "ETag": '"a"', **settings.pop("headers", {})}
    return answered(settings.pop("status", 200), headers, settings.pop("body"), **settings)


@pytest.mark.parametrize(
    "which",
    [
        *({"status": status} for status in BODILESS),
        {"method": "HEAD"},
        {"status": 206},
        {"status": 206, "method": "PUT"},
        {"headers": {"Content-Range": "bytes 0-2/9"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("source", [b"abc", [b"abc"], Body])
def test_where_there_is_no_whole_body_it_is_neither_mapped_nor_replaced_nor_are_its_headers(which, source):
    body = Body([b"abc"]) if source is Body else source
    response = no_body(**which, body=body)
    before, content = response.body, response.body.native
    response.body.map(lambda _: b"changed", lambda: b"!")
    response.body = b"changed"
    response.body = shouted(response.body)
    assert response.body is before
    assert response.body.native is content
    assert response.content == b"abc"
    headers = dict(response.headers)
    headers.pop("Content-Range", None)
    assert headers == {"Content-Length": "3", "ETag": '"a"'}


@pytest.mark.parametrize("status", [200, 201, 203, 300, 302, 400, 404, 500])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_any_other_body_is_mapped(status, method):
    response = answered(status, {}, b"abc", method=method)
    response.body.map(bytes.upper)
    assert response.content == b"ABC"


def test_the_method_that_counts_is_that_of_the_request():
    response = Response(200, body=b"abc")
    response.body.map(bytes.upper)
    response.request = Request("HEAD", URL)
    response.body.map(bytes.lower)
    assert response.content == b"ABC"


@pytest.mark.parametrize(
    ("new", "content", "length"),
    [
        (b"other", b"other", "5"),
        ("grün", "grün".encode(), "5"),
        (None, b"", "0"),
        ([b"x"], b"x", None),
        (bytearray(b"xy"), b"xy", "2"),
    ],
)
@pytest.mark.parametrize("old", [b"abc", [b"abc"]])
def test_another_body_makes_the_headers_right(old, new, content, length):
    response = Response(200, {"Content-Length": "3", "ETag": '"a"'}, old)
    response.body = new
    assert response.headers.get("Content-Length") == length
    assert response.headers["ETag"] == 'W/"a"'
    assert response.content == content


@pytest.mark.parametrize("body", [b"abc", [b"ab", b"c"], iter([b"abc"])])
def test_a_generator_over_the_body_takes_its_place(body):
    response, old, new = Response(200, {"Content-Length": "3"}, body), Ends(), Ends()
    response.on_close(old)
    response.body = shouted(response.body)
    response.on_close(new)
    assert "Content-Length" not in response.headers
    assert response.content == b"ABC"
    assert old == new == [(3, type(None))]


def test_a_client_may_pull_from_what_it_has_in_memory():
    response = answered(200, body=b"abc")
    response.body = shouted(response.body)
    assert response.content == b"ABC"


def test_a_generator_that_never_runs_still_closes_what_it_would_have_pulled():
    closed, old, new = [], Ends(), Ends()
    response = Response(200, body=Body([b"abc"], close=lambda: closed.append(1)))
    response.on_close(old)
    for _ in range(3):
        response.body = shouted(response.body)
    response.on_close(new)
    response.close()
    assert closed == [1]
    assert old == new == [(0, BodyAbandoned)]


def test_what_close_could_not_wait_for_is_closed_with_what_takes_its_place():
    closed = []

    async def chunks():
        try:
            yield b"a"
        finally:
            closed.append(1)

    async def main():
        response = Response(200, body=(source := chunks()))
        await anext(source)
        response.close()  # which cannot wait
        assert closed == []
        response.body = b"b"
        await response.aclose()
        return list(closed)

    assert asyncio.run(main()) == [1]


def test_bytes_in_the_place_of_a_stream_close_it_when_they_are_sent():
    closed, old, new = [], Ends(), Ends()
    response = Response(200, body=Body([b"abc"], close=lambda: closed.append(1), limit=5))
    response.on_close(old)
    response.body = b"other"
    response.on_close(new)
    assert response.body.limit == 5
    assert closed == old == new == []
    assert list(response.body) == [b"other"]
    assert closed == [1]
    assert old == [(0, BodyAbandoned)]
    assert new == [(5, type(None))]


def test_bytes_in_the_place_of_bytes_are_just_bytes():
    response = Response(200, {"Content-Length": "3"}, b"abc")
    response.body = b"other"
    assert (response.content, response.headers["Content-Length"]) == (b"other", "5")
    assert list(response.body) == [b"other"]


def test_bytes_in_the_place_of_what_a_client_has_read_have_ended_too():
    response, ends = answered(200, body=b"abc"), Ends()
    assert response.body.ended
    response.body = b"other"
    response.on_close(ends)
    assert ends == [(5, type(None))]


def test_bytes_in_the_place_of_what_a_server_has_read_are_still_to_be_sent():
    response, ends = answered(200, body=Body([b"abc"])), Ends()
    response.body = response.content.upper()
    response.on_close(ends)
    assert ends == []
    assert list(response.body) == [b"ABC"]
    assert ends == [(3, type(None))]


def test_assigning_the_body_to_itself_changes_nothing():
    response = Response(200, {"Content-Length": "3", "ETag": '"a"'}, [b"abc"])
    body = response.body
    response.body = body
    assert response.body is body
    assert dict(response.headers) == {"Content-Length": "3", "ETag": '"a"'}
    assert list(body) == [b"abc"]


def test_the_status_may_be_changed_before_the_body():
    response = answered(304, {"ETag": '"a"'})
    response.status_code, response.body = 200, b"from the cache"
    assert response.content == b"from the cache"


def test_an_async_body_is_closed_by_who_closes_the_one_in_its_place():
    closed = []

    async def source():
        yield b"abc"

    async def close():
        closed.append(1)

    async def main():
        response = Response(200, body=Body(source(), close=close))
        response.body = b"other"
        assert [chunk async for chunk in response.body] == [b"other"]
        response = Response(200, body=Body(source(), close=close))
        response.body = (chunk async for chunk in response.body)
        await response.aclose()

    asyncio.run(main())
    assert closed == [1, 1]


# --- what is kept ---


def again(response):
    return pickle.loads(pickle.dumps(response))


@pytest.mark.parametrize("again", [again, copy.copy, copy.deepcopy])
def test_a_copy_tells_which_response_it_was(again):
    response = answered(
        200, [("A", "1"), ("A", "2")], b"abc", reason="Fine", elapsed=1.5, history=[Response(302)],
        extensions={"native": lambda: None},
    )  # fmt: skip
    other = again(response)
    for name in ("status_code", "reason", "url", "elapsed", "content", "name"):
        assert getattr(other, name) == getattr(response, name)
    assert list(other.headers.items()) == [("A", "1"), ("A", "2")]
    assert other.request.url == URL
    assert [each.status_code for each in other.history] == [302]
    assert other.extensions == {}
    assert other.body.ended
    other.headers["A"] = "3"
    assert response.headers["A"] == "1, 2"


@pytest.mark.parametrize("body", [[b"a"], iter([b"a"]), io.BytesIO(b"a")])
def test_pickling_reads_no_stream(body):
    response = Response(200, body=body)
    assert again(response).content == b""
    assert response.content == b"a"
    assert again(response).content == b"a"


def test_a_decode_error_pickles_with_its_response():
    with pytest.raises(DecodeError) as caught:
        answered(200, body=b"<html>").json()
    other = again(caught.value)
    assert other.head == other.response.content == b"<html>"
    assert str(other) == str(caught.value)


def test_attrs_can_evolve_a_response():
    response = answered(200, {"A": "1"}, b"abc", elapsed=1.0)
    other = attrs.evolve(response, status_code=404)
    assert (other.status_code, other.reason, other.content, other.elapsed) == (404, "Not Found", b"abc", 1.0)
    other.headers["A"] = "2"
    assert response.headers["A"] == "1"


def read(response):
    assert response.content is not None
    assert response.text is not None


def iterate(response):
    list(response.body)


def begin(response):
    next(iter(response.body))


def replace(response):
    response.body = shouted(response.body)
    response.body = shouted(response.body)
    list(response.body)


def drop(response):
    response.body = shouted(response.body)
    response.close()


def fail(response):
    with suppress(ZeroDivisionError):
        list(response.body.map(lambda _: 1 / 0))


def decode(response):
    with suppress(DecodeError):
        response.json()


@pytest.mark.parametrize("use", [read, iterate, begin, replace, drop, fail, decode, repr, again, Response.close])
def test_nothing_keeps_a_response_alive_once_it_is_let_go(use):
    gc.collect()
    gc.disable()
    try:
        for body in ("ab", [b"ab", b"cd"], (chunk for chunk in [b"ab"]), io.BytesIO(b"abc")):
            response = Response(200, {"Content-Length": "2"}, body)
            response.on_close(lambda *_: None)
            use(response)
            gone = weakref.ref(response)
            del response
            assert gone() is None
    finally:
        gc.enable()


# --- laws ---

chunks = st.lists(st.binary(max_size=5), max_size=5)
steps = st.lists(st.sampled_from(["upper", "double", "pull", "read", "bytes"]), max_size=6)


@given(chunks, steps)
def test_however_a_body_is_changed_content_and_content_length_agree(chunks, steps):
    expected, ends = b"".join(chunks), Ends()
    response = Response(200, {"Content-Length": str(len(expected))}, iter(chunks))
    for step in steps:
        if step == "upper":
            response.body.map(bytes.upper)
            expected = expected.upper()
        elif step == "double":
            response.body.map(bytes, lambda: b"again")
            expected += b"again"
        elif step == "pull":
            response.body = shouted(response.body)
            expected = expected.upper()
        elif step == "read":
            assert response.content == expected
        else:
            response.body = response.content + b"!"
            expected += b"!"
    response.on_close(ends)
    length = response.headers.get("Content-Length")
    assert b"".join(response.body) == expected
    assert length in {None, str(len(expected))}
    assert len(ends) == 1
    if not steps:
        assert length == str(len(expected))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_json_says_what_was_sent(value):
    assert Response(200, body=json.dumps(value)).json() == value
