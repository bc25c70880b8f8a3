"""Formation in a minute: a client that gets along with an unreliable server, and the same functions around others.

The server is real and on this machine; nothing else is talked to. `make demo` runs it.
"""

import asyncio
import inspect
import json
import os
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Event, Thread

import structlog
from attrs import define

from formation import lift
from formation.errors import FormationError
from formation.for_requests import client
from formation.middleware import (
    circuit_breaker,
    context,
    raise_for_status,
    request_duration,
    request_id,
    request_logger,
    retry,
    timeout,
)  # fmt: skip

# --- what the demo shows ---

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
SHOWN = ("rid", "method", "template", "fn", "attempt", "status", "error", "attempts", "delay", "circuit", "duration_us")


def only_shown(logger, method, event):
    """Keep a log line as short as a line: a processor, as structlog calls it."""
    kept = {name: event[name] for name in SHOWN if event.get(name) is not None}
    if "delay" in kept:
        kept["delay"] = f"{kept['delay']:.3f}"
    return {"event": event["event"], "level": event["level"], **kept}


log = structlog.wrap_logger(
    structlog.PrintLogger(),
    wrapper_class=structlog.make_filtering_bound_logger("info"),
    processors=[
        structlog.stdlib.add_log_level,
        only_shown,
        structlog.dev.ConsoleRenderer(colors=COLOURS, pad_event_to=18, sort_keys=False),
        lambda logger, method, line: f"    {line}",
    ],
)

numbers, chapters = count(1), count(1)

# What surrounds a call, outermost first: an id, fields for logs, a duration, log lines, and another try.
around = [
    request_id(idgen=lambda: f"call-{next(numbers)}"),
    context(namespace="demo"),
    request_duration(),
    request_logger(log),
]
again = retry(3, base=0.05, logger=log)


@define
class Item:
    id: int
    name: str
    price: float


@client
class Shop:
    middleware = [
        *around,
        raise_for_status(),
        again,
        circuit_breaker(log, fail_max=3, reset_timeout=1),
        timeout(0.5),
    ]

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number}, response_as=Item)

    def order(self, item):
        return self.request.post("/orders", json=item)


failures = ["no answer", "no answer"]


@lift(middleware=[*around, again])
def thermometer(room: str) -> str:
    """Any function, with a signature of its own. This one fails twice."""
    if failures:
        raise OSError(failures.pop())
    return f"{room}: 21 degrees"


@lift(middleware=[*around, again])
async def weather(city: str) -> str:
    """An `async def`, behind the very same functions. It fails twice as well."""
    await asyncio.sleep(0.05)
    if failures:
        raise OSError(failures.pop())
    return f"{city}: sunny"


def main():
    with shop_on_this_machine() as (url, next_door), Shop(base_uri=url) as shop:
        title("Formation: one plain function is middleware for anything that can be called")
        say("On this machine there is a shop, a real HTTP server, and not a reliable one. This is its client:")
        code(Shop)
        say(f"where around is [{', '.join(layer.__name__ for layer in around)}] and again is {again.__name__}.")

        chapter("A good call")
        result = do(lambda: shop.item(7))
        say(f"The answer is an {type(result.body).__name__}, for that is what was asked for. Both lines bear the id of "
            "the call, which the shop got as a header.")  # fmt: skip

        chapter("Two failures, and an answer")
        say("The shop hangs up on the first who asks for item 8, and has no time for the second.")
        result = do(lambda: shop.item(8))
        ledger(result.attempts)
        say("One call, one id, one answer. The ledger of attempts is in the context, for logs and for you.")

        chapter("Too slow")
        say("Who asks for item 9 first waits for ever. The client gives an attempt half a second.")
        result = do(lambda: shop.item(9))
        ledger(result.attempts)

        chapter("What must not be done twice is not")
        say("An order may have had an effect, although the answer says 503. So nobody sends it again.")
        do(lambda: shop.order({"item": 7}))
        say("Below the error is its note: which call it was, where it went, which layer raised it.")

        chapter("The shop next door is closed")
        next_door_shop = shop.extend(base_uri=next_door.url)
        do(lambda: next_door_shop.item(7))
        say("Three refused connections opened the circuit. Now nobody is asked, and nobody waits:")
        started = time.perf_counter()
        rejected = do(lambda: next_door_shop.item(7))
        say(f"That took {(time.perf_counter() - started) * 1000:.1f} ms. Our own shop has a circuit of its own:")
        do(lambda: shop.item(7))
        say("Now the shop next door opens. When it is time, the circuit lets one call through to see:")
        next_door.open()
        time.sleep(rejected.retry_after + 0.05)
        do(lambda: next_door_shop.item(7))

        chapter("Not only HTTP: the same functions around any function")
        code(thermometer)
        do(lambda: thermometer("kitchen"))

        chapter("And around an async one, as they are")
        failures.extend(["no answer", "no answer"])
        code(weather)
        ticks = asyncio.run(while_others_go_on())
        say(f"retry and the others are plain functions, and slept; meanwhile another task had its turn {ticks} times.")

        title("That was it. Next: docs/tutorial.md, and a page for each middleware in docs/middleware.")


async def while_others_go_on():
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    show("await weather('Oslo')")
    answer(await weather("Oslo"))
    ticking.cancel()
    return ticks


# --- how it shows it ---


def styled(text, style):
    return f"\033[{style}m{text}\033[0m" if COLOURS else text


def title(text):
    print(f"\n{styled(text, '1')}")


def chapter(text):
    heading = f"{next(chapters)}. {text} "
    print(f"\n{styled(heading, '1;36')}{styled('─' * (98 - len(heading)), '36')}")


def say(text):
    print()
    words = text.split(" ")
    line = ""
    for word in words:
        if len(line) + len(word) > 97:
            print(line)
            line = ""
        line = f"{line} {word}" if line else word
    print(line)


def code(thing):
    written = thing.__mro__[1] if inspect.isclass(thing) else thing.__wrapped__  # before @client or @lift
    source = inspect.getsource(written)
    print()
    for line in source.rstrip().splitlines():
        print(styled(f"    {line}", "2").rstrip())


def show(source):
    print(f"\n  {styled('>>>', '2')} {styled(source, '1')}")


def answer(value):
    print(f"  {styled(value, '32')}")


def do(call):
    """Show a call as it is written above, make it, show what comes of it."""
    source = inspect.getsource(call)
    show(source[source.index("lambda: ") + 8 : source.rindex(")")])
    try:
        result = call()
    except FormationError as error:
        print(f"  {styled(type(error).__name__, '31')}: {error}")
        print(f"  {styled(error.__notes__[-1], '2')}")
        return error
    answer(result if isinstance(result, str) else result.body)
    return result


def ledger(attempts):
    print(f"\n    {'attempt':>7}  {'came of it':<14}  {'waited before':>13}  {'took':>6}")
    for each in attempts:
        came = each.error or each.status
        print(f"    {each.number:>7}  {came:<14}  {each.delay * 1000:>10.0f} ms  {each.elapsed * 1000:>3.0f} ms")


# --- the shop ---


class Counter(BaseHTTPRequestHandler):
    """Where one asks for items."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        number = int(self.path.rpartition("/")[2])
        trouble = self.server.trouble.get(number) or ["fine"]
        what = trouble.pop(0)
        if what == "hang up":
            self.close_connection = True
        elif what == "slow":
            self.server.closing.wait(10)
            self.close_connection = True
        elif what == "busy":
            self.answer(503, {"error": "busy"})
        else:
            self.answer(200, {"id": number, "name": "Lamp", "price": 19.5})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(503, {"error": "busy"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """A shop that has an address from the start, and listens once it is open."""

    def __init__(self, trouble=()):
        super().__init__(("127.0.0.1", 0), Counter, bind_and_activate=False)
        self.trouble, self.closing, self.thread = dict(trouble), Event(), None
        self.server_bind()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def open(self):
        self.server_activate()
        self.thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.closing.set()
        if self.thread:
            self.shutdown()
            self.thread.join()
        self.server_close()


@contextmanager
def shop_on_this_machine():
    ours, next_door = Server({8: ["hang up", "busy", "fine"], 9: ["slow", "fine"]}), Server()
    ours.open()
    try:
        yield ours.url, next_door
    finally:
        ours.close()
        next_door.close()


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot draw a line
    main()
