"""What the cache says of what it does: in the context, in the answer of a server, and in events."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from formation.caching.status import parameters
from formation.events import Events, called
from formation.keys import STATE, STATE_CACHE

if TYPE_CHECKING:
    from formation.caching.lookup import Lookup
    from formation.http.response import Response

NAME: Final = "formation"
"""By which Cache-Status names this cache."""

_log: Final = logging.getLogger("formation")


class Reports:
    """Says what the cache does.

    Args:
        logger: as for `Events`.
    """

    def __init__(self, logger: Any) -> None:
        self.events = Events(logger)
        self._is_default = logger is None

    def note(self, event: str, lookup: Lookup, **fields: Any) -> None:
        """Say what is worth no more than a debug line, if somebody has set up where such lines go.

        A hit takes less time than structlog, left as it is, takes to print one.
        """
        if self._is_default:
            is_configured = getattr(sys.modules.get("structlog"), "is_configured", None)  # it may be half loaded
            if not (is_configured and is_configured()) and not _log.isEnabledFor(logging.DEBUG):
                return
        self.events("debug", event, **fields, **called(lookup.ctx))

    def warn(self, event: str, lookup: Lookup, **fields: Any) -> None:
        """Say what somebody should know."""
        self.events("warning", event, **fields, **called(lookup.ctx))


def say(lookup: Lookup, ctx: Any, response: Response, **told: Any) -> Any:
    """Say in ``ctx``, and in the answer of a server, what was done, and return the context.

    Args:
        lookup: the request.
        ctx: the context to return.
        response: that it has.
        told: as for `status.parameters`.
    """
    said = parameters(**told)
    ctx.setdefault(STATE, {})[STATE_CACHE] = said
    if lookup.is_server:
        response.headers.add("Cache-Status", f"{NAME}; {said}")
    return ctx
