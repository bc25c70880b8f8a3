"""Fifty pages ask for the same price at the same time; the shop is asked once."""

import asyncio
from collections import Counter

from formation import lift
from formation.middleware import coalesce

asked: Counter[str] = Counter()


@lift(middleware=[coalesce()])
async def price(item: str) -> int:
    """Ask the shop, which takes its time."""
    asked[item] += 1
    await asyncio.sleep(0.05)
    if item == "gold":
        raise LookupError("nobody knows")
    return len(item)


async def main() -> None:
    """Ask at the same time, later again, and for what fails."""
    prices = await asyncio.gather(*(price("tea") for _ in range(50)), *(price("coffee") for _ in range(50)))
    print(f"{len(prices)} answers: {set(prices)}; the shop was asked {dict(asked)}")
    await price("tea")
    print(f"later it is asked again: {dict(asked)}")
    errors = await asyncio.gather(*(price("gold") for _ in range(3)), return_exceptions=True)
    print(f"an error is for all who waited: {errors}; asked {asked['gold']} time")


if __name__ == "__main__":
    asyncio.run(main())
