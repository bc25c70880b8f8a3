"""What sends: the endpoints of chains, on connections of ours or with a client that is brought."""

from __future__ import annotations

from os import getpid
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass
from weakref import ref

from formation.client import wire
from formation.errors import BodyTooLarge
from formation.for_httpx.bodies import AsyncDownload, SyncDownload
from formation.for_httpx.library import (
    checked,
    failures,
    httpx,
    library_of,
    running_loop,
    ssl_context,
    translated,
    within,
)
from formation.for_httpx.messages import Received, encoded, parsed, timeouts
from formation.http import UNSET, Body, Request
from formation.http.headers import SENSITIVE as SECRETS
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from formation.kernel import Ctx


class _Pool(dict[Any, Any]):
    """Transports, by proxy, and the process whose connections they have."""

    keeper: AsyncGenerator[None, None]

    def __init__(self) -> None:
        super().__init__()
        self.process = getpid()


class _Sending:
    """What the two have in common: which connections there are, and how a request becomes one of httpx."""

    __name__ = "httpx"
    _transport: str

    def __init__(self, client: Any, *, http2: bool, verify: Any, cert: Any, proxy: str | None) -> None:
        self._brought = client
        self._library = httpx if client is None else library_of(client)
        self._defaults: list[tuple[str, str]] = []
        self._proxy = proxy
        self._proxies: dict[str, str] = {}
        self._pools: dict[Any, _Pool] = {}  # by where they are to be used
        if client is None:
            limits = httpx.Limits(max_connections=wire.POOL, max_keepalive_connections=wire.POOL)
            self._how: dict[str, Any] = {"http2": http2, "verify": ssl_context(verify, cert), "limits": limits}
            said = httpx.Client(transport=httpx.BaseTransport()).headers
            self._defaults = [("User-Agent", wire.USER_AGENT), ("Accept", "*/*")]
            self._defaults.append(("Accept-Encoding", said["Accept-Encoding"]))
            if proxy is None:
                self._proxies = {name: url for name, url in getproxies().items() if name in {"http", "https", "all"}}

    def _ours(self, where: Any, made: Any) -> Any:
        """Return the transport of ours that sends ``made``; it is made on first use."""
        pool, proxy = self._pools.get(where), self._proxy
        if pool is None:
            pool = self._pools.setdefault(where, _Pool())
        elif pool.process != getpid():
            raise RuntimeError(wire.INHERITED)
        if self._proxies and not proxy_bypass(made.url.host):
            proxy = self._proxies.get(made.url.scheme) or self._proxies.get("all")
        transport = pool.get(proxy)
        if transport is None:
            through = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
            transport = pool.setdefault(proxy, getattr(httpx, self._transport)(proxy=through, **self._how))
        return transport

    def _made(self, request: Request, deadline: float | None, content: Any) -> Any:
        """Return the request for httpx."""
        library, brought = self._library, self._brought
        default = brought.timeout.as_dict() if brought is not None and request.timeout is UNSET else None
        extensions: dict[str, Any] = {"timeout": timeouts(request, deadline, default)}
        lines = encoded(wire.headers(request, self._defaults, request.body.length))
        try:
            if brought is not None:
                how = {"headers": lines, "content": content, "extensions": extensions}
                made = brought.build_request(request.method, request.target, **how)
                for name in SECRETS if request.extensions.get("away", False) else ():
                    if name not in request.headers and name in brought.headers:
                        del made.headers[name]
                return made
            url, exact = parsed(library, request.target)
        except library.InvalidURL as error:
            raise ValueError(str(error)) from error
        if exact is not None and not self._proxy and not self._proxies:  # which are sent the whole URL
            extensions["target"] = exact
        if "Host" not in request.headers:
            lines.insert(0, (b"Host", url.netloc))
        how = {"stream": library.ByteStream(content)} if isinstance(content, bytes) else {"content": content}
        return library.Request(request.method, url, headers=lines, extensions=extensions, **how)

    def _brought_how(self, request: Request) -> dict[str, Any]:
        how: dict[str, Any] = {"stream": True, "follow_redirects": False}
        is_alone = request.extensions.get("away", False) or "Authorization" in request.headers
        return {**how, "auth": None} if is_alone else how


class Endpoint(_Sending):
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    _transport = "HTTPTransport"

    def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        made = self._made(request, deadline, wire.sendable(request.body))
        started = perf_counter()
        try:
            if self._brought is None:
                native = self._ours(getpid(), made).handle_request(made)  # after a fork the parent's are not ours
                native.request = made
            else:
                native = self._brought.send(made, **self._brought_how(request))
        except failures(self._library) as error:
            raise translated(error, deadline) from error
        download = SyncDownload(native, deadline, self._library, request)
        response = Received(download, request, perf_counter() - started)
        response.url = request.target
        try:
            limit = wire.check_length(request, response.headers)
        except BodyTooLarge:
            native.close()
            raise
        if request.extensions.get("stream"):
            response.receive(Body(download, limit=limit))
        elif deadline is None and response.is_plain(limit):
            response.receive(download.whole())
        else:
            response.receive(Body(download, limit=limit).read())
        ctx[RES_HTTP] = response
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    def close(self) -> None:
        """Close the connections, where they are ours."""
        for transport in self._pools.pop(getpid(), {}).values():
            transport.close()


class AsyncEndpoint(_Sending):
    """What `async_endpoint` returns: the same, to be awaited. Each event loop has a pool, which ends with it."""

    _transport = "AsyncHTTPTransport"

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        made = self._made(request, deadline, wire.async_sendable(request.body))
        started = perf_counter()
        try:
            if self._brought is None:
                where = running_loop()
                if where not in self._pools:
                    await self._open(where)
                native = await within(deadline, self._ours(where, made).handle_async_request, made)
                native.request = made
            else:
                native = await within(deadline, self._brought.send, made, **self._brought_how(request))
        except failures(self._library) as error:
            raise translated(error, deadline) from error
        download = AsyncDownload(native, deadline, self._library, request)
        response = Received(download, request, perf_counter() - started)
        response.url = request.target
        try:
            limit = wire.check_length(request, response.headers)
        except BodyTooLarge:
            await native.aclose()
            raise
        if request.extensions.get("stream"):
            response.receive(Body(download, limit=limit))
        elif response.is_plain(limit):
            response.receive(await download.whole())
        else:
            response.receive(await Body(download, limit=limit).aread())
        ctx[RES_HTTP] = response
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    async def _open(self, where: Any) -> None:
        for gone in list(self._pools):  # at once: other threads have event loops, too
            if getattr(gone, "is_closed", bool)():  # it has just been closed, without an end that its keeper would see
                self._pools.pop(gone, None)
        pool = self._pools[where] = _Pool()
        pool.keeper = _keep(ref(self))
        await anext(pool.keeper)  # which does not wait: nobody opens another one meanwhile

    async def close(self) -> None:
        """Close the connections of this loop, where they are ours."""
        pool = self._pools.get(running_loop())
        if pool is not None and pool.process == getpid():
            await pool.keeper.aclose()


async def _keep(endpoint: ref[AsyncEndpoint]) -> AsyncGenerator[None, None]:
    """Close the pool of an event loop in that loop: when this generator is closed, or when the loop ends.

    An event loop ends the async generators that have begun in it (PEP 525). Without that a pool would stay for ever:
    its connections lead to the loop.
    """
    try:
        yield
    finally:
        there = endpoint()
        pool = None if there is None else there._pools.pop(running_loop(), None)  # noqa: SLF001
        for transport in () if pool is None else pool.values():
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
            timeouts where a request has none. Where a call leaves the client's origin, its secrets stay home. It stays
            yours to close. ``None``: one of ours.
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
    return Endpoint(checked(client, "Client"), http2=http2, verify=verify, cert=cert, proxy=proxy)


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
    return AsyncEndpoint(checked(client, "AsyncClient"), http2=http2, verify=verify, cert=cert, proxy=proxy)
