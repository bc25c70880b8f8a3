"""One log line with the context of a call."""

from __future__ import annotations

from typing import Any

from formation.events import Events
from formation.kernel import Call, Ctx, Middleware
from formation.keys import CONTEXT


def context_logger(logger: Any = None) -> Middleware[Ctx]:
    """Log ``context`` at level info, with the fields of ``ctx["fmtn.context"]``, before each call.

    Args:
        logger: see `Events`.

    Raises:
        TypeError: ``logger`` is none.

    Order:
        Inside of `context`, which gathers the fields.

    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as lines:
    ...     ctx = context_logger()({"fmtn.context": {"ns": "billing"}}, lambda ctx: ctx)
    >>> lines
    [{'ns': 'billing', 'event': 'context', 'log_level': 'info'}]
    """
    events = Events(logger)

    def context_logger(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        events.bound(ctx.get(CONTEXT))("info", "context")
        return call(ctx)

    return context_logger
