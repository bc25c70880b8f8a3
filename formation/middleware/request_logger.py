"""A log line for each request and for what comes of it, without the secrets in them."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE
from formation.middleware._log import (
    answered,
    asked,
    bound,
    called,
    failed,
    is_gone,
    kind_of,
    say,
    shown,
    spent,
    structured,
)

EVENTS: Final = ("request", "response", "failure", "cancelled", "disconnected")


def request_logger(logger: Any = None) -> Middleware[Ctx]:
    """Log each request and what comes of it; each line bears the fields of ``ctx["fmtn.context"]``.

    - ``request.http`` (info): method, url, params, template. Once more (debug) with the headers.
    - ``response.http`` (info; from status 500 on warning): status, method, url, elapsed, size, duration_us. Once more
      (debug) with the headers. ``size`` is the Content-Length, or what is in memory already, or ``None``: no body is
      ever read. For a stream, ``response.http.closed`` (debug) tells its bytes, and its error, at its end.
    - ``failure.http`` (error): method, url, error (its type), detail (its text), the status if the error has a
      response, duration_us. The error goes on as it is.
    - ``cancelled.http`` (info): the same for what is no ``Exception``: a cancelled task, a program that ends.
    - ``disconnected.http`` (info): the same on a server whose client has gone, which is no failure. If it goes while a
      stream is sent, the line has the bytes. A stream that fails is a ``failure.http``, with its bytes.

    The last four have ``attempts`` where a retry has counted them. With another ``ctx["fmtn.kind"]`` the events are
    ``request.rpc``, or ``response.websocket`` with the ``code`` of its end; around a function ``request.call`` and so
    on, with its name as ``fn``.

    Credentials, cookies, user info in URLs, and every header and query parameter that ``ctx["fmtn.sensitive"]`` names
    are logged as ``[redacted]``. A logger that raises does not fail the call.

    Args:
        logger: a structlog logger, or anything with ``bind`` and the levels; ``None``: ``structlog.get_logger()``.

    Raises:
        TypeError: ``logger`` has no ``bind``.
        ImportError: ``logger`` is ``None``, and structlog is not installed.

    Order:
        Inside of `request_id` and `context`, whose fields it logs. Outside of `retry` it logs a call, inside of it an
        attempt.

    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as lines:
    ...     ctx = request_logger()({"fmtn.fn": len}, lambda ctx: ctx)
    >>> [(line["event"], line["fn"]) for line in lines]
    [('request.call', 'len'), ('response.call', 'len')]
    """
    unbound = structured(logger)

    def request_logger(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        started, log = perf_counter(), bound(unbound, ctx)
        request, response, failure, cancelled, disconnected = (f"{event}.{kind_of(ctx)}" for event in EVENTS)
        say(log, "info", request, **asked(ctx))
        if (message := ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)) is not None:
            say(log, "debug", request, headers=shown(ctx, message.headers))
        try:
            ctx = call(ctx)
        except Exception as error:
            level, event = ("info", disconnected) if is_gone(ctx, error) else ("error", failure)
            say(log, level, event, **called(ctx), **failed(ctx, error), **spent(ctx, started))
            raise
        except BaseException as error:
            say(log, "info", cancelled, **called(ctx), **failed(ctx, error), **spent(ctx, started))
            raise
        said = answered(ctx)
        say(log, _level(said), response, **said, **spent(ctx, started))
        if (message := ctx.get(RES_HTTP) or ctx.get(RES_RPC)) is not None:
            say(log, "debug", response, headers=shown(ctx, message.headers))
        if (streamed := ctx.get(RES_HTTP)) is not None and not streamed.body.is_bytes:
            streamed.on_close(_log_close(log, ctx, said, started))
        return ctx

    return request_logger


def _level(said: dict[str, Any]) -> str:
    return "warning" if isinstance(status := said.get("status"), int) and status >= 500 else "info"


def _log_close(log: Any, ctx: Ctx, said: dict[str, Any], started: float) -> Any:
    """Make the hook that tells how the body of a response has ended."""
    known = {name: said[name] for name in ("status", "method", "url") if name in said}
    kind = kind_of(ctx)

    def log_close(count: int, error: BaseException | None) -> None:
        level, event = "debug", f"response.{kind}.closed"
        if error is not None and ctx.get(SIDE) == "server":
            level, event = ("info", f"disconnected.{kind}") if is_gone(ctx, error) else ("error", f"failure.{kind}")
        how: dict[str, Any] = {"error": None} if error is None else failed(ctx, error)
        say(log, level, event, **(how | known), bytes=count, **spent(ctx, started))

    return log_close
