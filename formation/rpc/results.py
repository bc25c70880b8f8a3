"""The result: what has come of a call, or is answered in its place.

>>> result = Result("NOT_FOUND", "no such item")
>>> result.ok, result.code, result.status_code, result.details
(False, Code.NOT_FOUND, 404, 'no such item')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from multidict import getversion

from formation.http.headers import digits
from formation.rpc.codes import OK, Code
from formation.rpc.metadata import Metadata, MetadataLike

if TYPE_CHECKING:
    from formation.rpc.calls import Call

OnClose: TypeAlias = Callable[[int, BaseException | None], object]

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""In the trailers: milliseconds after which to try again, below 0: not at all (gRFC A6, "Pushback")."""

_version_of: Final[Any] = getversion


class Result:
    """What comes of a call: its code, and the message, or the messages.

    Args:
        code: a `Code`, its name, ``grpc.StatusCode``, or a status of HTTP.
        details: what it says to a person.
        headers: the initial metadata, or a function that gets it.
        trailers: the metadata at the end, or a function that gets it.
        message: the response, where it is one.
        messages: the responses of an answer in the endpoint's place, where they are a stream.
        request: the call.
        native: what the host has for it.
    """

    __slots__ = ("_came", "_code", "_ended", "_headers", "_hooks", "_raw", "_trailers", "details", "message",
                 "messages", "native", "request")  # fmt: skip

    def __init__(
        self,
        code: Any = None,
        details: str | None = None,
        *,
        headers: Any = None,
        trailers: Any = None,
        message: Any = None,
        messages: Iterable[Any] | Any = None,
        request: Call | None = None,
        native: Any = None,
    ) -> None:
        self._code = code = code if type(code) is Code else Code.of(code)
        self.details = details
        self.message = message
        self.messages = messages
        self.request = request
        self.native = native
        self._came = (code, details, message)
        self._raw = (headers, trailers)
        self._headers: _Watched | None = None
        self._trailers: _Watched | None = None
        self._hooks: list[OnClose] | None = None  # seldom are there any
        self._ended: tuple[int, BaseException | None] | None = None

    def __repr__(self) -> str:
        return f"<Result {self._code}{f' of {self.name}' if self.name else ''}>"

    @property
    def code(self) -> Code:
        """The code of gRPC."""
        return self._code

    @code.setter
    def code(self, value: Any) -> None:
        self._code = Code.of(value)

    @property
    def status_code(self) -> int:
        """What the code is in HTTP."""
        return self._code.status_code

    @status_code.setter
    def status_code(self, value: int) -> None:
        if value != self._code.status_code:
            self._code = Code.of(value)

    @property
    def ok(self) -> bool:
        """Whether the code is OK."""
        return self._code is OK

    @property
    def name(self) -> str:
        """The name of the call."""
        return "" if self.request is None else self.request.name

    @property
    def headers(self) -> Metadata:
        """The initial metadata. On a server, what is set after it has been sent goes with the trailers."""
        if self._headers is None:
            self._headers = _Watched(self._raw[0])
        return self._headers.metadata

    @headers.setter
    def headers(self, value: MetadataLike | None) -> None:
        if value is not self.headers:
            self._headers.replace(value)  # type: ignore[union-attr]  # it has just been made

    @property
    def trailers(self) -> Metadata:
        """The metadata at the end."""
        if self._trailers is None:
            self._trailers = _Watched(self._raw[1])
        return self._trailers.metadata

    @trailers.setter
    def trailers(self, value: MetadataLike | None) -> None:
        if value is not self.trailers:
            self._trailers.replace(value)  # type: ignore[union-attr]  # it has just been made

    @property
    def changed_headers(self) -> Metadata | None:
        """The initial metadata, if somebody has changed it."""
        return None if self._headers is None else self._headers.changed

    @property
    def changed_trailers(self) -> Metadata | None:
        """The trailers, if somebody has changed them."""
        return None if self._trailers is None else self._trailers.changed

    @property
    def is_changed(self) -> bool:
        """Whether it is another answer than the one that came."""
        code, details, message = self._came
        if code is not self._code or details is not self.details or message is not self.message:
            return True
        if self._headers is None and self._trailers is None:  # nobody has looked
            return False
        return self.changed_headers is not None or self.changed_trailers is not None

    @property
    def pushback(self) -> float | None:
        """Seconds after which the server wants another attempt; infinite: it wants none; ``None``: it says nothing."""
        if self.ok:
            return None
        said = self.trailers.get(PUSHBACK)
        if said is None:
            return None
        return inf if (milliseconds := digits(said)) is None else milliseconds / 1000

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once the call is over: the responses that were sent or read, and the error."""
        if self._ended is None:
            if self._hooks is None:
                self._hooks = []
            self._hooks.append(hook)
        else:
            _tell([hook], *self._ended)

    def end(self, count: int, error: BaseException | None = None) -> None:
        """Say that the call is over."""
        if self._ended is None:
            hooks, self._hooks = self._hooks, None
            self._ended = count, None if error is None else _kept(error)
            if hooks:
                _tell(hooks, count, error)

    def close(self) -> None:
        """Give up what has not been read; an attempt that is not the last is closed."""
        close = getattr(self.messages, "close", None)
        if close is not None:
            close()


class _Watched:
    """Metadata that tells whether it has been changed."""

    __slots__ = ("_version", "metadata")

    def __init__(self, raw: Any) -> None:
        fields = raw() if callable(raw) else raw
        if isinstance(fields, dict):
            fields = fields.items()
        self.metadata = Metadata.received(fields or ())
        self._version = _version_of(self.metadata)

    def replace(self, value: Any) -> None:
        self.metadata = self.metadata.replaced(value or ())
        self._version = 0

    @property
    def changed(self) -> Metadata | None:
        return None if _version_of(self.metadata) == self._version else self.metadata


def _kept(error: BaseException) -> BaseException | None:
    """Return a copy for hooks that come late: the error itself holds, by its traceback, frames that hold the result."""
    try:
        return copy(error)
    except Exception:  # noqa: BLE001  some errors cannot be made of their args
        return RuntimeError(f"the call ended before its time: {error!r}")


def _tell(hooks: list[OnClose], count: int, error: BaseException | None) -> None:
    for hook in hooks:
        try:
            hook(count, error)
        except Exception:
            from logging import getLogger  # rarely needed

            getLogger("formation").exception("an on_close hook raised: %r", hook)
