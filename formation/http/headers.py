"""Header fields: a case-insensitive multi-map that refuses what would break the message.

>>> headers = Headers({"Accept": "text/html"})
>>> headers.add("accept", "text/plain")
>>> headers["ACCEPT"], headers.getlist("Accept")
('text/html, text/plain', ['text/html', 'text/plain'])
>>> headers["X-Name"] = "a\\r\\nSet-Cookie: stolen=1"
Traceback (most recent call last):
ValueError: header 'X-Name' has a CR, LF or NUL in its value 'a\\r\\nSet-Cookie: stolen=1': it would start another header
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from multidict import CIMultiDict

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

SENSITIVE: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Headers that logs redact, and that requests drop on the way to another origin; ``fmtn.sensitive`` adds to them."""

REDACTED: Final = "[redacted]"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_BREAKING: Final = re.compile("[\r\n\0]")


class Headers(CIMultiDict[str]):
    """Header fields in the order they were given, names case-insensitive, a name may have several lines.

    ``headers[name]`` and ``get`` join the lines of a name by ``", "`` (RFC 9110, 5.3), those of ``Cookie`` by ``"; "``;
    `getlist` gives them one by one, as ``Set-Cookie`` needs it. ``headers[name] = value`` replaces all lines; `add` adds one.
    Iterating ``items()`` gives every line.

    Raises:
        TypeError: a name or a value is no ``str``.
        ValueError: a name is no token (RFC 9110, 5.6.2); a value has CR, LF or NUL, or is not latin-1.
    """

    def __init__(self, fields: HeadersLike | None = None, /) -> None:
        super().__init__(() if fields is None else checked(fields))

    @classmethod
    def received(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Make headers of fields that an HTTP parser has let through, without looking at them again."""
        headers = cls.__new__(cls)
        CIMultiDict.__init__(headers, fields)
        return headers

    def __getitem__(self, name: str) -> str:
        lines = self.getall(name)
        return lines[0] if len(lines) == 1 else ("; " if name.lower() == "cookie" else ", ").join(lines)

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(check_name(name), check_value(name, value))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the joined lines of ``name``, or ``default``."""
        return self[name] if name in self else default

    def getlist(self, name: str) -> list[str]:
        """Return the lines of ``name``, none if it is not there."""
        return self.getall(name, [])

    def add(self, name: str, value: str) -> None:
        """Add a line, whatever lines of that name there are."""
        super().add(check_name(name), check_value(name, value))

    def set(self, name: str, value: str) -> None:
        """Replace all lines of ``name``, the same as ``headers[name] = value``."""
        self[name] = value

    def setdefault(self, name: str, value: str = "") -> str:  # type: ignore[override]  # no None among header values
        """Set ``name`` unless it is there; return what is there then."""
        if name not in self:
            self[name] = value
        return self[name]

    def pop(self, name: str, default: Any = None) -> Any:
        """Remove all lines of ``name``; return them joined, or ``default``."""
        value = self.get(name, default)
        self.popall(name, None)
        return value

    def extend(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Add lines, whatever lines there are."""
        super().extend([*checked(fields), *checked(named)])

    def update(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Replace the lines of each name in ``fields``."""
        super().update([*checked(fields), *checked(named)])

    def merge(self, fields: HeadersLike = (), /, **named: str) -> None:  # type: ignore[override]
        """Add the lines of the names that are not there yet."""
        super().extend([(name, value) for name, value in [*checked(fields), *checked(named)] if name not in self])

    def copy(self) -> Headers:
        """Return headers of their own with the same lines."""
        return Headers.received(self.items())

    def replaced(self, fields: HeadersLike) -> Headers:
        """Make headers of ``fields``, with the separate lines of each name whose joined value stays the same.

        So ``req.headers = {**req.headers, "Accept": "text/html"}`` does not join two ``Set-Cookie`` lines for ever.
        """
        if isinstance(fields, Headers):
            return fields
        headers = Headers()
        for name, value in checked(fields):
            if name in self and self[name] == value:
                CIMultiDict.extend(headers, [(name, line) for line in self.getall(name)])
            else:
                CIMultiDict.add(headers, name, value)
        return headers

    def redacted(self, sensitive: Iterable[str] = ()) -> dict[str, str]:
        """Return a dict for logs, in which the values of sensitive headers are ``[redacted]``."""
        hidden = SENSITIVE.union(name.lower() for name in sensitive)
        return {str(name): REDACTED if name.lower() in hidden else self[name] for name in self}

    def __reduce__(self) -> Any:
        return Headers, ([(str(name), value) for name, value in self.items()],)


def checked(fields: HeadersLike) -> list[tuple[str, str]]:
    """Return the lines of ``fields``, each checked."""
    lines: Iterable[tuple[str, str]] = fields.items() if isinstance(fields, Mapping) else fields
    if isinstance(fields, Headers):
        return list(lines)
    return [(check_name(name), check_value(name, value)) for name, value in lines]


@lru_cache(maxsize=1024)
def check_name(name: str) -> str:
    """Return ``name`` if it is a header name."""
    if not isinstance(name, str):
        message = f"expected a str as header name, got {name!r}"
        raise TypeError(message)
    if not _TOKEN.fullmatch(name):
        message = f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only"
        raise ValueError(message)
    return name


def check_value(name: str, value: str) -> str:
    """Return ``value`` if it may stand in a header."""
    if not isinstance(value, str):
        message = f"expected a str as value of header {name!r}, got {value!r}"
        raise TypeError(message)
    if value.isascii() and value.isprintable():  # nearly always, and fast
        return value
    if _BREAKING.search(value):
        message = f"header {name!r} has a CR, LF or NUL in its value {value!r}: it would start another header"
        raise ValueError(message)
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        message = (
            f"header {name!r} has a value that is not latin-1, {value!r}: encode it, for example by urllib.parse.quote"
        )
        raise ValueError(message) from None
    return value
