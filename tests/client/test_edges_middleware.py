"""Middleware over every client edge: attempts, answers of its own, pages."""

import json
from contextlib import contextmanager
from http.cookiejar import CookieJar
from time import monotonic

import pytest
from structlog.testing import capture_logs

from formation import errors
from formation.client.responses import json_response
from formation.exchange import reply
from formation.keys import NATIVE, REQ_HTTP, RES_HTTP, TEMPLATE
from formation.middleware import (
    circuit_breaker,
    retry,
)
from tests.client.cases import echo, within

# Attempts


def test_a_call_is_made_again_and_its_result_and_its_error_tell_of_the_attempts(make, server, request):
    client = make(base_uri=server.url, middleware=[retry(3, base=0.001)])
    result = client.get(f"/flaky/{request.node.name}?fail=2")
    assert (result.status_code, len(result.attempts)) == (200, 3)
    assert echo(client.send("PUT", f"/flaky/{request.node.name}-2?fail=2", json=[1]))["body"] == "[1]"
    with server.watch() as seen:
        assert client.post("/status/503").status_code == 503  # it may have done something
        assert len(seen.requests) == 1
        with pytest.raises(errors.StatusError) as caught:
            client.get("/flaky/{name}", path={"name": request.node.name + "-3"}, params={"fail": 9}, expect=200)
        assert len(seen.requests) == 4
    assert "attempts 3" in caught.value.__notes__[-1]


def test_a_call_that_fails_on_its_way_is_made_again(make, server, request):
    client = make(base_uri=server.url, middleware=[retry(3, base=0.001)])
    result = client.get(f"/flaky/{request.node.name}?fail=2&status=0")
    assert [each.error for each in result.attempts] == ["ProtocolError", "ProtocolError", None]


def test_a_deadline_bounds_all_attempts_and_the_waits_between_them(make, server):
    client = make(base_uri=server.url, middleware=[within(0.3), retry(10_000, base=0.01, cap=0.05)])
    started = monotonic()
    assert client.get("/status/503").status_code == 503
    assert monotonic() - started < 5


def test_an_open_circuit_sends_nothing(make, server):
    client = make(base_uri=server.url, middleware=[circuit_breaker(fail_max=2)])
    with server.watch() as seen, capture_logs():
        assert [client.get("/status/503").status_code for _ in range(2)] == [503, 503]
        with pytest.raises(errors.CircuitOpenError) as caught:
            client.get("/echo/{id}", path={"id": 1})
    assert len(seen.requests) == 2
    assert caught.value.request.template == "/echo/{id}"
    assert caught.value.retry_after > 0


# Middleware


def test_middleware_sees_and_changes_the_request_and_the_response(make, server):
    def change(ctx, call):
        request = ctx[REQ_HTTP]
        assert ctx[TEMPLATE] == "/echo/{id}"
        request.method, request.url = "PUT", request.url + "/changed"
        request.params["q"] = "1"
        request.headers["X-New"] = "1"
        request.json = {"changed": request.json}
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.status_code, response.headers["X-Back"] = 299, "1"
        response.body = response.content + b"!"
        return ctx

    result = make(base_uri=server.url, middleware=[change]).post("/echo/{id}", path={"id": 1}, json=[1])
    seen = json.loads(result.body[:-1])
    assert (seen["method"], seen["target"]) == ("PUT", "/echo/1/changed?q=1")
    assert (seen["body"], seen["headers"]["x-new"]) == ('{"changed":[1]}', "1")
    assert (result.status_code, result.headers["X-Back"], result.body[-1:]) == (299, "1", b"!")
    assert result.headers["Content-Length"] == str(len(result.body))


def test_middleware_that_answers_by_itself_sends_nothing(make, server):
    def cached(ctx, call):
        return reply(ctx, 203, {"Content-Type": "application/json"}, b'{"from": "cache"}')

    client = make(base_uri=server.url, middleware=[cached], response_as=json_response)
    with server.watch() as seen:
        assert client.get("/echo").body == {"from": "cache"}
        with client.stream("/echo") as result:
            assert b"".join(client.chunks(result)) == b'{"from": "cache"}'
    assert not seen.requests


def test_an_endpoint_that_gives_no_response_is_told_of(make):
    with pytest.raises(LookupError, match="returned no response: to answer in its place"):
        make(base_uri="http://h", endpoint=lambda ctx: ctx, cookies=CookieJar()).get("/")


def test_the_librarys_own_response_is_there_for_whoever_must_escape(http):
    assert http.get("/echo").response is not None
    natives = []

    def look(ctx, call):
        ctx = call(ctx)
        natives.append(ctx[NATIVE]["response"])
        return ctx

    http.get("/echo", middleware=[look])
    assert natives[0] is not None


# Pages


@contextmanager
def numbers(server, last=3, after="/numbers?page={}"):
    """A route of pages, each with its number; gives the URL."""

    def page(connection, seen):
        number = int(seen.arg("page", "1"))
        links = [("Link", f'<{after.format(number + 1)}>; rel="next"')] if number < last else []
        connection.answer_json(seen, [number], headers=links)

    with server.route("numbers", page) as url:
        yield url


def test_pages_follow_the_link_header(make, server):
    client = make(base_uri=server.url, response_as=json_response)
    with numbers(server), server.watch() as seen:
        pages = client.pages(lambda: client.sender.get("/numbers", headers={"X-A": "1"}))
        assert [page.body for page in pages] == [[1], [2], [3]]
        assert [each.header("X-A") for each in seen.requests] == ["1"] * 3
        one_by_one = client.pages(lambda: client.sender.get("/numbers"), items=lambda body: body)
        assert next(one_by_one) == 1
        assert len(seen.requests) == 4
        one_by_one.close()
        assert len(seen.requests) == 4


def test_pages_follow_whatever_says_what_comes_next(make, server):
    client = make(base_uri=server.url, response_as=json_response)
    with numbers(server):
        turned = client.pages(
            lambda: client.sender.get("/numbers"),
            next=lambda page: f"?page={page.body[0] + 1}" if page.body[0] < 5 else None,
        )
        assert [page.body[0] for page in turned] == [1, 2, 3, 4, 5]


def test_pages_end_where_they_would_go_round_go_on_or_go_elsewhere(make, server, other_server):
    client = make(base_uri=server.url, response_as=json_response, auth=("me", "s3cret"))

    def turned(**how):
        return [page.body for page in client.pages(lambda: client.sender.get("/numbers"), **how)]

    with numbers(server, after="/numbers?page=1"), pytest.raises(errors.PagesError, match="already"):
        turned()
    with numbers(server, last=9), pytest.raises(errors.PagesError, match="2"):
        turned(max_pages=2)
    elsewhere = other_server.url + "/numbers?page={}"
    with numbers(server, after=elsewhere), other_server.watch() as away, pytest.raises(errors.ForeignURLError):
        turned()
    assert not away.requests
