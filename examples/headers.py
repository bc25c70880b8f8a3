"""Headers that a server adds, fills in and removes, and one that its app is asked with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import headers


def main() -> None:
    """Show what the app says, and what comes."""
    middleware = [
        headers({"X-Region": "eu"}, default={"Cache-Control": "no-cache"}, remove=["X-Internal"]),
        headers({"X-Tenant": "ann"}, on="request"),
    ]
    with serve(FormationMiddleware(shop, middleware=middleware)) as url, build(base_uri=url) as api:
        result = api.get("/items", headers={"X-Tenant": "bob"})
        print("the app was asked for", result.body.decode())
        for name in ("X-Region", "Cache-Control", "X-Internal", "ETag"):
            print(f"{name:14}", result.headers.get(name, "-"))


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Say more than one should."""
    start_response("200 OK", [("X-Internal", "shelf 12"), ("X-Region", "us"), ("ETag", '"1"')])
    return [environ["HTTP_X_TENANT"].encode()]


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
