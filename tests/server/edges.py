"""The server edges, as the cases in ``test_edges.py`` see them: one line for each in `EDGES`.

A case says what the app does once for all hosts, as a function from what it has `Seen` to its `Reply`, puts middleware
around it, and looks at the `Answer` that the host's server would send. An edge is a subclass of `Edge` whose ``serve``
makes of that function an app of its host, calls it as a server does, and gathers what comes out. Nothing is faked on
the way: it is the real framework with the real edge, only without a socket.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse

from tests.django_site import stack


@dataclass
class Seen:
    """What the app gets. The names of headers are in lower case, as hosts differ there."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    native: Any = None
    """The host's own: environ, scope, or the request of the framework."""


@dataclass
class Reply:
    """What the app answers. A list of chunks goes out with a Content-Length, any other iterable as a stream."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: Iterable[bytes] = (b"ok",)


App = Callable[[Seen], Reply]


@dataclass
class Sent:
    """The request of a case."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Answer:
    """What the server got from the edge. The names of headers are in lower case."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    error: BaseException | None = None
    """What came out of the edge. Some hosts answer 500 themselves, and nothing comes out."""

    @property
    def body(self) -> bytes:
        """All chunks."""
        return b"".join(self.chunks)

    def lines(self, name: str) -> list[str]:
        """The lines of a header."""
        return [value.strip() for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Edge:
    """A server edge."""

    name: ClassVar[str]
    unlike: ClassVar[dict[str, str]] = {}
    """Cases that the host does not allow for, and why; the page of the edge tells its users."""

    @property
    def module(self) -> Any:
        """``formation.for_…``; a missing extra skips."""
        return import_module(f"formation.for_{self.name.partition('-')[0]}")

    def build(self, app: App, middleware: Any, **settings: Any) -> Any:
        """Put the edge, with its settings, around an app of the host that does what ``app`` does."""
        raise NotImplementedError

    def serve(self, built: Any, sent: Sent) -> Answer:
        """Call what `build` made as a server does, to the end of the answer. Errors are a part of it."""
        raise NotImplementedError


def text(reply: Reply) -> list[tuple[str, str]]:
    """The headers of a reply, with the Content-Length of a list."""
    lines = [("Content-Type", "text/plain"), *reply.headers]
    if isinstance(reply.chunks, (list, tuple)) and reply.status not in {204, 304}:
        lines.append(("Content-Length", str(sum(map(len, reply.chunks)))))
    return lines


class Wsgi(Edge):
    """Any WSGI app."""

    name = "wsgi"

    def build(self, app: App, middleware: Any, **settings: Any) -> Any:
        """Around a WSGI app."""

        def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            reply = app(seen_in(environ))
            start_response(f"{reply.status} Whatever", text(reply))
            return reply.chunks

        return self.module.FormationMiddleware(wsgi_app, middleware=middleware, **settings)

    def serve(self, built: Any, sent: Sent) -> Answer:
        """As PEP 3333 has it."""
        answer = Answer()

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            answer.status, answer.headers = int(status[:3]), [(name.lower(), value) for name, value in headers]
            return answer.chunks.append

        try:
            chunks = built(environ_of(sent), start_response)
            try:
                answer.chunks.extend(chunks)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        except BaseException as error:  # noqa: BLE001  a case looks at it
            answer.error = error
        return answer


def environ_of(sent: Sent) -> dict[str, Any]:
    """What a WSGI server makes of a request."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(sent.path).decode("latin-1"),
        "QUERY_STRING": sent.query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "testserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(sent.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if sent.body:
        environ["CONTENT_LENGTH"] = str(len(sent.body))
    for name, value in sent.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value
    return environ


def seen_in(environ: dict[str, Any]) -> Seen:
    """What a WSGI app sees in its environ."""
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
    path = (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1").decode()
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return Seen(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], headers, body, environ)


class Asgi(Edge):
    """Any ASGI app."""

    name = "asgi"

    def build(self, app: App, middleware: Any, **settings: Any) -> Any:
        """Around an ASGI app."""

        async def asgi_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            query = scope["query_string"].decode()
            reply = app(Seen(scope["method"], scope["path"], query, headers, body, scope))
            lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in text(reply)]
            await send({"type": "http.response.start", "status": reply.status, "headers": lines})
            for chunk in reply.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})

        return self.module.FormationMiddleware(asgi_app, middleware=middleware, **settings)

    def serve(self, built: Any, sent: Sent) -> Answer:
        """As ASGI 3.0 has it."""
        answer = Answer()
        received = [{"type": "http.request", "body": sent.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return received.pop() if received else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [
                    (name.decode().lower(), value.decode("latin-1")) for name, value in message["headers"]
                ]
            elif message.get("body"):
                answer.chunks.append(message["body"])

        try:
            asyncio.run(built(scope_of(sent), receive, send))
        except BaseException as error:  # noqa: BLE001  a case looks at it
            answer.error = error
        return answer


def scope_of(sent: Sent) -> dict[str, Any]:
    """What an ASGI server makes of a request."""
    length = {"content-length": str(len(sent.body))} if sent.body else {}
    headers = {"host": "testserver", **length, **{name.lower(): value for name, value in sent.headers.items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": unquote_to_bytes(sent.path).decode(),
        "raw_path": sent.path.encode(),
        "query_string": sent.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 12345),
        "server": ("testserver", 80),
        "extensions": {},
    }


class Django(Wsgi):
    """Django by WSGI: a sync stack, a sync view."""

    name = "django"
    unlike: ClassVar[dict[str, str]] = {
        "test_an_answer_of_a_middleware_tells_its_length": "CommonMiddleware of Django does, where a site has it"
    }

    def build(self, app: App, middleware: Any, **settings: Any) -> Any:
        """In the stack of Django, which is built here."""
        with stack(self.module.middleware(middleware, **settings)):
            return WSGIHandler(), lambda request: django_response(app(seen_by_django(request)))

    def serve(self, built: Any, sent: Sent) -> Answer:
        """By the handler of Django."""
        handler, view = built
        with stack(urls=view):
            return super().serve(handler, sent)


class DjangoAsync(Asgi):
    """Django by ASGI: an async stack, an async view."""

    name = "django-async"
    unlike = Django.unlike

    def build(self, app: App, middleware: Any, **settings: Any) -> Any:
        """In the stack of Django, which is built here."""

        async def view(request: Any) -> Any:
            reply = app(seen_by_django(request))
            if not isinstance(reply.chunks, (list, tuple)):
                reply.chunks = later(reply.chunks)  # type: ignore[assignment]
            return django_response(reply)

        with stack(self.module.middleware(middleware, **settings)):
            return ASGIHandler(), view

    def serve(self, built: Any, sent: Sent) -> Answer:
        """By the handler of Django, which takes a client that has gone at its word."""
        handler, view = built

        async def app(scope: Any, receive: Any, send: Any) -> None:
            first = [await receive()]

            async def wait() -> Any:
                return first.pop() if first else await asyncio.Event().wait()

            await handler(scope, wait, send)

        with stack(urls=view):
            return super().serve(app, sent)


async def later(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A stream that is iterated by awaiting."""
    for chunk in chunks:
        yield chunk


def seen_by_django(request: Any) -> Seen:
    """What a view of Django sees in its request."""
    headers = {name.lower(): value for name, value in request.headers.items() if value}
    return Seen(request.method, request.path, request.META["QUERY_STRING"], headers, request.body, request)


def django_response(reply: Reply) -> Any:
    """The response of a view of Django, which has a line for each cookie, and one for any other header."""
    is_whole = isinstance(reply.chunks, (list, tuple))
    response = HttpResponse(reply.chunks) if is_whole else StreamingHttpResponse(reply.chunks)
    response.status_code = reply.status
    for name, value in text(reply):
        if name.lower() == "set-cookie":
            response.cookies.load(value)
        else:
            joined = name in response.headers and name != "Content-Type"
            response.headers[name] = f"{response.headers[name]}, {value}" if joined else value
    return response


EDGES: list[Edge] = [Wsgi(), Asgi(), Django(), DjangoAsync()]


def pieces(*chunks: bytes) -> Iterator[bytes]:
    """A stream of chunks."""
    yield from chunks
