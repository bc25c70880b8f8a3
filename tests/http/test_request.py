"""Requests: one body, nothing shared, nothing secret shown, each attempt apart from the next."""

import copy
import dataclasses
import gc
import io
import pickle
import weakref
from http import HTTPMethod

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from formation.errors import BodyConsumed
from formation.http import UNSET, Headers, Request
from formation.http.media_types import JSON_TYPE
from formation.http.request import check_method, check_url

URL = "https://h.example/users"


def get(**settings):
    return Request("GET", URL, **settings)


def post(**settings):
    return Request("POST", URL, **settings)


# --- what it is made of ---


def test_a_request_needs_no_more_than_a_method_and_a_url():
    request = Request("get", URL)
    assert (request.method, request.url, request.target) == ("GET", URL, URL)
    assert request.headers == Headers()
    assert request.params == MultiDict()
    assert (request.cookies, request.extensions) == ({}, {})
    assert (request.auth, request.template, request.deadline, request.peer) == (None, None, None, None)
    assert request.timeout is UNSET
    assert request.content == b""
    assert (request.text, request.json, request.data, request.files) == ("", None, None, None)


@pytest.mark.parametrize(
    "method", ["GET", "get", "Post", "PURGE", "M-SEARCH", "x!#$%&'*+-.^_`|~9", HTTPMethod.PATCH, "DELETE"]
)
def test_any_token_is_a_method_and_kept_in_upper_case(method):
    request = Request(method, URL)
    assert request.method == str(method).upper()
    request.method = "delete"
    assert request.method == "DELETE"


@pytest.mark.parametrize("method", ["", " ", "GET ", "G E T", "GET\r\nX: 1", "GÉT", "GET/", None, 5, b"GET"])
def test_what_is_no_method_is_refused_wherever_it_is_given(method):
    with pytest.raises(ValueError, match="expected an HTTP method such as 'GET', got"):
        Request(method, URL)
    request = get()
    with pytest.raises(ValueError, match="expected an HTTP method"):
        request.method = method
    assert request.method == "GET"


@pytest.mark.parametrize("bad", [" ", "\t", "\r\n", "\n", "\0", "\x7f", "\x01", " HTTP/1.1\r\nX-Evil: 1"])
@pytest.mark.parametrize("where", ["{}https://h/", "https://h/{}", "https://h{}/", "https://h/a?b={}", "https://h/{}b"])
def test_a_url_cannot_end_the_request_line(where, bad):
    url = where.format(bad)
    with pytest.raises(ValueError, match="has a space or a control character: percent-encode it"):
        Request("GET", url)
    request = get()
    with pytest.raises(ValueError, match="percent-encode it"):
        request.url = url
    assert request.url == URL


def test_a_refused_url_is_shown_without_its_password():
    with pytest.raises(ValueError, match=r"https://\[redacted\]@h/ ") as caught:
        Request("GET", "https://me:s3cret@h/ ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"https://h/"])
def test_a_url_is_text(url):
    with pytest.raises(TypeError, match="expected a str as URL, got"):
        Request("GET", url)


def test_the_small_checks_return_what_they_let_through():
    assert (check_method("patch"), check_url(URL)) == ("PATCH", URL)


# --- names ---


@pytest.mark.parametrize(
    ("url", "path", "host", "scheme"),
    [
        ("https://h.example/a/b?c=d#e", "/a/b", "h.example", "https"),
        ("http://H.Example:8080", "/", "h.example", "http"),
        ("https://me:pw@h/", "/", "h", "https"),
        ("https://[::1]:8/x%2Fy", "/x%2Fy", "::1", "https"),
        ("/only/a/path", "/only/a/path", "", ""),
    ],
)
def test_a_url_has_its_parts(url, path, host, scheme):
    request = Request("GET", url)
    assert (request.path, request.host, request.scheme) == (path, host, scheme)


def test_the_name_is_that_of_the_template_if_there_is_one():
    assert Request("GET", "https://h/users/5?a=b").name == "GET /users/5"
    assert Request("GET", "https://h/users/5", template="/users/{id}").name == "GET /users/{id}"
    assert Request("GET", "https://h/users/5", template="").name == "GET "


# --- the query ---


def test_what_is_sent_has_no_other_than_ascii_behind_the_host():
    request = Request("GET", "https://bücher.example/ü%20?q=é#ñ")
    assert request.target == "https://bücher.example/%C3%BC%20?q=%C3%A9#%C3%B1"
    assert request.url == "https://bücher.example/ü%20?q=é#ñ"


def test_params_come_on_top_of_the_query_of_the_url():
    request = Request("GET", "https://h/?a=1&b=2#frag", params={"b": [3, 4], "c": None, "d": True})
    assert request.url == "https://h/?a=1&b=2#frag"
    assert request.target == "https://h/?a=1&b=3&b=4&d=true"


@pytest.mark.parametrize(
    "params",
    [
        {"a": 1, "b": ["x y", "é"]},
        [("a", "1"), ("b", "x y"), ("b", "é")],
        MultiDict([("a", "1"), ("b", "x y"), ("b", "é")]),
        CIMultiDict([("a", "1"), ("b", "x y"), ("b", "é")]),
        attrs.make_class("Query", ["a", "b"])(1, ["x y", "é"]),
        dataclasses.make_dataclass("Query", ["a", "b"])(1, ["x y", "é"]),
    ],
)
def test_params_are_whatever_a_query_can_be_made_of(params):
    request = get(params=params)
    assert request.target == URL + "?a=1&b=x%20y&b=%C3%A9"
    other = get()
    other.params = params
    assert other.target == request.target


@pytest.mark.parametrize("params", [None, {}, [], MultiDict()])
def test_no_params_leave_the_url_as_it_is(params):
    assert Request("GET", "https://h/?a=%20#x", params=params).target == "https://h/?a=%20#x"


def test_params_can_be_edited_in_place_with_values_of_any_kind():
    request = get(params={"a": 1})
    request.params["page"] = 2
    request.params.add("tag", "x")
    request.params.add("tag", "y")
    assert request.target == URL + "?a=1&page=2&tag=x&tag=y"
    request.params = None
    assert request.target == URL


# --- nothing is shared ---


def test_what_is_given_is_not_kept():
    headers, params, extensions = Headers({"A": "1"}), MultiDict({"a": "1"}), {"a": 1}
    cookies = {"a": "1"}
    first, second = (get(headers=headers, params=params, cookies=cookies, extensions=extensions) for _ in range(2))
    first.headers["A"] = first.params["a"] = first.cookies["a"] = first.extensions["a"] = "2"
    assert (headers["A"], params["a"], cookies["a"], extensions["a"]) == ("1", "1", "1", 1)
    assert (dict(second.headers), dict(second.params)) == ({"A": "1"}, {"a": "1"})
    assert (second.cookies, second.extensions) == ({"a": "1"}, {"a": 1})


def test_what_is_assigned_is_not_kept():
    headers, params, extensions, cookies = Headers({"A": "1"}), MultiDict({"a": "1"}), {"a": 1}, {"a": "1"}
    request = get()
    request.headers, request.params, request.cookies, request.extensions = headers, params, cookies, extensions
    request.headers["A"] = request.params["a"] = request.cookies["a"] = request.extensions["a"] = "2"
    assert (headers["A"], params["a"], cookies["a"], extensions["a"]) == ("1", "1", "1", 1)


def test_two_requests_share_no_default():
    first, second = get(), get()
    first.headers["A"] = first.params["a"] = first.cookies["a"] = first.extensions["a"] = "1"
    assert [len(each) for each in (second.headers, second.params, second.cookies, second.extensions)] == [0] * 4


def test_whatever_makes_a_dict_may_be_assigned():
    request = get(cookies=[("a", "1")], headers=[["A", "1"]])
    assert (request.cookies, dict(request.headers)) == ({"a": "1"}, {"A": "1"})
    request.cookies, request.extensions, request.headers = [("b", "2")], [("c", 3)], iter([("B", "2")])
    assert (request.cookies, request.extensions, dict(request.headers)) == ({"b": "2"}, {"c": 3}, {"B": "2"})
    request.cookies = request.extensions = request.headers = None
    assert [len(each) for each in (request.cookies, request.extensions, request.headers)] == [0] * 3


# --- headers ---


def test_assigning_a_mapping_of_headers_keeps_the_lines_that_did_not_change():
    request = get(headers=[("Accept", "a"), ("Accept", "b"), ("X-Old", "1")])
    request.headers = {**request.headers, "X-New": "2"}
    assert list(request.headers.items()) == [("Accept", "a"), ("Accept", "b"), ("X-Old", "1"), ("X-New", "2")]
    request.headers = request.headers
    assert request.headers.getlist("accept") == ["a", "b"]


def test_no_header_breaks_the_message_however_it_is_given():
    for headers in ({"A": "a\r\nB: 1"}, [("A\n", "1")], {"A": "\0"}):
        with pytest.raises(ValueError, match=r"header"):
            get(headers=headers)
        request = get()
        with pytest.raises(ValueError, match=r"header"):
            request.headers = headers
        assert not request.headers


# --- again ---


@pytest.mark.parametrize(
    ("given", "replayable"),
    [
        ({}, True),
        ({"content": b"abc"}, True),
        ({"content": [b"abc"]}, True),
        ({"content": io.BytesIO(b"abc")}, True),
        ({"content": lambda: [b"abc"]}, True),
        ({"json": {"a": 1}}, True),
        ({"data": {"a": 1}}, True),
        ({"files": {"f": io.BytesIO(b"abc")}}, True),
        ({"content": iter([b"abc"])}, False),
        ({"files": {"f": iter([b"abc"])}}, False),
    ],
)
def test_what_can_be_sent_again_says_so_and_is(given, replayable):
    request = post(**given)
    assert request.replayable is replayable
    request.rewind()
    first = b"".join(request.body)
    if replayable:
        for _ in range(2):
            request.rewind()
            assert b"".join(request.body) == first
    else:
        with pytest.raises(BodyConsumed, match=r"the body of POST /users is a one-shot stream and has been sent: give"):
            request.rewind()


def test_a_request_that_nobody_has_looked_at_needs_no_rewind():
    post(content=iter([b"abc"])).rewind()


@pytest.mark.parametrize("again", [Request.fork, copy.copy])
def test_what_is_done_to_a_fork_is_not_done_to_the_request(again):
    request = post(
        headers={"A": "1"}, params={"a": "1"}, cookies={"a": "1"}, extensions={"a": 1}, json={"a": 1}, timeout=5,
        auth=("me", "pw"), template="/t", deadline=1.0, peer="p",
    )  # fmt: skip
    fork = again(request)
    for name in ("method", "url", "timeout", "auth", "template", "deadline", "peer", "content", "json", "target"):
        assert getattr(fork, name) == getattr(request, name)
    for name in ("headers", "params", "cookies", "extensions"):
        assert dict(getattr(fork, name)) == dict(getattr(request, name))
        getattr(fork, name)["b"] = "2"
        assert "b" not in getattr(request, name)
    fork.body.map(bytes.upper)
    fork.method, fork.url, fork.timeout, fork.auth = "PUT", "https://other/", 9, None
    assert request.content == b'{"a":1}'
    assert again(request).content == b'{"a":1}'
    fork.content = b"other"
    assert (request.content, request.headers["Content-Type"]) == (b'{"a":1}', JSON_TYPE)
    assert (request.method, request.url, request.timeout, request.auth) == ("POST", URL, 5, ("me", "pw"))


def test_a_fork_of_a_request_without_a_body_may_get_one():
    request = get()
    fork = request.fork()
    fork.json = {"a": 1}
    assert (fork.content, request.content) == (b'{"a":1}', b"")
    assert "Content-Type" not in request.headers


def test_a_map_changes_the_headers_of_the_fork_it_was_made_on():
    request = post(headers={"Content-Length": "3"}, content=b"abc")
    fork = request.fork()
    fork.body.map(lambda chunk: chunk * 2)
    assert (fork.headers["Content-Length"], request.headers["Content-Length"]) == ("6", "3")


def test_each_fork_sends_a_file_from_where_it_stood_at_first():
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    request = post(content=file)
    for _ in range(3):
        assert b"".join(request.fork().body) == b"456789"
    assert request.content == b"456789"


def test_forks_of_a_form_are_the_same_form():
    request = post(files={"f": io.BytesIO(b"abc")})
    first, second = request.fork(), request.fork()
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    assert b"".join(first.body) == b"".join(second.body)


def test_forks_of_a_stream_share_it_and_the_request_knows_when_it_is_gone():
    request = post(content=iter([b"a", b"b"]))
    first, second = request.fork(), request.fork()
    request.rewind()  # nobody has begun
    assert list(first.body) == [b"a", b"b"]
    with pytest.raises(BodyConsumed):
        list(second.body)
    with pytest.raises(BodyConsumed, match="one-shot stream"):
        request.rewind()


def test_a_fork_of_a_subclass_is_a_request():
    class Ours(Request):
        pass

    assert isinstance(Ours("GET", URL).fork(), Request)


def test_attrs_can_evolve_a_request():
    request = post(headers={"A": "1"}, params={"a": 1}, json={"a": 1}, timeout=5)
    other = attrs.evolve(request, url="https://other/", method="put")
    assert (other.method, other.target, other.content, other.timeout) == ("PUT", "https://other/?a=1", b'{"a":1}', 5)
    other.headers["A"] = "2"
    assert request.headers["A"] == "1"


# --- what is shown, and what is kept ---


def test_a_repr_shows_no_secret():
    request = Request(
        "POST", "https://me:s3cret@h.example/a;b=c?token=s3cret&page=s3cret&flag#access_token=s3cret",
        headers={"Authorization": "s3cret"}, params={"key": "s3cret"}, cookies={"sid": "s3cret"},
        auth=("me", "s3cret"), json={"password": "s3cret"}, extensions={"a": "s3cret"},
    )  # fmt: skip
    assert repr(request) == "<Request POST https://[redacted]@h.example/a;b=c?token=…&page=…&flag>"
    assert repr(get()) == f"<Request GET {URL}>"


def again(request):
    return pickle.loads(pickle.dumps(request))


def test_a_pickle_tells_which_request_it_was():
    request = post(
        headers=[("A", "1"), ("A", "2")], params={"a": 1}, cookies={"c": "1"}, json={"a": 1}, timeout=(1, None),
        template="/t", peer="p", auth=lambda _: None, extensions={"a": lambda: None},
    )  # fmt: skip
    other = again(request)
    for name in ("method", "url", "target", "cookies", "content", "timeout", "template", "peer", "name"):
        assert getattr(other, name) == getattr(request, name)
    assert list(other.headers.items()) == [("A", "1"), ("A", "2"), ("Content-Type", JSON_TYPE)]
    assert (other.auth, other.extensions) == (None, {})
    assert again(get()).params == MultiDict()


@pytest.mark.parametrize(
    "given",
    [
        {"content": iter([b"s"])},
        {"content": lambda: [b"s"]},
        {"content": io.BytesIO(b"s")},
        {"files": {"f": io.BytesIO(b"s")}},
        {"json": {1, 2}},
        {"json": float("nan")},
        {"data": {"a": {"b": 1}}},
        {"content": object()},
    ],
)
def test_what_cannot_be_pickled_or_sent_is_left_behind(given):
    other = again(post(headers={"A": "1"}, **given))
    assert (other.method, other.url, other.content, other.headers["A"]) == ("POST", URL, b"", "1")


def test_pickling_reads_no_stream():
    chunks = iter([b"a"])
    request = post(content=chunks)
    again(request)
    assert request.content == b"a"


def test_nothing_keeps_a_request_alive_once_it_is_let_go():
    gc.collect()
    gc.disable()
    try:
        for body in ({}, {"json": {}}, {"content": iter([b"a"])}, {"files": {"f": b""}}, {"content": lambda: [b""]}):
            request = post(**body)
            request.body.map(bytes.upper)
            request.fork().body.read()
            gone = weakref.ref(request)
            del request
            assert gone() is None
    finally:
        gc.enable()


# --- laws ---


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)), st.dictionaries(st.text(max_size=5), st.integers()))
def test_a_form_and_a_query_say_what_was_given(data, params):
    from urllib.parse import parse_qsl, urlsplit

    params = {name: value for name, value in params.items() if not name.startswith(":")}
    request = post(data=data, params=params)
    assert dict(parse_qsl(request.content.decode(), keep_blank_values=True, strict_parsing=bool(data))) == data
    query = urlsplit(request.target).query
    assert dict(parse_qsl(query, keep_blank_values=True)) == {name: str(value) for name, value in params.items()}
