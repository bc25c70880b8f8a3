"""Where `idempotency` keeps what is asked for, and what came of it: in the memory of the process, and in Redis."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from formation.errors import StorageUnavailable
from formation.resilience.claims import Claims, Found, MemoryClaims
from formation.resilience.shared_claims import RedisClaims
from formation.storage.choice import Storage, kept_in
from formation.storage.outages import Outages, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.events import Events

OWED: Final = 10_000
"""Claims of which Redis is to be told what came: of an outage with more of them, the first ones are given up."""

PAID: Final = 10
"""Of these at a time: a few milliseconds, which a request pays."""


class Claim:
    """What is asked for: the key, what tells it from another request with that key, and the token of this one."""

    __slots__ = ("fingerprint", "place", "token")

    def __init__(self, place: str, fingerprint: str) -> None:
        self.place = place
        self.fingerprint = fingerprint
        self.token = uuid4().hex


class Register:
    """Claims in the memory of this process, and behind them in the Redis of all, if there is one.

    The memory knows what is under way in here, and what was done while Redis was not there; all else is in Redis. What
    Redis does not know yet it is told when it answers again.
    """

    def __init__(
        self, storage: Storage | Claims | None, ttl: float, lease: float, events: Events, *, fail_open: bool
    ) -> None:
        found: Claims = kept_in(storage, "claim", MemoryClaims, RedisClaims)
        self._shared = found if isinstance(found, RedisClaims) else None
        self._local = found if self._shared is None else MemoryClaims()
        if storage is None and (many := processes()) > 1:
            events("warning", "idempotency.per_process", processes=many)
        self._ttl, self._lease, self._events, self._fail_open = ttl, lease, events, fail_open
        self._warn = Outages("idempotency", events)
        self._owed: deque[Claim] = deque(maxlen=OWED)

    def claim(self, claim: Claim) -> Found | None:
        """Claim it; ``None``: it is ours. Raises `StorageUnavailable` if that is not to be passed over."""
        asked = claim.place, claim.token, claim.fingerprint, self._lease
        found = self._local.claim(*asked)
        if found is not None or self._shared is None:
            return found
        try:
            if self._owed:
                self._pay(self._shared)
            found = self._shared.claim(*asked)
        except StorageUnavailable as error:
            self._warn(error, fail_open=self._fail_open)
            if self._fail_open:
                return None
            self._local.release(claim.place, claim.token)
            if error.__cause__ is not None:  # it was asked, and may have got it
                self._owed.append(claim)
            raise
        except BaseException:  # cancelled: nobody knows whether Redis has got it
            self.release(claim)
            raise
        if found is not None:
            self._local.release(claim.place, claim.token)
        return found

    def _pay(self, shared: RedisClaims) -> None:
        """Tell Redis what came of claims of which it does not know yet."""
        with suppress(IndexError, StorageUnavailable):  # there are no more; or not now
            for _ in range(PAID):
                owed = self._owed.popleft()  # first: others pay at the same time
                try:
                    self._tell(shared, owed)
                except BaseException:
                    self._owed.appendleft(owed)
                    raise

    def _tell(self, shared: RedisClaims, owed: Claim) -> None:
        found = self._local.claim(owed.place, owed.token, owed.fingerprint, self._lease)
        if found is None:  # it was released, or is forgotten here, too
            self._local.release(owed.place, owed.token)
        if found is None or found.outcome is None:
            shared.release(owed.place, owed.token)
        else:
            shared.settle(owed.place, owed.token, found.fingerprint, found.outcome, self._ttl)

    def keep(self, claim: Claim, make: Callable[[], tuple[str, str]], about: dict[str, str]) -> None:
        """Keep the outcome that ``make`` returns with why it is empty; also if it raises, for the work was done."""
        try:
            outcome, why = make()
        except BaseException:
            self._events("warning", "idempotency.not_kept", reason="cut short", **about)
            with suppress(Exception):
                self._settle(claim, "", about)
            raise
        if not outcome:
            self._events("warning", "idempotency.not_kept", reason=why, **about)
        self._settle(claim, outcome, about)

    def _settle(self, claim: Claim, outcome: str, about: dict[str, str]) -> None:
        done = claim.place, claim.token, claim.fingerprint, outcome, self._ttl
        try:
            is_ours = self._local.settle(*done) if self._shared is None else self._shared.settle(*done)
        except StorageUnavailable as error:
            self._warn(error, fail_open=self._fail_open)
            self._owe(claim, outcome)
            return
        except BaseException:  # cancelled
            self._owe(claim, outcome)
            raise
        if self._shared is not None:
            self._local.release(claim.place, claim.token)
        if not is_ours:
            self._events("error", "idempotency.overtaken", lease=self._lease, **about)

    def _owe(self, claim: Claim, outcome: str) -> None:
        self._local.settle(claim.place, claim.token, claim.fingerprint, outcome, self._ttl)
        self._owed.append(claim)

    def release(self, claim: Claim) -> None:
        """Let others try."""
        self._local.release(claim.place, claim.token)
        if self._shared is not None:
            try:
                self._shared.release(claim.place, claim.token)
            except StorageUnavailable as error:
                self._warn(error, fail_open=self._fail_open)
                self._owed.append(claim)
            except RuntimeError:  # the chain is closed, so that nothing can be waited for any more
                self._owed.append(claim)
            except BaseException:  # cancelled once more
                self._owed.append(claim)
                raise
