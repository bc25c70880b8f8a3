"""What may be stored of what comes: RFC 9111, 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.caching.freshness import HEURISTIC
from formation.http.lists import members
from formation.http.origins import normal
from formation.http.redirects import target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from formation.caching.directives import Directives
    from formation.caching.request import Request

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields between two neighbours (RFC 9111, 3.1). Trailer as well, for trailers are not stored."""

UNDERSTOOD: Final = frozenset({200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308}) | frozenset(
    {*range(400, 418), 421, 422, 426, 428, 429, 431, 451, *range(500, 506), 511}
)
"""Final statuses whose caching is known (RFC 9110, 15; RFC 6585; RFC 7725). Not 206 and 304, which are no wholes."""

CONDITIONAL: Final = frozenset({206, 304, 412, 416, 417})
"""Statuses by which a response answers the conditions, the Range or the Expect of one request: another request for the
URL, which has none, would get what it never asked for."""

NEEDED: Final = frozenset(
    {"age", "cache-control", "content-encoding", "content-length", "content-type", "date", "etag", "expires"}
) | frozenset({"last-modified", "vary"})
"""Fields without which a stored response is another: ``private="Vary"`` counts as private."""


def understood(directives: Directives, status: int) -> bool:
    """Tell whether must-understand sets no-store aside (RFC 9111, 5.2.2.3)."""
    return "must-understand" in directives and status in UNDERSTOOD


def whole(name: str, directives: Directives) -> bool:
    """Tell whether private or no-cache is about the whole response, not about some of its fields.

    >>> whole("private", {"private": None}), whole("private", {"private": "set-cookie"}), whole("private", {})
    (True, False, False)
    """
    if name not in directives:
        return False
    listed = set(members((directives[name] or "").lower()))
    return not listed or not listed.isdisjoint(NEEDED)


def dropped(fields: Mapping[str, str], directives: Directives, *, shared: bool) -> set[str]:
    """Return the names of fields that are not stored (RFC 9111, 3.1, 5.2.2.4 and 5.2.2.7).

    The fields that no-cache lists would have to be validated before each use; not to have them is as good.
    """
    names = {"age", *HOP_BY_HOP, *members(fields.get("connection", "").lower())}
    for directive in ("no-cache", "private") if shared else ("no-cache",):
        if not whole(directive, directives):
            names.update(members((directives.get(directive) or "").lower()))
    return names


def kept(headers: Iterable[tuple[str, str]], names: AbstractSet[str]) -> list[tuple[str, str]]:
    """Return ``headers`` but those ``names``."""
    return [(str(name), value) for name, value in headers if name.lower() not in names]


def answers_get(request: Request, status: int, fields: Mapping[str, str]) -> bool:
    """Tell whether a response to POST says that it is what GET would get (RFC 9110, 9.3.3)."""
    if request.method != "POST" or status != 200 or "content-location" not in fields:
        return False
    located = target(request.url, fields["content-location"] or request.url)
    return located is not None and normal(located) == normal(request.url)


def refusal(
    request: Request, status: int, fields: Mapping[str, str], directives: Directives, *, shared: bool, explicit: bool
) -> str | None:
    """Return why a response may not be stored (RFC 9111, 3); ``None``: it may.

    Args:
        request: that it answers.
        status: of the response.
        fields: of the response.
        directives: that apply to this cache.
        shared: whether the cache serves more than one user.
        explicit: whether the response says for how long it is fresh.
    """
    if request.method not in ("GET", "HEAD") and not (explicit and answers_get(request, status, fields)):
        return "method"
    if not 200 <= status <= 599 or status in CONDITIONAL:
        return "status"
    if "must-understand" in directives and status not in UNDERSTOOD:
        return "must-understand"
    if "no-store" in request.directives:
        return "request no-store"
    if "no-store" in directives and not understood(directives, status):
        return "no-store"
    if not NEEDED.isdisjoint(members(fields.get("connection", "").lower())):
        return "connection"  # what the entry would be read by is not for us to keep
    if not (explicit or "public" in directives or whole("private", directives) or status in HEURISTIC):
        return "nothing allows it"
    return _private(request, fields, directives, explicit=explicit) if shared else None


def _private(request: Request, fields: Mapping[str, str], directives: Directives, *, explicit: bool) -> str | None:
    """Return why others may not be given the response."""
    public = "public" in directives
    if whole("private", directives):
        return "private"
    allowed = public or "must-revalidate" in directives or "s-maxage" in directives  # RFC 9111, 3.5
    if "authorization" in request.fields and not allowed:
        return "authorization"
    if not (explicit or public) and ("set-cookie" in fields or "cookie" in request.fields):
        return "cookie"  # allowed, but who forgot to say private would have users see each other's pages
    return None
