"""The call: what a client makes and a server gets.

>>> call = Call("/shop.Items/Get", "unary_unary", [("x-user", "ann")], message=7)
>>> call.name, call.service, call.headers["X-User"]
('/shop.Items/Get', 'shop.Items', 'ann')
"""

# ruff: noqa: SLF001  a fork is a call as well

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from multidict import getversion

from formation.errors import BodyConsumed
from formation.http.timeouts import UNSET, Timeout, Unset, check_timeout
from formation.rpc.metadata import Fields, Metadata, MetadataLike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Arity: TypeAlias = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
Hook: TypeAlias = Callable[[Any], Any]

_TAKEN: Final = object()
_version_of: Final[Any] = getversion


class Messages:
    """The messages of a stream, one after another as they are needed; none is kept, and they can be had once."""

    __slots__ = ("_hooks", "_source")

    def __init__(self, source: Any, hooks: list[Hook]) -> None:
        self._source = source
        self._hooks = hooks

    def map(self, fn: Hook) -> None:
        """Put what ``fn(message)`` returns in the place of each message; to be asked for before the call is made."""
        self._hooks.append(fn)

    def take(self) -> Any:
        """Take the messages as they are, for good.

        Raises:
            BodyConsumed: they have been taken.
        """
        source, self._source = self._source, _TAKEN
        if source is _TAKEN:
            raise BodyConsumed("the messages of a stream can be had once: a call that sends them is not made again")
        return source

    def __iter__(self) -> Any:
        return iter(self.take())

    def __aiter__(self) -> Any:
        return self.take().__aiter__()

    def __repr__(self) -> str:
        return f"<Messages{' taken' if self._source is _TAKEN else ''}>"


class _Shared:
    """What the forks of a call share."""

    __slots__ = ("has_begun", "hooks")

    def __init__(self) -> None:
        self.has_begun = False
        self.hooks: dict[str, list[Hook]] = {"in": [], "out": []}


class Call:
    """A call: what a client makes and a server gets.

    ``method`` is ``/package.Service/Method``; ``arity`` says which side streams, as in ``"unary_stream"``. A single
    message is ``message``, which may be assigned; a stream is ``messages``. ``deadline`` is monotonic time, or
    ``None``; ``timeout`` is that of one attempt, in seconds.

    Args:
        method: its name.
        arity: of the four.
        metadata: what came, or what the caller gives.
        message: the request, where it is one.
        messages: the requests, where they are a stream.
        side: whose they are: on a server they come in, on a client they go out.
        peer: the address of the other side as gRPC writes it, or a function that tells; ``None``: nobody knows.
        deadline: by when the caller wants the end.
    """

    __slots__ = ("_headers", "_messages", "_peer", "_raw", "_shared", "_timeout", "_version", "arity", "auth",
                 "deadline", "message", "method", "side", "template")  # fmt: skip

    def __init__(  # noqa: PLR0917  the edges make one for each call
        self,
        method: str,
        arity: Arity = "unary_unary",
        metadata: Any = (),
        message: Any = None,
        messages: Any = None,
        side: str = "client",
        peer: Any = None,
        deadline: float | None = None,
    ) -> None:
        self.method = method
        self.arity = arity
        self.message = message
        self.side = side
        self.deadline = deadline
        self.auth = None  # as a request of HTTP has it; here credentials are the channel's
        self.template = method
        self._raw = metadata
        self._headers: Metadata | None = None
        self._version = 0
        self._peer = peer
        self._timeout: Timeout | Unset = UNSET
        self._messages: Messages | None = None
        self._shared: _Shared | None = None if arity == "unary_unary" else _Shared()  # most calls have nothing in it
        if messages is not None:
            self._messages = Messages(messages, self._share().hooks["in" if side == "server" else "out"])

    def __repr__(self) -> str:
        return f"<Call {self.method}>"

    # Names

    @property
    def path(self) -> str:
        """The method."""
        return self.method

    @property
    def name(self) -> str:
        """The method: the name for logs and metrics."""
        return self.method

    @property
    def service(self) -> str:
        """``package.Service``."""
        return self.method[1:].partition("/")[0]

    @property
    def peer(self) -> str | None:
        """The address of the other side, without scheme and port; ``None`` where nobody knows it."""
        if callable(self._peer):
            self._peer = _address(self._peer())
        peer: str | None = self._peer
        return peer

    @property
    def extensions(self) -> dict[str, Any]:
        """Nothing; a request of HTTP has some."""
        return {}

    # What is sent

    @property
    def headers(self) -> Metadata:
        """The metadata."""
        if self._headers is None:
            self._headers = Metadata.received(self._raw or ())
            self._version = _version_of(self._headers)
        return self._headers

    @headers.setter
    def headers(self, value: MetadataLike | None) -> None:
        if value is not self.headers:
            self._headers = self.headers.replaced(value or ())
            self._version = 0

    @property
    def changed(self) -> Fields | None:
        """The metadata to send in place of what was given; ``None`` if nobody has changed it."""
        if self._headers is None or _version_of(self._headers) == self._version:
            return None
        return self._headers.fields()

    @property
    def timeout(self) -> Timeout | Unset:
        """Seconds for one attempt; `UNSET`: what the caller has said."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: Timeout | Unset) -> None:
        self._timeout = check_timeout(value)

    @property
    def messages(self) -> Messages | None:
        """The stream of requests; ``None`` where there is one message."""
        return self._messages

    @property
    def request_streaming(self) -> bool:
        """Whether the requests are a stream."""
        return self.arity.startswith("stream")

    @property
    def response_streaming(self) -> bool:
        """Whether the responses are a stream."""
        return self.arity.endswith("stream")

    def on_receive(self, hook: Hook) -> None:
        """Call ``hook(message)`` for each message of a stream that comes; what it returns takes its place.

        To be asked for before the call is made.
        """
        self._share().hooks["in"].append(hook)

    def on_send(self, hook: Hook) -> None:
        """Call ``hook(message)`` for each message of a stream that goes; what it returns takes its place.

        To be asked for before the call is made.
        """
        self._share().hooks["out"].append(hook)

    def hooks(self, direction: str) -> Sequence[Hook]:
        """Return the hooks for messages that go ``"in"`` or ``"out"``."""
        return () if self._shared is None else self._shared.hooks[direction]

    def _share(self) -> _Shared:
        if self._shared is None:
            self._shared = _Shared()
        return self._shared

    # Again

    @property
    def replayable(self) -> bool:
        """Whether it can be made a second time: not with a stream, nor when a message has come back already."""
        return self._messages is None and (self._shared is None or not self._shared.has_begun)

    def rewind(self) -> None:
        """Make ready to be sent again.

        Raises:
            BodyConsumed: it cannot be.
        """
        if not self.replayable:
            raise BodyConsumed(f"{self.method} cannot be called again: it streams, or a message has come back already")

    def begin(self) -> None:
        """Say that a message of the answer has been handed out."""
        self._share().has_begun = True

    def fork(self) -> Call:
        """Return a call of its own for another attempt: what is done to its metadata is not done here."""
        self._share()
        fork = Call.__new__(Call)
        for name in Call.__slots__:
            setattr(fork, name, getattr(self, name))
        if self._headers is not None:
            changed = _version_of(self._headers) != self._version
            fork._headers = own = self._headers.copy()
            fork._version = 0 if changed else _version_of(own)
        return fork

    __copy__ = fork


def _address(peer: str | None) -> str | None:
    """Return the address in what gRPC calls a peer.

    >>> _address("ipv4:127.0.0.1:50051"), _address("ipv6:%5B::1%5D:50051"), _address("unix:")
    ('127.0.0.1', '::1', 'unix:')
    """
    if not peer:
        return None
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return peer
    return rest.rpartition(":")[0].strip("[]")


def trace_of(metadata: Any) -> Mapping[str, str] | None:
    """Return the trace context of W3C in raw metadata, or ``None``."""
    for each, _ in metadata or ():
        if each == "traceparent":  # seldom, and this is asked at each call
            return {name: value for name, value in metadata if name in {"traceparent", "tracestate"}}
    return None
