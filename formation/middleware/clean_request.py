"""Requests that tell others no more than they have to know."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from formation.http.headers import check_name
from formation.http.origins import is_downgrade, origin, same_origin
from formation.http.request import Request
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, SIDE

NETWORK: Final = (
    "CF-Connecting-IP", "Client-IP", "Fastly-Client-IP", "Forwarded", "From", "True-Client-IP", "Via", "X-Client-IP",
    "X-Cluster-Client-IP", "X-Envoy-External-Address", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto",
    "X-Forwarded-Server", "X-Original-Forwarded-For", "X-Original-Host", "X-Original-URL", "X-Originating-IP",
    "X-ProxyUser-Ip", "X-Real-IP", "X-Remote-Addr", "X-Remote-IP", "X-Rewrite-URL",
)  # fmt: skip
"""Headers that tell of the network behind a client, and of who has asked it: a proxy's to set, and to trust."""

TRACING: Final = (
    "B3", "Baggage", "Elastic-APM-Traceparent", "Request-Id", "Sentry-Trace", "Traceparent", "Tracestate",
    "Uber-Trace-Id", "X-Amzn-Trace-Id", "X-B3-Flags", "X-B3-ParentSpanId", "X-B3-Sampled", "X-B3-SpanId",
    "X-B3-TraceId", "X-Cloud-Trace-Context", "X-Correlation-ID", "X-Datadog-Origin", "X-Datadog-Parent-Id",
    "X-Datadog-Sampling-Priority", "X-Datadog-Tags", "X-Datadog-Trace-Id", "X-Ot-Span-Context", "X-Request-ID",
)  # fmt: skip
"""Headers that tie requests together, by which another server can follow who asks."""

_products = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").findall
_bracket = re.compile(r"[()\\]").finditer


def clean_request(
    home: Iterable[str] = (),
    *,
    user_agent: str | None = None,
    tracing: bool = True,
    keep: Iterable[str] = (),
) -> Middleware[Any]:
    """Take out of a client's request what tells the server more than it has to know.

    - User-Agent says what calls, without versions, systems and comments, by which holes are looked for.
    - Referer goes where the request leaves its origin, or https; elsewhere it loses user, password and fragment (RFC
      9110, 10.1.3).
    - ``X-Forwarded-*``, Forwarded, Via, X-Real-IP, From and their like go: they tell of the network inside, and a
      server may believe them. Who passes a request of its own on has them to lose.
    - To a foreign origin no cookies go, nor, if you like, the headers of tracing.

    Foreign is a URL that leads away from the ``base_uri`` of the client, by an absolute path or a redirect; where there
    is none, as inside of other people's clients, what is not in ``home``.

    Args:
        home: origins, or URLs at them, that are not foreign.
        user_agent: what is sent; ``None``: the products of the one there is, ``Formation`` if there is none.
        tracing: whether foreign origins get the headers of tracing.
        keep: names that stay: a gateway that has checked them keeps X-Forwarded-For.

    Raises:
        ValueError: ``home`` has no absolute URL; a name that is none of a header.

    Order:
        Innermost, or nearly: what is set inside of it goes out.

    >>> from formation.http import Request
    >>> talk = {"User-Agent": "shop/1.2 (Linux; db-7) python/3.11", "X-Forwarded-For": "10.0.0.7"}
    >>> ctx = clean_request()({"fmtn.req.http": Request("GET", "https://h/", headers=talk)}, lambda ctx: ctx)
    >>> ctx["fmtn.req.http"].headers
    <Headers {'User-Agent': 'shop python'}>
    """
    homes = frozenset(map(origin, [home] if isinstance(home, str) else home))
    kept = {check_name(name).lower() for name in ([keep] if isinstance(keep, str) else keep)}
    always = [name for name in NETWORK if name.lower() not in kept]
    abroad = [] if tracing else [name for name in TRACING if name.lower() not in kept]
    if "cookie" not in kept:
        abroad.append("Cookie")

    def clean_request(ctx: Any, call: Call[Any]) -> Any:
        if isinstance(ctx, dict) and ctx.get(SIDE) != "server" and REQ_HTTP in ctx:
            request: Request = ctx[REQ_HTTP]
            headers = request.headers
            for name in always:
                headers.popall(name, None)
            if "user-agent" not in kept:
                said = headers.get("User-Agent", "") if user_agent is None else user_agent
                headers["User-Agent"] = products(said) if user_agent is None else user_agent
            if "referer" not in kept:
                _shorten(headers, request.target)
            if _is_foreign(request, homes):
                for name in abroad:
                    headers.popall(name, None)
                if "cookie" not in kept and request.cookies:
                    request.cookies = {}
        return call(ctx)

    return clean_request


def products(user_agent: str) -> str:
    """Return the products of a User-Agent, without versions and comments (RFC 9110, 10.1.5).

    >>> products("shop/1.2 (Linux; (x86)) lib/3"), products("")
    ('shop lib', 'Formation')
    """
    plain, depth, at = [], 0, 0
    for found in _bracket(user_agent):
        if depth == 0:
            plain.append(user_agent[at : found.start()])
        depth = max(depth + {"(": 1, ")": -1}.get(found[0], 0), 0)
        at = found.end()
    if depth == 0:
        plain.append(user_agent[at:])
    names = [_products(word.partition("/")[0]) for word in " ".join(plain).split()]
    return " ".join(name[0] for name in names if name) or "Formation"


def _shorten(headers: Any, target: str) -> None:
    referer = headers.get("Referer")
    if referer is None:
        return
    if not same_origin(referer, target) or is_downgrade(referer, target):
        del headers["Referer"]
    else:
        scheme, netloc, path, query, _ = urlsplit(referer)
        headers["Referer"] = urlunsplit((scheme, netloc.rpartition("@")[2], path, query, ""))


def _is_foreign(request: Request, homes: frozenset[str]) -> bool:
    if not homes:
        return bool(request.extensions.get("away", False))
    try:
        return origin(request.target) not in homes
    except ValueError:
        return True
