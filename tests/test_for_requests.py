"""What is special to requests; what every client edge does is in ``client/test_edges.py``."""

import gc
import io
import json
import pickle
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec, module_from_spec
from time import monotonic

import pytest
import requests
import trustme
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth

from formation import errors, for_requests, wrap
from formation.client import wire
from formation.exchange import reply
from formation.for_requests import Adapter, Client, build, client, endpoint, json_response
from formation.for_requests.connections import TimedSocket, deadline
from formation.http import UNSET, Request, Response
from formation.keys import DEADLINE, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE
from formation.middleware.retry import retry
from formation.version import __version__
from tests.servers import Server, refused


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body if hasattr(result, "body") else result.content)


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No proxy, bundle or .netrc of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def mounted():
    """Sessions with an `Adapter` on both schemes."""
    sessions = []

    def mount(*middleware, **kwargs):
        session = requests.Session()
        for prefix in ("http://", "https://"):
            session.mount(prefix, Adapter(middleware, **kwargs))
        sessions.append(session)
        return session

    yield mount
    for each in sessions:
        each.close()


# The edge


def test_a_missing_requests_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    spec = find_spec("formation.for_requests")
    with pytest.raises(
        ImportError, match=r"^requests is not installed: pip install 'formation\[requests\]'$"
    ) as caught:
        spec.loader.exec_module(module_from_spec(spec))
    assert caught.value.name == "requests"


def test_the_edge_hands_out_what_a_client_is_made_of():
    assert {"Adapter", "Client", "build", "client", "endpoint", "json_response"} <= set(for_requests.__all__)
    assert all(hasattr(for_requests, name) for name in for_requests.__all__)


def test_a_class_a_base_class_and_build_send_the_same(server):
    @client
    class Decorated:
        base_uri = server.url

    class Derived(Client):
        base_uri = server.url

    for made in (Decorated().request, Derived().request, build(base_uri=server.url)):
        with made:
            seen = echo(made.get("/echo"))
        assert seen["headers"]["user-agent"] == f"formation/{__version__}"
        assert "gzip" in seen["headers"]["accept-encoding"]
        assert seen["headers"]["accept"] == "*/*"
        assert seen["headers"]["connection"] != "close" if "connection" in seen["headers"] else True


def test_an_endpoint_is_called_with_a_context(server):
    send = wrap(endpoint(), [])
    ctx = send({REQ_HTTP: Request("POST", server.url + "/echo", params={"q": 1}, content=b"x")})
    assert ctx[RES_HTTP].json()["target"] == "/echo?q=1"
    assert isinstance(ctx[NATIVE]["response"], requests.Response)
    send.endpoint.close()


@pytest.mark.parametrize("what", ["content", "data"])
def test_a_file_in_text_mode_is_refused_before_anything_is_sent(fresh_server, tmp_path, what):
    notes = tmp_path / "notes.txt"
    notes.write_text("notes", encoding="utf-8")
    sender = build(base_uri=fresh_server.url)
    with sender, fresh_server.watch() as seen, notes.open(encoding="utf-8") as file:
        with pytest.raises(TypeError, match="open it in binary mode"):
            sender.post("/echo", **{what: file})
        assert seen.connections == 0


def test_a_deadline_ends_with_its_call(server):
    send = endpoint()
    send({REQ_HTTP: Request("GET", server.url + "/echo"), DEADLINE: monotonic() + 30})
    assert deadline.get() is None
    with pytest.raises(errors.ConnectError):
        send({REQ_HTTP: Request("GET", "http://127.0.0.1:1/"), DEADLINE: monotonic() + 30})
    assert deadline.get() is None
    send.close()


def test_one_endpoint_may_serve_many_clients(fresh_server):
    shared = endpoint()
    one, two = (build(base_uri=fresh_server.url, endpoint=shared) for _ in range(2))
    with fresh_server.watch() as seen:
        one.get("/echo")
        two.get("/echo")
    assert seen.connections == 1
    shared.close()
    assert fresh_server.settles(0)


def test_idle_connections_are_kept_for_a_hundred_threads(fresh_server):
    with build(base_uri=fresh_server.url, timeout=30) as sender:
        start = threading.Barrier(50)

        def work(_):
            start.wait(20)
            return sender.get("/slow?seconds=0.3").status_code

        with fresh_server.watch() as seen, ThreadPoolExecutor(50) as pool:
            assert set(pool.map(work, range(50))) == {200}
            assert set(pool.map(work, range(50))) == {200}
        assert seen.connections == 50
    assert fresh_server.settles(0)


def test_a_client_that_is_forgotten_closes_its_connections(fresh_server):
    sender = build(base_uri=fresh_server.url)
    sender.get("/echo")
    del sender
    gc.collect()
    assert fresh_server.settles(0)


def test_a_response_of_another_make_is_read_by_its_own_means():
    class Canned(HTTPAdapter):
        def send(self, request, **kwargs):
            response = requests.Response()
            response.status_code, response.url, response.request = 200, request.url, request
            response.headers["X-A"] = "1"
            response.raw = io.BytesIO(b"canned")
            return response

    with requests.Session() as session:
        session.mount("http://", Canned())
        sender = build(base_uri="http://h", endpoint=endpoint(session))
        assert sender.get("/x").body == b"canned"
        assert sender.get("/x").headers["x-a"] == "1"
        with sender.get("/x", stream=True) as result:
            assert b"".join(result.body) == b"canned"


def test_an_async_body_cannot_be_sent_and_says_so(server):
    async def pieces():
        yield b"x"

    body = pieces()
    with build(base_uri=server.url) as sender, pytest.raises(TypeError, match="only be sent by an async client"):
        sender.post("/echo", content=body)


def test_switching_protocols_is_an_answer(scripted):
    url = scripted(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n").url
    with build(base_uri=url) as sender:
        assert tuple(sender.get("/"))[:2] == (None, 101)


# The deadline's socket


def test_a_timed_socket_reads_until_its_deadline_and_leaves_the_timeout_as_it_was():
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(3)
        timed = TimedSocket(left, monotonic() + 30)
        right.sendall(b"hello")
        assert timed.readable()
        assert timed.read(5) == b"hello"
        assert left.gettimeout() == 3
        timed.deadline = monotonic() - 1
        with pytest.raises(TimeoutError):
            timed.read(5)
        left.settimeout(None)
        timed.deadline = monotonic() + 0.05
        with pytest.raises(TimeoutError):
            timed.read(5)
        assert left.gettimeout() is None
        timed.close()
        assert left.fileno() >= 0


# TLS and proxies


def test_a_bundle_of_the_environment_is_read_once(monkeypatch, tls_server, ca_file):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, ca_file)
        with build(base_uri=tls_server.url) as sender:
            assert sender.get("/echo").status_code == 200
            monkeypatch.delenv(name)
            assert sender.get("/echo").status_code == 200


def test_what_is_said_outdoes_the_bundle_of_the_environment(monkeypatch, tls_server, ca_file, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with build(base_uri=tls_server.url) as sender, pytest.raises(errors.TLSError):
        sender.get("/echo")
    with build(base_uri=tls_server.url, endpoint=endpoint(verify=ca_file)) as sender:
        assert sender.get("/echo").status_code == 200
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with (
        build(
            base_uri=tls_server.url.replace("127.0.0.1", "localhost"), endpoint=endpoint(verify=str(other))
        ) as sender,
        pytest.raises(errors.TLSError),
    ):
        sender.get("/echo")


def test_a_bundle_that_is_not_there_is_told_where_it_is_given(ca_file):
    for how in ({"verify": "no/such.pem"}, {"cert": "no/such.pem"}, {"cert": (ca_file, "no/such.pem")}):
        with pytest.raises(FileNotFoundError, match=r"no/such\.pem"):
            endpoint(**how)
    endpoint(verify=ca_file, cert=(ca_file, ca_file))
    endpoint(verify=False)


def test_verify_false_trusts_anybody(tls_server, misnamed_server):
    for each in (tls_server, misnamed_server):
        with (
            build(base_uri=each.url, endpoint=endpoint(verify=False)) as sender,
            pytest.warns(urllib3.exceptions.InsecureRequestWarning),
        ):
            assert sender.get("/echo").status_code == 200


def test_a_client_certificate_is_shown(tls_server, ca_file, client_cert):
    def who(connection, seen):
        certificate = connection.sock.getpeercert()
        connection.answer_json(seen, bool(certificate))

    with tls_server.route("who", who):
        for cert, known in ((None, False), (client_cert, True), ((client_cert, client_cert), True)):
            with build(base_uri=tls_server.url, endpoint=endpoint(verify=ca_file, cert=cert)) as sender:
                assert sender.get("/who", response_as=json_response).body is known


def test_a_deadline_holds_over_tls(tls_server, ca_file):
    settings = {"base_uri": tls_server.url, "endpoint": endpoint(verify=ca_file), "middleware": [within(0.4)]}
    with build(**settings) as sender:
        for path in ("/drip?count=1000&delay=0.02", "/drip-head?delay=0.02", "/hang"):
            with pytest.raises(errors.DeadlineExceeded):
                sender.get(path)
        assert sender.get("/bytes/100000", middleware=[within(20)]).status_code == 200
    assert tls_server.settles(0)


def test_a_plain_request_goes_to_a_proxy_with_its_whole_url(server):
    proxied = endpoint(proxies={"http": server.url.replace("http://", "http://me:pw@")})
    with build(base_uri="http://nowhere.invalid", endpoint=proxied) as sender, server.watch() as seen:
        assert sender.get("/echo/x").status_code == 200
        assert sender.get("/early-hints").status_code == 200
        with pytest.raises(errors.DeadlineExceeded):
            sender.get("/drip?count=1000&delay=0.02", middleware=[within(0.3)])
    assert seen.requests[0].target == "http://nowhere.invalid/echo/x"
    assert seen.requests[0].header("Proxy-Authorization") == "Basic bWU6cHc="
    assert seen.requests[0].header("Host") == "nowhere.invalid"


def test_tls_goes_through_a_proxy_by_a_tunnel(fresh_server, tls_server, ca_file):
    proxied = endpoint(verify=ca_file, proxies={"https": fresh_server.url})
    with build(base_uri=tls_server.url, endpoint=proxied) as sender, fresh_server.watch() as seen:
        assert echo(sender.get("/echo/x"))["path"] == "/echo/x"
        assert echo(sender.get("/early-hints"))["path"] == "/early-hints"
    assert [each.method for each in seen.requests] == ["CONNECT"]
    assert fresh_server.settles(0)


def test_proxies_of_the_environment_are_read_once_and_exceptions_hold(monkeypatch, server, other_server):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with build() as sender, server.watch() as seen, other_server.watch() as direct:
        sender.get("http://nowhere.invalid/echo/a")
        monkeypatch.delenv("HTTP_PROXY")
        monkeypatch.delenv("http_proxy")
        sender.get("http://nowhere.invalid/echo/b")
        sender.get(other_server.url + "/echo/c")
    assert [each.path for each in seen.requests] == ["/echo/a", "/echo/b"]
    assert direct.requests[0].target == "/echo/c"


def test_proxies_that_are_given_are_used_whatever_the_environment_says(monkeypatch, server, other_server):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", server.url)
    proxied = endpoint(proxies={"http": server.url})
    with build(base_uri=other_server.url, endpoint=proxied) as sender, server.watch() as seen:
        sender.get("/echo")
    assert seen.requests[0].target == other_server.url + "/echo"
    monkeypatch.delenv("no_proxy")
    with build(base_uri=refused(), endpoint=endpoint(proxies={})) as sender:
        with server.watch() as seen, pytest.raises(errors.ConnectError):
            sender.get("/echo")
        assert not seen.requests


def test_a_proxy_that_is_not_there_is_a_connect_error():
    with (
        build(base_uri="http://nowhere.invalid", endpoint=endpoint(proxies={"http": refused()})) as sender,
        pytest.raises(errors.ConnectError) as caught,
    ):
        sender.get("/x")
    assert caught.value.never_sent


def test_netrc_is_not_read(monkeypatch, tmp_path, server):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with build(base_uri=server.url) as sender:
        assert "authorization" not in echo(sender.get("/echo"))["headers"]
    with requests.Session() as session:
        sender = build(base_uri=server.url, endpoint=endpoint(session))
        assert "authorization" in echo(sender.get("/echo"))["headers"]  # a session that is brought is used as it is
        for how in ({"auth": ("a", "b")}, {"headers": {"Authorization": "Basic YTpi"}}):
            assert echo(sender.get("/echo", **how))["headers"]["authorization"] == "Basic YTpi"


# A session that is brought


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


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


# The adapter: requests and responses


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


# The adapter: time, errors, pools


@pytest.mark.parametrize("timeout", [0.2, (5, 0.2), urllib3.Timeout(connect=5, read=0.2)])
def test_timeouts_of_every_kind_hold(mounted, server, timeout):
    with pytest.raises(requests.ReadTimeout):
        mounted().get(server.url + "/hang", timeout=timeout)
    assert mounted().get(server.url + "/echo", timeout=timeout).status_code == 200


def test_middleware_sees_and_sets_the_timeout(mounted, server):
    seen = []

    def timeout(ctx, call):
        seen.append(ctx[REQ_HTTP].timeout)
        ctx[REQ_HTTP].timeout = 0.2
        return call(ctx)

    for given in (None, (5, 30)):
        with pytest.raises(requests.ReadTimeout):
            mounted(timeout).get(server.url + "/hang", timeout=given)
    assert seen == [UNSET, (5, 30)]


def test_a_deadline_holds_and_is_a_timeout_of_requests(mounted, server):
    with pytest.raises(requests.Timeout) as caught:
        mounted(within(0.3)).get(server.url + "/drip-head?delay=0.02")
    assert caught.value.request.url == server.url + "/drip-head?delay=0.02"
    with pytest.raises(requests.Timeout, match="before the request was sent"):
        mounted(within(-1)).get(server.url + "/echo")
    session = mounted(within(0.3))
    with pytest.raises(requests.RequestException):
        session.get(server.url + "/drip?count=1000&delay=0.02")


@pytest.mark.parametrize(
    ("path", "kind", "ours"),
    [
        ("/close", requests.ConnectionError, errors.ProtocolError),
        ("/reset", requests.ConnectionError, errors.ProtocolError),
        ("/bad-status-line", requests.ConnectionError, errors.ProtocolError),
        ("/hang", requests.ReadTimeout, errors.ReadTimeout),
    ],
)
def test_errors_are_requests_own_outside_and_ours_inside(mounted, fresh_server, path, kind, ours):
    inside = []

    def look(ctx, call):
        try:
            return call(ctx)
        except Exception as error:
            inside.append(error)
            raise

    session = mounted(look)
    with pytest.raises(kind) as caught:
        session.get(fresh_server.url + path, timeout=0.2)
    with requests.Session() as plain, pytest.raises(kind) as expected:
        plain.get(fresh_server.url + path, timeout=0.2)
    assert type(caught.value) is type(expected.value)
    assert caught.value.request.url == fresh_server.url + path
    assert type(inside[0]) is ours
    session.close()
    assert fresh_server.settles(0)


def test_connect_and_tls_errors_are_requests_own(mounted, tls_server):
    with pytest.raises(requests.ConnectionError):
        mounted().get(refused())
    with pytest.raises(requests.exceptions.SSLError):
        mounted().get(tls_server.url + "/echo")


BROKEN = {
    "/close-mid-body": requests.exceptions.ChunkedEncodingError,
    "/close-mid-body?chunked=1": requests.exceptions.ChunkedEncodingError,
    "/gzip?broken=1": requests.exceptions.ContentDecodingError,
    "/hang-body": requests.ConnectionError,
}


@pytest.mark.parametrize("path", BROKEN)
@pytest.mark.parametrize("what", ["untouched", "mapped", "read"])
def test_errors_of_a_body_are_requests_own(mounted, fresh_server, path, what):
    def middleware(ctx, call):
        ctx = call(ctx)
        if what == "mapped":
            ctx[RES_HTTP].body.map(bytes.upper)
        elif what == "read":
            ctx[RES_HTTP].content  # noqa: B018
        return ctx

    session = mounted(middleware)
    with pytest.raises(requests.RequestException) as caught:
        session.get(fresh_server.url + path, timeout=0.3)
    if what == "untouched":
        assert type(caught.value) is BROKEN[path]
    session.close()
    assert fresh_server.settles(0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (errors.ThrottleRejected("slow down", retry_after=3), requests.ConnectionError),
        (errors.ConnectError("no"), requests.ConnectionError),
        (errors.AttemptTimeout("late"), requests.Timeout),
        (errors.StatusError(status_code=500), requests.HTTPError),
        (errors.BodyTooLarge(limit=1, got=2), requests.RequestException),
    ],
)
def test_an_error_of_ours_becomes_one_of_requests_of_its_kind(mounted, server, ours, theirs):
    def fail(ctx, call):
        raise ours

    with pytest.raises(theirs) as caught:
        mounted(fail).get(server.url + "/echo")
    assert type(caught.value) is theirs
    assert str(caught.value) == str(ours)
    assert caught.value.__cause__ is ours
    assert caught.value.request.url == server.url + "/echo"


def test_an_error_about_a_status_has_the_response(mounted, fresh_server):
    def strict(ctx, call):
        ctx = call(ctx)
        raise errors.StatusError(status_code=ctx[RES_HTTP].status_code)

    session = mounted(strict)
    with pytest.raises(requests.HTTPError) as caught:
        session.get(fresh_server.url + "/status/404")
    assert (caught.value.response.status_code, caught.value.response.text) == (404, "Status 404")
    with pytest.raises(requests.HTTPError):
        session.get(fresh_server.url + "/drip?count=1000&delay=0.01", stream=True)
    session.close()
    assert fresh_server.settles(0)


def test_an_error_of_ones_own_passes_as_it_is_and_leaks_nothing(mounted, fresh_server):
    class Mine(Exception):
        pass

    def fail(ctx, call):
        ctx = call(ctx)
        raise Mine

    session = mounted(fail)
    with pytest.raises(Mine) as caught:
        session.get(fresh_server.url + "/drip?count=1000&delay=0.01")
    assert fresh_server.settles(0)
    assert caught.value.args == ()


def test_nothing_that_a_middleware_drops_stays_open(mounted, fresh_server):
    def twice(ctx, call):
        call({**ctx})
        return call(ctx)

    def elsewhere(ctx, call):
        call({**ctx})
        return {RES_HTTP: Response(200, {"X-Mine": "1"}, b"mine")}

    def interrupted(ctx, call):
        call({**ctx})
        raise KeyboardInterrupt

    def nothing(ctx, call):
        call({**ctx})
        return ctx

    url = fresh_server.url + "/drip?count=1000&delay=0.01"
    with mounted(twice).get(url, stream=True) as answer:
        assert fresh_server.settles(1)
        assert answer.status_code == 200
    assert fresh_server.settles(0)
    assert mounted(elsewhere).get(url).content == b"mine"
    assert fresh_server.settles(0)
    with pytest.raises(KeyboardInterrupt):
        mounted(interrupted).get(url)
    assert fresh_server.settles(0)
    with pytest.raises(LookupError, match="the chain returned no response"):
        mounted(nothing).get(url)
    assert fresh_server.settles(0)


def test_a_middleware_that_forgets_its_return_or_is_async_says_so(mounted, server):
    def forgets(ctx, call):
        call(ctx)

    async def later(ctx, call):
        return await call(ctx)

    with pytest.raises(TypeError, match=r"'forgets' .* returned None"):
        mounted(forgets).get(server.url + "/echo", stream=True)
    with pytest.raises(TypeError, match="'later' is async"):
        Adapter([later])
    with pytest.raises(TypeError, match="no middleware"):
        Adapter([3])


def test_a_chain_without_a_response_says_so(mounted, server):
    def lost(ctx, call):
        return ctx

    with pytest.raises(LookupError, match="returned no response"):
        mounted(lost).get(server.url + "/echo")


def test_what_a_session_says_about_tls_and_pools_goes_along(mounted, fresh_server, tls_server, ca_file, client_cert):
    session = mounted(pool_maxsize=1, pool_connections=1)
    assert session.get(tls_server.url + "/echo", verify=ca_file, cert=client_cert).status_code == 200
    assert session.get("http://nowhere.invalid/echo", proxies={"http": fresh_server.url}).status_code == 200
    with fresh_server.watch() as seen:
        for _ in range(3):
            session.get(fresh_server.url + "/echo")
    assert seen.connections == 1
    session.close()
    assert fresh_server.settles(0)


def log(ctx, call):
    ctx = call(ctx)
    ctx[RES_HTTP].headers["X-Log"] = "1"
    return ctx


def test_a_session_with_an_adapter_can_be_pickled(mounted, server):
    session = pickle.loads(pickle.dumps(mounted(log)))
    with session:
        assert session.get(server.url + "/echo").headers["X-Log"] == "1"
        assert repr(session.get_adapter("http://").chain) == "wrap(_exchange, [log])"


def test_an_adapter_may_be_called_by_hand(server):
    adapter = Adapter([log])
    prepared = requests.Request("GET", server.url + "/echo").prepare()
    response = adapter.send(prepared, False, 5, True, None, {})  # noqa: FBT003  as HTTPAdapter takes them
    assert response.headers["X-Log"] == "1"
    assert response.json()["path"] == "/echo"
    prepared.headers["X-Bytes"] = b"1"
    assert adapter.send(prepared).json()["headers"]["x-bytes"] == "1"
    adapter.close()


def test_threads_share_an_adapter(mounted, fresh_server):
    session = mounted(log, pool_maxsize=20)

    def work(n):
        return session.get(f"{fresh_server.url}/echo/{n}").json()["path"] == f"/echo/{n}"

    with ThreadPoolExecutor(20) as pool, fresh_server.watch() as seen:
        assert all(pool.map(work, range(500)))
    assert seen.connections <= 20
    session.close()
    assert fresh_server.settles(0)


def test_the_servers_of_the_tests_end(ca):
    started = threading.active_count()
    with Server() as server, build(base_uri=server.url) as sender:
        sender.get("/echo")
        assert isinstance(sender.get("/echo").response, Response)
    assert threading.active_count() == started
