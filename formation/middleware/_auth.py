"""What the auth middlewares have in common: which requests they are for, and what may be sent as a secret.

No error here says what the secret is: it would stand in a log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from formation.keys import REQ_HTTP, REQ_RPC, SENSITIVE

if TYPE_CHECKING:
    from formation.http import Request
    from formation.kernel import Ctx

AUTHORIZATION: Final = "authorization"

_visible = re.compile(r"[!-~]+").fullmatch
_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def at_home(ctx: Ctx) -> Request | None:
    """Return the request, if there is one and it goes to the client's own origin.

    >>> at_home({}) is None
    True
    """
    request: Request | None = ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)
    return None if request is None or request.extensions.get("away") else request


def unauthorized(ctx: Ctx) -> Request | None:
    """Return the request if it is to get an ``Authorization``, and declare that header a secret.

    One that the call has already stays, and so does what the ``auth`` of the call or of the client will set.
    """
    request = at_home(ctx)
    if request is None or request.auth is not None or AUTHORIZATION in request.headers:
        return None
    ctx.setdefault(SENSITIVE, set()).add(AUTHORIZATION)
    return request


def check_text(what: str, value: str) -> str:
    r"""Return ``value`` if it is text without control characters, such as the line feed at the end of a file.

    >>> check_text("a password", "s3cret\n")
    Traceback (most recent call last):
    ValueError: expected a password without control characters, such as the line feed at the end of a file
    """
    _check_str(what, value)
    if _control(value):
        raise ValueError(f"expected {what} without control characters, such as the line feed at the end of a file")
    return value


def check_visible(what: str, value: str) -> str:
    """Return ``value`` if it is one word of visible ASCII, as tokens are (RFC 6750, 2.1).

    >>> check_visible("a token", "")
    Traceback (most recent call last):
    ValueError: expected a token of visible ASCII characters, at least one; it is empty
    """
    _check_str(what, value)
    if not _visible(value):
        hint = "it has others, or white space around it" if value else "it is empty"
        raise ValueError(f"expected {what} of visible ASCII characters, at least one; {hint}")
    return value


def _check_str(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"expected {what} as a str, got {type(value).__name__}")
