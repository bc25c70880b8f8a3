"""Requests and responses of a server, which are read when somebody asks."""

import pytest

from formation.http import Body, Headers
from formation.server.request import ServerRequest
from formation.server.response import ServerResponse


class Asked(ServerRequest):
    """A request whose reads are counted."""

    __slots__ = ("reads",)

    def __init__(self, url="http://h/a?b=1&b=2&c=", headers=None):
        super().__init__(None, "GET", "127.0.0.1")
        self.reads = []
        self.native = url, headers or {"Cookie": "k=v; l=w", "X-A": "1"}

    def read_url(self):
        self.reads.append("url")
        return self.native[0]

    def read_headers(self):
        self.reads.append("headers")
        return Headers(self.native[1])

    def read_body(self):
        self.reads.append("body")
        return Body([b"a", b"b"])


class Answered(ServerResponse):
    """A response of an app."""

    __slots__ = ()

    def read_headers(self):
        return Headers([("content-length", "2"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])

    def read_body(self):
        return Body([b"ab"])


def test_nothing_is_read_until_somebody_asks_and_then_once():
    request = Asked()
    assert (request.method, request.peer, request.reads) == ("GET", "127.0.0.1", [])
    assert request.headers["x-a"] == "1"
    assert request.headers["X-A"] == "1"
    assert (request.reads, request.headers_changed, request.url_changed, request.body_read) == (
        ["headers"], False, False, False
    )  # fmt: skip


def test_the_url_is_whole_and_its_parts_are_those_of_any_request():
    request = Asked()
    assert (request.url, request.path, request.host, request.scheme, request.name) == (
        "http://h/a?b=1&b=2&c=", "/a", "h", "http", "GET /a"
    )  # fmt: skip
    assert request.target == request.url


def test_params_are_those_of_the_query():
    request = Asked()
    assert list(request.params.items()) == [("b", "1"), ("b", "2"), ("c", "")]
    assert not request.url_changed


def test_who_changes_a_param_changes_the_query():
    request = Asked()
    request.params["c"] = "ä"
    assert request.target == "http://h/a?b=1&b=2&c=%C3%A4"
    assert request.url_changed


def test_who_assigns_the_url_changes_it():
    request = Asked()
    request.url = "http://h/other"
    assert (request.target, request.url_changed) == ("http://h/other", True)


def test_cookies_are_those_of_the_header():
    assert Asked().cookies == {"k": "v", "l": "w"}
    assert Asked(headers={"Cookie": "k=v; \x7f=1"}).cookies in ({}, {"k": "v"})
    assert Asked(headers={"Host": "h"}).cookies == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers.add("X-B", "2"),
        lambda headers: headers.pop("X-A"),
        lambda headers: headers.__setitem__("x-a", "2"),
    ],
    ids=["added", "dropped", "set"],
)
def test_a_changed_header_is_noticed(change):
    request = Asked()
    change(request.headers)
    assert request.headers_changed


def test_replaced_headers_are_noticed():
    request = Asked()
    request.headers = {**request.headers, "Accept": "text/html"}
    assert request.headers_changed


def test_the_body_is_read_when_asked_for():
    request = Asked()
    assert (request.content, request.body_read) == (b"ab", True)


def test_what_a_request_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'Asked' has no attribute 'form'"):
        _ = Asked().form  # type: ignore[attr-defined]


def test_a_fork_is_a_request_of_its_own():
    request = Asked()
    fork = request.fork()
    fork.headers["X-A"] = "2"
    assert (request.headers["X-A"], request.headers_changed, fork.url) == ("1", False, request.url)


def test_a_fork_tells_what_has_been_changed_as_the_request_does():
    request = Asked()
    assert (request.params["b"], request.headers["x-a"], request.cookies["k"]) == ("1", "1", "v")
    fork = request.fork()
    assert (fork.headers_changed, fork.url_changed, fork.body_read, fork.target) == (False, False, False, request.url)
    fork.params["c"] = "2"
    fork.cookies["k"] = "w"
    fork.headers["x-b"] = "1"
    assert (fork.headers_changed, fork.url_changed) == (True, True)
    assert (request.headers_changed, request.url_changed, request.cookies["k"]) == (False, False, "v")
    again = fork.fork()
    assert (again.headers_changed, again.target, again.content) == (True, fork.target, b"ab")


def test_a_fork_leaves_unread_what_nobody_has_read():
    request = Asked()
    fork = request.fork()
    assert (request.reads, fork.method, fork.peer) == ([], "GET", "127.0.0.1")
    assert fork.headers["X-A"] == "1"


def test_a_response_tells_what_has_been_changed():
    response = Answered(None, 200, "", Asked())
    assert (response.headers_changed, response.status_changed, response.body_read) == (False, False, False)
    assert response.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert not response.headers_changed
    response.headers["x"] = "y"
    response.status_code = 404
    assert (response.headers_changed, response.status_changed, response.reason) == (True, True, "Not Found")


def test_the_body_of_a_response_is_read_when_asked_for():
    response = Answered(None, 200, "", Asked())
    assert (response.content, response.body_read) == (b"ab", True)
    with pytest.raises(AttributeError, match="'Answered' has no attribute 'data'"):
        _ = response.data  # type: ignore[attr-defined]


def test_a_map_makes_the_headers_right():
    response = Answered(None, 200, "", Asked())
    response.body.map(lambda chunk: chunk * 2)
    assert "content-length" not in response.headers
