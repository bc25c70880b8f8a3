"""Ask less of an endpoint that says no: each client by itself, as much as is accepted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from formation import clock as clock_
from formation.errors import Rejected, ThrottleRejected, TransportError
from formation.events import Events, called
from formation.kernel import Call, Middleware
from formation.keys import RES_HTTP, RES_RPC
from formation.places import Key, chosen
from formation.resilience.acceptance import Acceptance
from formation.resilience.deadlines import is_past
from formation.resilience.keyed import Keyed

OVERLOADED: Final = frozenset({429, 503})
"""Statuses that say that the endpoint wants less."""


def accepted(ctx: Any, error: Exception | None = None) -> bool | None:
    """Tell whether the endpoint has taken the call; ``None``: we have not even asked.

    It has not if it says 429 or 503, if nothing came in time, or if there was no connection. Any other answer, and any
    other error, shows that it is there and works.

    >>> from formation.http import Response
    >>> (
    ...     accepted({"fmtn.res.http": Response(404)}),
    ...     accepted({"fmtn.res.http": Response(503)}),
    ...     accepted({}, TimeoutError()),
    ... )
    (True, False, False)
    """
    if isinstance(error, Rejected):
        return None
    if isinstance(error, (TransportError, TimeoutError, ConnectionError)):
        return False
    if error is not None:
        response = getattr(error, "response", None)
    else:
        response = (ctx.get(RES_HTTP) or ctx.get(RES_RPC)) if isinstance(ctx, dict) else None
    return getattr(response, "status_code", None) not in OVERLOADED


def client_throttle(
    k: float = 2,
    *,
    window: float = 30,
    max: float = 0.9,  # noqa: A002  what it is
    min_rate: float = 5,
    key: Key | None = None,
    accepted: Callable[[Any, Exception | None], bool | None] = accepted,
    logger: Any = None,
    clock: Callable[[], float] = clock_.monotonic,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Turn calls away at random, so that the endpoint is asked ``k`` times what it accepts, and no more.

    Of the calls of the last ``window`` seconds it is counted how many there were, and how many the endpoint has
    accepted: it has not said 429 or 503, nor been silent. Calls that were turned away here count as well; calls that
    were cancelled before their deadline, or turned away by another middleware, do not. Each origin (scheme, host, port)
    is counted by itself, in the memory of the process; all calls without a request are counted together. Event:
    ``client_throttle.rejected`` (warning).

    Args:
        k: how often the endpoint is asked for each call that it accepts. Two: half of what it gets may be refused, so
            that it is found out soon when there is room again (Google's SRE book).
        window: seconds. Half a minute: after an outage, it takes about twice that until all calls are made again.
        max: the highest probability with which a call is turned away. A tenth is made: it tells when the endpoint is
            back.
        min_rate: calls in a second below which none is turned away: they harm nobody, and say little.
        key: a function of the context: what is counted together. ``None``: by origin.
        accepted: a function of the context that came back and ``None``, or of the one that went in and the error:
            whether the endpoint has taken the call; ``None``: it has not been asked.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        clock: monotonic seconds.
        random: a number between two.

    Raises:
        ValueError: ``k`` below 1, ``max`` not from 0 to below 1, another number that cannot be.
        TypeError: ``key``, ``accepted`` or ``logger`` is none.
        ThrottleRejected: at a call.

    Order:
        Inside of `retry`: each attempt is a call. Outside of `throttle` and `bulkhead`, whose turns and places are not
        for calls that are not made.

    >>> import logging
    >>> from formation import lift
    >>> logger = logging.getLogger("quiet")
    >>> logger.setLevel("CRITICAL")
    >>> @lift(middleware=[client_throttle(min_rate=0.1, logger=logger)])
    ... def ask():
    ...     raise TimeoutError
    >>> def outcome():
    ...     try:
    ...         ask()
    ...     except Exception as error:
    ...         return type(error).__name__
    >>> sorted({outcome() for call in range(200)})
    ['ThrottleRejected', 'TimeoutError']
    """
    if not callable(accepted):
        raise TypeError(f"expected accepted as a function of the context and the error, got {accepted!r}")
    which, events, judge = chosen(key), Events(logger), accepted

    def make(key: Hashable) -> Acceptance:
        return Acceptance(k, window=window, most=max, min_rate=min_rate)

    make(None)  # refuses now what it would refuse at the first call
    counts = Keyed(make)

    def client_throttle(ctx: Any, call: Call[Any]) -> Any:
        place = which(ctx)
        counted = counts[place]
        refusal, bucket = counted.request(clock())
        if refusal and random(0, 1) < refusal:
            events("warning", "client_throttle.rejected", key=place, probability=round(refusal, 3), **called(ctx))
            said = f"it accepts {counted.accepts} of {counted.requests} calls: one in {1 / (1 - refusal):.3g} is made"
            raise ThrottleRejected(said, name="client_throttle" if place is None else str(place))
        taken: bool | None = None  # cancelled, unless something comes of it
        try:
            try:
                out = call(ctx)
            except Exception as error:
                taken = judge(ctx, error)
                raise
            except BaseException:
                taken = False if is_past(ctx, clock()) else None
                raise
            taken = judge(out, None)
            return out
        finally:
            if taken:
                counted.accept(bucket)
            elif taken is None:
                counted.take_back(bucket)

    client_throttle.counts = counts  # type: ignore[attr-defined]  # for whoever wants to look
    return client_throttle
