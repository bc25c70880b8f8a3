"""One call of a WSGI app (PEP 3333): what it says to `Call.start_response`, writes and returns.

A lazy app says its head late, with its first chunk; so who does not ask for it does not wait for it.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from formation.ambient import current, restore
from formation.bridge import Aside
from formation.introspection import name_of
from formation.server.wsgi.request import template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from formation.ambient import Ambient
    from formation.http.body import Body
    from formation.server.wsgi.request import Environ

    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Write: TypeAlias = Callable[[bytes], object]

_WHOLE: Final = (list, tuple)


class Call:
    """One call of an app: what it says to `start_response`, writes, and returns; the source of the response's body."""

    __slots__ = (
        "_aside",
        "_chunks",
        "_environ",
        "_out",
        "_out_write",
        "ahead",
        "ambient",
        "body",
        "ended",
        "exc_info",
        "headers",
        "is_anew",
        "iterable",
        "status",
        "template",
    )

    def __init__(self, environ: Environ) -> None:
        self._environ = environ
        self.template: str | None = None  # the route that the app has found, if it tells
        self.status: Any = None  # until the app has said it
        self.exc_info: Any = None
        self.iterable: Any = None
        self.ahead: list[bytes] = []  # written or pulled before anybody could be sent it
        self.ambient: Ambient | None = None  # what was published when the app was called
        self.body: Body | None = None  # what a middleware has looked at
        self.ended = False  # closed, so that nothing can be said any more
        self.is_anew = False  # the app has replaced its head after the chain had its say: maps are not for that body
        self._chunks: Iterator[bytes] | None = None
        self._out: Any = None  # the start_response of the server, once the chain has had its say
        self._out_write: Any = None  # what it has returned
        self._aside: Aside | None = None  # where the app runs, if it is known to write

    # What the app calls

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Take the head; a second time only with ``exc_info``."""
        if self._out is not None:
            if not exc_info:
                return self._out(status, headers)  # type: ignore[no-any-return]
            write: Write = self._out(status, headers, exc_info)  # raises it, if something has been sent
            self.is_anew = True
            return write
        if self.status is not None and not exc_info:
            raise RuntimeError("start_response() was called already: a second time it takes exc_info (PEP 3333)")
        self.status, self.headers, self.exc_info = status, headers, exc_info
        if exc_info:
            self.ahead.clear()
        if "werkzeug.request" in self._environ:
            self.template = template_of(self._environ)  # now: when the app has returned, Flask has taken it away
        return self.write

    def write(self, data: bytes, /) -> None:
        """Take bytes that go before those of the iterable, and send them if they can be sent by now."""
        if self._out_write is not None:
            self._out_write(data)
        elif not self.ended:
            self.ahead.append(data)
            if self._aside is not None:
                self._aside.pause()  # until they can

    # What the edge calls

    def begin_aside(self, app: Any) -> None:
        """Call the app, until it has returned, or written something."""
        self._aside = Aside(partial(self.begin, app))
        self._aside.go_on()

    def begin(self, app: Any) -> None:
        """Call the app."""
        self.iterable = returned = app(self._environ, self.start_response)
        if type(returned) is not list and (
            isinstance(returned, (str, bytes, bytearray))
            or not (hasattr(returned, "__iter__") or hasattr(returned, "__getitem__"))
        ):
            raise TypeError(f"expected an iterable of bytes from the WSGI app {name_of(app)!r}, got {returned!r}")
        if self.status is None and type(returned) in _WHOLE:
            raise self._silent()

    @property
    def is_paused(self) -> bool:
        """Whether the app has written something, and waits until it is sent."""
        return self._aside is not None and self._aside.is_paused

    def go_on(self) -> None:
        """Let the app go on that has written something: to the end, or as long as this cannot be sent to a pause."""
        if self._out_write is not None:
            ready, self.ahead = self.ahead, []
            for data in ready:
                self._out_write(data)
        with self._published():
            cast("Aside", self._aside).go_on()

    def finish(self) -> None:
        """Let the app go on to its end, whatever it writes: another thread could not."""
        aside, self._aside = self._aside, None
        if aside is not None and aside.is_paused:
            with self._published():
                aside.go_on()

    @contextmanager
    def _published(self) -> Iterator[None]:
        """Let the app find what was published when it was called."""
        token = None if self.ambient is None else current.set(self.ambient)
        try:
            yield
        finally:
            if token is not None:
                restore(token)

    @property
    def is_lazy(self) -> bool:
        """Whether the app may still run when its iterable is asked for more."""
        return type(self.iterable) not in _WHOLE

    @property
    def is_begun(self) -> bool:
        """Whether something has been written or pulled before it could be sent."""
        return bool(self.ahead) or self._chunks is not None

    def hand_over(self, start_response: Any, write: Write | None) -> None:
        """From now on, what the app says and writes goes to the server."""
        self._out, self._out_write, self.exc_info = start_response, write, None

    def release(self) -> Any:
        """Give away what the app has returned."""
        if self.ambient is not None:
            self.ambient.answered()
        returned, self.iterable, self.body = self.iterable, None, None
        return returned

    def look(self) -> None:
        """See to it that there is a head: ask a lazy app for its first chunk."""
        pulled = []
        while self.status is None:
            chunk = next(self, None)
            if self.status is None and (chunk or chunk is None):
                raise self._silent()
            if chunk is not None:
                pulled.append(chunk)
        self.ahead += pulled

    def _silent(self) -> RuntimeError:
        return RuntimeError(f"the WSGI app did not call start_response() before its body, {self.iterable!r}")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while self.is_paused and not self.ahead:
            self.go_on()
        if self.ahead:
            return self.ahead.pop(0)
        if self._chunks is None:
            self._chunks = iter(self.iterable)
        if self.ambient is None:
            return next(self._chunks)
        token = current.set(self.ambient)
        try:
            return next(self._chunks)
        finally:
            restore(token)

    def drop(self, error: BaseException | None = None) -> None:
        """Close it, by way of the body that somebody has looked at, so that its hooks are told."""
        if self.body is not None:
            self.body.close(error)
        self.close()

    def close(self) -> None:
        """Close what the app has returned, once."""
        self.ended = True
        if self.is_paused:
            with suppress(Exception), self._published():  # what it makes of it, nobody is to answer
                cast("Aside", self._aside).go_on(OSError("the answer is not sent: a middleware has another one"))
        iterable, self._chunks = self.iterable, iter(())
        self.iterable = self.exc_info = self.body = self._aside = self._out = self._out_write = None
        self.ahead.clear()
        with self._published():
            if hasattr(iterable, "close"):
                iterable.close()
        if self.ambient is not None:
            self.ambient.answered()
