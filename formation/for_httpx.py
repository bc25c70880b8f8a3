"""The edge for httpx2 and httpx, sync and async, and middleware inside of anybody's client.

Three ways in, each for both worlds:

- ``@client``, ``@async_client`` (or ``class Github(Client)``, ``AsyncClient``): a declarative client.
- `endpoint`, `async_endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets
  ``fmtn.res.http``.
- `Transport`, `AsyncTransport`: for ``httpx2.Client(transport=…)``, so for any SDK that takes a client.

httpx2 is what our own connections are made with, httpx where only that is installed. A client, or a request, that
comes from outside says by its class which of the two it is of; whatever is made for it is of the same.

A deadline, ``fmtn.deadline``, cuts async calls wherever they are. A sync one is cut between operations: no connect,
read or write may wait beyond it, but a head that trickles in byte by byte is a new read each time.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import aclosing, suppress
from functools import cache, lru_cache
from os import getpid
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from formation import errors
from formation.client import wire
from formation.client.async_sender import AsyncSender
from formation.client.declare import AsyncClient as _AsyncClient
from formation.client.declare import SyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.sender import Sender
from formation.client.settings import MAX_BODY, Settings
from formation.http import UNSET, Body, Headers, Request, Response
from formation.kernel import wrap
from formation.keys import DEADLINE, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator

    import httpx2 as httpx

    from formation.kernel import AnyMiddleware, Ctx, Middleware
else:
    try:
        import httpx2 as httpx
    except ImportError:
        try:
            import httpx
        except ImportError as error:
            message = "httpx2 is not installed: pip install 'formation[httpx]'"
            raise ImportError(message, name=error.name) from error

__all__ = [
    "AsyncClient",
    "AsyncEndpoint",
    "AsyncTransport",
    "Client",
    "Endpoint",
    "Transport",
    "async_build",
    "async_client",
    "async_endpoint",
    "build",
    "client",
    "endpoint",
    "html_response",
    "json_response",
    "raw_response",
    "text_response",
    "xmltodict_response",
]


class _Sending:
    """What the two endpoints have in common: which connections there are, and how a request becomes one of httpx."""

    __name__ = "httpx"
    _transport: str

    def __init__(self, client: Any, *, http2: bool, verify: Any, cert: Any, proxy: str | None) -> None:
        self._brought = client
        self._library = httpx if client is None else _library(client)
        self._defaults: list[tuple[str, str]] = []
        self._proxy = proxy
        self._proxies: dict[str, str] = {}
        if client is None:
            limits = httpx.Limits(max_connections=wire.POOL, max_keepalive_connections=wire.POOL)
            self._how: dict[str, Any] = {"http2": http2, "verify": _context(verify, cert), "limits": limits}
            said = httpx.Client(transport=httpx.BaseTransport()).headers
            self._defaults = [("User-Agent", wire.USER_AGENT), ("Accept", "*/*")]
            self._defaults.append(("Accept-Encoding", said["Accept-Encoding"]))
            if proxy is None:
                self._proxies = {name: url for name, url in getproxies().items() if name in {"http", "https", "all"}}

    def _within_pool(self, pool: dict[str | None, Any], made: Any) -> Any:
        """Return the transport of ``pool`` for a request; made on first use."""
        proxy = self._proxy
        if self._proxies and not proxy_bypass(made.url.host):
            proxy = self._proxies.get(made.url.scheme) or self._proxies.get("all")
        transport = pool.get(proxy)
        if transport is None:
            through = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
            transport = pool.setdefault(proxy, getattr(httpx, self._transport)(proxy=through, **self._how))
        return transport

    def _made(self, request: Request, deadline: float | None, content: Any) -> Any:
        """Return the request for httpx."""
        library, brought, length = self._library, self._brought, request.body.length
        default = brought.timeout.as_dict() if brought is not None and request.timeout is UNSET else None
        timeouts = _timeouts(request, deadline, default)
        lines = _encoded(wire.headers(request, self._defaults, length))
        try:
            if brought is not None:
                made = brought.build_request(request.method, request.target, headers=lines, content=content)
                made.extensions["timeout"] = timeouts
                return made
            url, exact = _url(library, request.target)
        except library.InvalidURL as error:
            raise ValueError(str(error)) from error
        extensions: dict[str, Any] = {"timeout": timeouts}
        if exact is not None and not self._proxy and not self._proxies:  # which are sent the whole URL
            extensions["target"] = exact
        how = {"stream": library.ByteStream(content)} if isinstance(content, bytes) else {"content": content}
        if "Host" not in request.headers:
            lines.insert(0, (b"Host", url.netloc))
        return library.Request(request.method, url, headers=lines, extensions=extensions, **how)

    def _brought_how(self, request: Request) -> dict[str, Any]:
        how: dict[str, Any] = {"stream": True, "follow_redirects": False}
        return {**how, "auth": None} if "Authorization" in request.headers else how


class Endpoint(_Sending):
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    _transport = "HTTPTransport"

    def __init__(self, client: Any, **how: Any) -> None:
        super().__init__(client, **how)
        self._pools: dict[int, dict[str | None, Any]] = {}  # by process: after a fork the parent's are not ours

    def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        library = self._library
        made = self._made(request, deadline, _sendable(request.body))
        started = perf_counter()
        try:
            if self._brought is None:
                pool = self._pools.get(getpid())
                if pool is None:
                    pool = self._pools.setdefault(getpid(), {})
                native = self._within_pool(pool, made).handle_request(made)
                native.request = made
            else:
                native = self._brought.send(made, **self._brought_how(request))
        except _failures(library) as error:
            raise _translated(error, deadline, library) from error
        response = _head(native, request, perf_counter() - started)
        stream = _Stream(native, deadline, library)
        try:
            limit = wire.check_length(request, response.headers)
        except errors.BodyTooLarge:
            native.close()
            raise
        if request.extensions.get("stream"):
            response.receive(Body(stream, limit=limit))
        elif deadline is None and _is_plain(response, limit):
            response.receive(stream.whole())
        else:
            response.receive(Body(stream, limit=limit).read())
        ctx[RES_HTTP] = response
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    def close(self) -> None:
        """Close the connections, where they are ours."""
        for transport in self._pools.pop(getpid(), {}).values():
            transport.close()


class AsyncEndpoint(_Sending):
    """What `async_endpoint` returns: the same, to be awaited. Each event loop has a pool of its own."""

    _transport = "AsyncHTTPTransport"

    def __init__(self, client: Any, **how: Any) -> None:
        super().__init__(client, **how)
        self._pools: WeakKeyDictionary[Any, dict[str | None, Any]] = WeakKeyDictionary()

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        library, body = self._library, request.body
        made = self._made(request, deadline, body.read() if body.is_bytes else _achunks(body))
        started = perf_counter()
        try:
            if self._brought is None:
                loop = _loop()
                pool = self._pools.get(loop)
                if pool is None:
                    pool = self._pools[loop] = {}
                native = await _within(deadline, self._within_pool(pool, made).handle_async_request, made)
                native.request = made
            else:
                native = await _within(deadline, self._brought.send, made, **self._brought_how(request))
        except _failures(library) as error:
            raise _translated(error, deadline, library) from error
        response = _head(native, request, perf_counter() - started)
        stream = _AsyncStream(native, deadline, library)
        try:
            limit = wire.check_length(request, response.headers)
        except errors.BodyTooLarge:
            await native.aclose()
            raise
        if request.extensions.get("stream"):
            response.receive(Body(stream, limit=limit))
        elif _is_plain(response, limit):
            response.receive(await stream.whole())
        else:
            response.receive(await Body(stream, limit=limit).aread())
        ctx[RES_HTTP] = response
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    async def close(self) -> None:
        """Close the connections of this loop, where they are ours."""
        for transport in self._pools.pop(_loop(), {}).values():
            await transport.aclose()


def endpoint(
    client: httpx.Client | None = None,
    *,
    http2: bool = False,
    verify: bool | str | ssl.SSLContext = True,
    cert: str | tuple[str, str] | None = None,
    proxy: str | None = None,
) -> Endpoint:
    """Make what sends, on httpx: ``wrap(endpoint(), middleware=[…])``, or the setting ``endpoint=`` of a client.

    Args:
        client: a client of yours, of httpx2 or httpx, used as it is: its headers, auth, cookies, event hooks, and its
            timeouts where a request has none. It stays yours to close. ``None``: one of ours.
        http2: whether to speak HTTP/2 where the server does; it needs ``httpx2[http2]``; for our client.
        verify: whether to check certificates, a CA bundle's path, or an SSL context; for our client.
        cert: the client's certificate, a path or a pair (certificate, key); for our client.
        proxy: a proxy's URL; ``None``: those of the environment, read once; for our client.

    Raises:
        TypeError: ``client`` is none, or an async one.

    >>> from formation import wrap
    >>> from formation.http import Request
    >>> send = wrap(endpoint(proxy="http://127.0.0.1:1"), middleware=[])
    >>> send({"fmtn.req.http": Request("GET", "http://127.0.0.1:1/")})
    Traceback (most recent call last):
    formation.errors.ConnectError: ...
    """
    return Endpoint(_checked(client, "Client"), http2=http2, verify=verify, cert=cert, proxy=proxy)


def async_endpoint(
    client: httpx.AsyncClient | None = None,
    *,
    http2: bool = False,
    verify: bool | str | ssl.SSLContext = True,
    cert: str | tuple[str, str] | None = None,
    proxy: str | None = None,
) -> AsyncEndpoint:
    """Make what `endpoint` makes, to be awaited, for asyncio and trio.

    Args:
        client: an async client of yours, used as it is; it stays yours to close. ``None``: one of ours for each event
            loop.
        http2: see `endpoint`.
        verify: see `endpoint`.
        cert: see `endpoint`.
        proxy: see `endpoint`.

    Raises:
        TypeError: ``client`` is none, or a sync one.
    """
    return AsyncEndpoint(_checked(client, "AsyncClient"), http2=http2, verify=verify, cert=cert, proxy=proxy)


class Client(SyncClient):
    """A declarative client on httpx; ``@client`` makes any class one.

    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     response_as = json_response
    ...
    ...     def stars(self, owner, repo):
    ...         return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})
    >>> Github(timeout=10).request
    <Github: https://api.github.com>
    """

    _connect = staticmethod(endpoint)


class AsyncClient(_AsyncClient):
    """The same, with methods that are awaited; ``@async_client`` makes any class one."""

    _connect = staticmethod(async_endpoint)


client = decorator(Client)
async_client = decorator(AsyncClient)


def build(**settings: Any) -> Sender:
    """Make a sender without a class: ``build(base_uri="https://h").get("/users")``.

    Args:
        **settings: see `formation.client.settings.Settings`.
    """
    return Sender(Settings(**settings), endpoint)


def async_build(**settings: Any) -> AsyncSender:
    """Make an async sender without a class, to be used as ``await sender.get("/users")``.

    Args:
        **settings: see `formation.client.settings.Settings`.
    """
    return AsyncSender(Settings(**settings), async_endpoint)


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
        passing = _Passing(request, _Upload)
        try:
            made, left = passing.returned(self.chain(passing.ctx()))
        except BaseException as error:
            for each in passing.opened:
                each.close()
            if isinstance(error, errors.FormationError):
                theirs = passing.native_error(error)
                raise theirs from theirs.__cause__
            raise
        for each in left:
            each.close()
        return made  # type: ignore[no-any-return]

    def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: _Passing = ctx[NATIVE]["exchange"]
        seen, deadline, library = ctx[REQ_HTTP], ctx.get(DEADLINE), passing.library
        made = passing.to_send(seen, deadline, _sendable)
        started = perf_counter()
        try:
            native = self._inner.of(library).handle_request(made)
        except _failures(library) as error:
            raise _translated(error, deadline, library) from error
        return passing.received(ctx, native, made, _Stream(native, deadline, library), perf_counter() - started)

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
        passing = _Passing(request, _AsyncUpload)
        try:
            made, left = passing.returned(await self.chain(passing.ctx()))
        except BaseException as error:
            for each in passing.opened:
                await each.aclose()
            if isinstance(error, errors.FormationError):
                theirs = passing.native_error(error)
                raise theirs from theirs.__cause__
            raise
        for each in left:
            await each.aclose()
        return made  # type: ignore[no-any-return]

    async def _exchange(self, ctx: Ctx, /) -> Ctx:
        passing: _Passing = ctx[NATIVE]["exchange"]
        seen, deadline, library = ctx[REQ_HTTP], ctx.get(DEADLINE), passing.library
        made = passing.to_send(seen, deadline, _achunks)
        started = perf_counter()
        try:
            native = await _within(deadline, self._inner.of(library).handle_async_request, made)
        except _failures(library) as error:
            raise _translated(error, deadline, library) from error
        return passing.received(ctx, native, made, _AsyncStream(native, deadline, library), perf_counter() - started)

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

    def __init__(self, request: Any, upload: type[_Upload | _AsyncUpload]) -> None:
        self.library = library = _library(request)
        self.request = request
        self.opened: list[Any] = []
        host = request.url.netloc  # said by the URL, and so right even where a middleware changes it
        self.lines = _decoded(line for line in request.headers.raw if line[1] != host or line[0].lower() != b"host")
        self.url = str(request.url)
        seen = Request(request.method, self.url, headers=Headers.received(self.lines))
        try:
            self.content: Any = request.content
        except library.RequestNotRead:
            length = request.headers.get("Content-Length", "")
            self.content = upload(request.stream, int(length) if length.isdecimal() else None)
        if self.content:
            seen.content = self.content
        limits = request.extensions.get("timeout") or {}
        with suppress(ValueError):  # one of 0 seconds is httpx's to refuse
            seen.timeout = (limits.get("connect"), limits.get("read")) if limits else UNSET
        self.timeout = seen.timeout
        seen.extensions["stream"] = True  # the client's caller reads the body
        self.seen = seen

    def ctx(self) -> Ctx:
        """Make the context."""
        ctx: Ctx = {SIDE: "client", KIND: "http", REQ_HTTP: self.seen, SENSITIVE: set(), STATE: {}}
        ctx[TEMPLATE], ctx[NATIVE] = self.seen.path, {"request": self.request, "exchange": self}
        return ctx

    def to_send(self, seen: Request, deadline: float | None, sendable: Callable[[Body], Any]) -> Any:
        """Return the request to send: the client's own, if nobody has changed anything."""
        request, body = self.request, seen.body
        limits = request.extensions.get("timeout", {}) if seen.timeout == self.timeout else None
        limits = _timeouts(seen, deadline, limits)
        lines = list(seen.headers.items())
        same = (body.read() if body.is_bytes else body.native) is self.content
        if same and not body.is_bytes:
            self.content.sent = True
        as_it_was = same and (seen.method, seen.target, lines) == (request.method, self.url, self.lines)
        if as_it_was and limits == request.extensions.get("timeout", {}):
            return request
        extensions = {**request.extensions, "timeout": limits}
        url = request.url
        if seen.target != self.url:
            extensions.pop("target", None)
            url = self.library.URL(seen.target)
        if not same:
            lines = [line for line in lines if line[0].lower() not in {"content-length", "transfer-encoding"}]
            if body.length is not None:
                lines.append(("Content-Length", str(body.length)))
        fields = _encoded(lines) if "Host" in seen.headers else [(b"Host", url.netloc), *_encoded(lines)]
        how: dict[str, Any] = {"headers": fields, "extensions": extensions}
        if same:
            return self.library.Request(seen.method, url, stream=request.stream, **how)
        return self.library.Request(seen.method, url, content=body.read() if body.is_bytes else sendable(body), **how)

    def received(self, ctx: Ctx, native: Any, made: Any, stream: Any, elapsed: float) -> Ctx:
        """Put the response into the context."""
        self.opened.append(native)
        native.request = made
        response = _head(native, ctx[REQ_HTTP], elapsed)
        stream.fields = list(response.headers.items())
        response.receive(Body(stream, limit=MAX_BODY))
        ctx[RES_HTTP] = response
        ctx[NATIVE]["response"] = native
        return ctx

    def returned(self, ctx: Ctx) -> tuple[Any, list[Any]]:
        """Return the response of httpx, as it came if nobody has changed its body, and those to close."""
        answer: Response | None = ctx.get(RES_HTTP)
        if answer is None:
            raise LookupError("no response: to answer in the server's place, 'return reply(ctx, status)'")
        body, source = answer.body, answer.body.native
        fields = list(answer.headers.items())
        watched = body._hooks  # noqa: SLF001  whoever waits for the end has to see it
        if isinstance(source, _Stream | _AsyncStream) and source.deadline is None and not watched:
            native = source.native
            if native.status_code != answer.status_code:
                native.status_code = answer.status_code
                native.extensions["reason_phrase"] = answer.reason.encode("latin-1")
            if fields != source.fields:
                native.headers = self.library.Headers(_encoded(fields))
            return native, [each for each in self.opened if each is not native]
        if answer.has_changeable_body():
            dropped = {"content-encoding", "transfer-encoding"}
            if body.is_bytes or "Content-Encoding" in answer.headers:
                dropped.add("content-length")
            fields = [line for line in fields if line[0].lower() not in dropped]
            if body.is_bytes:
                fields.append(("Content-Length", str(body.length)))
        extensions = dict(self.opened[-1].extensions) if self.opened else {}
        extensions["reason_phrase"] = answer.reason.encode("latin-1")
        if body.is_bytes:
            stream, left = self.library.ByteStream(body.read()), self.opened
        else:
            stream, left = _returning(self.library)(self, body), []
        made = self.library.Response(answer.status_code, headers=_encoded(fields), stream=stream, extensions=extensions)
        return made, left

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
            async with aclosing(_achunks(self.body)) as chunks:
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


# Requests and responses, from ours to theirs and back


def _library(thing: Any) -> Any:
    """Return httpx2 or httpx, whichever ``thing`` is of, be it of a class that derives from theirs."""
    for each in type(thing).__mro__:
        library = sys.modules.get(each.__module__.partition(".")[0])
        if hasattr(library, "AsyncBaseTransport"):
            return library
    raise TypeError(f"expected something of httpx2 or httpx, got {thing!r}")


def _checked(client: Any, kind: str) -> Any:
    if client is not None and not isinstance(client, getattr(_library(client), kind)):
        raise TypeError(f"expected {kind} of httpx2 or httpx, got {client!r}")
    return client


def _context(verify: Any, cert: Any) -> Any:
    """Make the SSL context once; httpx does not want paths any more."""
    if isinstance(verify, str):
        verify = (
            ssl.create_default_context(capath=verify)
            if Path(verify).is_dir()
            else ssl.create_default_context(cafile=verify)
        )
    elif isinstance(verify, bool):
        verify = httpx.create_ssl_context(verify=verify)
    if cert is not None:
        verify.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return verify


def _timeouts(request: Request, deadline: float | None, default: Any) -> dict[str, float | None]:
    """Return the seconds for each operation: ``default`` if there is one, and never past the deadline."""
    if default is None:
        connect, read = wire.timeouts(request, deadline)
        # Who waits for a connection waits for the answers to others: in line, not on a network that does not answer.
        return {"connect": connect, "read": read, "write": read, "pool": read}
    if deadline is None:
        return default  # type: ignore[no-any-return]
    left = wire.remaining(deadline)
    limits = {name: default.get(name) for name in ("connect", "read", "write", "pool")}
    return {name: left if limit is None else min(limit, left) for name, limit in limits.items()}


def _encoded(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]


def _decoded(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]


def _sendable(body: Body) -> Any:
    if body.is_async:
        raise TypeError(f"{body!r} can only be sent by an async client")
    return body.read() if body.is_bytes else iter(body)


async def _achunks(body: Body) -> AsyncGenerator[bytes, None]:
    chunks: Any = body.__aiter__()
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


@lru_cache(maxsize=256)  # a client calls few places; httpx takes 10 µs to parse one
def _url(library: Any, target: str) -> tuple[Any, bytes | None]:
    """Return the URL for httpx, and the target of the request line if httpx would write it in another way."""
    url = library.URL(target)
    parts = urlsplit(target)
    exact = ((parts.path or "/") + ("?" + parts.query if "?" in target.partition("#")[0] else "")).encode()
    return url, None if exact == url.raw_path else exact


def _head(native: Any, request: Request, elapsed: float) -> Response:
    response = Response(
        native.status_code,
        Headers.received(_decoded(native.headers.raw)),
        reason=native.reason_phrase,
        request=request,
        url=request.target,
        elapsed=elapsed,
    )
    response.extensions["http_version"] = native.http_version
    return response


def _is_plain(response: Response, limit: int | None) -> bool:
    """Tell whether the body is what comes over the wire, and known not to be over the limit."""
    headers = response.headers
    return "Content-Encoding" not in headers and (limit is None or "Content-Length" in headers)


class _Upload:
    """The body of a request of httpx, which sends it itself unless somebody looks at it here."""

    replayable = False

    def __init__(self, stream: Any, length: int | None) -> None:
        self.stream, self.length, self.sent = stream, length, False

    def rewind(self) -> bool:
        """Tell whether it is still at its start."""
        return not self.sent

    def __iter__(self) -> Iterator[bytes]:
        self.sent = True
        return iter(self.stream)


class _AsyncUpload:
    """The same, of an async client."""

    replayable = False

    def __init__(self, stream: Any, length: int | None) -> None:
        self.stream, self.length, self.sent = stream, length, False

    def rewind(self) -> bool:
        """Tell whether it is still at its start."""
        return not self.sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.sent = True
        return self.stream.__aiter__()  # type: ignore[no-any-return]


class _Stream:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(self, native: Any, deadline: float | None, library: Any) -> None:
        self.native, self.deadline, self.library = native, deadline, library
        self.fields: list[tuple[str, str]] = []  # as they came

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self.native.iter_bytes():
                yield chunk
                if self.deadline is not None:
                    wire.remaining(self.deadline)
        except _failures(self.library) as error:
            raise _translated(error, self.deadline, self.library) from error

    def whole(self) -> bytes:
        """Return all of it, where nothing is to be decoded."""
        try:
            return b"".join(self.native.stream)
        except _failures(self.library) as error:
            raise _translated(error, self.deadline, self.library) from error
        finally:
            self.native.close()

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.close()


class _AsyncStream:
    """The same, to be awaited."""

    def __init__(self, native: Any, deadline: float | None, library: Any) -> None:
        self.native, self.deadline, self.library = native, deadline, library
        self.fields: list[tuple[str, str]] = []  # as they came

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self.native.aiter_bytes()) as chunks:
                while (chunk := await _within(self.deadline, anext, chunks, None)) is not None:
                    yield chunk
        except _failures(self.library) as error:
            raise _translated(error, self.deadline, self.library) from error

    async def whole(self) -> bytes:
        """Return all of it, where nothing is to be decoded."""
        try:
            return await _within(self.deadline, self._joined)  # type: ignore[no-any-return]
        except _failures(self.library) as error:
            raise _translated(error, self.deadline, self.library) from error
        finally:
            await self.native.aclose()

    async def _joined(self) -> bytes:
        async with aclosing(self.native.stream.__aiter__()) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def close(self) -> Awaitable[None]:
        """Give the connection back if the body is through, else close it."""
        return _Closing(self.native)


class _Closing:
    """Closes a response once it is awaited, and does not complain if nobody can."""

    def __init__(self, native: Any) -> None:
        self.native = native

    def __await__(self) -> Any:
        return self.native.aclose().__await__()


def _loop() -> Any:
    """Return what stands for the event loop that runs."""
    trio = _trio()
    return asyncio.get_running_loop() if trio is None else trio.lowlevel.current_trio_token()


def _trio() -> Any:
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None


async def _within(deadline: float | None, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Await ``fn`` until the deadline."""
    if deadline is None:
        return await fn(*args, **kwargs)
    left, trio = wire.remaining(deadline), _trio()
    try:
        if trio is None:
            async with asyncio.timeout(left):
                return await fn(*args, **kwargs)
        with trio.move_on_after(left):
            return await fn(*args, **kwargs)
    except TimeoutError as error:
        if monotonic() < deadline - _TICK:
            raise  # somebody else's, the body of the request for example
        raise errors.DeadlineExceeded("the deadline has passed") from error
    raise errors.DeadlineExceeded("the deadline has passed")


_TICK: Final = 0.001
"""Seconds by which the clock of an event loop may be early."""


@cache
def _failures(library: Any) -> tuple[type[Exception], ...]:
    """Return what httpx raises when an exchange fails; it lets some errors of TLS through as they are."""
    unmapped = [sys.modules["anyio"].EndOfStream] if "anyio" in sys.modules else []
    return (library.HTTPError, library.StreamError, ssl.SSLError, *unmapped)


def _translated(error: Exception, deadline: float | None, library: Any) -> errors.FormationError:
    """Return our error for one of httpx."""
    said = str(error) or type(error).__name__
    if deadline is not None and monotonic() >= deadline - _TICK:
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    connecting = isinstance(error, library.ConnectError)
    if isinstance(error, (library.NetworkError, ssl.SSLError)) and _is_tls(error, connecting=connecting):
        return errors.TLSError(said)
    for ours, names in _TREE:
        if any(isinstance(error, getattr(library, name)) for name in names):
            return ours(said)
    return errors.ProtocolError(said)


def _is_tls(error: BaseException | None, *, connecting: bool) -> bool:
    """Tell whether TLS was refused; a connection that ends without a word is broken, unless it was just being made."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return connecting or not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        error = error.__cause__ or error.__context__
    return False


_TREE: Final = (
    (errors.ConnectTimeout, ("ConnectTimeout", "PoolTimeout")),
    (errors.ConnectError, ("ConnectError", "ProxyError", "UnsupportedProtocol")),
    (errors.ReadTimeout, ("ReadTimeout",)),
    (errors.WriteTimeout, ("WriteTimeout",)),
)
