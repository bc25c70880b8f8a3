"""A shop that knows the key of an order: whatever is lost on the way, one order is taken."""

import logging

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import idempotency, idempotency_key, retry

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")
orders: list[str] = []


def shop(environ, start_response):
    """Take an order."""
    orders.append(environ["PATH_INFO"])
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [b"order %d" % len(orders)]


def loses_every_other_answer():
    """Stand for a network."""
    count = 0

    def lossy(ctx, call):
        nonlocal count
        ctx = call(ctx)
        count += 1
        if count % 2:
            ctx["fmtn.res.http"].close()
            raise TimeoutError("the answer was lost")
        return ctx

    return lossy


def main() -> None:
    """Order three times, from a shop that knows keys, and from one that does not."""
    for what, layers in (("with idempotency", [idempotency(logger=quiet)]), ("without", [])):
        orders.clear()
        served = endpoint(FormationMiddleware(shop, layers))
        client = [idempotency_key(), retry(base=0, logger=quiet), loses_every_other_answer()]
        with build(base_uri="http://shop", middleware=client, endpoint=served) as api:
            said = [api.post("/orders", json={"item": item}).response.text for item in range(3)]
        print(f"{what}: {', '.join(said)}; {len(orders)} orders taken")


if __name__ == "__main__":
    main()
