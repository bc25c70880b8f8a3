"""One function fits every host: the request, the result and the answer, by whatever protocol the call came.

>>> from formation.http import Request
>>> def guard(ctx, call):
...     if "authorization" not in req(ctx).headers:
...         return reply(ctx, 401, {"WWW-Authenticate": "Bearer"}, b"who are you?")
...     return call(ctx)
>>> ctx = guard({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
>>> res(ctx).code, res(ctx).ok, res(ctx).content
(401, False, b'who are you?')
"""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from formation.http.body import Body
from formation.http.headers import Headers
from formation.http.response import Response
from formation.keys import REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE
from formation.rpc.calls import Call
from formation.rpc.codes import Code
from formation.rpc.results import PUSHBACK, Result

if TYPE_CHECKING:
    from formation.http.headers import HeadersLike
    from formation.http.request import Request
    from formation.kernel import Ctx


def req(ctx: Ctx) -> Request:
    """Return the request of ``ctx``, HTTP or RPC.

    ``headers``, ``name``, ``peer`` and ``deadline`` mean the same on both.

    Raises:
        LookupError: ``ctx`` has none.
    """
    found: Request | None = ctx.get(REQ_HTTP)
    if found is None:
        found = ctx.get(REQ_RPC)
    if found is None:
        has = ", ".join(map(repr, ctx)) or "nothing"
        raise LookupError(f"this context has no request, neither {REQ_HTTP!r} nor {REQ_RPC!r}; it has {has}")
    return found


def res(ctx: Ctx) -> Response:
    """Return the result in ``ctx``, HTTP or RPC.

    ``headers``, ``ok``, ``code``, ``name`` and ``on_close`` mean the same on both.

    Raises:
        LookupError: ``ctx`` has none: ask after ``call(ctx)``.
    """
    found: Response | None = ctx.get(RES_HTTP)
    if found is None:
        found = ctx.get(RES_RPC)
    if found is None:
        raise LookupError(
            f"this context has no response yet, neither {RES_HTTP!r} nor {RES_RPC!r}: ask after call(ctx)"
        )
    return found


def reply(ctx: Ctx, status: int, headers: HeadersLike | None = None, body: Any = b"") -> Ctx:
    """Answer in place of the endpoint, in the host's own way, and return ``ctx``.

    A response that is there already is closed first. To a remote call the answer is the code that the status stands
    for; a Retry-After becomes ``grpc-retry-pushback-ms`` as well.

    Args:
        ctx: the context of the call.
        status: an HTTP status.
        headers: of the answer; of a remote call that fails, its trailers.
        body: of the answer. To a remote call: with a status below 400 the message, or the messages where it streams;
            else text, for the details.

    Raises:
        LookupError: ``ctx`` has no request, so there is nothing to answer.
        ValueError: the status is none, or only announces an answer (1xx, but for 101 where a WebSocket is accepted);
            a header breaks the message.
    """
    request: Any = req(ctx)
    if isinstance(request, Call):
        return _reply_rpc(ctx, request, status, headers, body)
    if ctx.get(SIDE) == "server":  # still to be sent, so its on_close waits for that
        body = Body(body)
    if isinstance(status, int) and 100 <= status < 200 and status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise ValueError(f"expected the status of an answer, 200 to 999, got {status}: 1xx only announces one")
    answer = Response(status, headers, body, request=request, url=request.target)
    old: Response | None = ctx.get(RES_HTTP)
    if old is not None:
        old.close()
        answer.body.replace(old.body)  # if it is closed by awaiting, and this is not the place for that
    ctx[RES_HTTP] = answer
    return ctx


def _reply_rpc(ctx: Ctx, call: Call, status: int, headers: Any, body: Any) -> Ctx:
    answer = Result(Code.of(status), request=call)
    if answer.ok:
        answer.headers = headers
        if call.response_streaming:
            answer.messages = body or ()
        else:
            answer.message = body
    else:
        fields = Headers(headers)
        is_text = fields.get("Content-Type", "text/plain").startswith("text/plain")
        answer.trailers = [(name, value) for name, value in fields.items() if name.lower() not in _OF_A_BODY]
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        answer.details = str(text) if text and is_text else _phrase(status)
        after = answer.trailers.get("retry-after", "")
        if status in {429, 503} and after.isascii() and after.isdecimal():
            answer.trailers.setdefault(PUSHBACK, str(ceil(float(after) * 1000)))
    ctx[RES_RPC] = answer
    return ctx


_OF_A_BODY: Final = frozenset({"content-type", "content-length", "cache-control", "vary"})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
