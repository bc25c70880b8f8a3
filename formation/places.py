"""Who is asked, and who asks: what a circuit, a rate or a bulkhead is for, and the user whose call it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeAlias

from formation.http.origins import origin
from formation.keys import REQ_HTTP, REQ_RPC, SESSION, SIDE, UID

Key: TypeAlias = Callable[[Any], Hashable]


def by_origin(ctx: Any) -> str | None:
    """Return the scheme, host and port of the request; ``None`` where there are none, and on a server.

    On a server the host is what the client says: whoever made one up for each request would have a place of his own. Of
    a remote call it is the service: gRPC does not tell where a channel leads.
    """
    if not isinstance(ctx, dict):
        return None
    request = ctx.get(REQ_HTTP)
    if (request is None and REQ_RPC not in ctx) or ctx.get(SIDE) == "server":
        return None
    if request is None:
        service: str = ctx[REQ_RPC].service
        return service
    try:
        return _origin("/".join(request.url.split("/", 3)[:3]))
    except ValueError:  # a path alone, on its way to a server in the same process
        return None


_origin = lru_cache(1024)(origin)  # as many as there are circuits; of a URL without its path, so that there are few


def user_of(ctx: Any) -> Any:
    """Return the user: ``uid`` of the session, else ``ctx["uid"]``; ``None``, or an empty text, is nobody.

    >>> user_of({"fmtn.session": {"uid": 42}, "uid": 7}), user_of({"fmtn.session": {"uid": ""}, "uid": 7}), user_of({})
    (42, 7, None)
    """
    for uid in ((ctx.get(SESSION) or {}).get(UID), ctx.get(UID)):
        if uid is not None and uid != "":
            return uid
    return None


def chosen(key: Key | None) -> Key:
    """Return ``key``, or `by_origin` for ``None``.

    Raises:
        TypeError: it is no function.

    >>> chosen("tenant")
    Traceback (most recent call last):
    TypeError: expected key as a function of the context, got 'tenant'
    """
    if key is not None and not callable(key):
        raise TypeError(f"expected key as a function of the context, got {key!r}")
    return key or by_origin
