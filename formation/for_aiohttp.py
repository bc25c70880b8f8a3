"""The edge for aiohttp: the fastest client on asyncio, and middleware inside of anybody's ``ClientSession``.

Three ways in:

- ``@client`` (or ``class Github(Client)``): a declarative client whose methods are awaited.
- `endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets ``fmtn.res.http``.
- `client_middleware`: for ``aiohttp.ClientSession(middlewares=…)``, so for any SDK built on aiohttp.

A pool belongs to its event loop: an endpoint that is used in another loop opens a pool there.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it
from weakref import ref

from formation import errors
from formation.client import wire
from formation.client.async_sender import AsyncSender
from formation.client.declare import AsyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.settings import MAX_BODY, Settings
from formation.clock import monotonic
from formation.http import UNSET, Body, Headers, Request, Response
from formation.http.headers import SENSITIVE as SECRETS
from formation.http.url import origin
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
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

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
_SKIPPED: Final = ("User-Agent", "Accept", "Content-Type")  # what aiohttp would add by itself


class Endpoint:
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    __name__ = "aiohttp"

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        seconds = wire.timeouts(request, deadline)
        body = request.body
        data: Any = body.read() if body.is_bytes else None
        if data is None or len(data) > wire.CHUNK:
            data = _Upload(body, seconds[1])
        started = perf_counter()
        try:
            native = await self._send(request, data or None, seconds, deadline)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(data, _Upload) and data.failed is not None:
                raise data.failed  # noqa: B904  of the body itself; what aiohttp made of it is the context
            raise _translated(error, deadline) from error
        ctx[RES_HTTP] = await _received(native, request, deadline, perf_counter() - started)
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    if TYPE_CHECKING:

        async def _send(
            self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None
        ) -> aiohttp.ClientResponse: ...

    async def close(self) -> None:
        """Close the connections, where they are ours."""


class _Pooled(Endpoint):
    """Connections of our own, a pool for each event loop, which closes it at its end if nobody has before."""

    def __init__(self, *, verify: bool | ssl.SSLContext, proxy: str | None) -> None:
        self._verify = verify
        self._proxy_for = _proxies(proxy)
        self._pools: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[Any, None]]] = {}

    async def _send(
        self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None
    ) -> aiohttp.ClientResponse:
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open()
        return await pool[0].request(
            request.method,
            URL(request.target, encoded=True),
            headers=wire.headers(request, _DEFAULTS, request.body.length),
            data=data,
            allow_redirects=False,
            timeout=_client_timeout(*seconds) if deadline is None else _until(deadline, *seconds),
            proxy=None if self._proxy_for is None else self._proxy_for(origin(request.url)),
        )

    async def _open(self) -> tuple[aiohttp.ClientSession, AsyncGenerator[Any, None]]:
        for gone in [each for each in self._pools if each.is_closed()]:
            del self._pools[gone]  # its session, which leads back to it, has been closed with it
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._verify),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIPPED,
        )
        keeper = _keep(session, ref(self))
        pool = self._pools[asyncio.get_running_loop()] = session, keeper
        await anext(keeper)  # which does not wait: nobody opens another one meanwhile
        return pool

    async def close(self) -> None:
        """Close the connections of this event loop; those of others are closed when these run next, or end."""
        pools, self._pools = self._pools, {}
        if (pool := pools.pop(asyncio.get_running_loop(), None)) is not None:
            await pool[1].aclose()


async def _keep(session: aiohttp.ClientSession, endpoint: ref[_Pooled]) -> AsyncGenerator[None, None]:
    """Close ``session`` in its own event loop: when this generator is closed, or dropped, or when the loop ends.

    An event loop ends the async generators that have begun in it (PEP 525). It is the one thing that it does for us.
    """
    try:
        yield
    finally:
        if (there := endpoint()) is not None:
            there._pools.pop(asyncio.get_running_loop(), None)  # noqa: SLF001
        await session.close()


class _Sessioned(Endpoint):
    """A session that somebody brought: it adds its headers, auth, cookies, timeouts, proxies and middlewares."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._defaults = [line for line in _DEFAULTS if line[0] not in session.headers]

    async def _send(
        self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None
    ) -> aiohttp.ClientResponse:
        session, how = self._session, dict[str, Any]()
        if request.timeout is UNSET:
            seconds = session.timeout.sock_connect, session.timeout.sock_read
        if deadline is not None:
            how["timeout"] = _until(deadline, *seconds)
        elif request.timeout is not UNSET:
            how["timeout"] = _client_timeout(*seconds)
        headers = wire.headers(request, self._defaults, request.body.length)
        own = [line for line in headers if line[0].lower() in SECRETS]
        away = request.extensions.get("away", False)
        if away or (own and session.auth is not None):
            # aiohttp takes no Authorization besides a session's auth, and no header of a session can be left out.
            headers = [line for line in headers if line not in own]
            mine = _secrets(own, {name for name in SECRETS if name in session.headers} | {"authorization"})
            how["middlewares"] = (*session._middlewares, mine)  # noqa: SLF001
        return await session.request(
            request.method,
            URL(request.target, encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
            skip_auto_headers=_SKIPPED,
            raise_for_status=False,
            **how,
        )


def _secrets(own: list[tuple[str, str]], dropped: Iterable[str]) -> Callable[..., Awaitable[aiohttp.ClientResponse]]:
    async def secrets(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        for name in dropped:
            request.headers.popall(name, None)
        request.headers.extend(own)
        return await handler(request)  # type: ignore[no-any-return]

    return secrets


def endpoint(
    session: aiohttp.ClientSession | None = None,
    *,
    verify: bool | str | ssl.SSLContext = True,
    cert: str | tuple[str, str] | None = None,
    proxy: str | None = None,
) -> Endpoint:
    """Make what sends, on aiohttp: ``wrap(endpoint(), middleware=[…])``, or the setting ``endpoint=`` of a client.

    Args:
        session: a session of yours, used as it is: its connector, headers, auth, cookies, timeout, middlewares. Where a
            call leaves the client's origin, its secrets stay home. It stays yours to close. ``None``: one of ours for
            each event loop.
        verify: whether to check certificates, a CA bundle's path, or an SSL context; for our sessions.
        cert: the client's certificate, a path or a pair (certificate, key); for our sessions.
        proxy: a proxy's URL; ``None``: those of the environment, read once; for our sessions.

    Raises:
        TypeError: ``session`` is none of aiohttp.
        ValueError: ``proxy`` is no URL of ``http://`` or ``https://``.
        OSError: ``verify`` or ``cert`` is no file that can be read.
    """
    if session is None:
        return _Pooled(verify=_context(verify, cert), proxy=proxy)
    if not isinstance(session, aiohttp.ClientSession):
        message = f"expected an aiohttp.ClientSession, got {session!r}"
        raise TypeError(message)
    return _Sessioned(session)


def _context(verify: Any, cert: str | tuple[str, str] | None) -> bool | ssl.SSLContext:
    if isinstance(verify, str):
        where = "capath" if Path(verify).is_dir() else "cafile"
        verify = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, **{where: verify})
    if cert is not None:
        if isinstance(verify, bool):
            trusting, verify = not verify, ssl.create_default_context()
            if trusting:
                verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
        verify.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return verify  # type: ignore[no-any-return]


def _proxies(given: str | None) -> Callable[[str], URL | None] | None:
    """Return what finds the proxy for an origin, or ``None`` where there is none for any."""
    if given is not None:
        url = URL(given)
        if url.scheme not in {"http", "https"}:
            message = f"expected the URL of a proxy, http://… or https://…, got {given!r}"
            raise ValueError(message)
        return lambda _: url
    found = getproxies()
    if not found.keys() & {"http", "https", "all"}:
        return None

    @lru_cache(maxsize=1024)
    def proxy_for(origin: str) -> URL | None:
        scheme, _, netloc = origin.partition("://")
        proxy = found.get(scheme) or found.get("all")
        if not proxy or proxy_bypass_environment(netloc, found):
            return None
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
        if url.scheme not in {"http", "https"}:
            message = f"aiohttp knows proxies by HTTP only, and the environment says {url.scheme}://"
            raise errors.ConnectError(message)
        return url

    return proxy_for


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
        upload = _Native(request.body) if request.body else None
        seen = Request(request.method, str(request.url), headers=_received_headers(request.headers), content=upload)
        ctx: Ctx = {SIDE: "client", KIND: "http", REQ_HTTP: seen, TEMPLATE: seen.path, SENSITIVE: set(), STATE: {}}
        opened: list[aiohttp.ClientResponse] = []
        ctx[NATIVE] = {"request": request, "handler": handler, "upload": upload, "responses": opened}
        left = opened
        try:
            made, left = _returned(await chain(ctx), request, opened)
        except errors.FormationError as error:
            theirs = _native_error(error, request)
            raise theirs from (theirs.__cause__ if theirs is error.__cause__ else error)
        finally:
            for each in left:
                each.close()  # of an attempt that failed, or of a middleware that raised
        return made

    return formation_middleware


async def _exchange(ctx: Ctx, /) -> Ctx:
    seen: Request = ctx[REQ_HTTP]
    deadline: float | None = ctx.get(DEADLINE)
    native = ctx[NATIVE]
    request: aiohttp.ClientRequest = native["request"]
    await _change(request, seen, native["upload"])
    started = perf_counter()
    try:
        async with asyncio.timeout(None if deadline is None else wire.remaining(deadline)):
            response: aiohttp.ClientResponse = await native["handler"](request)
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(request.body, _Upload) and request.body.failed is not None:
            raise request.body.failed  # noqa: B904
        raise _translated(error, deadline) from error
    native["response"] = response
    native["responses"].append(response)
    answer = ctx[RES_HTTP] = _head(response, seen, perf_counter() - started)
    answer.receive(Body(_Stream(response, deadline, is_timed=False), limit=MAX_BODY))  # the caller of the session reads
    return ctx


async def _change(request: aiohttp.ClientRequest, seen: Request, upload: _Native | None) -> None:
    """Make the request of aiohttp what ours says."""
    request.method = seen.method
    if seen.target != str(request.url):
        url = URL(seen.target, encoded=True)
        if seen.headers.get("Host") == request.url.host_port_subcomponent:
            seen.headers["Host"] = url.host_port_subcomponent or ""
        request.url = request.original_url = url
    body = seen.body  # made now, as its Content-Type is
    request.headers.clear()
    request.headers.extend([(str(name), value) for name, value in seen.headers.items()])
    before = request.body
    if upload is not None and body.native is upload:
        new: Any = upload.payload
    elif body.is_bytes and body.length <= wire.CHUNK:  # type: ignore[operator]  # bytes have one
        new = body.read() or None
    else:
        new = _Upload(body, None)
    if new is not before and not (new is None and not before):
        request._body = None  # noqa: SLF001  else update_body would close what the new body reads from
        await request.update_body(new)


def _returned(
    ctx: Ctx, request: aiohttp.ClientRequest, opened: list[aiohttp.ClientResponse]
) -> tuple[aiohttp.ClientResponse, list[aiohttp.ClientResponse]]:
    """Return the response of aiohttp, the very object if nobody has changed its body, and those to close."""
    answer: Response = ctx[RES_HTTP]
    made: aiohttp.ClientResponse | None = ctx[NATIVE].get("response")
    body, source = answer.body, answer.body.native
    left = [each for each in opened if each is not made]
    # Whoever waits for the end of the body has to see it.
    if made is None or not isinstance(source, _Stream) or source.native is not made or body._hooks:  # noqa: SLF001
        answer.headers.popall("Content-Encoding", None)
        answer.headers.popall("Transfer-Encoding", None)
        made, left = _response(request, body), opened if body.is_bytes else []
        for each in () if body.is_bytes else opened:
            body.on_close(lambda *_, each=each: each.close())
    # aiohttp has no way to make or change a response; these attributes have been there since 3.0.
    if made.status != answer.status_code or (made.reason and made.reason != answer.reason):
        made.status, made.reason = answer.status_code, answer.reason
    fields = [(str(name), value) for name, value in answer.headers.items()]
    if made._headers is None or fields != list(_received_headers(made._headers, made._raw_headers).items()):  # noqa: SLF001
        made._headers = CIMultiDictProxy(CIMultiDict(fields))  # noqa: SLF001
        made._raw_headers = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)  # noqa: SLF001
        made._raw_cookie_headers = tuple(answer.headers.getlist("Set-Cookie")) or None  # noqa: SLF001
        made._cache.clear()  # noqa: SLF001
    return made, left


def _response(request: aiohttp.ClientRequest, body: Body) -> aiohttp.ClientResponse:
    loop = asyncio.get_running_loop()
    stands_for: Any = _Connection(body)
    made = aiohttp.ClientResponse(
        request.method,
        request.original_url,
        writer=None,
        continue100=None,
        timer=stands_for,
        request_info=request.request_info,
        traces=[],
        loop=loop,
        session=request._session,  # noqa: SLF001
        stream_writer=stands_for,
    )
    made.version = aiohttp.HttpVersion11
    made.content = _Reader(body, request, stands_for)
    if body.is_bytes:
        made.content.feed_data(b"".join(body))  # which its hooks see
        made.content.feed_eof()
    else:
        made._closed, made._connection = False, stands_for  # noqa: SLF001
        made.content.on_eof(made._response_eof)  # noqa: SLF001
    return made


def _native_error(error: errors.FormationError, request: aiohttp.ClientRequest) -> Exception:
    """Return the error of aiohttp that says what ``error`` says."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return cause
    if isinstance(cause, TimeoutError) and not isinstance(error, errors.DeadlineExceeded):
        return cause
    if isinstance(error, errors.StatusError):
        headers = None if error.response is None else CIMultiDict(error.response.headers.items())
        return aiohttp.ClientResponseError(
            request.request_info, (), status=error.status_code, message=str(error), headers=headers
        )
    if isinstance(error, TimeoutError):
        return aiohttp.ServerTimeoutError(str(error))
    if isinstance(error, (errors.TransportError, errors.Rejected)):
        return aiohttp.ClientConnectionError(str(error))
    return aiohttp.ClientError(str(error))


class _Connection:
    """What a response asks of its connection, its timer and its request, where there is but a body."""

    output_size = 0
    connected = True
    protocol = None
    _reading_paused = False

    def __init__(self, body: Body) -> None:
        self.body = body

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call it at the end."""
        self.body.on_close(lambda *_: callback())

    def release(self) -> None:
        """End the body, and so what it is read from."""
        self.body.close()

    close = release

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self, **_: Any) -> None:
        """Do nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _Reader(aiohttp.StreamReader):
    """A body of ours, as aiohttp reads one: a piece when somebody waits for it."""

    def __init__(self, body: Body, request: aiohttp.ClientRequest, connection: Any) -> None:
        super().__init__(connection, limit=wire.CHUNK, loop=asyncio.get_running_loop())
        self.body, self.request = body, request
        self.chunks = aiter(body)

    async def _wait(self, func_name: str) -> None:
        try:
            chunk = await anext(self.chunks, b"")  # a body has no empty ones
        except errors.FormationError as error:
            theirs = _native_error(error, self.request)
            raise theirs from (theirs.__cause__ if theirs is error.__cause__ else error)
        if chunk:
            self.feed_data(chunk)
        else:
            self.feed_eof()


# Bodies that are sent


class _Upload(aiohttp.payload.Payload):
    """A body of ours, as aiohttp sends one: piece by piece, and not for ever to who takes none."""

    _autoclose = True  # nothing to warn of

    def __init__(self, body: Body, patience: float | None) -> None:
        super().__init__(body)
        self.patience = patience
        self.failed: Exception | None = None

    @property
    def size(self) -> int | None:
        """The length, if it is known."""
        return self._value.length  # type: ignore[no-any-return]

    async def write(self, writer: Any) -> None:
        """Send it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        """Send it; the length is its own."""
        self._consumed = True
        chunks = aiter(self._value)
        try:
            while chunk := await self._next(chunks):
                view = memoryview(chunk)
                for at in range(0, len(view), wire.CHUNK):
                    await self._send(writer, view[at : at + wire.CHUNK])
        finally:
            await chunks.aclose()

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        try:
            return await anext(chunks, b"")  # a body has no empty ones
        except Exception as error:
            self.failed = error
            raise

    async def _send(self, writer: Any, piece: memoryview) -> None:
        limit = asyncio.timeout(self.patience)
        try:
            async with limit:
                await writer.write(piece)
        except TimeoutError as error:
            if limit.expired():
                self.failed = errors.WriteTimeout(f"the server took nothing for {self.patience} s")
                self.failed.__cause__ = error
            raise

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Read it."""
        return await self._value.aread()  # type: ignore[no-any-return]

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read it as text, if it is in memory."""
        return self._value.read().decode(encoding, errors)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Let go of it."""
        await self._value.aclose()


class _Native:
    """The body of a request of aiohttp, which aiohttp sends itself unless somebody looks at it here."""

    def __init__(self, payload: aiohttp.payload.Payload) -> None:
        self.payload = payload
        self.length = payload.size
        self.replayable = isinstance(payload, (aiohttp.BytesPayload, aiohttp.payload.IOBasePayload))

    def rewind(self) -> bool:
        """Tell whether it can be sent, or sent again."""
        return not self.payload.consumed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(1)
        task = asyncio.create_task(self._write(_Pieces(pieces)))
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _write(self, writer: Any) -> None:
        try:
            await self.payload.write(writer)
        except Exception as error:  # noqa: BLE001  it belongs to who reads
            await writer.pieces.put(error)
        else:
            await writer.pieces.put(None)


class _Pieces:
    """What a payload writes to, where somebody reads it."""

    def __init__(self, pieces: asyncio.Queue[Any]) -> None:
        self.pieces = pieces

    async def write(self, chunk: Any) -> None:
        """Hand it over, and wait until it is taken."""
        if chunk:
            await self.pieces.put(bytes(chunk))


# Requests and responses, from ours to theirs and back


@lru_cache(maxsize=64)
def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


def _until(deadline: float, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # aiohttp rounds what is over ceil_threshold up to whole seconds.
    left = wire.remaining(deadline)
    return aiohttp.ClientTimeout(total=left, sock_connect=connect, sock_read=read, ceil_threshold=left + 1)


def _received_headers(fields: Any, raw: Iterable[tuple[bytes, bytes]] | None = None) -> Headers:
    if raw is None or "".join(fields.values()).isascii():
        return Headers.received(fields)
    # aiohttp takes them for UTF-8, where HTTP has bytes and everybody else latin-1.
    return Headers.received([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])


def _head(native: aiohttp.ClientResponse, request: Request, elapsed: float) -> Response:
    headers = _received_headers(native.headers, native.raw_headers)
    return Response(
        native.status, headers, reason=native.reason or "", request=request, url=request.target, elapsed=elapsed
    )


async def _received(
    native: aiohttp.ClientResponse, request: Request, deadline: float | None, elapsed: float
) -> Response:
    response = _head(native, request, elapsed)
    limit: int | None = request.extensions.get("max_body", MAX_BODY)
    if request.extensions.get("stream"):
        response.receive(Body(_Stream(native, deadline), limit=limit))
    elif limit is None or (native.content.is_eof() and native.content.total_bytes <= limit):
        response.receive(await _whole(native, deadline))  # the usual case: it is all there, and not too large
    else:
        try:
            wire.check_length(request, response.headers)
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

    def __init__(self, native: aiohttp.ClientResponse, deadline: float | None, *, is_timed: bool = True) -> None:
        self.native, self.deadline = native, deadline
        self.is_timed = is_timed or deadline is None  # by the session, which knows of the deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self.native.content
        try:
            while chunk := await (content.readany() if self.is_timed else self._readany()):
                yield chunk
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: the session has been closed
            if isinstance(error, errors.FormationError):
                raise
            raise _translated(error, self.deadline) from error

    async def _readany(self) -> bytes:
        async with asyncio.timeout(wire.remaining(self.deadline or 0)):
            return await self.native.content.readany()

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
    (errors.ConnectError, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)),
    (errors.ReadTimeout, TimeoutError),
)
