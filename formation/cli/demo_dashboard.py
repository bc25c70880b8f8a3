"""The dashboard of the demo: on this machine, for who is on it, with calls to look at."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from formation.cli.demo_look import title
from formation.cli.errors import WrongCommand
from formation.dashboard import Dashboard
from formation.errors import FormationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLERS = 4
"""They are enough for some tens of calls a second, which can be seen and do not heat the machine."""

PAUSE = 0.05
"""Seconds between two calls of one of them."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser that looks does not keep the demo from ending


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def board(port: int) -> Iterator[tuple[Dashboard, Callable[[Any], None]]]:
    """Make a dashboard, and what serves it while a client calls, until Ctrl-C.

    Raises:
        WrongCommand: the port cannot be had.
    """
    with Dashboard() as shown:
        try:
            server = make_server("127.0.0.1", port, shown.wsgi, _Server, _Quiet)
        except (OSError, OverflowError) as error:
            raise WrongCommand(f"the dashboard cannot have port {port}: {error}") from error

        def serve(client: Any) -> None:
            stop = Event()
            callers = [Thread(target=_call, args=(client, stop)) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            title(f"The dashboard is at http://127.0.0.1:{server.server_port}/ and ends with Ctrl-C.")
            print(end="", flush=True)
            try:
                with suppress(KeyboardInterrupt):
                    server.serve_forever(0.1)
            finally:
                stop.set()
                for caller in callers:
                    caller.join()
                client.close()

        with server:
            yield shown, serve


def _call(client: Any, stop: Event) -> None:
    number = 0
    while not stop.wait(PAUSE):
        number = number % 9 + 1
        with suppress(FormationError):
            client.item(number)
            client.prices()
