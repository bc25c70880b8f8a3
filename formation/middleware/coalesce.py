"""Make one call of many identical ones that come at the same time.

Theory of operation
-------------------
Who comes first calls, and who comes while it does waits for what it gets. A response is copied for each, an error as
well. If the first is cancelled, or its deadline passes, that is no outcome for the others: one of them goes next.

Two kinds of callers would wait for ever, so they call for themselves: a plain function in the very thread in which the
first is suspended, and one that the first has itself called, through whatever is in between.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextvars import ContextVar
from copy import copy
from typing import Any, Final

from formation.clock import monotonic
from formation.errors import DeadlineExceeded
from formation.http.headers import check_name
from formation.kernel import Call, Middleware
from formation.keys import (
    ATTEMPT,
    ATTEMPTS,
    DEADLINE,
    DEGRADED,
    REQ_HTTP,
    RES_HTTP,
    RESULT,
    STATE,
    STATE_COALESCED,
)
from formation.places import Key
from formation.resilience.identical import identity
from formation.resilience.together import Together, Trip

OWN: Final = ("X-Request-ID", "Traceparent", "Tracestate")
"""Headers that are different in each request and make no other answer."""


def coalesce(key: Key | None = None, *, ignore: Iterable[str] = OWN) -> Middleware[Any]:
    """Make one call of identical ones that are under way at the same time; all get its response, or its error.

    Identical are GET and HEAD requests with the same URL, headers, session and ``ctx["uid"]``, so each user's are
    apart; and calls of a function with equal arguments, which then share what it returns. Nothing is kept: who comes
    later calls anew. Each waits until its own deadline. A request for a stream, or with a body, is made by itself, and
    so is each on a server, where it is the client's. ``ctx["fmtn.state"]["coalesced"]`` is true for those who have
    waited.

    Args:
        key: a function of the context: equal keys are identical calls, ``None`` is a call by itself. ``None``: as said.
        ignore: headers that may differ.

    Raises:
        TypeError: ``key`` cannot be called.
        ValueError: a header name that is none.
        DeadlineExceeded: at a call, of those who wait.

    Order:
        Outside of `deadline`, `retry` and what spends anything; inside of a cache, which asks when it has nothing.
        Outside of what signs requests: who signs, makes each different.

    >>> import asyncio
    >>> from formation import lift
    >>> calls = []
    >>> @lift(middleware=[coalesce()])
    ... async def price(item):
    ...     calls.append(item)
    ...     await asyncio.sleep(0)
    ...     return 42
    >>> async def main():
    ...     return await asyncio.gather(price("tea"), price("tea"), price("milk"))
    >>> asyncio.run(main()), calls
    ([42, 42, 42], ['tea', 'milk'])
    """
    if key is not None and not callable(key):
        raise TypeError(f"expected key as a function of the context, got {key!r}")
    unlike = frozenset(check_name(name).lower() for name in ([ignore] if isinstance(ignore, str) else ignore))
    together = Together()

    def coalesce(ctx: Any, call: Call[Any]) -> Any:
        place = key(ctx) if key is not None else identity(ctx, unlike)
        if place is None:
            return call(ctx)
        until = ctx.get(DEADLINE) if isinstance(ctx, dict) else None
        while True:
            mine = Trip()
            try:
                trip = together.join(place, mine)
                if trip is mine:
                    return _lead(together, ctx, call, place, mine)
            finally:
                try:
                    together.end(place, mine)
                finally:
                    together.end(place, mine)  # in case an interrupt came in between
            if trip in _leads.get() or trip.signal.would_never_come():
                return call(ctx)
            if not trip.signal.wait(None if until is None else until - monotonic()):
                raise DeadlineExceeded("the deadline has passed while an identical call was under way")
            if trip.brought is not None:
                return trip.brought.give(ctx)

    return coalesce


def _lead(together: Together, ctx: Any, call: Call[Any], place: Hashable, trip: Trip) -> Any:
    """Call, and say what it has brought."""
    outer = _leads.get()
    _leads.set(outer | {trip})
    is_followed = False
    try:
        try:
            out = call(ctx)
        finally:
            _leads.set(outer)
            is_followed = together.land(place, trip)
        if is_followed:
            trip.brought = _Brought(out, None)
    except Exception as error:
        if is_followed and not isinstance(error, DeadlineExceeded):
            trip.brought = _Brought(None, _copied(error))
        raise
    return out


class _Brought:
    """What the others get."""

    __slots__ = ("error", "out")

    def __init__(self, out: Any, error: Exception | None) -> None:
        self.out, self.error = out, error
        if isinstance(out, dict):
            self.out = {name: out[name] for name in _SHARED if name in out}
            if RES_HTTP in out:
                _ = out[RES_HTTP].content  # of a stream, which then is none
                self.out[RES_HTTP] = copy(out[RES_HTTP])  # as it is now: the caller's own may change

    def give(self, ctx: Any) -> Any:
        if self.error is not None:
            raise _copied(self.error)
        if not isinstance(ctx, dict) or not isinstance(self.out, dict):
            return self.out
        ctx.update(self.out)
        if RES_HTTP in ctx:
            ctx[RES_HTTP] = copy(ctx[RES_HTTP])
            ctx[RES_HTTP].request = ctx[REQ_HTTP]
        ctx.setdefault(STATE, {})[STATE_COALESCED] = True
        return ctx


_SHARED: Final = (RES_HTTP, RESULT, ATTEMPTS, ATTEMPT, DEGRADED)

_leads: ContextVar[frozenset[Trip]] = ContextVar("formation.coalesce", default=frozenset())
"""The trips that this task, or thread, makes at the moment."""


def _copied(error: Exception) -> Exception:
    """Copy an error: each that is raised gets notes and a traceback of its own."""
    try:
        made = copy(error)
    except Exception:  # noqa: BLE001  its __init__ takes something else than its args
        return error
    made.__cause__ = error.__cause__
    if hasattr(made, "__notes__"):
        made.__notes__ = list(made.__notes__)
    return made
