"""An app that raises, and what programs, people and the log get to know of it."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from _server import serve

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


if __name__ == "__main__":
    main()
