"""Claims: what is asked for under a key is done once, and whoever asks again learns what came of it.

Theory of operation
-------------------
A key is *claimed* before anything is done for it. Of many who ask at the same time one gets the claim, the others are
told that it is under way. Who has it *settles* it with an outcome, which is kept for a time, or *releases* it, if
nothing was done, so that the next one may try.

*A claim has a token*, which nobody else knows, and a *lease*, for whoever has it may be killed. Once the lease is over
the key can be claimed anew; whoever comes back late, with a token that counts no more, neither overwrites what the new
one has said nor takes the claim from him.

*An outcome is a text*, which means nothing here; the empty one says that all was done, and that nothing of it was kept.
What goes first when the memory is full is what the oldest outcomes say, and not that there has been one: it is better
to know nothing of an answer than to do the work a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from formation.clock import monotonic
from formation.resilience.checks import count

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of outcomes kept in the memory: a thousand of the longest that `idempotency` keeps, ten thousands of usual ones."""

MAX_KEYS: Final = 100_000
"""Keys kept in the memory, with 400 bytes each: one a second for a day."""


class Found(NamedTuple):
    """What is known of a key that somebody else has claimed."""

    fingerprint: str
    outcome: str | None
    """``None``: it is under way. The empty text: it was done, and what came of it is not known any more."""


class Claims(Protocol):
    """Where claims are kept. A plain function in an async chain asks it, so it may wait with `await_`."""

    def claim(self, key: str, token: str, fingerprint: str, lease: float, /) -> Found | None:
        """Claim ``key`` for ``lease`` seconds; ``None``: it is yours."""

    def settle(self, key: str, token: str, fingerprint: str, outcome: str, ttl: float, /) -> bool:
        """Keep the outcome for ``ttl`` seconds; ``False``: the lease was over, and somebody else has claimed it."""

    def release(self, key: str, token: str, /) -> None:
        """Let others claim it, unless somebody else has done so already."""


class MemoryClaims:
    """Claims in the memory of the process, which threads and tasks may share.

    Args:
        max_bytes: of outcomes; over it, the oldest become empty.
        max_keys: that are settled; over it, the oldest are forgotten.
        clock: monotonic seconds.

    Raises:
        ValueError: a number that cannot be.

    >>> claims = MemoryClaims()
    >>> claims.claim("order-7", "a", "beans", 60), claims.claim("order-7", "b", "beans", 60)
    (None, Found(fingerprint='beans', outcome=None))
    >>> claims.settle("order-7", "a", "beans", "brewed", 3600), claims.claim("order-7", "c", "beans", 60)
    (True, Found(fingerprint='beans', outcome='brewed'))
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_keys: int = MAX_KEYS, clock: Callable[[], float] = monotonic
    ) -> None:
        self.max_bytes = count("max_bytes", max_bytes, least=0)
        self.max_keys = count("max_keys", max_keys)
        self._clock = clock
        # A collection may end a forgotten call, which releases its claim, while this very thread holds the lock.
        self._lock = RLock()
        self._under_way: dict[str, tuple[str, str, float]] = {}  # token, fingerprint, when the lease is over
        self._done: OrderedDict[str, tuple[str, float]] = OrderedDict()  # fingerprint, until when; the oldest first
        self._outcomes: OrderedDict[str, str] = OrderedDict()  # those that are not empty
        self._size = 0

    def claim(self, key: str, token: str, fingerprint: str, lease: float, /) -> Found | None:
        """Claim ``key`` for ``lease`` seconds; ``None``: it is yours."""
        with self._lock:
            now = self._clock()
            self._expire(now)
            done = self._done.get(key)
            if done is not None:
                if now < done[1]:
                    return Found(done[0], self._outcomes.get(key, ""))
                self._forget(key)  # kept for less long than others before it
            under_way = self._under_way.get(key)
            if under_way is not None and now < under_way[2]:
                return Found(under_way[1], None)
            self._under_way[key] = token, fingerprint, now + lease
            return None

    def settle(self, key: str, token: str, fingerprint: str, outcome: str, ttl: float, /) -> bool:
        """Keep the outcome for ``ttl`` seconds; ``False``: the lease was over, and somebody else has claimed it."""
        with self._lock:
            now = self._clock()
            self._expire(now)
            under_way = self._under_way.get(key)
            if key in self._done or (under_way is not None and under_way[0] != token):
                return False
            self._done[key] = fingerprint, now + ttl
            self._under_way.pop(key, None)
            if outcome:
                self._outcomes[key] = outcome
                self._size += len(outcome)
            while self._size > self.max_bytes:
                self._empty(next(iter(self._outcomes)))
            while len(self._done) > self.max_keys:
                self._forget(next(iter(self._done)))
            return True

    def release(self, key: str, token: str, /) -> None:
        """Let others claim it, unless somebody else has done so already."""
        with self._lock:
            under_way = self._under_way.get(key)
            if under_way is not None and under_way[0] == token:
                self._under_way.pop(key, None)

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._under_way.keys() | self._done.keys())

    def __repr__(self) -> str:
        return f"<MemoryClaims: {len(self._under_way)} under way, {len(self._done)} done, {self._size} bytes>"

    def _expire(self, now: float) -> None:
        """Forget what is over. With one ``ttl``, which is the rule, the oldest are the first to be."""
        while self._done:
            key = next(iter(self._done))
            if now < self._done[key][1]:
                return
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._empty(key)
        self._done.pop(key, None)

    def _empty(self, key: str) -> None:
        self._size -= len(self._outcomes.pop(key, ""))
