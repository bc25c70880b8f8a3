"""A deadline on the wire: a header that says how much time is left. No clock of another host is believed.

What is sent is relative, in milliseconds, and rounded down, so that the server does not work on when the client has
left. ``grpc-timeout`` has its own form (gRPC over HTTP/2, "Timeout"); any other name is a number of milliseconds, as
Envoy's ``x-envoy-expected-rq-timeout-ms``.

>>> written("grpc-timeout", 1.5), written("x-envoy-expected-rq-timeout-ms", 0.0019)
('1500m', '1')
>>> read("grpc-timeout", "2S"), read("x-timeout-ms", "250"), read("x-timeout-ms", "soon")
(2.0, 0.25, None)
"""

from __future__ import annotations

import re
from typing import Any, Final

from formation.clock import monotonic
from formation.keys import DEADLINE, REQ_HTTP, STATE, STATE_DEADLINE_HEADER

GRPC: Final = "grpc-timeout"

MAX_DIGITS: Final = 8
"""Of a number, as gRPC has it: as milliseconds that is a day, and nobody waits longer."""

TICK: Final = 0.001
"""Seconds by which the clock of an event loop may be early."""

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MOST: Final = 10**MAX_DIGITS - 1
_number = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}", re.ASCII).fullmatch


def written(name: str, seconds: float) -> str:
    """Return the value of the header ``name`` for so many seconds."""
    milliseconds = int(min(max(seconds * 1000, 0), _MOST))  # and then no infinity
    return f"{milliseconds}m" if name.lower() == GRPC else str(milliseconds)


def read(name: str, value: str) -> float | None:
    """Return the seconds that the header ``name`` says, or ``None`` if it says nothing that can be read."""
    unit = _UNITS["m"]
    if name.lower() == GRPC:
        value, unit = value[:-1], _UNITS.get(value[-1:], 0)
    return int(value) * unit if unit and _number(value) else None


def announce(ctx: dict[str, Any]) -> None:
    """Write what is left into the header of the request, if somebody has asked for that."""
    name = (ctx.get(STATE) or {}).get(STATE_DEADLINE_HEADER)
    if name is not None and DEADLINE in ctx:
        ctx[REQ_HTTP].headers[name] = written(name, ctx[DEADLINE] - monotonic())


def is_past(ctx: Any, now: float) -> bool:
    """Tell whether the deadline has come: what is cancelled then took too long, whoever has cancelled it.

    >>> is_past({"fmtn.deadline": 5.0}, 4.0), is_past({"fmtn.deadline": 5.0}, 5.0), is_past({}, 5.0)
    (False, True, False)
    """
    return isinstance(ctx, dict) and DEADLINE in ctx and bool(now >= ctx[DEADLINE] - TICK)
