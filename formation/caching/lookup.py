"""A request on its way through the cache, and what has been found out about it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.keys import REQ_HTTP, RES_HTTP, SIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.caching.entry import Entry
    from formation.caching.keeping import Keeping
    from formation.caching.policy import Policy
    from formation.caching.policy import Request as PolicyRequest
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.kernel import Call
    from formation.resilience.collapse import Outcome


class Lookup:
    """A request on its way through the cache; the steps fill it in one after another.

    What came: ``ctx`` and ``call``, as the middleware got them; ``policy``, whose rules count; ``request``, of the
    context, and ``parsed``, the same as the policy reads it; ``is_server``; ``has_auth``: whether it has an ``auth``,
    which the key knows of; ``key``, by which entries are found, ``""`` if nothing is to be kept.

    What there is: ``entries``, all of the key; ``entry``, the one that answers this request, if any.

    What is done where somebody has to ask: ``has_waited``, for another who asked the same; ``landing``, which lets
    those go on who wait for this one; ``credentials``, headers that say who asks, before what is inside of the cache
    adds its own; ``requested_at``, when it was asked; ``keeping``, what keeps the response as it passes.
    """

    __slots__ = (
        "call",
        "credentials",
        "ctx",
        "entries",
        "entry",
        "has_auth",
        "has_waited",
        "is_server",
        "keeping",
        "key",
        "landing",
        "parsed",
        "policy",
        "request",
        "requested_at",
    )

    def __init__(self, policy: Policy, ctx: Any, call: Call[Any], parsed: PolicyRequest) -> None:
        request: Request = ctx[REQ_HTTP]
        self.ctx, self.call, self.policy, self.request, self.parsed = ctx, call, policy, request, parsed
        self.is_server, self.has_auth, self.key = ctx.get(SIDE) == "server", request.auth is not None, ""
        self.entries: list[Entry] = []
        self.entry: Entry | None = None
        self.has_waited = False
        self.landing: Callable[[Outcome], object] | None = None
        self.credentials: dict[str, list[str]] = {}
        self.requested_at = 0.0
        self.keeping: Keeping | None = None

    def land(self, outcome: Outcome) -> None:
        """Let those go on who wait for this one, if any do. A second time it does nothing."""
        if (landing := self.landing) is not None:
            landing(outcome)
            self.landing = None

    def has_body(self) -> bool:
        """Tell whether the request has a body, or seems to: what it then means is not for a cache to know."""
        if self.is_server:
            headers = self.request.headers
            return "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0"
        return self.request.in_memory != b""


def response_of(out: Any) -> Response | None:
    """Return the response that a call has brought, if it has."""
    return out.get(RES_HTTP) if isinstance(out, dict) else None
