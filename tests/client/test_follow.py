"""Authorize, send cookies, keep cookies, follow redirects: contexts in, contexts out."""

from base64 import b64decode
from http.cookiejar import CookieJar

import pytest

from formation import wrap
from formation.client.follow import authorize, follow_redirects, tell
from formation.errors import BodyConsumed, TooManyRedirects
from formation.http import Request, Response
from formation.keys import REQ_HTTP, RES_HTTP, SENSITIVE

URL = "https://h.example/start"


class Script:
    """An endpoint that answers as it is told, and keeps what it was asked for."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.given = []

    def __call__(self, ctx):
        request = ctx[REQ_HTTP]
        headers = {str(name): request.headers[name] for name in request.headers}
        self.asked.append((request.method, request.target, headers, request.content if request.replayable else None))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        response = ctx[RES_HTTP] = Response(status, headers, iter([b"x"]), request=request, url=request.target)
        self.given.append(response)
        return ctx


def to(location, status=302, **headers):
    return status, {"Location": location, **headers}


def go(script, request=None, *, limit=10, jar=None, sensitive=()):
    ctx = {REQ_HTTP: request or Request("GET", URL), SENSITIVE: set(sensitive)}
    return wrap(script, [follow_redirects(limit, jar)])(ctx)


def test_an_answer_that_is_no_redirect_passes_as_it_is():
    script, request = Script(200), Request("GET", URL)
    ctx = go(script, request)
    assert ctx[RES_HTTP] is script.given[0]
    assert ctx[RES_HTTP].history == ()
    assert ctx[REQ_HTTP] is request


def test_a_redirect_is_followed_and_the_call_stays_one_call():
    script, request = Script(to("/a"), to("b?q=1"), 200), Request("GET", URL, params={"p": 1})
    ctx = go(script, request)
    assert [target for _, target, _, _ in script.asked] == [
        "https://h.example/start?p=1",
        "https://h.example/a",
        "https://h.example/b?q=1",
    ]
    assert ctx[REQ_HTTP] is request
    assert request.target == URL + "?p=1"
    assert ctx[RES_HTTP].history == tuple(script.given[:2])
    assert ctx[RES_HTTP].url == "https://h.example/b?q=1"


def test_what_redirected_is_closed_and_the_answer_is_not():
    script, closed = Script(to("/a"), 200), []
    go(script)
    for each in script.given:
        each.on_close(lambda count, error: closed.append(1))
    assert closed == [1]


def test_nothing_is_followed_where_the_limit_is_zero():
    assert go(Script(to("/a")), limit=0)[RES_HTTP].status_code == 302


def test_more_hops_than_allowed_are_an_error_that_says_where_it_was():
    script, ctx = Script(to("/1"), to("/2"), to("/3")), {REQ_HTTP: Request("GET", URL)}
    with pytest.raises(TooManyRedirects) as caught:
        wrap(script, [follow_redirects(2)])(ctx)
    error = caught.value
    assert (error.limit, error.url) == (2, "https://h.example/3")
    assert error.request.url == "https://h.example/2"
    assert error.response is script.given[2]
    assert error.__notes__ == ["redirect 2, to https://h.example/2"]
    assert ctx[REQ_HTTP].url == URL


def test_an_error_on_the_first_hop_gets_no_note():
    with pytest.raises(LookupError) as caught:
        go(Script(LookupError()))
    assert not hasattr(caught.value, "__notes__")
    assert not hasattr(caught.value, "request")


def test_an_error_on_a_later_hop_says_which_and_leaves_the_call_to_be_made_again():
    script, ctx = Script(to("https://other.example/x?q=1"), LookupError()), {REQ_HTTP: Request("POST", URL, json=1)}
    with pytest.raises(LookupError) as caught:
        wrap(script, [follow_redirects(10)])(ctx)
    assert caught.value.request.url == "https://other.example/x?q=1"
    assert caught.value.response is None
    assert caught.value.__notes__ == ["redirect 1, to https://other.example/x?q=1"]
    assert (ctx[REQ_HTTP].method, ctx[REQ_HTTP].url) == ("POST", URL)


def test_a_body_is_sent_again_where_it_can_be():
    script = Script(to("/a", 307), 200)
    go(script, Request("PUT", URL, content=b"body"))
    assert [body for *_, body in script.asked] == [b"body", b"body"]


def test_a_stream_is_not_sent_again():
    script = Script(to("/a", 307), 200)
    assert go(script, Request("PUT", URL, content=iter([b"x"])))[RES_HTTP].status_code == 307
    assert len(script.asked) == 1


def test_a_file_that_has_been_closed_meanwhile_is_an_error(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")

    def send(ctx):
        list(ctx[REQ_HTTP].body)
        file.close()
        ctx[RES_HTTP] = Response(307, {"Location": "/a"})
        return ctx

    with path.open("rb") as file, pytest.raises((BodyConsumed, ValueError)):
        wrap(send, [follow_redirects(10)])({REQ_HTTP: Request("PUT", URL, content=file)})


# Secrets


def test_sensitive_headers_stay_home_for_good():
    secrets = {"Authorization": "s3cret", "Cookie": "s3cret", "Proxy-Authorization": "s3cret", "x-api-KEY": "s3cret"}
    script = Script(to("https://other.example/a"), to("https://h.example/b"), 200)
    request = Request("GET", URL, headers={**secrets, "X-Plain": "1"}, cookies={"a": "s3cret"}, auth=("u", "p"))
    go(script, request, sensitive=["X-API-Key"])
    assert str(script.asked[0]).count("s3cret") == 5
    assert "s3cret" not in str(script.asked[1:])
    assert [headers for _, _, headers, _ in script.asked[1:]] == [{"X-Plain": "1"}] * 2
    assert request.headers["Authorization"] == "s3cret"


@pytest.mark.parametrize(
    "url", ["http://h.example/a", "https://h.example:444/a", "https://www.h.example/a", "https://h.example.evil/a"]
)
def test_another_scheme_port_or_host_is_another_origin(url):
    script = Script(to(url), 200)
    go(script, Request("GET", URL, auth=("u", "p")))
    assert ["Authorization" in headers for _, _, headers, _ in script.asked] == [True, False]


# Cookies


def test_cookies_of_a_request_are_sent_and_forgotten():
    request, script = Request("GET", URL, cookies={"a": "1"}, headers={"Cookie": "b=2"}), Script((200, {}), 200)
    go(script, request)
    go(script, request)
    assert [headers["Cookie"] for _, _, headers, _ in script.asked] == ["b=2; a=1", "b=2; a=1"]
    assert request.headers["Cookie"] == "b=2"


def test_the_header_is_as_it_was_even_after_an_error():
    request = Request("GET", URL, cookies={"a": "1"})
    with pytest.raises(LookupError):
        go(Script(LookupError()), request)
    assert "Cookie" not in request.headers


def test_a_jar_gives_and_takes_at_each_hop():
    jar = CookieJar()
    script = Script(to("/a", **{"Set-Cookie": "a=1"}), to("https://other.example/b", **{"Set-Cookie": "b=2"}), 200, 200)
    go(script, jar=jar)
    go(script, jar=jar)
    assert [headers.get("Cookie") for _, _, headers, _ in script.asked] == [None, "a=1", None, "a=1; b=2"]


# Auth


def test_a_pair_is_basic_authentication_in_utf_8():
    request = Request("GET", URL, auth=("jö", "pä:ss"))
    authorize(request)
    scheme, _, value = request.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(value).decode()) == ("Basic", "jö:pä:ss")


def test_a_user_name_with_a_colon_cannot_be_told_from_the_password():
    with pytest.raises(ValueError, match="RFC 7617"):
        authorize(Request("GET", URL, auth=("a:b", "c")))


def test_a_header_that_is_there_stays_but_a_function_decides_for_itself():
    request = Request("GET", URL, headers={"Authorization": "Bearer x"}, auth=("u", "p"))
    authorize(request)
    assert request.headers["Authorization"] == "Bearer x"
    request.auth = lambda request: request.headers.set("authorization", "mine")
    authorize(request)
    assert request.headers["Authorization"] == "mine"
    request.auth = None
    authorize(request)
    assert request.headers["Authorization"] == "mine"


def test_a_function_signs_each_hop_of_the_origin():
    script = Script(to("/a"), 200)
    go(script, Request("GET", URL, auth=lambda request: request.headers.set("X-Signed", request.path)))
    assert [headers["X-Signed"] for _, _, headers, _ in script.asked] == ["/start", "/a"]


# Errors


def test_an_error_keeps_what_it_has_and_one_that_takes_nothing_is_left_alone():
    request, response = Request("GET", URL), Response(200)
    error = LookupError()
    tell(error, request, None)
    assert (error.request, error.response) == (request, None)
    tell(error, Request("GET", URL), response)
    assert (error.request, error.response) == (request, response)

    class Closed(Exception):
        request = response = property(lambda self: None)

    tell(Closed(), request, response)
