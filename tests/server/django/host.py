"""Django by WSGI and by ASGI, called as a server does; layers and neighbours."""

import asyncio

from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.utils.decorators import sync_and_async_middleware

from formation import for_django
from tests.django_site import stack

COMMON = "django.middleware.common.CommonMiddleware"


def plain(ctx, call):
    return call(ctx)


def ours(*layers, **settings):
    return for_django.middleware(layers or [plain], **settings)


def ok(request):
    return HttpResponse("ok")


def later(view):
    """Make an async view of a sync one."""

    async def later(request, *args, **kwargs):
        await asyncio.sleep(0)
        return view(request, *args, **kwargs)

    return later


class World:
    """Django by WSGI, with sync views, or by ASGI, with async ones."""

    def __init__(self, is_async):
        self.is_async = is_async

    def ask(self, layers, view=ok, path="/", method="GET", headers=(), body=b"", **settings):  # noqa: PLR0917
        """Serve one request, to its end; return the answer."""
        if self.is_async and callable(view) and not iscoroutinefunction(view):
            view = later(view)
        with stack(*layers, urls=view, **settings):
            if self.is_async:
                return asyncio.run(by_asgi(ASGIHandler(), path, method, headers, body))
            return by_wsgi(WSGIHandler(), path, method, headers, body)


class Answer:
    """What a server has sent."""

    def __init__(self, status, headers, chunks):
        self.status, self.headers, self.chunks = status, headers, chunks

    @property
    def body(self):
        return b"".join(self.chunks)

    def lines(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


def environ(path="/", method="GET", headers=(), body=b"", **more):
    path, _, query = path.partition("?")
    made = RequestFactory().generic(method, path, body, QUERY_STRING=query).environ
    for name, value in dict(headers).items():
        key = name.upper().replace("-", "_")
        made[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    return {**made, **more}


def by_wsgi(app, *sent, **more):
    said = []
    chunks = app(environ(*sent, **more), lambda status, headers: said.extend([int(status[:3]), headers]))
    try:
        return Answer(*said, list(chunks))
    finally:
        chunks.close()


async def by_asgi(app, path="/", method="GET", headers=(), body=b"", *, gone=None):
    """Serve a request; ``gone`` is an event that says when the client leaves."""
    path, _, query = path.partition("?")
    lines = {"content-length": str(len(body)), "host": "testserver", **dict(headers)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in lines.items()],
        "client": ("127.0.0.1", 5000),
        "server": ("testserver", 80),
    }
    messages = [{"type": "http.request", "body": body}]
    answer, over = Answer(0, [], []), asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await (gone or over).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
        elif message.get("body"):
            answer.chunks.append(message["body"])

    await app(scope, receive, send)
    return answer


@sync_and_async_middleware
def neighbour(get_response):
    """Pass, in both worlds."""
    if iscoroutinefunction(get_response):

        async def middleware(request):
            return await get_response(request)

    else:

        def middleware(request):
            return get_response(request)

    return middleware


def fails(request):
    raise ValueError("no")


def chunks(count=3):
    for number in range(count):
        yield b"%d," % number


async def achunks(count=3):
    for number in range(count):
        await asyncio.sleep(0)
        yield b"%d," % number


def streams(request):
    return StreamingHttpResponse(chunks())


async def astreams(request):
    return StreamingHttpResponse(achunks())


def streamed(world):
    return astreams if world.is_async else streams


def shout(ctx, call):
    ctx = call(ctx)
    ctx["fmtn.res.http"].body.map(lambda chunk: chunk.replace(b",", b"!"), lambda: b".")
    return ctx
