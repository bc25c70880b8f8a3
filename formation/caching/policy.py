"""What an HTTP cache may store, use and ask. RFC 9111, 5861, 8246 and 9213, without I/O and without a clock.

Theory of operation
-------------------
A request takes one of two ways.

*There is an entry.* `Policy.select` finds it by method and Vary; `Policy.decide` says whether it may be used as it is.
If so, `Policy.answer` makes the answer of it. If not, `Policy.conditional` says what to ask. A 304 to that means the
entry that `Policy.validated` gives, which `Policy.freshen` brings up to date, and `Policy.answer` answers with. The old
entry may cover up an error, if `Policy.may_serve_stale` allows it. Anything else is a new response.

*There is none*, or a new response has come. `Policy.refusal` tells from its head whether it may be stored, so what may
not streams through; if it may, `Policy.entry` makes the entry. `Policy.invalidated` tells which URLs it makes outdated.

Where the RFC leaves a choice, the answer that cannot be wrong is taken before the one that saves a request.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Final

from attrs import evolve

from formation import dates
from formation.caching import answers, decisions, making, questions, storing, variants
from formation.caching.answers import Answer
from formation.caching.decisions import ERRORS, Verdict
from formation.caching.fields import Lines, joined
from formation.caching.request import Request
from formation.http.lists import members
from formation.http.origins import normal, same_origin
from formation.http.redirects import target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formation.caching.entry import Entry

__all__ = ["ERRORS", "Answer", "Policy", "Request", "Verdict"]

HEURISTIC: Final = 0.1
"""What has not changed for ten days is supposed not to change for one: the RFC's own example (9111, 4.2.2)."""

WEEK: Final = 7 * 86400.0
"""Seconds; a guess is no longer than that, for what has not changed for years may yet change today."""

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, 9.2.1. What is not known may do anything."""


class Policy:
    """The rules for one cache.

    Args:
        shared: whether it serves more than one user.
        heuristic: the part of the time since Last-Modified for which a response that does not say is fresh, 0.1 as the
            RFC suggests; 0: none.
        max_heuristic: seconds; that at most, a week.
        stale_if_error: seconds past its lifetime for which an entry may stand in for an error where neither response
            nor request says how long; ``None``: then it may not.
        targets: fields to look at before Cache-Control, the first that is valid counts (RFC 9213, 2.2);
            CDN-Cache-Control if the cache is shared, otherwise none.

    Raises:
        TypeError: ``targets`` is one name, not a list.
        ValueError: a number that cannot be.

    >>> policy = Policy(shared=True)
    >>> asked = Request("GET", "http://example.com/", [])
    >>> said = [("Cache-Control", "max-age=60")]
    >>> policy.refusal(asked, 200, said) is None
    True
    >>> entry = policy.entry(asked, 200, said, requested_at=1e9, received_at=1e9)
    >>> policy.decide(asked, entry, 1e9 + 59), policy.decide(asked, entry, 1e9 + 60)
    (<Verdict.FRESH: 'fresh'>, <Verdict.VALIDATE: 'validate'>)
    """

    __slots__ = ("settings", "shared")

    def __init__(
        self,
        *,
        shared: bool,
        heuristic: float = HEURISTIC,
        max_heuristic: float = WEEK,
        stale_if_error: float | None = None,
        targets: Sequence[str] | None = None,
    ) -> None:
        if targets is None:
            targets = ("cdn-cache-control",) if shared else ()
        if isinstance(targets, str):
            raise TypeError(f"expected targets as a list of names, got {targets!r}")
        self.shared = shared
        self.settings = making.Settings(
            shared=shared,
            heuristic=_number("heuristic", heuristic),
            max_heuristic=_number("max_heuristic", max_heuristic),
            stale_if_error=None if stale_if_error is None else _number("stale_if_error", stale_if_error),
            targets=tuple(name.lower() for name in targets),
        )

    def refusal(self, request: Request, status: int, headers: Lines) -> str | None:
        """Return why the response may not be stored; ``None``: it may. From the head alone.

        What could be stored but never used, with neither a lifetime nor a validator, is refused too.
        """
        fields = joined(headers)
        told, _ = self.settings.directives(fields)
        life = self.settings.lifetime(status, fields, dates.parse(fields.get("date"), 0.0) or 0.0)
        why = storing.refusal(request, status, fields, told, shared=self.shared, explicit=life.explicit)
        if why is not None:
            return why
        names = variants.names(fields.get("vary"))
        if names is None or not set(names).isdisjoint(members(request.fields.get("connection", "").lower())):
            return "vary"  # or by what a proxy further in takes away, so the origin has never seen it
        if "etag" in fields or "last-modified" in fields or life.seconds > 0:
            return None
        stale = "stale-while-revalidate" in told or "stale-if-error" in told or self.settings.stale_if_error
        return None if stale else "nothing to use it by"

    def entry(self, request: Request, status: int, headers: Lines, *, requested_at: float, received_at: float) -> Entry:
        """Return the entry to store for a response that `refusal` does not refuse; add the body by `Entry.with_body`.

        Args:
            request: that it answers.
            status: of the response.
            headers: of the response.
            requested_at: seconds since 1970, when the request was sent.
            received_at: when the head was there.
        """
        key = ("HEAD" if request.method == "HEAD" else "GET", request.url, making.vary(headers, request))
        return making.entry(self.settings, headers, status, key=key, requested_at=requested_at, received_at=received_at)

    def select(self, request: Request, entries: Iterable[Entry]) -> Entry | None:
        """Return the newest entry that answers ``request`` by its method and its Vary (RFC 9111, 4.1).

        An entry without Vary does not count if one with it was fresh when it came: the origin has left it out once.
        """
        useful = self._useful(request, entries)
        until = max((entry.date + entry.lifetime for entry in useful if entry.vary), default=-inf)
        best: Entry | None = None
        for entry in useful:
            newer = best is None or (entry.date, entry.received_at) > (best.date, best.received_at)
            if newer and (entry.vary or entry.date >= until) and request.matches(entry.vary):
                best = entry
        return best

    def decide(self, request: Request, entry: Entry | None, now: float) -> Verdict:
        """Decide what to do with ``request``, for which `select` gave ``entry``.

        Args:
            request: to be answered.
            entry: or ``None``.
            now: seconds since 1970.
        """
        return decisions.decide(request, entry, now)

    def conditional(
        self, request: Request, entry: Entry | None, entries: Iterable[Entry] = ()
    ) -> list[tuple[str, str]] | None:
        """Return all request headers to send in place of the caller's, or ``None``: nothing to validate, send those.

        Where headers are returned, a 304 is ours: see `validated`. Where not, whatever comes is the caller's own. The
        entity tags of all variants are offered, for one of them may be what this request gets, too; Last-Modified only
        of the one that Vary has selected: variants may well be of the same age (RFC 9111, 4.3.1).

        Args:
            request: to be answered.
            entry: that `select` gave for it, or ``None``.
            entries: all there are for the URL.
        """
        return questions.conditional(request, entry, self._useful(request, entries))

    def validated(
        self, request: Request, headers: Lines, entry: Entry | None, entries: Iterable[Entry] = ()
    ) -> Entry | None:
        """Return the entry that a 304 is about, or ``None``: none that we have, ask again without conditions.

        RFC 9111, 4.3.3 and 4.3.4.

        Args:
            request: as given to `conditional`; and so are ``entry`` and ``entries``.
            headers: of the 304.
            entry: that `select` gave, or ``None``.
            entries: all there are for the URL.
        """
        return questions.validated(headers, entry, self._useful(request, entries))

    def freshen(
        self, request: Request, entry: Entry, headers: Lines, *, requested_at: float, received_at: float
    ) -> Entry:
        """Return the entry as a 304 leaves it, for the variant asked for (RFC 9111, 3.2 and 4.3.4).

        What the 304 says may forbid to keep it: answer from the entry, then drop it, if ``refusal(request,
        entry.status, entry.headers)`` says so.

        Args:
            request: to be answered.
            entry: that `validated` gave.
            headers: of the 304.
            requested_at: seconds since 1970, when it was asked for.
            received_at: when it was there.
        """
        at = {"requested_at": requested_at, "received_at": received_at}
        fresh = making.updated(self.settings, entry, headers, chosen_by=entry.vary, **at)
        return evolve(fresh, vary=making.vary(fresh.headers, request))

    def after_head(
        self,
        request: Request,
        entry: Entry,
        status: int,
        headers: Lines,
        *,
        requested_at: float,
        received_at: float,
    ) -> Entry | None:
        """Return the entry for GET as a response to HEAD leaves it; ``None``: drop it (RFC 9111, 4.3.5).

        Args:
            request: the HEAD.
            entry: that `select` gave for it.
            status: of the response.
            headers: of the response. What may not be stored of it, leaves the entry as it is.
            requested_at: seconds since 1970, when it was asked for.
            received_at: when it was there.
        """
        if status != 200 or entry.status != 200:
            return entry
        told, stored = joined(headers), joined(entry.headers)
        if any(name in told and told[name] != stored.get(name) for name in ("etag", "last-modified", "vary")):
            return None
        if told.get("content-length", str(entry.length)) not in (str(entry.length), stored.get("content-length")):
            return None
        fresh = making.updated(
            self.settings, entry, headers, chosen_by=entry.vary, requested_at=requested_at, received_at=received_at
        )
        return fresh if self.refusal(request, entry.status, fresh.headers) is None else entry

    def may_serve_stale(self, request: Request, entry: Entry, now: float) -> bool:
        """Tell whether ``entry`` may be used because asking has failed: with an error, or with one of `ERRORS`.

        RFC 5861, 4. The narrower of what response and request say counts; where neither does, the setting.

        Args:
            request: to be answered.
            entry: that `select` gave for it.
            now: seconds since 1970.
        """
        return decisions.may_serve_stale(request, entry, now, self.settings.stale_if_error)

    def answer(self, request: Request, entry: Entry, now: float) -> Answer:
        """Return what ``entry`` answers: 200, 304 by the request's conditions, 206 or 416 by its Range.

        In the order of RFC 9110, 13.2.2; what is for the origin only is not looked at.

        Args:
            request: to be answered.
            entry: that `select` gave for it, or `freshen`.
            now: seconds since 1970.
        """
        return answers.answer(request, entry, now)

    def invalidated(self, request: Request, status: int, headers: Lines) -> list[str]:
        """Return the URLs whose entries a response makes outdated (RFC 9111, 4.4).

        Those of another origin are not its business.
        """
        if request.method in SAFE or not 200 <= status < 400:
            return []
        url, fields = normal(request.url), joined(headers)
        named = [target(url, fields[name]) for name in ("location", "content-location") if name in fields]
        return list(dict.fromkeys([url, *(normal(each) for each in named if each and same_origin(each, url))]))

    def _useful(self, request: Request, entries: Iterable[Entry]) -> list[Entry]:
        methods = ("GET", "HEAD") if request.method == "HEAD" else (request.method,)
        return [entry for entry in entries if entry.method in methods and entry.shared == self.shared]


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        message = f"expected {name} as a number, 0 or more, got {value!r}"
        raise ValueError(message)
    return value
