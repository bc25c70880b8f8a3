"""What a call is made of, as the command line tells it: a context, arguments, or a request as curl takes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from formation.cli.errors import WrongCommand
from formation.http.media_types import FORM_TYPE, JSON_TYPE

if TYPE_CHECKING:
    from argparse import Namespace


class Asked(NamedTuple):
    """A request: ``url`` may be a path; ``content`` is ``None`` where there is no body."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    content: bytes | None


def request(given: Namespace) -> Asked | None:
    """Return the request that is asked for, or ``None`` if none is.

    >>> from formation.cli.options import read
    >>> request(read(["trace", "a:b", "-H", "A: b", "-d", "x=1", "/items"]))  # doctest: +ELLIPSIS
    Asked(method='POST', url='/items', headers=[('A', 'b'), ('Content-Type', ...urlencoded')], content=b'x=1')

    Raises:
        WrongCommand: a header is none, or there is no URL.
    """
    content, kind = _content(given)
    if not given.words:
        if content is not None or given.header or given.request or given.head:
            raise WrongCommand("expected the URL or the path of the request, as the last word, got none")
        return None
    headers = [header for each in given.header if (header := _header(each)) is not None]
    named = {each.partition(":")[0].strip().lower() for each in given.header}
    if kind and "content-type" not in named:
        headers.append(("Content-Type", kind))
    method = given.request or ("HEAD" if given.head else "GET" if content is None else "POST")
    return Asked(method, given.words[0], headers, content)


def _content(given: Namespace) -> tuple[bytes | None, str]:
    if given.json is not None:
        content = _read(given.json)
        _json("--json", content)
        return content, JSON_TYPE
    if given.data_raw is not None:
        return given.data_raw.encode(), FORM_TYPE
    return (None, "") if given.data is None else (_read(given.data), FORM_TYPE)


def _header(line: str) -> tuple[str, str] | None:
    """Read a line as curl does: ``A: b``, ``A;`` without a value, and ``A:`` for one that shall not be sent."""
    name, colon, value = line.partition(":")
    if not colon and line.endswith(";"):
        return line[:-1].strip(), ""
    if not colon or not name.strip():
        raise WrongCommand(f"expected a header as 'Name: value', got one without {'a name' if colon else 'a colon'}")
    return (name.strip(), value.strip()) if value.strip() else None


def context(given: Namespace) -> dict[str, Any] | None:
    """Return the context that is given, or ``None``.

    Raises:
        WrongCommand: it is no JSON, or no object.
    """
    if given.ctx is None:
        return None
    said = _json("--ctx", _read(given.ctx))
    if not isinstance(said, dict):
        raise WrongCommand(f'expected --ctx as a JSON object, such as \'{{"name": "tea"}}\', got {_kind(said)}')
    return said


def arguments(given: Namespace) -> tuple[list[Any], dict[str, Any]] | None:
    """Return the arguments that are given, by place and by name, or ``None``.

    Raises:
        WrongCommand: they are no JSON, or neither a list nor an object.
    """
    if given.args is None:
        return None
    said = _json("--args", _read(given.args))
    if not isinstance(said, (list, dict)):
        raise WrongCommand(f"expected --args as a JSON list or object, such as '[7]', got {_kind(said)}")
    return ([], said) if isinstance(said, dict) else (said, {})


def _kind(value: object) -> str:
    """Name a type of JSON: what stands there may be a secret."""
    return {str: "text", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )


def _json(option: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise WrongCommand(f"expected {option} as JSON: it is none{where}") from None


def _read(said: str) -> bytes:
    if not said.startswith("@"):
        return said.encode()
    if said == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(said[1:]).read_bytes()
    except OSError as error:
        raise WrongCommand(f"{said[1:]} cannot be read: {error.strerror}") from error
