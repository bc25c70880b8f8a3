"""The stack to begin with, around a client and around a function: the id ties the lines together."""

from collections.abc import Callable
from typing import Any

import structlog
from _server import serve

from formation import lift
from formation.for_requests import build
from formation.middleware import default_stack

structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.processors.LogfmtRenderer(
            key_order=["rid", "level", "event", "status", "duration_us"], drop_missing=True
        ),
    ],
    wrapper_class=structlog.make_filtering_bound_logger("info"),
)


def main() -> None:
    """Call a server, then a function."""
    with serve(shop) as url, build(base_uri=url, middleware=default_stack()) as api:
        api.get("/prices")
        api.get("/prices", headers={"X-Request-ID": "order-7"})

    @lift(middleware=default_stack())
    def price(pieces: int) -> float:
        return pieces * 12.5

    print(price(3))


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Tell the price."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


if __name__ == "__main__":
    main()
