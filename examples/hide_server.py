"""A server that tells what it is made of, and the same one that does not."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import hide_server


def main() -> None:
    """Look at both."""
    for title, app in (("bare", shop), ("wrapped", FormationMiddleware(shop, middleware=[hide_server(["X-Shelf"])]))):
        with serve(app) as url, build(base_uri=url) as api:
            print(f"{title}:")
            for name in ("X-Powered-By", "X-Runtime", "X-Shelf", "ETag"):
                print(f"  {name:14}", api.get("/items").headers.get(name, "-"))
    print("Server is added by wsgiref itself, below all middleware: that one has to be told.")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Chat."""
    talk = [("X-Powered-By", "Shop/1.2.3"), ("X-Runtime", "0.04"), ("X-Shelf", "12"), ("ETag", '"1"')]
    start_response("200 OK", talk)
    return [b"cups"]


if __name__ == "__main__":
    main()
