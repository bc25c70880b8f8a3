"""Header fields: set some, give others a default, remove some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from formation.http.headers import Headers, check_name
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE


def headers(
    set: Mapping[str, str] | None = None,  # noqa: A002  the word that says it
    default: Mapping[str, str] | None = None,
    *,
    remove: Iterable[str] = (),
    on: Literal["request", "response"] | None = None,
) -> Middleware[Any]:
    """Change the headers of what goes out: of the response on a server, of the request on a client.

    First go those of ``remove``, then those of ``set`` take the place of what is there, then those of ``default`` fill
    what is not. A context without such a message passes through. An answer to an error that passes is not changed.

    Args:
        set: header fields, whatever there is already.
        default: header fields, unless there are some of that name.
        remove: names.
        on: ``"request"`` or ``"response"``, on either side: what a server's app shall get, what a client's caller.

    Raises:
        TypeError: a name or a value is no ``str``.
        ValueError: a name or a value would break the message; ``on`` is neither.

    Order:
        The outermost has the last word about a response, the innermost about a request. A secret for another server is
        better sent by `api_key` or `bearer`, which know when to keep it.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/")}
    >>> edit = headers({"X-Region": "eu"}, {"Cache-Control": "no-cache"}, remove=["ETag"])
    >>> ctx = edit(ctx, lambda ctx: reply(ctx, 200, {"ETag": '"1"', "Cache-Control": "max-age=60"}))
    >>> ctx["fmtn.res.http"].headers
    <Headers {'Cache-Control': 'max-age=60', 'X-Region': 'eu'}>
    """
    if on not in {None, "request", "response"}:
        message = f"expected on as 'request' or 'response', got {on!r}"
        raise ValueError(message)
    gone = [check_name(name) for name in ([remove] if isinstance(remove, str) else remove)]
    fixed, fallback = Headers(set), Headers(default)

    def edit(message: Any) -> None:
        if message is None:
            return
        for name in gone:
            message.headers.popall(name, None)
        if fixed:
            message.headers.update(fixed)
        message.headers.merge(fallback)

    def headers(ctx: Any, call: Call[Any]) -> Any:
        if not isinstance(ctx, dict):
            return call(ctx)
        which = on or ("response" if ctx.get(SIDE) == "server" else "request")
        if which == "request":
            edit(ctx.get(REQ_HTTP) or ctx.get(REQ_RPC))
            return call(ctx)
        ctx = call(ctx)
        edit(ctx.get(RES_HTTP) or ctx.get(RES_RPC))
        return ctx

    return headers
