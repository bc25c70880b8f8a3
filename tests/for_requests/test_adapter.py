"""Middleware inside of any session of requests: what it sees and changes."""

import io
import json
import threading

import pytest
import requests
from requests.auth import HTTPDigestAuth

from formation import errors
from formation.client import wire
from formation.exchange import reply
from formation.for_requests import build, endpoint
from formation.http import Request
from formation.keys import KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE
from formation.middleware.retry import retry


def test_without_middleware_a_session_behaves_as_ever(mounted, server):
    session = mounted()
    assert session.get(server.url + "/echo", params={"q": 1}).json()["target"] == "/echo?q=1"
    assert session.post(server.url + "/echo", json={"a": 1}).json()["body"] == '{"a": 1}'
    assert session.post(server.url + "/echo", data={"a": "1"}).json()["body"] == "a=1"
    assert session.post(server.url + "/echo", data=iter([b"1", b"2"])).json()["framing"] == "chunked"
    assert session.post(server.url + "/echo", data=io.BytesIO(b"12")).json()["framing"] == "length"
    assert (
        session.post(server.url + "/echo", files={"f": b"1"}).json()["headers"]["content-type"].startswith("multipart")
    )
    assert session.head(server.url + "/echo").content == b""
    assert session.get(server.url + "/gzip").json() == {"gzip": True}
    assert session.get(server.url + "/status/404").status_code == 404
    assert session.get(server.url + "/basic-auth/me/pw", auth=("me", "pw")).status_code == 200


def test_a_middleware_sees_a_context_like_any_other(mounted, server):
    seen = {}

    def look(ctx, call):
        seen.update(ctx)
        seen["before"] = set(ctx)
        ctx = call(ctx)
        seen["response"] = ctx[RES_HTTP]
        return ctx

    response = mounted(look).post(server.url + "/echo?q=1", headers={"X-A": "1"}, json=[1], timeout=5)
    assert (seen[SIDE], seen[KIND], seen[TEMPLATE]) == ("client", "http", "/echo")
    assert (seen[SENSITIVE], seen[STATE]) == (set(), {})
    assert RES_HTTP not in seen["before"]
    request = seen[REQ_HTTP]
    assert (request.method, request.url, request.timeout) == ("POST", server.url + "/echo?q=1", 5)
    assert request.headers["x-a"] == "1"
    assert request.json == [1]
    assert isinstance(seen[NATIVE]["request"], requests.PreparedRequest)
    assert seen[NATIVE]["response"] is response
    assert seen["response"].status_code == 200
    assert seen["response"].elapsed > 0


def test_an_untouched_response_is_the_very_object(mounted, server):
    natives = []

    def look(ctx, call):
        ctx = call(ctx)
        natives.append(ctx[NATIVE]["response"])
        assert ctx[RES_HTTP].headers["Content-Type"] == "application/json"
        return ctx

    for stream in (False, True):
        with mounted(look).get(server.url + "/echo", stream=stream) as response:
            assert response is natives[-1]
            assert response.json()["path"] == "/echo"
            assert response.raw.version == 11
            assert response.elapsed.total_seconds() > 0


def test_redirects_cookies_and_hooks_stay_the_sessions(mounted, server):
    hops, hooked = [], []

    def log(ctx, call):
        hops.append(ctx[REQ_HTTP].path)
        return call(ctx)

    session = mounted(log)
    session.hooks["response"].append(lambda response, **kwargs: hooked.append(response.status_code))
    response = session.get(server.url + "/cookies/set?a=1&to=/cookies")
    assert response.json() == {"a": "1"}
    assert [each.status_code for each in response.history] == [302]
    assert session.cookies.get_dict() == {"a": "1"}
    assert hops == ["/cookies/set", "/cookies"]
    assert hooked == [302, 200]
    assert session.get(server.url + "/hops/2", allow_redirects=False).status_code == 302
    with pytest.raises(requests.TooManyRedirects):
        session.get(server.url + "/loop")


def test_a_digest_goes_through_the_middleware_again(mounted, server):
    log = []

    def look(ctx, call):
        log.append(ctx[REQ_HTTP].headers.get("Authorization", "")[:6])
        return call(ctx)

    def digest(connection, seen):
        if seen.header("Authorization"):
            connection.answer(seen, 200, b"in")
        else:
            connection.answer(seen, 401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')])

    with server.route("digest-auth", digest) as url:
        response = mounted(look).get(url, auth=HTTPDigestAuth("me", "pw"))
    assert response.text == "in"
    assert log == ["", "Digest"]


def test_streams_stay_streams(mounted, server):
    def look(ctx, call):
        return call(ctx)

    session = mounted(look)
    with session.get(server.url + "/lines/20", stream=True) as response:
        assert list(response.iter_lines(decode_unicode=True)) == [f"line {n}" for n in range(20)]
    with session.get(server.url + "/chunks/3", stream=True) as response:
        assert list(response.iter_content(None)) == [b"A" * 10, b"B" * 10, b"C" * 10]
    with session.get(server.url + "/bytes/100", stream=True) as response:
        assert response.raw.read(60) == bytes(60)
        assert response.raw.read() == bytes(40)


def test_a_stream_arrives_piece_by_piece_through_a_map_too(mounted, server):
    go = threading.Event()

    def waiting(connection, seen):
        connection.head(200, [("Transfer-Encoding", "chunked")])
        connection.send(b"6\r\nfirst\n\r\n")
        assert go.wait(10)
        connection.send(b"5\r\nlast\n\r\n0\r\n\r\n")

    def shout(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body.map(bytes.upper)
        return ctx

    with server.route("waiting", waiting) as url, mounted(shout).get(url, stream=True) as response:
        lines = response.iter_content(6)
        assert next(lines) == b"FIRST\n"
        go.set()
        assert b"".join(lines) == b"LAST\n"


def test_middleware_changes_the_request(mounted, server, other_server):
    def change(ctx, call):
        request = ctx[REQ_HTTP]
        request.method, request.url = "PUT", other_server.url + "/echo/new"
        request.params["q"] = "1"
        request.headers["X-New"] = "1"
        del request.headers["X-Old"]
        request.json = {"new": 1}
        return call(ctx)

    with other_server.watch() as seen:
        response = mounted(change).post(server.url + "/echo", data=iter([b"old"]), headers={"X-Old": "1"})
    request = seen.requests[0]
    assert (request.method, request.target, request.body) == ("PUT", "/echo/new?q=1", b'{"new":1}')
    assert (request.framing, request.header("Content-Length"), request.header("Transfer-Encoding")) == (
        "length",
        "9",
        None,
    )
    assert (request.header("X-New"), request.header("X-Old")) == ("1", None)
    assert request.header("Content-Type") == "application/json"
    assert response.url == other_server.url + "/echo/new?q=1"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda body: body.map(bytes.upper), b"BODY"),
        (lambda body: body.read(), b"body"),
        (lambda body: None, b"body"),
    ],
    ids=["mapped", "read", "untouched"],
)
@pytest.mark.parametrize("given", ["bytes", "text", "file", "stream"])
def test_a_body_that_is_mapped_or_read_on_its_way_is_sent_so(mounted, server, change, wanted, given):
    def middleware(ctx, call):
        change(ctx[REQ_HTTP].body)
        return call(ctx)

    data = {"bytes": b"body", "text": "body", "file": io.BytesIO(b"body"), "stream": iter([b"bo", b"dy"])}[given]
    with server.watch() as seen:
        mounted(middleware).post(server.url + "/echo", data=data)
    request = seen.requests[0]
    assert request.body == wanted
    assert not (request.header("Content-Length") and request.header("Transfer-Encoding"))


def test_a_stream_in_the_place_of_a_body_is_chunked(mounted, server):
    def stream(ctx, call):
        ctx[REQ_HTTP].body = iter([b"a", b"b"])
        return call(ctx)

    with server.watch() as seen:
        mounted(stream).post(server.url + "/echo", data=b"old")
    assert (seen.requests[0].framing, seen.requests[0].body) == ("chunked", b"ab")
    assert seen.requests[0].header("Content-Length") is None


def test_middleware_changes_status_and_headers_and_the_body_stays_what_it_is(mounted, server):
    def change(ctx, call):
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.status_code, response.reason = 418, "Tea"
        response.headers["X-New"] = "1"
        response.headers["Content-Type"] = "text/plain; charset=latin-1"
        del response.headers["Content-Length"]
        return ctx

    with mounted(change).get(server.url + "/data?body=%C3%BC", stream=True) as response:
        assert (response.status_code, response.reason, response.ok) == (418, "Tea", False)
        assert (response.headers["x-new"], "Content-Length" in response.headers) == ("1", False)
        assert (response.encoding, response.text) == ("latin-1", "Ã¼")
        with pytest.raises(requests.HTTPError, match="418 Client Error: Tea"):
            response.raise_for_status()


def test_a_body_that_is_handed_on_unpacked_has_its_own_length(mounted, server):
    def read(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].content
        return ctx

    def wait(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].on_close(lambda *_: None)
        return ctx

    response = mounted(read).get(server.url + "/gzip")
    assert (response.headers["Content-Length"], response.content) == ("14", b'{"gzip": true}')
    response = mounted(wait).get(server.url + "/gzip")
    assert ("Content-Length" in response.headers, response.content) == (False, b'{"gzip": true}')
    response = mounted(wait).head(server.url + "/gzip")
    assert (response.headers["Content-Encoding"], response.content) == ("gzip", b"")


@pytest.mark.parametrize("path", ["/chunks/2?size=2", "/gzip", "/data?body=aabb"])
def test_middleware_changes_the_body(mounted, server, path):
    def change(ctx, call):
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.body = b"<" + response.content + b">"
        return ctx

    response = mounted(change).get(server.url + path)
    assert response.content[:1] + response.content[-1:] == b"<>"
    assert response.headers.get("Content-Length", str(len(response.content))) == str(len(response.content))
    assert "Content-Encoding" not in response.headers
    assert response.url == server.url + path
    assert response.request.url == server.url + path


def test_a_changed_body_is_still_a_response_of_requests(mounted, server):
    def rewrite(ctx, call):
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.body = (line for line in [b"one\n", b"two\n", response.content])
        return ctx

    session = mounted(rewrite)
    with session.get(server.url + "/cookies/set?a=1", stream=True) as response:
        assert list(response.iter_lines()) == [b"one", b"two"]
    assert response.cookies.get_dict() == session.cookies.get_dict() == {"a": "1"}
    response = session.get(server.url + "/echo")
    assert response.text.startswith("one\ntwo\n{")
    assert response.elapsed.total_seconds() > 0
    assert response.connection is session.get_adapter(server.url)


def test_a_redirect_with_a_changed_body_is_followed(mounted, server):
    def read(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body = ctx[RES_HTTP].content
        return ctx

    session = mounted(read)
    response = session.get(server.url + "/cookies/set?a=1&to=/cookies")
    assert response.json() == {"a": "1"}
    assert len(response.history) == 1


def test_middleware_that_only_reads_the_body_leaves_it_to_be_read(mounted, server):
    def read(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].json() is not None
        return ctx

    session = mounted(read)
    assert session.get(server.url + "/gzip").json() == {"gzip": True}
    with session.get(server.url + "/echo", stream=True) as response:
        assert json.loads(b"".join(response.iter_content(7)))["path"] == "/echo"
    with session.get(server.url + "/echo", stream=True) as response:
        assert json.load(response.raw)["path"] == "/echo"
    with session.get(server.url + "/echo", stream=True) as response:
        assert response.raw.read1(1) == b"{"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.ReadTimeout("late"), requests.ConnectionError),
        (errors.DeadlineExceeded("late"), requests.ConnectionError),
        (errors.ProtocolError("broken"), requests.exceptions.ChunkedEncodingError),
    ],
)
def test_an_error_of_ours_in_a_body_of_ones_own_becomes_one_of_requests(mounted, server, ours, theirs):
    def pieces():
        yield b"x"
        raise ours

    def rewrite(ctx, call):
        return reply(ctx, 200, body=pieces())

    with pytest.raises(theirs):
        mounted(rewrite).get(server.url + "/echo")


def test_middleware_that_answers_by_itself_makes_a_response_of_requests(mounted, server):
    def cached(ctx, call):
        headers = {"Content-Type": "application/json", "X-Cache": "hit", "Set-Cookie": "c=1; Path=/"}
        return reply(ctx, 203, headers, b'{"from": "cache"}')

    session = mounted(cached)
    with server.watch() as seen:
        response = session.get(server.url + "/echo")
        with session.get(server.url + "/echo", stream=True) as streamed:
            assert next(streamed.iter_content(5)) == b'{"fro'
    assert not seen.requests
    assert response.json() == {"from": "cache"}
    assert (response.status_code, response.reason) == (203, "Non-Authoritative Information")
    assert (response.headers["x-cache"], response.encoding) == ("hit", "utf-8")
    assert response.url == response.request.url == server.url + "/echo"
    assert session.cookies.get_dict() == {"c": "1"}


def test_middleware_may_answer_with_a_stream_that_came_another_way(mounted, server):
    def asked(ctx, call):
        ctx[REQ_HTTP] = Request("GET", f"{server.url}/chunks/2", extensions={"stream": True})
        return send(ctx)

    send = endpoint()
    assert mounted(asked).get("http://h/").content == b"A" * 10 + b"B" * 10
    send.close()


def test_middleware_may_redirect_by_itself(mounted, server):
    def moved(ctx, call):
        return reply(ctx, 302, {"Location": "/echo/there"}) if ctx[REQ_HTTP].path == "/old" else call(ctx)

    response = mounted(moved).get(server.url + "/old")
    assert response.json()["path"] == "/echo/there"
    assert response.history[0].status_code == 302


def test_middleware_may_call_twice(fresh_server, mounted):
    def again(ctx, call):
        ctx = call(ctx)
        while ctx[RES_HTTP].status_code == 503:
            ctx[RES_HTTP].close()
            ctx[REQ_HTTP].rewind()
            ctx = call(ctx)
        return ctx

    session = mounted(again)
    assert session.get(fresh_server.url + "/flaky/a").json()["path"] == "/flaky/a"
    assert session.post(fresh_server.url + "/flaky/b", json=[1]).json()["body"] == "[1]"
    assert session.post(fresh_server.url + "/flaky/c", data=io.BytesIO(b"file")).json()["body"] == "file"
    session.close()
    assert fresh_server.settles(0)


def test_retry_works_in_any_session(mounted, server):
    session = mounted(retry(attempts=3, sleep=lambda seconds: None))
    assert session.get(server.url + "/flaky/session-a").json()["path"] == "/flaky/session-a"
    assert session.get(server.url + "/flaky/session-b?status=0").json()["path"] == "/flaky/session-b"
    assert session.put(server.url + "/flaky/session-c", data=io.BytesIO(b"x")).json()["body"] == "x"
    assert session.get(server.url + "/status/503").status_code == 503
    with pytest.raises(requests.ConnectionError):
        session.get(server.url + "/close")


@pytest.mark.parametrize(
    ("reads", "left"),
    [
        (lambda response: response.content, b'{"gzip": true}'),
        (lambda response: next(response.iter_content(9)), b"true}"),
    ],
    ids=["all", "some"],
)
def test_what_a_hook_of_a_session_leaves_of_a_compressed_body_is_read(session, server, reads, left):
    def hook(response, **_):
        reads(response)

    session.hooks["response"].append(hook)
    sender = build(base_uri=server.url, endpoint=endpoint(session))
    assert sender.get("/gzip").body == left


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_nobody_waits_for_chunks_that_an_answer_without_a_body_only_speaks_of(mounted, scripted, status):
    server = scripted(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode(), keep=True)
    with build(base_uri=server.url, timeout=5) as sender:
        for _ in range(2):
            assert sender.get("/").status_code == int(status[:3])
    assert mounted().get(server.url, timeout=5).status_code == int(status[:3])


def test_early_hints_are_skipped_in_any_session(mounted, server):
    response = mounted().get(server.url + "/early-hints?count=2")
    assert (response.status_code, response.json()["path"]) == (200, "/early-hints")


def test_max_body_bounds_what_a_middleware_reads(mounted, server, monkeypatch):
    monkeypatch.setattr(wire, "MAX_BODY", 1000)

    def read(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].content  # noqa: B018
        return ctx

    with pytest.raises(requests.RequestException, match="larger than max_body"):
        mounted(read).get(server.url + "/bytes/2000")
    assert len(mounted().get(server.url + "/bytes/2000").content) == 2000
