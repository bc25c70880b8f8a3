r"""What requests and responses have in common: header fields, what they say of the body, and its text.

>>> from formation.http import Response
>>> message = Response(200, {"Content-Type": "text/html; charset=ISO-8859-1"}, b"gr\xfcn")
>>> message.content_type, message.charset, message.text
('text/html', 'iso8859-1', 'grün')
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from formation.http.headers import Headers, HeadersLike, charset, fit_length
from formation.http.media_types import media_type

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGESTS: Final = ("Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


class Message:
    """A request or a response, which fill it in."""

    __slots__ = ("_extensions", "_headers")

    _headers: Headers
    _extensions: dict[str, Any] | None  # made when somebody looks

    @property
    def headers(self) -> Headers:
        """The header fields; assigning a mapping keeps lines that did not change."""
        return self._headers

    @headers.setter
    def headers(self, value: HeadersLike | None) -> None:
        if value is not self._headers:
            self._headers = self._headers.replaced(value or ())

    @property
    def extensions(self) -> dict[str, Any]:
        """What a transport understands, or says, beyond that."""
        if self._extensions is None:
            self._extensions = {}
        return self._extensions

    @extensions.setter
    def extensions(self, value: Mapping[str, Any] | None) -> None:
        self._extensions = dict(value or ())

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without parameters; empty if there is none."""
        return media_type(self._headers.get("Content-Type", ""))

    @property
    def charset(self) -> str:
        """The charset of the text: what Content-Type says if Python knows it, else UTF-8."""
        return charset(self._headers)

    @property
    @abstractmethod
    def content(self) -> bytes:
        """All of the body."""
        ...

    @property
    def text(self) -> str:
        """The content, decoded by `charset`; what does not decode becomes U+FFFD."""
        return self.content.decode(self.charset, "replace")

    def has_changeable_body(self) -> bool:
        """Whether a map may change the body: not where it is part of something (RFC 9110, 14.4)."""
        return "Content-Range" not in self._headers

    def body_changed(self, length: int | None) -> None:
        """Set the headers right after the body has changed: Content-Length, and digests go."""
        fit_length(self._headers, length)
        self.drop_digests()

    def drop_digests(self) -> None:
        """Take away the digests of a body that is no more (RFC 9530; RFC 1864)."""
        for name in _DIGESTS:
            self._headers.popall(name, None)
