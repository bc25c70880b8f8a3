"""Give an order a key, so that the server knows it when it comes a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import uuid4

from formation.http.headers import check_name
from formation.http.request import check_method
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, REQ_RPC, SIDE

METHODS: Final = ("POST", "PATCH")
"""Those that are not idempotent by themselves (RFC 9110, 9.2.2; RFC 5789, 2)."""


def idempotency_key(
    header: str = "Idempotency-Key",
    keygen: Callable[[], Any] = uuid4,
    *,
    methods: Iterable[str] = METHODS,
    quoted: bool = False,
) -> Middleware[Any]:
    """Send a key with each POST and PATCH: the same one at each attempt, another one for each call.

    A server that knows such keys does what is asked once, and answers the second time as it did the first; so `retry`
    repeats a request that has one. A key that the caller has set is kept. On a server, and around a function, it does
    nothing.

    Args:
        header: its name. `retry` knows it, and ``X-Idempotency-Key``; with another one say ``retry(idempotent=True)``.
        keygen: makes a key; what it returns is turned into a ``str``.
        methods: of requests that get one.
        quoted: write ``"7f3a"`` with its quotes, a string of RFC 8941, as the draft of the IETF wants it. Most servers
            take what comes as the key, so it is the bare one.

    Raises:
        ValueError: a header name or method that is none; at a call, a key that cannot be quoted.
        TypeError: ``keygen`` cannot be called.

    Order:
        Outside of `retry`, which repeats a POST only if it has a key: inside, the key comes too late for that.

    >>> from formation.http import Request
    >>> ctx = {"fmtn.req.http": Request("POST", "https://shop/orders")}
    >>> ctx = idempotency_key(keygen=lambda: "7f3a")(ctx, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["Idempotency-Key"]
    '7f3a'
    """
    check_name(header)
    if not callable(keygen):
        raise TypeError(f"expected keygen as a function that makes a key, got {keygen!r}")
    keyed = frozenset(map(check_method, [methods] if isinstance(methods, str) else methods))

    def idempotency_key(ctx: Any, call: Call[Any]) -> Any:
        request = None
        if isinstance(ctx, dict) and ctx.get(SIDE) != "server":
            request = ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)
        if request is not None and (REQ_RPC in ctx or request.method in keyed) and header not in request.headers:
            key = str(keygen())
            request.headers[header] = _string(key) if quoted else key
        return call(ctx)

    return idempotency_key


def _string(key: str) -> str:
    r"""Write a string of structured fields (RFC 8941, 3.3.3).

    >>> print(_string('a"b'))
    "a\"b"
    """
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"expected a key of printable ASCII characters, got {key!r}: no other can be quoted")
    escaped = key.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
