"""Cookies: a jar of the standard library works for our messages, so that its rules of domain, path and expiry hold.

>>> from http.cookiejar import CookieJar
>>> from formation.http import Request, Response
>>> jar = CookieJar()
>>> keep(jar, Request("GET", "https://h.example/"), Response(200, {"Set-Cookie": "a=1; Path=/"}))
>>> cookie_header(Request("GET", "https://h.example/x", cookies={"b": "2"}), jar)
'b=2; a=1'
"""

from __future__ import annotations

import re
from email.message import Message
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import urllib.request
    from http.client import HTTPResponse
    from http.cookiejar import CookieJar

    from formation.http.request import Request
    from formation.http.response import Response

_unescaped = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL).sub
_breaking = re.compile(r"[\x00-\x1f\x7f;]").search


def cookie_header(request: Request, jar: CookieJar | None = None) -> str | None:
    """Return the value of the Cookie header for ``request``: its own cookies, then those that ``jar`` has for its URL.

    A cookie of the request hides one of the same name in the jar.

    Raises:
        TypeError: a name or a value is no ``str``.
        ValueError: a name is empty or has ``=``; a name or a value has ``;``, CR, LF or another control character: it
            would be another cookie.
    """
    pairs = [_pair(name, value) for name, value in request.cookies.items()]
    if jar is not None:
        asked = _Asked(request)
        jar.add_cookie_header(cast("urllib.request.Request", asked))
        kept = asked.headers.get("Cookie", "")
        pairs += [pair for pair in kept.split("; ") if pair and pair.partition("=")[0] not in request.cookies]
    return "; ".join(pairs) or None


def received(value: str) -> dict[str, str]:
    r"""Return the cookies of a Cookie header (RFC 6265, 5.4); of a name that is there twice the last one counts.

    Quotes and escapes go, as Python writes them into Set-Cookie. Whatever it is, this takes time in proportion to its
    length: `http.cookies` took 20 s for 64 KiB of backslashes, before 3.11.10.

    >>> received(r'a=1; b="two "2" \073"; nonsense; a=3')
    {'a': '3', 'b': 'two "2" ;'}
    """
    found: dict[str, str] = {}
    for pair in value.split(";"):
        name, mark, text = pair.partition("=")
        name, text = name.strip(" \t"), text.strip(" \t")
        if mark and name and name.isprintable():
            is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
            found[name] = _unescaped(_plain, text[1:-1]) if is_quoted else text
    return found


def _plain(escape: re.Match[str]) -> str:
    octal, other = escape.groups()
    return chr(int(octal, 8)) if octal else other


def keep(jar: CookieJar, request: Request, response: Response) -> None:
    """Put the cookies that ``response`` sets into ``jar``."""
    for line in response.headers.getlist(
        "Set-Cookie"
    ):  # one by one: a jar gives up all for a bad one, and forgets before it keeps
        jar.extract_cookies(cast("HTTPResponse", _Answered(line)), cast("urllib.request.Request", _Asked(request)))


def _pair(name: str, value: str) -> str:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"cookie {name!r}: expected a str as name and value, got a value of {type(value).__name__}")
    if not name or "=" in name or _breaking(name) or _breaking(value):
        raise ValueError(
            f"cookie {name!r}: expected a name without '=' that is not empty, and no ';' or control character "
            "in name and value: encode them"
        )
    return f"{name}={value}"


class _Asked:
    """The request, as `http.cookiejar` wants to see it."""

    unverifiable = False

    def __init__(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.type = parts.scheme
        self.host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit(parts._replace(netloc=self.host))  # the jar takes user info for a part of the host
        self.origin_req_host = parts.hostname or ""
        self.headers: dict[str, str] = {}

    def get_full_url(self) -> str:
        return self.url

    def has_header(self, name: str) -> bool:
        return name in self.headers

    def get_header(self, name: str, default: Any = None) -> Any:
        return self.headers.get(name, default)

    def add_unredirected_header(self, name: str, value: str) -> None:
        self.headers[name] = value


class _Answered:
    """The response, as `http.cookiejar` wants to see it."""

    def __init__(self, line: str) -> None:
        self.line = line

    def info(self) -> Message:
        message = Message()
        message["Set-Cookie"] = self.line
        return message
