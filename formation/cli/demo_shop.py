"""The shop of the demo: a real HTTP server on this machine, and not a reliable one."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Counter(BaseHTTPRequestHandler):
    """Where one asks for items, and orders them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two small packets, and the second would wait
    server: Shop

    def do_GET(self) -> None:
        """Tell of an item, or of the prices, as reliably as the day allows."""
        what = self.path.rpartition("/")[2]
        trouble = self.server.trouble.get(what)
        mood = trouble.pop(0) if trouble else self.server.mood()
        if mood == "hang up":
            self.close_connection = True
        elif mood == "slow":
            self.server.closing.wait(10)
            self.close_connection = True
        elif mood == "busy":
            self._answer(503, {"error": "busy"})
        elif what == "prices":
            self.server.asked_for_prices += 1
            self._answer(200, {"lamp": 19.5, "tea": 4}, {"Cache-Control": "max-age=60"})
        else:
            self._answer(200, {"id": int(what), "name": "Lamp", "price": 19.5})

    def do_POST(self) -> None:
        """Take an order. The first time it is lost on the way back that it was taken."""
        item = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["item"]
        orders, key = self.server.orders, self.headers["Idempotency-Key"]
        if key in orders:
            self._answer(201, {"order": orders[key], "item": item})
        else:
            orders[key] = len(orders) + 1
            self.close_connection = True

    def _answer(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, said in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing: the client's lines are to be read."""


class Shop(ThreadingHTTPServer):
    """A shop that has an address from the start, and listens once it is open.

    Args:
        trouble: what becomes of the first requests for an item, in order.
    """

    def __init__(self, trouble: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Counter, bind_and_activate=False)
        self.trouble = dict(trouble or {})
        self.orders: dict[str, int] = {}
        self.asked_for_prices = 0
        self.is_moody = False
        self.closing = Event()
        self._random = Random(8)
        self._thread: Thread | None = None
        self.server_bind()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def mood(self) -> str:
        """Return what becomes of a request: when it is moody, a tenth fails, and every 20 s all of them for 4 s."""
        if not self.is_moody:
            return "fine"
        time.sleep(self._random.uniform(0.002, 0.03))
        return "busy" if time.monotonic() % 20 < 4 or self._random.random() < 0.1 else "fine"

    def open(self) -> None:
        """Listen."""
        self.server_activate()
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop, and end what is waiting."""
        self.closing.set()
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()


@contextmanager
def two_shops() -> Iterator[tuple[Shop, Shop]]:
    """Open a shop, and have one next door that is still closed."""
    ours, next_door = Shop({"8": ["hang up", "busy"], "9": ["slow"]}), Shop()
    ours.open()
    try:
        yield ours, next_door
    finally:
        ours.close()
        next_door.close()
