"""A request as `cache` looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.keys import REQ_HTTP, SIDE

if TYPE_CHECKING:
    from formation.caching.entry import Entry
    from formation.caching.policy import Policy
    from formation.caching.policy import Request as Asked
    from formation.http.request import Request
    from formation.kernel import Call
    from formation.resilience.together import Trip


class Look:
    """A request, and what there is for it."""

    __slots__ = ("asked", "call", "ctx", "entries", "entry", "is_collapsed", "is_server", "key", "lane", "policy",
                 "request", "requested_at", "secrets", "signs", "trip")  # fmt: skip

    def __init__(self, policy: Policy, ctx: Any, call: Call[Any], asked: Asked, key: str) -> None:
        request: Request = ctx[REQ_HTTP]
        self.policy, self.ctx, self.call, self.request = policy, ctx, call, request
        self.asked, self.key, self.is_server = asked, key, ctx.get(SIDE) == "server"
        self.lane = key if asked.method == "GET" else f"{asked.method} {key}"  # HEAD brings nothing that GET waits for
        self.entries: list[Entry] = []
        self.entry: Entry | None = None
        self.trip: Trip | None = None
        self.is_collapsed = False
        self.requested_at = 0.0
        self.secrets: dict[str, list[str]] = {}  # of the request, before what is inside adds its own
        self.signs = request.auth is not None  # which the key knows of


def has_body(request: Request, *, is_server: bool) -> bool:
    """Tell whether a request has a body, or seems to: what it then means is not for a cache to know."""
    if is_server:
        headers = request.headers
        return "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0"
    return request.in_memory != b""


def is_decoded(entry: Entry) -> bool:
    """Tell whether what a client has kept was encoded when it came."""
    return any(name.lower() == "content-encoding" for name, _ in entry.headers)
