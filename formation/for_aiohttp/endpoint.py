"""What sends on aiohttp: on a pool of our own for each event loop, or by a session that somebody brought."""

from __future__ import annotations

import asyncio
import os
import ssl
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.request import getproxies, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it
from weakref import WeakSet, ref

import aiohttp
from yarl import URL

from formation import errors
from formation.client import wire
from formation.client.unpacking import keeps_limits
from formation.for_aiohttp.bodies import Upload
from formation.for_aiohttp.direct import Direct
from formation.for_aiohttp.messages import received, translated
from formation.http import UNSET, Request
from formation.http.codings import available
from formation.http.headers import SENSITIVE as SECRETS
from formation.http.origins import origin
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from formation.for_aiohttp.messages import Native
    from formation.kernel import Ctx

_DEFAULTS: Final = [("User-Agent", wire.USER_AGENT), ("Accept", "*/*")]
_SKIPPED: Final = ("User-Agent", "Accept", "Content-Type")  # what aiohttp would add by itself
_ENCODINGS: Final = ("Accept-Encoding", ", ".join(available()))


@lru_cache(maxsize=64)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


def _until(deadline: float, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # aiohttp rounds what is over ceil_threshold up to whole seconds.
    left = wire.remaining(deadline)
    return aiohttp.ClientTimeout(total=left, sock_connect=connect, sock_read=read, ceil_threshold=left + 1)


class Endpoint:
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    __name__ = "aiohttp"
    unpacks = False  # whether it is for us to undo encodings

    async def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        seconds = wire.timeouts(request, deadline)
        data: Any = request.in_memory
        if data is None or len(data) > wire.CHUNK:
            data = Upload(request.body, seconds[1])
        started = perf_counter()
        try:
            native = await self._send(request, data or None, seconds, deadline)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(data, Upload) and data.failed is not None:
                raise data.failed  # noqa: B904  of the body itself; what aiohttp made of it is the context
            raise translated(error, deadline) from error
        elapsed = perf_counter() - started
        ctx[RES_HTTP] = await received(native, request, deadline, elapsed, is_ours=self.unpacks)
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    if TYPE_CHECKING:

        async def _send(self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None) -> Native: ...

    async def close(self) -> None:
        """Close the connections, where they are ours."""


class _Pool(NamedTuple):
    session: aiohttp.ClientSession
    direct: Direct
    keeper: AsyncGenerator[None, None]


class _Pooled(Endpoint):
    """Connections of our own, a pool for each event loop, which closes it at its end if nobody has before."""

    def __init__(self, *, verify: bool | ssl.SSLContext, proxy: str | None, raw: bool) -> None:
        self._verify = verify
        self.unpacks = not raw
        self._defaults = [] if raw else [*_DEFAULTS, _ENCODINGS]
        self._proxy_for = _proxies(proxy)
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._inherited: dict[asyncio.AbstractEventLoop, _Pool] = {}  # from the parent process
        _all.add(self)

    async def _send(self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None) -> Native:
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open()
        proxy = None if self._proxy_for is None else self._proxy_for(origin(request.url))
        if proxy is None and not isinstance(data, Upload):
            answer = await pool.direct.send(request, data or b"", _timeout(*seconds), deadline)
            if answer is not None:
                return answer
        return await pool.session.request(
            request.method,
            URL(request.target, encoded=True),
            headers=wire.headers(request, self._defaults, request.body.length),
            data=data,
            allow_redirects=False,
            timeout=_timeout(*seconds) if deadline is None else _until(deadline, *seconds),
            proxy=proxy,
        )

    async def _open(self) -> _Pool:
        if asyncio.get_running_loop() in self._inherited:
            raise RuntimeError(wire.INHERITED)
        for gone in list(self._pools):  # at once: other threads have event loops, too
            if gone.is_closed():
                self._pools.pop(gone, None)  # its session, which leads back to it, has been closed with it
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._verify),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=(*_SKIPPED, "Accept-Encoding"),
            auto_decompress=False,  # we do
        )
        keeper = _keep(session, ref(self))
        direct = Direct(session, self._defaults, raw=not self.unpacks)
        pool = self._pools[asyncio.get_running_loop()] = _Pool(session, direct, keeper)
        await anext(keeper)  # which does not wait: nobody opens another one meanwhile
        return pool

    def disown(self) -> None:
        """Leave the parent's connections alone, in a child: to close them here is to have them unwatched there."""
        for session, _, _ in self._pools.values():
            session.connector._conns.clear()  # type: ignore[union-attr]  # noqa: SLF001  it closes them when dropped
            session.detach()
        self._inherited |= self._pools
        self._pools = {}

    async def close(self) -> None:
        """Close the connections of this event loop; those of others are closed when these run next, or end."""
        pools, self._pools = self._pools, {}
        if (pool := pools.pop(asyncio.get_running_loop(), None)) is not None:
            await pool.keeper.aclose()


async def _keep(session: aiohttp.ClientSession, endpoint: ref[_Pooled]) -> AsyncGenerator[None, None]:
    """Close ``session`` in its own event loop: when this generator is closed, or dropped, or when the loop ends.

    An event loop ends the async generators that have begun in it (PEP 525). It is the one thing that it does for us.
    """
    try:
        yield
    finally:
        loop, there = asyncio.get_running_loop(), endpoint()
        pool = None if there is None else there._pools.get(loop)  # noqa: SLF001
        if there is not None and pool is not None and pool.session is session:  # not one that was opened since
            del there._pools[loop]  # noqa: SLF001
        await session.close()


_all: Final[WeakSet[_Pooled]] = WeakSet()


def _disown() -> None:
    for each in list(_all):
        each.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)


class _Sessioned(Endpoint):
    """A session that somebody brought: it adds its headers, auth, cookies, timeouts, proxies and middlewares."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._defaults = [line for line in _DEFAULTS if line[0] not in session.headers]

    async def _send(
        self, request: Request, data: Any, seconds: wire.Seconds, deadline: float | None
    ) -> aiohttp.ClientResponse:
        session, how = self._session, dict[str, Any]()
        if session.auto_decompress:
            keeps_limits(request)
        if request.timeout is UNSET:
            seconds = session.timeout.sock_connect, session.timeout.sock_read
        if deadline is not None:
            how["timeout"] = _until(deadline, *seconds)
        elif request.timeout is not UNSET:
            how["timeout"] = _timeout(*seconds)
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
    raw: bool = False,
) -> Endpoint:
    """Make what sends, on aiohttp: ``wrap(endpoint(), middleware=[…])``, or the setting ``endpoint=`` of a client.

    Args:
        session: a session of yours, used as it is: its connector, headers, auth, cookies, timeout, middlewares. Where a
            call leaves the client's origin, its secrets stay home. It stays yours to close. ``None``: one of ours for
            each event loop.
        verify: whether to check certificates, a CA bundle's path, or an SSL context; for our sessions.
        cert: the client's certificate, a path or a pair (certificate, key); for our sessions.
        proxy: a proxy's URL; ``None``: those of the environment, read once; for our sessions.
        raw: whether to send no header of our own but Host and what frames the body, and to leave the bodies of
            responses encoded as they come, which is what a gateway passes on; for our sessions.

    Raises:
        TypeError: ``session`` is none of aiohttp.
        ValueError: ``proxy`` is no URL of ``http://`` or ``https://``.
        OSError: ``verify`` or ``cert`` is no file that can be read.
    """
    if session is None:
        return _Pooled(verify=_context(verify, cert), proxy=proxy, raw=raw)
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
