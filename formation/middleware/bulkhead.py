"""So many calls at a time, so that one slow endpoint does not take all threads and connections."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any
from weakref import finalize

from formation.clock import monotonic
from formation.errors import BulkheadRejected
from formation.events import Events, called
from formation.kernel import Call, Middleware
from formation.keys import DEADLINE, RES_HTTP
from formation.places import Key, chosen
from formation.resilience.checks import count, seconds
from formation.resilience.keyed import Keyed
from formation.resilience.permits import Permits, Place


def bulkhead(
    limit: int = 25,
    *,
    queue: int = 0,
    max_wait: float = 0,
    lifo: bool = False,
    key: Key | None = None,
    logger: Any = None,
) -> Middleware[Any]:
    """Let ``limit`` calls be under way at a time; up to ``queue`` others wait their turn, the rest is turned away.

    Each origin (scheme, host, port) has a bulkhead of its own, in the memory of the process; all calls without a
    request share one. Threads and tasks wait in one line. A call is over when it has returned, or raised; where its
    response is a stream, when that has ended or was dropped. Event: ``bulkhead.rejected`` (warning).

    Args:
        limit: calls. 25, as in resilience4j.
        queue: calls that may wait.
        max_wait: seconds that one waits at most; nobody waits past the deadline.
        lifo: the last to come is the next to go. In an overload those who have waited longest may have been given up.
        key: a function of the context: which bulkhead. ``None``: by origin.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        ValueError: a number that cannot be; a queue without a wait, or a wait without a queue.
        TypeError: ``key`` or ``logger`` is none.
        BulkheadRejected: at a call.

    Order:
        Inside of `retry`, whose pauses would hold a place; outside of `timeout`, which shall not count the wait.

    >>> from formation import lift
    >>> @lift(middleware=[bulkhead(2)])
    ... def walk(steps):
    ...     return walk(steps - 1) if steps else "there"
    >>> walk(1)
    'there'
    >>> walk(2)
    Traceback (most recent call last):
    formation.errors.BulkheadRejected: as many calls as allowed are under way: 2, and 0 wait
    """
    count("limit", limit)
    count("queue", queue, least=0)
    seconds("max_wait", max_wait)
    if bool(queue) != bool(max_wait):
        raise ValueError(
            f"expected both queue and max_wait, or none, got {queue!r} and {max_wait!r}: nobody would wait"
        )
    which, events = chosen(key), Events(logger)

    def make(key: Hashable) -> Permits:
        return Permits(limit, queue, lifo=lifo)

    places = Keyed(make, in_use=lambda permits: permits.in_use > 0)

    def bulkhead(ctx: Any, call: Call[Any]) -> Any:
        which_one, patience = which(ctx), max_wait
        if patience and isinstance(ctx, dict) and DEADLINE in ctx:
            patience = min(patience, ctx[DEADLINE] - monotonic())
        permits, place, is_kept = places[which_one], Place(), False
        try:
            if not permits.acquire(place, patience):
                waiting = permits.waiting
                events("warning", "bulkhead.rejected", key=which_one, limit=limit, waiting=waiting, **called(ctx))
                said = f"as many calls as allowed are under way: {limit}, and {waiting} wait"
                raise BulkheadRejected(said, name="bulkhead" if which_one is None else str(which_one))
            out = call(ctx)
            response = out.get(RES_HTTP) if isinstance(out, dict) else None
            body = None if response is None else response.body
            if body is not None and not body.is_bytes:
                release = finalize(body, permits.release, place)  # when it has ended, or has been forgotten
                body.on_close(lambda count, error: release())
                is_kept = True
            return out
        finally:
            if not is_kept:
                try:
                    permits.release(place)
                except BaseException:  # an interrupt came in between
                    permits.release(place)
                    raise

    bulkhead.places = places  # type: ignore[attr-defined]  # for whoever wants to look
    return bulkhead
