"""A server that speaks JSON and HTML, and a client that says once which of them it wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation.for_requests import build
from formation.middleware import accept


def main() -> None:
    """Ask with the client's Accept, with a call's own, and with neither."""
    with serve(report) as url:
        with build(base_uri=url, middleware=[accept("application/json")]) as api:
            print("said by the client:", api.get("/report").body.decode())
            print("said by a call:    ", api.get("/report", headers={"Accept": "text/html"}).body.decode())
        with build(base_uri=url) as api:
            print("said by nobody:    ", api.get("/report").body.decode())


def report(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer in the format that is asked for, HTML if all will do."""
    is_json = environ["HTTP_ACCEPT"] == "application/json"
    start_response("200 OK", [("Content-Type", "application/json" if is_json else "text/html")])
    return [b'{"sold": 12}' if is_json else b"<p>12 sold</p>"]


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
