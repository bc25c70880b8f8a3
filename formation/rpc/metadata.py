r"""Metadata: the header fields of gRPC, a case-insensitive multi-map in which ``-bin`` names have bytes.

>>> metadata = Metadata([("user", "ann"), ("trace-bin", b"\x00\x01")])
>>> metadata["User"], metadata["Trace-Bin"]
('ann', b'\x00\x01')
>>> metadata["trace-bin"] = "text"
Traceback (most recent call last):
TypeError: expected bytes as value of metadata 'trace-bin', for its name ends with '-bin', got 'text'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from multidict import CIMultiDict

from formation.http.headers import SENSITIVE, Headers
from formation.http.secrets import REDACTED

MetadataLike: TypeAlias = "Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]"
Fields: TypeAlias = "tuple[tuple[str, str | bytes], ...]"


class Field(NamedTuple):
    """One field, with the names that gRPC gives to its halves."""

    key: str
    value: str | bytes


_name = re.compile(r"[0-9a-z_.-]+").fullmatch  # gRPC over HTTP/2, "Custom-Metadata"
_MISSING: Final[Any] = object()
_init: Final[Any] = CIMultiDict.__init__
_set = CIMultiDict.__setitem__
_add = CIMultiDict.add


class Metadata(Headers):
    """Metadata in the order it was given. Names are kept in lower case, as they are sent.

    It has the methods of `Headers`. A name that ends with ``-bin`` has bytes; ``metadata[name]`` gives the last of
    several, `getlist` all of them. All others have printable ASCII, and are joined by ``", "``.

    Raises:
        TypeError: a name is no ``str``, or a value is not what its name wants.
        ValueError: a name or a value that gRPC cannot send.
    """

    def __init__(self, fields: MetadataLike | None = None, /) -> None:
        CIMultiDict.__init__(self, _checked(fields or ()))

    @classmethod
    def received(cls, fields: Iterable[tuple[str, Any]]) -> Metadata:
        """Make metadata of fields that gRPC has let through."""
        metadata: Metadata = cls.__new__(cls)
        fields = fields if type(fields) is tuple else list(fields)  # others may look like a mapping
        try:
            _init(metadata, fields)
        except TypeError:  # grpc.aio says which compression is wanted, up to some version under a name in bytes
            _init(metadata, [(name.decode() if isinstance(name, bytes) else name, value) for name, value in fields])
        return metadata

    def __getitem__(self, name: str) -> Any:
        return _joined(self.getall(name))

    def __setitem__(self, name: str, value: Any) -> None:
        _set(self, *_check(name, value))

    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the joined values of ``name``, or ``default``."""
        values = self.getall(name, None)
        return default if values is None else _joined(values)

    def getlist(self, name: str) -> list[Any]:
        """Return the values of ``name``, none if it is not there."""
        return self.getall(name, [])

    def add(self, name: str, value: Any) -> None:
        """Add a value, whatever values of that name there are."""
        _add(self, *_check(name, value))

    def setdefault(self, name: str, value: Any = "") -> Any:
        """Set ``name`` unless it is there; return what is there then."""
        if name not in self:
            self[name] = value
        return self[name]

    def pop(self, name: str, /, default: Any = _MISSING) -> Any:
        """Remove all values of ``name``; return them joined, or ``default``.

        Raises:
            KeyError: there is none, and no ``default``.
        """
        values = self.popall(name) if default is _MISSING else self.popall(name, None)
        return default if values is None else _joined(values)

    def extend(self, fields: Any = (), /, **named: Any) -> None:
        """Add values, whatever values there are."""
        CIMultiDict.extend(self, [*_checked(fields), *_checked(named)])

    def update(self, fields: Any = (), /, **named: Any) -> None:
        """Replace the values of each name in ``fields``."""
        CIMultiDict.update(self, [*_checked(fields), *_checked(named)])

    def merge(self, fields: Any = (), /, **named: Any) -> None:
        """Add the values of the names that are not there yet."""
        CIMultiDict.extend(self, [(k, v) for k, v in [*_checked(fields), *_checked(named)] if k not in self])

    def replaced(self, fields: Any) -> Metadata:
        """Make metadata of ``fields``, with the separate values of each name whose joined value stays the same."""
        if isinstance(fields, Metadata):
            return fields.copy()
        made: list[tuple[str, Any]] = []
        for name, value in _checked(fields):
            same = self.get(name) == value
            made += [(name, each) for each in self.getall(name)] if same else [(name, value)]
        return Metadata.received(made)

    def redacted(self, sensitive: Iterable[str] = ()) -> dict[str, str]:
        """Return a dict for logs, in which the values of sensitive names are ``[redacted]``, and bytes are hex."""
        hidden = SENSITIVE.union(name.lower() for name in sensitive)
        return {str(name): REDACTED if name.lower() in hidden else _shown(self[name]) for name in self}

    def fields(self) -> Fields:
        """Return what is sent."""
        return tuple([Field(str(name), value) for name, value in self.items()])

    def copy(self) -> Metadata:
        """Return metadata of its own with the same values."""
        return Metadata.received(self.items())

    def __repr__(self) -> str:
        return f"<Metadata {self.redacted()}>"

    def __reduce__(self) -> Any:
        return Metadata.received, (self.fields(),)


def _checked(fields: Any) -> list[tuple[str, Any]]:
    if isinstance(fields, Metadata):
        return list(fields.items())
    pairs = fields.items() if isinstance(fields, (dict, Mapping)) else fields
    return [_check(name, value) for name, value in pairs]


def _check(name: Any, value: Any) -> tuple[str, Any]:
    if not isinstance(name, str):
        raise TypeError(f"expected a str as name of metadata, got {name!r}")
    name = name.lower()
    if not _name(name):
        raise ValueError(f"{name!r} is no name of metadata: letters, digits and _.- only")
    if name.endswith("-bin"):
        if not isinstance(value, bytes):
            raise TypeError(
                f"expected bytes as value of metadata {name!r}, for its name ends with '-bin', got {value!r}"
            )
    elif not isinstance(value, str):
        hint = ": bytes are for names that end with '-bin'" if isinstance(value, bytes) else ""
        raise TypeError(f"expected a str as value of metadata {name!r}, got {type(value).__name__}{hint}")
    elif not (value.isascii() and value.isprintable()):
        said = REDACTED if name in SENSITIVE else repr(value)
        raise ValueError(
            f"metadata {name!r} has a value that is not printable ASCII, {said}: send bytes under '{name}-bin'"
        )
    return name, value


def _joined(values: list[Any]) -> Any:
    return values[-1] if len(values) == 1 or isinstance(values[-1], bytes) else ", ".join(values)


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
