"""As many calls at a time as the server can take, which it finds out by itself; more are turned away."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Literal

from formation import clock as clock_
from formation.errors import BulkheadRejected, Rejected
from formation.events import Events, called
from formation.kernel import Call, Middleware
from formation.keys import RES_HTTP, RES_RPC
from formation.middleware._shed import HEALTH, Exempt, is_asked, is_shed, passing, shed
from formation.places import Key, chosen
from formation.resilience.concurrency import AIMD, Algorithm, Gradient2, Limiter, Seat
from formation.resilience.deadlines import is_past
from formation.resilience.keyed import Keyed

DROPPED: Final = frozenset({500, 502, 503, 504})
"""Statuses that say that the server has not done it."""


def adaptive_limit(
    initial: int = 20,
    *,
    min: int = 1,  # noqa: A002  what it is
    max: int = 200,  # noqa: A002
    algorithm: Literal["gradient2", "aimd"] | Callable[[], Algorithm] = "gradient2",
    timeout: float = 1,
    exempt: Exempt = HEALTH,
    key: Key | None = None,
    logger: Any = None,
    clock: Callable[[], float] = clock_.monotonic,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Let as many calls be under way at a time as are good for it, and answer 503 to the rest, before they cost much.

    The limit is found by how long calls take: when they take longer than they used to, they queue, and the limit
    shrinks; else it grows, slowly. A server that is asked for twice what it can do then does what it can, in time,
    instead of everything too late. What was turned away says nothing, nor what was cancelled before its deadline. A
    call is over with the head of its response; a WebSocket passes.

    On a server a request that is turned away gets a 503 with a Retry-After of one to three seconds. Elsewhere, around a
    function or in a client, a `BulkheadRejected` is raised; in a client there is a limit for each origin. Events:
    ``limit.rejected`` (warning), ``limit.changed`` (debug).

    Args:
        initial: the limit to begin with.
        min: it never is below.
        max: it never is above. 200, as Netflix.
        algorithm: ``"gradient2"``, which needs to be told nothing; ``"aimd"``: one more for each call that goes well, a
            tenth less for each that does not; or a function that makes an `Algorithm`.
        timeout: seconds after which a call has gone badly, for ``"aimd"``: well below the deadline of those who ask.
        exempt: paths of requests that are never turned away, nor counted; or a function of the context that tells.
        key: a function of the context: which limit. ``None``: on a server there is one, in a client by origin.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        clock: monotonic seconds.
        random: a number between two.

    Raises:
        ValueError: numbers that cannot be; an algorithm that is not known.
        TypeError: ``exempt``, ``key`` or ``logger`` is none.
        BulkheadRejected: at a call, not on a server.

    Order:
        On a server: inside of what logs, outside of all that costs.

    >>> from formation import lift
    >>> @lift(middleware=[adaptive_limit(2)])
    ... def walk(steps):
    ...     return walk(steps - 1) if steps else "there"
    >>> walk(2)
    Traceback (most recent call last):
    formation.errors.BulkheadRejected: as many calls as can be taken are under way: 2
    """
    makes: dict[Any, Callable[[], Algorithm]] = {
        "gradient2": lambda: Gradient2(initial, min, max),
        "aimd": lambda: AIMD(initial, min, max, timeout),
    }
    make_algorithm = algorithm if callable(algorithm) else makes.get(algorithm)
    if make_algorithm is None:
        raise ValueError(f"expected algorithm as 'gradient2', 'aimd' or a function that makes one, got {algorithm!r}")
    make_algorithm()  # refuses now what it would refuse at the first call
    passes, which, events = passing(exempt), chosen(key), Events(logger)

    def make(key: Hashable) -> Limiter:
        return Limiter(make_algorithm())

    limiters = Keyed(make, in_use=lambda limiter: limiter.in_flight > 0)

    def adaptive_limit(ctx: Any, call: Call[Any]) -> Any:
        if passes(ctx):
            return call(ctx)
        place = which(ctx)
        limiter = limiters[place]
        seat, started, dropped, new = Seat(), clock(), None, None  # it says nothing, unless something comes of it
        try:
            if not limiter.admit(seat):
                limit = limiter.limit
                events("warning", "limit.rejected", key=place, limit=limit, **called(ctx))
                return _turn_away(ctx, place, limit, random)
            try:
                out = call(ctx)
            except Exception as error:
                dropped = None if isinstance(error, Rejected) else True
                raise
            except BaseException:
                dropped = True if is_past(ctx, clock()) else None
                raise
            dropped = _dropped(out)
            return out
        finally:
            try:
                now = clock()
                new = limiter.leave(seat, now, now - started, dropped=dropped)
            finally:
                if seat.number:  # an interrupt came in between
                    limiter.leave(seat, 0, 0, dropped=None)
            if new is not None:
                events("debug", "limit.changed", key=place, limit=new)

    adaptive_limit.limiters = limiters  # type: ignore[attr-defined]  # for whoever wants to look
    return adaptive_limit


def _turn_away(ctx: Any, place: Hashable, limit: int, random: Callable[[float, float], float]) -> Any:
    if is_asked(ctx):
        return shed(ctx, "adaptive_limit", random)
    said = f"as many calls as can be taken are under way: {limit}"
    raise BulkheadRejected(said, name="adaptive_limit" if place is None else str(place))


def _dropped(ctx: Any) -> bool | None:
    """Tell whether the call has failed; ``None``: it was turned away inside, so nobody has tried."""
    if is_shed(ctx):
        return None
    response = (ctx.get(RES_HTTP) or ctx.get(RES_RPC)) if isinstance(ctx, dict) else None
    return response is not None and response.status_code in DROPPED
