"""One plain function, everywhere: in both servers and both clients of gRPC, around WSGI and ASGI, in HTTP clients."""

import asyncio

import pytest

from formation import for_aiohttp, for_asgi, for_httpx, for_requests, for_wsgi, lift, req, res
from tests.grpc.hosts import every_server

told = []


def log(ctx, call):
    """Tell of a call, before and after. It knows nothing of where it runs."""
    if "fmtn.fn" in ctx:
        ctx = call(ctx)
        told.append(("function", ctx["fmtn.fn"].__name__, True))
        return ctx
    assert {"fmtn.state", "fmtn.session", "fmtn.sensitive", "fmtn.native"} <= ctx.keys()
    req(ctx).headers["X-Seen"] = "yes"
    ctx = call(ctx)
    told.append((ctx["fmtn.side"], req(ctx).name, res(ctx).ok))
    res(ctx).headers["X-Logged"] = ctx["fmtn.kind"]
    return ctx


@pytest.fixture(autouse=True)
def nothing_told():
    told.clear()


def wsgi_app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_X_SEEN"].encode()]


async def asgi_app(scope, receive, send):
    seen = dict(scope["headers"])[b"x-seen"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": seen})


@every_server
@pytest.mark.parametrize(("way", "request_"), [("one", b"a"), ("many", b"a"), ("collect", [b"a"]), ("both", [b"a"])])
def test_in_a_server_and_a_client_of_grpc(running, way, request_):
    with running([log], [log]) as caller:
        getattr(caller, way)(request_)
    assert caller.seen.calls == [{"x-seen": "yes"}]
    name = f"/test.Service/{way.title()}"
    assert sorted(told) == [("client", name, True), ("server", name, True)]


@pytest.mark.parametrize("edge", [for_requests, for_httpx], ids=["requests", "httpx"])
def test_in_an_http_client_and_around_a_wsgi_app(edge):
    app = for_wsgi.FormationMiddleware(wsgi_app, middleware=[log])
    with edge.build(base_uri="http://h", middleware=[log], endpoint=for_wsgi.endpoint(app)) as client:
        response = client.get("/users").response
    assert (response.content, response.headers["X-Logged"]) == (b"yes", "http")
    assert told == [("server", "GET /users", True), ("client", "GET /users", True)]


@pytest.mark.parametrize("build", [for_aiohttp.build, for_httpx.async_build], ids=["aiohttp", "httpx"])
def test_in_an_async_http_client_and_around_an_asgi_app(build):
    app = for_asgi.FormationMiddleware(asgi_app, middleware=[log])

    async def ask():
        async with build(base_uri="http://h", middleware=[log], endpoint=for_asgi.endpoint(app, lifespan="off")) as it:
            return (await it.get("/users")).response

    response = asyncio.run(ask())
    assert (response.content, response.headers["X-Logged"]) == (b"yes", "http")
    assert told == [("server", "GET /users", True), ("client", "GET /users", True)]


def test_around_functions():
    @lift(middleware=[log])
    def add(a, b):
        return a + b

    @lift(middleware=[log])
    async def aadd(a, b):
        return a + b

    assert add(1, 2) == asyncio.run(aadd(1, 2)) == 3
    assert told == [("function", "add", True), ("function", "aadd", True)]
