"""Headers that a server adds, fills in and removes, and one that its app is asked with."""

from collections.abc import Callable
from typing import Any

from _server import serve

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


if __name__ == "__main__":
    main()
