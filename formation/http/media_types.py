"""Media types: those of forms and JSON, which of them become smaller, and patterns for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MULTIPART_TYPE: Final = "multipart/form-data"

# fmt: off
TYPES: Final = (
    "text/*", "application/*+json", "application/*+xml", "application/graphql", "application/javascript",
    "application/json", "application/ndjson", "application/vnd.ms-fontobject", "application/wasm",
    "application/x-javascript", "application/x-ndjson", "application/x-www-form-urlencoded", "application/xml",
    "application/yaml", "font/otf", "font/ttf", "image/bmp", "image/svg+xml", "image/vnd.microsoft.icon",
    "image/x-icon",
)
"""What becomes smaller. Photographs, films, archives and woff are packed already."""
# fmt: on


def media_type(content_type: str) -> str:
    """Return what a Content-Type names, in lower case and without parameters (RFC 9110, 8.3.1).

    >>> media_type("Text/HTML; charset=utf-8")
    'text/html'
    """
    return content_type.partition(";")[0].strip().lower()


def matching(types: Iterable[str]) -> Callable[[str], Any]:
    """Return what tells whether a media type in lower case is one of ``types``, in which ``*`` stands for anything.

    >>> bool(matching(["text/*"])("text/html")), bool(matching(["text/*"])("textual/html")), matching([])("")
    (True, False, None)
    """
    given = [types] if isinstance(types, str) else types
    patterns = [re.escape(each.lower()).replace(r"\*", "[^;]*") for each in given]
    return re.compile("|".join(patterns) or "(?!)").fullmatch
