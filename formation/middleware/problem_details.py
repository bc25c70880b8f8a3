"""An error that says what is wrong, where a server's answer does."""

from __future__ import annotations

from contextlib import suppress
from json import loads
from typing import Any, Final
from urllib.parse import urljoin

from formation.errors import ProblemError, StatusError
from formation.http.response import Response
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, RES_HTTP

TYPE: Final = "application/problem+json"
TEXTS: Final = ("type", "title", "detail", "instance")


def problem_details(max_body: int = 64 * 1024) -> Middleware[Any]:
    """Raise a `ProblemError` when the answer has a status from 400 on and problem details (RFC 9457).

    The error has ``type``, ``title``, ``status``, ``detail``, ``instance`` and ``extensions``, as far as the answer
    says them; ``type`` and ``instance`` are resolved against the URL. A member of another type than it should have is
    left out (RFC 9457, 3.1); a body that is no JSON object, or too long, makes an error that knows the status alone.
    The error is a `StatusError`: ``response`` and ``request`` are there, and its body is read. Other answers pass.

    Args:
        max_body: bytes that are read of such an answer. 64 KiB: it is a few lines, and nobody reads more.

    Raises:
        ValueError: ``max_body`` is no number of bytes.
        ProblemError: at a call.

    Order:
        Beside `raise_for_status`, on either side: what that one raises inside becomes a `ProblemError` here. Outside of
        `retry` and `circuit_breaker`, for these look at the response. Inside of `request_logger`.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> ctx = {"fmtn.req.http": Request("POST", "https://h/orders")}
    >>> body = b'{"type": "/no-credit", "title": "No credit", "detail": "Your balance is 30.", "balance": 30}'
    >>> try:
    ...     problem_details()(ctx, lambda ctx: reply(ctx, 403, {"Content-Type": "application/problem+json"}, body))
    ... except ProblemError as error:
    ...     print(error, error.type, error.extensions)
    403 from POST /orders: No credit: Your balance is 30. https://h/no-credit {'balance': 30}
    """
    if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 0:
        raise ValueError(f"expected max_body as a number of bytes, got {max_body!r}")

    def problem_details(ctx: Any, call: Call[Any]) -> Any:
        try:
            ctx = call(ctx)
        except ProblemError:
            raise
        except StatusError as error:
            if error.response is not None and _has_problem(error.response):
                raise _error(error.response, ctx, max_body) from error
            raise
        response = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if response is not None and _has_problem(response):
            raise _error(response, ctx, max_body)
        return ctx

    return problem_details


def _has_problem(response: Any) -> bool:
    return isinstance(response, Response) and not response.ok and response.content_type == TYPE


def _error(response: Response, ctx: Any, limit: int) -> ProblemError:
    request = response.request or (ctx.get(REQ_HTTP) if isinstance(ctx, dict) else None)
    said = problem_of(_content(response, limit))
    base = response.url or ("" if request is None else request.target)
    for name in ("type", "instance"):
        if said.get(name):
            with suppress(ValueError):  # no URL, but what the server calls one
                said[name] = urljoin(base, said[name])
    name = "" if request is None else request.name
    error = ProblemError(status_code=response.status_code, name=name, **said)
    error.title = error.title or response.reason
    error.response, error.request = response, request
    return error


def _content(response: Response, limit: int) -> bytes:
    """Return the body, or nothing if it is too long or breaks off: the status is the news."""
    content = b""
    with suppress(Exception):
        body = response.body
        if not body.is_bytes:
            body.limit = limit if body.limit is None else min(limit, body.limit)
        content = response.content
    response.close()
    return content if len(content) <= limit else b""


def problem_of(content: bytes) -> dict[str, Any]:
    """Return what problem details say, as the arguments of a `ProblemError`; nothing, if they are none.

    >>> problem_of(b'{"title": "No credit", "status": "403", "detail": 7, "balance": 30}')
    {'title': 'No credit', 'extensions': {'balance': 30}}
    """
    try:
        said = loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    found: dict[str, Any] = {name: said[name] for name in TEXTS if isinstance(said.get(name), str)}
    status = said.get("status")
    if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599:
        found["status"] = status
    extensions = {name: value for name, value in said.items() if name not in {*TEXTS, "status"}}
    return found | ({"extensions": extensions} if extensions else {})
