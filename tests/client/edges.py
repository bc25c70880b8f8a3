"""The client edges, as the cases in ``test_edges_….py`` see them: one line for each.

A `Caller` makes the calls of every edge look the same. An edge whose calls are awaited gets a subclass of it that runs
them on an event loop of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from formation import for_asgi, for_wsgi
from tests.apps import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Iterator


class Caller:
    """A sender, called and waited for."""

    def __init__(self, sender: Any) -> None:
        self.sender = sender

    def wait(self, made: Any) -> Any:
        """Return what a call has made, or what comes of it."""
        return made

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

    def pages(self, call: Any, **how: Any) -> Iterator[Any]:
        """Turn the pages."""
        return self.sender.pages(call, **how)  # type: ignore[no-any-return]

    def extend(self, **settings: Any) -> Caller:
        """Make a sibling."""
        return type(self)(self.sender.extend(**settings))

    def close(self) -> None:
        """Close the pool."""
        self.sender.close()


class AsyncCaller(Caller):
    """A sender whose calls are awaited, each on the same event loop."""

    runner = asyncio.Runner()

    def wait(self, made: Any) -> Any:
        """Return what comes of it."""

        async def wait() -> Any:
            return await made

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

    def pages(self, call: Any, **how: Any) -> Iterator[Any]:
        """Turn the pages."""
        pages = self.sender.pages(call, **how)
        try:
            while (page := self.wait(anext(pages, None))) is not None:
                yield page
        finally:
            self.wait(pages.aclose())

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
    app: Any = None
    """What answers in this process, in the library's place."""
    prefix: str = ""
    """What stands before ``build`` and ``endpoint`` where a module has them for both worlds."""
    unlike: dict[str, str] = field(default_factory=dict)
    """Cases that it does not allow for, and what it does; ``{}`` is its name. ``docs/client.md`` tells users."""

    @property
    def module(self) -> Any:
        """``formation.for_…``; a missing extra skips."""
        return import_module(f"formation.for_{self.name.partition('-')[0]}")

    def build(self, **settings: Any) -> Caller:
        """Make a sender."""
        return self.caller(getattr(self.module, f"{self.prefix}build")(**self.endpoint | settings))

    def client(self, **settings: Any) -> Any:
        """Make what makes a class a client."""
        return getattr(self.module, f"{self.prefix}client")(**self.endpoint | settings)

    @property
    def endpoint(self) -> dict[str, Any]:
        """The setting, where it is not the library's own."""
        return {} if self.app is None else {"endpoint": self.app()}

    def connections(self, count: int) -> int:
        """Tell how many connections a server sees where that many are right: none in this process."""
        return count if self.app is None else 0

    def trusting(self, ca_file: str) -> Any:
        """Make what sends, trusting another authority."""
        if self.app is not None:
            return self.app()
        return getattr(self.module, f"{self.prefix}endpoint")(verify=ca_file)


ON_THE_WIRE = "test_whatever_goes_wrong_on_the_wire_is_one_tree_of_errors_and_leaks_nothing[{}-%s]"
DEADLINE = "test_a_deadline_ends_a_call_however_slowly_the_bytes_trickle_in[{}-%s]"
NOT_HTTP = "test_what_is_not_http_is_a_protocol_error_whatever_it_is[{}-another version]"
ODD = "test_what_is_odd_is_read_all_the_same[{}-%s]"

VERSION = "takes an answer that says it is of another version of HTTP"
SMUGGLED = "refuses an answer that is framed in two ways, or by one said twice"

HTTPX = {
    NOT_HTTP: VERSION,
    "test_informational_responses_without_end_are_an_error": "skips any number of informational responses",
    "test_a_head_without_end_is_an_error": "takes a head of up to 100 KiB",
}
AIOHTTP = {
    NOT_HTTP: VERSION,
    "test_informational_responses_without_end_are_an_error": "skips any number of informational responses",
    ODD % "bare line feeds": "refuses an answer whose lines end by a line feed alone, in Python's development mode",
    ODD % "two framings": SMUGGLED,
    ODD % "same length twice": SMUGGLED,
    ODD % "folded": "refuses header lines that are folded, in Python's development mode",
}
UNPARSED = "has nothing to parse: where a server would send what is no answer, an app fails, which is a 500"
UNCONNECTED = "has no connection that could fail, be slow, or be closed"
PLAIN = "has no TLS: an https URL only tells the app so"
UPLOAD = "gives the app an upload as it asks for it, so there is no `WriteTimeout`"
NO_LIBRARY = 'has no library, and so no `ctx["fmtn.native"]["response"]`'
UNTIMED = "cannot interrupt a function: timeouts have no effect, and a deadline is looked at before the call"

IN_PROCESS = {
    "test_informational_responses_are_skipped": UNPARSED,
    "test_informational_responses_without_end_are_an_error": UNPARSED,
    "test_what_is_not_http_is_a_protocol_error_whatever_it_is": UNPARSED,
    "test_what_is_odd_is_read_all_the_same": UNPARSED,
    "test_a_head_without_end_is_an_error": UNPARSED,
    ON_THE_WIRE % "/close-ProtocolError": UNPARSED,
    ON_THE_WIRE % "/reset-ProtocolError": UNPARSED,
    ON_THE_WIRE % "/bad-status-line-ProtocolError": UNPARSED,
    "test_an_error_says_where_it_comes_from_and_keeps_that_when_pickled": UNPARSED,
    DEADLINE % "/drip-head?delay=0.02": UNPARSED,
    "test_a_call_that_fails_on_its_way_is_made_again": UNPARSED,
    "test_a_port_where_nobody_listens_is_a_connect_error_and_nothing_was_sent": UNCONNECTED,
    "test_a_connect_that_takes_too_long_is_a_connect_timeout": UNCONNECTED,
    "test_a_deadline_bounds_the_connect": UNCONNECTED,
    "test_a_redirect_to_a_server_that_fails_tells_of_the_hop_and_of_the_call": UNCONNECTED,
    "test_a_connection_that_the_server_has_closed_is_not_used_again": UNCONNECTED,
    "test_a_certificate_that_nobody_vouches_for_is_a_tls_error": PLAIN,
    "test_a_certificate_for_another_host_is_a_tls_error": PLAIN,
    "test_plain_http_where_tls_is_spoken_and_the_reverse_are_errors_of_transport": PLAIN,
    "test_a_server_that_reads_nothing_is_a_write_timeout": UPLOAD,
    "test_a_deadline_bounds_an_upload": UPLOAD,
    "test_the_librarys_own_response_is_there_for_whoever_must_escape": NO_LIBRARY,
}
WSGI = {
    ON_THE_WIRE % "/hang-ReadTimeout": UNTIMED,
    ON_THE_WIRE % "/hang-body-ReadTimeout": UNTIMED,
    "test_what_goes_wrong_while_a_stream_is_read_is_of_the_same_tree[{}-/hang-body-ReadTimeout]": UNTIMED,
    "test_a_call_may_say_how_long_it_waits": UNTIMED,
    "test_timeout_none_waits": UNTIMED,
    DEADLINE % "/drip?count=1000&delay=0.02": UNTIMED,
    DEADLINE % "/hang": UNTIMED,
    DEADLINE % "/hang-body": UNTIMED,
    "test_a_deadline_ends_a_stream": UNTIMED,
    "test_a_read_timeout_before_the_deadline_is_a_read_timeout": UNTIMED,
    "test_on_close_tells_how_a_stream_ended": UNTIMED,
}

EDGES = [
    Edge("requests"),
    Edge(
        "httpx",
        replaces=100,
        unlike=HTTPX | {DEADLINE % "/drip-head?delay=0.02": "waits for a head that trickles in, whatever the deadline"},
    ),
    Edge("httpx-async", caller=AsyncCaller, threads=False, prefix="async_", unlike=HTTPX),
    Edge("aiohttp", caller=AsyncCaller, threads=False, unlike=AIOHTTP),
    Edge("requests-wsgi", app=lambda: for_wsgi.endpoint(wsgi, raise_app_exceptions=False), unlike=IN_PROCESS | WSGI),
    Edge(
        "aiohttp-asgi",
        caller=AsyncCaller,
        threads=False,
        app=lambda: for_asgi.endpoint(asgi, raise_app_exceptions=False, lifespan="off"),
        unlike=IN_PROCESS,
    ),
]
