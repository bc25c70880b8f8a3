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
- *Maps or hooks are on it*: the server gets an `_Out`, which pulls one chunk of the app for each that it is asked for.
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

import io
from typing import TYPE_CHECKING, Any, Final

from formation.ambient import current, publish, restore
from formation.client.in_process_wsgi import Endpoint, endpoint
from formation.http.response import BODILESS, Response
from formation.introspection import is_coroutine_callable, name_of
from formation.kernel import wrap
from formation.keys import KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SESSION, SIDE, STATE, TEMPLATE, TRACE
from formation.resilience.forks import ASIDE
from formation.server.request import MAX_BODY, check_max_body
from formation.server.wsgi_request import Came, WsgiRequest, trace_of, write_back
from formation.server.wsgi_response import Call, WsgiResponse, head_of, is_bodiless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from formation.http.body import Body
    from formation.http.request import Request
    from formation.kernel import Chain, Ctx, Middleware
    from formation.server.wsgi_request import Environ
    from formation.server.wsgi_response import Write

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
        exchange = _Exchange(self, environ, start_response)
        ctx: Ctx = {
            SIDE: "server",
            KIND: "http",
            REQ_HTTP: WsgiRequest(exchange),
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
            if exchange.is_too_large(error):
                return exchange.send({RES_HTTP: Response(413, {"Content-Type": "text/plain"}, b"Content Too Large")})
            raise

    def _call(self, ctx: Ctx, /) -> Ctx:
        """Call the app."""
        try:
            exchange, request = ctx[NATIVE][_EXCHANGE], ctx[REQ_HTTP]
        except (TypeError, LookupError):
            raise TypeError(f"{self!r}: expected call(ctx) with the context that came, got {ctx!r}") from None
        if STATE in ctx and ASIDE in ctx[STATE]:
            exchange = exchange.aside()
        ctx[RES_HTTP] = exchange.call(ctx, request)
        return ctx


class _Exchange(Came):
    """What came, the calls of the app that it has led to, and the way back to the server."""

    __slots__ = ("calls", "edge", "start_response")

    def __init__(self, edge: FormationMiddleware, environ: Environ, start_response: Any) -> None:
        super().__init__(environ, edge.max_body)
        self.edge = edge
        self.start_response = start_response
        self.calls: list[Call] = []

    def call(self, ctx: Ctx, request: Request) -> WsgiResponse:
        """Call the app for ``request``: the one that came, a fork of it, or another one."""
        environ, calls = self.live, self.calls
        if calls or type(request) is not WsgiRequest or request.is_changed:
            write_back(request, self, again=bool(calls))
        call = Call(environ)
        calls.append(call)
        begin = call.begin_aside if self.edge.writes else call.begin
        published = publish(ctx)
        if published is None:
            begin(self.edge.app)
        else:
            call.ambient = current.get()
            try:
                begin(self.edge.app)
            finally:
                restore(published)
        if call.ahead:
            self.edge.writes = True
        if call.template is not None:
            ctx[TEMPLATE] = request.template = call.template
        return WsgiResponse(call, request, self.edge.max_body)

    def aside(self) -> _Exchange:
        """Make an exchange for a call that is no part of this one: nobody waits for it, and it has no body."""
        return _Exchange(self.edge, {**self.environ, "wsgi.input": io.BytesIO()}, None)

    def send(self, ctx: Any) -> Iterable[bytes]:
        """Send the head of the response, and return what the server is to iterate over."""
        try:
            response: Any = ctx[RES_HTTP]
        except (TypeError, LookupError):
            response = None
        if not isinstance(response, Response):
            raise TypeError(
                f"{self.edge!r}: expected a context with a response in {RES_HTTP!r}, got {ctx!r}: "
                "a middleware returns what call(ctx) returned, or what reply(ctx, status) does"
            )
        if type(response) is not WsgiResponse or not response.streams:
            return self._send_other(response)
        call: Call = response.native
        if len(self.calls) > 1:
            self.drop(but=call)
        body: Body | None = call.body if call.body is not None and call.body.is_watched else None
        write = None if call.status is None else self._start(response, call.exc_info)
        call.hand_over(self.start_response, write if body is None or write is None else _through(body, write))
        if call.is_paused:
            call.go_on()
        stays = call.ambient is None or not call.is_lazy or type(call.iterable) is self.live.get("wsgi.file_wrapper")
        if body is None and stays and not call.is_begun:
            return call.release()  # type: ignore[no-any-return]
        return _Out(call, body)

    def _send_other(self, response: Response) -> Iterable[bytes]:
        """Send a body that is not, or no longer, what an app yields."""
        body = response._body  # noqa: SLF001  bytes, unless somebody has made a Body of it
        if is_bodiless(response):
            if not isinstance(body, bytes):
                body.end()
            self.drop()
            if response.status_code in BODILESS:
                response.headers.popall("Content-Length", None)  # some clients wait for as many bytes
            self._start(response)
            return []
        if isinstance(body, bytes) or (body.is_bytes and not body.is_watched):
            content = response.content
            response.close()
            self.drop()
            response.headers.setdefault("Content-Length", str(len(content)))
            self._start(response)
            return [content] if content else []
        for call in self.calls:
            call.finish()
        out = _Out(iter(body), body, self.calls)
        try:
            self._start(response)
        except BaseException as error:
            body.close(error)
            raise
        if type(response) is WsgiResponse:
            response.native.hand_over(self.start_response, None)
        return out

    def _start(self, response: Response, exc_info: Any = None) -> Any:
        status, headers = head_of(response)
        if exc_info:
            return self.start_response(status, headers, exc_info)
        return self.start_response(status, headers)

    def drop(self, error: BaseException | None = None, but: Call | None = None) -> None:
        """Close what the app has answered and is not sent."""
        for call in self.calls:
            if call is not but:
                call.drop(error)


def _through(body: Body, write: Write) -> Write:
    return lambda data: write(body.push(data))


class _Out:
    """What the server iterates over, where it is not what the app has returned.

    It gives what is next in ``source``: a call of the app, whose chunks go through the maps of ``body``, if there is
    one; or the iteration of a ``body`` that a middleware has made, maybe of answers of the app (``behind``).
    """

    __slots__ = ("_behind", "_body", "_flushed", "_source")

    def __init__(self, source: Iterator[bytes], body: Body | None, behind: Iterable[Call] = ()) -> None:
        self._source = source
        self._body = body
        self._behind = behind
        self._flushed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        source, body = self._source, self._body
        if body is None or not isinstance(source, Call):
            return next(source)
        try:
            if not self._flushed:
                try:
                    chunk = next(source)
                except StopIteration:
                    self._flushed = True
                    if not source.is_anew and (tail := body.flush()):
                        return tail
                else:
                    return chunk if source.is_anew else body.push(chunk)
        except BaseException as error:
            body.end(error)
            raise
        body.end()
        raise StopIteration

    def close(self) -> None:
        """Close it: the server has had enough."""
        if self._flushed and self._body is not None:
            self._body.end()
        if self._body is not None:
            self._body.close()
        if isinstance(self._source, Call):
            self._source.close()
        for call in self._behind:
            call.drop()
