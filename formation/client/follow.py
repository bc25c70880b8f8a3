"""The innermost part of a client's chain: authorize, send cookies, keep cookies, follow redirects.

A plain middleware like any other, so that it runs sync and async. Above it a call is one call, below it there are hops.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from formation.errors import TooManyRedirects
from formation.http.cookies import cookie_header, keep
from formation.http.redirects import next_hop
from formation.keys import REQ_HTTP, RES_HTTP, SENSITIVE

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
        first: Request = ctx[REQ_HTTP]
        request, history = first, list[Any]()
        while True:
            authorize(request)
            own_cookie = request.headers.get("Cookie")
            if (jar is not None or request.cookies) and (cookie := cookie_header(request, jar)):
                request.headers["Cookie"] = cookie if own_cookie is None else f"{own_cookie}; {cookie}"
            ctx = call(ctx)
            response: Response = ctx[RES_HTTP]
            if jar is not None:
                keep(jar, request, response)
            if limit == 0 or not 300 <= response.status_code < 400:
                break
            if own_cookie is None:
                request.headers.popall("Cookie", None)
            else:
                request.headers["Cookie"] = own_cookie
            hop = next_hop(request, response, ctx.get(SENSITIVE, ()))
            if hop is None:
                break
            response.close()
            if len(history) == limit:
                raise TooManyRedirects(limit=limit, url=hop.url)
            hop.rewind()
            history.append(response)
            ctx[REQ_HTTP] = request = hop
            del ctx[RES_HTTP]
        if history:
            response.history = tuple(history)
            ctx[REQ_HTTP] = first
        return ctx

    return follow_redirects


def authorize(request: Request) -> None:
    """Apply ``request.auth``: a pair is basic authentication (RFC 7617), a function does what it likes.

    An Authorization header that is there already stays; a function decides for itself.
    """
    auth = request.auth
    if auth is None:
        return
    if callable(auth):
        auth(request)
    elif "Authorization" not in request.headers:
        user, password = auth
        if ":" in user:
            message = "a user name for basic authentication has no ':' (RFC 7617, 2)"
            raise ValueError(message)
        request.headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
