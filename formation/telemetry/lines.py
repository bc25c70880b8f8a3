"""What the lines of `request_logger` say: each function makes of a context the fields of a line.

``secrets`` are the names of headers and query parameters in whose place there is ``[redacted]``, besides those that
``fmtn.sensitive`` says. No field is named ``message``, ``name`` or as anything else that a ``logging.LogRecord`` has:
structlog may pass fields on as its ``extra``, which must not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from formation.errors import BodyAbandoned, ClientGone, DeadlineExceeded, Rejected
from formation.http.headers import digits
from formation.http.secrets import REDACTED, SECRETS, folded, redact
from formation.introspection import name_of
from formation.keys import (
    ATTEMPTS,
    DEGRADED,
    FN,
    KIND,
    REQ_HTTP,
    REQ_RPC,
    RES_HTTP,
    RES_RPC,
    SENSITIVE,
    SIDE,
    STATE,
    STATE_BREAKER,
    TEMPLATE,
    WS,
)

if TYPE_CHECKING:
    from formation.http import Headers
    from formation.kernel import Ctx

Names: TypeAlias = frozenset[str]

_words = re.compile(r"[^\s'\"()<>]+")  # a URL in a sentence is one of them


def kind_of(ctx: Ctx) -> str:
    """Return the kind of call: ``http``, ``rpc``, ``websocket``, or ``call`` for a plain function."""
    return ctx.get(KIND) or ("http" if REQ_HTTP in ctx else "rpc" if REQ_RPC in ctx else "call")


def called(ctx: Ctx, secrets: Names = SECRETS) -> dict[str, Any]:
    """Say what is called; every line does, so that it can be read alone. On a server it has the template.

    >>> called({"fmtn.fn": len})
    {'fn': 'len'}
    """
    if (request := ctx.get(REQ_HTTP)) is not None:
        said = {"method": request.method, "url": redact(request.url, hidden(ctx, secrets))}
        return said | {"template": ctx[TEMPLATE]} if ctx.get(SIDE) == "server" and ctx.get(TEMPLATE) else said
    if (request := ctx.get(REQ_RPC)) is not None:
        return {"method": request.name}
    return {"fn": name_of(ctx[FN])} if FN in ctx else {}


def asked(ctx: Ctx, secrets: Names = SECRETS) -> dict[str, Any]:
    """Say what is asked for: on top of `called` the query parameters and the template."""
    said = called(ctx, secrets)
    if (request := ctx.get(REQ_HTTP)) is not None:
        concealed = folded(hidden(ctx, secrets))
        given: dict[str, list[Any]] = {}
        for name, value in request.params.items():
            if value is not None:
                given.setdefault(str(name), []).append(REDACTED if name.casefold() in concealed else value)
        said["params"] = {name: values if len(values) > 1 else values[0] for name, values in given.items()}
    return said | {"template": ctx[TEMPLATE]} if ctx.get(TEMPLATE) else said


def answered(ctx: Ctx, secrets: Names = SECRETS) -> dict[str, Any]:
    """Say what the answer is; after redirects, the last one. Its size is what is announced or known, else ``None``."""
    said = called(ctx, secrets)
    if (result := ctx.get(RES_RPC)) is not None:
        return {"status": result.code, **said}
    if (response := ctx.get(RES_HTTP)) is None:
        return said if ctx.get(WS) is None else {"code": ctx[WS].code, **said}
    if response.request is not None:
        said["method"] = response.request.method
    if response.url:
        said["url"] = redact(response.url, hidden(ctx, secrets))
    announced = digits(response.headers.get("Content-Length"))
    size = response.body.length if announced is None else announced
    return {"status": response.status_code, **said, "elapsed": response.elapsed, "size": size}


def failed(ctx: Ctx, error: BaseException, secrets: Names = SECRETS) -> dict[str, Any]:
    """Say what went wrong. The text of an error of an HTTP library has the URL in it.

    >>> failed({"fmtn.sensitive": {"key"}}, OSError("no route to http://me:pw@h/?key=1 (h)"))
    {'error': 'OSError', 'detail': 'no route to http://[redacted]@h/?key=[redacted] (h)'}
    """
    said = {"error": type(error).__name__, "detail": without_secrets(ctx, str(error), secrets)}
    status = getattr(getattr(error, "response", None), "status_code", None)
    return said if status is None else {**said, "status": status}


def without_secrets(ctx: Ctx, text: str, secrets: Names = SECRETS) -> str:
    """Return a text in which the URLs have no secrets.

    >>> without_secrets({}, "no route to http://me:pw@h/?token=1 (h)")
    'no route to http://[redacted]@h/?token=[redacted] (h)'
    """
    names = hidden(ctx, secrets)
    return _words.sub(lambda word: redact(word[0], names), text)


def is_gone(ctx: Ctx, error: BaseException) -> bool:
    """Tell whether, on a server, ``error`` only means that the client has gone.

    Servers say it by an OSError when they are given a part of the answer; one with a number is the system's, about a
    file of the app for example.

    >>> is_gone({"fmtn.side": "server"}, BrokenPipeError()), is_gone({"fmtn.side": "client"}, BrokenPipeError())
    (True, False)
    """
    if ctx.get(SIDE) != "server" or isinstance(error, TimeoutError):
        return False
    if isinstance(error, (ClientGone, BodyAbandoned, ConnectionError)):
        return True
    return isinstance(error, OSError) and error.errno is None


def outcome(ctx: Ctx, error: BaseException | None = None) -> str:
    """Say in a word what came of a call.

    >>> outcome({}), outcome({}, Rejected("later")), outcome({}, OSError()), outcome({}, GeneratorExit())
    ('ok', 'rejected', 'failed', 'cancelled')
    """
    if error is not None:
        if not isinstance(error, Exception):
            return "cancelled"
        kinds = {DeadlineExceeded: "deadline", Rejected: "rejected"}
        return next((said for kind, said in kinds.items() if isinstance(error, kind)), "failed")
    status = getattr(ctx.get(RES_HTTP) or ctx.get(RES_RPC), "status_code", None)
    return "degraded" if ctx.get(DEGRADED) else "failed" if status is not None and status >= 500 else "ok"


def spent(ctx: Ctx, started: float, said: str) -> dict[str, Any]:
    """Say what the call has cost, where `outcome` has said what came of it.

    On a client, and around a function, there are always the attempts and the seconds slept between them; the state of
    the circuit where there is a breaker.
    """
    fields: dict[str, Any] = {"outcome": said, "duration_us": since(started)}
    if (ledger := ctx.get(ATTEMPTS)) is not None or ctx.get(SIDE) != "server":
        is_none = said in {"deadline", "rejected"}  # before a retry, or whoever calls, was asked
        fields["attempts"] = len(ledger) if ledger is not None else int(not is_none)
        fields["slept"] = round(sum(each.delay for each in ledger or ()), 3)
    if (state := (ctx.get(STATE) or {}).get(STATE_BREAKER)) is not None:
        fields["breaker"] = state
    return fields


def since(started: float) -> int:
    """Return the microseconds since ``started``."""
    return round((perf_counter() - started) * 1e6)


def shown(ctx: Ctx, headers: Headers, secrets: Names = SECRETS) -> dict[str, str]:
    """Return headers fit for a log. ``Location`` and ``Referer`` are URLs, so a value may contain a secret as well."""
    names = hidden(ctx, secrets)
    return {name: redact(value, names) for name, value in headers.redacted(names).items()}


def hidden(ctx: Ctx, secrets: Names) -> frozenset[str]:
    """Return the names of secrets, with those that the call adds."""
    named = ctx.get(SENSITIVE)
    return _joined(frozenset(named), secrets) if named else secrets


_joined = lru_cache(64)(frozenset[str].union)  # most clients have one secret, and it has one name
