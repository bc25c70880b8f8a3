"""Keep responses and answer with them, as HTTP says how (RFC 9111); what decides is in `formation.caching`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from formation.caching.policy import Policy
from formation.caching.serving import Caching
from formation.caching.store import Store
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, SIDE
from formation.resilience.checks import count

MAX_ENTRY: Final = 4 * 1024 * 1024
"""Bytes of a body that is kept: a sixteenth of the store in memory, so that a few large ones do not push out all
others."""


def cache(
    store: Store | str | None = None,
    *,
    shared: bool | None = None,
    heuristic: float = 0.1,
    stale_if_error: float | None = None,
    key: Callable[[Any], str | None] | None = None,
    max_entry: int = MAX_ENTRY,
    single_flight: bool = True,
    logger: Any = None,
    now: Callable[[], float] | None = None,
) -> Middleware[Any]:
    """Keep the responses that may be kept, and answer GET and HEAD with them as long as they may be used.

    What is too old is validated, by its ETag or Last-Modified; what may be used while that is done in the background
    (``stale-while-revalidate``), or where it fails (``stale-if-error``), is. A body is copied as it streams through,
    and kept when all of it has come. Conditions and ranges of the caller are answered from what is kept. A request that
    changes something, and works, makes what is kept of its URL outdated.

    ``ctx["fmtn.state"]["cache"]`` says what was done, in the words of RFC 9211, and so does the ``Cache-Status`` header
    of a server's answers. A stale answer in the place of an error sets ``ctx["degraded"]`` to ``"stale"``. Events:
    ``cache.hit``, ``cache.miss``, ``cache.revalidated``, ``cache.refresh_failed`` (debug), ``cache.stale`` (warning),
    ``storage.unavailable`` (warning, once a minute).

    What is no HTTP request, such as the call of a function, passes: HTTP says nothing about it.

    Args:
        store: ``None`` or ``"memory"``: 64 MiB in this process, and gone with it; ``"sqlite:///path"``: a file, for the
            processes of a machine; ``"redis://host"``, or a `formation.storage.redis.Redis`: for those of many; or a
            `Store`. If it fails, requests go on without it.
        shared: whether it serves more than one user, and so keeps nothing private; ``None``: on servers. Where it is
            not, each user has entries of his own.
        heuristic: the part of the time since Last-Modified for which a response that says nothing is fresh, 0.1 as the
            RFC suggests, a week at most; 0: none.
        stale_if_error: seconds past its time for which an entry may stand in for an error where neither response nor
            request says how long; ``None``: then it may not.
        key: a function of the context that returns what entries are found by, in the place of the URL and the user;
            ``None`` from it, or nothing: not to be cached.
        max_entry: bytes; a longer body passes and is not kept.
        single_flight: whether of requests that miss the same at the same time one asks, and the others wait for it, 5
            seconds at most.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        now: seconds since 1970; ``None``: a clock that nobody can set for what stays in the process, else the wall's.

    Raises:
        TypeError: ``store``, ``key`` or ``logger`` is none.
        ValueError: a number that cannot be, or a URL of no store.
        ImportError: redis-py is not installed.

    Order:
        On clients outside of `retry` and whatever spends anything, and, unless it is shared, inside of what
        authenticates, so that it sees who asks; above a client's redirects, for a response that was redirected to is
        not kept: as ``per_hop`` it is. On servers inside of what logs and of what authenticates, outside of the rest.

    >>> import logging
    >>> from formation import wrap
    >>> from formation.exchange import reply
    >>> from formation.http import Request
    >>> def endpoint(ctx):
    ...     return reply(ctx, 200, {"Cache-Control": "max-age=60"}, b"hello")
    >>> call = wrap(endpoint, [cache(now=lambda: 1e9, logger=logging.getLogger("mine"))])
    >>> def ask():
    ...     return call({"fmtn.req.http": Request("GET", "http://h/")})
    >>> ask()["fmtn.state"]["cache"], ask()["fmtn.state"]["cache"]
    ('fwd=uri-miss; stored', 'hit; ttl=60')
    """
    if key is not None and not callable(key):
        raise TypeError(f"expected key as a function of the context, got {key!r}")
    caching = Caching(
        store,
        key=key,
        max_entry=count("max_entry", max_entry),
        single_flight=single_flight,
        logger=logger,
        now=now,
    )
    policies = {
        is_shared: Policy(shared=is_shared, heuristic=heuristic, stale_if_error=stale_if_error)
        for is_shared in (True, False)
    }

    def cache(ctx: Any, call: Call[Any]) -> Any:
        request = ctx.get(REQ_HTTP) if isinstance(ctx, dict) else None
        if request is None or ctx.get(KIND, "http") != "http":
            return call(ctx)
        policy = policies[ctx.get(SIDE) == "server" if shared is None else shared]
        return caching.serve(policy, ctx, call)

    cache.store = caching.shelf.store  # type: ignore[attr-defined]  # for whoever wants to look
    return cache
