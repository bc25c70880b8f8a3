"""A gateway that says 200 OK and means that it is down."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation.errors import BreakerTriggerException, CircuitOpenError
from formation.for_requests import build, json_response
from formation.middleware import circuit_breaker, trigger_breaker_if


def main() -> None:
    """Believe the body, not the status."""
    down = trigger_breaker_if(lambda response: response.json().get("error") == "no database")
    stack = [circuit_breaker(name="gateway", fail_max=2), down]
    with serve(gateway) as url, build(base_uri=url, middleware=stack, response_as=json_response) as api:
        print("a good answer:", api.get("/health").body)
        for _ in range(3):
            try:
                api.get("/items/7")
            except BreakerTriggerException as error:
                print("a failure:", error, error.response.json())
            except CircuitOpenError as error:
                print("not asked any more:", error)


def gateway(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Always say 200."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"alive": true}' if environ["PATH_INFO"] == "/health" else b'{"error": "no database"}']


if __name__ == "__main__":
    main()
