"""What sends is a session of requests that somebody brought."""

import io

import pytest

from formation import errors
from formation.for_requests import build, endpoint, json_response
from formation.keys import REQ_HTTP
from tests.for_requests.cases import within
from tests.servers import refused


def test_a_session_that_is_brought_is_used_as_it_is(session, server):
    answered = []
    session.headers["X-Session"] = "1"
    session.params = {"key": "k"}
    session.auth = ("me", "pw")
    session.cookies.set("s", "1")
    session.hooks["response"].append(lambda response, **kwargs: answered.append(response.status_code))
    sender = build(base_uri=server.url, endpoint=endpoint(session), response_as=json_response)
    seen = sender.get("/echo", params={"q": 1}, headers={"X-Call": "2"}, cookies={"c": "3"}).body
    assert seen["headers"]["x-session"] == "1"
    assert seen["headers"]["x-call"] == "2"
    assert seen["headers"]["authorization"] == "Basic bWU6cHc="
    assert seen["headers"]["cookie"] == "c=3"
    assert seen["target"] == "/echo?q=1&key=k"
    assert "s=1" in sender.get("/echo").body["headers"]["cookie"]
    assert answered == [200, 200]


def test_a_session_keeps_its_cookies_and_stays_open(session, fresh_server):
    sender = build(base_uri=fresh_server.url, endpoint=endpoint(session), response_as=json_response)
    sender.get("/cookies/set?a=1")
    assert sender.get("/cookies").body == {"a": "1"}
    sender.close()
    assert fresh_server.connections == 1
    assert session.get(fresh_server.url + "/cookies").json() == {"a": "1"}


def test_redirects_are_ours_even_with_a_session(session, server):
    sender = build(base_uri=server.url, endpoint=endpoint(session))
    with server.watch() as seen:
        result = sender.get("/hops/3")
    assert (result.status_code, len(result.response.history), len(seen.requests)) == (200, 3, 4)
    with pytest.raises(errors.TooManyRedirects):
        sender.get("/hops/11")
    assert sender.get("/hops/1", absolute=False).url == server.url + "/hops/0"
    assert sender.extend(max_redirects=0).get("/hops/1").body == b"moved"
    with sender.extend(max_redirects=0).get("/hops/1", stream=True) as result:
        assert b"".join(result.body) == b"moved"


@pytest.mark.parametrize("location", ["http://[::1", "javascript:alert(1)", "http://h:port/"])
def test_a_location_that_makes_a_session_stumble_is_no_error_of_python(session, server, location):
    sender = build(base_uri=server.url, endpoint=endpoint(session))
    try:
        result = sender.get("/redirect/302", params={"to": location})
    except errors.TransportError:
        return
    assert result.status_code == 302


def test_no_secret_of_a_session_goes_along_to_another_origin(session, server, other_server):
    session.headers["Authorization"] = "Bearer s3cret"
    session.headers["Proxy-Authorization"] = "s3cret"
    sender = build(base_uri=server.url, endpoint=endpoint(session))
    with server.watch() as home, other_server.watch() as away:
        sender.get("/redirect/302", params={"to": other_server.url + "/echo"})
        session.headers.pop("Authorization")
        session.auth = ("me", "s3cret")
        sender.get("/redirect/302", params={"to": other_server.url + "/echo"})
    assert [bool(each.header("Authorization")) for each in home.requests] == [True, True]
    assert [each.header("Authorization") for each in away.requests] == [None, None]
    assert [each.header("Proxy-Authorization") for each in away.requests] == [None, None]


def test_bodies_are_sent_by_a_session_as_by_ours(session, server):
    sender = build(base_uri=server.url, endpoint=endpoint(session))
    with server.watch() as seen:
        sender.post("/echo", content=b"123")
        sender.post("/echo", content=io.BytesIO(b"123"))
        sender.post("/echo", content=iter([b"12", b"3"]))
        sender.post("/echo", files={"f": b"123"}, data={"a": "1"})
        sender.post("/echo", json={"a": "é"})
        sender.post("/echo", data={"a": "1 2"})
        sender.post("/echo")
        sender.get("/echo")
    framings = [each.framing for each in seen.requests]
    assert framings == ["length", "length", "chunked", "length", "length", "length", "none", "none"]
    assert [each.body for each in seen.requests[:3]] == [b"123"] * 3
    assert b'name="f"' in seen.requests[3].body
    assert seen.requests[3].header("Content-Type").startswith("multipart/form-data; boundary=")
    assert seen.requests[4].body == '{"a":"é"}'.encode()
    assert seen.requests[4].header("Content-Type") == "application/json"
    assert seen.requests[5].header("Content-Type") == "application/x-www-form-urlencoded"


def test_errors_of_a_session_are_of_the_same_tree(session, server):
    sender = build(base_uri=server.url, endpoint=endpoint(session), timeout=(5, 0.2))
    for path, kind in {
        "/close": errors.ProtocolError,
        "/close-mid-body": errors.ProtocolError,
        "/hang": errors.ReadTimeout,
        "/hang-body": errors.ReadTimeout,
    }.items():
        with pytest.raises(kind) as caught:
            sender.get(path)
        assert caught.value.request.path == path
    with pytest.raises(errors.ConnectError):
        sender.get(refused(), absolute=True)


def test_a_deadline_ends_the_body_of_a_session_that_is_brought(session, fresh_server):
    sender = build(base_uri=fresh_server.url, endpoint=endpoint(session), middleware=[within(0.3)])
    with pytest.raises(errors.DeadlineExceeded):
        sender.get("/drip?count=1000&delay=0.02")
    with pytest.raises(errors.DeadlineExceeded), sender.get("/drip?count=1000&delay=0.02", stream=True) as result:
        list(result.body)
    assert fresh_server.settles(0)


def test_an_adapter_in_a_session_that_is_brought_works_too(mounted, server):
    log = []

    def inner(ctx, call):
        log.append(ctx[REQ_HTTP].path)
        return call(ctx)

    sender = build(base_uri=server.url, endpoint=endpoint(mounted(inner)))
    assert sender.get("/hops/1").status_code == 200
    assert log == ["/hops/1", "/hops/0"]
