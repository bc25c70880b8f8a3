"""A shop that takes ten requests a second: who asks more often waits, or is turned away."""

import asyncio
import time

import structlog

from formation import lift
from formation.errors import ThrottleRejected
from formation.middleware import throttle

started = time.monotonic()


def main() -> None:
    """Ask one after the other, then all at once, then without patience."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    limit = throttle(10, burst=3)

    @lift(middleware=[limit])
    def ask(item: int) -> str:
        return f"item {item} at {time.monotonic() - started:.1f} s"

    print("three at once, then ten a second:", *map(ask, range(6)), sep="\n  ")

    @lift(middleware=[limit])
    async def ask_later(item: int) -> str:
        return f"item {item} at {time.monotonic() - started:.1f} s"

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*map(ask_later, range(6, 10)))

    print("tasks share the rate, and keep their order:", *asyncio.run(all_at_once()), sep="\n  ")

    @lift(middleware=[throttle(1, 60, max_wait=0)])
    def ask_now() -> str:
        return "an answer"

    print("once a minute, and never wait:", ask_now())
    try:
        ask_now()
    except ThrottleRejected as error:
        print(f"  {error}")


if __name__ == "__main__":
    main()
