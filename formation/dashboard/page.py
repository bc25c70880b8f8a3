"""The page: one file of HTML with its style and its script inside, and the policy that lets a browser run only these.

The files lie beside this one, as they are written: nothing builds them, and the page asks for nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

_FOLDER: Final = Path(__file__).parent

PLAIN: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
"""Headers of everything here."""


class Page(NamedTuple):
    """The page and its headers."""

    html: bytes
    headers: dict[str, str]


@cache
def page() -> Page:
    """Return the page, put together once.

    >>> page().headers["Content-Security-Policy"].partition(";")[0]
    "default-src 'none'"
    """
    style, script = (_FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    html = _FOLDER.joinpath("page.html").read_text(encoding="utf-8")
    html = html.replace("/* page.css */", style).replace("/* page.js */", script)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    return Page(html.encode(), PLAIN | {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy})


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
