"""A call of a WSGI app as a response, and a response as what goes to ``start_response`` (PEP 3333)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from multidict import istr

from formation.http.body import Body
from formation.http.headers import LONG, Headers, check_value
from formation.server.request import state
from formation.server.response import ServerResponse, announces
from formation.server.wsgi.request import MANY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.http.request import Request
    from formation.http.response import Response
    from formation.server.wsgi.call import Call

_BODILESS: Final = frozenset({*range(100, 200), 204, 304})  # RFC 9112, 6.3
_HOP_BY_HOP: Final = tuple(
    map(istr, ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
               "Transfer-Encoding", "Upgrade"))
)  # fmt: skip
_plain: Final[dict[str, str]] = {}  # headers as PEP 3333 wants them: a str, and no subclass of it


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
        else:
            return super().__getattr__(name)
        return getattr(self, name)


def head_of(response: Response) -> tuple[str, list[tuple[str, str]]]:
    """Return what goes to ``start_response``: as the app has said it, as long as nobody has changed it.

    Raises:
        ValueError: a header is not for an app to set, since it is about one connection only (PEP 3333); the status
            is no answer.
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
    if response.status_code < 200:
        raise announces(response.status_code)
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
    if len(_plain) < MANY and len(name) < LONG:
        _plain[name] = str(name)
    return str(name)
