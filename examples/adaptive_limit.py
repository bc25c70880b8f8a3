"""A server that is asked for more than it can do: it finds out how much that is, and turns the rest away."""

import asyncio
from typing import Any

import structlog

from formation import lift
from formation.errors import BulkheadRejected
from formation.middleware import adaptive_limit

limit = adaptive_limit(10, algorithm="aimd", timeout=0.05)
workers = asyncio.Semaphore(4)


@lift(middleware=[limit])
async def answer(number: int) -> int:
    """Do a little work, as soon as a worker is free."""
    async with workers:
        await asyncio.sleep(0.01)
    return number


async def main() -> None:
    """Ask, in waves that grow, and say what came of it."""
    for wave in (4, 8, 16, 32, 64, 32, 16, 8, 4):
        out: list[Any] = await asyncio.gather(*map(answer, range(wave)), return_exceptions=True)
        refused = sum(isinstance(each, BulkheadRejected) for each in out)
        found = limit.limiters[None].limit
        print(f"{wave:2} at once: {wave - refused:2} answered, {refused:2} turned away; the limit is {found:2} now")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    asyncio.run(main())
