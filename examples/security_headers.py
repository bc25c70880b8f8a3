"""The headers that make browsers careful, loosened for a page with pictures from elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import csp, security_headers


def main() -> None:
    """Show what a page and a picture are sent with."""
    policy = csp(img_src=["self", "https://pictures.example.com"])
    app = FormationMiddleware(shop, middleware=[security_headers(policy, cross_origin_embedder_policy=None)])
    with serve(app) as url, build(base_uri=url) as api:
        for name, value in api.get("/").headers.items():
            if name not in {"Date", "Server", "Content-Length"}:
                print(f"{name}: {value}")
        print("\nand the picture, which all may keep:", api.get("/cup.png").headers["Cache-Control"])


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Show a page, or a picture."""
    is_page = environ["PATH_INFO"] == "/"
    headers = [("Content-Type", "text/html")] if is_page else [("Cache-Control", "public, max-age=86400")]
    start_response("200 OK", headers)
    return [b"<h1>Cups</h1>" if is_page else b"\x89PNG"]


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
