"""The WSGI edge: middlewares that read a request header and set a response header, around an app that does nothing.

All of them do the same: they replace the header, if it is there. *Closures* is a middleware as one writes it by hand,
with `wsgiref.headers`; *appending* is the one that does less: it adds a line and does not look. *werkzeug* uses its
header classes. OpenTelemetry's has no SDK to report to. Then 1 GiB goes through ten layers and a map; it must not take
memory.
"""

import io
import resource
import sys
from collections.abc import Iterator
from functools import reduce
from time import perf_counter
from typing import Any
from wsgiref.headers import Headers

from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from werkzeug.datastructures import EnvironHeaders
from werkzeug.datastructures import Headers as WerkzeugHeaders

from bench.measure import Row, rounds
from formation.for_wsgi import FormationMiddleware

LAYERS = (1, 5, 10)
MEBIBYTE = bytes(1 << 20)
SPARE = 32  # MiB that the process may grow by while 1 GiB goes through it

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/users/1",
    "QUERY_STRING": "page=2",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "bench",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "HTTP_ACCEPT": "application/json",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_X_REQUEST_ID": "7f3a",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def app(environ: Any, start_response: Any) -> list[bytes]:
    """Answer."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def formation(number: int) -> Any:
    """Make one of ours."""
    name = f"X-Layer-{number}"

    def layer(ctx: Any, call: Any) -> Any:
        value = ctx["fmtn.req.http"].headers.get("X-Request-Id", "")
        ctx = call(ctx)
        ctx["fmtn.res.http"].headers[name] = value
        return ctx

    return layer


def closures(inner: Any, number: int) -> Any:
    """Write one by hand."""
    name = f"X-Layer-{number}"

    def middleware(environ: Any, start_response: Any) -> Any:
        value = environ.get("HTTP_X_REQUEST_ID", "")

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            Headers(headers)[name] = value
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    return middleware


def appending(inner: Any, number: int) -> Any:
    """Write one by hand that does less."""
    name = f"X-Layer-{number}"

    def middleware(environ: Any, start_response: Any) -> Any:
        value = environ.get("HTTP_X_REQUEST_ID", "")

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            headers.append((name, value))
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    return middleware


class Werkzeug:
    """One with the headers of werkzeug."""

    def __init__(self, inner: Any, number: int) -> None:
        self.inner = inner
        self.name = f"X-Layer-{number}"

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Serve."""
        value = EnvironHeaders(environ).get("X-Request-Id", "")

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            fields = WerkzeugHeaders(headers)
            fields.set(self.name, value)
            return start_response(status, fields.to_wsgi_list(), exc_info)

        return self.inner(environ, start)


def opentelemetry(inner: Any, number: int) -> Any:
    """Put OpenTelemetry around, which does what it does."""
    return OpenTelemetryMiddleware(inner)


PEERS: dict[str, Any] = {
    "closures": closures,
    "werkzeug": Werkzeug,
    "OpenTelemetry": opentelemetry,
    "appending": appending,
}
BARS = {"closures": 1.0, "werkzeug": 1.0, "OpenTelemetry": 1.0}


def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
    """Take the head."""


def serving(wsgi_app: Any) -> Any:
    """Time requests, as a server makes them."""

    def timer(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            chunks = wsgi_app(ENVIRON.copy(), start_response)
            for _chunk in chunks:
                pass
            if hasattr(chunks, "close"):
                chunks.close()
        return perf_counter() - started

    return timer


def rows() -> list[Row]:
    """Time stacks of middlewares, and the stream."""
    made = []
    bare = rounds({"edge": serving(FormationMiddleware(app, [lambda ctx, call: call(ctx)])), "app": serving(app)})
    made.append(Row("1 layer that only calls on", bare["edge"], "the app alone", bare["app"]))
    for count in LAYERS:
        ours = FormationMiddleware(app, middleware=[formation(number) for number in range(count)])
        candidates = {"Formation": serving(ours)}
        for name, peer in PEERS.items():
            candidates[name] = serving(reduce(peer, range(count), app))
        seconds = rounds(candidates)
        what = f"{count} layer{'s' * (count > 1)}"
        made += [
            Row(what, seconds["Formation"], name, seconds[name], at_most=BARS.get(name) if count == 10 else None)
            for name in PEERS
        ]
    return [*made, stream()]


def stream() -> Row:
    """Let 1 GiB pass through ten layers and a map, and look at the memory."""
    seen = 0

    def count(chunk: bytes) -> bytes:
        nonlocal seen
        seen += len(chunk)
        return chunk

    def mapped(ctx: Any, call: Any) -> Any:
        ctx = call(ctx)
        ctx["fmtn.res.http"].body.map(count)
        return ctx

    def large(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        for _ in range(1024):
            yield MEBIBYTE[:-1]  # a new one each time

    ours = FormationMiddleware(large, middleware=[*map(formation, range(9)), mapped])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = [serving(ours)(1)], [serving(large)(1)]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if grown > SPARE or seen != 1024 * (len(MEBIBYTE) - 1):
        raise RuntimeError(f"expected 1 GiB to go through in constant memory, the process grew by {grown} MiB")
    return Row("1 GiB, 10 layers, a map", seconds[0], "the app alone", seconds[1])
