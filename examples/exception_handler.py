"""An app that raises, and what programs, people and the log get to know of it."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import exception_handler, request_id

USERS = {"7": "ann"}


def main() -> None:
    """Ask for who is there, for who is not, and for what goes wrong."""
    logging.basicConfig(stream=sys.stdout, format="the log: %(levelname)s %(message)s")
    middleware = [request_id(), exception_handler({KeyError: 404}, logger=logging.getLogger("shop"))]
    with serve(FormationMiddleware(users, middleware=middleware)) as url, build(base_uri=url) as api:
        for path in ("/users/7", "/users/8", "/users/boom"):
            result = api.get(path, headers={"X-Request-ID": f"demo{path.replace('/', '-')}"})
            print(f"{path}: {result.status_code} {result.body.decode()}\n")
        page = api.get("/users/8", headers={"Accept": "text/html"})
        print("a browser gets", page.headers["Content-Type"])


def users(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Find a user."""
    _, _, key = environ["PATH_INFO"].rpartition("/")
    if key == "boom":
        raise RuntimeError("cannot connect to postgres://me:s3cret@db")
    name = USERS[key]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [name.encode()]


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
