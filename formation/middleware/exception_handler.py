"""A safe answer to an error: problem details for programs, a page for people, and for both nothing from inside."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final, TypeGuard

from formation.errors import BodyTooLarge, ClientGone, FormationError, ProblemError, Rejected, ThrottleRejected
from formation.events import Events, called
from formation.exchange import reply, req
from formation.http.negotiation import weights
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, REQ_ID, REQ_RPC, RES_HTTP, SIDE, WS

STATUSES: Final[Mapping[type[Exception], int]] = {
    TimeoutError: 504,  # deadlines and timeouts of ours, and of whatever this server has asked
    BodyTooLarge: 413,
    ThrottleRejected: 429,
    Rejected: 503,
}
"""What is answered to an error of such a type, or of one derived from it, the nearest first. The rest is a 500."""

PROBLEM: Final = "application/problem+json"
HTML: Final = "text/html"
TEXT: Final = "text/plain"


def exception_handler(
    map: Mapping[type[Exception], int] | None = None,  # noqa: A002  the word that says it
    debug: bool = False,  # noqa: FBT001, FBT002  a switch that is named where it is set
    *,
    logger: Any = None,
) -> Middleware[Any]:
    """Answer in place of a server's app that raises, with problem details (RFC 9457), or HTML or text by ``Accept``.

    The answer says the status and ``ctx["req.id"]``, or an id made for it; the log says the same id and why:
    ``exception.handled``, error, with the traceback; for what is below 500 and for what Formation has turned away,
    warning, without. A time that ran out is a 504, what was turned away a 429 or 503 with Retry-After, a body over the
    limit a 413, all else a 500. That a call to another server was too large, or too many, is not the fault of who asks
    here, and no 413 or 429. A `ProblemError` that the app raises is answered as it says, for it is meant to be told;
    one that another server has answered with is not.

    An answer that has begun to go out cannot be taken back: an error after that goes on to the server, which ends the
    connection and logs it. So do cancellation and `KeyboardInterrupt`, and an error in a WebSocket that has been
    accepted. On a client and around a function errors pass.

    Args:
        map: statuses, 400 to 599, for types of errors; for one that is not listed counts the nearest that it is derived
            from.
        debug: whether the answer says what is wrong, with the traceback. For your own machine only.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        TypeError: ``map`` has what is no type of exceptions; ``logger`` is none.
        ValueError: a status that says that nothing is wrong.

    Order:
        Inside of `request_id` and `request_logger`, which then log the answer; outside of all that may raise.

    >>> from formation import wrap
    >>> from formation.http import Request
    >>> from structlog.testing import capture_logs
    >>> def app(ctx):
    ...     raise KeyError("no such user")
    >>> ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/"), "req.id": "7f3a"}
    >>> with capture_logs():
    ...     ctx = wrap(app, [exception_handler()])(ctx)
    >>> ctx["fmtn.res.http"].text
    '{"type": "about:blank", "title": "Internal Server Error", "status": 500, "request_id": "7f3a"}'
    """
    given = _checked(map or {})
    ours = {**STATUSES, **given}
    others = {**{kind: status for kind, status in STATUSES.items() if status >= 500}, **given}
    events = Events(logger)

    def exception_handler(ctx: Any, call: Call[Any]) -> Any:
        try:
            answered = call(ctx)
            if isinstance(answered, dict) and (response := answered.get(RES_HTTP)) is not None:
                response.status_code  # noqa: B018  a lazy WSGI app runs when it is asked for its head: not outside
            return answered  # noqa: TRY300  the line above may raise
        except ClientGone:
            raise  # nobody waits for an answer
        except Exception as error:
            if not _can_answer(ctx):
                raise
            about = error.request if isinstance(error, FormationError) else None
            is_ours = about is None or about is req(ctx)
            table = ours if is_ours else others
            status = next((table[kind] for kind in type(error).__mro__ if kind in table), None)
            told = error if status is None and is_ours and _is_told(error) else None
            if status is None:
                status = 500 if told is None else told.status_code
            said = {"request_id": str(ctx.get(REQ_ID) or _new_id())}
            is_news = status >= 500 and not isinstance(error, Rejected)
            why = {"exc_info": error} if is_news else {}
            level, kind = "error" if is_news else "warning", type(error).__name__
            events(level, "exception.handled", status=status, error=kind, **said, **called(ctx), **why)
            inside = _inside(error) if debug else {}
            return _answer(ctx, status, told, said | inside, _retry_after(error, status))

    return exception_handler


def _checked(statuses: Mapping[Any, Any]) -> Mapping[type[Exception], int]:
    for kind, status in statuses.items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            message = f"expected map to have types of exceptions, got {kind!r}"
            raise TypeError(message)
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
            message = f"expected a status from 400 to 599 for {kind.__name__}, got {status!r}"
            raise ValueError(message)
    return statuses


def _is_told(error: Exception) -> TypeGuard[ProblemError]:
    """Whether it is for the client: made here, and not by a server that this one has asked."""
    return isinstance(error, ProblemError) and error.response is None and 400 <= error.status_code <= 599


def _can_answer(ctx: Any) -> bool:
    if not isinstance(ctx, dict) or ctx.get(SIDE) != "server" or not (REQ_HTTP in ctx or REQ_RPC in ctx):
        return False
    return ctx.get(KIND) != "websocket" or not (ctx[WS].is_accepted or ctx[WS].is_over)


def _new_id() -> str:
    from uuid import uuid4

    return uuid4().hex


def _inside(error: Exception) -> dict[str, str]:
    from traceback import format_exception

    try:
        detail = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  its __str__ raises
        detail = type(error).__name__
    return {"detail": detail, "traceback": "".join(format_exception(error))}


def _retry_after(error: Exception, status: int) -> dict[str, str]:
    seconds = getattr(error, "retry_after", None) if status in {429, 503} else None
    try:
        return {} if seconds is None else {"Retry-After": str(max(ceil(seconds), 1))}
    except (TypeError, ValueError, OverflowError):  # somebody else's error, which means something else by it
        return {}


def _answer(ctx: Any, status: int, told: ProblemError | None, said: dict[str, str], headers: dict[str, str]) -> Any:
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    if REQ_RPC in ctx:
        what = title if told is None else told.detail or told.title or title
        text = "; ".join([what, *(f"{name}: {value}" for name, value in said.items() if name != "traceback")])
        return reply(ctx, status, headers, text)
    request = ctx[REQ_HTTP]
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, **said}
    more: Mapping[str, Any] = {}
    if told is not None:
        named = {"type": told.type, "title": told.title or title, "detail": told.detail, "instance": told.instance}
        problem |= {name: text for name, text in named.items() if text}
        more = told.extensions
    content_type = preferred(request.headers.get("Accept", ""))
    write = _WRITERS[content_type]
    try:
        text = write({**more, **problem})
    except Exception:  # noqa: BLE001  what the app adds may be anything: an object whose __str__ raises, a circle
        text = write(problem)
    body = text.encode(errors="backslashreplace")
    headers = headers | {
        "Content-Type": content_type if content_type == PROBLEM else f"{content_type}; charset=utf-8",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",  # the next one may fare better
        "Vary": "Accept",
    }
    return reply(ctx, status, headers, b"" if request.method == "HEAD" else body)


def _problem(problem: dict[str, Any]) -> str:
    from json import dumps

    return dumps(problem, default=str)


def _lines(problem: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what people are told besides the status and its title."""
    shown = {name: value for name, value in problem.items() if name not in {"status", "title"}}
    return [(name, str(value)) for name, value in shown.items() if (name, value) != ("type", "about:blank")]


def _page(problem: dict[str, Any]) -> str:
    from html import escape

    lines = "".join(f"<h2>{escape(name)}</h2><pre>{escape(value)}</pre>" for name, value in _lines(problem))
    head = f"{problem['status']} {escape(str(problem['title']))}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{head}</title><h1>{head}</h1>{lines}</html>'


def _text(problem: dict[str, Any]) -> str:
    lines = (f"{name}: {value}\n" for name, value in _lines(problem))
    return "".join([f"{problem['status']} {problem['title']}\n", *lines])


_WRITERS: Final = {PROBLEM: _problem, HTML: _page, TEXT: _text}
_NAMES: Final = {
    PROBLEM: (PROBLEM, "application/json", "application/*", "*/*"),  # who takes JSON takes a problem in it
    HTML: (HTML, "text/*", "*/*"),
    TEXT: (TEXT, "text/*", "*/*"),
}


def preferred(accept: str) -> str:
    """Return the media type that ``Accept`` likes best (RFC 9110, 12.5.1); problem details where it likes none.

    >>> preferred("text/html,application/xhtml+xml,*/*;q=0.8"), preferred("*/*"), preferred("image/png")
    ('text/html', 'application/problem+json', 'application/problem+json')
    """
    ranges = weights(accept)
    liked = {kind: next((ranges[name] for name in names if name in ranges), 0.0) for kind, names in _NAMES.items()}
    return max(liked, key=lambda kind: liked[kind])
