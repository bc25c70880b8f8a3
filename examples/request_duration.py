"""How long calls take: the same middleware around a plain function, an async one, and one that fails."""

import asyncio
import time
from typing import Any

from formation import wrap
from formation.middleware import request_duration


def compute(ctx: Any) -> Any:
    """Take a while."""
    ctx["sum"] = sum(range(1_000_000))
    return ctx


async def wait(ctx: Any) -> Any:
    """Wait for something."""
    await asyncio.sleep(0.05)
    return ctx


def fail(ctx: Any) -> Any:
    """Wait for nothing."""
    time.sleep(0.01)
    raise TimeoutError


if __name__ == "__main__":
    timed = [request_duration()]
    print("compute:", wrap(compute, timed)({})["req.duration_us"], "us")
    print("wait:   ", asyncio.run(wrap(wait, timed)({}))["req.duration_us"], "us")
    ctx: dict[str, Any] = {}
    try:
        wrap(fail, timed)(ctx)
    except TimeoutError:
        print("fail:   ", ctx["req.duration_us"], "us, though it has failed")
