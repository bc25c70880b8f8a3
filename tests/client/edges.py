"""The client edges, as the cases in ``test_edges.py`` see them: one line for each.

A `Caller` makes the calls of every edge look the same. An edge whose calls are awaited gets a subclass of it that runs
them on an event loop of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
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

    def stream(self, path: str = "", /, method: str = "GET", **options: Any) -> AbstractContextManager[Any]:
        """Send, with the body unread."""
        return self.entering(self.sender.send(method, path, stream=True, **options))

    def entering(self, streamed: Any) -> AbstractContextManager[Any]:
        """Enter and leave what a call with ``stream=True`` gives."""
        return streamed  # type: ignore[no-any-return]

    def content(self, result: Any) -> bytes:
        """Read the body of a stream."""
        return result.response.content  # type: ignore[no-any-return]

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
    def entering(self, streamed: Any) -> Iterator[Any]:
        """Enter and leave what a call with ``stream=True`` gives."""
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
        try:
            while (chunk := self.wait(anext(chunks, None))) is not None:
                yield chunk
        finally:
            self.wait(chunks.aclose())

    def content(self, result: Any) -> bytes:
        """Read the body of a stream."""
        return self.wait(result.body.aread())  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the pool."""
        self.wait(self.sender.close())


@dataclass(frozen=True)
class Edge:
    """A client edge."""

    name: str
    caller: type[Caller] = Caller
    threads: bool = True
    """Whether threads may share a client."""
    replaces: int = 0
    """Connections of 10 000 calls that its pool closes while others wait for one, and opens anew."""
    prefix: str = ""
    """What stands before ``build`` and ``endpoint`` where a module has them for both worlds."""
    unlike: dict[str, str] = field(default_factory=dict)
    """Cases that its library does not allow for, and why; the page of the edge tells its users."""

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


NOT_HTTP = "test_what_is_not_http_is_a_protocol_error_whatever_it_is[{}]"
ODD = "test_what_is_odd_is_read_all_the_same[aiohttp-{}]"

HTTPX = {
    NOT_HTTP.format("httpx-another version"): "httpx does not ask for the version",
    NOT_HTTP.format("httpx-async-another version"): "httpx does not ask for the version",
    "test_informational_responses_without_end_are_an_error": "httpx skips any number of them",
    "test_a_head_without_end_is_an_error": "httpx takes 100 KiB for a head",
}
SLOW_HEAD = "test_a_deadline_ends_a_call_however_slowly_the_bytes_trickle_in[httpx-/drip-head?delay=0.02]"

EDGES = [
    Edge("requests"),
    Edge("httpx", replaces=100, unlike={**HTTPX, SLOW_HEAD: "each byte of a head is a new read to httpx"}),
    Edge("httpx-async", caller=AsyncCaller, threads=False, prefix="async_", unlike=HTTPX),
    Edge(
        "aiohttp",
        caller=AsyncCaller,
        threads=False,
        unlike={
            "test_headers_go_out_and_a_call_outdoes_and_removes_those_of_the_client": "it sends UTF-8",
            "test_no_body_has_length_zero_where_the_method_wants_one_and_no_length_elsewhere": "DELETE always has one",
            "test_informational_responses_without_end_are_an_error": "aiohttp waits for the end, or the deadline",
            NOT_HTTP.format("aiohttp-another version"): "aiohttp does not ask for the version",
            ODD.format("bare line feeds"): "aiohttp refuses them",
            ODD.format("two framings"): "aiohttp refuses them: it may be an attempt to smuggle",
            ODD.format("same length twice"): "aiohttp refuses it: it may be an attempt to smuggle",
            ODD.format("folded"): "aiohttp refuses it: it may be an attempt to smuggle",
        },
    ),
]
