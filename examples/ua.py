"""A client that says who it is, and what the server's log then tells."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation.for_requests import build
from formation.middleware import ua

log: list[str] = []


def main() -> None:
    """Call with a name, with the name of one call, and without."""
    with serve(shop) as url:
        with build(base_uri=url, middleware=[ua("billing/2.3")]) as api:
            api.get("/prices")
            api.get("/prices", headers={"User-Agent": "billing/2.3 nightly"})
        with build(base_uri=url) as api:
            api.get("/prices")
    print("The shop was called by", *log, sep="\n  ")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Write down who asks."""
    log.append(environ["HTTP_USER_AGENT"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


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
