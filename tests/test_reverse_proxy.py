"""The example of a caching reverse proxy, as a process on real ports in front of a real server."""

import gzip
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.test_examples import ROOT, environment

SECONDS = 20


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(server):
    port = free_port()
    command = [sys.executable, "-W", "error", "-X", "dev", str(ROOT / "examples" / "reverse_proxy.py")]
    process = subprocess.Popen(
        [*command, "--origin", server.url, "--listen", f"127.0.0.1:{port}"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.05)
    yield port
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode in {0, -signal.SIGTERM}, (out, err)
    assert "Traceback" not in err
    assert "Warning" not in err


@contextmanager
def asked(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(body, encode_chunked=body is not None and not isinstance(body, bytes))
        yield connection.getresponse()
    finally:
        connection.close()


def test_what_is_fresh_is_asked_for_once(proxy, server):
    with server.watch() as seen:
        for state in ("fwd=uri-miss; stored", "hit; ttl="):
            with asked(proxy, "GET", "/respond?Cache-Control=max-age=60&once") as response:
                assert response.status == 200
                assert response.getheader("Cache-Status").startswith(f"formation; {state}")
    assert len(seen.requests) == 1


def test_headers_pass_as_they_are_but_for_those_about_the_connection(proxy, server):
    headers = [("X-A", "1"), ("X-A", "2"), ("Accept", "text/html"), ("TE", "trailers"), ("X-Hop", "1"),
               ("Connection", "X-Hop"), ("X-Latin", "Zo\xeb")]  # fmt: skip
    with server.watch() as seen, asked(proxy, "GET", "/echo/a%2Fb?q=1%20&q=2", headers=headers) as response:
        response.read()
        assert response.getheader("Via") == "1.1 formation"
    (request,) = seen.requests
    assert request.target == "/echo/a%2Fb?q=1%20&q=2"
    lines = [(name.lower(), value) for name, value in request.headers]
    assert [value for name, value in lines if name == "x-a"] == ["1", "2"]
    assert ("x-latin", "Zo\xeb") in lines
    assert ("via", "1.1 formation") in lines
    assert not {"te", "x-hop", "connection", "user-agent", "accept-encoding"} & {name for name, _ in lines}
    assert dict(lines)["host"] == server.url.removeprefix("http://")


def test_lines_of_set_cookie_stay_apart_and_no_cookie_is_kept(proxy, server):
    with asked(proxy, "GET", "/cookies/set?a=1&b=2") as response:
        assert [line[:3] for line in response.headers.get_all("Set-Cookie")] == ["a=1", "b=2"]
    with server.watch() as seen, asked(proxy, "GET", "/cookies") as response:
        response.read()
    assert seen.requests[0].header("Cookie") is None


@pytest.mark.parametrize("status", [204, 299, 302, 304, 418, 499, 503, 599])
def test_any_status_passes_and_no_redirect_is_followed(proxy, status):
    path = f"/redirect/{status}" if 300 <= status < 304 else f"/status/{status}"
    with asked(proxy, "GET", path) as response:
        assert response.status == status


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "M-SEARCH", "PURGE"])
def test_any_method_passes(proxy, server, method):
    with server.watch() as seen, asked(proxy, method, f"/echo/{method}") as response:
        assert response.status == 200
    assert [request.method for request in seen.requests] == [method]


def test_what_is_compressed_stays_so(proxy):
    with asked(proxy, "GET", "/gzip", headers=[("Accept-Encoding", "gzip")]) as response:
        assert response.getheader("Content-Encoding") == "gzip"
        assert gzip.decompress(response.read()) == b'{"gzip": true}'


@pytest.mark.parametrize("is_chunked", [False, True])
def test_large_bodies_stream_both_ways(proxy, server, is_chunked):
    body = os.urandom(3 << 20)
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    with (
        server.watch() as seen,
        asked(proxy, "PUT", "/digest", chunks if is_chunked else body) as response,
    ):
        assert response.status == 200
        response.read()
    assert seen.requests[0].size == len(body)
    with asked(proxy, "GET", "/bytes/9000000") as response:
        assert len(response.read()) == 9_000_000


def test_a_stream_that_does_not_end_begins_all_the_same(proxy):
    with asked(proxy, "GET", "/drip?count=1000&delay=1") as response:
        assert response.read(1)


def test_a_change_makes_what_is_kept_outdated(proxy, server):
    path = "/respond?Cache-Control=max-age=60&changed"
    with server.watch() as seen:
        for method in ("GET", "GET", "DELETE", "GET"):
            with asked(proxy, method, path) as response:
                response.read()
    assert [request.method for request in seen.requests] == ["GET", "DELETE", "GET"]


def test_early_hints_do_no_harm_and_a_broken_origin_is_a_502(proxy):
    with asked(proxy, "GET", "/early-hints") as response:
        assert response.status == 200
    for path in ("/close", "/bad-status-line"):
        with asked(proxy, "GET", path) as response:
            assert response.status == 502
