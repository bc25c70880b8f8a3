"""A call of a WSGI app as a response (PEP 3333).

A response is what the app says to `Call.start_response`, writes and returns. A lazy app says it late, so a status that
nobody asks for is not waited for.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from multidict import istr

from formation.ambient import current, restore
from formation.bridge import Aside
from formation.http.body import Body
from formation.http.headers import Headers, check_value
from formation.introspection import name_of
from formation.server.request import state
from formation.server.response import ServerResponse
from formation.server.wsgi_request import MANY, template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from formation.ambient import Ambient
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.server.wsgi_request import Environ

    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Write: TypeAlias = Callable[[bytes], object]

_BODILESS: Final = frozenset({*range(100, 200), 204, 304})  # RFC 9112, 6.3
_HOP_BY_HOP: Final = tuple(
    map(istr, ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
               "Transfer-Encoding", "Upgrade"))
)  # fmt: skip
_WHOLE: Final = (list, tuple)
_UNSAID: Final[dict[str, Any]] = {
    "url": "", "elapsed": None, "trailers": None, "_extensions": None, "history": (), "_whole": False
}  # fmt: skip
_plain: Final[dict[str, str]] = {}  # headers as PEP 3333 wants them: a str, and no subclass of it


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


class WsgiResponse(ServerResponse):
    """The response of a call of a WSGI app."""

    __slots__ = ("limit",)

    def __init__(self, call: Call, request: Request, limit: int | None) -> None:  # not super's: there may be no status
        self.native = call
        self._came = {}
        self.request = request
        self.limit = limit

    @property
    def status_changed(self) -> bool:
        """Whether another status is to go out than that of the app."""
        return "status" in self._came and self._came["status"] != (self._status_code, self._reason)

    @property
    def streams(self) -> bool:
        """Whether what is to be sent is what the app yields, as it is or through maps."""
        came = self._came
        if "status" in came and self.status_changed and self._status_code in _BODILESS:
            return False
        own: Body | None = came.get("_body")
        if own is None:
            return True
        return self._body is own and not own.is_bytes and (own.is_watched or own.native is self.native)

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self._reason or super().reason

    @reason.setter
    def reason(self, value: str) -> None:
        self._reason  # noqa: B018  read now: later it could not be told from what is assigned
        self._reason = check_value("reason", value)

    def read_headers(self) -> Headers:
        """Read the headers; a lazy app is asked for its first chunk."""
        call: Call = self.native
        if call.status is None:
            call.look()
        try:
            return Headers.received(call.headers)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"expected headers from the WSGI app as a list of pairs of str, got {call.headers!r}"
            ) from error

    def read_body(self) -> Body:
        """Make a body of what the app yields, and has written."""
        call: Call = self.native
        call.body = Body(call, limit=self.limit)
        return call.body

    def __getattr__(self, name: str) -> Any:
        """Fill a slot that is empty. A lazy app is asked for its first chunk, for it says the head with it."""
        if name == "_headers":  # first, and without detours: what middlewares ask for
            self._headers = headers = self.read_headers()
            self._came[name] = state(headers)
            return headers
        if name in {"_status_code", "_reason"}:
            call: Call = self.native
            if call.status is None:
                call.look()
            self._came["status"] = self._status_code, self._reason = parse_status(call.status)
        elif name in _UNSAID:
            setattr(self, name, _UNSAID[name])
        else:
            return super().__getattr__(name)
        return getattr(self, name)


def head_of(response: Response) -> tuple[str, list[tuple[str, str]]]:
    """Return what goes to ``start_response``: as the app has said it, as long as nobody has changed it.

    Raises:
        ValueError: a header is not for an app to set, since it is about one connection only (PEP 3333).
    """
    if type(response) is not WsgiResponse:
        return _said(response), _lines(response.headers, ())
    call: Call = response.native
    status = _said(response) if response.status_changed else call.status
    return status, _lines(response.headers, call.headers) if response.headers_changed else call.headers


def is_bodiless(response: Response) -> bool:
    """Tell whether no body may be sent: to HEAD, and with some statuses."""
    is_head = response.request is not None and response.request.method == "HEAD"
    return is_head or response.status_code in _BODILESS


def _said(response: Response) -> str:
    return f"{response.status_code} {response.reason}"


def _lines(headers: Headers, came: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    if not headers.keys().isdisjoint(_HOP_BY_HOP):
        own = Headers.received(came)
        for name in _HOP_BY_HOP:
            if headers.getlist(name) != own.getlist(name):
                raise ValueError(
                    f"expected headers for the client from a middleware, got {str(name)!r}, which is about the "
                    "connection, and the server's to set (PEP 3333): leave it out"
                )
    try:
        plain = _plain
        return [(plain[name], value) for name, value in headers.items()]
    except KeyError:  # a new name
        return [(_plain_of(name), value) for name, value in headers.items()]


def parse_status(status: Any) -> tuple[int, str]:
    """Take ``"404 Not Found"`` apart."""
    code = status[:3] if isinstance(status, str) else ""
    if len(code) != 3 or not code.isdecimal() or status[3:4].strip():
        raise ValueError(f"expected a status such as '200 OK' from the WSGI app, got {status!r}")
    return int(code), status[4:]


def _plain_of(name: str) -> str:
    if len(_plain) < MANY:
        _plain[name] = str(name)
    return str(name)
