"""A request on a connection of aiohttp's pool, without a session between the two.

A session does again for each call what has been done already, or what nobody wants here: it joins URLs, merges headers
and cookies, asks for proxies, credentials and traces, and follows redirects. On loopback that is a fifth of the time of
a small call. So a request whose body is in memory takes its connection from the `aiohttp.TCPConnector` by itself and
goes out in one piece. The connection, its timeouts and the parser are aiohttp's own.
"""

from __future__ import annotations

import asyncio
import re
import select
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from formation.client import wire
from formation.errors import ProtocolError
from formation.for_aiohttp.gateway import HeadFirst

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http import HttpVersion

    from formation.http import Request

REPEATED: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""What is sent once more where a kept connection turns out to be dead (RFC 9110, 9.2.2): what a session repeats."""

_parts = re.compile(r"(https?://[^/?#@]+)([/?][^#]*|)(?:#.*)?").fullmatch
_SITES: Final = 1024  # origins whose names are kept: more than a service talks to


class Answer:
    """A response on its connection, with the names that `aiohttp.ClientResponse` has."""

    __slots__ = ("connection", "content", "headers", "raw_headers", "reason", "status", "version")

    def __init__(self, connection: Connection, message: Any, content: aiohttp.StreamReader) -> None:
        self.connection = connection
        self.version: HttpVersion = message.version
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers = message.headers
        self.raw_headers = message.raw_headers
        self.content = content
        content.on_eof(connection.release)  # somebody else may have it, while the body waits to be read

    def release(self) -> None:
        """Give the connection back."""
        self.connection.release()

    def close(self) -> None:
        """Close the connection, unless it has been given back."""
        self.connection.close()


class Direct:
    """Sends on the connections of ``session``, which is ours; for a gateway, if it is ``raw``."""

    def __init__(self, session: aiohttp.ClientSession, defaults: list[tuple[str, str]], *, raw: bool = False) -> None:
        self._session = session
        self._raw = raw
        self._connector: Any = session.connector
        self._defaults = defaults
        self._sites: dict[str, tuple[aiohttp.ClientRequest, list[tuple[str, str]]]] = {}
        self._kept: WeakSet[Any] = WeakSet()  # the protocols of connections that have served

    async def send(
        self, request: Request, content: bytes, limits: aiohttp.ClientTimeout, deadline: float | None
    ) -> Answer | None:
        """Send, and return the response, its body unread; ``None``: it is for the session to send."""
        own, parts = request.headers, _parts(request.target)
        if parts is None or "Expect" in own or "Transfer-Encoding" in own:
            return None
        site, path = parts.groups()
        asked, defaults = self._sites.get(site) or self._site(site)
        lines = wire.headers(request, defaults, len(content))
        head = [f"{request.method} {path if path[:1] == '/' else f'/{path}'} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in lines]
        sent = "\r\n".join([*head, "\r\n"]).encode("latin-1") + content
        if deadline is None:
            return await self._sent(request.method, asked, sent, limits)
        async with asyncio.timeout(wire.remaining(deadline)):
            return await self._sent(request.method, asked, sent, limits)

    async def _sent(
        self, method: str, asked: aiohttp.ClientRequest, sent: bytes, limits: aiohttp.ClientTimeout
    ) -> Answer:
        connection, is_kept = await self._connect(asked, limits)
        if is_kept and method in REPEATED:
            try:
                return await _exchange(connection, method, sent, limits.sock_read, raw=self._raw)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                connection, _ = await self._connect(asked, limits)
        return await _exchange(connection, method, sent, limits.sock_read, raw=self._raw)

    def _site(self, site: str) -> tuple[aiohttp.ClientRequest, list[tuple[str, str]]]:
        """Make what tells the connector where to connect, and the headers that each request to there has."""
        if len(self._sites) >= _SITES:
            self._sites.clear()
        asked = aiohttp.ClientRequest("GET", URL(site), loop=asyncio.get_running_loop(), session=self._session)
        made = self._sites[site] = asked, [("Host", asked.headers["Host"]), *self._defaults]
        return made

    async def _connect(self, asked: aiohttp.ClientRequest, limits: aiohttp.ClientTimeout) -> tuple[Connection, bool]:
        """Take a connection; tell, too, whether it has served before."""
        while True:
            try:
                connection: Connection = await self._connector.connect(asked, [], limits)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {asked.url}") from error
            if connection.protocol not in self._kept:
                self._kept.add(connection.protocol)
                return connection, False
            if not (connection.protocol.should_close or _is_readable(connection.transport)):  # type: ignore[union-attr]
                return connection, True
            connection.close()


def _is_readable(transport: Any) -> bool:
    """Tell whether something has come on a connection where nothing is due: its end, or an answer to nobody.

    The event loop has not noticed yet if it was busy, or did not run. What it has noticed, the protocol keeps.
    """
    sock = transport.get_extra_info("socket")
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _give_up(protocol: ResponseHandler) -> None:
    protocol.set_exception(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))


async def _exchange(connection: Connection, method: str, sent: bytes, patience: float | None, *, raw: bool) -> Answer:
    """Write a request and read the head of its response; the connection is closed if that fails."""
    try:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection was closed meanwhile")  # noqa: TRY301
        # Encodings are for `formation.client.unpacking` to undo, which knows when a body has been cut off.
        protocol.set_response_params(skip_payload=method == "HEAD", read_until_eof=True, auto_decompress=False)
        if raw:
            protocol._parser = HeadFirst(protocol)  # type: ignore[assignment]  # noqa: SLF001
        transport.write(sent)
        # One timer for the head: the protocol's own is set anew with each piece that comes, which small answers feel.
        late = None if patience is None else asyncio.get_running_loop().call_later(patience, _give_up, protocol)
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != HTTPStatus.SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
        finally:
            if late is not None:
                late.cancel()
        if not content.is_eof():
            protocol.read_timeout = patience
            protocol.start_timeout()
        return Answer(connection, message, content)
    except HttpProcessingError as error:
        connection.close()
        raise ProtocolError(f"the response is no HTTP: {error.message}") from error
    except BaseException:
        connection.close()
        raise
