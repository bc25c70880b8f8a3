"""What a gateway needs of aiohttp's parser: an answer also of a server that sends more than it has announced.

A parser that is given the head in one piece with what it cannot read loses both. So here it is given the head by
itself. The body is what the Content-Length says; what comes after it, whatever that is, ends with the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler

END = b"\r\n\r\n"


class HeadFirst:
    """The parser of ``protocol``, in whose place it stands for one exchange."""

    def __init__(self, protocol: ResponseHandler) -> None:
        self._protocol = protocol
        self._parser: Any = protocol._parser  # noqa: SLF001  there is no other way in
        self._content: Any = None

    def feed_data(self, data: bytes) -> Any:
        """Parse what has come; aiohttp wants the messages that begin in it, and what is left of it."""
        found = -1 if self._content is not None else data.find(END)
        if found < 0:
            return self._feed(data, self._parser.feed_data)
        end = found + len(END)
        messages, upgraded, tail = self._parser.feed_data(data[:end])
        if messages and messages[-1][0].code >= 200:
            self._content = messages[-1][1]
        if end == len(data) or upgraded:
            return messages, upgraded, tail + data[end:]
        more, upgraded, tail = self._feed(data[end:], self.feed_data)
        return [*messages, *more], upgraded, tail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)  # its end, and its pauses, are as they are

    def _feed(self, data: bytes, feed: Callable[[bytes], Any]) -> Any:
        try:
            return feed(data)
        except HttpProcessingError:
            if self._content is None or not self._content.is_eof():
                raise
            self._protocol.force_close()
            return (), False, b""
