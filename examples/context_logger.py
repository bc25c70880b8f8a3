"""One log line for each call of a function: that it was called, by whom, and under which id."""

import structlog

from formation import lift
from formation.middleware import context, context_logger, request_id

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.LogfmtRenderer(key_order=["level", "event", "ns", "env", "rid"]),
    ]
)


@lift(middleware=[request_id(), context(namespace="billing", env="live"), context_logger()])
def remind(number: int) -> str:
    """Remind of an invoice."""
    return f"reminded of invoice {number}"


if __name__ == "__main__":
    for number in (12, 13):
        print(remind(number))
