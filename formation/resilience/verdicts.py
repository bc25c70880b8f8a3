"""What a call has shown of the endpoint: that it is well, that it is not, or nothing. `gate` is told of each call."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from formation.errors import AttemptTimeout, BreakerTriggerException, FormationError, TransportError
from formation.keys import RES_HTTP, RES_RPC
from formation.resilience.attempts import LOCAL

Verdict: TypeAlias = Literal["ok", "fail", "neutral"]

FAILING: Final = frozenset({500, 502, 503, 504})
"""Statuses of a server in trouble. 4xx is the caller's doing, 501 and 505 say what the server will never do."""

NEUTRAL: Final = frozenset({429, 499})
"""It says that we ask too much, not that the server is unwell, nor that it is well."""


def classify(ctx: Any, error: Exception | None = None) -> Verdict:
    """Say what a call has shown of the endpoint.

    ``"fail"``: 500, 502, 503, 504; errors of the connection and of time; `BreakerTriggerException`; any error that is
    not ours. ``"neutral"``: 429; what we have turned away ourselves; our other errors, for they are about what came
    back. ``"ok"``: every other response, 4xx too. An error that carries a response is judged by its status.

    Args:
        ctx: what came back; where an error was raised, what went in.
        error: what was raised.

    >>> from formation.http import Response
    >>> classify({"fmtn.res.http": Response(404)}), classify({"fmtn.res.http": Response(503)}), classify({}, OSError())
    ('ok', 'fail', 'fail')
    """
    if isinstance(error, LOCAL):
        return "neutral"
    if isinstance(error, (TransportError, AttemptTimeout, BreakerTriggerException)):
        return "fail"
    if error is not None:
        response = getattr(error, "response", None)
    else:
        response = (ctx.get(RES_HTTP) or ctx.get(RES_RPC)) if isinstance(ctx, dict) else None
    status = getattr(response, "status_code", None)
    if status in FAILING:
        return "fail"
    if status in NEUTRAL:
        return "neutral"
    if error is None or status is not None:
        return "ok"
    return "neutral" if isinstance(error, FormationError) else "fail"
