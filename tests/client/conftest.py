"""Fixtures for the cases that run over every client edge."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.client.edges import EDGES, AsyncCaller, Caller, Edge
from tests.servers import Server


@pytest.fixture(scope="session", autouse=True)
def runner() -> Iterator[None]:
    """Close the event loop of the async edges at the end."""
    yield
    AsyncCaller.runner.close()


@pytest.fixture(params=EDGES, ids=lambda edge: edge.name)
def edge(request: pytest.FixtureRequest) -> Edge:
    """Each edge."""
    found: Edge = request.param
    for case, reason in found.unlike.items():
        if case.format(found.name) in {request.node.name, request.node.originalname}:
            pytest.skip(reason)
    return found


@pytest.fixture
def make(edge: Edge) -> Iterator[Callable[..., Caller]]:
    """Make senders of the edge; they are closed after the test."""
    with ExitStack() as stack:

        def build(**settings: Any) -> Caller:
            return stack.enter_context(closing(edge.build(**settings)))

        yield build


@pytest.fixture
def http(make: Callable[..., Caller], server: Server) -> Caller:
    """A sender of the edge, for ``server``."""
    return make(base_uri=server.url)
