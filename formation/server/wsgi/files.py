"""A file that a server may send by itself (``wsgi.file_wrapper``, PEP 3333), with somebody who waits for its end.

The server gets the very object that it has made, for by its type it knows what to do; only its ``close`` is another
one. What the server sends past Python nobody can count, so the Content-Length is what is told. A server that reads the
file after all leaves a trace: where the file stands then says how much of it went out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.errors import BodyAbandoned
from formation.http.headers import digits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.http.body import Body


def watched(wrapper: Any, body: Body, headers: Iterable[tuple[str, str]]) -> bool:
    """Let ``body`` hear of the end of ``wrapper``, which goes to the server; tell whether that can be done."""
    file = getattr(wrapper, "filelike", getattr(wrapper, "file", None))  # as servers in Python call it
    length = next((digits(value) for name, value in headers if name.lower() == "content-length"), None)
    began = _position(file)
    if length is None or began is None:
        return False
    close = getattr(wrapper, "close", None)

    def closed() -> None:
        nonlocal close
        moved = (_position(file) or began) - began
        closing, close = close, None
        try:
            if closing is not None:
                closing()
        finally:
            if not body.ended:
                body._count = min(moved, length) or length  # noqa: SLF001  it has not passed there
                body.end(BodyAbandoned() if 0 < moved < length else None)

    try:
        wrapper.close = closed
    except (AttributeError, TypeError):  # of C, or with slots
        return False
    return True


def _position(file: Any) -> int | None:
    try:
        position: int = file.tell()
    except (AttributeError, OSError, ValueError):  # no file, none that can seek, a closed one
        return None
    return position
