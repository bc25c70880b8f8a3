"""The client edges, as the cases in ``test_edges.py`` see them: one line for each.

A `Caller` makes the calls of every edge look the same. An edge whose calls are awaited gets a subclass of it that runs
them on an event loop of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Caller:
    """A sender, called and waited for."""

    def __init__(self, sender: Any) -> None:
        self.sender = sender

    def send(self, method: str, path: str = "", /, **options: Any) -> Any:
        """Send and wait for the result."""
        return self.sender.send(method, path, **options)

    def get(self, path: str = "", /, **options: Any) -> Any:
        """Send a GET."""
        return self.send("GET", path, **options)

    def post(self, path: str = "", /, **options: Any) -> Any:
        """Send a POST."""
        return self.send("POST", path, **options)

    @contextmanager
    def stream(self, path: str = "", /, method: str = "GET", **options: Any) -> Iterator[Any]:
        """Send, with the body unread."""
        with self.sender.send(method, path, stream=True, **options) as result:
            yield result

    def chunks(self, result: Any) -> Iterator[bytes]:
        """Iterate over the body of a stream."""
        return iter(result.body)

    def extend(self, **settings: Any) -> Caller:
        """Make a sibling."""
        return type(self)(self.sender.extend(**settings))

    def close(self) -> None:
        """Close the pool."""
        self.sender.close()


@dataclass(frozen=True)
class Edge:
    """A client edge."""

    name: str
    caller: type[Caller] = Caller
    threads: bool = True
    """Whether threads may share a client."""

    @property
    def module(self) -> Any:
        """``formation.for_…``; a missing extra skips."""
        return import_module(f"formation.for_{self.name}")

    def build(self, **settings: Any) -> Caller:
        """Make a sender."""
        return self.caller(self.module.build(**settings))

    def trusting(self, ca_file: str) -> Any:
        """Make what sends, trusting another authority."""
        return self.module.endpoint(verify=ca_file)


EDGES = [Edge("requests")]
