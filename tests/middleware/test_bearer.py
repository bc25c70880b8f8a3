import asyncio

import pytest
from structlog.testing import capture_logs

from formation import reply, wrap
from formation.for_aiohttp import build as build_async
from formation.for_requests import build
from formation.http import Request
from formation.middleware import bearer, request_logger
from tests.middleware.worlds import every_lift, every_world


def sent(world, middleware, request):
    out = world(middleware, {"fmtn.req.http": request}, lambda ctx: reply(ctx, 200))
    return out["fmtn.req.http"].headers.getlist("Authorization"), out.get("fmtn.sensitive")


@every_world
def test_sets_the_header_and_declares_it(world):
    assert sent(world, bearer("t0k3n"), Request("GET", "https://h/")) == (["Bearer t0k3n"], {"authorization"})


@every_world
@pytest.mark.parametrize(
    "own",
    [
        {"headers": {"authorization": "Basic own"}},
        {"auth": ("ann", "pw")},
        {"auth": lambda request: None},
        {"extensions": {"away": True}},
    ],
    ids=["a header", "a pair", "a function", "another origin"],
)
def test_leaves_a_call_alone_that_has_its_own_or_goes_abroad(world, own):
    asked = []
    request = Request("GET", "https://h/", **own)
    assert "Bearer t0k3n" not in sent(world, bearer(lambda: asked.append(1) or "t0k3n"), request)[0]
    assert asked == []


@every_world
def test_a_function_is_asked_for_each_call(world):
    tokens = iter(["one", "two"])
    middleware = bearer(lambda: next(tokens))
    assert sent(world, middleware, Request("GET", "https://h/"))[0] == ["Bearer one"]
    assert sent(world, middleware, Request("GET", "https://h/"))[0] == ["Bearer two"]


def test_in_an_async_chain_the_function_may_be_async():
    async def token():
        await asyncio.sleep(0)
        return "later"

    async def endpoint(ctx):
        return ctx

    ctx = asyncio.run(wrap(endpoint, [bearer(token)])({"fmtn.req.http": Request("GET", "https://h/")}))
    assert ctx["fmtn.req.http"].headers["Authorization"] == "Bearer later"


def test_in_a_sync_chain_an_async_function_is_an_error_and_sends_no_coroutine():
    async def token():
        return "never"

    with pytest.raises(RuntimeError, match="cannot be waited for here"):
        bearer(token)({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)


@every_world
def test_an_error_of_the_function_passes(world):
    error = OSError("no vault")

    def token():
        raise error

    assert world(bearer(token), {"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx) is error


@every_world
def test_around_a_function_nothing_happens(world):
    assert world(bearer("t0k3n"), {}, lambda ctx: ctx) == {}


@every_lift
def test_a_lifted_function_is_called(lifted):
    assert lifted([bearer("t0k3n")], len, "four")[0] == 4


WRONG = [(None, TypeError), (b"s3cret", TypeError), (5, TypeError)] + [
    (text, ValueError) for text in ("", "s3cret\n", " s3cret", "s3 cret", "s3cret\r\nX-Evil: 1", "s3cr\xe9t", "s3\0")
]


@pytest.mark.parametrize(("token", "error"), WRONG)
def test_refuses_what_is_no_token_and_does_not_say_it(token, error):
    with pytest.raises(error) as caught:
        bearer(token)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(("token", "error"), WRONG)
def test_refuses_what_a_function_returns_likewise(token, error):
    request = Request("GET", "https://h/")
    with pytest.raises(error) as caught:
        bearer(lambda: token)({"fmtn.req.http": request}, lambda ctx: ctx)
    assert "s3" not in str(caught.value)
    assert "Authorization" not in request.headers


def headers_seen(seen):
    return [request.header("Authorization") for request in seen.requests]


@pytest.mark.parametrize("how", ["middleware", "auth", "per_hop"])
def test_a_client_sends_it_at_home_only(server, other_server, how):
    made = bearer("t0k3n") if how == "auth" else [bearer("t0k3n")]
    with build(base_uri=server.url, **{how: made}) as api, server.watch() as home, other_server.watch() as abroad:
        api.get("/echo")
        api.get("/hops/1")
        api.get(f"/redirect/307?to={other_server.url}/redirect/307?to={server.url}/echo")
        api.get(f"{other_server.url}/echo", absolute=True)
    assert headers_seen(abroad) == [None, None]
    assert headers_seen(home)[:4] == ["Bearer t0k3n"] * 4
    assert headers_seen(home)[4:] in ([None], [])  # back home by the word of somebody abroad: without


@pytest.mark.parametrize("how", ["middleware", "auth", "per_hop"])
def test_an_async_client_does_the_same(server, other_server, how):
    made = bearer("t0k3n") if how == "auth" else [bearer("t0k3n")]

    async def main():
        async with build_async(base_uri=server.url, **{how: made}) as api:
            await api.get("/hops/1")
            await api.get(f"/redirect/307?to={other_server.url}/echo")
            await api.get(f"{other_server.url}/echo", absolute=True)
            await api.get("/echo", headers={"Authorization": "Basic own"})

    with server.watch() as home, other_server.watch() as abroad:
        asyncio.run(main())
    assert headers_seen(home) == ["Bearer t0k3n"] * 3 + ["Basic own"]
    assert headers_seen(abroad) == [None, None]


def test_what_a_call_says_wins(server):
    with build(base_uri=server.url, middleware=[bearer("client")]) as api, server.watch() as seen:
        api.get("/echo", headers={"Authorization": "Bearer call"})
        api.get("/echo", auth=bearer("call"))
        api.get("/echo", auth=lambda request: request.headers.update({"Authorization": "Signed"}))
        api.get("/echo", auth=("ann", "pw"))
        api.get("/echo", auth=None)
    assert headers_seen(seen) == ["Bearer call", "Bearer call", "Signed", "Basic YW5uOnB3", "Bearer client"]


def test_an_auth_of_the_call_goes_where_the_call_goes(server, other_server):
    with build(base_uri=server.url, auth=bearer("client")) as api, other_server.watch() as seen:
        api.get(f"{other_server.url}/echo", absolute=True)
        api.get(f"{other_server.url}/echo", absolute=True, auth=bearer("call"))
        api.get(f"{other_server.url}/redirect/302?to={server.url}/echo", absolute=True, auth=bearer("call"))
    assert headers_seen(seen) == [None, "Bearer call", "Bearer call"]


def test_logs_print_redacted(server):
    with capture_logs() as lines, build(base_uri=server.url, per_hop=[bearer("t0k3n"), request_logger()]) as api:
        api.get("/status/401")
    assert "t0k3n" not in str(lines)
    assert any(line.get("headers", {}).get("Authorization") == "[redacted]" for line in lines)


def test_an_async_function_of_the_request_is_awaited_where_that_can_be(server):
    async def sign(request):
        await asyncio.sleep(0)
        request.headers["Authorization"] = "Signed later"

    async def main():
        async with build_async(base_uri=server.url, auth=sign) as api:
            await api.get("/echo")

    with server.watch() as seen:
        asyncio.run(main())
        with build(base_uri=server.url, auth=sign) as api, pytest.raises(RuntimeError, match="cannot be waited for"):
            api.get("/echo")
    assert headers_seen(seen) == ["Signed later"]
