"""What the middlewares that log have in common: the logger, and what a line says.

All but `structured`, `bound` and `say` make of a context the fields of a log line, with ``[redacted]`` in the place of
secrets. No field is named ``message``, ``name`` or as anything else that a ``logging.LogRecord`` has: structlog may
pass fields on as its ``extra``, which must not.
"""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING, Any

from formation.errors import BodyAbandoned, ClientGone
from formation.http.headers import REDACTED
from formation.http.url import redact
from formation.introspection import name_of
from formation.keys import (
    ATTEMPTS,
    CONTEXT,
    FN,
    KIND,
    REQ_HTTP,
    REQ_RPC,
    RES_HTTP,
    RES_RPC,
    SENSITIVE,
    SIDE,
    TEMPLATE,
    WS,
)
from formation.middleware._events import tell_of

if TYPE_CHECKING:
    from formation.http import Headers
    from formation.kernel import Ctx

_words = re.compile(r"[^\s'\"()<>]+")  # a URL in a sentence is one of them


def structured(logger: Any) -> Any:
    """Return ``logger`` if it can bind fields; for ``None`` the logger that structlog is configured for.

    Raises:
        TypeError: it has no ``bind``.
        ImportError: it is ``None``, and structlog is not installed.

    >>> import logging
    >>> structured(logging.getLogger("app"))
    Traceback (most recent call last):
    TypeError: expected a structlog logger, got <Logger app (WARNING)>: structlog.wrap_logger(logger) makes one of it
    """
    if logger is None:
        try:
            from structlog import get_logger
        except ImportError as error:
            message = "structlog is not installed: pip install 'formation[logging]', or give a logger that has bind()"
            raise ImportError(message, name=error.name) from error
        return get_logger()
    if not callable(getattr(logger, "bind", None)):
        message = f"expected a structlog logger, got {logger!r}: structlog.wrap_logger(logger) makes one of it"
        raise TypeError(message)
    return logger


def bound(logger: Any, ctx: Ctx) -> Any:
    """Return ``logger`` with the fields of ``ctx["fmtn.context"]``; without them if it fails to take them."""
    try:
        return logger.bind(**ctx.get(CONTEXT) or {})
    except Exception as error:  # noqa: BLE001  it is told of, and the call goes on
        tell_of(logger, error)
        return logger


def say(log: Any, level: str, event: str, /, **fields: Any) -> None:
    """Log a line. A logger that fails, as a full disk makes it, must not fail the call: it may be through already.

    >>> say(None, "info", "request.http")  # logging.getLogger("formation") tells of it
    """
    try:
        getattr(log, level)(event, **fields)
    except Exception as error:  # noqa: BLE001  as above
        tell_of(log, error)


def kind_of(ctx: Ctx) -> str:
    """Return the kind of call: ``http``, ``rpc``, ``websocket``, or ``call`` for a plain function."""
    return ctx.get(KIND) or ("http" if REQ_HTTP in ctx else "rpc" if REQ_RPC in ctx else "call")


def called(ctx: Ctx) -> dict[str, Any]:
    """Say what is called; every line does, so that it can be read alone. On a server it has the template.

    >>> called({"fmtn.fn": len})
    {'fn': 'len'}
    """
    if (request := ctx.get(REQ_HTTP)) is not None:
        said = {"method": request.method, "url": redact(request.url, _sensitive(ctx))}
        return said | {"template": ctx[TEMPLATE]} if ctx.get(SIDE) == "server" and ctx.get(TEMPLATE) else said
    if (request := ctx.get(REQ_RPC)) is not None:
        return {"method": request.name}
    return {"fn": name_of(ctx[FN])} if FN in ctx else {}


def asked(ctx: Ctx) -> dict[str, Any]:
    """Say what is asked for: on top of `called` the query parameters and the template."""
    said = called(ctx)
    if (request := ctx.get(REQ_HTTP)) is not None:
        hidden = {name.casefold() for name in _sensitive(ctx)}
        given: dict[str, list[Any]] = {}
        for name, value in request.params.items():
            if value is not None:
                given.setdefault(str(name), []).append(REDACTED if name.casefold() in hidden else value)
        said["params"] = {name: values if len(values) > 1 else values[0] for name, values in given.items()}
    return said | {"template": ctx[TEMPLATE]} if ctx.get(TEMPLATE) else said


def answered(ctx: Ctx) -> dict[str, Any]:
    """Say what the answer is; after redirects, the last one. Its size is what is announced or known, else ``None``."""
    said = called(ctx)
    if (result := ctx.get(RES_RPC)) is not None:
        return {"status": result.code, **said}
    if (response := ctx.get(RES_HTTP)) is None:
        return said if ctx.get(WS) is None else {"code": ctx[WS].code, **said}
    if response.request is not None:
        said["method"] = response.request.method
    if response.url:
        said["url"] = redact(response.url, _sensitive(ctx))
    announced = response.headers.get("Content-Length", "")
    size = int(announced) if announced.isdecimal() else response.body.length
    return {"status": response.status_code, **said, "elapsed": response.elapsed, "size": size}


def failed(ctx: Ctx, error: BaseException) -> dict[str, Any]:
    """Say what went wrong. The text of an error of an HTTP library has the URL in it.

    >>> failed({"fmtn.sensitive": {"key"}}, OSError("no route to http://me:pw@h/?key=1 (h)"))
    {'error': 'OSError', 'detail': 'no route to http://[redacted]@h/?key=[redacted] (h)'}
    """
    names = _sensitive(ctx)
    said = {"error": type(error).__name__, "detail": _words.sub(lambda word: redact(word[0], names), str(error))}
    status = getattr(getattr(error, "response", None), "status_code", None)
    return said if status is None else {**said, "status": status}


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


def spent(ctx: Ctx, started: float) -> dict[str, Any]:
    """Say how long it took since ``started``, and how many attempts where a retry has counted them."""
    said = {"duration_us": round((perf_counter() - started) * 1e6)}
    return said | {"attempts": len(ctx[ATTEMPTS])} if ctx.get(ATTEMPTS) else said


def shown(ctx: Ctx, headers: Headers) -> dict[str, str]:
    """Return headers fit for a log. ``Location`` and ``Referer`` are URLs, so a value may contain a secret as well."""
    names = _sensitive(ctx)
    return {name: redact(value, names) for name, value in headers.redacted(names).items()}


def _sensitive(ctx: Ctx) -> Any:
    return ctx.get(SENSITIVE) or ()
