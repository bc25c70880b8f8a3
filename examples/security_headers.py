"""The headers that make browsers careful, loosened for a page with pictures from elsewhere."""

from collections.abc import Callable
from typing import Any

from _server import serve

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


if __name__ == "__main__":
    main()
