"""A server that packs its pages and its events, and what each kind of client gets."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import compress

PAGE = b"<li>a cup, blue, 7.50</li>\n" * 1000


def main() -> None:
    """Ask for it in different ways."""
    with serve(FormationMiddleware(shop, middleware=[compress()])) as url, build(base_uri=url) as api:
        for accept in ("zstd, br, gzip", "br", "gzip", "identity", "gzip;q=0.5, identity"):
            answer = api.get("/cups", headers={"Accept-Encoding": accept})
            encoding = answer.headers.get("Content-Encoding", "-")
            print(f"{accept:22} {encoding:5} {len(answer.response.content)} bytes, {answer.headers['Vary']}")
        with api.get("/events", stream=True, headers={"Accept-Encoding": "gzip"}) as result:
            print(result.headers["Content-Encoding"], b"".join(result.body))


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """Answer with a list, or with events."""
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return (b"data: %d\n\n" % number for number in range(3))
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


if __name__ == "__main__":
    main()
