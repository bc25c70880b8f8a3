"""One request of a WSGI server, the calls of the app that it leads to, and the answer on its way to the server.

`formation.for_wsgi` has the theory.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol, cast

from formation.ambient import current, publish, restore
from formation.http.response import BODILESS, Response
from formation.keys import RES_HTTP, TEMPLATE
from formation.server.wsgi.call import Call
from formation.server.wsgi.files import watched
from formation.server.wsgi.request import Came, WsgiRequest, write_back
from formation.server.wsgi.response import WsgiResponse, head_of, is_bodiless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from formation.http.body import Body
    from formation.http.request import Request
    from formation.kernel import Ctx
    from formation.server.wsgi.call import Write
    from formation.server.wsgi.request import Environ


class Edge(Protocol):
    """Whose requests they are."""

    app: Any
    """What is called innermost."""
    max_body: int | None
    """Bytes that a middleware may read into memory."""
    writes: bool
    """Whether the app has ever called ``write()``."""


class Exchange(Came):
    """What came, the calls of the app that it has led to, and the way back to the server."""

    __slots__ = ("calls", "edge", "start_response")

    def __init__(self, edge: Edge, environ: Environ, start_response: Any) -> None:
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

    def aside(self) -> Exchange:
        """Make an exchange for a call that is no part of this one: nobody waits for it, and it has no body."""
        return Exchange(self.edge, {**self.environ, "wsgi.input": io.BytesIO()}, None)

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
        if call.is_begun:
            return Out(call, body)
        is_file = type(call.iterable) is self.live.get("wsgi.file_wrapper")
        if body is None and (is_file or call.ambient is None or not call.is_lazy):
            return call.release()  # type: ignore[no-any-return]
        has_hooks_only = body is not None and body.native is call and call.status is not None
        is_sendable = is_file and has_hooks_only and not is_bodiless(response)
        if is_sendable and watched(call.iterable, cast("Body", body), head_of(response)[1]):
            return call.release()  # type: ignore[no-any-return]
        return Out(call, body)

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
        out = Out(iter(body), body, self.calls)
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


class Out:
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
