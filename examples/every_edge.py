"""One client on every edge: what it says and its middleware stand once, a base class says what sends.

The server is a small WSGI app on this machine that turns away every other request. At the end the app is called without
a server, and so is one that is async.
"""

import asyncio
import json
from itertools import count

from _server import serve
from structlog.testing import capture_logs

from formation import for_aiohttp, for_asgi, for_httpx, for_requests, for_wsgi, req, res
from formation.for_requests import json_response
from formation.middleware import request_id, retry

turns = count()


def log(ctx, call):
    """Print a line for each call. It is plain, and waits all the same."""
    ctx = call(ctx)
    print(f"  {req(ctx).name}: {res(ctx).status_code} at attempt {ctx['attempt']}")
    return ctx


class Calls:
    middleware = [request_id(), log, retry()]
    response_as = json_response

    def user(self, number):
        return self.request.get("/users/{number}", path={"number": number})


class OnRequests(Calls, for_requests.Client):
    pass


class OnHttpx(Calls, for_httpx.Client):
    pass


class OnAsyncHttpx(Calls, for_httpx.AsyncClient):
    pass


class OnAiohttp(Calls, for_aiohttp.Client):
    pass


def answer(path):
    if next(turns) % 2 == 0:
        return "503 Service Unavailable", [("Retry-After", "0"), ("Content-Length", "0")], b""
    body = json.dumps({"user": path.rpartition("/")[2]}).encode()
    return "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body


def wsgi_app(environ, start_response):
    status, headers, body = answer(environ["PATH_INFO"])
    start_response(status, headers)
    return [body]


async def asgi_app(scope, receive, send):
    status, headers, body = answer(scope["path"])
    lines = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": lines})
    await send({"type": "http.response.body", "body": body})


def wait(client):
    with client:
        print(client.user(7).body)


async def wait_async(client):
    async with client:
        print((await client.user(7)).body)


def main():
    with serve(wsgi_app) as url:
        print("requests:")
        wait(OnRequests(base_uri=url))
        print("httpx:")
        wait(OnHttpx(base_uri=url))
        print("httpx, async:")
        asyncio.run(wait_async(OnAsyncHttpx(base_uri=url)))
        print("aiohttp:")
        asyncio.run(wait_async(OnAiohttp(base_uri=url)))
    print("a WSGI app, in process:")
    wait(OnRequests(base_uri="http://h", endpoint=for_wsgi.endpoint(wsgi_app)))
    print("an ASGI app, in process:")
    asyncio.run(wait_async(OnAiohttp(base_uri="http://h", endpoint=for_asgi.endpoint(asgi_app, lifespan="off"))))


if __name__ == "__main__":
    with capture_logs():  # what retry says is no part of what this shows
        main()
