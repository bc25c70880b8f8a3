"""A log line for each request and for what comes of it, without the secrets in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Final

from formation.bridge import in_async_chain
from formation.events import Events
from formation.http.secrets import SECRETS
from formation.kernel import Call, Ctx, Middleware
from formation.keys import CONTEXT, REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, SIDE
from formation.telemetry.bound import bind
from formation.telemetry.lines import answered, asked, called, failed, is_gone, kind_of, outcome, shown, since, spent

EVENTS: Final = ("request", "response", "failure", "cancelled", "disconnected")


def request_logger(logger: Any = None, *, sensitive: Iterable[str] = SECRETS) -> Middleware[Ctx]:
    """Log each request and what comes of it; each line bears the fields of ``ctx["fmtn.context"]``.

    - ``request.http`` (info): method, url, params, template. Once more (debug) with the headers.
    - ``response.http`` (info; from status 500 on warning): status, method, url, elapsed, size. Once more (debug) with
      the headers. ``size`` is the Content-Length, or what is in memory already, or ``None``: no body is ever read. For
      a stream, ``response.http.closed`` (debug) tells its bytes, and its error, at its end.
    - ``failure.http`` (error): method, url, error (its type), detail (its text), the status if the error has a
      response. The error goes on as it is.
    - ``cancelled.http`` (info): the same for what is no ``Exception``: a cancelled task, a program that ends.
    - ``disconnected.http`` (info): the same on a server whose client has gone, which is no failure. If it goes while a
      stream is sent, the line has the bytes. A stream that fails is a ``failure.http``, with its bytes.

    Where structlog is loaded, the same fields are in its context variables while the call lasts: with its processor
    ``merge_contextvars``, each line that the program writes meanwhile has them, too; on an async server until the body
    is sent. Around a remote call of a client they are not.

    One of the last four ends each call, and has duration_us and the outcome: ``ok``, ``degraded``, ``failed`` (an error
    or a status from 500 on), ``rejected`` (by ourselves), ``deadline``, ``cancelled``, ``disconnected``. On a client,
    and around a function, it has attempts and slept (seconds between them), and as breaker the state of the circuit
    where there is a `circuit_breaker`.

    With another ``ctx["fmtn.kind"]`` the events are ``request.rpc``, or ``response.websocket`` with the ``code`` of its
    end; around a function ``request.call`` and so on, with its name as ``fn``.

    Credentials, cookies, user info in URLs, and every header and query parameter that is named like a secret, or that
    ``ctx["fmtn.sensitive"]`` names, are logged as ``[redacted]``. A logger that raises does not fail the call.

    Args:
        logger: see `Events`.
        sensitive: names that secrets go by, in any case: ``token``, ``api_key``, ``X-Signature`` and others, unless you
            say which. Authorization, cookies and what ``ctx["fmtn.sensitive"]`` names are hidden whatever stands here.

    Raises:
        TypeError: ``logger`` is none.

    Order:
        Inside of `request_id` and `context`, whose fields it logs. Outside of `retry` it logs a call, inside of it an
        attempt.

    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as lines:
    ...     ctx = request_logger()({"fmtn.fn": len}, lambda ctx: ctx)
    >>> [(line["event"], line["fn"]) for line in lines]
    [('request.call', 'len'), ('response.call', 'len')]
    """
    events, secrets = Events(logger), frozenset([sensitive] if isinstance(sensitive, str) else sensitive)

    def request_logger(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        started, log = perf_counter(), events.bound(ctx.get(CONTEXT))
        request, response, failure, cancelled, disconnected = (f"{event}.{kind_of(ctx)}" for event in EVENTS)
        log("info", request, **asked(ctx, secrets))
        if (message := ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)) is not None:
            log("debug", request, headers=shown(ctx, message.headers, secrets))
        unbind = bind(ctx)
        try:
            ctx = call(ctx)
        except BaseException as error:
            unbind()
            level, event, how = "error", failure, outcome(ctx, error)
            if how == "cancelled":
                level, event = "info", cancelled
            elif is_gone(ctx, error):
                level, event, how = "info", disconnected, "disconnected"
            log(level, event, **called(ctx, secrets), **failed(ctx, error, secrets), **spent(ctx, started, how))
            raise
        streamed = _streamed(ctx)
        if streamed is not None and ctx.get(SIDE) == "server" and in_async_chain():
            streamed.on_close(lambda count, error: unbind())  # the app makes the body in the same task, and says more
        else:
            unbind()
        said = answered(ctx, secrets)
        log(_level(ctx, said), response, **said, **spent(ctx, started, outcome(ctx)))
        if (message := ctx.get(RES_HTTP) or ctx.get(RES_RPC)) is not None:
            log("debug", response, headers=shown(ctx, message.headers, secrets))
        if streamed is not None:
            streamed.on_close(_log_close(log, ctx, said, started, secrets))
        return ctx

    return request_logger


def _streamed(ctx: Ctx) -> Any:
    """Return the response, if its body is a stream."""
    response = ctx.get(RES_HTTP)
    return None if response is None or response.in_memory is not None else response


def _level(ctx: Ctx, said: dict[str, Any]) -> str:
    result = ctx.get(RES_RPC)  # which logs its code
    status = said.get("status") if result is None else getattr(result, "status_code", None)
    return "warning" if isinstance(status, int) and status >= 500 else "info"


def _log_close(
    log: Callable[..., None], ctx: Ctx, said: dict[str, Any], started: float, secrets: frozenset[str]
) -> Callable[[int, BaseException | None], None]:
    """Make the hook that tells how the body of a response has ended."""
    known = {name: said[name] for name in ("status", "method", "url") if name in said}
    kind = kind_of(ctx)

    def log_close(count: int, error: BaseException | None) -> None:
        level, event = "debug", f"response.{kind}.closed"
        if error is not None and ctx.get(SIDE) == "server":
            level, event = ("info", f"disconnected.{kind}") if is_gone(ctx, error) else ("error", f"failure.{kind}")
        how: dict[str, Any] = {"error": None} if error is None else failed(ctx, error, secrets)
        log(level, event, **(how | known), bytes=count, duration_us=since(started))

    return log_close
