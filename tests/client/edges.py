"""The client edges, as the cases in ``test_edges.py`` see them: one line for each.

A `Caller` makes the calls of every edge look the same. An edge whose calls are awaited gets a subclass of it that runs
them on an event loop of its own.
"""

from __future__ import annotations

import asyncio
import atexit
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


class AsyncCaller(Caller):
    """A sender whose calls are awaited, each on the same event loop."""

    runner = asyncio.Runner()

    def wait(self, awaitable: Any) -> Any:
        """Run it."""

        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    def send(self, method: str, path: str = "", /, **options: Any) -> Any:
        """Send and wait for the result."""
        return self.wait(self.sender.send(method, path, **options))

    @contextmanager
    def stream(self, path: str = "", /, method: str = "GET", **options: Any) -> Iterator[Any]:
        """Send, with the body unread."""
        streamed = self.sender.send(method, path, stream=True, **options)
        result = self.wait(streamed.__aenter__())
        try:
            yield result
        except BaseException as error:
            if not self.wait(streamed.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.wait(streamed.__aexit__(None, None, None))

    def chunks(self, result: Any) -> Iterator[bytes]:
        """Iterate over the body of a stream."""
        chunks = aiter(result.body)
        while (chunk := self.wait(anext(chunks, None))) is not None:
            yield chunk

    def close(self) -> None:
        """Close the pool."""
        self.wait(self.sender.close())


atexit.register(AsyncCaller.runner.close)


@dataclass(frozen=True)
class Edge:
    """A client edge."""

    name: str
    caller: type[Caller] = Caller
    threads: bool = True
    """Whether threads may share a client."""
    prefix: str = ""
    """What stands before ``build`` and ``endpoint`` where a module has them for both worlds."""

    @property
    def module(self) -> Any:
        """``formation.for_…``; a missing extra skips."""
        return import_module(f"formation.for_{self.name.partition('-')[0]}")

    def build(self, **settings: Any) -> Caller:
        """Make a sender."""
        return self.caller(getattr(self.module, f"{self.prefix}build")(**settings))

    def trusting(self, ca_file: str) -> Any:
        """Make what sends, trusting another authority."""
        return getattr(self.module, f"{self.prefix}endpoint")(verify=ca_file)


EDGES = [
    Edge("requests"),
    Edge("httpx"),
    Edge("httpx-async", caller=AsyncCaller, threads=False, prefix="async_"),
]
