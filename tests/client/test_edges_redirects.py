"""Where a call is sent on, over every client edge, and what goes along: secrets and cookies."""

import io
from http.cookiejar import CookieJar

import pytest
from structlog.testing import capture_logs

from formation import errors
from formation.client.responses import json_response
from formation.keys import REQ_HTTP, RES_HTTP, SENSITIVE
from formation.middleware import (
    api_key,
    basic,
    bearer,
    oauth2_client_credentials,
    request_logger,
)
from tests.client.cases import SECRETS, echo
from tests.servers import refused

# Redirects


@pytest.mark.parametrize(
    ("status", "method", "after"),
    [
        (status, method, after)
        for status, changed in {
            301: {"POST": "GET"},
            302: {"POST": "GET"},
            303: {"POST": "GET", "PUT": "GET", "DELETE": "GET", "PATCH": "GET"},
            307: {},
            308: {},
        }.items()
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        for after in [changed.get(method, method)]
    ],
)
def test_a_redirect_keeps_or_changes_method_and_body(http, server, status, method, after):
    body = {"json": {"a": 1}} if method not in {"GET", "HEAD"} else {}
    with server.watch() as seen:
        result = http.send(method, f"/redirect/{status}?to=/echo/there", **body)
    first, second = seen.requests
    assert second.method == after
    assert second.path == "/echo/there"
    if after == method:
        assert second.body == first.body
        assert second.header("Content-Type") == first.header("Content-Type")
    else:
        assert not second.body
        assert not {"content-type", "content-length", "transfer-encoding"} & {
            name.lower() for name, _ in second.headers
        }
    assert result.url == server.url + "/echo/there"
    assert [each.status_code for each in result.response.history] == [status]
    assert result.request.method == method  # a call is one call for whoever is above


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_3xx_are_answers(http, status):
    assert http.get(f"/redirect/{status}?to=/echo").status_code == status


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/echo/x", "/echo/x"),
        ("302?to=/echo", "/redirect/302?to=/echo"),
        ("../echo/x", "/echo/x"),
        ("?to=/echo", "/redirect/302?to=/echo"),
        ("{url}/echo/x", "/echo/x"),
        ("//{host}/echo/x", "/echo/x"),
        ("/echo/x#fragment", "/echo/x"),
        ("/echo/a b", "/echo/a%20b"),
        ("/echo/grün", "/echo/gr%C3%BCn"),
        ("/echo/a%2Fb", "/echo/a%2Fb"),
        ("http://me:pw@{host}/echo/x", "/echo/x"),
        (" /echo/x ", "/echo/x"),
    ],
)
def test_a_location_is_read_as_browsers_read_it(make, server, location, target):
    location = location.format(url=server.url, host=f"{server.host}:{server.port}")
    client = make(base_uri=server.url, max_redirects=2)
    with server.watch() as seen:
        client.get("/redirect/302", params={"to": location})
    assert seen.requests[1].target == target
    assert seen.requests[1].header("Authorization") is None


@pytest.mark.parametrize(
    "location",
    ["javascript:alert(1)", "ftp://127.0.0.1/x", "file:///etc/passwd", "", "http://", "http://[::1", "http://h:99999/"],
)
def test_a_location_that_cannot_be_followed_makes_the_redirect_the_answer(http, server, location):
    with server.watch() as seen:
        result = http.get("/redirect/302", params={"to": location} if location else {"to": ""})
    assert result.status_code == 302
    assert result.response.history == ()
    assert len(seen.requests) == 1


def test_a_body_that_can_be_sent_once_only_is_not_sent_again(http, server):
    with server.watch() as seen:
        result = http.post("/redirect/307?to=/echo", content=(each for each in [b"once"]))
    assert result.status_code == 307
    assert len(seen.requests) == 1
    with server.watch() as seen:
        http.post("/redirect/302?to=/echo", content=(each for each in [b"once"]))
    assert [each.method for each in seen.requests] == ["POST", "GET"]


@pytest.mark.parametrize("status", [307, 308])
def test_a_file_and_a_function_are_sent_again_from_where_they_started(http, server, status):
    file = io.BytesIO(b"skipped, sent")
    file.seek(9)
    for content in (file, lambda: iter([b"se", b"nt"])):
        with server.watch() as seen:
            http.post(f"/redirect/{status}?to=/echo", content=content)
        assert [each.body for each in seen.requests] == [b"sent", b"sent"]
    with server.watch() as seen:
        http.post(f"/redirect/{status}?to=/echo", files={"f": ("n", io.BytesIO(b"sent"))})
    assert seen.requests[0].body == seen.requests[1].body
    assert b"sent" in seen.requests[1].body


def test_ten_redirects_are_followed_and_the_eleventh_is_too_many(http, make, server):
    assert http.get("/hops/10").status_code == 200
    with server.watch() as seen, pytest.raises(errors.TooManyRedirects) as caught:
        http.get("/hops/11")
    assert (caught.value.limit, caught.value.url) == (10, server.url + "/hops/0")
    assert caught.value.request.url == server.url + "/hops/1"
    assert caught.value.response.status_code == 302
    assert len(seen.requests) == 11
    assert make(base_uri=server.url, max_redirects=0).get("/hops/1").status_code == 302


def test_middleware_runs_once_per_call_and_per_hop_for_each_hop(make, server):
    log = []

    def call_log(ctx, call):
        log.append(f"call {ctx[REQ_HTTP].path}")
        ctx = call(ctx)
        log.append(f"back {ctx[REQ_HTTP].path} {ctx[RES_HTTP].status_code}")
        return ctx

    def hop_log(ctx, call):
        log.append(f"hop {ctx[REQ_HTTP].path}")
        return call(ctx)

    make(base_uri=server.url, middleware=[call_log], per_hop=[hop_log]).get("/hops/2")
    assert log == ["call /hops/2", "hop /hops/2", "hop /hops/1", "hop /hops/0", "back /hops/2 200"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_secret_goes_along_to_another_origin(make, server, other_server, status):
    def api_key(ctx, call):
        ctx[REQ_HTTP].headers["X-API-Key"] = "s3cret"
        ctx[SENSITIVE].add("x-api-key")
        return call(ctx)

    client = make(base_uri=server.url, middleware=[api_key], headers=SECRETS, auth=("me", "s3cret"))
    location = f"{other_server.url}/echo"
    with server.watch() as home, other_server.watch() as away:
        client.post(
            f"/redirect/{status}", params={"to": location}, cookies={"own": "s3cret"}, headers={"X-Plain": "1"}, json={}
        )
        client.get("/redirect/302", params={"to": "/echo/home"})
    assert "s3cret" in str(home.requests[0].headers)
    assert home.requests[2].header("X-API-Key") == "s3cret"
    assert home.requests[2].header("Authorization") == "Bearer s3cret"
    seen = away.requests[0]
    assert "s3cret" not in str(seen.headers)
    assert seen.header("X-Plain") == "1"
    assert seen.header("Host") == f"127.0.0.1:{other_server.port}"


@pytest.mark.parametrize("auth", [("me", "s3cret"), lambda request: request.headers.set("Authorization", "s3cret")])
def test_auth_stays_home_and_does_not_come_back_by_itself(make, server, other_server, auth):
    client = make(base_uri=server.url, auth=auth)
    back = f"{server.url}/echo"
    with server.watch() as home, other_server.watch() as away:
        client.get("/redirect/302", params={"to": f"{other_server.url}/redirect/302?to={back}"})
    assert home.requests[0].header("Authorization")
    assert away.requests[0].header("Authorization") is None
    assert home.requests[1].header("Authorization") is None


def test_auth_goes_along_within_the_origin(http, server):
    with server.watch() as seen:
        http.get("/redirect/302?to=/basic-auth/me/pw", auth=("me", "pw"), expect=200)
    assert [bool(each.header("Authorization")) for each in seen.requests] == [True, True]


def test_no_secret_goes_from_https_to_http(edge, make, tls_server, server, ca_file):
    client = make(base_uri=tls_server.url, endpoint=edge.trusting(ca_file), headers=SECRETS, auth=("me", "s3cret"))
    with server.watch() as seen:
        client.get("/redirect/302", params={"to": server.url + "/echo"})
    assert "s3cret" not in str(seen.requests[0].headers)


def test_a_redirect_to_a_server_that_fails_tells_of_the_hop_and_of_the_call(make, server):
    nowhere, above = refused(), []

    def look(ctx, call):
        try:
            return call(ctx)
        finally:
            above.append(ctx[REQ_HTTP].path)

    with pytest.raises(errors.ConnectError) as caught:
        make(base_uri=server.url, middleware=[look]).get("/redirect/302", params={"to": nowhere})
    assert caught.value.request.url == nowhere
    assert caught.value.__notes__[0] == f"redirect 1, to {nowhere}"
    assert "GET /redirect/302" in caught.value.__notes__[1]
    assert above == ["/redirect/302"]


# Auth and cookies


def test_a_pair_is_basic_authentication_and_a_function_does_what_it_likes(make, server):
    assert make(base_uri=server.url, auth=("mé", "p:w")).get("/basic-auth/mé/p:w").status_code == 200

    def sign(request):
        request.headers["X-Signature"] = f"{request.method} {request.target} {len(request.content)}"

    seen = echo(make(base_uri=server.url, auth=sign).post("/echo", params={"a": 1}, content=b"123"))
    assert seen["headers"]["x-signature"] == f"POST {server.url}/echo?a=1 3"


@pytest.mark.parametrize("how", ["middleware", "auth"])
@pytest.mark.parametrize(
    ("made", "sent"),
    [
        (lambda: basic("me", "s3cret"), "Basic bWU6czNjcmV0"),
        (lambda: bearer("s3cret"), "Bearer s3cret"),
        (lambda: bearer(lambda: "s3cret"), "Bearer s3cret"),
        (lambda: api_key("s3cret", "X-Key"), "s3cret"),
        (lambda: api_key("s3cret", "key", place="query"), "/redirect/302?to={}&key=s3cret"),
        (lambda: api_key("s3cret", "key", place="cookie"), "key=s3cret"),
    ],
    ids=["basic", "bearer", "bearer by a function", "header", "query", "cookie"],
)
def test_the_auth_middlewares_say_who_it_is_at_home_and_nowhere_else(make, server, other_server, how, made, sent):  # noqa: PLR0917
    client = make(base_uri=server.url, **{how: [made()] if how == "middleware" else made()})
    with server.watch() as home, other_server.watch() as away, capture_logs() as lines:
        to = other_server.url + "/echo"
        client.get(f"/redirect/302?to={to}", middleware=[request_logger()])
    assert sent.format(to) in [home.requests[0].target, *(value for _, value in home.requests[0].headers)]
    assert "s3cret" not in str(away.requests)
    assert "bWU6" not in str(away.requests)
    if how == "middleware":
        assert "s3cret" not in str(lines)
        assert "bWU6" not in str(lines)


@pytest.mark.parametrize("how", ["middleware", "auth"])
def test_a_token_is_fetched_once_and_once_more_when_it_is_refused(make, server, how):
    issued, good = [], 1

    def token(connection, seen):
        issued.append(seen)
        said = {"access_token": f"t{len(issued)}", "token_type": "bearer", "expires_in": 3600}
        connection.answer_json(seen, said)

    def api(connection, seen):
        fits = seen.header("Authorization") == f"Bearer t{good}"
        connection.answer(seen, 200 if fits else 401, seen.body)

    with server.route("token", token) as url, server.route("api", api):
        made = oauth2_client_credentials(url, "id", "s3cret")
        client = make(base_uri=server.url, **{how: [made] if how == "middleware" else made})
        assert [client.get("/api").status_code for _ in range(3)] == [200] * 3
        assert len(issued) == 1
        good = 2  # the first one has been revoked
        assert tuple(client.post("/api", content=b"again"))[:2] == (b"again", 200)
        assert len(issued) == 2
        good = 0
        assert client.get("/api").status_code == 401
        assert len(issued) == 3
    assert issued[0].method == "POST"
    assert b"grant_type=client_credentials" in issued[0].body


def test_netrc_is_not_read(make, server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = make(base_uri=server.url)
    assert "authorization" not in echo(client.get("/echo"))["headers"]
    assert echo(client.get("/echo", headers={"Authorization": "mine"}))["headers"]["authorization"] == "mine"


def test_an_authorization_header_outdoes_a_pair(make, server):
    client = make(base_uri=server.url, auth=("me", "pw"))
    assert echo(client.get("/echo", headers={"Authorization": "Bearer x"}))["headers"]["authorization"] == "Bearer x"
    assert "authorization" not in echo(client.get("/echo", auth=None))["headers"]


def test_cookies_of_client_and_call_go_out_together(make, server):
    client = make(base_uri=server.url, cookies={"a": "1", "b": "2"}, response_as=json_response)
    assert client.get("/cookies", cookies={"b": "3", "c": "4"}).body == {"a": "1", "b": "3", "c": "4"}
    assert client.get("/cookies", headers={"Cookie": "d=5"}).body == {"a": "1", "b": "2", "d": "5"}


def test_cookies_are_not_kept_between_calls(http):
    http.get("/cookies/set?a=1")
    http.get("/cookies/set?a=1&to=/cookies")
    assert http.get("/cookies", response_as=json_response).body == {}


def test_a_jar_keeps_cookies_between_calls_and_hops(make, server):
    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, response_as=json_response)
    assert client.get("/cookies/set?a=1&b=2&to=/cookies").body == {"a": "1", "b": "2"}
    assert client.get("/cookies", cookies={"b": "mine"}).body == {"a": "1", "b": "mine"}
    assert {each.name for each in jar} == {"a", "b"}
    assert make(base_uri=server.url).get("/cookies", response_as=json_response).body == {}


def test_a_jar_sends_cookies_to_their_own_host_only(make, server):
    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, response_as=json_response)
    client.get("/cookies/set?a=1")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    assert client.get("/redirect/302", params={"to": elsewhere + "/cookies"}).body == {}
    assert client.get("/cookies").body == {"a": "1"}


def test_a_middleware_that_calls_twice_sends_each_cookie_once(make, server):
    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, middleware=[twice])
    with server.watch() as seen:
        client.get("/cookies/set?a=1")
        client.get("/cookies", cookies={"b": "2"})
        client.get("/cookies", headers={"Cookie": "c=3"})
    lines = [each.header("Cookie") for each in seen.requests]
    assert lines == [None, "a=1", "b=2; a=1", "b=2; a=1", "c=3; a=1", "c=3; a=1"]
