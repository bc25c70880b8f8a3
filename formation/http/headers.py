r"""Header fields: a case-insensitive multi-map that refuses what would break the message.

>>> headers = Headers({"Accept": "text/html"})
>>> headers.add("accept", "text/plain")
>>> headers["ACCEPT"], headers.getlist("Accept")
('text/html, text/plain', ['text/html', 'text/plain'])
>>> headers["X-Name"] = "a\r\nSet-Cookie: stolen=1"
Traceback (most recent call last):
ValueError: header 'X-Name' has a CR, LF or NUL in its value 'a\r\nSet-Cookie: stolen=1': it would start another header
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, overload

from multidict import CIMultiDict, istr

from formation.http.lists import parameters
from formation.http.secrets import REDACTED, SECRETS, folded

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

T = TypeVar("T")

SENSITIVE: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Headers that logs redact, and that requests drop on the way to another origin; ``fmtn.sensitive`` adds to them."""

LONG: Final = 64
"""Letters of a name that is not remembered: a peer may send names of many kilobytes."""
_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110, 5.6.2
_breaking = re.compile(r"[\r\n\0]").search
# Codecs of Python that are no charsets of HTTP: slow, or without a way to replace what does not decode.
_NO_CHARSETS: Final = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem"}
)
_MISSING: Final[Any] = object()
_set = CIMultiDict.__setitem__
_known: Final[dict[str, istr]] = {}  # names that are checked, in the form that a multidict takes fastest


class Headers(CIMultiDict[str]):
    """Header fields in the order they were given, names case-insensitive; a name may have several lines.

    ``headers[name]`` and ``get`` join the lines of a name by ``", "`` (RFC 9110, 5.3), those of ``Cookie`` by
    ``"; "`` (RFC 9113, 8.2.3); `getlist` gives them one by one, as ``Set-Cookie`` needs it. ``headers[name] = value``
    replaces all lines; `add` adds one. Iterating ``items()`` gives every line.

    Args:
        fields: a mapping, or pairs of name and value; a name may be in several pairs.

    Raises:
        TypeError: a name or a value is no ``str``.
        ValueError: a name is no token (RFC 9110, 5.6.2); a value has CR, LF or NUL, or is not latin-1.
    """

    def __init__(self, fields: HeadersLike | None = None, /) -> None:
        super().__init__(() if fields is None else checked(fields))

    @classmethod
    def received(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Make headers of fields that an HTTP parser has let through.

        They are not checked again, but for CR, LF and NUL: a parser may leave the line breaks of a folded value in it.
        Each becomes a space (RFC 9110, 5.5), so a received value can be sent on.
        """
        headers = cls.__new__(cls)
        CIMultiDict.__init__(headers, fields)
        values = "".join(headers.values())
        if "\n" in values or "\r" in values or "\0" in values:
            return cls.received([(name, re.sub(r"[\r\n\0]", " ", value)) for name, value in headers.items()])
        return headers

    def __getitem__(self, name: str) -> str:
        lines = self.getall(name)
        return lines[0] if len(lines) == 1 else _joined(name, lines)

    def __setitem__(self, name: str, value: str) -> None:  # what servers do most with headers, so without detours
        if type(value) is not str or not value.isascii() or not value.isprintable():
            check_value(name, value)
        try:
            known = _known[name]
        except (KeyError, TypeError):  # a new name, or none
            known = None
        _set(self, known or _learnt(name), value)

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: T) -> str | T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the joined lines of ``name``, or ``default``."""
        lines = self.getall(name, None)
        if lines is None:
            return default
        return lines[0] if len(lines) == 1 else _joined(name, lines)

    def getlist(self, name: str) -> list[str]:
        """Return the lines of ``name``, none if it is not there."""
        return self.getall(name, [])

    def add(self, name: str, value: str) -> None:
        """Add a line, whatever lines of that name there are."""
        super().add(check_name(name), check_value(name, value))

    def set(self, name: str, value: str) -> None:
        """Replace all lines of ``name``, the same as ``headers[name] = value``."""
        self[name] = value

    def setdefault(self, name: str, value: str = "") -> str:
        """Set ``name`` unless it is there; return what is there then."""
        if name not in self:
            self[name] = value
        return self[name]

    @overload
    def pop(self, name: str, /) -> str: ...
    @overload
    def pop(self, name: str, /, default: T) -> str | T: ...
    def pop(self, name: str, /, default: Any = _MISSING) -> Any:
        """Remove all lines of ``name``; return them joined, or ``default``.

        Raises:
            KeyError: there is none, and no ``default``.
        """
        lines = self.popall(name) if default is _MISSING else self.popall(name, None)
        return default if lines is None else _joined(name, lines)

    def extend(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Add lines, whatever lines there are."""
        super().extend([*checked(fields), *checked(named)])

    def update(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Replace the lines of each name in ``fields``."""
        super().update([*checked(fields), *checked(named)])

    def merge(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Add the lines of the names that are not there yet."""
        super().extend([(name, value) for name, value in [*checked(fields), *checked(named)] if name not in self])

    def replaced(self, fields: HeadersLike) -> Headers:
        """Make headers of ``fields``, with the separate lines of each name whose joined value stays the same.

        So ``req.headers = {**req.headers, "Accept": "text/html"}`` does not join two ``Set-Cookie`` lines for ever.
        """
        if isinstance(fields, Headers):
            return fields.copy()
        lines: list[tuple[str, str]] = []
        for name, value in checked(fields):
            if self.get(name) == value:
                lines += [(name, line) for line in self.getall(name)]
            else:
                lines.append((name, value))
        return Headers.received(lines)

    def redacted(self, sensitive: Iterable[str] = ()) -> dict[str, str]:
        """Return a dict for logs, in which the values of sensitive headers are ``[redacted]``."""
        hidden = folded(frozenset(sensitive))
        return {str(name): REDACTED if _is_hidden(name.lower(), hidden) else self[name] for name in self}

    def __repr__(self) -> str:
        return f"<Headers {self.redacted(SECRETS)}>"

    def __reduce__(self) -> Any:
        return Headers.received, ([(str(name), value) for name, value in self.items()],)

    if TYPE_CHECKING:

        def copy(self) -> Headers:
            """Return headers of their own with the same lines."""


def _is_hidden(name: str, hidden: frozenset[str]) -> bool:
    return name in SENSITIVE or name in hidden


def checked(fields: HeadersLike) -> list[tuple[str, str]]:
    """Return the lines of ``fields``, each checked."""
    if isinstance(fields, Headers):
        return list(fields.items())
    lines = fields.items() if isinstance(fields, (dict, Mapping)) else map(_pair, fields)
    return [(check_name(name), check_value(name, value)) for name, value in lines]


def check_name(name: str) -> str:
    """Return ``name`` if it is a header name."""
    if not isinstance(name, str):
        raise TypeError(f"expected a str as header name, got {name!r}")
    if not (_is_token(name) if len(name) < LONG else _token(name)):
        raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only")
    return name


def check_value(name: str, value: str) -> str:
    """Return ``value`` if it may stand in a header."""
    if not isinstance(value, str):
        raise TypeError(f"expected a str as value of header {name!r}, got {_shown(name, value)}")
    if value.isascii() and value.isprintable():  # nearly always, and fast
        return value
    if _breaking(value):
        raise ValueError(
            f"header {name!r} has a CR, LF or NUL in its value {_shown(name, value)}: it would start another header"
        )
    if not _is_latin1(value):
        raise ValueError(
            f"header {name!r} has a value that is not latin-1, {_shown(name, value)}: "
            "encode it, for example by urllib.parse.quote"
        )
    return value


def charset(headers: Headers) -> str:
    """Return the charset of the text: what Content-Type says if Python knows it, else UTF-8.

    >>> charset(Headers({"Content-Type": "text/html; charset=ISO-8859-1"})), charset(Headers())
    ('iso8859-1', 'utf-8')
    """
    return _charset(headers.get("Content-Type", ""))


def digits(said: str | None) -> int | None:
    """Return the number that ``said`` is, such as a Content-Length (RFC 9110, 8.6); ``None``: it says none to count by.

    That is any but digits of ASCII, and more than 18 of them: an exabyte is of no message. Python refuses many more by
    an error of its own, and what another side sends shall not choose our errors.

    >>> digits("060"), digits("9" * 5000), digits("1_0"), digits("5, 5"), digits(""), digits(None)
    (60, None, None, None, None, None)
    """
    return int(said) if said and len(said) <= 18 and said.isascii() and said.isdecimal() else None


def fit_length(headers: Headers, length: int | None) -> None:
    """Put Content-Length right where there is one; drop it where the length is unknown."""
    if "Content-Length" in headers:
        if length is None:
            del headers["Content-Length"]
        else:
            headers["Content-Length"] = str(length)


@lru_cache(maxsize=64)  # a server has a handful
def _charset(content_type: str) -> str:
    name = parameters(content_type)[1].get("charset")
    if name is None:
        return "utf-8"
    try:
        codec = codecs.lookup(name.strip("'")).name
        "".encode(codec)  # not with what is no text, such as hex and zlib
    except (LookupError, ValueError):  # ValueError: a name with NUL
        return "utf-8"
    return "utf-8" if codec in _NO_CHARSETS else codec


@lru_cache(maxsize=1024)  # names of headers stand in programs; this is ten times what a large one has
def _is_token(name: str) -> bool:
    return _token(name) is not None


def _learnt(name: str) -> str:
    check_name(name)
    if len(_known) < 1024 and len(name) < LONG:
        _known[name] = istr(name)
    return name


def _pair(line: Any) -> tuple[str, str]:
    if not isinstance(line, (tuple, list)) or len(line) != 2:
        raise TypeError(f"expected headers as a mapping or as pairs of name and value, got {line!r} among them")
    return line  # type: ignore[return-value]


def _shown(name: str, value: object) -> str:
    return REDACTED if _is_hidden(name.lower(), SECRETS) else repr(value)


def _is_latin1(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _joined(name: str, lines: list[str]) -> str:
    return ("; " if name.lower() == "cookie" else ", ").join(lines)
