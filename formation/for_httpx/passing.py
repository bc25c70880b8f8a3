"""A request of httpx on its way through the middleware of a transport.

Theory of operation
-------------------
Into the chain goes a request of ours, made of theirs; where the chain ends, theirs is sent, the very object if nobody
has changed anything, else one like it. The same on the way back: nothing of the response is decoded unless somebody
looks, and as long as nobody has changed the body the client gets the object that came, with status and headers put
right.

What was opened and is not handed out is closed: the answers to attempts that failed, and all of them where the chain
raises.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any

from formation import errors
from formation.client import wire
from formation.for_httpx.bodies import Download, Upload
from formation.for_httpx.library import library_of
from formation.for_httpx.messages import BODY, Received, Seen, added, encoded, looked_at, patience, timeouts
from formation.http.headers import digits
from formation.keys import NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from collections.abc import Set as AbstractSet

    from formation.for_httpx.bodies import AsyncDownload, SyncDownload
    from formation.http import Body, Request, Response
    from formation.kernel import Ctx


class Passing:
    """A request of httpx on its way through the middleware of a transport."""

    def __init__(self, request: Any, upload: type[Upload]) -> None:
        self.request, self.library = request, library_of(request)
        self.opened: list[Any] = []
        try:
            self.content: Any = request.content
        except self.library.RequestNotRead:
            self.content = upload(request.stream, digits(request.headers.get("Content-Length")))
        self.limits = request.extensions.get("timeout") or {}
        self.seen = Seen(request, self.content)

    def context(self) -> Ctx:
        """Make the context; it leads here, and nothing here leads to it, so that it goes without garbage collection."""
        path = self.request.url.raw_path.partition(b"?")[0].decode("ascii")
        return wire.context(self.seen, {"request": self.request, "exchange": self}, path)

    def to_send(self, seen: Request, deadline: float | None, sendable: Callable[[Body], Any]) -> Any:
        """Return the request to send: the client's own, if nobody has changed anything."""
        request, url, limits = self.request, self.request.url, self.limits
        looked = looked_at(seen)
        same_body = self._has_the_body(seen, looked)  # which is made before the headers are compared: it sets some
        more = added(self.seen.before, seen.headers) if "_headers" in looked else []
        if ("_url" in looked or "_params" in looked) and seen.target != str(url):
            url = self.library.URL(seen.target)
        if deadline is not None or "_timeout" in looked:
            limits = timeouts(seen, deadline, limits if seen.timeout == patience(request) else None)
        is_alike = same_body and url is request.url and more is not None
        if is_alike and not more and limits is self.limits and seen.method == request.method:
            return request
        extensions = {**request.extensions, "timeout": limits}
        if url is not request.url:
            extensions.pop("target", None)
        how: dict[str, Any] = {"stream": request.stream} if same_body else {"content": sendable(seen.body)}
        if is_alike:
            # The usual change, and a copy of the headers takes httpx two thirds of the time of new ones.
            made = self.library.Request(seen.method, url, headers=request.headers, extensions=extensions, **how)
            for name, value in more or ():
                made.headers[name] = value
            return made
        fields = self._fields(seen, url, same_body=same_body)
        return self.library.Request(seen.method, url, headers=fields, extensions=extensions, **how)

    def _fields(self, seen: Request, url: Any, *, same_body: bool) -> list[tuple[bytes, bytes]]:
        went = (b"Host", self.request.url.netloc)  # httpx has put it there, and goes by the URL
        fields = [line for line in encoded(seen.headers.items()) if line != went]
        if not same_body:
            fields = [line for line in fields if line[0].lower() not in {b"content-length", b"transfer-encoding"}]
            if seen.body.length is not None:
                fields.append((b"Content-Length", b"%d" % seen.body.length))
        has_host = any(name.lower() == b"host" for name, _ in fields)
        return fields if has_host else [(b"Host", url.netloc), *fields]

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
        if (native := _came(answer)) in self.opened:
            if native.status_code != answer.status_code:
                native.status_code = answer.status_code
                native.extensions["reason_phrase"] = answer.reason.encode("latin-1")
            if "_headers" in looked_at(answer) and (fields := encoded(answer.headers.items())) != native.headers.raw:
                native.headers = library.Headers(fields)
            return native
        body, lines = answer.body, wire.unpacked(answer, self.request.method)
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
    elif answer.body.is_watched:  # whoever waits for the end has to see it
        return None
    else:
        download = answer.body.native
    return download.native if isinstance(download, Download) and download.deadline is None else None


class _Returned:
    """The body of a response as httpx reads it, once a middleware has changed it or waits for its end."""

    def __init__(self, passing: Passing, body: Body) -> None:
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
