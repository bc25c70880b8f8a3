"""What a circuit, a rate or a bulkhead is for: the origin that is asked, unless somebody says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeAlias

from formation.http.origins import origin
from formation.keys import REQ_HTTP, REQ_RPC, SIDE

Key: TypeAlias = Callable[[Any], Hashable]


def by_origin(ctx: Any) -> str | None:
    """Return the scheme, host and port of the request; ``None`` where there are none, and on a server.

    Of a remote call it is the service: gRPC does not tell where a channel leads.

    There the host is what the client says: whoever made one up for each request would have a place of his own.
    """
    if not isinstance(ctx, dict) or ctx.get(SIDE) == "server":
        return None
    request = ctx.get(REQ_HTTP)
    if request is None:
        service: str | None = ctx[REQ_RPC].service if REQ_RPC in ctx else None
        return service
    try:
        return _origin("/".join(request.url.split("/", 3)[:3]))
    except ValueError:  # a path alone, on its way to a server in the same process
        return None


_origin = lru_cache(1024)(origin)  # as many as there are circuits; of a URL without its path, so that there are few


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
