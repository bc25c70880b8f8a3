"""What every client edge does with a request before it sends it, and with the head of a response.

Those that put middleware inside of somebody else's client begin with `context` and end with `answer`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation import ambient
from formation.client.settings import MAX_BODY
from formation.clock import monotonic
from formation.errors import BodyTooLarge, DeadlineExceeded
from formation.http.headers import digits
from formation.http.response import BODILESS
from formation.http.timeouts import UNSET
from formation.keys import KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE, TRACE
from formation.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from formation.http.body import Body
    from formation.http.headers import Headers
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.kernel import Ctx

TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect and to wait for the next bytes, where nobody says. A connect that takes 5 s has lost a SYN twice;
30 s is what load balancers give a request."""

POOL: Final = 100
"""Idle connections kept: one for each thread of a large pool, or for the calls that a busy task group has in flight."""

CHUNK: Final = 64 * 1024
"""Bytes read at a time."""

USER_AGENT: Final = f"formation/{__version__}"

INHERITED: Final = (
    "this event loop comes from the parent process, whose sockets it watches: after a fork run another one, "
    "as asyncio.run does"
)
"""Why a call is refused. Whatever a child does to such a loop, it does to its parent, for they share one epoll."""

Seconds: TypeAlias = "tuple[float | None, float | None]"
"""To connect and to read; ``None``: for ever."""

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def inherit(ctx: Ctx) -> None:
    """Let ``ctx`` begin with what the server chain around has published, if there is one: id, trace and deadline."""
    if ambient.current.get() is None:
        return
    ambient.inherit(ctx)
    for name, value in ctx.get(TRACE, {}).items():
        ctx[REQ_HTTP].headers.setdefault(name, value)


def timeouts(request: Request, deadline: float | None) -> Seconds:
    """Return the seconds to connect and to read: what the request says, else `TIMEOUT`, and never past the deadline.

    Raises:
        DeadlineExceeded: it has passed already.
    """
    timeout: Any = TIMEOUT if request.timeout is UNSET else request.timeout
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if deadline is None:
        return connect, read
    left = remaining(deadline, "the deadline has passed before the request was sent")
    return left if connect is None else min(connect, left), left if read is None else min(read, left)


def remaining(deadline: float, otherwise: str = "the deadline has passed") -> float:
    """Return the seconds that are left.

    Raises:
        DeadlineExceeded: there are none; it says ``otherwise``.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise DeadlineExceeded(otherwise)
    return left


def headers(request: Request, defaults: list[tuple[str, str]], length: int | None) -> list[tuple[str, str]]:
    """Return the lines to send: ``defaults`` that the request does not set, its own, and Content-Length if known."""
    own = request.headers
    lines = [line for line in defaults if line[0] not in own]
    lines += [(str(name), value) for name, value in own.items()]
    if length is not None and (length or request.method in _WITH_BODY) and "Content-Length" not in own:
        lines.append(("Content-Length", str(length)))
    return lines


def check_length(request: Request, headers: Headers) -> int | None:
    """Return the limit for the body, after a look at what the response announces.

    Raises:
        BodyTooLarge: it announces more than the limit, and is not to be streamed.
    """
    limit: int | None = request.extensions.get("max_body", MAX_BODY)
    if limit is None or request.method == "HEAD" or request.extensions.get("stream"):
        return limit
    announced = digits(headers.get("Content-Length"))
    if announced is not None and announced > limit:
        raise BodyTooLarge(limit=limit, got=announced)
    return limit


def sendable(body: Body) -> bytes | Iterator[bytes]:
    """Return what a library without async sends.

    Raises:
        TypeError: it can only be had by ``async for``.
    """
    if body.is_async:
        raise TypeError(f"{body!r} can only be sent by an async client")
    return body.read() if body.is_bytes else iter(body)


def async_sendable(body: Body) -> bytes | AsyncGenerator[bytes, None]:
    """Return what an async library sends."""
    return body.read() if body.is_bytes else chunks(body)


async def chunks(body: Body) -> AsyncGenerator[bytes, None]:
    """Iterate over a body, which is closed with this generator."""
    pieces: Any = body.__aiter__()
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece


def unpacked(answer: Response, method: str) -> list[tuple[str, str]]:
    """Return the header lines of an answer for a library that is handed its body unpacked, in one piece or in many."""
    lines = [(str(name), value) for name, value in answer.headers.items()]
    if method == "HEAD" or answer.status_code in BODILESS:  # they speak of a body that does not come
        return lines
    body, dropped = answer.body, {"content-encoding", "transfer-encoding"}
    if body.is_bytes or "Content-Encoding" in answer.headers:
        dropped.add("content-length")
    lines = [line for line in lines if line[0].lower() not in dropped]
    if body.is_bytes:
        lines.append(("Content-Length", str(body.length)))
    return lines


def context(request: Request, native: dict[str, Any], path: str | None = None) -> Ctx:
    """Make the context of a request of somebody else's client; its path, if it is known, stands for the template."""
    ctx: Ctx = {
        SIDE: "client",
        KIND: "http",
        REQ_HTTP: request,
        TEMPLATE: request.path if path is None else path,
        SENSITIVE: set(),
        STATE: {},
        NATIVE: native,
    }
    inherit(ctx)
    return ctx


def answer(ctx: Ctx) -> Response:
    """Return the response that a chain has come back with.

    Raises:
        LookupError: there is none.
    """
    response: Response | None = ctx.get(RES_HTTP)
    if response is None:
        raise LookupError(
            "the chain returned no response: to answer in the server's place, 'return reply(ctx, status)'"
        )
    return response
