"""A request id: one name for a request in every log, on every host that it passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from os import urandom
from typing import Any, Final

from formation.http.headers import check_name
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP, REQ_ID, REQ_RPC, RES_HTTP, RES_RPC, SIDE, WS

MAX_LENGTH: Final = 128
"""Characters of an id from outside: room for three UUIDs and their hyphens, and a log line stays a line."""

_VARIANTS: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}

_valid = re.compile(f"[!-~]{{1,{MAX_LENGTH}}}").fullmatch  # visible ASCII


def uuid4() -> str:
    """Return a random UUID (RFC 9562, 5.4), as ``str(uuid.uuid4())`` does in three times the time.

    >>> import uuid
    >>> uuid.UUID(uuid4()).version
    4
    """
    digits = urandom(16).hex()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def request_id(key: str = "x-request-id", idgen: Callable[[], Any] = uuid4) -> Middleware[Ctx]:
    """Give the request an id, in its header ``key`` and in ``ctx["req.id"]``.

    The id is the one in the header, else the one in ``ctx["req.id"]``, else a new one. On a server the header is
    somebody else's word: it counts if it is 1 to 128 visible ASCII characters, else it is replaced; the response
    carries the id too, of a WebSocket the answer to the handshake. On a client the id that the caller gives is kept
    as it is. Around a function without a request there is no header, only ``ctx["req.id"]``.

    Args:
        key: the name of the header; ``x-request-id`` is what proxies and frameworks agree on.
        idgen: makes a new id; what it returns is turned into a ``str``.

    Raises:
        TypeError: ``key`` is no ``str``, or ``idgen`` cannot be called.
        ValueError: ``key`` is no header name.

    Order:
        Outermost, outside of what logs; outside of `retry`, so that all attempts have one id.

    >>> from formation.http import Request
    >>> ctx = request_id(idgen=lambda: "7f3a")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["req.id"], ctx["fmtn.req.http"].headers["X-Request-ID"]
    ('7f3a', '7f3a')
    """
    check_name(key)
    if not callable(idgen):
        message = f"expected idgen as a function that makes an id, got {idgen!r}"
        raise TypeError(message)

    def request_id(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)
        on_server = ctx.get(SIDE) == "server"
        given = request.headers.get(key) if request is not None else None
        if on_server and given and not _valid(given):
            given = None
        ctx[REQ_ID] = made = given or str(ctx.get(REQ_ID) or idgen())
        if request is not None and not given:
            request.headers[key] = made
        if WS in ctx:  # its handshake is answered long before the call returns
            ctx[WS].headers[key] = made
        ctx = call(ctx)
        if on_server and (response := ctx.get(RES_HTTP) or ctx.get(RES_RPC)) is not None:
            response.headers[key] = made
        return ctx

    return request_id
