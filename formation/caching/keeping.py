"""A new response: whether it is kept, and how that is done while it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from formation.bridge import in_async_chain
from formation.caching.copying import Copy
from formation.caching.policy import ERRORS, Verdict
from formation.caching.policy import Request as PolicyRequest
from formation.caching.storing import CONDITIONAL
from formation.http.headers import digits
from formation.http.lists import members
from formation.http.response import BODILESS
from formation.keys import DEGRADED, REQ_HTTP, RES_HTTP
from formation.resilience.background import in_background, running_loop
from formation.resilience.collapse import ALONE, PASS, STORED

if TYPE_CHECKING:
    from formation.caching.entry import Entry
    from formation.caching.fields import Lines
    from formation.caching.lookup import Lookup
    from formation.caching.serving import Caching
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.resilience.collapse import Outcome

_DEGRADED: Final = "degraded"


def keep(caching: Caching, lookup: Lookup, out: Any, verdict: Verdict) -> str | None:
    """Keep the response of ``out``, as it passes, and let go of what it replaces.

    Returns:
        Why it is not kept; ``None``: it is.
    """
    response: Response = out[RES_HTTP]
    policy, parsed, entry, status = lookup.policy, lookup.parsed, lookup.entry, response.status_code
    headers, at = list(response.headers.items()), {"requested_at": lookup.requested_at, "received_at": caching.now()}
    if parsed.method == "HEAD" and entry is not None and entry.method == "GET":
        changed = policy.after_head(parsed, entry, status, headers, **at)
        if changed is None:
            caching.shelf.drop([lookup.key], lookup.requested_at)
        elif changed is not entry:
            caching.shelf.put(lookup.key, changed)
    why = _refusal(caching, lookup, out, headers)
    if why is None:
        _copy(caching, lookup, policy.entry(parsed, status, headers, **at), response)
        return None
    is_newer = verdict is not Verdict.RELOAD and status not in ERRORS | CONDITIONAL and why != _DEGRADED
    if entry is not None and is_newer and "no-store" not in parsed.directives:
        caching.shelf.drop([lookup.key], lookup.requested_at)
    lookup.land(ALONE if status >= 500 else PASS)
    return why


def _refusal(caching: Caching, lookup: Lookup, out: Any, headers: Lines) -> str | None:
    """Return why a response is not kept; ``None``: it is."""
    response, parsed, is_shared = out[RES_HTTP], lookup.parsed, lookup.policy.shared
    if response.history:
        return "redirected"
    if out.get(DEGRADED) is not None:
        return _DEGRADED
    is_unsure = caching.keys.is_unsure(lookup, out)
    if is_unsure and not is_shared:
        return "authenticated inside of the cache"
    if is_shared and (is_unsure or caching.keys.is_signed(lookup)) and "authorization" not in parsed.fields:
        parsed = PolicyRequest(parsed.method, parsed.url, [*parsed.headers, ("Authorization", "seen")])
    why = lookup.policy.refusal(parsed, response.status_code, headers)
    if why is None and _varies_inside(caching, lookup, out):
        return "varies by what is added inside of the cache"
    if why is None and (length := _length(lookup, response)) is not None and length > caching.max_entry:
        return "too large"
    return why


def _varies_inside(caching: Caching, lookup: Lookup, out: Any) -> bool:
    """Tell whether the response depends on a header that the request had not yet when it was looked up."""
    sent: Request = out.get(REQ_HTTP, lookup.request)
    by_key = caching.keys.tell_users(lookup.policy)
    for name in members(out[RES_HTTP].headers.get("Vary", "").lower()):
        if by_key and name in {"authorization", "cookie"}:
            continue
        if name == "cookie" and not lookup.is_server and (sent.cookies or "jar" in sent.extensions):
            return True  # which become a header further in
        if sent.headers.get(name) != lookup.parsed.fields.get(name):
            return True
    return False


def _length(lookup: Lookup, response: Response) -> int | None:
    """Return how many bytes of content are announced; on clients a content that is encoded comes decoded."""
    headers = response.headers
    if not lookup.is_server and "Content-Encoding" in headers:
        return None
    return digits(headers.get("Content-Length"))


def _copy(caching: Caching, lookup: Lookup, entry: Entry, response: Response) -> None:
    """Keep ``entry`` with a copy of the body, when all of that has come."""
    keeping = lookup.keeping = Keeping(caching, lookup, entry)
    try:
        body, expected = response.body, _length(lookup, response)
        if lookup.parsed.method == "HEAD" or response.status_code in BODILESS:
            keeping.done(b"")
        elif body.is_bytes:
            content = body.read()
            is_whole = len(content) <= caching.max_entry and expected in {None, len(content)}
            keeping.done(content if is_whole else None)
        else:
            Copy(body, caching.max_entry, expected, keeping.done)
    except BaseException:
        keeping.land(ALONE)
        raise


class Keeping:
    """An entry whose body is on its way: it is kept when that is there, and then those go on who wait for it.

    ``is_over``: it is kept, or there is nothing left to keep.
    """

    __slots__ = ("_caching", "_entry", "_key", "_landing", "is_over")

    def __init__(self, caching: Caching, lookup: Lookup, entry: Entry) -> None:
        self.is_over = False
        self._caching, self._key, self._entry = caching, lookup.key, entry
        if lookup.policy.decide(lookup.parsed, entry, entry.received_at) is not Verdict.FRESH:
            lookup.land(PASS)  # the others need not wait for the end to hear that it is not for them
        self._landing, lookup.landing = lookup.landing, None  # the request is over before its body

    def land(self, outcome: Outcome) -> None:
        """Let those go on who wait."""
        if (landing := self._landing) is not None:
            landing(outcome)
            self._landing = None

    def done(self, content: bytes | None) -> None:
        """Keep it with ``content``; ``None``: there is no whole body."""
        self.is_over = True
        if content is None:
            self.land(ALONE)
        elif self._caching.shelf.waits and not in_async_chain() and running_loop() is not None:
            # This is the end of a body, in the event loop, where nothing can be waited for.
            in_background(lambda: self._put(content), lambda: self.land(STORED), "formation.cache")
        else:
            try:
                self._put(content)
            finally:
                try:
                    self.land(STORED)
                finally:
                    self.land(STORED)  # in case an interrupt came in between

    def _put(self, content: bytes) -> None:
        self._caching.shelf.put(self._key, self._entry.with_body(content, len(content)))
