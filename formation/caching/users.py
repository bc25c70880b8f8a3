"""Whose answer it is: what tells the users of one cache apart, as far as it can be seen from the request.

Seen are ``Authorization``, ``Cookie`` and the headers that ``fmtn.sensitive`` names, what ``auth`` and ``cookies`` of
the request will make of it, the cookies that the client's jar has for it, ``ctx["uid"]``, and the caller's session.
What is kept of it is a hash: a store has no use for secrets.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from formation.http.cookies import cookie_header
from formation.keys import SENSITIVE, SESSION, UID

if TYPE_CHECKING:
    from formation.http.request import Request

HEADERS: Final = ("Authorization", "Cookie", "Proxy-Authorization")

NOBODY: Final = ""

_PLAIN: Final = (str, bytes, int, float, bool, type(None))


def credentials(ctx: Any, request: Request) -> dict[str, list[str]]:
    """Return the headers of the request that say who asks."""
    headers, names = request.headers, HEADERS
    if more := ctx.get(SENSITIVE):
        names = (*names, *more)
    return {name.lower(): headers.getlist(name) for name in names if name in headers}


class Users:
    """Names users.

    Args:
        is_local: whether an object may stand for a user, such as an ``auth`` that is a function: it has the same name
            for as long as the process lives. Other processes know nothing of it.
    """

    def __init__(self, *, is_local: bool) -> None:
        self._is_local = is_local
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._next = count()

    def __call__(self, ctx: Any, request: Request) -> str | None:
        """Return a name for the user: `NOBODY` if there is none to be seen, ``None`` if there is no telling."""
        said = credentials(ctx, request)
        auth, jar = request.auth, request.extensions.get("jar")
        cookies, uid, session = request.cookies, ctx.get(UID), ctx.get(SESSION)
        if hasattr(jar, "add_cookie_header"):  # who logs in, and as somebody else, may have one jar all along
            jar = cookie_header(request, jar)
        if not said and auth is None and jar is None and not cookies and uid is None and not session:
            return NOBODY
        try:
            parts = [self._named(part) for part in (said, auth, jar, cookies, uid, session or {})]
        except TypeError:
            return None
        return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _named(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if type(value) in {list, tuple}:
            return [self._named(each) for each in value]
        if type(value) is dict:
            return sorted((repr(self._named(name)), self._named(each)) for name, each in value.items())
        if not self._is_local:
            raise TypeError(f"expected what has a name in every process, got {value!r}")
        return {"object": self._numbers.setdefault(value, next(self._next))}
