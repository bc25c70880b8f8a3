"""See every chain of the process, live, in a browser: what Hystrix gave its users.

>>> board = Dashboard(token="a-long-secret-of-yours")
>>> apps = board.wsgi, board.asgi
>>> board.close()

Mount one of the two under a path of your app, and open that path. There is nothing to see before somebody mounts it,
nothing can be changed through it, and nobody sees it but who has the token or, without one, who is on the machine.

Theory of operation
-------------------
*Pull, not push.* The kernel knows by weak references which chains there are; the middlewares in them show what they
keep. So circuits, places and budgets are read when somebody looks, and a call pays nothing for it. What cannot be read
afterwards, how often a chain is called and how long that takes, `formation.middleware.watched` counts, which is in
`formation.stacks.resilient`; until a dashboard is made it only asks whether there is one.

*Three files decide and are pure*: ``guard.py`` who may look, ``answers.py`` what he gets, ``snapshot.py`` what there is
to see. ``hosts.py`` speaks WSGI and ASGI, ``feed.py`` makes one snapshot a second for all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from formation import clock as clock_
from formation.dashboard.feed import Feed
from formation.dashboard.guard import check_token
from formation.dashboard.hosts import serve_asgi, serve_wsgi
from formation.dashboard.snapshot import WATERFALLS, snapshot
from formation.resilience.checks import count
from formation.telemetry.meter import watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Self

    from formation.trace.model import Trace

__all__ = ["Dashboard"]

WSGI_STREAMS: Final = 2
"""Each takes a thread; waitress has four."""

ASGI_STREAMS: Final = 32
"""Each takes a task, which sleeps."""


class Dashboard:
    """The dashboard, as two apps: `wsgi` and `asgi`.

    Args:
        token: who has it may look, from anywhere; 16 characters or more. ``None``: who is on this machine may, and
            nobody who comes through a proxy.
        streams: browsers that are sent events at a time. Whoever comes beyond that asks once a second instead.
            ``None``: 2 for WSGI, where each takes a thread of the server; 32 for ASGI.
        clock: monotonic seconds.
        now: seconds since 1970.

    Raises:
        TypeError: ``token`` is no text.
        ValueError: ``token`` is too short; ``streams`` is no number of them.
    """

    asgi: Callable[[Any, Any, Any], Awaitable[None]]
    """Serves it under any ASGI server, mounted by ``root_path``."""

    def __init__(
        self,
        token: str | None = None,
        *,
        streams: int | None = None,
        clock: Callable[[], float] = clock_.monotonic,
        now: Callable[[], float] = clock_.time,
    ) -> None:
        self.token = check_token(token)
        self.streams = None if streams is None else count("streams", streams)
        self.clock = clock
        self.now = now
        self.asgi = self._asgi()
        self._traces: deque[Trace] = deque(maxlen=WATERFALLS)
        self.feed = Feed(self.snapshot, clock)
        watch.begin(self)

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve it under any WSGI server, mounted by ``SCRIPT_NAME`` as PEP 3333 says."""
        return serve_wsgi(self, environ, start_response, self.streams or WSGI_STREAMS)

    def _asgi(self) -> Callable[[Any, Any, Any], Awaitable[None]]:
        """Make the app: a function, for of a method uvicorn does not see that it is async, and takes it for ASGI 2."""

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            await serve_asgi(self, scope, receive, send, self.streams or ASGI_STREAMS)

        return asgi

    def add(self, trace: Trace) -> None:
        """Show a trace among the waterfalls: ``trace(chain, on_trace=board.add)``. The last twelve are kept."""
        self._traces.append(trace)

    def snapshot(self) -> dict[str, Any]:
        """Return what the page shows: names and numbers."""
        return snapshot(self._traces.copy(), self.now())

    def close(self) -> None:
        """End the streams, and stop counting if there is no other dashboard."""
        self.feed.closed.set()
        watch.end(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        who = "whoever has the token" if self.token else "this machine"
        return f"<Dashboard for {who}>"
