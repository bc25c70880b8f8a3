"""Middleware inside of any session of requests: time, errors, pools."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import urllib3

from formation import errors
from formation.client import wire
from formation.for_requests import Adapter, build
from formation.http import UNSET, Response
from formation.keys import REQ_HTTP, RES_HTTP
from tests.for_requests.cases import log, within
from tests.servers import Server, refused


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


@pytest.mark.parametrize("timeout", [None, urllib3.Timeout(total=None), urllib3.Timeout(total=20, read=15)])
def test_a_deadline_only_shortens_what_a_session_says(mounted, server, monkeypatch, timeout):
    monkeypatch.setattr(wire, "TIMEOUT", (0.01, 0.01))
    assert mounted(within(10)).get(server.url + "/slow?seconds=0.1", timeout=timeout).status_code == 200
    with pytest.raises(requests.Timeout):
        mounted(within(0.05)).get(server.url + "/slow?seconds=5", timeout=timeout)


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
