"""The stack to begin with: an id, a context, a duration, and a log line for each request and response."""

from __future__ import annotations

from typing import Any

from formation.kernel import Ctx, Middleware


def default_stack(logger: Any = None) -> list[Middleware[Ctx]]:
    """Return ``[request_id(), context(), request_duration(), request_logger(logger)]``, outermost first.

    It is a plain list of your own: add to it, cut it, or write it out and give each its settings.

    Args:
        logger: of `request_logger`.

    Raises:
        TypeError: ``logger`` is none.

    Order:
        The id comes first, for the context contains it; the context before the logger, for each line bears it.

    >>> [middleware.__name__ for middleware in default_stack()]
    ['request_id', 'context', 'request_duration', 'request_logger']
    """
    from formation.middleware import context, request_duration, request_id, request_logger

    return [request_id(), context(), request_duration(), request_logger(logger)]
