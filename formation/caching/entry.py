"""A stored response: its head, what the head said about its use, and its body or a handle to it.

Theory of operation
-------------------
What a head says is read once, when the entry is made (`Policy.entry`, `Policy.freshen`), and kept in plain fields. So a
hit reads no header of the response, and a store that packs entries packs what was read with them.

All times are seconds since 1970 on one axis that whoever asks chooses. A clock that nobody can set, moved to where the
wall clock stood at the start, is best for entries that stay in the process; those that others read need the wall clock.
"""

from __future__ import annotations

import json
from typing import Any, Final

from attrs import asdict, evolve, fields, frozen

FORMAT: Final = 1
"""Changes with the fields, so that what an older version stored is not misread."""


@frozen
class Entry:
    """A stored response, as `Policy.entry` makes it; `with_body` then adds what came after the head.

    ``method``: whose requests it answers: ``"GET"`` (and with it HEAD), or ``"HEAD"``. ``url``: in normal form, see
    `formation.http.origins.normal`. ``vary``: the request headers that the response depends on, each with the value
    that it was chosen by, as `variants.normal` has it; ``None``: the request had none. ``status``, ``headers``: as
    received, less what may not be stored, with a Date.
    ``received_at``: when. ``age``: seconds old at that time. ``date``: when the origin made it, by the origin.
    ``lifetime``: seconds from 0 on for which it is fresh. ``heuristic``: whether that is our guess. ``shared``: whether
    a shared cache made it; a policy leaves alone what a cache of the other kind has stored.
    ``no_cache``: to be validated before each use. ``must_revalidate``: never to be used when stale. ``immutable``: not
    to be validated for a reload while fresh (RFC 8246). ``stale_while_revalidate``, ``stale_if_error``: seconds past
    the lifetime; ``None``: the response does not say. ``etag``: as received. ``last_modified``: seconds, or ``None``.
    ``length``: bytes in ``body``. ``body``: bytes, or a handle that the store understands. ``requested_at``: when it
    was asked for, or last validated: what was dropped after that must not come back, nor replace what was asked for
    later.
    """

    method: str
    url: str
    vary: tuple[tuple[str, str | None], ...]
    status: int
    headers: tuple[tuple[str, str], ...]
    received_at: float
    age: float
    date: float
    lifetime: float
    heuristic: bool
    shared: bool
    no_cache: bool
    must_revalidate: bool
    immutable: bool
    stale_while_revalidate: float
    stale_if_error: float | None
    etag: str | None
    last_modified: float | None
    length: int = 0
    body: Any = b""
    requested_at: float = 0.0

    @property
    def variant(self) -> tuple[str, tuple[tuple[str, str | None], ...]]:
        """What an entry has to itself among those of its URL: one put where there is the same replaces it."""
        return self.method, self.vary

    def age_at(self, now: float) -> float:
        """Return how many seconds old it is (RFC 9111, 4.2.3)."""
        rested = now - self.received_at
        return self.age + rested if rested > 0 else self.age

    def with_body(self, body: Any, length: int) -> Entry:
        """Return the entry with ``body``, bytes or a handle, of ``length`` bytes."""
        return evolve(self, body=body, length=length)

    def pack(self) -> bytes:
        """Return all but the body, for a store that keeps bytes."""
        head = asdict(self, recurse=False, filter=lambda attribute, _: attribute.name != "body")
        return json.dumps([FORMAT, head], separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, head: bytes | str, body: Any) -> Entry:
        """Return the entry that ``head`` was packed from, with ``body``.

        Raises:
            ValueError: it is not one, or one of another version. A store then has no such entry.
        """
        try:
            version, told = json.loads(head)
            told["vary"] = tuple((name, value) for name, value in told["vary"])
            told["headers"] = tuple((name, value) for name, value in told["headers"])
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"expected a packed cache entry, got {error!r}: drop it") from None
        if version != FORMAT or set(told) != _PACKED:
            raise ValueError(f"expected a cache entry of format {FORMAT}, got {version!r}: drop it")
        return cls(**told, body=body)


_PACKED: Final = {attribute.name for attribute in fields(Entry)} - {"body"}
