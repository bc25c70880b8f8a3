"""What `cache` does where no entry will do: ask, with conditions if there are any, and keep what comes."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from formation.bridge import in_async_chain
from formation.caching.copying import Copy
from formation.caching.policy import ERRORS, Verdict
from formation.caching.policy import Request as Asked
from formation.caching.status import REASONS
from formation.caching.storing import CONDITIONAL
from formation.caching.users import secrets
from formation.errors import AttemptTimeout, DeadlineExceeded, Rejected, TransportError
from formation.http.headers import digits
from formation.http.lists import members
from formation.http.response import BODILESS
from formation.keys import DEGRADED, REQ_HTTP, RES_HTTP
from formation.resilience.background import in_background, running_loop
from formation.resilience.collapse import ALONE, PASS, STORED
from formation.resilience.forks import fork, merge

if TYPE_CHECKING:
    from formation.caching.entry import Entry
    from formation.caching.look import Look
    from formation.caching.serving import Caching
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.resilience.collapse import Outcome

FAILURES: Final = (TransportError, AttemptTimeout, DeadlineExceeded, Rejected, TimeoutError, ConnectionError)
"""Errors that a stale answer is better than (RFC 5861, 4): of connections, of time, and being turned away."""

STALE: Final = "stale"
"""``ctx["degraded"]``, where a stale answer stands for an error."""

_DEGRADED: Final = "degraded"


def ask(caching: Caching, look: Look, verdict: Verdict) -> Any:
    """Ask, and answer with what comes, or with an entry if that is better."""
    try:
        return _ask(caching, look, verdict, covers=True)
    except BaseException as error:
        caching.land(look, ALONE if isinstance(error, Exception) else None)
        raise


def refresh(caching: Caching, look: Look) -> None:
    """Ask in the background, and read all of what comes, so that it is kept."""
    try:
        out = _ask(caching, look, Verdict.REFRESH, covers=False)
        response = out.get(RES_HTTP) if isinstance(out, dict) else None
        if response is not None:
            with closing(response):
                for _ in response.body:
                    pass
    except Exception as error:  # noqa: BLE001  nobody waits for it; who asks next tries again
        caching.note("cache.refresh_failed", look, error=type(error).__name__)


def _ask(caching: Caching, look: Look, verdict: Verdict, *, covers: bool) -> Any:
    policy, asked, entry = look.policy, look.asked, look.entry
    headers = policy.conditional(asked, entry, look.entries)
    look.requested_at, look.secrets = caching.now(), secrets(look.ctx, look.request)
    try:
        out = look.call(look.ctx if headers is None else _with(look, headers))
        response = out.get(RES_HTTP) if isinstance(out, dict) else None
        if response is not None and response.status_code == 304 and headers is not None:
            found = None
            if not response.history:
                found = policy.validated(asked, list(response.headers.items()), entry, look.entries)
            if found is not None:
                return _validated(caching, look, out, found)
            response.close()
            look.requested_at = caching.now()
            out = look.call(_with(look, asked.headers))
            response = out.get(RES_HTTP) if isinstance(out, dict) else None
    except Exception as error:
        failed = getattr(error, "response", None)
        status = getattr(failed, "status_code", None)
        if not covers or not (isinstance(error, FAILURES) or status in ERRORS) or not _may_cover(caching, look):
            raise
        return _cover(caching, look, failed, type(error).__name__ if status is None else status)
    if response is None:
        caching.land(look, ALONE)
        return out
    if covers and response.status_code in ERRORS and _may_cover(caching, look):
        return _cover(caching, look, response, response.status_code)
    return _keep(caching, look, out, verdict)


def _with(look: Look, headers: Any) -> Any:
    """Fork the context for a request with other headers."""
    ctx = fork(look.ctx)
    ctx[REQ_HTTP].headers = headers
    return ctx


def _merged(look: Look, out: Any) -> Any:
    """Return the caller's context, with what the call has put there, and with the request as he knows it."""
    merged = merge(look.ctx, out)
    merged[REQ_HTTP] = look.request
    return merged


def _may_cover(caching: Caching, look: Look) -> bool:
    entry = look.entry
    return entry is not None and look.policy.may_serve_stale(look.asked, entry, caching.now())


def _cover(caching: Caching, look: Look, failed: Any, why: str | int) -> Any:
    """Answer with the entry in the place of an error."""
    caching.land(look, ALONE)
    if hasattr(failed, "close"):
        with suppress(Exception):
            failed.close()
    look.ctx[DEGRADED] = STALE
    return caching.hit(look, Verdict.STALE, fwd="stale", **{"fwd_status" if isinstance(why, int) else "detail": why})


def _validated(caching: Caching, look: Look, out: Any, found: Entry) -> Any:
    """Answer with an entry that a 304 has made fresh."""
    response, at, now = out[RES_HTTP], look.requested_at, caching.now()
    headers = list(response.headers.items())
    look.entry = fresh = evolve(
        look.policy.freshen(look.asked, found, headers, requested_at=at, received_at=now), requested_at=at
    )
    response.close()
    if look.policy.refusal(look.asked, fresh.status, fresh.headers) is None:
        caching.shelf.put(look.key, fresh)
    else:  # which the 304 says
        caching.shelf.drop(look.key, at)
    is_fresh = look.policy.decide(look.asked, look.entry, now) is Verdict.FRESH
    caching.land(look, STORED if is_fresh else PASS)
    look.ctx = _merged(look, out)
    caching.note("cache.revalidated", look)
    return caching.hit(look, Verdict.FRESH, fwd="stale", fwd_status=304)


def _keep(caching: Caching, look: Look, out: Any, verdict: Verdict) -> Any:
    """Keep a new response, if it may be kept, as it passes."""
    response: Response = out[RES_HTTP]
    status, headers, at, now = response.status_code, list(response.headers.items()), look.requested_at, caching.now()
    if look.asked.method == "HEAD" and look.entry is not None and look.entry.method == "GET":
        changed = look.policy.after_head(look.asked, look.entry, status, headers, requested_at=at, received_at=now)
        if changed is None:
            caching.shelf.drop(look.key, at)
        elif changed is not look.entry:
            caching.shelf.put(look.key, evolve(changed, requested_at=at))
    why = _refusal(caching, look, out, response, headers)
    ctx = _merged(look, out)
    fwd = "vary-miss" if look.entries and look.entry is None else REASONS[verdict]
    if why is not None:
        is_newer = verdict is not Verdict.RELOAD and status not in ERRORS | CONDITIONAL and why != _DEGRADED
        if look.entry is not None and is_newer and "no-store" not in look.asked.directives:
            caching.shelf.drop(look.key, at)
        caching.land(look, ALONE if status >= 500 else PASS)
    else:
        entry = look.policy.entry(look.asked, status, headers, requested_at=at, received_at=now)
        _copy(caching, look, evolve(entry, requested_at=at), response)
    caching.note("cache.miss", look, status=status)
    told = None if look.entry is None else status
    return caching.say(look, ctx, response, fwd=fwd, fwd_status=told, stored=why is None, detail=why)


def _refusal(caching: Caching, look: Look, out: Any, response: Response, headers: Any) -> str | None:
    """Return why a response is not kept; ``None``: it is."""
    asked = look.asked
    if response.history:
        return "redirected"
    if out.get(DEGRADED) is not None:
        return _DEGRADED
    is_unsure = caching.is_unsure(look, out)
    if is_unsure and not look.policy.shared:
        return "authenticated inside of the cache"
    if look.policy.shared and (is_unsure or caching.is_signed(look)) and "authorization" not in asked.fields:
        asked = Asked(asked.method, asked.url, [*asked.headers, ("Authorization", "seen")])
    why = look.policy.refusal(asked, response.status_code, headers)
    if why is None and _varies_inside(caching, look, out):
        return "varies by what is added inside of the cache"
    if why is None and (length := _length(look, response)) is not None and length > caching.max_entry:
        return "too large"
    return why


def _varies_inside(caching: Caching, look: Look, out: Any) -> bool:
    """Tell whether the response depends on a header that the request had not yet when it was looked up."""
    sent: Request = out.get(REQ_HTTP, look.request)
    by_key = caching.tells_users(look)
    for name in members(out[RES_HTTP].headers.get("Vary", "").lower()):
        if by_key and name in {"authorization", "cookie"}:
            continue
        if name == "cookie" and (sent.cookies or "jar" in sent.extensions):  # which become a header further in
            return True
        if sent.headers.get(name) != look.asked.fields.get(name):
            return True
    return False


def _length(look: Look, response: Response) -> int | None:
    """Return how many bytes of content are announced; on clients a content that is encoded comes decoded."""
    headers = response.headers
    if not look.is_server and "Content-Encoding" in headers:
        return None
    return digits(headers.get("Content-Length"))


def _copy(caching: Caching, look: Look, entry: Entry, response: Response) -> None:
    """Keep ``entry`` with a copy of the body, when all of that has come."""
    keeping = _Keeping(caching, look, entry)
    try:
        body, expected = response.body, _length(look, response)
        if look.asked.method == "HEAD" or response.status_code in BODILESS:
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


class _Keeping:
    """An entry whose body is on its way, and the trip that lands when it is there."""

    __slots__ = ("_caching", "_entry", "_key", "_lane", "_trip")

    def __init__(self, caching: Caching, look: Look, entry: Entry) -> None:
        self._caching, self._key, self._lane, self._entry = caching, look.key, look.lane, entry
        self._trip, look.trip = look.trip, None
        if look.policy.decide(look.asked, entry, entry.received_at) is not Verdict.FRESH:
            self.land(PASS)  # the others need not wait for the end to hear that it is not for them

    def land(self, outcome: Outcome) -> None:
        """Let those go on who wait."""
        if self._trip is not None and (collapse := self._caching.collapse) is not None:
            collapse.land(self._lane, self._trip, outcome)

    def done(self, content: bytes | None) -> None:
        """Keep it with ``content``; ``None``: there is no whole body."""
        if content is None:
            self.land(ALONE)
        elif self._caching.waits and not in_async_chain() and running_loop() is not None:
            # This is the end of a body, in the event loop, where nothing can be waited for.
            in_background(lambda: self._put(content), lambda: self.land(STORED), "formation.cache")
        else:
            try:
                self._put(content)
            finally:
                self.land(STORED)

    def _put(self, content: bytes) -> None:
        self._caching.shelf.put(self._key, self._entry.with_body(content, len(content)))
