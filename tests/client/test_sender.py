"""From a method call to a request and a chain, and from the context that comes out to a result."""

import threading
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from http.cookiejar import CookieJar
from unittest.mock import create_autospec

import pytest
from attrs import define

from formation import errors
from formation.client.base_sender import Transport
from formation.client.responses import json_response, raw_response, text_response
from formation.client.sender import Sender
from formation.client.settings import Settings
from formation.exchange import reply
from formation.for_requests import Client, build
from formation.http import UNSET, Body, Headers, Response
from formation.keys import (
    ATTEMPTS,
    DEADLINE,
    KIND,
    NATIVE,
    REQ_HTTP,
    RES_HTTP,
    SENSITIVE,
    SESSION,
    SIDE,
    STATE,
    TEMPLATE,
)

BASE = "https://api.example.com/v1"


class Endpoint:
    """Answers with the response it is given, and keeps the contexts."""

    def __init__(self, status=200, headers=None, body=b""):
        self.answer = status, headers, body
        self.contexts = []

    def __call__(self, ctx):
        status, headers, body = self.answer
        request = ctx[REQ_HTTP]
        self.contexts.append(ctx)
        ctx[RES_HTTP] = Response(status, headers, body, request=request, url=request.url)
        return ctx

    @property
    def request(self):
        """The last request."""
        return self.contexts[-1][REQ_HTTP]


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def sender(endpoint):
    return build(base_uri=BASE, endpoint=endpoint)


def named(name, log):
    def layer(ctx, call):
        log.append(name)
        return call(ctx)

    layer.__name__ = name
    return layer


# The request and the context


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_each_method_has_a_method(sender, endpoint, method):
    getattr(sender, method.lower())("/users")
    assert (endpoint.request.method, endpoint.request.url) == (method, BASE + "/users")
    sender.send(method, "/users")
    assert endpoint.request.method == method


@pytest.mark.parametrize("method", ["get", "head", "options", "post", "put", "patch", "delete"])
def test_the_class_shows_its_methods(method):
    assert getattr(Sender, method).method == method.upper()
    assert hasattr(create_autospec(Sender, instance=True), method)


def test_the_path_may_be_left_out(sender, endpoint):
    sender.get()
    assert endpoint.request.url == BASE
    sender.send("GET")
    assert endpoint.request.url == BASE


def test_the_context_of_a_call_has_what_every_context_has(sender, endpoint):
    sender.get("/users/{id}", path={"id": 7}, session_context={"uid": 1})
    ctx = endpoint.contexts[0]
    assert (ctx[SIDE], ctx[KIND]) == ("client", "http")
    assert ctx[TEMPLATE] == ctx[REQ_HTTP].template == "/users/{id}"
    assert ctx[REQ_HTTP].name == "GET /users/{id}"
    assert ctx[SESSION] == {"uid": 1}
    assert ctx[SENSITIVE] == set()
    assert ctx[STATE] == {"endpoint": endpoint}
    assert ctx[NATIVE] == {}
    assert DEADLINE not in ctx
    assert ATTEMPTS not in ctx
    assert ctx[REQ_HTTP].timeout is UNSET


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("", "/"),
        ("users", "/users"),
        ("/users/{id}?page=2#top", "/users/{id}"),
        ("?token=secret", "/"),
        ("https://api.example.com/users/{id}?token=secret", "/users/{id}"),
        ("https://api.example.com?token=secret", "/"),
    ],
)
def test_a_template_is_a_path_without_origin_and_query(sender, endpoint, path, template):
    sender.get(path, path={"id": 7})
    assert endpoint.contexts[0][TEMPLATE] == template
    assert endpoint.contexts[0][REQ_HTTP].name == f"GET {template}"


def test_without_a_base_the_template_is_a_path_too(endpoint):
    build(endpoint=endpoint).get("https://h/users/{id}?q=1", path={"id": 7})
    assert endpoint.contexts[0][TEMPLATE] == "/users/{id}"


def test_each_call_has_a_context_of_its_own(sender, endpoint):
    session = {"uid": 1}
    sender.get("/", session_context=session)
    sender.get("/")
    one, two = endpoint.contexts
    one[SESSION]["uid"] = 2
    one[SENSITIVE].add("x")
    one[REQ_HTTP].headers["A"] = "1"
    assert session == {"uid": 1}
    assert two[SENSITIVE] == set()
    assert "A" not in two[REQ_HTTP].headers


class Colour(Enum):
    RED = "red"


@dataclass
class Paging:
    page: int = field(default=1, metadata={"to": ["page"]})
    per_page: int | None = None


@define
class Search:
    owner: str
    text: str
    paging: Paging

    def to_dict(self):
        return {":owner": self.owner, "q": self.text, "page": self.paging.page}


@dataclass
class Query:
    owner: str = field(metadata={"to": ":owner"})
    text: str = field(metadata={"to": ["q"]})
    paging: Paging = field(default_factory=Paging)


@pytest.mark.parametrize(
    ("path", "options", "target"),
    [
        (
            "/a",
            {"params": {"q": "a b", "n": 1, "no": None, "on": True, "c": Colour.RED}},
            "/a?q=a%20b&n=1&on=true&c=red",
        ),
        ("/a?x=1&x=2", {"params": {"x": [3, 4]}}, "/a?x=3&x=4"),
        ("/a", {"params": [("x", 1), ("x", 2)]}, "/a?x=1&x=2"),
        ("/a", {"params": None}, "/a"),
        ("/{o}/:r", {"params": {":o": "a", "x": 1}, "path": {"r": "b/c"}}, "/a/b%2Fc?x=1"),
        ("/{o}", {"params": {":o": "a"}, "path": {"o": "b"}}, "/b"),
        ("/:id/:id2", {"path": {"id": 1, "id2": 2}}, "/1/2"),
        ("/{+file}", {"path": {"file": "a/b c"}}, "/a/b%20c"),
        ("/:owner", {"params": Query("ann", "x y")}, "/ann?q=x%20y&page=1"),
        ("/{owner}", {"params": Search("ann", "x", Paging(2))}, "/ann?q=x&page=2"),
        ("/a", {"params": Paging(per_page=5)}, "/a?page=1&per_page=5"),
    ],
)
def test_parameters_go_into_the_path_and_the_query(sender, endpoint, path, options, target):
    sender.get(path, **options)
    assert endpoint.request.target == BASE + target


def test_a_params_encoder_flattens_what_is_nested(endpoint):
    def brackets(params):
        for name, value in params.items():
            yield from ((f"{name}[{key}]", inner) for key, inner in value.items())

    sender = build(base_uri=BASE, endpoint=endpoint)
    with pytest.raises(TypeError, match="params_encoder="):
        sender.get("/", params={"filter": {"state": "open"}})
    sender.extend(params_encoder=brackets).get("/", params={"filter": {"state": "open"}})
    assert endpoint.request.target.endswith("/?filter%5Bstate%5D=open")


def test_a_missing_path_parameter_is_a_type_error(sender, endpoint):
    with pytest.raises(TypeError, match="missing path parameter 'owner'"):
        sender.get("/repos/{owner}/{repo}", path={"repo": "x"})
    assert not endpoint.contexts


@pytest.mark.parametrize("method", ["get", "send"])
def test_an_unknown_argument_is_a_type_error_with_the_nearest_and_the_known_ones(sender, endpoint, method):
    with pytest.raises(TypeError, match=r"get\(\) got an unknown argument 'parms'; did you mean 'params'\?") as caught:
        sender.get("/", parms={}) if method == "get" else sender.send("GET", "/", parms={})
    for name in ("absolute", "expect", "json", "stream", "without"):
        assert name in str(caught.value)
    assert not endpoint.contexts


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"auth": "token"}, TypeError, "auth as"),
        ({"response_as": "json"}, TypeError, "response_as as"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"middleware": [3]}, TypeError, r"middleware\[0\] is no middleware"),
        ({"middleware": text_response}, TypeError, "expected a list of middleware"),
        ({"without": ["retry"]}, LookupError, "no middleware is named 'retry'"),
        ({"headers": {"A": 1}}, TypeError, "expected a str"),
        ({"headers": {"A": "1\n"}}, ValueError, "CR, LF or NUL"),
        ({"params": 3}, TypeError, "expected a mapping"),
        ({"params": {"a": object()}}, TypeError, "parameter 'a'"),
        ({"path": {"a": 1}, "params": {"b": b"1"}}, TypeError, "decode it first"),
        ({"json": 1, "data": {}}, TypeError, "one body"),
        ({"cookies": CookieJar()}, TypeError, "expected cookies as a mapping, got CookieJar"),
        ({"path": "7"}, TypeError, "expected path as a mapping, got str"),
        ({"session_context": "me"}, TypeError, "expected session_context as a mapping, got str"),
        ({"expect": "200"}, TypeError, "expected expect as a status or a list of them, got '200'"),
        ({"expect": []}, TypeError, "expected expect"),
        ({"expect": True}, TypeError, "expected expect"),
        ({"expect": 2.5}, TypeError, "expected expect"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_sent(sender, endpoint, options, error, said):
    with pytest.raises(error, match=said):
        sender.get("/", **options)
    assert not endpoint.contexts


def test_only_the_path_is_known_by_its_place(sender, endpoint):
    for call in (sender.get, partial(sender.send, "GET")):
        with pytest.raises(TypeError, match=r"get\(\) takes the path, got {'q': 1} as well: .* params= or json="):
            call("/", {"q": 1})
    assert not endpoint.contexts


@pytest.mark.parametrize("path", [3, None, b"/x"])
def test_a_path_that_is_no_text_is_refused(sender, path):
    with pytest.raises(TypeError, match="expected a path as a str"):
        sender.get(path)


# Call over client


def test_what_a_call_says_outdoes_the_client_with_none_as_a_value(endpoint):
    sender = build(
        base_uri=BASE,
        endpoint=endpoint,
        timeout=3,
        auth=("me", "pw"),
        response_as=json_response,
        cookies={"a": "1", "b": "2"},
        headers={"A": "1", "B": "2"},
    )
    endpoint.answer = 200, {}, b"[1]"
    assert sender.get("/").body == [1]
    assert endpoint.request.timeout == 3
    assert endpoint.request.auth == ("me", "pw")
    assert endpoint.request.cookies == {"a": "1", "b": "2"}

    sender.get("/", timeout=None, auth=None, cookies={"b": "3"}, headers={"b": "3", "A": None})
    assert endpoint.request.timeout is None
    assert endpoint.request.auth is None
    assert endpoint.request.cookies == {"a": "1", "b": "3"}
    assert endpoint.request.headers == {"b": "3"}

    assert sender.get("/", response_as=text_response).body == "[1]"
    assert sender.get("/", response_as=None).body == b"[1]"
    assert sender.get("/", headers=None, cookies=None, params=None).body == [1]


def test_a_middleware_only_fills_what_nobody_has_set(endpoint):
    def patient(ctx, call):
        if ctx[REQ_HTTP].timeout is UNSET:
            ctx[REQ_HTTP].timeout = 99
        ctx[REQ_HTTP].headers.setdefault("Accept", "a/b")
        return call(ctx)

    class Github(Client):
        base_uri = BASE
        middleware = (patient,)

    class Slow(Github):
        timeout = 60

    def timeouts(made, **options):
        made.request.get("/", **options)
        return endpoint.request.timeout

    assert timeouts(Github(endpoint=endpoint)) == 99
    assert timeouts(Slow(endpoint=endpoint)) == 60
    assert timeouts(Slow(endpoint=endpoint, timeout=5)) == 5
    assert timeouts(Slow(endpoint=endpoint, timeout=5), timeout=1) == 1
    assert timeouts(Slow(endpoint=endpoint, timeout=None)) is None
    assert timeouts(Slow(endpoint=endpoint), timeout=None) is None
    Github(endpoint=endpoint).request.get("/", headers={"accept": "c/d"})
    assert endpoint.request.headers["Accept"] == "c/d"


def test_lines_of_a_header_replace_the_clients_and_stay_apart(endpoint):
    sender = build(base_uri=BASE, endpoint=endpoint, headers={"Accept": "text/html"})
    for lines in ([("accept", "a/b"), ("Accept", "c/d")], Headers([("accept", "a/b"), ("Accept", "c/d")])):
        sender.get("/", headers=lines)
        assert endpoint.request.headers.getlist("accept") == ["a/b", "c/d"]


def test_middleware_of_a_client_goes_out_side_in_and_that_of_a_call_innermost(endpoint):
    log = []
    sender = build(
        base_uri=BASE, endpoint=endpoint, middleware=[named("a", log), named("b", log)], per_hop=[named("hop", log)]
    )
    sender.get("/", middleware=[named("c", log), named("d", log)])
    assert log == ["a", "b", "c", "d", "hop"]
    log.clear()
    sender.get("/")
    assert log == ["a", "b", "hop"]  # a call leaves nothing behind


def test_a_call_may_leave_middleware_out_by_name(endpoint):
    log = []
    sender = build(base_uri=BASE, endpoint=endpoint, middleware=[named(name, log) for name in "abca"])
    sender.get("/", without=("b", "c"))
    sender.get("/", without="a")
    sender.get("/", without=["a"], middleware=[named("a", log), named("d", log)])
    assert log == ["a", "a", "b", "c", "b", "c", "d"]
    with pytest.raises(LookupError, match="'x'; there is: a, b, c, a"):
        sender.get("/", without=["x"])


def test_an_async_middleware_is_refused_where_it_is_given():
    async def later(ctx, call):
        return await call(ctx)

    async def send(ctx):
        return ctx

    for settings in ({"middleware": [later]}, {"per_hop": [later]}, {"endpoint": send}):
        with pytest.raises(TypeError, match="is async and this chain is sync"):
            build(base_uri=BASE, **settings)
    sender = build(base_uri=BASE, endpoint=Endpoint())
    with pytest.raises(TypeError, match="'later' is async"):
        sender.get("/", middleware=[later])
    with pytest.raises(TypeError, match="'later' is async"):
        sender.extend(middleware=[later])

    class Github(Client):
        middleware = (later,)

    with pytest.raises(TypeError, match="'later' is async"):
        Github()


# Another origin


def test_the_clients_secrets_stay_home_and_the_calls_go(endpoint):
    sender = build(
        base_uri=BASE,
        endpoint=endpoint,
        auth=("me", "pw"),
        cookies={"a": "1"},
        headers={"Authorization": "x", "cookie": "x", "Proxy-Authorization": "x", "Set-Cookie": "x", "X": "1"},
        allow_origins=["https://other.example.com"],
    )
    for url, options in (
        ("https://other.example.com/x", {}),
        ("https://evil.example.com/x", {"absolute": True}),
        ("https://api.example.com.evil.com/v1", {"absolute": True}),
        ("http://api.example.com/v1", {"absolute": True}),
        ("https://api.example.com:444/v1", {"absolute": True}),
    ):
        sender.get(url, **options)
        assert endpoint.request.url == url
        assert endpoint.request.auth is None
        assert endpoint.request.cookies == {}
        assert endpoint.request.headers == {"X": "1"}
        sender.get(url, auth=("you", "pw"), cookies={"b": "2"}, headers={"Authorization": "y"}, **options)
        assert endpoint.request.auth == ("you", "pw")
        assert endpoint.request.cookies == {"b": "2"}
        assert endpoint.request.headers == {"X": "1", "Authorization": "y"}
    for url in ("https://API.example.com:443/v1/x", "https://api.example.com/other", "/x?to=https://evil.com"):
        sender.get(url)
        assert endpoint.request.auth == ("me", "pw")


@pytest.mark.parametrize(
    "url", ["https://evil.com", "http://api.example.com/v1", "https://api.example.com.evil.com/v1"]
)
def test_another_origin_has_to_be_asked_for(sender, endpoint, url):
    with pytest.raises(errors.ForeignURLError, match="pass absolute=True") as caught:
        sender.get(url)
    assert (caught.value.url, caught.value.base) == (url, BASE)
    with pytest.raises(ValueError, match="http or https"):
        sender.get("ftp://h/x", absolute=True)
    assert not endpoint.contexts


# Results and errors


def test_a_chain_without_a_response_is_an_error(endpoint):
    def lost(ctx, call):
        return ctx

    with pytest.raises(
        LookupError, match=r"wrap\(Endpoint, \[lost, follow_redirects\]\) returned no response"
    ) as caught:
        build(base_uri=BASE, endpoint=endpoint, middleware=[lost]).get("/x")
    assert "return reply(ctx, status)" in str(caught.value)
    assert caught.value.request.url == BASE + "/x"


def test_a_middleware_may_return_another_context(endpoint):
    def copy(ctx, call):
        return {**call(dict(ctx)), "mine": 1}

    result = build(base_uri=BASE, endpoint=endpoint, middleware=[copy]).get("/x")
    assert result.ctx["mine"] == 1
    assert result.request.path == "/v1/x"
    with pytest.raises(errors.StatusError) as caught:
        build(base_uri=BASE, endpoint=endpoint, middleware=[copy]).get("/x", expect=404)
    assert caught.value.response.status_code == 200


@pytest.mark.parametrize("expect", [200, (200, 201), [200], {200}, range(200, 300), iter([200])])
def test_expect_takes_a_status_or_many(sender, endpoint, expect):
    assert sender.get("/", expect=expect).status_code == 200


def test_a_status_that_is_not_expected_is_an_error_whatever_it_is(endpoint):
    endpoint.answer = 204, None, b""
    with pytest.raises(errors.StatusError, match="expected 200 or 404, got 204 from GET /x") as caught:
        build(base_uri=BASE, endpoint=endpoint).get("/x", expect=(200, 404))
    assert (caught.value.status_code, caught.value.expected) == (204, (200, 404))
    assert caught.value.response.status_code == 204


def test_the_status_is_checked_before_the_body_is_decoded(endpoint):
    endpoint.answer = 200, {}, b"no json"
    sender = build(base_uri=BASE, endpoint=endpoint, response_as=json_response)
    with pytest.raises(errors.StatusError):
        sender.get("/", expect=201)
    with pytest.raises(errors.DecodeError):
        sender.get("/")


def test_an_error_has_a_note_with_client_template_layer_attempts_and_time():
    def retry(ctx, call):
        ctx[ATTEMPTS] = [{}, {}]
        return call(ctx)

    def broken(ctx):
        raise errors.ConnectError("refused")

    class Github(Client):
        base_uri = BASE
        middleware = (retry,)
        endpoint = broken

    with pytest.raises(errors.ConnectError) as caught:
        Github().request.get("/users/{id}", path={"id": 7})
    (note,) = caught.value.__notes__
    assert note.startswith("Github: GET /users/{id} at https://api.example.com, in broken, attempts 2, after 0.")
    assert note.endswith(" s")


def test_an_error_of_an_inner_client_keeps_its_own_request():
    inner = build(base_uri="https://inner.example.com", endpoint=lambda ctx: reply(ctx, 500))

    def login(ctx, call):
        inner.get("/token", expect=200)

    with pytest.raises(errors.StatusError) as caught:
        build(base_uri=BASE, endpoint=Endpoint(), middleware=[login]).get("/x")
    assert caught.value.request.url == "https://inner.example.com/token"
    assert ["GET /token" in caught.value.__notes__[0], "GET /x" in caught.value.__notes__[1]] == [True, True]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_passes_untouched(kind):
    def stop(ctx):
        raise kind

    with pytest.raises(kind) as caught:
        build(base_uri=BASE, endpoint=stop).get("/")
    assert not hasattr(caught.value, "__notes__")


def test_what_stops_a_program_closes_the_stream_that_nobody_will_read(endpoint):
    def stop(ctx, call):
        call(ctx)
        raise KeyboardInterrupt

    closed = []
    endpoint.answer = 200, {}, Body(iter([b"a", b"b"]), close=lambda: closed.append(True))
    with (
        pytest.raises(KeyboardInterrupt),
        build(base_uri=BASE, endpoint=endpoint, middleware=[stop]).get("/", stream=True),
    ):
        pass
    assert closed == [True]


def test_a_decoder_of_ones_own_gets_the_context(sender, endpoint):
    def status(ctx):
        return ctx[RES_HTTP].status_code

    assert sender.get("/", response_as=status).body == 200
    assert sender.get("/", response_as=raw_response).body is None


# Streams


def test_a_stream_runs_when_it_is_entered_and_is_closed_when_it_is_left(sender, endpoint):
    closed = []
    endpoint.answer = 200, {}, iter([b"a", b"b"])
    streamed = sender.get("/", stream=True, response_as=json_response)
    assert not endpoint.contexts
    with streamed as result:
        result.response.on_close(lambda count, error: closed.append((count, type(error))))
        assert next(iter(result.body)) == b"a"
    assert closed == [(1, errors.BodyAbandoned)]
    with pytest.raises(RuntimeError, match="sent already: make another one"), streamed:
        pass


def test_a_stream_that_has_failed_is_not_sent_a_second_time(sender, endpoint):
    endpoint.answer = 503, {}, b""
    streamed = sender.get("/", stream=True, expect=200)
    with pytest.raises(errors.StatusError), streamed:
        pass
    with pytest.raises(RuntimeError, match="sent already: make another one"), streamed:
        pass
    assert len(endpoint.contexts) == 1


def test_what_is_wrong_with_a_stream_is_said_before_it_is_entered(sender):
    with pytest.raises(TypeError, match="unknown argument"):
        sender.get("/", stream=True, nope=1)


def test_a_stream_that_was_not_entered_can_be_left(sender):
    streamed = sender.get("/", stream=True)
    streamed.__exit__(None, None, None)


def test_an_error_inside_of_a_stream_is_the_users_own(sender):
    with pytest.raises(LookupError) as caught, sender.get("/", stream=True):
        raise LookupError
    assert not hasattr(caught.value, "__notes__")


# The pool


def test_the_endpoint_is_made_once_when_it_is_needed():
    made, start = [], threading.Barrier(8)

    def connect():
        made.append(Endpoint())
        return made[-1]

    sender = Sender(Settings(base_uri=BASE), connect)
    assert not made

    def work():
        start.wait(10)
        sender.get("/")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert len(made) == 1
    assert len(made[0].contexts) == 8


def test_who_comes_second_takes_the_endpoint_of_the_first():
    transport = Transport(Endpoint)
    first = Endpoint()

    class Taken:
        def __enter__(self):
            transport._endpoint = first

        def __exit__(self, *error):
            pass

    transport._lock = Taken()
    assert transport() is first


def test_an_endpoint_that_cannot_be_closed_need_not_be(sender):
    with sender as same:
        assert same is sender
        sender.get("/")
    sender.close()


def test_a_sender_shows_its_base_and_its_chain(sender):
    assert repr(sender) == f"<client: {BASE}>"
    assert repr(build()) == "<client: no base_uri>"
    assert repr(sender.chain) == "wrap(Endpoint, [follow_redirects])"
    assert sender.chain is sender.chain


def test_a_query_in_the_path_is_no_part_of_the_template(sender, endpoint):
    sender.get("/users/{id}?key=s3cret", path={"id": 7})
    assert endpoint.contexts[0][TEMPLATE] == endpoint.request.template == "/users/{id}"
    assert endpoint.request.target.endswith("/users/7?key=s3cret")


@pytest.mark.parametrize(
    ("method", "path", "options", "note"),
    [
        ("GET", "/users/{id}?key=s3cret", {}, "client: GET /users/{id}, not sent"),
        ("POST", "/users", {"jsn": {}}, "client: POST /users, not sent"),
        ("GET", 7, {}, "client: GET 7, not sent"),
    ],
)
def test_a_call_that_is_refused_says_which_it_is(method, path, options, note):
    with pytest.raises((TypeError, ValueError)) as caught:
        build(base_uri="https://h", endpoint=print).send(method, path, **options)
    assert caught.value.__notes__ == [note]
