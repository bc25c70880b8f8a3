"""One log line with the context of a call."""

from __future__ import annotations

from typing import Any

from formation.kernel import Call, Ctx, Middleware
from formation.middleware._log import bound, say, structured


def context_logger(logger: Any = None) -> Middleware[Ctx]:
    """Log ``context`` at level info, with the fields of ``ctx["fmtn.context"]``, before each call.

    Args:
        logger: a structlog logger, or anything with ``bind`` and ``info``; ``None``: ``structlog.get_logger()``.

    Raises:
        TypeError: ``logger`` has no ``bind``.
        ImportError: ``logger`` is ``None``, and structlog is not installed.

    Order:
        Inside of `context`, which gathers the fields.

    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as lines:
    ...     ctx = context_logger()({"fmtn.context": {"ns": "billing"}}, lambda ctx: ctx)
    >>> lines
    [{'ns': 'billing', 'event': 'context', 'log_level': 'info'}]
    """
    log = structured(logger)

    def context_logger(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        say(bound(log, ctx), "info", "context")
        return call(ctx)

    return context_logger
