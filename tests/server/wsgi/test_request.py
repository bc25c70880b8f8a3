"""The request: read from the environ, and written back into it."""

import pytest

from formation import res
from formation.server.wsgi import request as wsgi_request
from formation.server.wsgi import response as wsgi_response
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import Served, answering, changing, look, wrapped


def changed(change, **sent):
    """What a change in the request makes of the environ."""
    environ = environ_of(Sent(path="/a b", query="x=1&y=2", headers={"X-A": "1", "Cookie": "k=v"}, **sent))
    environ |= {"SCRIPT_NAME": "/app", "RAW_URI": "/app/a%20b?x=1&y=2"}
    before = dict(environ)
    Served(wrapped(answering([]), changing(change)), environ).run()
    return {key: environ.get(key) for key in {*environ, *before} if environ.get(key) != before.get(key)}


CHANGES = {
    "method": (lambda request: setattr(request, "method", "put"), {"REQUEST_METHOD": "PUT"}),
    "peer": (lambda request: setattr(request, "peer", "203.0.113.9"), {"REMOTE_ADDR": "203.0.113.9"}),
    "header": (lambda request: request.headers.add("X-B", "2"), {"HTTP_X_B": "2"}),
    "lines": (lambda request: request.headers.add("X-A", "2"), {"HTTP_X_A": "1, 2"}),
    "gone": (lambda request: request.headers.pop("X-A"), {"HTTP_X_A": None}),
    "type": (lambda request: request.headers.set("Content-Type", "a/b"), {"CONTENT_TYPE": "a/b"}),
    "query": (
        lambda request: request.params.update({"y": "3"}),
        {"QUERY_STRING": "x=1&y=3", "RAW_URI": "/app/a%20b?x=1&y=3"},
    ),
    "path": (
        lambda request: setattr(request, "url", "http://testserver/app/%C3%A4"),
        {"PATH_INFO": "/\xc3\xa4", "QUERY_STRING": "", "RAW_URI": "/app/%C3%A4"},
    ),
    "elsewhere": (
        lambda request: setattr(request, "url", "https://other:8/b?c"),
        {
            "SCRIPT_NAME": "", "PATH_INFO": "/b", "QUERY_STRING": "c", "HTTP_HOST": "other:8",
            "wsgi.url_scheme": "https", "RAW_URI": "/b?c",
        },
    ),
    "cookies": (lambda request: request.cookies.update(k="w"), {}),
    "looks": (lambda request: (request.url, request.params, request.headers, request.cookies, request.body), {}),
}  # fmt: skip


@pytest.mark.parametrize(("change", "written"), CHANGES.values(), ids=CHANGES)
def test_what_is_changed_in_the_request_is_written_into_the_environ_and_nothing_else(change, written):
    assert changed(change) == written


def test_a_body_that_somebody_looks_at_and_does_not_read_is_that_of_the_server():
    assert changed(lambda request: (request.body, request.fork().body), method="POST", body=b"abc") == {}


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "http://testserver/"),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/a b;c/\xc3\xa4", "QUERY_STRING": "q=%20"},
         "http://testserver/app/a%20b;c/%C3%A4?q=%20"),
        ({"HTTP_HOST": "h:81", "wsgi.url_scheme": "https"}, "https://h:81/"),
        ({"HTTP_HOST": "", "SERVER_PORT": "8000"}, "http://testserver:8000/"),
        ({"HTTP_HOST": "", "SERVER_PORT": "443", "wsgi.url_scheme": "https"}, "https://testserver/"),
        ({"PATH_INFO": ""}, "http://testserver/"),
        ({"PATH_INFO": "*"}, "http://testserver/*"),  # OPTIONS *
        ({"PATH_INFO": "@h/a"}, "http://testserver/@h/a"),
        ({"PATH_INFO": "/a#", "QUERY_STRING": "b#c"}, "http://testserver/a%23?b%23c"),  # nobody sends a fragment
    ],
)  # fmt: skip
def test_the_url_is_put_together_as_pep_3333_has_it(more, url):
    found = []
    Served(wrapped(answering([]), changing(lambda request: found.append(request.url))), environ_of(Sent()) | more).run()
    assert found == [url]


def test_headers_are_those_of_the_environ_and_no_empty_ones_that_servers_make_up():
    found = []
    environ = environ_of(Sent(headers={"X-A": "1", "Content-Type": "", "Content-Length": ""}))
    environ["HTTP_CONTENT_LENGTH"] = "7"  # what a client calls Content_Length
    Served(wrapped(answering([]), changing(lambda request: found.append(dict(request.headers)))), environ).run()
    assert found == [{"Host": "testserver", "X-A": "1"}]


def test_names_of_headers_that_clients_make_up_are_not_remembered_for_ever():
    def reads(request):
        assert request.headers["X-Made-Up"] == "1"

    for number in range(3):
        headers = {f"X-{number}-{each}": "1" for each in range(1000)}
        environ = environ_of(Sent(headers={"X-Made-Up": "1", **headers}))
        served = Served(wrapped(answering([]), changing(reads), look), environ).run()
        assert dict(served.headers)["X-Status"] == "200"
    assert len(wsgi_request._names) <= wsgi_request.MANY


def test_a_name_of_many_kilobytes_is_read_and_not_remembered(monkeypatch):
    monkeypatch.setattr(wsgi_request, "_names", {})
    monkeypatch.setattr(wsgi_response, "_plain", {})
    name = "X-" + "Long" * 20_000

    def reads(request):
        assert request.headers[name] == "1"

    def echo(ctx, call):
        ctx = call(ctx)
        res(ctx).headers[name] = "2"
        return ctx

    served = Served(wrapped(answering([]), changing(reads), echo), environ_of(Sent(headers={name: "1"}))).run()
    assert dict(served.headers)[name] == "2"
    assert max(map(len, [*wsgi_request._names, *wsgi_response._plain])) < wsgi_request.LONG
