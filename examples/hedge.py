"""One call in ten takes twenty times as long, and with a hedge nobody waits for it."""

import asyncio
import logging
import time
from random import Random

from formation import lift
from formation.middleware import hedge

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")
lots = Random(3)


async def ask() -> str:
    """Take 10 ms, now and then 200."""
    await asyncio.sleep(0.2 if lots.random() < 0.1 else 0.01)
    return "an answer"


async def main() -> None:
    """Ask fifty times, alone and hedged."""
    for what, call in (("alone", ask), ("hedged", lift(ask, middleware=[hedge(0.03, budget=0.2, logger=quiet)]))):
        took = []
        for _ in range(50):
            started = time.perf_counter()
            await call()
            took.append(time.perf_counter() - started)
        print(f"{what}: median {sorted(took)[25] * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")


if __name__ == "__main__":
    asyncio.run(main())
