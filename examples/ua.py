"""A client that says who it is, and what the server's log then tells."""

from collections.abc import Callable
from typing import Any

from _server import serve

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


if __name__ == "__main__":
    main()
