"""What goes wrong, over every client edge, and how long a call may take."""

import pickle
import threading
from time import monotonic

import pytest

from formation import errors
from formation.client.responses import json_response
from tests.client.cases import counted, echo, within
from tests.servers import Full, refused

# Errors


ERRORS = [
    ("/close", errors.ProtocolError),
    ("/reset", errors.ProtocolError),
    ("/close-mid-body", errors.ProtocolError),
    ("/close-mid-body?chunked=1", errors.ProtocolError),
    ("/wrong-length?said=9&sent=5", errors.ProtocolError),
    ("/bad-status-line", errors.ProtocolError),
    ("/gzip?broken=1", errors.ProtocolError),
    ("/hang", errors.ReadTimeout),
    ("/hang-body", errors.ReadTimeout),
]


@pytest.mark.parametrize(("path", "kind"), ERRORS)
def test_whatever_goes_wrong_on_the_wire_is_one_tree_of_errors_and_leaks_nothing(make, fresh_server, path, kind):
    client = make(base_uri=fresh_server.url, timeout=(5, 0.2))
    with pytest.raises(errors.TransportError) as caught:
        client.get(path)
    error = caught.value
    assert type(error) is kind
    assert not error.never_sent
    assert error.__cause__ is not None
    assert not isinstance(error.__cause__, errors.FormationError)
    assert (error.request.method, error.request.url, error.response) == ("GET", fresh_server.url + path, None)
    assert echo(client.get("/echo"))["path"] == "/echo"
    client.close()
    assert fresh_server.settles(0)


@pytest.mark.parametrize(("path", "kind"), [each for each in ERRORS if "body" in each[0] or "broken" in each[0]])
def test_what_goes_wrong_while_a_stream_is_read_is_of_the_same_tree(make, fresh_server, path, kind):
    client = make(base_uri=fresh_server.url, timeout=(5, 0.2))
    with pytest.raises(kind) as caught, client.stream(path) as result:
        for _ in client.chunks(result):
            pass
    assert caught.value.__cause__ is not None
    assert caught.value.request.url == fresh_server.url + path
    assert caught.value.response.status_code == 200
    client.close()
    assert fresh_server.settles(0)


def test_a_port_where_nobody_listens_is_a_connect_error_and_nothing_was_sent(make):
    with pytest.raises(errors.ConnectError) as caught:
        make(base_uri=refused()).get("/")
    assert type(caught.value) is errors.ConnectError
    assert caught.value.never_sent


def test_a_connect_that_takes_too_long_is_a_connect_timeout(make):
    with Full() as full, pytest.raises(errors.ConnectTimeout) as caught:
        make(base_uri=full.url, timeout=(0.2, 5)).get("/")
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.never_sent


def test_a_server_that_reads_nothing_is_a_write_timeout(http, server):
    release = threading.Event()

    def deaf(connection, seen):
        release.wait(10)

    # Its body is not read, since the route "refuse" answers before.
    old, server.routes["refuse"] = server.routes["refuse"], deaf
    try:
        with pytest.raises(errors.WriteTimeout):
            http.post("/refuse", content=bytes(30_000_000), timeout=0.3)
    finally:
        release.set()
        server.routes["refuse"] = old


def test_a_certificate_that_nobody_vouches_for_is_a_tls_error(make, tls_server):
    with tls_server.watch() as seen, pytest.raises(errors.TLSError) as caught:
        make(base_uri=tls_server.url).get("/echo")
    assert not seen.requests
    assert "ertificate" in str(caught.value)


def test_a_certificate_for_another_host_is_a_tls_error(edge, make, misnamed_server, ca_file):
    with misnamed_server.watch() as seen, pytest.raises(errors.TLSError):
        make(base_uri=misnamed_server.url, endpoint=edge.trusting(ca_file)).get("/echo")
    assert not seen.requests


def test_a_trusted_certificate_is_trusted(edge, make, tls_server, ca_file):
    client = make(base_uri=tls_server.url, endpoint=edge.trusting(ca_file))
    assert echo(client.get("/echo/x"))["path"] == "/echo/x"
    assert len(client.get("/bytes/300000").body) == 300_000
    client.close()
    assert tls_server.settles(0)


def test_plain_http_where_tls_is_spoken_and_the_reverse_are_errors_of_transport(make, server, tls_server):
    with pytest.raises(errors.TransportError):
        make(base_uri=tls_server.url.replace("https:", "http:")).get("/echo")
    with pytest.raises(errors.TLSError):
        make(base_uri=server.url.replace("http:", "https:")).get("/echo")


def test_an_error_says_where_it_comes_from_and_keeps_that_when_pickled(make, server):
    client = make(base_uri=server.url)
    with pytest.raises(errors.ProtocolError) as caught:
        client.post("/close/{id}?key=s3cret", path={"id": 7}, json={"a": 1})
    copy = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, copy):
        assert type(error) is errors.ProtocolError
        assert str(error) == str(caught.value)
        assert (error.request.method, error.request.url) == ("POST", server.url + "/close/7?key=s3cret")
        note = error.__notes__[-1]
        assert "POST /close/{id} at" in note
        assert "s3cret" not in note
        assert server.url in note
        assert " s" in note
    assert copy.request.json == {"a": 1}


def test_errors_with_a_response_can_be_pickled(make, server):
    client = make(base_uri=server.url, max_body=1000)
    for kind, how in {
        errors.StatusError: {"expect": 201},
        errors.DecodeError: {"response_as": json_response},
    }.items():
        with pytest.raises(kind) as caught:
            client.get("/data?body=x", **how)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value)
        assert copy.__notes__ == caught.value.__notes__
        assert (copy.response.status_code, copy.response.content) == (200, b"x")
        assert copy.request.url == caught.value.request.url
    for kind, path in {errors.BodyTooLarge: "/bytes/2000", errors.TooManyRedirects: "/loop"}.items():
        with pytest.raises(kind) as caught:
            client.get(path)
        assert vars(pickle.loads(pickle.dumps(caught.value))).keys() == vars(caught.value).keys()


def test_a_users_own_error_carries_the_request_the_response_and_a_note_too(make, server):
    class Mine(Exception):
        pass

    def strict(ctx, call):
        ctx = call(ctx)
        raise Mine

    client = make(base_uri=server.url, middleware=[strict])
    with pytest.raises(Mine) as caught:
        client.get("/status/{code}", path={"code": 503})
    assert caught.value.request.template == "/status/{code}"
    assert caught.value.response.status_code == 503
    assert "strict" in caught.value.__notes__[0]


def test_an_error_that_takes_no_attributes_gets_a_note(make, server):
    class Closed(Exception):
        request = response = property(lambda self: None)

    def strict(ctx, call):
        raise Closed

    with pytest.raises(Closed) as caught:
        make(base_uri=server.url, middleware=[strict]).get("/echo")
    assert "GET /echo" in caught.value.__notes__[0]


# Time


@pytest.mark.parametrize("timeout", [0.15, (5, 0.15)])
def test_a_call_may_say_how_long_it_waits(http, timeout):
    with pytest.raises(errors.ReadTimeout) as caught:
        http.get("/hang", timeout=timeout)
    assert isinstance(caught.value, TimeoutError)


def test_timeout_none_waits(make, server):
    client = make(base_uri=server.url, timeout=0.05)
    assert client.get("/slow?seconds=0.3", timeout=None).status_code == 200
    with pytest.raises(errors.ReadTimeout):
        client.get("/slow?seconds=5")


@pytest.mark.parametrize("timeout", [0, -1, "1", (1,), (1, 2, 3), True, (0, 1)])
def test_a_timeout_that_is_none_is_refused(http, make, timeout):
    with pytest.raises(ValueError, match="timeout"):
        http.get("/echo", timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        make(timeout=timeout)


@pytest.mark.parametrize(
    "path", ["/drip?count=1000&delay=0.02", "/drip-head?delay=0.02", "/hang", "/hang-body", "/loop"]
)
def test_a_deadline_ends_a_call_however_slowly_the_bytes_trickle_in(make, fresh_server, path):
    client = make(base_uri=fresh_server.url, middleware=[within(0.4)], max_redirects=100_000)
    started = monotonic()
    with pytest.raises(errors.DeadlineExceeded) as caught:
        client.get(path)
    assert monotonic() - started < 5
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.request.path == path.partition("?")[0]
    client.close()
    assert fresh_server.settles(0)


def test_a_deadline_ends_a_stream(make, fresh_server):
    client = make(base_uri=fresh_server.url, middleware=[within(0.4)])
    with pytest.raises(errors.DeadlineExceeded), client.stream("/drip?count=1000&delay=0.02") as result:
        for _ in client.chunks(result):
            pass
    client.close()
    assert fresh_server.settles(0)


def test_a_deadline_that_has_passed_sends_nothing(make, server):
    with server.watch() as seen, pytest.raises(errors.DeadlineExceeded):
        make(base_uri=server.url, middleware=[within(-1)]).get("/echo")
    assert not seen.requests


def test_a_deadline_bounds_the_connect(make):
    with Full() as full, pytest.raises(errors.DeadlineExceeded):
        make(base_uri=full.url, middleware=[within(0.2)]).get("/")


def test_a_deadline_in_the_distance_changes_nothing_and_leaves_the_connection_usable(edge, make, server):
    with counted(server, make) as (client, seen):
        for _ in range(3):
            assert len(client.get("/bytes/100000", middleware=[within(30)]).body) == 100_000
            assert echo(client.get("/echo"))["path"] == "/echo"
            assert len(client.get("/chunks/20", middleware=[within(30)]).body) == 200
    assert seen.connections == edge.connections(1)


def test_a_deadline_bounds_an_upload(make, server):
    release = threading.Event()

    def deaf(connection, seen):
        release.wait(10)

    old, server.routes["refuse"] = server.routes["refuse"], deaf
    try:
        with pytest.raises(errors.DeadlineExceeded):
            make(base_uri=server.url, middleware=[within(0.3)]).post("/refuse", content=bytes(30_000_000))
    finally:
        release.set()
        server.routes["refuse"] = old


def test_a_read_timeout_before_the_deadline_is_a_read_timeout(make, server):
    with pytest.raises(errors.ReadTimeout):
        make(base_uri=server.url, middleware=[within(30)], timeout=0.2).get("/hang")
