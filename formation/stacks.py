"""The order in which the middlewares do best together, as a list to take, to change, or to write out.

`check` in ``check.py`` knows the orders that hurt; the numbers behind both are in ``docs/stacks.md``.
"""

from __future__ import annotations

from typing import Any, Literal

from formation.kernel import Middleware  # noqa: TC001  typing.get_type_hints finds it here
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    circuit_breaker,
    context,
    deadline,
    exception_handler,
    fallback,
    idempotency,
    idempotency_key,
    load_shed,
    rate_limit,
    request_id,
    request_logger,
    retry,
    throttle,
    timeout,
    watched,
)
from formation.storage import Redis  # noqa: TC001  as above


def resilient(
    side: Literal["client", "server"] = "client",
    *,
    total: float = 30,
    attempt: float = 10,
    at_once: int = 25,
    rate: float | None = None,
    instead: Any = None,
    limit: str | None = None,
    once: Redis | str | bool = False,
    logger: Any = None,
) -> list[Middleware[Any]]:
    """Return the recommended stack, outermost first: a plain list of your own.

    That of a client serves any function, too. Each has its counts, quotas and circuits to itself, so make one for a
    client, not one for each call.

    Args:
        side: around the calls of a client or a function, or around the app of a server.
        total: seconds for all attempts and the pauses between. Half a minute, as `deadline`.
        attempt: seconds for one; on a server for the app. A third of ``total``, so that there is time for three.
        at_once: calls at a time, for each origin; on a server the limit to begin with. As `bulkhead`.
        rate: calls in a second, for each origin; ``None``: as many as there are. Only a client has one.
        instead: what `fallback` answers where all of it fails; ``None``: the failure. Only a client has one.
        limit: requests of each address, as ``"100/minute"``, in the memory of the process; ``None``: as many as there
            are. Behind a proxy, or for several processes, put a `rate_limit` of your own in. Only a server has it.
        once: whether a POST with an ``Idempotency-Key`` is done once. On a server by a `formation.storage.Redis`, or
            its URL, where there are several processes; true: by what the memory of this one knows. On a client true:
            its server is such a one, so each POST gets a key, and is tried again; any other would do it twice.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.

    Raises:
        ValueError: another ``side``; a server has no ``rate`` and no ``instead``, a client no ``limit``; a
            number or a limit that cannot be.
        TypeError: ``logger`` or ``once`` is none.

    >>> from formation.introspection import name_of
    >>> [name_of(layer) for layer in resilient(logger=None)][-4:]
    ['retry', 'circuit_breaker', 'bulkhead', 'timeout']
    """
    if side == "server":
        if rate is not None or instead is not None:
            raise ValueError(f"expected no rate and no instead on a server, got {rate!r} and {instead!r}")
        return _server(total, attempt, at_once, limit=limit, once=once, logger=logger)
    if side != "client":
        raise ValueError(f"expected side as 'client' or 'server', got {side!r}")
    if limit is not None:
        raise ValueError(f"expected no limit on a client, got {limit!r}: rate= is how often it calls")
    if not isinstance(once, bool):
        raise TypeError(f"expected once on a client as True or False, got {once!r}: the storage is its server's")

    return [
        watched(),  # counts what the caller gets, once there is a dashboard to show it
        request_id(),  # one id for the call, whatever it takes
        context(),  # which bears it, for every line below
        request_logger(logger),  # one line at the end, with the outcome and the number of attempts
        *([] if instead is None else [fallback(instead, logger=logger)]),  # answers for whatever fails below
        deadline(total, logger=logger),  # bounds the attempts, the pauses and the waits
        *([idempotency_key()] if once else []),  # the same key for each attempt, so that a POST can have a second one
        retry(logger=logger),  # with a budget; whatever is below happens at each attempt
        circuit_breaker(logger),  # sees each attempt; an open circuit costs nothing that comes below
        *([] if rate is None else [throttle(rate, logger=logger)]),  # each attempt waits for its turn
        bulkhead(at_once, logger=logger),  # no place is held in a pause, nor while waiting for a turn
        timeout(attempt, logger=logger),  # innermost, so that our own queues are not blamed on who is called
    ]


def _server(
    total: float, attempt: float, at_once: int, *, limit: str | None, once: Any, logger: Any
) -> list[Middleware[Any]]:
    storage = None if once is True else once
    return [
        watched(),  # counts what goes out, once there is a dashboard to show it
        request_id(),  # one id for the request, that of who asks if it has one
        context(),  # which bears it, for every line below
        request_logger(logger),  # one line at the end, with the status that goes out
        exception_handler(logger=logger),  # a safe answer to whatever is raised below
        deadline(total, logger=logger),  # for the app and for the clients it asks; a 504 comes of it
        load_shed(logger=logger),  # what comes too late is not begun
        adaptive_limit(at_once, logger=logger),  # nor what is too much, before it costs anything
        *([] if limit is None else [rate_limit(limit, logger=logger)]),  # nor what is too much for one client
        *([] if once is False else [idempotency(storage, logger=logger)]),  # what was done is not done again
        timeout(attempt, logger=logger),  # innermost, so that the limit learns of what takes too long
    ]
