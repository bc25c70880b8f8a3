"""The recommended stacks on both sides of a call: a server that fails now and then, and a client that gets over it."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog

from formation.check import check
from formation.for_requests import build, text_response
from formation.for_wsgi import FormationMiddleware
from formation.introspection import name_of
from formation.middleware import circuit_breaker, retry
from formation.stacks import resilient

calls: dict[str, int] = {}


def main() -> None:
    """Ask for what fails once, and for what always does; then look at a stack that hurts."""
    structlog.configure(processors=[line], logger_factory=structlog.PrintLoggerFactory())
    for side in ("client", "server"):
        print(f"{side}:", ", ".join(map(name_of, resilient(side))))

    served = FormationMiddleware(shop, middleware=resilient("server"))
    stack = resilient(instead="the price of yesterday")
    with serve(served) as url, build(base_uri=url, response_as=text_response, middleware=stack) as api:
        for path in ("/tea", "/milk"):
            print(f"\nGET {path}")
            print("->", api.get(path).body)

    print()
    with warnings.catch_warnings(record=True, action="always") as said:
        check([circuit_breaker(), retry()])
    for warning in said:
        print("check:", warning.message)


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Know the price of tea, the second time; never that of milk."""
    path = environ["PATH_INFO"]
    calls[path] = calls.get(path, 0) + 1
    if path == "/milk" or calls[path] == 1:
        raise KeyError("a price that nobody but the log should hear of")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


def line(logger: Any, level: str, event: dict[str, Any]) -> str:
    """Print what is worth a warning, in short."""
    if level not in {"warning", "error"}:
        raise structlog.DropEvent
    shown = {key: event[key] for key in ("attempt", "attempts", "status", "reason") if key in event}
    return f"   [{level}] {event['event']} {' '.join(f'{key}={value}' for key, value in shown.items())}".rstrip()


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *args: object) -> None:
        """Do not."""


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run a WSGI app on this machine."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
