"""What a server needs to know a request again, and to answer it again: its key, its digest, its answer as a text."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST: Final = 255
"""Characters of a key, as Stripe takes them: seven UUIDs, and no room for an essay."""

LEFT_OUT: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",  # of one connection (RFC 9110, 7.6.1)
    "content-length", "date",  # told anew
    "set-cookie",  # a secret, and a day later perhaps that of a session which is over
})  # fmt: skip
"""Header fields that are no part of an answer which is kept."""

_text = re.compile(r"[!-~](?:[ -~]*[!-~])?").fullmatch
_string = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *;[!-~ ]*)?').fullmatch  # RFC 9651, 3.3.3, and parameters
_escaped = re.compile(r'\\(["\\])').sub


def read_key(lines: list[str]) -> str:
    r"""Return the key in a header: a string of structured fields, as the draft has it, or what stands there as it is.

    Raises:
        ValueError: there is more than one, it is empty, too long, or has characters that no key has. It does not say
            the key, which opens an answer that is kept, and would stand in a log.

    >>> read_key(['"8e03978e"']), read_key(["8e03978e"]), read_key(['"say \\"please\\""'])
    ('8e03978e', '8e03978e', 'say "please"')
    >>> read_key(["7", "8"])
    Traceback (most recent call last):
    ValueError: expected one key, got 2
    """
    if len(lines) > 1:
        raise ValueError(f"expected one key, got {len(lines)}")
    value = lines[0].strip(" \t")
    if value.startswith('"'):
        quoted = _string(value)
        if quoted is None:
            raise ValueError("expected a key in quotes to be one string, with a backslash before quotes inside")
        key = _escaped(r"\1", quoted[1])
    else:
        key = value
    if not _text(key) or len(key) > LONGEST:
        raise ValueError(f"expected a key of 1 to {LONGEST} visible ASCII characters")
    return key


def digest(*parts: str | bytes) -> str:
    """Return a SHA-256 of ``parts``, which tells where one ends and the next begins.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    made = sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        made.update(b"%d:" % len(data))
        made.update(data)
    return made.hexdigest()


def pack(status: int, headers: Iterable[tuple[str, str]], content: bytes) -> str:
    """Write an answer as a text, without what is of one connection, or of one moment.

    >>> unpack(pack(201, [("Location", "/orders/7"), ("Set-Cookie", "session=s3cret")], b"brewed"))
    (201, [('Location', '/orders/7')], b'brewed')
    """
    lines = [(str(name), value) for name, value in headers]
    of_connection = {
        each.strip().lower() for name, value in lines if name.lower() == "connection" for each in value.split(",")
    }
    kept = [line for line in lines if line[0].lower() not in LEFT_OUT | of_connection]
    return json.dumps([status, kept, b64encode(content).decode()], separators=(",", ":"))


def unpack(outcome: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Read what `pack` has written."""
    status, lines, content = json.loads(outcome)
    return status, [(name, value) for name, value in lines], b64decode(content)
