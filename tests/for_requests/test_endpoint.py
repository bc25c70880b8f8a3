"""What is special to requests; what every client edge does is in ``tests/client``."""

import gc
import io
import json
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

from formation import errors, for_requests, wrap
from formation.for_requests import Client, build, client, endpoint, json_response
from formation.for_requests.connections import TimedSocket, deadline
from formation.http import Request
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP
from formation.version import __version__
from tests.for_requests.cases import within
from tests.servers import refused


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body if hasattr(result, "body") else result.content)


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
