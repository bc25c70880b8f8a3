"""The response of a server: what the app has answered, read only as far as somebody asks.

As with the request, slots stay empty until they are read. What nobody has touched goes out as the app has said it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from multidict import getversion

from formation.http.response import Response

if TYPE_CHECKING:
    from formation.http.body import Body
    from formation.http.headers import Headers
    from formation.http.request import Request


def announces(status: int) -> ValueError:
    """Make the error for a middleware whose answer only announces one: 1xx (RFC 9110, 15.2)."""
    return ValueError(
        f"expected the status of an answer from a middleware, 200 to 999, got {status}: 1xx only announces one; "
        "answer with another status, or leave it to the app"
    )


class ServerResponse(Response):
    """A response of an app. An edge makes a subclass of it, which can read what the app has said."""

    __slots__ = ("_came", "native")

    headers = property(  # read most of all, so without a frame of Python
        attrgetter("_headers"),
        Response.headers.fset,  # type: ignore[attr-defined]
        doc="The header fields; assigning a mapping keeps lines that did not change.",
    )

    def __init__(self, native: Any, status_code: int, reason: str, request: Request) -> None:
        self.native = native
        self._came: dict[str, Any] = {"status": status_code}  # what there was, of what somebody has read
        self._status_code = status_code
        self._reason = reason
        self.request = request

    # What an edge says

    def read_headers(self) -> Headers:
        """Return the headers."""
        raise NotImplementedError

    def read_body(self) -> Body:
        """Return the body, unread."""
        raise NotImplementedError

    # What an edge asks

    @property
    def headers_changed(self) -> bool:
        """Whether other headers are to go out than those of the app."""
        came = self._came
        if "_headers" not in came:
            return False
        headers: Any = self._headers
        return bool(came["_headers"] != (id(headers), getversion(headers)))  # `state`

    @property
    def status_changed(self) -> bool:
        """Whether another status is to go out than that of the app."""
        return bool(self._status_code != self._came["status"])

    @property
    def body_read(self) -> bool:
        """Whether somebody has looked at the body."""
        return "_body" in self._came

    # How

    def __getattr__(self, name: str) -> Any:
        """Fill a slot that is empty."""
        made: Any
        if name == "_headers":  # what most are after, so without detours
            self._headers = made = self.read_headers()
            self._came[name] = id(made), getversion(made)  # `state`
            return made
        if name == "_body":
            made = self.read_body()
            made.attach(self)
            self._came[name] = made
        elif name in _UNSAID:
            made = _UNSAID[name]
        else:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, made)
        return made


_UNSAID: Final[dict[str, Any]] = {
    "url": "", "elapsed": None, "trailers": None, "_extensions": None, "history": (), "_whole": False
}  # fmt: skip
"""What no app says, though a response has it."""
