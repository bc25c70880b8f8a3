"""A server of WSGI that goes by the letter, apps, and middlewares that touch a body in every way."""

import io
import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation import req, res
from formation.for_wsgi import FormationMiddleware
from formation.keys import DEADLINE, REQ_ID, TEMPLATE
from formation.middleware import request_id
from tests.server.edges import Sent, environ_of

PLAIN = [("Content-Type", "text/plain")]


class Served:
    """What a server makes of an app: it goes by the letter of PEP 3333, and can be stopped at any point."""

    def __init__(self, app, environ=None):
        self.environ = environ_of(Sent()) if environ is None else environ
        self.app = app
        self.heads = []
        self.sent = []
        self.result = None
        self.closed = 0

    def start_response(self, status, headers, exc_info=None):
        if exc_info and self.sent:
            raise exc_info[1]
        if self.heads and not exc_info:
            raise AssertionError("a second head without exc_info")
        self.heads.append((status, headers, exc_info))
        return self.sent.append

    def call(self):
        self.result = self.app(self.environ, self.start_response)
        return self

    def run(self):
        """Call, iterate, close."""
        self.call()
        try:
            for chunk in self.result:
                self.send(chunk)
        finally:
            self.close()
        return self

    def send(self, chunk):
        if chunk:
            assert self.heads, "a body before the head"
            self.sent.append(chunk)

    def close(self):
        if hasattr(self.result, "close"):
            self.result.close()

    @property
    def status(self):
        return self.heads[-1][0]

    @property
    def headers(self):
        return self.heads[-1][1]

    @property
    def body(self):
        return b"".join(self.sent)


class Chunks:
    """An iterable of an app that notes what is done to it."""

    def __init__(self, *chunks, start=None, log=None):
        self.chunks = list(chunks)
        self.start = start
        self.log = [] if log is None else log

    def __iter__(self):
        self.log.append("iter")
        return Iteration(self)

    def close(self):
        self.log.append("close")


class Iteration:
    """Its iterator is another object, which has no close()."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __iter__(self):
        return self

    def __next__(self):
        if self.chunks.start is not None:
            self.chunks.start()
            self.chunks.start = None
        self.chunks.log.append("next")
        if not self.chunks.chunks:
            raise StopIteration
        chunk = self.chunks.chunks.pop(0)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk


def answering(chunks, status="200 OK", headers=PLAIN):
    """An app that answers."""

    def app(environ, start_response):
        start_response(status, list(headers))
        return chunks

    return app


def late(*chunks, headers=PLAIN):
    """An app that calls start_response when it is asked for its first chunk; and its iterable."""
    made = Chunks(*chunks)

    def app(environ, start_response):
        made.start = lambda: start_response("201 Created", list(headers))
        return made

    return app, made


def pass_on(ctx, call):
    return call(ctx)


def look(ctx, call):
    ctx = call(ctx)
    res(ctx).headers["X-Status"] = str(res(ctx).status_code)
    return ctx


def mapped(fn, finish=None):
    def mapped(ctx, call):
        ctx = call(ctx)
        res(ctx).body.map(fn, finish)
        return ctx

    return mapped


def hooked(log):
    def hooked(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: log.append((count, error)))
        return ctx

    return hooked


def reading(ctx, call):
    ctx = call(ctx)
    assert res(ctx).content is not None
    return ctx


KINDS = {
    "nothing": pass_on,
    "the head": look,
    "a map": mapped(bytes.upper),
    "a hook": hooked([]),
}


def wrapped(app, *middleware, **settings):
    return FormationMiddleware(app, middleware=middleware, **settings)


def fail():
    raise LookupError("gone")


def pulled(ctx):
    old = res(ctx).body
    res(ctx).body = (chunk.upper() for chunk in old)
    return ctx


def writing(environ, start_response):
    write = start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
    write(b"ab")
    write(b"cd")
    return iter([b"ef"])


def taking(found):
    """An app that keeps what it is given."""

    def app(environ, start_response):
        found.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        return answering([b"ok"])(environ, start_response)

    return app


def changing(change):
    def changing(ctx, call):
        change(req(ctx))
        return call(ctx)

    return changing


def publishing(ctx, call):
    ctx[REQ_ID], ctx[DEADLINE] = "7f3a", 1e9
    return call(ctx)


def loopback(environ, start_response):
    """An app with a lazy body, for servers to serve."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    headers = [("Content-Type", "text/plain"), ("X-Seen", environ.get("HTTP_X_ADDED", ""))]
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file " * 10_000))
    start_response("200 OK", headers)
    return (chunk for chunk in (environ["REQUEST_METHOD"].encode(), b" ", body))


def adding(ctx, call):
    req(ctx).headers["X-Added"] = "added"
    length = len(req(ctx).content)
    ctx = call(ctx)
    res(ctx).headers["X-Length"] = str(length)
    return ctx


@contextmanager
def wsgiref_serving(app):
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args): ...

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join(10)


served = FormationMiddleware(loopback, middleware=[adding, mapped(bytes.upper), request_id()])


def noting(log):
    def noting(ctx, call):
        ctx = call(ctx)
        log.append((req(ctx).name, ctx.get(TEMPLATE), res(ctx).code))
        res(ctx).headers["X-Noted"] = "1"
        return ctx

    return noting
