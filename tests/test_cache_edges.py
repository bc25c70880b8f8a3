"""The cache on every edge: asked twice, the server is asked once."""

import asyncio
import itertools
import threading

import aiohttp
import httpx2
import pytest
import requests
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse

from formation import for_aiohttp, for_asgi, for_django, for_httpx, for_requests, for_wsgi
from formation.for_asgi import FormationMiddleware as AsgiMiddleware
from formation.for_wsgi import FormationMiddleware as WsgiMiddleware
from formation.middleware import cache
from formation.resilience import background
from tests.django_site import stack

BODY = b"0123456789" * 5000
_paths = itertools.count()


@pytest.fixture
def path():
    """A path of its own, whose answer may be kept for a minute."""
    return f"/respond?Cache-Control=max-age=60&number={next(_paths)}"


def test_the_client_on_requests(server, path):
    with server.watch() as seen, for_requests.build(base_uri=server.url, middleware=[cache()]) as client:
        states = [client.get(path).ctx["fmtn.state"]["cache"][:3] for _ in range(2)]
        with client.get(path, stream=True) as result:
            assert b"".join(result.response.body) == client.get(path).response.content
    assert (states, len(seen.requests)) == (["fwd", "hit"], 1)


def test_a_stream_of_the_client_on_requests_is_kept_when_it_has_been_read(server, path):
    with server.watch() as seen, for_requests.build(base_uri=server.url, middleware=[cache()]) as client:
        with client.get(path, stream=True) as result:
            first = b"".join(result.response.body)
        with client.get(path, stream=True) as result:
            assert b"".join(result.response.body) == first
    assert len(seen.requests) == 1


def test_the_client_on_httpx(server, path):
    with server.watch() as seen, for_httpx.build(base_uri=server.url, middleware=[cache()]) as client:
        assert client.get(path).response.content == client.get(path).response.content
    assert len(seen.requests) == 1


@pytest.mark.parametrize("build", [for_httpx.async_build, for_aiohttp.build])
def test_the_async_clients_and_their_streams(server, path, build):
    async def main():
        async with build(base_uri=server.url, middleware=[cache()]) as client:
            async with client.get(path, stream=True) as result:
                first = b"".join([chunk async for chunk in result.response.body])
            async with client.get(path, stream=True) as result:
                assert b"".join([chunk async for chunk in result.response.body]) == first
            assert (await client.get(path)).response.content == first
            gathered = await asyncio.gather(*(client.get(f"{path}&more") for _ in range(10)))
            return {result.response.content for result in gathered}

    with server.watch() as seen:
        assert len(asyncio.run(main())) == 1
    assert len(seen.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_session_of_requests(server, path, stream):
    with server.watch() as seen, requests.Session() as session:
        session.mount("http://", for_requests.Adapter(middleware=[cache()]))
        first, second = (session.get(server.url + path, stream=stream).content for _ in range(2))
        assert first == second
        assert session.get(server.url + path).headers["Age"].isdigit()
    assert len(seen.requests) == 1


def test_gzip_in_a_session_of_requests_is_kept_decoded(server):
    with server.watch() as seen, requests.Session() as session:
        session.mount("http://", for_requests.Adapter(middleware=[cache(heuristic=1, key=lambda ctx: "one"), fresh]))
        assert [session.get(server.url + "/gzip").json() for _ in range(2)] == [{"gzip": True}] * 2
    assert len(seen.requests) == 1


def fresh(ctx, call):
    ctx = call(ctx)
    ctx["fmtn.res.http"].headers["Cache-Control"] = "max-age=60"
    return ctx


def test_clients_of_httpx(server, path):
    async def main():
        async with httpx2.AsyncClient(transport=for_httpx.AsyncTransport(middleware=[cache()])) as client:
            first = await client.get(server.url + path)
            assert (await client.get(server.url + path)).content == first.content

    with server.watch() as seen:
        with httpx2.Client(transport=for_httpx.Transport(middleware=[cache()])) as client:
            assert client.get(server.url + path).content == client.get(server.url + path).content
        asyncio.run(main())
    assert len(seen.requests) == 2


def test_a_session_of_aiohttp(server, path):
    async def main():
        async with aiohttp.ClientSession(middlewares=[for_aiohttp.client_middleware(middleware=[cache()])]) as session:
            bodies = []
            for _ in range(2):
                async with session.get(server.url + path) as response:
                    bodies.append(await response.read())
            return bodies

    with server.watch() as seen:
        first, second = asyncio.run(main())
    assert first == second
    assert len(seen.requests) == 1


class WsgiApp:
    """Says how often it was called, in a body of two pieces."""

    def __init__(self, cache_control="max-age=60"):
        self.cache_control = cache_control
        self.asked = []

    def __call__(self, environ, start_response):
        self.asked.append(environ.get("HTTP_IF_NONE_MATCH"))
        start_response("200 OK", [("Cache-Control", self.cache_control), ("ETag", f'"{len(self.asked)}"')])
        yield b"%d" % len(self.asked)
        yield BODY


class AsgiApp(WsgiApp):
    """The same."""

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        assert (await receive())["type"] == "http.request"
        headers = dict(scope["headers"])
        self.asked.append(headers.get(b"if-none-match", b"").decode() or None)
        cache_control, etag = self.cache_control.encode(), b'"%d"' % len(self.asked)
        head = [(b"cache-control", cache_control), (b"etag", etag)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"%d" % len(self.asked), "more_body": True})
        await send({"type": "http.response.body", "body": BODY})


def test_an_app_of_wsgi():
    app = WsgiApp()
    wrapped = WsgiMiddleware(app, middleware=[cache()])
    with for_requests.build(base_uri="http://app", endpoint=for_wsgi.endpoint(wrapped)) as client:
        for state in ("fwd=uri-miss; stored", "hit; ttl="):
            response = client.get("/a").response
            assert response.content == b"1" + BODY
            assert response.headers["Cache-Status"].startswith(f"formation; {state}")
        assert client.get("/a", headers={"Range": "bytes=0-0"}).response.content == b"1"
        client.delete("/a")
        assert client.get("/a").response.content == b"3" + BODY


def test_an_app_of_asgi():
    app = AsgiApp()

    async def main():
        wrapped = AsgiMiddleware(app, middleware=[cache()])
        async with for_aiohttp.build(base_uri="http://app", endpoint=for_asgi.endpoint(wrapped)) as client:
            for state in ("fwd=uri-miss; stored", "hit; ttl="):
                response = (await client.get("/a")).response
                assert response.content == b"1" + BODY
                assert response.headers["Cache-Status"].startswith(f"formation; {state}")
            await client.delete("/a")
            assert (await client.get("/a")).response.content == b"3" + BODY
            results = await asyncio.gather(*(client.get("/b") for _ in range(10)))
            assert {result.response.content for result in results} == {b"4" + BODY}

    asyncio.run(main())


def test_a_site_of_django():
    asked = []

    def view(request):
        asked.append(request.path)
        return HttpResponse(b"ok", headers={"Cache-Control": "max-age=60", "ETag": '"1"'})

    with (
        stack(for_django.middleware([cache()]), urls=view),
        for_requests.build(base_uri="http://app", endpoint=for_wsgi.endpoint(WSGIHandler())) as client,
    ):
        for _ in range(2):
            assert client.get("/a").response.content == b"ok"
    assert asked == ["/a"]


class Clock:
    at = 1e9

    def __call__(self):
        return self.at


STALE = "max-age=60, stale-while-revalidate=600"


def test_an_app_of_wsgi_is_called_in_the_background_apart_from_the_request_that_is_answered():
    app, now = WsgiApp(STALE), Clock()
    wrapped = WsgiMiddleware(app, middleware=[cache(now=now)])
    with for_requests.build(base_uri="http://app", endpoint=for_wsgi.endpoint(wrapped)) as client:
        client.get("/a")
        now.at += 61
        assert client.get("/a").response.content == b"1" + BODY
        for thread in [each for each in threading.enumerate() if each.name == "formation.cache"]:
            thread.join()
        response = client.get("/a").response
    assert (response.content, response.headers["Cache-Status"]) == (b"2" + BODY, "formation; hit; ttl=60")
    assert app.asked == [None, '"1"']


def test_an_app_of_asgi_is_called_in_the_background_apart_from_the_request_that_is_answered():
    app, now = AsgiApp(STALE), Clock()

    async def main():
        wrapped = AsgiMiddleware(app, middleware=[cache(now=now)])
        async with for_aiohttp.build(base_uri="http://app", endpoint=for_asgi.endpoint(wrapped)) as client:
            await client.get("/a")
            now.at += 61
            assert (await client.get("/a")).response.content == b"1" + BODY
            await asyncio.wait(background._tasks)
            return (await client.get("/a")).response

    response = asyncio.run(main())
    assert (response.content, response.headers["Cache-Status"]) == (b"2" + BODY, "formation; hit; ttl=60")
    assert app.asked == [None, '"1"']


def test_a_site_of_django_is_asked_first():
    asked, now = [], Clock()

    def view(request):
        asked.append(request.headers.get("If-None-Match"))
        return HttpResponse(b"%d" % len(asked), headers={"Cache-Control": STALE, "ETag": f'"{len(asked)}"'})

    with (
        stack(for_django.middleware([cache(now=now)]), urls=view),
        for_requests.build(base_uri="http://app", endpoint=for_wsgi.endpoint(WSGIHandler())) as client,
    ):
        client.get("/a")
        now.at += 61
        assert client.get("/a").response.content == b"2"
    assert asked == [None, '"1"']


@pytest.mark.parametrize("how", ["silent", "half", "too large"])
def test_an_app_of_asgi_that_fails_in_the_background_is_asked_again(how, monkeypatch):
    monkeypatch.setattr("formation.server.asgi.aside.MAX_BODY", 100_000)
    app, now = AsgiApp(STALE), Clock()

    async def failing(scope, receive, send):
        if now.at == 1e9 or len(app.asked) > 1:
            await app(scope, receive, send)
            return
        app.asked.append(how)
        assert scope["state"] == {"a": 1}
        scope["state"]["a"] = 2
        if how != "silent":
            body = b"x" * (200_000 if how == "too large" else 1)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body, "more_body": True})

    async def main():
        wrapped = AsgiMiddleware(failing, middleware=[cache(now=now)])

        async def server(scope, receive, send):
            await wrapped({**scope, "state": {"a": 1}}, receive, send)

        async with for_aiohttp.build(
            base_uri="http://app", endpoint=for_asgi.endpoint(server, lifespan="off")
        ) as client:
            await client.get("/a")
            now.at += 61
            for _ in range(2):
                assert (await client.get("/a")).response.content == b"1" + BODY
                await asyncio.wait(background._tasks)
            return (await client.get("/a")).response.content

    assert asyncio.run(main()) == b"3" + BODY
    assert app.asked == [None, how, '"1"']


def test_an_app_of_asgi_that_waits_for_its_client_hears_that_he_is_gone_when_it_has_answered():
    now, heard = Clock(), []

    async def app(scope, receive, send):
        await receive()
        headers = [(b"cache-control", STALE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        if now.at > 1e9:
            heard.append((await receive())["type"])
            await send({"type": "http.response.body", "body": b"late"})

    async def main():
        wrapped = AsgiMiddleware(app, middleware=[cache(now=now)])
        async with for_aiohttp.build(
            base_uri="http://app", endpoint=for_asgi.endpoint(wrapped, lifespan="off")
        ) as client:
            await client.get("/a")
            now.at += 61
            await client.get("/a")
            await asyncio.wait(background._tasks)
            return (await client.get("/a")).response

    response = asyncio.run(main())
    assert (response.content, response.headers["Cache-Status"]) == (b"ok", "formation; hit; ttl=60")
    assert heard == ["http.disconnect"]
