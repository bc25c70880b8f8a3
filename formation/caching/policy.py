"""What an HTTP cache may store, use and ask. RFC 9111, 5861, 8246 and 9213, without I/O and without a clock."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import frozen

from formation.caching.fields import Headers, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from formation.caching.entry import Entry

WEEK: Final = 7 * 86400.0
"""A guess at a lifetime is a week at most: what has not changed for years may yet change today."""


class Verdict(Enum):
    """What to do with a request."""

    FRESH = "fresh"
    """Answer from the entry."""
    STALE = "stale"
    """Answer from the entry, which is stale, for the request allows it (max-stale)."""
    REFRESH = "refresh"
    """Answer from the entry, which is stale, and validate it in the background (stale-while-revalidate)."""
    VALIDATE = "validate"
    """Ask, with `Policy.conditional`: the entry is stale."""
    RELOAD = "reload"
    """Ask, with `Policy.conditional`: the entry is fresh, but the request wants it validated."""
    MISS = "miss"
    """Ask: no entry answers this request."""
    UNAVAILABLE = "unavailable"
    """Answer 504: nothing may be used and the request wants nothing asked (only-if-cached)."""


class Request:
    """A request as the policy sees it, parsed once.

    Args:
        method: in upper case.
        url: absolute, see `urls.normal`.
        headers: as sent by the client, or received by the server.
    """

    __slots__ = ("fields", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: Headers) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.fields = joined(headers)


@frozen
class Answer:
    """What to send: ``body`` is the part of the entry's body, ``slice(start, stop)``; ``None``: no body."""

    status: int
    headers: list[tuple[str, str]]
    body: slice | None


class Policy:
    """The rules for one cache."""

    def __init__(
        self,
        *,
        shared: bool,
        heuristic: float = 0.1,
        max_heuristic: float = WEEK,
        stale_if_error: float | None = None,
        targets: Sequence[str] | None = None,
    ) -> None:
        self.shared = shared

    def refusal(self, request: Request, status: int, headers: Headers) -> str | None:
        """Return why the response may not be stored; ``None``: it may. From the head alone."""
        raise NotImplementedError

    def entry(
        self, request: Request, status: int, headers: Headers, *, requested_at: float, received_at: float
    ) -> Entry:
        """Return the entry to store for a response that `refusal` does not refuse; add the body by `with_body`."""
        raise NotImplementedError

    def select(self, request: Request, entries: Iterable[Entry]) -> Entry | None:
        """Return the newest entry that answers ``request`` by its method and its Vary (RFC 9111, 4.1)."""
        raise NotImplementedError

    def decide(self, request: Request, entry: Entry | None, now: float) -> Verdict:
        """Decide what to do with ``request`` for which `select` gave ``entry``."""
        raise NotImplementedError

    def conditional(
        self, request: Request, entry: Entry | None, entries: Iterable[Entry] = ()
    ) -> list[tuple[str, str]] | None:
        """Return all request headers to send in place of the caller's, or ``None``: nothing to validate, send those.

        Where headers were returned, a 304 is ours: see `validated`. Where not, whatever comes is the caller's.
        """
        raise NotImplementedError

    def validated(self, headers: Headers, entry: Entry | None, entries: Iterable[Entry] = ()) -> Entry | None:
        """Return the entry that a 304 with ``headers`` selects, or ``None``: ask again without conditions."""
        raise NotImplementedError

    def freshen(
        self, request: Request, entry: Entry, headers: Headers, *, requested_at: float, received_at: float
    ) -> Entry:
        """Return the entry updated by a 304 with ``headers`` (RFC 9111, 3.2 and 4.3.4), for the variant asked for."""
        raise NotImplementedError

    def after_head(
        self, entry: Entry, status: int, headers: Headers, *, requested_at: float, received_at: float
    ) -> Entry | None:
        """Return a stored GET as a HEAD response leaves it (RFC 9111, 4.3.5); ``None``: drop it, it is outdated."""
        raise NotImplementedError

    def may_serve_stale(self, request: Request, entry: Entry, now: float) -> bool:
        """Tell whether ``entry`` may be used because asking failed: an error, or one of `ERRORS` (RFC 5861, 4)."""
        raise NotImplementedError

    def answer(self, request: Request, entry: Entry, now: float) -> Answer:
        """Return what ``entry`` answers: 200, 304 by the request's conditions, 206 or 416 by its Range."""
        raise NotImplementedError

    def invalidated(self, request: Request, status: int, headers: Headers) -> list[str]:
        """Return the URLs whose entries a response makes invalid (RFC 9111, 4.4)."""
        raise NotImplementedError
