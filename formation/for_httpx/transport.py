"""Middleware inside of anybody's client of httpx: a transport around a transport."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from formation import errors
from formation.client import wire
from formation.for_httpx.bodies import AsyncDownload, AsyncUpload, SyncDownload, SyncUpload
from formation.for_httpx.library import failures, httpx, translated, within
from formation.for_httpx.passing import Passing
from formation.kernel import wrap
from formation.keys import DEADLINE, NATIVE, REQ_HTTP

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        passing = Passing(request, SyncUpload)
        made = None
        try:
            made = passing.returned(self.chain(passing.context()))
        except errors.FormationError as error:
            theirs = passing.native_error(error)
            raise theirs from theirs.__cause__
        finally:
            for each in passing.left(made):
                each.close()
        return made  # type: ignore[no-any-return]

    def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: Passing = ctx[NATIVE]["exchange"]
        deadline, library = ctx.get(DEADLINE), passing.library
        made = passing.to_send(ctx[REQ_HTTP], deadline, wire.sendable)
        started = perf_counter()
        try:
            native = self._inner.of(library).handle_request(made)
        except failures(library) as error:
            raise translated(error, deadline) from error
        download = SyncDownload(native, deadline, library, ctx[REQ_HTTP])
        return passing.received(ctx, download, made, perf_counter() - started)

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
        passing = Passing(request, AsyncUpload)
        made = None
        try:
            made = passing.returned(await self.chain(passing.context()))
        except errors.FormationError as error:
            theirs = passing.native_error(error)
            raise theirs from theirs.__cause__
        finally:
            for each in passing.left(made):
                await each.aclose()
        return made  # type: ignore[no-any-return]

    async def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: Passing = ctx[NATIVE]["exchange"]
        deadline, library = ctx.get(DEADLINE), passing.library
        made = passing.to_send(ctx[REQ_HTTP], deadline, wire.async_sendable)
        send = self._inner.of(library).handle_async_request
        started = perf_counter()
        try:
            native = await (send(made) if deadline is None else within(deadline, send, made))
        except failures(library) as error:
            raise translated(error, deadline) from error
        download = AsyncDownload(native, deadline, library, ctx[REQ_HTTP])
        return passing.received(ctx, download, made, perf_counter() - started)

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
