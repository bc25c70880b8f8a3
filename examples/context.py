"""What each log line of a service should say, gathered once for each call, sync and async."""

import asyncio
from typing import Any

from formation import lift
from formation.middleware import context, get_context, request_id


def with_host(**known: Any) -> dict[str, Any]:
    """Add a field of our own to the ones that are known."""
    return {**get_context(**known), "host": "web-3"}


def show(ctx: Any, call: Any) -> Any:
    """Print what was gathered."""
    for name, value in ctx["fmtn.context"].items():
        print(f"  {name:5} {value}")
    return call(ctx)


def as_user(uid: int) -> Any:
    """Make a middleware that says who the user is."""

    def as_user(ctx: Any, call: Any) -> Any:
        ctx["fmtn.session"] = {"uid": uid}
        return call(ctx)

    return as_user


stack = [as_user(42), request_id(), context(with_host, namespace="billing", env="live", sha="1a2b3c"), show]


@lift(middleware=stack)
def invoice(number: int) -> str:
    """Find an invoice."""
    return f"invoice {number}"


@lift(middleware=stack)
async def invoices() -> list[str]:
    """Find all of them."""
    await asyncio.sleep(0)
    return [f"invoice {number}" for number in (12, 13)]


if __name__ == "__main__":
    print("a plain function:")
    print("  ", invoice(12))
    print("an async one:")
    print("  ", asyncio.run(invoices()))
