"""A shop that goes down and comes back, and how many calls it gets meanwhile."""

import time
from collections.abc import Callable
from typing import Any

import structlog
from _server import serve

from formation.errors import CircuitOpenError
from formation.for_requests import build
from formation.middleware import circuit_breaker

state = {"up": True, "calls": 0}


def main() -> None:
    """Call all the time, whatever the shop does."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("info"))
    breaker = circuit_breaker(name="shop", fail_max=3, reset_timeout=0.3)
    with serve(shop) as url, build(base_uri=url, middleware=[breaker]) as api:
        print("the shop is up:  ", *ask(api, 3))
        state["up"] = False
        print("it goes down:    ", *ask(api, 10))
        time.sleep(0.3)
        print("a trial fails:   ", *ask(api, 5))
        state["up"] = True
        time.sleep(0.3)
        print("a trial succeeds:", *ask(api, 5))
        print(f"23 calls were made, {state['calls']} reached the shop; its circuit is {breaker.gates[url].state}")


def ask(api: Any, times: int) -> list[str]:
    """Call so many times; say what came of each."""
    said = []
    for _ in range(times):
        try:
            said.append(str(api.get("/items/7").status_code))
        except CircuitOpenError as error:
            said.append("-" if error.retry_after is None else f"({error.retry_after:.1f} s)")
    return said


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Be up or down."""
    state["calls"] += 1
    start_response("200 OK" if state["up"] else "503 Down", [("Content-Type", "text/plain")])
    return [b""]


if __name__ == "__main__":
    main()
