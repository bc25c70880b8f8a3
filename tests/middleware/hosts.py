"""The hosts that a server's middleware runs in: a test that takes `every_host` has the same answer from each.

``answered(host, middleware, app, …)`` returns what the host's server would send; ``app`` is a `Reply`, or a function
that makes one of what it has seen.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.edges import EDGES, Answer, Edge, Reply, Sent, pieces

__all__ = ["Reply", "answered", "every_host", "pieces"]

every_host = pytest.mark.parametrize("host", EDGES, ids=lambda edge: edge.name)


def answered(host: Edge, middleware: list[Any], app: Any, path: str = "/", **sent: Any) -> Answer:
    """Ask once."""
    make = app if callable(app) else lambda seen: app
    answer = host.serve(host.build(make, middleware), Sent(path=path, **sent))
    if answer.error is not None:
        raise answer.error
    return answer
