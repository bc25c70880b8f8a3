"""A server that speaks JSON and HTML, and a client that says once which of them it wants."""

from collections.abc import Callable
from typing import Any

from _server import serve

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


if __name__ == "__main__":
    main()
