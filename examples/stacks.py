"""The recommended stacks on both sides of a call: a server that fails now and then, and a client that gets over it."""

import warnings
from collections.abc import Callable
from typing import Any

import structlog
from _server import serve

from formation.check import check
from formation.for_requests import build, text_response
from formation.for_wsgi import FormationMiddleware
from formation.middleware import circuit_breaker, retry
from formation.stacks import resilient

calls: dict[str, int] = {}


def main() -> None:
    """Ask for what fails once, and for what always does; then look at a stack that hurts."""
    structlog.configure(processors=[line], logger_factory=structlog.PrintLoggerFactory())
    for side in ("client", "server"):
        print(f"{side}:", ", ".join(layer.__name__ for layer in resilient(side)))

    served = FormationMiddleware(shop, middleware=resilient("server"))
    stack = resilient(instead="the price of yesterday")
    with serve(served) as url, build(base_uri=url, response_as=text_response, middleware=stack) as api:
        for path in ("/tea", "/milk"):
            print(f"\nGET {path}")
            print("->", api.get(path).body)

    print()
    with warnings.catch_warnings(record=True, action="always") as said:
        check([circuit_breaker(), retry()])
    for warning in said:
        print("check:", warning.message)


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Know the price of tea, the second time; never that of milk."""
    path = environ["PATH_INFO"]
    calls[path] = calls.get(path, 0) + 1
    if path == "/milk" or calls[path] == 1:
        raise KeyError("a price that nobody but the log should hear of")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


def line(logger: Any, level: str, event: dict[str, Any]) -> str:
    """Print what is worth a warning, in short."""
    if level not in {"warning", "error"}:
        raise structlog.DropEvent
    shown = {key: event[key] for key in ("attempt", "attempts", "status", "reason") if key in event}
    return f"   [{level}] {event['event']} {' '.join(f'{key}={value}' for key, value in shown.items())}".rstrip()


if __name__ == "__main__":
    main()
