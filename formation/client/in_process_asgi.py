"""An ASGI app (ASGI 3.0) called in the same process, without a socket, in the place of an HTTP library. On asyncio.

A client class is tested against the app that it is made for, or an app is a part of another one. Users have it from
``formation.for_asgi``.

Theory of operation
-------------------
ASGI pushes, a client pulls. So the app runs in a task of its own, and an `Exchange` stands between: what the app sends
waits there, one chunk at most, until the client has taken it; what the client uploads is asked for when the app calls
``receive()``. The response is there with ``http.response.start``. Its body ends when the app has *returned*, not with
its last message: what the app does after that, its background tasks, is done when the body has been read to the end,
and what goes wrong there is raised there. Tests rely on it.

A body that is closed before its end is a client that is gone: the app gets ``http.disconnect``, its ``send()`` raises
`OSError`, and it has a moment to end by itself. If it waits for something else, it is cancelled. Closing waits for it.

The lifespan, too, is a task, for each event loop one, begun with the first call and ended by ``endpoint.close()``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, get_args
from weakref import WeakKeyDictionary

from formation.client import wire
from formation.client.in_process import check_prefix, target
from formation.client.in_process_exchange import Exchange
from formation.client.in_process_lifespan import Lifespan, Server
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from formation.client.in_process_exchange import App, Message
    from formation.http import Request
    from formation.kernel import Ctx

__all__ = ["Endpoint", "endpoint"]

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}


class Endpoint:
    """What `endpoint` returns: takes a context with a request, calls the app, puts the response into the context."""

    __name__ = "asgi"

    def __init__(
        self,
        app: App,
        *,
        raise_app_exceptions: bool,
        client: tuple[str, int] | None,
        root_path: str,
        lifespan: Lifespan,
    ) -> None:
        if not callable(app):
            raise TypeError(f"expected an ASGI app, a function of scope, receive and send, got {app!r}")
        if lifespan not in get_args(Lifespan):
            raise ValueError(f"expected lifespan as 'auto', 'on' or 'off', got {lifespan!r}")
        self._app = app
        self._raises = raise_app_exceptions
        self._client = client
        self._root_path = check_prefix(root_path, "root_path")
        self._lifespan = lifespan
        self._servers: WeakKeyDictionary[asyncio.AbstractEventLoop, Server] = WeakKeyDictionary()

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Call the app with ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        if deadline is not None:
            wire.remaining(deadline)
        scope = self._scope(request)
        server = self._server()
        scope["state"] = (await server.start()).copy()
        ctx.setdefault(NATIVE, {})["scope"] = scope
        exchange = Exchange(request, deadline, raises=self._raises)
        server.exchanges.add(exchange)
        exchange.begin(self._app, scope, server.exchanges.discard)
        ctx[RES_HTTP] = await exchange.respond()
        return ctx

    async def close(self) -> None:
        """End the calls that are under way in this event loop, wait for background tasks, and shut the app down."""
        self._forget()
        server = self._servers.pop(asyncio.get_running_loop(), None)
        if server is not None:
            await server.stop()

    def _server(self) -> Server:
        loop = asyncio.get_running_loop()
        server = self._servers.get(loop)
        if server is None:
            self._forget()
            server = self._servers[loop] = Server(self._app, self._lifespan, raises=self._raises)
        return server

    def _forget(self) -> None:
        for each in self._servers.keyrefs():  # a list, made at once: other threads have event loops, too
            if (loop := each()) is not None and loop.is_closed():
                self._servers.pop(loop, None)

    def _scope(self, request: Request) -> Message:
        where = target(request, self._root_path, "root_path")
        return {
            "type": "http",
            "asgi": dict(_ASGI),
            "http_version": "1.1",
            "method": request.method,
            "scheme": where.scheme,
            "path": where.path.decode("utf-8", "replace"),
            "raw_path": where.raw_path.encode(),
            "query_string": where.query.encode(),
            "root_path": self._root_path,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in where.lines],
            "client": self._client,
            "server": (where.host, where.port),
            "extensions": {"http.response.trailers": {}, "http.response.debug": {}},
        }


def endpoint(
    app: App,
    *,
    raise_app_exceptions: bool = True,
    client: tuple[str, int] | None = ("127.0.0.1", 0),
    root_path: str = "",
    lifespan: Lifespan = "auto",
) -> Endpoint:
    """Make what calls an ASGI app in process: the setting ``endpoint=`` of an async client, or of `formation.wrap`.

    Streams both ways. A body that has been read to its end means that the app has returned, its background tasks
    included; a stream that is closed earlier tells the app by ``http.disconnect``, then cancels it. There is no default
    timeout, for there is no network; one that the request or a middleware sets bounds each wait for the app, and so
    does the deadline. ``await endpoint.close()``, or closing the client, shuts the app down.

    Args:
        app: called as ASGI 3.0 says, with the extensions for trailers and for debugging.
        raise_app_exceptions: whether an exception of the app is raised in the caller, as tests want it. ``False``: it
            is logged, and the response is a 500, or, where the head has been sent, breaks off.
        client: host and port that the request seems to come from, or ``None``.
        root_path: the path where the app is mounted; it has to be in the client's ``base_uri``.
        lifespan: ``"auto"``: startup with the first call, if the app has a lifespan; ``"on"``: it must have one;
            ``"off"``: the app is not asked.

    Raises:
        TypeError: ``app`` is no callable.
        ValueError: ``root_path`` is no path, ``lifespan`` is none. At a call: the request's path is not below
            ``root_path``.

    >>> import asyncio
    >>> from formation import wrap
    >>> from formation.http import Request
    >>> async def app(scope, receive, send):
    ...     assert scope["type"] == "http"
    ...     await send({"type": "http.response.start", "status": 200})
    ...     await send({"type": "http.response.body", "body": b"hello " + scope["path"].encode()})
    >>> call = wrap(endpoint(app), middleware=[])
    >>> asyncio.run(call({"fmtn.req.http": Request("GET", "http://app/ring")}))["fmtn.res.http"].content
    b'hello /ring'
    """
    return Endpoint(
        app, raise_app_exceptions=raise_app_exceptions, client=client, root_path=root_path, lifespan=lifespan
    )
