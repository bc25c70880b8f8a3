"""Where no entry will do: ask, with conditions if there are any, and answer with what comes, or with what is better."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from formation.caching.keeping import keep
from formation.caching.lookup import response_of
from formation.caching.policy import ERRORS, Verdict
from formation.caching.reports import say
from formation.caching.status import REASONS
from formation.caching.users import credentials
from formation.errors import AttemptTimeout, DeadlineExceeded, Rejected, TransportError
from formation.keys import DEGRADED, REQ_HTTP, RES_HTTP
from formation.resilience.collapse import ALONE, PASS, STORED
from formation.resilience.forks import fork, merge

if TYPE_CHECKING:
    from formation.caching.entry import Entry
    from formation.caching.fields import Lines
    from formation.caching.lookup import Lookup
    from formation.caching.serving import Caching
    from formation.http.response import Response

FAILURES: Final = (TransportError, AttemptTimeout, DeadlineExceeded, Rejected, TimeoutError, ConnectionError)
"""Errors that a stale answer is better than (RFC 5861, 4): of connections, of time, and being turned away."""

STALE: Final = "stale"
"""``ctx["degraded"]``, where a stale answer stands for an error."""


def ask(caching: Caching, lookup: Lookup, verdict: Verdict) -> Any:
    """Ask, and answer: with the entry, too, where asking fails and the entry may cover that up (RFC 5861, 4)."""
    try:
        out, confirmed = _sent(caching, lookup)
    except Exception as error:
        failed = getattr(error, "response", None)
        status = getattr(failed, "status_code", None)
        if (isinstance(error, FAILURES) or status in ERRORS) and _may_cover(caching, lookup):
            return _cover(caching, lookup, failed, type(error).__name__ if status is None else status)
        raise
    response = response_of(out)
    if response is not None and response.status_code in ERRORS and _may_cover(caching, lookup):
        return _cover(caching, lookup, response, response.status_code)
    return _answered(caching, lookup, out, confirmed, verdict)


def ask_behind(caching: Caching, lookup: Lookup) -> Any:
    """Ask for nobody but the store: what the entry would cover up is of no use to it."""
    return _answered(caching, lookup, *_sent(caching, lookup), Verdict.REFRESH)


def _sent(caching: Caching, lookup: Lookup) -> tuple[Any, Entry | None]:
    """Send the request, if need be twice; return what comes, and the entry that it confirms, if it is our 304."""
    policy, parsed, entry = lookup.policy, lookup.parsed, lookup.entry
    headers = policy.conditional(parsed, entry, lookup.entries)
    lookup.requested_at, lookup.credentials = caching.now(), credentials(lookup.ctx, lookup.request)
    if headers is None:
        return lookup.call(lookup.ctx), None
    out = lookup.call(_with(lookup, headers))
    response = response_of(out)
    if response is None or response.status_code != 304:
        return out, None
    confirmed = None
    if not response.history:
        confirmed = policy.validated(parsed, list(response.headers.items()), entry, lookup.entries)
    if confirmed is None:  # it is about something else
        response.close()
        lookup.requested_at = caching.now()
        out = lookup.call(_with(lookup, parsed.headers))
    return out, confirmed


def _with(lookup: Lookup, headers: Lines) -> Any:
    """Fork the context for a request with other headers."""
    ctx = fork(lookup.ctx)
    ctx[REQ_HTTP].headers = headers
    return ctx


def _answered(caching: Caching, lookup: Lookup, out: Any, confirmed: Entry | None, verdict: Verdict) -> Any:
    """Answer with what has come; keep it, if it may be kept."""
    response = response_of(out)
    if response is None:
        lookup.land(ALONE)
        return out
    if confirmed is not None:
        return _confirmed(caching, lookup, out, confirmed)
    status = response.status_code
    why = keep(caching, lookup, out, verdict)
    caching.reports.note("cache.miss", lookup, status=status)
    fwd = "vary-miss" if lookup.entries and lookup.entry is None else REASONS[verdict]
    told = None if lookup.entry is None else status
    return say(lookup, _merged(lookup, out), response, fwd=fwd, fwd_status=told, stored=why is None, detail=why)


def _confirmed(caching: Caching, lookup: Lookup, out: Any, entry: Entry) -> Any:
    """Answer with the entry that a 304 has made fresh."""
    response: Response = out[RES_HTTP]
    policy, parsed, now = lookup.policy, lookup.parsed, caching.now()
    headers = list(response.headers.items())
    response.close()
    fresh = policy.freshen(parsed, entry, headers, requested_at=lookup.requested_at, received_at=now)
    if policy.refusal(parsed, fresh.status, fresh.headers) is None:
        caching.shelf.put(lookup.key, fresh)
    else:  # which the 304 says
        caching.shelf.drop([lookup.key], lookup.requested_at)
    lookup.land(STORED if policy.decide(parsed, fresh, now) is Verdict.FRESH else PASS)
    lookup.entry, lookup.ctx = fresh, _merged(lookup, out)
    caching.reports.note("cache.revalidated", lookup)
    return caching.hit(lookup, Verdict.FRESH, fwd="stale", fwd_status=304)


def _merged(lookup: Lookup, out: Any) -> Any:
    """Return the caller's context, with what the call has put there, and with the request as he knows it."""
    merged = merge(lookup.ctx, out)
    merged[REQ_HTTP] = lookup.request
    return merged


def _may_cover(caching: Caching, lookup: Lookup) -> bool:
    entry = lookup.entry
    return entry is not None and lookup.policy.may_serve_stale(lookup.parsed, entry, caching.now())


def _cover(caching: Caching, lookup: Lookup, failed: Any, why: str | int) -> Any:
    """Answer with the entry in the place of an error."""
    lookup.land(ALONE)
    if hasattr(failed, "close"):
        with suppress(Exception):
            failed.close()
    lookup.ctx[DEGRADED] = STALE
    told: dict[str, Any] = {"fwd_status": why} if isinstance(why, int) else {"detail": why}
    return caching.hit(lookup, Verdict.STALE, fwd="stale", **told)
