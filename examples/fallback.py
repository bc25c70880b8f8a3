"""A shop that goes without its recommendations rather than down with them."""

import logging

from formation import reply
from formation.for_requests import build
from formation.middleware import circuit_breaker, fallback, retry

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")
last: dict[str, bytes] = {}


def main() -> None:
    """Ask while the engine works, and when it does not."""
    answers = [(200, b'["tea"]'), (503, b""), (503, b""), (503, b"")]

    def engine(ctx):
        status, body = answers.pop(0)
        return reply(ctx, status, body=body)

    def yesterday(ctx):
        return reply(ctx, 200, {"Warning": "110"}, last.get("recommended", b"[]"))

    middleware = [
        fallback(yesterday, logger=quiet),
        retry(2, base=0.01, logger=quiet),
        circuit_breaker(quiet, fail_max=3),
    ]
    with build(base_uri="https://engine.example.com", middleware=middleware, endpoint=engine) as api:
        for when in ("the engine works", "it is down", "its circuit opens", "and is open: nobody asks"):
            result = api.get("/recommended")
            if "Warning" not in result.headers:
                last["recommended"] = result.body
            print(f"{when}: {result.status_code} {result.body.decode()}, {len(answers)} answers left")


if __name__ == "__main__":
    main()
