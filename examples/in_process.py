"""One client class, called against a WSGI app and an ASGI app in this process: no server, no socket."""

import asyncio
import json

from formation import for_aiohttp, for_asgi, for_requests, for_wsgi, req, res
from formation.for_requests import json_response


def log(ctx, call):
    ctx = call(ctx)
    print(f"  {req(ctx).name}: {res(ctx).code}")
    return ctx


class Calls:
    """What the service can do, in one place for both colours."""

    base_uri = "http://shop.example/v1"
    middleware = [log]
    response_as = json_response

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number})

    def ticks(self):
        return self.request.get("/ticks", stream=True)

    def upload(self, chunks):
        return self.request.put("/blob", content=chunks)


class Shop(Calls, for_requests.Client):
    pass


class AsyncShop(Calls, for_aiohttp.Client):
    pass


def wsgi_app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/v1/items/"):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"number": int(path.rpartition("/")[2]), "from": "WSGI"}).encode()]
    if path == "/v1/blob":
        size = sum(len(line) for line in environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"size": size}).encode()]
    if path == "/v1/ticks":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ticking()
    raise LookupError(f"the app has nothing at {path}")


def ticking():
    try:
        number = 0
        while True:
            yield b"tick %d" % number
            number += 1
    finally:
        print("  (the app: closed)")


async def asgi_app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    headers = [(b"content-type", b"application/json")]
    if scope["path"].startswith("/v1/items/"):
        scope["state"]["opened"].append(scope["path"])
        answer = {"number": int(scope["path"].rpartition("/")[2]), "from": "ASGI"}
    elif scope["path"] == "/v1/blob":
        answer, more = {"size": 0}, True
        while more:
            message = await receive()
            answer["size"] += len(message["body"])
            more = message["more_body"]
    else:
        await send({"type": "http.response.start", "status": 200})
        try:
            for number in range(1_000_000):
                await send({"type": "http.response.body", "body": b"tick %d" % number, "more_body": True})
        except OSError:
            print("  (the app: the client is gone)")
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def lifespan(scope, receive, send):
    scope["state"]["opened"] = []
    await receive()
    print("  (the app: started)")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print(f"  (the app: shut down, {len(scope['state']['opened'])} items were looked at)")
    await send({"type": "lifespan.shutdown.complete"})


def rows():
    for number in range(10_000):
        yield b"row %05d\n" % number


def sync():
    print("A WSGI app:")
    with Shop(endpoint=for_wsgi.endpoint(wsgi_app)) as shop:
        print(" ", shop.item(7).body)
        print(" ", shop.upload(rows()).body)
        with shop.ticks() as result:
            for chunk in result.body:
                print(" ", chunk)
                if chunk.endswith(b"2"):
                    break
        try:
            shop.request.get("/nothing")
        except LookupError as error:
            print("  raised in the caller:", error)

    careful = Shop(endpoint=for_wsgi.endpoint(wsgi_app, raise_app_exceptions=False), max_redirects=0)
    quiet()
    print("  or a status:", careful.request.get("/nothing").status_code)


async def asynchronous():
    print("An ASGI app:")
    async with AsyncShop(endpoint=for_asgi.endpoint(asgi_app)) as shop:
        found = await asyncio.gather(*(shop.item(number) for number in range(3)))
        print(" ", [result.body["number"] for result in found])
        print(" ", (await shop.upload(rows())).body)
        async with shop.ticks() as result:
            async for chunk in result.body:
                print(" ", chunk)
                if chunk.endswith(b"2"):
                    break


def quiet():
    """The traceback of the app goes to the log; this example is about the response."""
    import logging

    logging.getLogger("formation").addHandler(logging.NullHandler())
    logging.getLogger("formation").propagate = False


if __name__ == "__main__":
    sync()
    asyncio.run(asynchronous())
