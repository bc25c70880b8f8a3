"""What `cache` does with a request: look, answer, or ask and keep.

Theory of operation
-------------------
A request is a `Lookup`, which each step fills in further:

1. `entry_keys` says by what its entries are found, and `shelf` finds them in the store. If one of them answers it, by
   the `policy`, that is all.
2. If not, and somebody asks the same already, it waits until he has kept what comes (`waiting`), and looks again.
3. Else one asks (`asking`): with conditions of ours, on a fork, if there is something to validate. What comes is an
   answer, a 304 that makes the entry fresh, or an error that the entry may cover up.
4. What is to be kept is copied as it passes to whoever reads it, and kept when it has come to its end (`keeping`). Then
   those go on who wait for it; or as soon as it turns out that there will be nothing to wait for.

What may be used stale is answered with, and asked for behind (`refreshing`). What changes something, passes, and makes
what is kept outdated.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

from formation import clock
from formation.caching import status
from formation.caching.asking import ask
from formation.caching.entry_keys import Keys
from formation.caching.lookup import Lookup, response_of
from formation.caching.policy import Request as PolicyRequest
from formation.caching.policy import Verdict
from formation.caching.refreshing import refresh
from formation.caching.reports import Reports, say
from formation.caching.shelf import Shelf, stored_in
from formation.caching.waiting import wait_for_another
from formation.http.body import Body
from formation.http.headers import Headers
from formation.http.origins import normal
from formation.http.response import received
from formation.keys import REQ_HTTP, RES_HTTP
from formation.resilience.collapse import ALONE, STORED, Collapse

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.caching.entry import Entry
    from formation.caching.fields import Lines
    from formation.caching.policy import Policy
    from formation.http.request import Request
    from formation.kernel import Call
    from formation.resilience.collapse import Outcome

READ: Final = frozenset({"GET", "HEAD"})
"""Methods that are answered with entries; all others pass, and so do they with a body."""


class Caching:
    """A cache: its store, by what it finds entries there, and what is under way. The arguments are those of `cache`."""

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
        self.reports = Reports(logger)
        self.shelf = Shelf(stored_in(store), self.reports.events)
        self.keys = Keys(key, is_local=not self.shelf.leaves)
        self.max_entry = max_entry
        self.collapse = Collapse() if single_flight else None
        self.refreshing: dict[str, object] = {}
        self.now = now or (clock.time if self.shelf.leaves else _steady())

    def serve(self, policy: Policy, ctx: Any, call: Call[Any]) -> Any:
        """Answer the request of ``ctx``."""
        request: Request = ctx[REQ_HTTP]
        parsed = PolicyRequest(request.method, normal(request.target), list(request.headers.items()))
        lookup = Lookup(policy, ctx, call, parsed)
        lookup.key = self.keys.of(lookup) or ""
        if not lookup.key or parsed.method not in READ or lookup.has_body():
            return self._pass(lookup)
        try:
            return self._serve(lookup)
        except BaseException as error:
            outcome: Outcome = ALONE if isinstance(error, Exception) else None
            for each in (lookup, lookup.keeping):  # whichever has the landing by now
                if each is not None:
                    each.land(outcome)
            raise

    def _serve(self, lookup: Lookup) -> Any:
        while True:
            verdict = self._find(lookup)
            if verdict is Verdict.REFRESH and not refresh(self, lookup):
                verdict = Verdict.VALIDATE
            if verdict is Verdict.FRESH or verdict is Verdict.STALE or verdict is Verdict.REFRESH:
                return self.hit(lookup, verdict)
            if verdict is Verdict.UNAVAILABLE:
                return _answer(lookup, 504, [("Content-Length", "0")], b"", fwd="miss", detail="only-if-cached")
            if self.collapse is None or not wait_for_another(self.collapse, self.keys, lookup, verdict):
                return ask(self, lookup, verdict)

    def _find(self, lookup: Lookup) -> Verdict:
        lookup.entries = self.shelf.get(lookup.key)
        entry = lookup.policy.select(lookup.parsed, lookup.entries)
        if not lookup.is_server and entry is not None and "range" in lookup.parsed.fields and _is_decoded(entry):
            lookup.entries, entry = [], None  # bytes of the content are no bytes of what is encoded
        lookup.entry = entry
        return lookup.policy.decide(lookup.parsed, entry, self.now())

    def hit(self, lookup: Lookup, verdict: Verdict, **asked: Any) -> Any:
        """Answer with the entry; ``asked`` is what came of asking, if somebody did."""
        lookup.land(STORED)
        entry, now = lookup.entry, self.now()
        assert entry is not None  # noqa: S101  for mypy
        ttl = floor(status.ttl(entry, now))
        answer = lookup.policy.answer(lookup.parsed, entry, now)
        body = b"" if answer.body is None else entry.body[answer.body]
        if verdict is not Verdict.FRESH:
            self.reports.warn("cache.stale", lookup, ttl=ttl)
        elif not asked:
            self.reports.note("cache.hit", lookup, ttl=ttl)
        told = {**asked, "hit": not asked, "ttl": ttl, "collapsed": lookup.has_waited}
        return _answer(lookup, answer.status, answer.headers, body, **told)

    def _pass(self, lookup: Lookup) -> Any:
        """Call, and drop what that makes outdated."""
        out = lookup.call(lookup.ctx)
        response = response_of(out)
        if response is None:
            return out
        parsed = lookup.parsed
        urls = lookup.policy.invalidated(parsed, response.status_code, list(response.headers.items()))
        self.shelf.drop((key for url in urls for key in self.keys.of_url(lookup, url)), self.now())
        return say(lookup, out, response, fwd="bypass" if not lookup.key or parsed.method in READ else "method")


def _answer(lookup: Lookup, code: int, headers: Lines, body: bytes, **told: Any) -> Any:
    response = received(code, Headers.received(headers), "", lookup.request, 0.0)
    response.receive(Body(body) if lookup.is_server else body)
    lookup.ctx[RES_HTTP] = response
    return say(lookup, lookup.ctx, response, **told)


def _is_decoded(entry: Entry) -> bool:
    """Tell whether what a client has kept was encoded when it came."""
    return any(name.lower() == "content-encoding" for name, _ in entry.headers)


def _steady() -> Callable[[], float]:
    """Make a clock that nobody can set, which says what the wall's would if nobody had since."""
    offset = clock.time() - clock.monotonic()
    return lambda: offset + clock.monotonic()
