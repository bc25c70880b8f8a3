"""Fixtures for the cases that run over every server edge."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.server.asgi_host import Host
from tests.server.edges import EDGES, Answer, App, Edge, Reply, Sent


@pytest.fixture(params=EDGES, ids=lambda edge: edge.name)
def edge(request: pytest.FixtureRequest) -> Edge:
    """Each edge."""
    found: Edge = request.param
    for name in (request.node.name, request.node.originalname):
        if name in found.unlike:
            pytest.skip(found.unlike[name])
    return found


@pytest.fixture
def ask(edge: Edge) -> Callable[..., Answer]:
    """Put middleware around an app, send it a request, return the answer: ``ask([m], app, "/path", method="POST")``."""

    def ask(middleware: Any, app: App = lambda seen: Reply(), path: str = "/", /, **sent: Any) -> Answer:
        path, _, query = path.partition("?")
        return edge.serve(edge.build(app, middleware), Sent(path=path, query=query, **sent))

    return ask


@pytest.fixture(params=["asyncio", "trio"])
def serve(request: pytest.FixtureRequest) -> Callable[..., Host]:
    """Call an ASGI app by a `Host`, on one event loop and the other; return the host."""

    def serve(app: Any, *received: Any, host: Host | None = None, **kwargs: Any) -> Host:
        host = host or Host(*received, **kwargs)
        anyio.run(host.call, app, backend=request.param)
        return host

    return serve
