"""Middleware inside of anybody's client of httpx: a transport around a transport.

Theory of operation
-------------------
A `Passing` takes one request of httpx through the chain. Into it goes a request of ours, made of theirs; where the
chain ends, theirs is sent, the very object if nobody has changed anything, else one like it. The same on the way back:
nothing of the response is decoded unless somebody looks, and as long as nobody has changed the body the client gets
the object that came, with status and headers put right.

What was opened and is not handed out is closed: the answers to attempts that failed, and all of them where the chain
raises.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from formation import errors
from formation.client import wire
from formation.for_httpx.bodies import AsyncDownload, AsyncUpload, Download, SyncDownload, SyncUpload, Upload
from formation.for_httpx.library import httpx, library_of, translating, within
from formation.for_httpx.messages import BODY, Received, Seen, encoded, looked_at, patience, timeouts
from formation.kernel import wrap
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from formation.http import Body, Request, Response
    from formation.kernel import AnyMiddleware, Ctx, Middleware


class Transport(httpx.BaseTransport):
    """Middleware for any client: ``httpx2.Client(transport=Transport(middleware=[retry()]))``, and so with httpx.

    The client does what it always does, redirects, cookies and auth among it, so that the middleware runs for each
    hop. Errors are those of its library: an error of ours that has none of theirs as its cause becomes a
    ``ConnectError`` if we have turned the request away, a ``TimeoutException`` or a ``TransportError``.

    Args:
        middleware: plain functions, outermost first.
        transport: what sends; ``None``: the library's own.
        **kwargs: of ``httpx2.HTTPTransport``, such as ``http2`` and ``retries``.

    Raises:
        TypeError: a middleware is none, or is ``async def``.
    """

    def __init__(
        self, middleware: Iterable[Middleware[Ctx]] = (), transport: httpx.BaseTransport | None = None, **kwargs: Any
    ) -> None:
        self.chain = wrap(self._exchange, middleware, is_async=False)
        self._inner = _Inner("HTTPTransport", transport, kwargs)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request through the middleware; called by the client."""
        passing = _Passing(request, SyncUpload)
        made = None
        try:
            made = passing.returned(self.chain(passing.ctx))
        except errors.FormationError as error:
            theirs = passing.native_error(error)
            raise theirs from theirs.__cause__
        finally:
            for each in passing.left(made):
                each.close()
        return made  # type: ignore[no-any-return]

    def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: _Passing = ctx[NATIVE]["exchange"]
        deadline, library = ctx.get(DEADLINE), passing.library
        made = passing.to_send(ctx[REQ_HTTP], deadline, wire.sendable)
        started = perf_counter()
        with translating(library, deadline):
            native = self._inner.of(library).handle_request(made)
        return passing.received(ctx, SyncDownload(native, deadline, library), made, perf_counter() - started)

    def close(self) -> None:
        """Close what sends; called by the client."""
        for each in self._inner.made.values():
            each.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """The same for ``httpx2.AsyncClient``; the middleware may be plain or ``async def``.

    Args:
        middleware: outermost first.
        transport: what sends; ``None``: the library's own.
        **kwargs: of ``httpx2.AsyncHTTPTransport``.

    Raises:
        TypeError: a middleware is none.
    """

    def __init__(
        self, middleware: Iterable[AnyMiddleware] = (), transport: httpx.AsyncBaseTransport | None = None, **kwargs: Any
    ) -> None:
        self.chain = wrap(self._exchange, middleware, is_async=True)
        self._inner = _Inner("AsyncHTTPTransport", transport, kwargs)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request through the middleware; called by the client."""
        passing = _Passing(request, AsyncUpload)
        made = None
        try:
            made = passing.returned(await self.chain(passing.ctx))
        except errors.FormationError as error:
            theirs = passing.native_error(error)
            raise theirs from theirs.__cause__
        finally:
            for each in passing.left(made):
                await each.aclose()
        return made  # type: ignore[no-any-return]

    async def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: _Passing = ctx[NATIVE]["exchange"]
        deadline, library = ctx.get(DEADLINE), passing.library
        made = passing.to_send(ctx[REQ_HTTP], deadline, wire.async_sendable)
        send = self._inner.of(library).handle_async_request
        started = perf_counter()
        with translating(library, deadline):
            native = await (send(made) if deadline is None else within(deadline, send, made))
        return passing.received(ctx, AsyncDownload(native, deadline, library), made, perf_counter() - started)

    async def aclose(self) -> None:
        """Close what sends; called by the client."""
        for each in self._inner.made.values():
            await each.aclose()


class _Inner:
    """What a transport of ours sends with: one that was brought, or one of the library that the client is of."""

    def __init__(self, kind: str, brought: Any, kwargs: dict[str, Any]) -> None:
        if brought is not None and kwargs:
            raise TypeError(f"{sorted(kwargs)} are for a transport of ours: give them to the one that you bring")
        self.kind, self.brought, self.kwargs = kind, brought, kwargs
        self.made = {httpx: brought or getattr(httpx, kind)(**kwargs)}

    def of(self, library: Any) -> Any:
        """Return it."""
        if self.brought is None and library not in self.made:
            self.made[library] = getattr(library, self.kind)(**self.kwargs)
        return self.brought or self.made[library]


class _Passing:
    """A request of httpx on its way through the middleware of a transport."""

    def __init__(self, request: Any, upload: type[Upload]) -> None:
        self.request, self.library = request, library_of(request)
        self.opened: list[Any] = []
        try:
            self.content: Any = request.content
        except self.library.RequestNotRead:
            length = request.headers.get("Content-Length", "")
            self.content = upload(request.stream, int(length) if length.isdecimal() else None)
        self.limits = request.extensions.get("timeout") or {}
        self.seen = Seen(request, self.content)
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        self.ctx = wire.context(self.seen, {"request": request, "exchange": self}, path)

    def to_send(self, seen: Request, deadline: float | None, sendable: Callable[[Body], Any]) -> Any:
        """Return the request to send: the client's own, if nobody has changed anything."""
        request, url, limits = self.request, self.request.url, self.limits
        looked = looked_at(seen)
        same_body = self._has_the_body(seen, looked)  # which is made before the headers are compared: it sets some
        same_headers = "_headers" not in looked or seen.headers == self.seen.before
        if ("_url" in looked or "_params" in looked) and seen.target != str(url):
            url = self.library.URL(seen.target)
        if deadline is not None or "_timeout" in looked:
            limits = timeouts(seen, deadline, limits if seen.timeout == patience(request) else None)
        unchanged = same_headers and same_body and url is request.url and limits is self.limits
        if unchanged and seen.method == request.method:
            return request
        fields = encoded(seen.headers.items())
        if not same_body:
            fields = [line for line in fields if line[0].lower() not in {b"content-length", b"transfer-encoding"}]
            if seen.body.length is not None:
                fields.append((b"Content-Length", b"%d" % seen.body.length))
        if "Host" not in seen.headers:
            fields.insert(0, (b"Host", url.netloc))
        how: dict[str, Any] = {"stream": request.stream} if same_body else {"content": sendable(seen.body)}
        extensions = {**request.extensions, "timeout": limits}
        if url is not request.url:
            extensions.pop("target", None)
        return self.library.Request(seen.method, url, headers=fields, extensions=extensions, **how)

    def _has_the_body(self, seen: Request, looked: AbstractSet[str]) -> bool:
        if isinstance(self.content, Upload):
            if seen.body.native is not self.content:
                return False
            self.content.sent = True
            return True
        return looked.isdisjoint(BODY) or (seen.body.is_bytes and seen.body.read() is self.content)

    def received(self, ctx: Ctx, download: SyncDownload | AsyncDownload, made: Any, elapsed: float) -> Ctx:
        """Put the response into the context."""
        native = download.native
        native.request = made
        self.opened.append(native)
        ctx[RES_HTTP] = Received(download, ctx[REQ_HTTP], elapsed)
        ctx[NATIVE]["response"] = native
        return ctx

    def returned(self, ctx: Ctx) -> Any:
        """Return the response of httpx: the one that came, if nobody has changed its body."""
        answer, library = wire.answer(ctx), self.library
        if (native := _came(answer)) is not None:
            if native.status_code != answer.status_code:
                native.status_code = answer.status_code
                native.extensions["reason_phrase"] = answer.reason.encode("latin-1")
            if "_headers" in looked_at(answer) and (fields := encoded(answer.headers.items())) != native.headers.raw:
                native.headers = library.Headers(fields)
            return native
        body, lines = answer.body, list(answer.headers.items())
        if answer.has_changeable_body():
            dropped = {"content-encoding", "transfer-encoding"}
            if body.is_bytes or "Content-Encoding" in answer.headers:
                dropped.add("content-length")
            lines = [line for line in lines if line[0].lower() not in dropped]
            if body.is_bytes:
                lines.append(("Content-Length", str(body.length)))
        extensions = dict(self.opened[-1].extensions) if self.opened else {}
        extensions["reason_phrase"] = answer.reason.encode("latin-1")
        stream = library.ByteStream(body.read()) if body.is_bytes else _returning(library)(self, body)
        return library.Response(answer.status_code, headers=encoded(lines), stream=stream, extensions=extensions)

    def left(self, made: Any) -> list[Any]:
        """Return the responses to close, if ``made`` is handed out."""
        if made is not None and isinstance(made.stream, _Returned):
            return []  # which closes them itself
        return [each for each in self.opened if each is not made]

    def native_error(self, error: errors.FormationError) -> Exception:
        """Return the error of httpx that says what ``error`` says."""
        library, cause = self.library, error.__cause__
        if isinstance(cause, library.HTTPError):
            return cause  # type: ignore[no-any-return]
        kind = library.TransportError
        if isinstance(error, errors.ConnectTimeout):
            kind = library.ConnectTimeout
        elif isinstance(error, TimeoutError):
            kind = library.TimeoutException
        elif isinstance(error, (errors.Rejected, errors.ConnectError)):
            kind = library.ConnectError
        made: Exception = kind(str(error), request=self.request)
        made.__cause__ = error
        return made


def _came(answer: Response) -> Any:
    """Return the response of httpx whose body, as it came, is that of ``answer``; or ``None``."""
    if isinstance(answer, Received) and "_body" not in answer.__dict__:
        download: Any = answer.download
    elif answer.body._hooks:  # noqa: SLF001  whoever waits for the end has to see it
        return None
    else:
        download = answer.body.native
    return download.native if isinstance(download, Download) and download.deadline is None else None


class _Returned:
    """The body of a response as httpx reads it, once a middleware has changed it or waits for its end."""

    def __init__(self, passing: _Passing, body: Body) -> None:
        self.passing, self.body = passing, body

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.body
        except errors.FormationError as error:
            theirs = self.passing.native_error(error)
            raise theirs from theirs.__cause__

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(wire.chunks(self.body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except errors.FormationError as error:
            theirs = self.passing.native_error(error)
            raise theirs from theirs.__cause__

    def close(self) -> None:
        """End it, and what it was made from."""
        self.body.close()
        for each in self.passing.opened:
            each.close()

    async def aclose(self) -> None:
        """Do what `close` does."""
        await self.body.aclose()
        for each in self.passing.opened:
            await each.aclose()


@cache
def _returning(library: Any) -> type[_Returned]:
    """Return the class of bodies that the library takes for its own."""
    return type("Returned", (_Returned, library.SyncByteStream, library.AsyncByteStream), {})
