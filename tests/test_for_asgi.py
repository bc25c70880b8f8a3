"""The ASGI edge as its users meet it: what it takes, what it shows, and the frameworks it is put around."""

import asyncio
import json

import pytest

from formation import reply, req, res
from formation.for_asgi import Connection, FormationMiddleware, endpoint
from formation.http import Request
from formation.middleware import request_id
from tests.server.asgi_host import HELLO, Host, answering, chunk, header


def first(ctx, call):
    return call(ctx)


async def second(ctx, call):
    return await call(ctx)


async def app(scope, receive, send):
    await answering(*HELLO)(scope, receive, send)


# What it takes and shows


def test_it_shows_the_app_and_the_chain():
    assert repr(FormationMiddleware(app, [first, second])) == "FormationMiddleware(app, [first, second])"
    shown = repr(FormationMiddleware(app, message_middleware=[first]))
    assert shown == "FormationMiddleware(app, [], message_middleware=[first])"


def test_two_around_one_app_are_one_chain():
    def third(ctx, call):
        return call(ctx)

    both = FormationMiddleware(FormationMiddleware(app, [second, third], [third]), [first], [first])
    assert repr(both) == "FormationMiddleware(app, [first, second, third], message_middleware=[first, third])"
    assert both.app is app
    other = FormationMiddleware(FormationMiddleware(app, [second], max_body=1), [first])
    assert repr(other) == "FormationMiddleware(FormationMiddleware, [first])"


def test_one_with_another_limit_inside_or_something_between_works_as_well():
    class Between:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    inner = FormationMiddleware(app, [header("x-inner")])
    for inside in (Between(inner), FormationMiddleware(app, [header("x-inner")], max_body=1)):
        host = asyncio.run(Host().call(FormationMiddleware(inside, [header("x-outer")])))
        assert [name for name, _ in host.headers[2:]] == [b"x-inner", b"x-outer"]


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "said"),
    [
        ((None,), {}, TypeError, r"expected an ASGI app, a callable \(scope, receive, send\), got None"),
        ((app, [1]), {}, TypeError, r"middleware\[0\] is no middleware"),
        ((app, first), {}, TypeError, r"expected a list of middleware, got .*: write \[first\]"),
        ((app, [], ["log"]), {}, TypeError, r"middleware\[0\] is no middleware"),
        ((app,), {"max_body": -1}, ValueError, "expected max_body as a number of bytes, or None, got -1"),
        ((app,), {"max_body": "1"}, ValueError, "expected max_body as a number of bytes, or None, got '1'"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_given(args, kwargs, error, said):
    with pytest.raises(error, match=said):
        FormationMiddleware(*args, **kwargs)


def test_without_middleware_the_app_is_called_as_if_nothing_were_there():
    seen = []

    async def look(*args):
        seen.append(args)

    for kind in ("http", "websocket"):
        host = Host(type=kind)
        asyncio.run(host.call(FormationMiddleware(look)))
        assert seen.pop() == (host.scope, host.receive, host.send)


def test_a_client_of_the_same_process_calls_it():
    ctx = {"fmtn.req.http": Request("GET", "http://app/")}
    ctx = asyncio.run(endpoint(FormationMiddleware(app, [header("x")]))(ctx))
    assert (res(ctx).headers["x"], res(ctx).content) == ("1", b"hello")


def test_the_request_id_goes_with_the_answer_to_a_handshake():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})

    host = Host({"type": "websocket.connect"}, type="websocket")
    asyncio.run(host.call(FormationMiddleware(app, [request_id(idgen=lambda: "7f3a")])))
    assert host.sent[0]["headers"] == [(b"x-request-id", b"7f3a")]


def test_a_connection_shows_where_it_stands():
    assert repr(Connection(app, {}, None, None)) == "<Connection: not accepted, subprotocol None, code None>"


# Frameworks: each has ``/hello/{name}``, which answers JSON, and reads its body


def guard(ctx, call):
    if "token" not in req(ctx).headers:
        return reply(ctx, 401, {"WWW-Authenticate": "Bearer"})
    return call(ctx)


def noting(into):
    def noting(ctx, call):
        ctx = call(ctx)
        into.append((req(ctx).name, res(ctx).code, json.loads(res(ctx).content)))
        return ctx

    return noting


def starlette_app(middleware):
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    async def hello(request):
        return JSONResponse({"hello": request.path_params["name"], "size": len(await request.body())})

    app = Starlette(routes=[Mount("/v1", routes=[Route("/hello/{name}", hello, methods=["POST"])])])
    app.add_middleware(FormationMiddleware, middleware=middleware)
    return app, "/v1/hello/ann"


def fastapi_app(middleware):
    from fastapi import APIRouter, FastAPI, Request

    router = APIRouter(prefix="/v1")

    @router.post("/hello/{name}")
    async def hello(name: str, request: Request) -> dict:
        return {"hello": name, "size": len(await request.body())}

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(FormationMiddleware, middleware=middleware)
    return app, "/v1/hello/ann"


def litestar_app(middleware):
    from litestar import Litestar, Request, post

    @post("/v1/hello/{name:str}", status_code=200)
    async def hello(request: Request) -> dict:
        return {"hello": request.path_params["name"], "size": len(await request.body())}

    wrapped = [lambda app: FormationMiddleware(app, middleware)]
    return Litestar([hello], middleware=wrapped, logging_config=None), "/v1/hello/ann"  # it would set up all loggers


def quart_app(middleware):
    from quart import Quart, request

    app = Quart(__name__)

    @app.post("/v1/hello/<name>")
    async def hello(name):
        return {"hello": name, "size": len(await request.get_data())}

    app.asgi_app = FormationMiddleware(app.asgi_app, middleware=middleware)
    return app, "/v1/hello/ann"


def django_app(middleware):
    from django.core.handlers.asgi import ASGIHandler
    from django.http import JsonResponse

    from tests import django_site

    async def hello(request, name):
        return JsonResponse({"hello": name, "size": len(request.body)})

    handler = None

    async def app(scope, receive, send):
        nonlocal handler
        with django_site.stack(urls={"v1/hello/<str:name>": hello}):
            handler = handler or ASGIHandler()
            await handler(scope, receive, send)

    return FormationMiddleware(app, middleware), "/v1/hello/ann"


def wsgi_app(middleware):
    from a2wsgi import WSGIMiddleware

    def app(environ, start_response):
        size = len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json")])
        yield json.dumps({"hello": environ["PATH_INFO"].rpartition("/")[2], "size": size}).encode()

    return FormationMiddleware(WSGIMiddleware(app), middleware=middleware), "/v1/hello/ann"


FRAMEWORKS = [starlette_app, fastapi_app, litestar_app, quart_app, django_app, wsgi_app]


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_frameworks_answer_through_it(make):
    seen = []
    app, path = make([request_id(idgen=lambda: "7f3a"), noting(seen), header("x-app", make.__name__)])

    async def main():
        headers = [(b"host", b"h"), (b"content-length", b"3"), (b"content-type", b"text/plain")]
        host = Host(chunk(b"abc"), method="POST", path=path, raw_path=path.encode(), headers=headers)
        await asyncio.wait_for(host.call(app), 10)
        return host

    host = asyncio.run(main())
    assert (host.status, json.loads(host.body)) == (200, {"hello": "ann", "size": 3})
    assert {(b"x-request-id", b"7f3a"), (b"x-app", make.__name__.encode())} <= set(host.headers)
    template = "/v1/hello/{name}" if make is fastapi_app else path
    assert seen[0][1:] == (200, {"hello": "ann", "size": 3})
    assert seen[0][0] in {f"POST {path}", f"POST {template}", "POST /v1/hello/{name}"}


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_frameworks_are_not_asked_where_a_middleware_answers(make):
    app, path = make([guard])
    host = Host(chunk(b"abc"), method="POST", path=path, raw_path=path.encode())
    asyncio.run(host.call(app))
    assert (host.status, host.headers[0]) == (401, (b"www-authenticate", b"Bearer"))
