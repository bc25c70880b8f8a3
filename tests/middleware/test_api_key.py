import asyncio
import json

import pytest
from structlog.testing import capture_logs

from formation import reply
from formation.errors import ConnectError
from formation.for_aiohttp import build as build_async
from formation.for_requests import build
from formation.http import Request
from formation.middleware import api_key, request_logger, retry
from tests.middleware.worlds import every_lift, every_world
from tests.servers import refused

PLACES = ["header", "query", "cookie"]


def passed(world, middleware, request):
    out = world(middleware, {"fmtn.req.http": request}, lambda ctx: reply(ctx, 200))
    request = out["fmtn.req.http"]
    return request.headers.get("k"), request.target, request.cookies.get("k"), out["fmtn.sensitive"]


@every_world
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("header", ("s3cret", "https://h/?a=1", None)),
        ("query", (None, "https://h/?a=1&k=s3cret", None)),
        ("cookie", (None, "https://h/?a=1", "s3cret")),
    ],
)
def test_sends_the_key_in_its_place_and_declares_it(world, place, expected):
    got = passed(world, api_key("s3cret", "k", place=place), Request("GET", "https://h/?a=1"))
    assert got == (*expected, {"k"})


@every_world
@pytest.mark.parametrize(
    ("place", "own", "expected"),
    [
        ("header", {"headers": {"K": "own"}}, ("own", "https://h/", None)),
        ("query", {"params": {"k": "own"}}, (None, "https://h/?k=own", None)),
        ("query", {"url": "https://h/?k=own"}, (None, "https://h/?k=own", None)),
        ("query", {"url": "https://h/?%6B="}, (None, "https://h/?%6B=", None)),
        ("cookie", {"cookies": {"k": "own"}}, (None, "https://h/", "own")),
    ],
    ids=["header", "params", "query of the URL", "query of the URL, encoded and empty", "cookie"],
)
def test_what_the_call_sends_stays(world, place, own, expected):
    request = Request("GET", **{"url": "https://h/", **own})
    assert passed(world, api_key("s3cret", "k", place=place), request)[:3] == expected


@every_world
@pytest.mark.parametrize("place", PLACES)
def test_a_request_to_another_origin_gets_none(world, place):
    got = passed(world, api_key("s3cret", "k", place=place), Request("GET", "https://h/", extensions={"away": True}))
    assert got == (None, "https://h/", None, {"k"})


@every_world
def test_around_a_function_nothing_happens(world):
    assert world(api_key("s3cret"), {}, lambda ctx: ctx) == {}


@every_lift
def test_a_lifted_function_is_called(lifted):
    assert lifted([api_key("s3cret")], len, "four")[0] == 4


@every_world
def test_an_error_passes(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    assert world(api_key("s3cret"), {"fmtn.req.http": Request("GET", "https://h/")}, endpoint) is error


def test_names_that_are_sensitive_already_stay():
    ctx = {"fmtn.req.http": Request("GET", "https://h/"), "fmtn.sensitive": {"x-other"}}
    assert api_key("s3cret")(ctx, lambda ctx: ctx)["fmtn.sensitive"] == {"x-other", "x-api-key"}


def test_a_key_may_have_a_scheme_and_then_the_auth_of_a_call_takes_its_place():
    keyed = api_key("ApiKey s3cret", "Authorization")
    ctx = keyed({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    assert ctx["fmtn.req.http"].headers["Authorization"] == "ApiKey s3cret"
    ctx = keyed({"fmtn.req.http": Request("GET", "https://h/", auth=("ann", "pw"))}, lambda ctx: ctx)
    assert "Authorization" not in ctx["fmtn.req.http"].headers


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("key", "error"), [(None, TypeError), (b"s3", TypeError), ("", ValueError), ("s3\n", ValueError)]
)
def test_refuses_what_is_no_key_and_does_not_say_it(place, key, error):
    with pytest.raises(error) as caught:
        api_key(key, place=place)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": "x y"},
        {"name": "x\n"},
        {"place": "body"},
        {"key": " s3", "place": "header"},
        {"key": "s3\xe9", "place": "header"},
        {"key": "s3;a=b", "place": "cookie"},
        {"key": "s3 s3", "place": "cookie"},
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings):
    with pytest.raises(ValueError, match=r"expected|no header name") as caught:
        api_key(**{"key": "k", **settings})
    assert "s3" not in str(caught.value)


def told(seen):
    return [(request.header("K"), request.arg("k", None), request.header("Cookie")) for request in seen.requests]


AT_HOME = {"header": ("s3cret", None, None), "query": (None, "s3cret", None), "cookie": (None, None, "k=s3cret")}


@pytest.mark.parametrize("place", PLACES)
def test_a_client_sends_it_at_home_only(server, other_server, place):
    keyed = api_key("s3cret", "k", place=place)
    with build(base_uri=server.url, middleware=[keyed]) as api, server.watch() as home, other_server.watch() as abroad:
        api.get("/echo")
        api.get(f"/redirect/307?to={other_server.url}/echo")
        api.get(f"{other_server.url}/echo", absolute=True)
    assert told(home) == [AT_HOME[place]] * 2
    assert told(abroad) == [(None, None, None)] * 2


@pytest.mark.parametrize("place", PLACES)
def test_an_async_client_does_the_same(server, other_server, place):
    async def main():
        async with build_async(base_uri=server.url, auth=api_key("s3cret", "k", place=place)) as api:
            await api.get("/echo")
            await api.get(f"/redirect/307?to={other_server.url}/echo")
            await api.get(f"{other_server.url}/echo", absolute=True)

    with server.watch() as home, other_server.watch() as abroad:
        asyncio.run(main())
    assert told(home) == [AT_HOME[place]] * 2
    assert told(abroad) == [(None, None, None)] * 2


def test_a_redirect_at_home_keeps_the_header(server):
    with build(base_uri=server.url, middleware=[api_key("s3cret")]) as api:
        assert json.loads(api.get("/hops/2").body)["headers"]["x-api-key"] == "s3cret"


@pytest.mark.parametrize("place", PLACES)
def test_logs_print_redacted_also_of_a_call_that_fails(server, place):
    layers = [request_logger(), retry(2, sleep=lambda seconds: None), api_key("s3cret", "k", place=place)]
    settings = {"middleware": layers, "per_hop": [request_logger()]}
    with capture_logs() as lines:
        with build(base_uri=server.url, **settings) as api:
            api.get("/echo?a=1")
        with build(base_uri=refused(), **settings) as api, pytest.raises(ConnectError):
            api.get("/echo?a=1")
    assert "s3cret" not in str(lines)
    assert "[redacted]" in str(lines)
    assert {line["event"] for line in lines} >= {"request.http", "response.http", "failure.http"}
