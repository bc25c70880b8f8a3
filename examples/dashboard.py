"""A shop that asks two others, one of which has bad days; and the dashboard that shows it.

``python examples/dashboard.py`` makes some calls and prints what the dashboard knows of them. With ``--serve`` it goes
on, and the dashboard is at http://127.0.0.1:8000/dashboard/ for who is on this machine, until Ctrl-C.
"""

import argparse
import itertools
import logging
import random
import time
from socketserver import ThreadingMixIn
from threading import Event, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from formation import lift
from formation.dashboard import Dashboard
from formation.for_wsgi import FormationMiddleware
from formation.middleware import bulkhead, circuit_breaker, retry, throttle, timeout, watched
from formation.stacks import resilient

QUIET = logging.getLogger("shop")
QUIET.setLevel("CRITICAL")


def calls_of(name, seconds, is_down):
    """Make something to call that takes about so long, and fails while it is down."""
    stack = [
        watched(name),
        retry(base=0.02, logger=QUIET),
        circuit_breaker(QUIET, name=name, fail_max=8, reset_timeout=5),
        throttle(200, burst=50, logger=QUIET),
        bulkhead(25, logger=QUIET),
        timeout(2, logger=QUIET),
    ]

    @lift(middleware=stack)
    def ask(item):
        time.sleep(random.lognormvariate(0, 0.5) * seconds)
        if is_down() or random.random() < 0.01:
            raise ConnectionError(f"{name} does not answer")
        return item

    ask.__name__ = name
    return ask


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def shop_of(stock, prices):
    def shop(environ, start_response):
        try:
            stock(1), prices(1)
            start_response("200 OK", [("Content-Type", "text/plain")])
        except OSError:
            start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [b"12.50"]

    return FormationMiddleware(shop, middleware=resilient("server", logger=QUIET))


def mounted(path, below, app):
    """Put an app under a path of another one, as a framework's ``mount`` does."""

    def both(environ, start_response):
        asked = environ["PATH_INFO"]
        if asked == path or asked.startswith(f"{path}/"):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = environ.get("SCRIPT_NAME", "") + path, asked[len(path) :]
            return below(environ, start_response)
        return app(environ, start_response)

    return both


def traffic(app, stop, pause):
    """Ask the shop, as a server would."""
    while not stop.is_set():
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/price", "SERVER_NAME": "shop", "SERVER_PORT": "80"}
        environ |= {"wsgi.url_scheme": "http", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}
        for _ in app(environ, lambda status, headers, error=None: None):
            pass
        stop.wait(random.expovariate(1 / pause))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--serve", action="store_true", help="go on until Ctrl-C")
    arguments.add_argument("--port", type=int, default=8000)
    given = arguments.parse_args()

    stop, started = Event(), time.monotonic()
    with Dashboard() as board:
        stock = calls_of("stock", 0.004, lambda: False)
        prices = calls_of("prices", 0.015, lambda: given.serve and 25 < (time.monotonic() - started) % 60 < 45)
        shop = shop_of(stock, prices)
        if not given.serve:
            for _ in itertools.repeat(None, 20):
                traffic(shop, _Once(), 0.001)
            for chain in board.snapshot()["chains"]:
                print(chain["name"], chain["calls"], "calls;", ", ".join(each["kind"] for each in chain["parts"]))
            return
        threads = [Thread(target=traffic, args=(shop, stop, 0.1), daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        served = mounted("/dashboard", board.wsgi, shop)
        with make_server("127.0.0.1", given.port, served, Server, Quiet) as server:
            print(f"http://127.0.0.1:{server.server_port}/dashboard/", flush=True)
            try:
                server.serve_forever(0.1)
            except KeyboardInterrupt:
                stop.set()


class _Once(Event):
    """Stops after one request."""

    def wait(self, timeout=None):
        self.set()
        return True


if __name__ == "__main__":
    main()
