"""A shop that loses its answers, and does not take an order twice all the same."""

import logging

from formation import reply
from formation.for_requests import build
from formation.middleware import idempotency_key, retry

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")
orders: dict[str, bytes] = {}
lost: set[str] = set()


def shop(ctx):
    """Take an order, and lose the first answer to it."""
    request = ctx["fmtn.req.http"]
    key = request.headers.get("Idempotency-Key", f"none-{len(orders)}")
    orders.setdefault(key, request.content)
    if key not in lost:
        lost.add(key)
        return reply(ctx, 504)
    return reply(ctx, 201, body=f"order {list(orders).index(key) + 1}")


def main() -> None:
    """Order with a key, and without one."""
    for what, stack in (("with a key", [idempotency_key()]), ("without", [])):
        with build(base_uri="https://shop.example.com", middleware=[*stack, retry(base=0, logger=quiet)]) as api:
            result = api.extend(endpoint=shop).post("/orders", json={"item": 7})
            print(f"{what}: {result.status_code} after {len(result.attempts)} attempt(s), {len(orders)} order(s) taken")


if __name__ == "__main__":
    main()
