"""By what entries are found: the URL, and whose answer it is where each user has entries of his own."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from formation.caching.users import Users, credentials
from formation.keys import REQ_HTTP
from formation.resilience.forks import fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from formation.caching.lookup import Lookup
    from formation.caching.policy import Policy

LONG: Final = 1024
"""Characters of a URL beyond which its hash is the key: what is remembered of keys is bounded by their number."""

_FOR_OTHERS: Final = frozenset({"cookie", "proxy-authorization"})
"""Of the headers that say who asks: the first has a rule of its own (`storing`), the second is for a proxy."""


class Keys:
    """Makes keys, and knows what they tell apart.

    Args:
        chosen: the ``key`` of the middleware: whoever gives one answers for whom it tells apart.
        is_local: as for `Users`.
    """

    def __init__(self, chosen: Callable[[Any], str | None] | None, *, is_local: bool) -> None:
        self._chosen = chosen
        self._users = Users(is_local=is_local)

    def of(self, lookup: Lookup) -> str | None:
        """Return the key; ``None``: not to be cached, for there is no telling whose answer it is."""
        if self._chosen is not None:
            return self._chosen(lookup.ctx) or None
        place = _place(lookup, lookup.parsed.url)
        if lookup.policy.shared:
            return place
        user = self._users(lookup.ctx, lookup.request)
        return None if user is None else f"{place} {user}" if user else place

    def of_url(self, lookup: Lookup, url: str) -> Iterator[str]:
        """Give the keys of what the request may have outdated at ``url``: of who has asked, and of nobody."""
        if self._chosen is None:
            place = _place(lookup, url)
            user = lookup.key.removeprefix(_place(lookup, lookup.parsed.url))  # as he came: a login changes that
            yield from {place, place + user}
        elif url == lookup.parsed.url:
            if lookup.key:
                yield lookup.key
        else:
            ctx = fork(lookup.ctx)
            ctx[REQ_HTTP].url = url
            if not lookup.is_server:  # where they are those of the URL, and not of another
                ctx[REQ_HTTP].params = {}
            if key := self._chosen(ctx):
                yield key

    def tell_users(self, policy: Policy) -> bool:
        """Tell whether two users have two keys."""
        return self._chosen is None and not policy.shared

    def is_signed(self, lookup: Lookup) -> bool:
        """Tell whether the request that came bears credentials, by whatever header (RFC 9111, 3.5)."""
        return lookup.has_auth or (self._chosen is None and not lookup.credentials.keys() <= _FOR_OTHERS)

    def is_unsure(self, lookup: Lookup, sent: Any) -> bool:
        """Tell whether ``sent`` is of somebody else than the key says: what was added inside, the key has not seen.

        Args:
            lookup: the request that came.
            sent: the context as it is after the call.
        """
        if self._chosen is not None:
            return False
        if "jar" in lookup.request.extensions and self.of(lookup) != lookup.key:
            return True  # its cookies have changed since
        told = credentials(sent, sent.get(REQ_HTTP) or lookup.request)
        if lookup.has_auth:
            told.pop("authorization", None)
        return any(lookup.credentials.get(name) != lines for name, lines in told.items())


def _place(lookup: Lookup, url: str) -> str:
    # What a client has read is decoded, what a server passes on is not: one is no entry for the other.
    name = url if len(url) <= LONG else sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{'server' if lookup.is_server else 'client'} {name}"
