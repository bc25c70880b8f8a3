"""A server behind a proxy whose queue stands: what has waited too long is not begun, so that the rest is in time."""

from collections.abc import Callable
from typing import Any

import structlog

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import load_shed

clock = {"now": 1_790_000_000.0}
WORK, PAUSE = 0.02, 0.01  # a request comes twice as often as one can be answered


def main() -> None:
    """Ask for four seconds, by a clock of our own; tell what came of each second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    shed = load_shed(interval=0.1, trusted=True, clock=now, now=now)
    for name, middleware in (("as it is", []), ("with load_shed", [shed])):
        print(name)
        edge = endpoint(FormationMiddleware(shop, middleware=middleware))
        clock["now"] += 3600
        began = now()
        with build(base_uri="https://shop.example.com", endpoint=edge) as api:
            for second in range(4):
                print(f"  second {second + 1}: {answers(api, began + second)}")


def answers(api: Any, began: float) -> str:
    """Ask a hundred times in a second; the server takes them one after the other, as soon as it can."""
    good = late = shed = 0
    for number in range(100):
        came = began + number * PAUSE
        clock["now"] = max(now(), came)
        result = api.get("/", headers={"X-Request-Start": f"t={came:.6f}"})
        shed += result.status_code == 503
        in_time = now() - came <= 0.4
        good += result.status_code == 200 and in_time
        late += result.status_code == 200 and not in_time
    return f"{good:3} answered in time, {late:3} too late, {shed:3} turned away"


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Work for a while."""
    clock["now"] += WORK
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here you are"]


def now() -> float:
    """Return what our clock says."""
    return clock["now"]


if __name__ == "__main__":
    main()
