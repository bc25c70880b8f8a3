"""What `cache` does with a request: look, answer, or ask and keep.

Theory of operation
-------------------
A request is a `look.Look`: who asks for what, and what there is. If an entry answers it, that is all. Else one asks
(`asking`): with conditions of ours, on a fork, if there is something to validate. What comes is an answer, a 304 that
makes the entry fresh, or an error that the entry may cover up. A body that is to be kept is copied as it passes
(`copying.Copy`), and kept when it has come to its end.

Of those who miss the same at the same time, one asks (`formation.resilience.collapse`). Its trip lands when its copy is
kept, or as soon as it turns out that there will be none.
"""

from __future__ import annotations

import logging
import sys
from hashlib import sha256
from math import floor
from typing import TYPE_CHECKING, Any, Final

from formation import clock
from formation.caching import asking, status
from formation.caching.look import Look, has_body, is_decoded
from formation.caching.policy import Request as Asked
from formation.caching.policy import Verdict
from formation.caching.shelf import Shelf, stored_in
from formation.caching.users import Whose, secrets
from formation.events import Events, called
from formation.http.body import Body
from formation.http.headers import Headers
from formation.http.origins import normal
from formation.http.response import received
from formation.keys import DEADLINE, REQ_HTTP, RES_HTTP, SIDE, STATE
from formation.resilience.background import in_background
from formation.resilience.collapse import ALONE, PATIENCE, STORED, Collapse
from formation.resilience.forks import ASIDE, aside, fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.caching.policy import Policy
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.kernel import Call
    from formation.resilience.collapse import Outcome

STATUS: Final = "cache"
"""In ``fmtn.state``: what the cache has done, in the words of Cache-Status (RFC 9211)."""

NAME: Final = "formation"

_log: Final = logging.getLogger("formation")

_HELD: Final = frozenset({"range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "if-range"})
"""Whoever sends one of these on a miss gets an answer that is of no use to others, so nobody waits for it."""

_NO_CREDENTIALS: Final = frozenset({"cookie", "proxy-authorization"})
"""Of the headers that say who asks: the first has a rule of its own, the second is for a proxy."""

LONG: Final = 1024
"""Characters of a URL beyond which its hash is the key: what is remembered of keys is bounded by their number."""

REFRESHING: Final = 32
"""Entries refreshed in the background at a time: a thread each, in a sync program. The next who asks tries again."""


class Caching:
    """A store, and what is under way."""

    def __init__(
        self,
        store: Any,
        *,
        key: Callable[[Any], str | None] | None,
        max_entry: int,
        single_flight: bool,
        logger: Any,
        now: Callable[[], float] | None,
    ) -> None:
        self._is_default = logger is None
        self.events = Events(logger)
        self.shelf = Shelf(stored_in(store), self.events)
        leaves = getattr(self.shelf.store, "leaves", True)
        self.waits = getattr(self.shelf.store, "waits", True)
        self._key = key
        self._whose = Whose(is_local=not leaves)
        self.max_entry = max_entry
        self.collapse = Collapse() if single_flight else None
        self.now = now or (clock.time if leaves else _steady())
        self._refreshing: set[str] = set()

    def serve(self, policy: Policy, ctx: Any, call: Call[Any]) -> Any:
        """Answer the request of ``ctx``."""
        request: Request = ctx[REQ_HTTP]
        is_server = ctx.get(SIDE) == "server"
        method, headers = request.method, list(request.headers.items())
        asked = Asked(method, normal(request.target), headers)
        key = self._key_of(policy, ctx, request, asked.url, is_server=is_server)
        look = Look(policy, ctx, call, asked, key or "")
        if key is None or method not in {"GET", "HEAD"} or has_body(request, is_server=is_server):
            return self._pass(look, is_known=key is not None)
        verdict = self._find(look)
        while True:
            if verdict is Verdict.FRESH or verdict is Verdict.STALE:
                return self.hit(look, verdict)
            if verdict is Verdict.REFRESH:
                if self._refresh(look):
                    return self.hit(look, verdict)
                verdict = Verdict.VALIDATE
            if verdict is Verdict.UNAVAILABLE:
                return self._answer(look, 504, [("Content-Length", "0")], b"", fwd="miss", detail="only-if-cached")
            if not self._wait(look, verdict):
                break
            verdict = self._find(look)
        return asking.ask(self, look, verdict)

    # Look

    def _find(self, look: Look) -> Verdict:
        look.entries = self.shelf.get(look.key)
        look.entry = look.policy.select(look.asked, look.entries)
        if not look.is_server and look.entry is not None and "range" in look.asked.fields and is_decoded(look.entry):
            look.entries, look.entry = [], None  # bytes of the content are no bytes of what is encoded
        return look.policy.decide(look.asked, look.entry, self.now())

    def _wait(self, look: Look, verdict: Verdict) -> bool:
        """Wait for who asks for the same, if somebody does; tell whether to look again."""
        collapse = self.collapse
        if collapse is None or look.is_collapsed or look.trip is not None or verdict is Verdict.RELOAD:
            return False
        if look.asked.directives or look.request.extensions.get("stream") or not _HELD.isdisjoint(look.asked.fields):
            return False  # it wants something else than the others, or the time it takes is its own
        look.secrets = secrets(look.ctx, look.request)
        if look.policy.shared and self.is_signed(look):
            return False  # most such answers are for nobody else, which says nothing about those without credentials
        joined = collapse.join(look.lane)
        if joined is None:
            return False
        trip, leads = joined
        if leads:
            look.trip = trip
            return True  # what was not there may have come between the look and now
        until = look.ctx.get(DEADLINE)
        seconds = PATIENCE if until is None else min(PATIENCE, until - clock.monotonic())
        if not trip.wait(seconds):
            if seconds == PATIENCE:
                collapse.land(look.lane, trip, ALONE)
            return False
        look.is_collapsed = trip.brought is not None
        return trip.brought is None or trip.brought is STORED

    def _key_of(self, policy: Policy, ctx: Any, request: Request, url: str, *, is_server: bool) -> str | None:
        if self._key is not None:
            return self._key(ctx)
        # What a client has read is decoded, what a server passes on is not: one is no entry for the other.
        name = url if len(url) <= LONG else sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        place = f"{'server' if is_server else 'client'} {name}"
        if policy.shared:
            return place
        who = self._whose(ctx, request)
        return None if who is None else f"{place} {who}" if who else place

    def tells_users(self, look: Look) -> bool:
        """Tell whether the key tells who asks."""
        return self._key is None and not look.policy.shared

    def is_unsure(self, look: Look, ctx: Any) -> bool:
        """Tell whether the request that was sent says who asks, and the one that came did not, or somebody else."""
        if self._key is not None:
            return False
        if "jar" in look.request.extensions:  # its cookies may have changed since
            key = self._key_of(look.policy, look.ctx, look.request, look.asked.url, is_server=look.is_server)
            if key != look.key:
                return True
        sent = secrets(ctx, ctx.get(REQ_HTTP) or look.request)
        if look.signs:
            sent.pop("authorization", None)
        return any(look.secrets.get(name) != lines for name, lines in sent.items())

    def is_signed(self, look: Look) -> bool:
        """Tell whether the request that came bears credentials, by whatever header (RFC 9111, 3.5)."""
        return look.signs or (self._key is None and not look.secrets.keys() <= _NO_CREDENTIALS)

    def note(self, event: str, look: Look, **fields: Any) -> None:
        """Say what is worth no more than a debug line, if somebody has set up where such lines go.

        A hit takes less time than structlog, left as it is, takes to print one.
        """
        if self._is_default:
            is_configured = getattr(sys.modules.get("structlog"), "is_configured", None)  # it may be half loaded
            if not (is_configured and is_configured()) and not _log.isEnabledFor(logging.DEBUG):
                return
        self.events("debug", event, **fields, **called(look.ctx))

    # Let go of

    def _pass(self, look: Look, *, is_known: bool) -> Any:
        """Call, and see what that makes outdated."""
        asked, policy = look.asked, look.policy
        out = look.call(look.ctx)
        response = out.get(RES_HTTP) if isinstance(out, dict) else None
        if response is None:
            return out
        if is_known:
            for url in policy.invalidated(asked, response.status_code, list(response.headers.items())):
                key = look.key if url == asked.url else self._key_at(look, url)
                if key is not None:
                    self.shelf.drop(key, self.now())
        why = "bypass" if not is_known or asked.method in {"GET", "HEAD"} else "method"
        return self.say(look, out, response, fwd=why)

    def _key_at(self, look: Look, url: str) -> str | None:
        ctx = fork(look.ctx)
        ctx[REQ_HTTP].url = url
        return self._key_of(look.policy, ctx, ctx[REQ_HTTP], url, is_server=look.is_server)

    # Refresh

    def _refresh(self, look: Look) -> bool:
        """Ask in the background; tell whether that is, or has been, begun."""
        key, refreshing = look.key, self._refreshing
        if ASIDE in (look.ctx.get(STATE) or {}) or not getattr(look.request, "has_aside", True):
            return False
        if key in refreshing or len(refreshing) >= REFRESHING:
            return True
        ctx = aside(look.ctx)
        again = Look(look.policy, ctx, look.call, look.asked, key)
        again.entries, again.entry = look.entries, look.entry

        refreshing.add(key)
        begun = False
        try:
            begun = in_background(
                lambda: asking.refresh(self, again), lambda: refreshing.discard(key), "formation.cache"
            )
        finally:
            if not begun:
                refreshing.discard(key)
        return begun

    def land(self, look: Look, outcome: Outcome) -> None:
        """Let those go on who wait for this one, if it leads."""
        trip, look.trip = look.trip, None
        if trip is not None and self.collapse is not None:
            self.collapse.land(look.lane, trip, outcome)

    # Answer

    def hit(self, look: Look, verdict: Verdict, **asked: Any) -> Any:
        """Answer with the entry; ``asked`` is what came of asking, if somebody did."""
        self.land(look, STORED)
        entry, now = look.entry, self.now()
        assert entry is not None  # noqa: S101  for mypy
        ttl = floor(status.ttl(entry, now))
        answer = look.policy.answer(look.asked, entry, now)
        body = b"" if answer.body is None else entry.body[answer.body]
        if verdict is not Verdict.FRESH:
            self.events("warning", "cache.stale", ttl=ttl, **called(look.ctx))
        elif not asked:
            self.note("cache.hit", look, ttl=ttl)
        told = {**asked, "hit": not asked, "ttl": ttl, "collapsed": look.is_collapsed}
        return self._answer(look, answer.status, answer.headers, body, **told)

    def _answer(self, look: Look, code: int, headers: Any, body: bytes, **told: Any) -> Any:
        ctx, request = look.ctx, look.request
        response = received(code, Headers.received(headers), "", request, 0.0)
        response.receive(Body(body) if look.is_server else body)
        ctx[RES_HTTP] = response
        return self.say(look, ctx, response, **told)

    def say(self, look: Look, ctx: Any, response: Response, **told: Any) -> Any:
        """Say what was done, and return the context."""
        ctx.setdefault(STATE, {})[STATUS] = said = status.parameters(**told)
        if look.is_server:
            response.headers.add("Cache-Status", f"{NAME}; {said}")
        return ctx


def _steady() -> Callable[[], float]:
    """Make a clock that nobody can set, which says what the wall's would if nobody had since."""
    offset = clock.time() - clock.monotonic()
    return lambda: offset + clock.monotonic()
