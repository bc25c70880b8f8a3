"""A request as the policy sees it, parsed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.caching import directives, variants
from formation.caching.fields import joined

if TYPE_CHECKING:
    from formation.caching.directives import Directives
    from formation.caching.fields import Lines

_NO_CACHE: Final[Directives] = {"no-cache": None}


class Request:
    """A request as the policy sees it, parsed once.

    Args:
        method: in upper case.
        url: absolute, see `formation.http.origins.normal`.
        headers: as the client sends them, or the server has received them.
    """

    __slots__ = ("_normal", "directives", "fields", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: Lines) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.fields = joined(headers)
        if "cache-control" in self.fields:
            self.directives = directives.parse(self.fields["cache-control"])
        elif "pragma" in self.fields and "no-cache" in directives.parse(self.fields["pragma"]):
            self.directives = _NO_CACHE  # what HTTP/1.0 said before there was Cache-Control (RFC 9111, 5.4)
        else:
            self.directives = _NONE
        self._normal: dict[str, str | None] = {}

    @property
    def for_origin(self) -> bool:
        """Whether it has conditions that a cache has no part in, so it goes through as it is (RFC 9111, 4.3.2)."""
        return "if-match" in self.fields or "if-unmodified-since" in self.fields

    def matches(self, vary: variants.Vary) -> bool:
        """Tell whether the request has the values that a response depends on (RFC 9111, 4.1)."""
        for name, value in vary:
            if name not in self._normal:
                self._normal[name] = variants.normal(name, self.fields.get(name))
            if self._normal[name] != value:
                return False
        return True


_NONE: Final[Directives] = {}
