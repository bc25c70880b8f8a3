"""A shop that answers each client three times in ten seconds: who asks more often is told when to come again."""

from collections.abc import Callable
from typing import Any

import structlog

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import header, rate_limit

clock = {"now": 0.0}  # a clock of our own, so that nobody has to wait


def main() -> None:
    """Ask until it says no, wait as long as it says, and ask again; and ask as somebody else."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    for strategy in ("gcra", "moving-window", "sliding-window-counter"):
        limit = rate_limit("3/10 seconds", header("X-API-Key"), strategy=strategy, clock=lambda: clock["now"])
        served = FormationMiddleware(shop, middleware=[limit])
        print(strategy)
        with build(base_uri="https://shop.example.com", endpoint=endpoint(served)) as api:
            for _ in range(4):
                answer = ask(api, "anna")
                clock["now"] += 1
            ask(api, "bert")
            wait = int(answer.headers["Retry-After"]) - 1
            clock["now"] += wait
            print(f"  {wait} seconds later")
            ask(api, "anna")


def ask(api: Any, name: str) -> Any:
    """Ask, and say what came of it."""
    answer = api.get("/", headers={"X-API-Key": name})
    print(f"  {name}: {answer.status_code}, {answer.headers['RateLimit']}")
    return answer


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here you are"]


if __name__ == "__main__":
    main()
