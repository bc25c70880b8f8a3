r"""Multipart forms (RFC 7578): fields and files in one body, made while it is sent.

>>> form = Multipart({"title": "Notes"}, {"file": ("a.txt", b"hello")}, boundary="cut")
>>> form.content_type, form.length
('multipart/form-data; boundary=cut', 176)
>>> print(b"".join(form).decode().replace("\r", ""))
--cut
Content-Disposition: form-data; name="title"
<BLANKLINE>
Notes
--cut
Content-Disposition: form-data; name="file"; filename="a.txt"
Content-Type: text/plain
<BLANKLINE>
hello
--cut--
<BLANKLINE>
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from io import TextIOBase
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol

from formation.errors import BodyConsumed
from formation.http.entries import entries
from formation.http.headers import check_value, checked
from formation.http.query import pairs
from formation.http.sources import CHUNK, Factory, File
from formation.http.values import utf8

DEFAULT_TYPE: Final = "application/octet-stream"
"""Of a file whose name tells nothing (RFC 7578 section 4.4)."""

# What needs no quotes as a parameter of Content-Type; at most 70 characters (RFC 2046 section 5.1.1).
_boundary = re.compile(r"[A-Za-z0-9'+_.-]{1,70}").fullmatch
_breaking = re.compile(r"[\r\n\0]").search


class Multipart:
    """A ``multipart/form-data`` body: an iterable of bytes in chunks of at most 64 KiB.

    Fields come before files, each in the given order. Content is read while the body is iterated, so nothing larger
    than a chunk is held. Each iteration starts from the beginning: files are read from where they stood when the form
    was made. They stay the caller's to close.

    Args:
        data: the fields, as `formation.http.query.pairs` takes them.
        files: a mapping or a sequence of pairs; the value of a name is content, ``(filename, content)``, ``(filename,
            content, content_type)`` or ``(filename, content, content_type, headers)``, or a list of these. Content is a
            file opened in binary mode, bytes, str (as UTF-8), an iterable of bytes, or a function that makes one; or a
            `File` or a `Factory`. The file name is by default that of the file object, else the name; ``None`` leaves
            it out. The content type is by default guessed from the file name's extension.
        boundary: of letters, digits and ``'+_.-``, at most 70. By default 128 random bits: too many to be in a content.

    Raises:
        ValueError: a name, file name, content type or header has CR, LF or NUL: it would forge a part.
        TypeError: content is no such thing; a file is opened in text mode.
    """

    content_type: str
    """For the request's header; it has the boundary."""
    length: int | None
    """Bytes in all; ``None`` if only iterating tells."""

    def __init__(self, data: object = None, files: object = None, *, boundary: str | None = None) -> None:
        # What secrets.token_hex is made of, without the hash functions that its module loads.
        self.boundary = os.urandom(16).hex() if boundary is None else boundary
        if not _boundary(self.boundary):
            raise ValueError(
                f"expected 1 to 70 letters, digits and '+_.- as boundary, got {boundary!r}: or leave it out"
            )
        self.content_type = f"multipart/form-data; boundary={self.boundary}"
        self._parts = [self._part(name, None, _Held(utf8(value)), []) for name, value in pairs(data)]
        for name, given in entries(files):
            self._parts += [self._file(name, each) for each in (given if isinstance(given, list) else [given])]
        self._end = f"--{self.boundary}--\r\n".encode()
        self._begun = False
        self.length = len(self._end)
        for part in self._parts:
            inner = part.source.length
            self.length = None if self.length is None or inner is None else self.length + len(part.head) + inner + 2

    @property
    def replayable(self) -> bool:
        """Whether it can be iterated again: whether no part is a stream that can be read only once."""
        return all(part.source.replayable for part in self._parts)

    def rewind(self) -> bool:
        """Put every file back to where it stood when the form was made; ``False`` if some part cannot go back."""
        rewound = all(part.source.rewind() for part in self._parts)
        if rewound:
            self._begun = False
        return rewound

    def __iter__(self) -> Iterator[bytes]:
        if self._begun and not self.rewind():
            raise BodyConsumed("the form has been sent, and one of its files can be read only once: give what makes it")
        self._begun = True
        held: list[bytes] = []
        size = 0
        for piece in self._pieces():
            if size + len(piece) > CHUNK:  # small pieces are joined: each may become a packet of its own
                yield b"".join(held)
                held.clear()
                size = 0
            held.append(piece)
            size += len(piece)
        yield b"".join(held)

    def __repr__(self) -> str:
        size = "unknown length" if self.length is None else f"{self.length} bytes"
        return f"<{type(self).__name__}: {len(self._parts)} parts, {size}>"

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from _sliced(part.head)
            yield from _content(part)
            yield b"\r\n"
        yield self._end

    def _part(self, name: str, filename: str | None, source: _Source, headers: Iterable[tuple[str, str]]) -> _Part:
        disposition = f'form-data; name="{_quoted(name, "name")}"'
        if filename is not None:
            disposition += f'; filename="{_quoted(filename, "file name")}"'
        lines = [("Content-Disposition", disposition), *headers]
        head = f"--{self.boundary}\r\n" + "".join(f"{header}: {value}\r\n" for header, value in lines) + "\r\n"
        return _Part(name, utf8(head), source)

    def _file(self, name: str, given: object) -> _Part:
        given = given if isinstance(given, tuple) else (_filename(given, name), given)
        if not 2 <= len(given) <= 4:
            raise TypeError(
                f"file {name!r}: expected (filename, content), perhaps with content_type and headers, got {given!r}"
            )
        filename, content, content_type, headers = (*given, None, None)[:4]
        if not isinstance(filename, (str, type(None))):
            raise TypeError(f"file {name!r}: expected a str or None as file name, got {filename!r}")
        lines = _lines(name, filename, content_type, headers)
        return self._part(name, filename, _source(name, content), lines)


class _Source(Protocol):
    @property
    def length(self) -> int | None: ...
    @property
    def replayable(self) -> bool: ...
    def rewind(self) -> bool: ...
    def __iter__(self) -> Iterator[bytes]: ...


class _Part(NamedTuple):
    name: str
    head: bytes
    source: _Source


class _Held:
    """Bytes in memory."""

    replayable = True

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)

    def rewind(self) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter((self.content,))


class _Once:
    """An iterator, or what makes one and does not say that it can do so again."""

    length = None
    replayable = False

    def __init__(self, content: Iterable[bytes]) -> None:
        self.content = content

    def rewind(self) -> bool:
        return False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.content)


def _source(name: str, content: Any) -> _Source:
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _Held(bytes(content))
    if isinstance(content, str):
        return _Held(utf8(content))
    if isinstance(content, (File, Factory)):
        return content
    if hasattr(content, "read"):
        # A text file behind a wrapper (tempfile's) is no TextIOBase; it is known by its encoding.
        if isinstance(content, TextIOBase) or hasattr(content, "encoding"):
            raise TypeError(f"file {name!r}: expected a binary file, got {content!r}: open it in binary mode")
        return File(content)
    if callable(content):
        return Factory(content)
    if isinstance(content, Sequence):
        return Factory(content.__iter__)
    if isinstance(content, Iterable) and not isinstance(content, (Mapping, AbstractSet)):
        return _Once(content)
    expected = "a file opened in binary mode, bytes, str, an iterable of bytes, or a function that makes one"
    raise TypeError(f"file {name!r}: expected {expected}, got {content!r} ({type(content).__qualname__})")


def _content(part: _Part) -> Iterator[bytes]:
    """The content in pieces of at most a chunk, and exactly as long as it said: its length has been sent already."""
    if part.source.replayable:
        part.source.rewind()  # one file may be in two parts
    left = part.source.length
    for piece in part.source:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise TypeError(f"file {part.name!r}: expected bytes, got {piece!r}: open it in binary mode, or encode it")
        content = bytes(piece)
        if left is not None:
            content = content[:left]
            left -= len(content)
        yield from _sliced(content)
        if left == 0:
            return
    if left:
        raise ValueError(
            f"file {part.name!r}: expected {part.source.length} bytes, got {left} less: it has been changed"
        )


def _sliced(content: bytes) -> Iterator[bytes]:
    return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


def _filename(content: object, name: str) -> str:
    given = content.file if isinstance(content, File) else content
    path = getattr(given, "name", None)  # of a file; "<stdin>" and the number of a descriptor are no names
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str) and path[:1] != "<":
        return PurePath(path).name or name
    return name


def _lines(name: str, filename: str | None, content_type: object, headers: Any) -> list[tuple[str, str]]:
    """The headers of a file besides Content-Disposition."""
    lines = [] if headers is None else checked(headers)
    given = {header.lower() for header, _ in lines}
    if "content-disposition" in given:
        raise ValueError(f"file {name!r}: expected no Content-Disposition in its headers: the names make it")
    if content_type is None:
        if "content-type" in given or filename is None:
            return lines
        content_type = _guessed(filename)
    elif "content-type" in given:
        raise ValueError(f"file {name!r}: expected one content type, got {content_type!r} and one more in its headers")
    if not isinstance(content_type, str):
        raise TypeError(f"file {name!r}: expected a str as content type, got {content_type!r}")
    return [("Content-Type", check_value("Content-Type", content_type)), *lines]


def _guessed(filename: str) -> str:
    from mimetypes import guess_type  # reads the system's tables when it is first asked

    # Of the extension alone: as a whole, a file name such as "data:text/html,x" would be taken for a URL.
    return guess_type(f"file{PurePath(filename).suffix}")[0] or DEFAULT_TYPE


def _quoted(text: str, what: str) -> str:
    """A name as browsers write it (WHATWG HTML, multipart/form-data encoding): UTF-8 as it is, quotes escaped."""
    if _breaking(text):
        raise ValueError(f"expected a {what} without CR, LF and NUL, got {text!r}: it would forge a part")
    return text.replace('"', "%22")
