"""The cookies of Django's response, as lines of Set-Cookie and back."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie
from typing import Any


def put_cookies(native: Any, lines: list[str]) -> None:
    """Keep the cookies whose line has stayed; a second one of the same name, for another path, is kept as well."""
    there = dict(zip(cookie_lines(native), list(native.cookies.values()), strict=True))
    if lines != list(there):
        native.cookies.clear()
        for line in lines:
            cookie = there.get(line) or _cookie(line)
            native.cookies[line if cookie.key in native.cookies else cookie.key] = cookie


def cookie_lines(native: Any) -> list[str]:
    """Return a line of Set-Cookie for each cookie of a response."""
    return [cookie.output(header="").strip() for cookie in native.cookies.values()]


def _cookie(line: str) -> Morsel[str]:
    parsed = list(SimpleCookie(line).values())
    return parsed[0] if len(parsed) == 1 else _Verbatim(line)


class _Verbatim(Morsel[str]):
    """A cookie with attributes that Python's parser does not know."""

    def __init__(self, line: str) -> None:
        super().__init__()
        name, _, value = line.partition(";")[0].partition("=")
        self.set(name.strip(), value.strip(), value.strip())
        self.line = line

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802  its name
        return self.line
