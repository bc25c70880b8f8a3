"""A server that takes its time, and who says how much it gets."""

import time
from collections.abc import Callable
from typing import Any

from _server import serve

from formation.errors import ReadTimeout
from formation.for_requests import build
from formation.middleware import retry, timeout


def main() -> None:
    """Give it too little; then enough."""
    with serve(slow) as url, build(base_uri=url, middleware=[retry(2, base=0.01), timeout(0.1)]) as api:
        started = time.perf_counter()
        try:
            api.get("/report")
        except ReadTimeout as error:
            print(f"{type(error).__name__} after {time.perf_counter() - started:.1f} s, which is two attempts")
            print(error.__notes__[-1])
        result = api.get("/report", timeout=5)
        print("with timeout=5 for this call:", result.body.decode())


def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer late."""
    time.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"all is well"]


if __name__ == "__main__":
    main()
