"""The response of a server: what the app has answered, read only as far as somebody asks.

As with the request, slots stay empty until they are read. What nobody has touched goes out as the app has said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.http.response import Response
from formation.server.request import state

if TYPE_CHECKING:
    from formation.http.body import Body
    from formation.http.headers import Headers
    from formation.http.request import Request


class ServerResponse(Response):
    """A response of an app. An edge makes a subclass of it, which can read what the app has said."""

    __slots__ = ("_came", "native")

    def __init__(self, native: Any, status_code: int, reason: str, request: Request) -> None:
        self.native = native
        self._came: dict[str, Any] = {"status": status_code}  # what there was, of what somebody has read
        self._status_code = status_code
        self._reason = reason
        self.request = request
        self.url = ""
        self.elapsed = self.trailers = self._extensions = None
        self.history = ()
        self._whole = False

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
        return "_headers" in self._came and self._came["_headers"] != state(self._headers)

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
        if name == "_headers":
            made: Any = self.read_headers()
            self._came[name] = state(made)
        elif name == "_body":
            made = self.read_body()
            made.attach(self)
            self._came[name] = made
        else:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)
        setattr(self, name, made)
        return made
