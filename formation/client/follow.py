"""The innermost part of a client's chain: authorize, send cookies, keep cookies, follow redirects.

A plain middleware like any other, so that it runs sync and async. Above it a call is one call, below it there are hops.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from inspect import isawaitable, isfunction
from typing import TYPE_CHECKING, Any

from formation.bridge import await_
from formation.errors import TooManyRedirects
from formation.http.cookies import cookie_header, keep
from formation.http.redirects import next_hop
from formation.http.secrets import SECRETS, redact
from formation.keys import REQ_HTTP, RES_HTTP, SENSITIVE, STATE, STATE_STREAM

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

    from formation.http.request import Request
    from formation.http.response import Response
    from formation.kernel import Call, Ctx, Middleware


def follow_redirects(limit: int, jar: CookieJar | None = None) -> Middleware[Ctx]:
    """Make the middleware.

    Args:
        limit: hops to follow; 0: a redirect is an answer like any other.
        jar: keeps cookies between calls; ``None``: cookies are sent, and forgotten.

    Raises:
        TooManyRedirects: at a call.
    """

    def follow_redirects(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        history: list[Response] = []
        first: Request = ctx[REQ_HTTP]
        if first.auth is not None and is_middleware(first.auth):
            return _authorized(ctx, lambda ctx: follow_redirects(ctx, call))
        request = first
        try:
            while True:
                authorize(request)
                ctx = call(ctx) if jar is None and not request.cookies else _with_cookies(ctx, call, jar)
                hop = _hop(request, ctx) if limit else None
                if hop is None:
                    break
                response: Response = ctx[RES_HTTP]
                response.close()
                if len(history) == limit:
                    raise TooManyRedirects(limit=limit, url=_shown(hop.url, ctx))  # noqa: TRY301  it is told where it happened, too
                hop.rewind()
                history.append(response)
                ctx[REQ_HTTP] = request = hop
                del ctx[RES_HTTP]
        except Exception as error:
            if history:
                tell(error, request, ctx.get(RES_HTTP))
                error.add_note(f"redirect {len(history)}, to {_shown(request.url, ctx)}")
                ctx[REQ_HTTP] = first  # above it a call is one call
            raise
        if RES_HTTP in ctx:
            _tell_of(ctx, history)
        if history:
            ctx[REQ_HTTP] = first
        return ctx

    return follow_redirects


def _hop(request: Request, ctx: Ctx) -> Request | None:
    """Return the request that the response in ``ctx`` leads to, if it is one that does."""
    response: Response | None = ctx.get(RES_HTTP)
    if response is None or not 300 <= response.status_code < 400:
        return None
    return next_hop(request, response, ctx.get(SENSITIVE, ()))


def _tell_of(ctx: Ctx, history: list[Response]) -> None:
    """Give the response its history; if it is a stream, see to it that the sender knows what it has to close."""
    response: Response = ctx[RES_HTTP]
    if history:
        response.history = tuple(history)
    if STATE in ctx and ctx[REQ_HTTP].extensions.get("stream"):
        ctx[STATE].setdefault(STATE_STREAM, []).append(response)  # each one: whoever calls twice has two


def is_middleware(auth: Any) -> bool:
    """Tell whether ``auth`` is a middleware: a plain function of two arguments, where others take the request alone."""
    if not isfunction(auth):
        return False
    return auth.__code__.co_argcount - len(auth.__defaults__ or ()) == 2


def _authorized(ctx: Ctx, follow: Call[Ctx]) -> Ctx:
    """Call by way of the request's auth, which is a middleware."""
    request: Request = ctx[REQ_HTTP]
    auth, request.auth = request.auth, None
    away = request.extensions.pop("away", False)  # it is meant for this URL: away, only the call's own gets here

    def follow_on(ctx: Ctx) -> Ctx:
        ctx[REQ_HTTP].extensions["away"] = away
        return follow(ctx)

    authorized: Ctx = auth(ctx, follow_on)
    return authorized


def _with_cookies(ctx: Ctx, call: Call[Ctx], jar: CookieJar | None) -> Ctx:
    """Call with a Cookie header made of the request's cookies and the jar's; it goes again, for the next call."""
    request: Request = ctx[REQ_HTTP]
    own, cookie = request.headers.get("Cookie"), cookie_header(request, jar)
    if cookie is not None:
        request.headers["Cookie"] = cookie if own is None else f"{own}; {cookie}"
    try:
        ctx = call(ctx)
    finally:
        if own is not None:
            request.headers["Cookie"] = own
        else:
            request.headers.popall("Cookie", None)
    if jar is not None and RES_HTTP in ctx:
        keep(jar, request, ctx[RES_HTTP])
    return ctx


def tell(error: Exception, request: Request, response: Response | None) -> None:
    """Give an error the request that failed and the response to it, unless it has them already."""
    for name, value in (("request", request), ("response", response)):
        if getattr(error, name, None) is None:
            with suppress(AttributeError, TypeError):  # an error that takes no attributes
                setattr(error, name, value)


def authorize(request: Request) -> None:
    """Apply ``request.auth``: a pair is basic authentication (RFC 7617), a function does what it likes.

    An Authorization header that is there already stays; a function decides for itself.
    """
    auth = request.auth
    if auth is None:
        return
    if callable(auth):
        made = auth(request)
        if isawaitable(made):
            await_(made)
    elif "Authorization" not in request.headers:
        user, password = auth
        if ":" in user:
            message = "a user name for basic authentication has no ':' (RFC 7617, 2)"
            raise ValueError(message)
        request.headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _shown(url: str, ctx: Ctx) -> str:
    return redact(url, SECRETS.union(ctx.get(SENSITIVE, ())))
