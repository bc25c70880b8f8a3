"""The edge for aiohttp: the fastest client on asyncio, and middleware inside of anybody's ``ClientSession``.

Three ways in:

- ``@client`` (or ``class Github(Client)``): a declarative client whose methods are awaited.
- `endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets ``fmtn.res.http``.
- `client_middleware`: for ``aiohttp.ClientSession(middlewares=…)``, so for any SDK built on aiohttp.

A pool belongs to its event loop: an endpoint that is used in another loop opens a pool there.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from formation import errors
from formation.client import wire
from formation.client.async_sender import AsyncSender
from formation.client.declare import AsyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.settings import MAX_BODY, Settings
from formation.http import Body, Headers, Request, Response
from formation.kernel import wrap
from formation.keys import DEADLINE, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE

try:
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL
except ImportError as error:
    message = "aiohttp is not installed: pip install 'formation[aiohttp]'"
    raise ImportError(message, name=error.name) from error

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from formation.kernel import AnyMiddleware, Ctx

__all__ = [
    "Client",
    "Endpoint",
    "build",
    "client",
    "client_middleware",
    "endpoint",
    "html_response",
    "json_response",
    "raw_response",
    "text_response",
    "xmltodict_response",
]

_DEFAULTS: Final = [("User-Agent", wire.USER_AGENT), ("Accept", "*/*")]


class Endpoint:
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    __name__ = "aiohttp"

    def __init__(
        self, session: aiohttp.ClientSession | None, *, verify: bool | ssl.SSLContext, proxy: str | None
    ) -> None:
        self._session = session
        self._verify = verify
        self._proxy = proxy
        self._proxies = getproxies() if proxy is None and session is None else {}
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        how = _how(request, deadline)
        if self._proxy or self._proxies:
            how["proxy"] = self._proxy or self._proxy_for(request)
        session = self._session or self._pool()
        started = perf_counter()
        try:
            native = await session.request(request.method, URL(request.target, encoded=True), **how)
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, deadline) from error
        ctx[RES_HTTP] = await _received(native, request, deadline, perf_counter() - started)
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    async def close(self) -> None:
        """Close the connections of this loop, and those of loops that are gone, where they are ours."""
        for pool in [self._pools.pop(loop) for loop in list(self._pools)]:
            await pool.close()

    def _pool(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ssl=self._verify),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept"),
            )
        return pool

    def _proxy_for(self, request: Request) -> str | None:
        return None if proxy_bypass(request.host) else self._proxies.get(request.scheme)


def endpoint(
    session: aiohttp.ClientSession | None = None,
    *,
    verify: bool | ssl.SSLContext = True,
    proxy: str | None = None,
) -> Endpoint:
    """Make what sends, on aiohttp: ``wrap(endpoint(), middleware=[…])``, or the setting ``endpoint=`` of a client.

    Args:
        session: a session of yours, used as it is; it stays yours to close. ``None``: one of ours for each event loop.
        verify: whether to check certificates, or an SSL context; for our sessions.
        proxy: a proxy's URL; ``None``: those of the environment, read once; for our sessions.
    """
    return Endpoint(session, verify=verify, proxy=proxy)


class Client(AsyncClient):
    """A declarative client on aiohttp; ``@client`` makes any class one.

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


client = decorator(Client)


def build(**settings: Any) -> AsyncSender:
    """Make a sender without a class: ``build(base_uri="https://h")``, then ``await sender.get("/users")``.

    Args:
        **settings: see `formation.client.settings.Settings`.
    """
    return AsyncSender(Settings(**settings), endpoint)


def client_middleware(middleware: Iterable[AnyMiddleware] = ()) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    """Make a middleware for aiohttp: ``ClientSession(middlewares=[client_middleware([retry()])])``.

    The session does what it always does, redirects and cookies among it, so that the middleware runs for each hop.
    Errors are those of aiohttp: an error of ours that has none of aiohttp as its cause becomes an
    ``aiohttp.ClientConnectionError``.

    Args:
        middleware: plain or ``async def``, outermost first.

    Raises:
        TypeError: a middleware is none.
    """
    chain = wrap(_exchange, middleware, is_async=True)

    async def formation_middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        seen = Request(request.method, str(request.url), headers=Headers.received(request.headers.items()))
        if request.body:
            seen.content = _Upload(request.body)
        ctx: Ctx = {SIDE: "client", KIND: "http", REQ_HTTP: seen, TEMPLATE: seen.path, SENSITIVE: set(), STATE: {}}
        ctx[NATIVE] = {"request": request, "handler": handler, "body": seen.body}
        try:
            ctx = await chain(ctx)
        except errors.FormationError as error:
            if isinstance(error.__cause__, (aiohttp.ClientError, TimeoutError)):
                raise error.__cause__ from None
            raise aiohttp.ClientConnectionError(str(error)) from error
        return await _returned(ctx)

    return formation_middleware


async def _exchange(ctx: Ctx, /) -> Ctx:
    seen: Request = ctx[REQ_HTTP]
    native = ctx[NATIVE]
    request: aiohttp.ClientRequest = native["request"]
    request.method = seen.method
    if seen.target != str(request.url):
        request.url = URL(seen.target, encoded=True)
    request.headers.clear()
    request.headers.extend([(str(name), value) for name, value in seen.headers.items()])
    if seen.body is not native["body"]:
        await request.update_body(seen.body.read() if seen.body.is_bytes else _sendable(seen.body))
    started = perf_counter()
    try:
        response = await native["handler"](request)
    except (aiohttp.ClientError, OSError) as error:
        raise _translated(error, ctx.get(DEADLINE)) from error
    seen.extensions["stream"] = True  # the session's caller reads the body
    ctx[RES_HTTP] = await _received(response, seen, ctx.get(DEADLINE), perf_counter() - started)
    native["response"] = response
    return ctx


async def _returned(ctx: Ctx) -> aiohttp.ClientResponse:
    """Return the response of aiohttp; as it came, if nobody has changed its body."""
    answer: Response = ctx[RES_HTTP]
    native: aiohttp.ClientResponse | None = ctx[NATIVE].get("response")
    source = answer.body.native
    untouched = native is not None and isinstance(source, _Stream) and source.native is native
    request: aiohttp.ClientRequest = ctx[NATIVE]["request"]
    loop = asyncio.get_running_loop()
    made = native
    if made is None or not untouched:
        content = await answer.body.aread()
        nothing: Any = _NoConnection()
        made = aiohttp.ClientResponse(
            request.method,
            request.url,
            writer=None,
            continue100=None,
            timer=nothing,
            request_info=request.request_info,
            traces=[],
            loop=loop,
            session=request._session,  # noqa: SLF001
            stream_writer=nothing,
        )
        made.content = aiohttp.StreamReader(nothing, limit=wire.CHUNK, loop=loop)
        made.content.feed_data(content)
        made.content.feed_eof()
        answer.headers.popall("Content-Encoding", None)
        answer.headers.popall("Transfer-Encoding", None)
    # aiohttp has no way to make or change a response; these attributes have been there since 3.0.
    fields = [(str(name), value) for name, value in answer.headers.items()]
    made.status, made.reason = answer.status_code, answer.reason
    made._headers = CIMultiDictProxy(CIMultiDict(fields))  # noqa: SLF001
    made._raw_headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)  # noqa: SLF001
    made._cache.clear()  # noqa: SLF001
    return made


class _Upload:
    """The body of a request of aiohttp, which sends it itself unless somebody looks at it here."""

    def __init__(self, payload: aiohttp.payload.Payload) -> None:
        self.payload = payload
        self.length = payload.size
        self.replayable = isinstance(payload, aiohttp.payload.BytesPayload)

    def rewind(self) -> bool:
        """Nothing to do where it can be sent again."""
        return self.replayable

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self.payload.as_bytes()


class _NoConnection:
    """What a response asks of its connection, its timer and its request, where there are none."""

    output_size = 0
    _reading_paused = False

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self, **_: Any) -> None:
        """Do nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


# Requests and responses, from ours to theirs and back


def _how(request: Request, deadline: float | None) -> dict[str, Any]:
    connect, read = wire.timeouts(request, deadline)
    total = None if deadline is None else wire.remaining(deadline)
    body = request.body
    lines = wire.headers(request, _DEFAULTS, body.length)
    return {
        "headers": lines,
        "data": (body.read() or None) if body.is_bytes else _sendable(body),
        "allow_redirects": False,
        "timeout": _client_timeout(connect, read)
        if total is None
        else aiohttp.ClientTimeout(total, None, read, connect),
    }


@lru_cache(maxsize=64)
def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


async def _sendable(body: Body) -> AsyncIterator[bytes]:
    async for chunk in body:
        yield chunk


async def _received(
    native: aiohttp.ClientResponse, request: Request, deadline: float | None, elapsed: float
) -> Response:
    headers = Headers.received(native.headers)
    response = Response(
        native.status, headers, reason=native.reason or "", request=request, url=request.target, elapsed=elapsed
    )
    limit: int | None = request.extensions.get("max_body", MAX_BODY)
    if request.extensions.get("stream"):
        response.receive(Body(_Stream(native, deadline), limit=limit))
    elif limit is None or (native.content.is_eof() and native.content.total_bytes <= limit):
        response.receive(await _whole(native, deadline))  # the usual case: it is all there, and not too large
    else:
        try:
            wire.check_length(request, headers)
        except errors.BodyTooLarge:
            native.close()
            raise
        response.receive(await Body(_Stream(native, deadline), limit=limit).aread())
    return response


async def _whole(native: aiohttp.ClientResponse, deadline: float | None) -> bytes:
    try:
        return await native.read()
    except (aiohttp.ClientError, OSError) as error:
        raise _translated(error, deadline) from error


class _Stream:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(self, native: aiohttp.ClientResponse, deadline: float | None) -> None:
        self.native, self.deadline = native, deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.native.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, self.deadline) from error

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.release() if self.native.content.at_eof() else self.native.close()


def _translated(error: Exception, deadline: float | None) -> errors.FormationError:
    """Return our error for one of aiohttp."""
    said = str(error) or type(error).__name__
    if deadline is not None and monotonic() >= deadline - 0.001:  # the event loop's clock is that coarse
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    for ours, theirs in _TREE:
        if isinstance(error, theirs):
            return ours(said)
    return errors.ProtocolError(said)


_TREE: Final[tuple[tuple[type[errors.TransportError], Any], ...]] = (
    (errors.TLSError, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)),
    (errors.ConnectTimeout, aiohttp.ConnectionTimeoutError),
    (errors.ConnectError, aiohttp.ClientConnectorError),
    (errors.ReadTimeout, TimeoutError),
)
