"""What a server says of its limits: ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11).

Both are lists of structured fields (RFC 9651); a limit is named as it was written.
"""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.resilience.rates import Limit, Standing

PROBLEM: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type of a problem (RFC 9457), section 5.1."""


def policy(limits: Iterable[Limit]) -> str:
    """Say what the limits are.

    >>> from formation.resilience.rates import limits_of
    >>> policy(limits_of("10/second; 100/minute"))
    '"10/second";q=10;w=1, "100/minute";q=100;w=60'
    """
    return ", ".join(f'"{limit.name}";q={limit.amount};w={limit.per}' for limit in limits)


def left(standings: Iterable[tuple[Limit, Standing]]) -> str:
    """Say how many requests are left of each limit, and for how many seconds.

    Where none is left, until the next one is let in. Else until all are there again, and for so long that who spreads
    them over that time keeps to the limit (section 6).

    >>> from formation.resilience.rates import Standing, limits_of
    >>> left(zip(limits_of("10/second; 100/minute"), [Standing(0.1, 0, 1), Standing(0, 90, 6)]))
    '"10/second";r=0;t=1, "100/minute";r=90;t=54'
    """
    return ", ".join(
        f'"{limit.name}";r={some};t={ceil(max(full, some * limit.per / limit.amount) if some else max(wait, 1))}'
        for limit, (wait, some, full) in standings
    )


def problem(standings: Iterable[tuple[Limit, Standing]]) -> bytes:
    """Say which limits are used up, as ``application/problem+json``."""
    said = {"type": PROBLEM, "title": "Too many requests", "status": 429}
    return json.dumps({**said, "violated-policies": [limit.name for limit, _ in standings]}).encode()
