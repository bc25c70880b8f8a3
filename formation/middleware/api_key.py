"""An API key, in a header, a query parameter or a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlsplit

from formation.http.headers import check_name
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP, REQ_RPC, SENSITIVE
from formation.middleware._auth import AUTHORIZATION, at_home, check_text, check_visible

if TYPE_CHECKING:
    from formation.http import Request

Place = Literal["header", "query", "cookie"]


def api_key(key: str, name: str = "X-API-Key", *, place: Place = "header") -> Middleware[Ctx]:
    """Send ``key`` under ``name`` unless the call sends something under that name.

    The name goes into ``ctx["fmtn.sensitive"]``: logs print ``[redacted]`` for it, and it stays behind when a redirect
    leads to another origin. A request to another origin than the client's gets no key at all. A context without an HTTP
    request passes through.

    Args:
        key: the key; of visible ASCII characters; a header's may have spaces inside, a parameter's any text.
        name: of the header, parameter or cookie; ``X-API-Key`` is what most APIs chose.
        place: ``"header"``; ``"query"``, which ends up in the logs of every proxy, for APIs that know nothing else; or
            ``"cookie"``.

    Raises:
        TypeError: ``key`` or ``name`` is no ``str``.
        ValueError: one of them is empty or would break the message, or ``place`` is none of the three.

    >>> from formation.http import Request
    >>> ctx = api_key("s3cret")({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers["X-API-Key"], ctx["fmtn.sensitive"]
    ('s3cret', {'x-api-key'})
    """
    _check(key, name, place)
    takes_auth = name.lower() == AUTHORIZATION  # whose place the auth of a call takes

    def api_key(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        if REQ_HTTP in ctx or REQ_RPC in ctx:
            ctx.setdefault(SENSITIVE, set()).add(name.lower())
        request = at_home(ctx)
        if request is not None and not (takes_auth and request.auth is not None):
            if place == "header":
                request.headers.setdefault(name, key)
            elif REQ_RPC in ctx:
                pass  # a call has metadata, and no other place
            elif place == "cookie":
                request.cookies.setdefault(name, key)
            elif not _asks(request, name):
                request.params[name] = key
        return call(ctx)

    return api_key


def _check(key: str, name: str, place: Place) -> None:
    check_name(name)
    if place not in {"header", "query", "cookie"}:
        raise ValueError(f"expected place as 'header', 'query' or 'cookie', got {place!r}")
    check_text("a key", key)
    if place == "header":  # "ApiKey 42" is one, too
        check_visible("a key", key.replace(" ", "_") if key == key.strip() else key)
    elif place == "cookie":
        check_visible("a key", key)
    if not key or (place == "cookie" and ";" in key):
        raise ValueError("expected a key that is not empty, without the ';' that ends a cookie")


def _asks(request: Request, name: str) -> bool:
    """Tell whether the URL or the parameters of the request have that name."""
    pairs = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    return name in request.params or any(name == each for each, _ in pairs)
