"""The edge for ASGI: any app of Starlette, FastAPI, Litestar, Quart, Django and their like, on any server (ASGI 3.0).

`FormationMiddleware` puts middleware around an app, HTTP and WebSocket. `endpoint` calls an app in the same process,
without a socket, in the place of an HTTP library: a client class is tested against the app that it is made for, or an
app is a part of another one.

>>> async def app(scope, receive, send):
...     await send({"type": "http.response.start", "status": 200})
...     await send({"type": "http.response.body", "body": b"hello"})
>>> def powered(ctx, call):
...     ctx = call(ctx)
...     ctx["fmtn.res.http"].headers["X-Powered-By"] = "Formation"
...     return ctx
>>> app = FormationMiddleware(app, middleware=[powered])
>>> app
FormationMiddleware(app, [powered])

>>> import asyncio
>>> from formation.http import Request
>>> ctx = asyncio.run(endpoint(app)({"fmtn.req.http": Request("GET", "http://app/")}))
>>> ctx["fmtn.res.http"].headers["x-powered-by"], ctx["fmtn.res.http"].content
('Formation', b'hello')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.client.in_process_asgi import Endpoint, endpoint
from formation.introspection import name_of
from formation.kernel import wrap
from formation.keys import KIND, NATIVE, REQ_HTTP, SENSITIVE, SESSION, SIDE, STATE, TRACE, WS
from formation.server.asgi.exchange import Exchange, enter
from formation.server.asgi.messages import AsgiRequest, trace_of
from formation.server.asgi.websocket import Connection, connect
from formation.server.asgi.websocket_messages import give, take
from formation.server.request import MAX_BODY, check_max_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import AnyMiddleware, Ctx
    from formation.server.asgi.messages import App, Receive, Scope, Send
    from formation.server.asgi.websocket_messages import Messages

__all__ = ["Connection", "Endpoint", "FormationMiddleware", "endpoint"]


class FormationMiddleware:
    """Put middleware around an ASGI app.

    It is an ASGI app again, for any server, and ``app.add_middleware(FormationMiddleware, middleware=[...])`` takes it.
    What is no HTTP and no WebSocket, such as the lifespan, passes untouched. Around an app that has one already,
    both become one chain.

    Args:
        app: an ASGI 3.0 app.
        middleware: functions ``(ctx, call) -> ctx``, plain or ``async def``; the first is outermost.
        message_middleware: the same, around each message of a WebSocket, which is ``ctx["fmtn.message"]``.
        max_body: bytes of a request or a response that a middleware may read into memory, 16 MiB; ``None``: no limit.
            A request that is longer is answered with 413.

    Raises:
        TypeError: ``app`` is no callable, or a middleware is none.
        ValueError: ``max_body`` is no number of bytes.
    """

    def __init__(
        self,
        app: Any,
        middleware: Iterable[AnyMiddleware] = (),
        message_middleware: Iterable[AnyMiddleware] = (),
        *,
        max_body: int | None = MAX_BODY,
    ) -> None:
        if not callable(app):
            raise TypeError(f"expected an ASGI app, a callable (scope, receive, send), got {app!r}")
        self.max_body = check_max_body(max_body)
        self.middleware = wrap(enter, middleware).middleware
        self.message_middleware = wrap(take, message_middleware).middleware
        if type(app) is FormationMiddleware and app.max_body == max_body:
            self.middleware += app.middleware
            self.message_middleware += app.message_middleware
            app = app.app
        self.app: App = app
        self._http = wrap(enter, self.middleware)
        self._connection = wrap(connect, self.middleware)
        self._messages: Messages | None = None
        if self.message_middleware:  # the innermost is next to the app, whichever way a message goes
            self._messages = wrap(take, self.message_middleware), wrap(give, reversed(self.message_middleware))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or whatever else ``scope`` is."""
        kind = scope["type"]
        if kind == "http" and self.middleware:
            exchange = Exchange(self.app, scope, receive, send, self.max_body)
            ctx = _context(scope, "http", AsgiRequest(scope, exchange.upload, self.max_body, self.app))
            await exchange.run(self._http, ctx)
        elif kind == "websocket" and (self.middleware or self._messages):
            ctx = _context(scope, "websocket", AsgiRequest(scope, None, None))
            connection = ctx[WS] = Connection(self.app, scope, receive, send)
            await connection.run(self._connection, ctx, self._messages)
        else:
            await self.app(scope, receive, send)

    def __repr__(self) -> str:
        messages = f", message_middleware={_names(self.message_middleware)}" if self.message_middleware else ""
        return f"FormationMiddleware({name_of(self.app)}, {_names(self.middleware)}{messages})"


def _names(middleware: Iterable[Any]) -> str:
    return f"[{', '.join(map(name_of, middleware))}]"


def _context(scope: Scope, kind: str, request: AsgiRequest) -> Ctx:
    ctx: Ctx = {
        SIDE: "server",
        KIND: kind,
        REQ_HTTP: request,
        STATE: {},
        SESSION: {},
        SENSITIVE: set(),
        NATIVE: {"scope": scope},
    }
    if (trace := trace_of(scope)) is not None:
        ctx[TRACE] = trace
    return ctx
