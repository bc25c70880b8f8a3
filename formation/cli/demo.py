"""The demo: a client that gets along with an unreliable server, in ten seconds.

The server is real and on this machine; nothing else is talked to. Chance is seeded, so it tells the same story each
time. ``make demo`` and ``python -m formation demo`` run it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from formation import lift
from formation.cli.demo_look import answer, chapter, code, do, log, say, show, table, title, waterfall
from formation.cli.demo_shop import two_shops
from formation.for_requests import Client
from formation.introspection import name_of
from formation.middleware import cache, circuit_breaker, request_id
from formation.stacks import resilient
from formation.trace import trace

if TYPE_CHECKING:
    from formation.cli.demo_shop import Shop
    from formation.trace import Trace

numbers: Final = count(1)


def stack(logger: Any = log) -> list[Any]:
    """Return the recommended stack, which is a list, with three changes."""
    layers = resilient(attempt=0.5, once=True, logger=logger)
    at = [name_of(layer) for layer in layers].index
    layers[at("request_id")] = request_id(idgen=lambda: f"call-{next(numbers)}")
    layers[at("circuit_breaker")] = circuit_breaker(logger, fail_max=3, reset_timeout=1)
    layers.insert(at("deadline"), cache(logger=logger))
    return layers


@define
class Item:
    """What the shop sells."""

    id: int
    name: str
    price: float


class Store(Client):
    """A client: settings, and methods."""

    middleware = stack()

    def item(self, number: int) -> Any:
        """Ask for an item."""
        return self.request.get("/items/{number}", path={"number": number}, response_as=Item)

    def prices(self) -> Any:
        """Ask for all prices."""
        return self.request.get("/prices")

    def order(self, item: int) -> Any:
        """Order an item."""
        return self.request.post("/orders", json={"item": item})


failures = ["no answer", "no answer"]


@lift(middleware=stack())
async def weather(city: str) -> str:
    """Tell the weather: any function, with a signature of its own. This one fails twice."""
    await asyncio.sleep(0.05)
    if failures:
        raise OSError(failures.pop())
    return f"{city}: sunny"


def main(*, dashboard: bool = False, port: int = 0) -> None:
    """Run the demo.

    Args:
        dashboard: whether to show the dashboard afterwards, with calls to look at, until Ctrl-C.
        port: of the dashboard; 0: any that is free.
    """
    random.seed(8)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # for a proxy this machine would be another one
    with two_shops() as (ours, next_door):
        if not dashboard:
            story(ours, next_door)
            return
        from formation.cli.demo_dashboard import board

        with board(port) as (shown, serve):
            story(ours, next_door, shown)
            ours.is_moody = True
            quiet = logging.getLogger("formation.demo")
            quiet.setLevel("CRITICAL")
            serve(Store(base_uri=ours.url, middleware=stack(quiet)))


def story(ours: Shop, next_door: Shop, shown: Any = None) -> None:
    """Tell the story; ``shown`` is the dashboard, if there is one."""
    traces: list[Trace] = []

    def keep(trace: Trace) -> None:
        traces.append(trace)
        if shown is not None:
            shown.add(trace)

    with Store(base_uri=ours.url) as plain:
        store = trace(plain, on_trace=keep)
        title("Formation: one plain function is middleware for anything that can be called")
        say("On this machine there is a shop, a real HTTP server, and not a reliable one. This is its client:")
        code(Store)
        say("and this is what stands around each of its calls, the outermost first:")
        code(stack)
        say(f"{', '.join(map(name_of, Store.middleware))}.")

        of_our_own(store, ours, traces)
        of_the_neighbour(store, next_door)

        chapter(7, "The same functions around any function, here an async one")
        code(weather)
        traced = trace(weather, on_trace=keep)
        ticks = asyncio.run(while_others_go_on(traced))
        say(f"Every layer is a plain function, and slept; meanwhile another task had its turn {ticks} times.")

        chapter(8, "All of it")
        table(traces)
        title("That was it. Next: docs/tutorial.md, and a page for each middleware in docs/middleware.")


def of_our_own(store: Any, ours: Shop, traces: list[Trace]) -> None:
    """Tell of a shop that fails now and then."""
    chapter(1, "A good call")
    result = do(lambda: store.item(7))
    say(
        f"The answer is an {type(result.body).__name__}, for that is what was asked for. Both lines bear the id of "
        "the call, which the shop got as a header."
    )

    chapter(2, "Two failures, and an answer")
    say("The shop hangs up on the first who asks for item 8, and has no time for the second.")
    do(lambda: store.item(8))
    say("One call, one id, one answer. Where the time went, layer by layer:")
    waterfall(traces[-1])

    chapter(3, "Too slow")
    say("Who asks for item 9 first waits for ever. The client gives an attempt half a second.")
    do(lambda: store.item(9))

    chapter(4, "What was said a moment ago")
    do(lambda: store.prices())  # noqa: PLW0108  it shows what is run
    do(lambda: store.prices())  # noqa: PLW0108  it shows what is run
    say(f"The shop says that prices hold for a minute. It was asked {_times(ours.asked_for_prices)}.")

    chapter(5, "An order is sent twice, and done once")
    say("The shop takes the order, and the line breaks before it can say so.")
    do(lambda: store.order(7))
    say(f"Both times it came with the same Idempotency-Key, so the shop has {_orders(len(ours.orders))}.")


def of_the_neighbour(store: Any, next_door: Shop) -> None:
    """Tell of a shop that is closed."""
    chapter(6, "The shop next door is closed")
    neighbour = store.extend(base_uri=next_door.url)
    do(lambda: neighbour.item(7))
    say("Three refused connections opened the circuit. Now nobody is asked, and nobody waits:")
    rejected = do(lambda: neighbour.item(7))
    say("Our own shop has a circuit of its own:")
    do(lambda: store.item(7))
    say("Now the shop next door opens. When it is time, the circuit lets one call through to see:")
    next_door.open()
    time.sleep(rejected.retry_after + 0.05)
    do(lambda: neighbour.item(7))


async def while_others_go_on(weather: Any) -> int:
    """Ask for the weather while another task runs; return how often that had its turn."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    show("await weather('Oslo')")
    answer(await weather("Oslo"))
    ticking.cancel()
    return ticks


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _orders(number: int) -> str:
    return "one order" if number == 1 else f"{number} orders"
