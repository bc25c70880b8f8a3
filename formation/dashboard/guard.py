"""Who may look: decided from what came, in the same way for WSGI and ASGI. Pure.

- *Methods*: GET and HEAD. Nothing here changes anything of the app.
- *With a token*: it is in ``Authorization: Bearer …``, or the request has the cookie that one such request was given.
  The token is in no URL that is sent: the link ``/#token=…`` has it behind the ``#``, which stays in the browser; the
  page takes it out of the address and sends it once, in the header. The cookie is not the token but a signature of the
  time that it is good until.
- *Without a token*: who asks is on this machine. His address is a loopback address, as the server itself says;
  ``Host`` names a loopback address or ``localhost``, or a page from elsewhere could have its own name point here (DNS
  rebinding); and no proxy has passed the request on, for behind one everybody seems to be on this machine.
- *Pages of others* may not ask for data, whatever a browser would attach: ``Sec-Fetch-Site``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

COOKIE: Final = "formation_dashboard"

LASTS: Final = 12 * 3600
"""Seconds that a cookie is good for: a working day."""

SHORTEST: Final = 16
"""Characters of a token: what ``secrets.token_urlsafe(12)`` gives, 96 bits, is not guessed over a network."""

PROXIED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers by which a proxy shows itself."""


class Asked(NamedTuple):
    """What came. ``peer``: the address that the server says; ``headers``: by names in lower case."""

    method: str
    path: str
    peer: str
    headers: Mapping[str, str]
    is_tls: bool = False
    mount: str = ""


def check_token(token: str | None) -> bytes | None:
    """Return the token as bytes.

    Raises:
        TypeError: it is no text.
        ValueError: it is too short to be secret.
    """
    if token is None:
        return None
    if not isinstance(token, str):
        raise TypeError(f"expected token as text or None, got {type(token).__name__}")
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            f"expected a token of {SHORTEST} ASCII characters or more, without spaces, got {len(token)} characters: "
            "make one with secrets.token_urlsafe()"
        )
    return token.encode()


def refusal(asked: Asked, token: bytes | None, now: float) -> str:
    """Say why somebody may not see the data; nothing if he may."""
    if asked.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return "this is for its own page, and the request came from another site"
    if token is not None:
        return "" if bears(asked, token) or has_cookie(asked, token, now) else "the token is missing, or not the one"
    if not is_loopback(asked.peer):
        return "without a token, only this machine may look: Dashboard(token=…) is for others"
    if not is_local_host(asked.headers.get("host", "")):
        return "without a token, the Host of the request has to be localhost, 127.0.0.1 or [::1]"
    if any(name in asked.headers for name in PROXIED):
        return "without a token, nothing is shown through a proxy: Dashboard(token=…) is for that"
    return ""


def bears(asked: Asked, token: bytes) -> bool:
    """Tell whether the token is in the header, in a time that says nothing about it."""
    scheme, _, said = asked.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _same(said.strip().encode(), token)


def has_cookie(asked: Asked, token: bytes, now: float) -> bool:
    """Tell whether a cookie of ours is there, and good.

    >>> asked = Asked("GET", "/", "192.0.2.1", {"cookie": f"a=1; {COOKIE}={signed(b'secret', 100)}"})
    >>> has_cookie(asked, b"secret", 99), has_cookie(asked, b"secret", 100), has_cookie(asked, b"other", 99)
    (True, False, False)
    """
    for each in asked.headers.get("cookie", "").split(";"):
        name, _, value = each.strip().partition("=")
        until = value.partition(".")[0]
        if name == COOKIE and re.fullmatch(r"[0-9]{1,12}", until) and now < int(until):
            return _same(value.encode(), signed(token, int(until)).encode())
    return False


def set_cookie(asked: Asked, token: bytes, now: float) -> str:
    """Return the line that gives a browser its cookie: for this path, for no script, and for no other site."""
    until = int(now) + LASTS
    path = re.sub(r"[^A-Za-z0-9/._~-]", "", asked.mount) or "/"
    secure = "; Secure" if asked.is_tls else ""
    value = signed(token, until)
    return f"{COOKIE}={value}; Path={path}; Max-Age={LASTS}; HttpOnly; SameSite=Strict{secure}"


def signed(token: bytes, until: int) -> str:
    """Return a cookie's value: a time, and what only who has the token can make of it."""
    return f"{until}.{hmac.new(token, f'formation.dashboard {until}'.encode(), hashlib.sha256).hexdigest()}"


def _same(said: bytes, token: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(said).digest(), hashlib.sha256(token).digest())


def is_loopback(address: str) -> bool:
    """Tell whether an address is of this machine. A socket without one, of a Unix path, is not: a proxy may be behind.

    >>> [is_loopback(each) for each in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.1", "", "localhost")]
    [True, True, True, False, False, False]
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def is_local_host(host: str) -> bool:
    """Tell whether a ``Host`` names this machine in words that no DNS has a say in.

    >>> [is_local_host(each) for each in ("localhost:8000", "127.0.0.1", "[::1]:80", "a.example", "127.0.0.1.a", "")]
    [True, True, True, False, False, False]
    """
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]{1,5})?", host.strip())
    if not found:
        return False
    name = found[1].lower().strip("[]")
    return name == "localhost" or is_loopback(name)
