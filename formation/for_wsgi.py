"""The edge for WSGI: any app of Flask, Django, Pyramid and their like (PEP 3333).

`FormationMiddleware` puts middleware around an app, for any server. `endpoint` calls an app in the same process,
without a socket, in the place of an HTTP library: a client class is tested against the app that it is made for, or an
app is a part of another one.

Theory of operation
-------------------
WSGI pulls: the app is called, then its iterable is asked for chunks, then it is closed. So a chain runs as it stands,
in the thread of the server: ``call(ctx)`` calls the app and returns when the app has, with a response that is read when
somebody asks. After the chain has returned, its response goes out:

- *Nobody has touched the body*: the server gets the very object that the app has returned, so a file is still sent by
  the kernel, and a list of one chunk still has a length. A lazy app that nobody has asked for its status talks to the
  server itself from then on.
- *Maps or hooks are on it*: the server gets an `Out`, which pulls one chunk of the app for each that it is asked for.
- *It has been read, or replaced*: the server gets the content, or what the other body gives.

An app may also *write*: what it writes has to be at the server before ``write()`` returns, and the head before that, so
the chain has to go on while the app stands still in the middle. An app that has been seen to write is therefore called
in a greenlet of its own (`formation.bridge.Aside`), and ``call(ctx)`` returns when it writes. What an app writes the
first time waits until it has returned.

Until it goes out, every answer of the app belongs to the exchange, which closes what is not sent. Nothing here is a
generator: a generator would run the chain when the server asks for the first chunk, which is too late, and would close
twice what it iterates over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from formation.client.in_process_wsgi import Endpoint, endpoint
from formation.http.response import Response
from formation.introspection import is_coroutine_callable, name_of
from formation.kernel import wrap
from formation.keys import KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SESSION, SIDE, STATE, STATE_ASIDE, TRACE
from formation.server.request import MAX_BODY, check_max_body
from formation.server.wsgi.exchange import Exchange
from formation.server.wsgi.request import WsgiRequest, trace_of
from formation.server.wsgi.response import WsgiResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import Chain, Ctx, Middleware
    from formation.server.wsgi.request import Environ

__all__ = ["Endpoint", "FormationMiddleware", "endpoint"]

_EXCHANGE: Final = "formation"
"""Where the exchange is among the host's own objects. A fork of a context has those, too."""


class FormationMiddleware:
    """Put middleware around a WSGI app; the result is a WSGI app.

    The response is there when the app has returned; its body streams on afterwards. What a middleware changes in the
    request, but for the cookies, the app finds in its environ. Around another ``FormationMiddleware`` the two become
    one chain.

    Args:
        app: called as PEP 3333 says.
        middleware: plain functions ``(ctx, call) -> ctx``; the first is outermost.
        max_body: bytes of a request, or of a response, that a middleware may read into memory (``.content``). A larger
            request is answered by a 413, a larger response is an error (`formation.errors.BodyTooLarge`). ``None``: no
            limit. What streams through is not limited.

    Raises:
        TypeError: ``app`` is no callable, or is async; a middleware is none, or is ``async def``.
        ValueError: ``max_body`` is no number of bytes.

    >>> def app(environ, start_response):
    ...     start_response("200 OK", [("Content-Type", "text/plain")])
    ...     return [b"hello"]
    >>> def serve(ctx, call):
    ...     ctx = call(ctx)
    ...     ctx["fmtn.res.http"].headers["X-Served"] = ctx["fmtn.req.http"].path
    ...     return ctx
    >>> wrapped = FormationMiddleware(app, middleware=[serve])
    >>> from formation.for_requests import build
    >>> build(base_uri="http://app", endpoint=endpoint(wrapped)).get("/ring").response.headers["X-Served"]
    '/ring'
    """

    app: Any
    """What is called innermost."""
    max_body: int | None
    """Bytes that a middleware may read into memory."""

    def __init__(
        self, app: Any, middleware: Iterable[Middleware[Ctx]] = (), *, max_body: int | None = MAX_BODY
    ) -> None:
        if not callable(app):
            raise TypeError(f"expected a WSGI app, a function of environ and start_response, got {app!r}")
        if is_coroutine_callable(app):
            raise TypeError(f"expected a WSGI app, got {app!r}, which is async: formation.for_asgi is for it")
        self.max_body = check_max_body(max_body)
        merges = type(app) is FormationMiddleware and app.max_body == max_body
        below = wrap(self._call, app.middleware if merges else (), is_async=False)
        self._chain: Chain[Ctx] = wrap(below, middleware, is_async=False)
        self.app = app.app if merges else app
        self.writes = False  # whether the app has ever called write()

    @property
    def middleware(self) -> tuple[Middleware[Ctx], ...]:
        """The layers, outermost first."""
        return self._chain.middleware

    def __repr__(self) -> str:
        return f"FormationMiddleware({name_of(self.app)}, [{', '.join(map(name_of, self.middleware))}])"

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve a request."""
        exchange = Exchange(self, environ, start_response)
        request = WsgiRequest(exchange)
        ctx: Ctx = {
            SIDE: "server",
            KIND: "http",
            REQ_HTTP: request,
            STATE: {},
            SESSION: {},
            SENSITIVE: set(),
            NATIVE: {"environ": environ, "start_response": start_response, _EXCHANGE: exchange},
        }
        if "HTTP_TRACEPARENT" in environ:
            ctx[TRACE] = trace_of(environ)
        try:
            return exchange.send(self._chain(ctx))
        except BaseException as error:
            exchange.drop(error)
            _drop(ctx)
            if exchange.is_too_large(error):
                headers = {"Content-Type": "text/plain"}
                return exchange.send({RES_HTTP: Response(413, headers, b"Content Too Large", request=request)})
            raise

    def _call(self, ctx: Ctx, /) -> Ctx:
        """Call the app."""
        try:
            exchange, request = ctx[NATIVE][_EXCHANGE], ctx[REQ_HTTP]
        except (TypeError, LookupError):
            raise TypeError(f"{self!r}: expected call(ctx) with the context that came, got {ctx!r}") from None
        if STATE in ctx and STATE_ASIDE in ctx[STATE]:
            exchange = exchange.aside()
        ctx[RES_HTTP] = exchange.call(ctx, request)
        return ctx


def _drop(ctx: Ctx) -> None:
    """Close a response that does not go out, for an error has come instead: hooks of its body wait for the end."""
    left = ctx.get(RES_HTTP)
    if isinstance(left, Response) and (type(left) is not WsgiResponse or left.body_read):
        left.close()
