"""Let each client of a server make so many requests in so much time, and tell him when to come again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from math import ceil
from typing import Any, TypeAlias

from formation import clock as clock_
from formation.errors import StorageUnavailable
from formation.events import Events, called
from formation.exchange import reply
from formation.http import ratelimit
from formation.kernel import Call, Middleware
from formation.keys import KIND, RES_HTTP, RES_RPC, STATE, STATE_SHED, WS
from formation.middleware._shed import HEALTH, Exempt, is_asked, passing
from formation.places import Key
from formation.resilience.rates import Limit, MemoryRates, Rates, Strategy, limits_of
from formation.resilience.shared_rates import RedisRates
from formation.server.clients import IPV6, client_ip, header, unnamed_proxy, who
from formation.storage.choice import Storage, kept_in
from formation.storage.outages import Outages, processes

__all__ = ["client_ip", "header", "rate_limit"]


def rate_limit(
    limits: str | Iterable[str],
    key: Key = client_ip,
    *,
    strategy: Strategy = "gcra",
    burst: int | None = None,
    storage: Storage | Rates | None = None,
    fail_open: bool = True,
    exempt: Exempt = HEALTH,
    trusted_proxies: Iterable[str] = (),
    ipv6_prefix: int = IPV6,
    logger: Any = None,
    clock: Callable[[], float] = clock_.monotonic,
) -> Middleware[Any]:
    """Let each client make so many requests in so much time, and answer 429 to the others.

    ``Retry-After`` says after how many seconds the next one is let in, and ``RateLimit`` how many more would be now. Of
    several limits all must let a request in; if one does not, none counts it. A WebSocket is one request, and is denied
    like any. On a client, and around a function, it does nothing: that is what `throttle` is for. Events:
    ``rate_limit.rejected``, ``rate_limit.per_process``, ``rate_limit.behind_proxy`` and ``storage.unavailable``
    (warning).

    Args:
        limits: ``"100/minute"``, ``"10/second; 500 per 10 minutes"``, or a list of such.
        key: a function of the context: who the client is. `client_ip`, ``header("X-API-Key")``, or your own, for which
            ``None`` is: by `client_ip`.
        strategy: ``"gcra"``: ``burst`` at once after a pause, then evenly; ``"moving-window"``: no more than the limit
            in any window; ``"sliding-window-counter"``: the same, nearly, and no time is kept for each request.
        burst: with ``"gcra"``, requests at once. ``None``: as many as the limit says.
        storage: a `formation.storage.Redis`, or its URL, where many processes count together, by the clock of Redis;
            ``None``: in the memory of the process, by itself.
        fail_open: where the storage does not answer, let everybody in; false: answer 503.
        exempt: paths of requests that are not counted, or a function of the context that tells.
        trusted_proxies: addresses and networks of proxies, as far as which ``Forwarded`` and ``X-Forwarded-For`` are
            believed; ``"unix"``: who comes by a socket without an address.
        ipv6_prefix: bits of an IPv6 address that tell clients apart. 64: the network of one, see `IPV6`.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        clock: monotonic seconds, for the memory.

    Raises:
        ValueError: a limit that cannot be read, another strategy, no network.
        TypeError: ``limits``, ``key``, ``storage``, ``exempt``, ``trusted_proxies`` or ``logger`` is none.
        ImportError: a Redis without redis-py.

    Order:
        Inside of what logs and of what sheds load, which costs less; inside of what tells who asks, if that is the key;
        outside of `idempotency`, `timeout`, and all that costs.

    Source:
        RFC 6585, 4 (429); RFC 9110, 10.2.3 (Retry-After); draft-ietf-httpapi-ratelimit-headers-11.

    >>> import logging
    >>> from formation import wrap
    >>> from formation.http import Request
    >>> def app(ctx):
    ...     return reply(ctx, 200)
    >>> logger = logging.getLogger("quiet")
    >>> logger.setLevel("CRITICAL")
    >>> chain = wrap(app, [rate_limit("1/minute", logger=logger)])
    >>> def ask():
    ...     request = Request("GET", "https://h/", peer="192.0.2.7")
    ...     return chain({"fmtn.side": "server", "fmtn.req.http": request})["fmtn.res.http"]
    >>> ask().headers["RateLimit"], ask().headers["Retry-After"]
    ('"1/minute";r=0;t=60', '60')
    """
    all_limits, events, passes = limits_of(limits), Events(logger), passing(exempt, websockets=False)
    client, counted = who(key, trusted_proxies, ipv6_prefix), (all_limits, strategy, burst)
    rates: Rates = kept_in(
        storage, "hit", lambda: MemoryRates(*counted, clock=clock), lambda redis: RedisRates(redis, *counted)
    )
    judged = _judging(all_limits, rates, events, Outages("rate_limit", events, clock), ipv6_prefix, fail_open=fail_open)
    if storage is None and (many := processes()) > 1:
        events("warning", "rate_limit.per_process", processes=many, limits=ratelimit.policy(all_limits))

    def rate_limit(ctx: Any, call: Call[Any]) -> Any:
        if not is_asked(ctx) or passes(ctx):
            return call(ctx)
        status, fields, body = judged(ctx, client(ctx))
        if status:
            ctx.setdefault(STATE, {})[STATE_SHED] = "rate_limit"
            return reply(ctx, status, fields, body)
        if ctx.get(KIND) == "websocket":
            ctx[WS].headers.extend(fields)  # of the answer that accepts it
            return call(ctx)
        ctx = call(ctx)
        if isinstance(ctx, dict) and (response := ctx.get(RES_HTTP) or ctx.get(RES_RPC)) is not None:
            response.headers.extend(fields)  # beside those of a limit further in
        return ctx

    return rate_limit


Judgement: TypeAlias = tuple[int, dict[str, str], bytes]
"""The status to answer with, 0: none; what to say in the headers of whatever is answered; the body."""


def _judging(
    limits: Sequence[Limit], rates: Rates, events: Events, outages: Outages, ipv6_prefix: int, *, fail_open: bool
) -> Callable[[Any, tuple[str, Hashable]], Judgement]:
    """Make the function that counts a request of a client, and says what becomes of it."""
    policy, has_warned = ratelimit.policy(limits), False

    def judged(ctx: Any, client: tuple[str, Hashable]) -> Judgement:
        nonlocal has_warned
        try:
            is_let_in, standings = rates.hit(client)
        except StorageUnavailable as error:
            outages(error, fail_open=fail_open)
            return (0, {}, b"") if fail_open else (503, {"Retry-After": str(ceil(error.retry_after or 1))}, b"")
        said = list(zip(limits, standings, strict=True))
        if is_let_in:
            return 0, {"RateLimit-Policy": policy, "RateLimit": ratelimit.left(said)}, b""
        retry_after = max(ceil(standing.wait) for standing in standings)
        if not has_warned and (peer := unnamed_proxy(ctx, client, ipv6_prefix)) is not None:
            has_warned = True
            events("warning", "rate_limit.behind_proxy", peer=peer)
        events("warning", "rate_limit.rejected", client=client[1], retry_after=retry_after, **called(ctx))
        # Only of those that deny: the window of another may end after Retry-After, which should not be (section 6).
        said = [(limit, standing) for limit, standing in said if standing.wait > 0]
        fields = {"RateLimit-Policy": policy, "RateLimit": ratelimit.left(said), "Retry-After": str(retry_after)}
        return 429, {**fields, "Content-Type": "application/problem+json"}, ratelimit.problem(said)

    return judged
