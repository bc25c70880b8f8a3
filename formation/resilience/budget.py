"""What retries may cost: while all is well they are free to come, in an outage they run out.

Three attempts a call are three times the load, just when a server has too much of it. So each retry is paid for, from
an account that the calls which need none fill up again. There is one account for each origin.

*The quota*, as in the SDKs of AWS since 2026: 500 tokens, a retry costs 14, or 5 where the server has asked for less;
one that helped gets its tokens back, and a call that needed none earns one. With everything down that is 35 retries in
all, and one for each 14 calls that succeed; with a fifth of the calls failing nobody notices.

*A ratio*, as in Finagle: so many retries for each call, and ten to begin with.

>>> budget = Budget(30)
>>> budget.take("https://h"), budget.take("https://h"), budget.take("https://h")
(14, 14, 0)
>>> budget.settle("https://h", paid=14, ok=True)  # the second retry has helped
>>> budget
<Budget: 30 tokens, 14 spent for 'https://h'>
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final

from formation.resilience.checks import positive, seconds

if TYPE_CHECKING:
    from collections.abc import Hashable

KEYS: Final = 1024
"""Accounts kept that are not full, as with everything else that there is for each origin."""

RESERVE: Final = 10
"""Retries that a ratio allows before there was any call. As Envoy and Finagle, who allow a few in any second."""


class Budget:
    """An account of tokens for each key. Threads and tasks may share it, and so may several `retry`.

    Nothing here waits. An account that is full takes no memory, and no time.

    Args:
        capacity: tokens in a full account, as it is at first.
        cost: of a retry.
        throttled_cost: of a retry after a 429: the server is well, and has said when to come back.
        per_success: tokens for a call that has succeeded without a retry.
        per_call: tokens for any call.
        refund: whether a retry that has succeeded gets its tokens back.

    Raises:
        ValueError: a number that cannot be.
    """

    __slots__ = ("_lock", "capacity", "cost", "per_call", "per_success", "refund", "spent", "throttled_cost")

    def __init__(
        self,
        capacity: float = 500,
        *,
        cost: float = 14,
        throttled_cost: float = 5,
        per_success: float = 1,
        per_call: float = 0,
        refund: bool = True,
    ) -> None:
        self.capacity = positive("capacity", capacity)
        self.cost = positive("cost", cost)
        self.throttled_cost = positive("throttled_cost", throttled_cost)
        self.per_success = seconds("per_success", per_success)
        self.per_call = seconds("per_call", per_call)
        self.refund = refund
        self.spent: dict[Hashable, float] = {}  # of accounts that are not full
        # A collection may end a forgotten task, which settles, while this very thread holds the lock.
        self._lock = RLock()

    @classmethod
    def ratio(cls, ratio: float) -> Budget:
        """Make a budget of ``ratio`` retries for each call: with 0.1, a tenth more load at most.

        >>> Budget.ratio(0.1)
        <Budget: 10 tokens>
        """
        positive("ratio", ratio)
        return cls(RESERVE, cost=1, throttled_cost=1, per_success=0, per_call=ratio, refund=False)

    def take(self, key: Hashable, *, throttled: bool = False) -> float:
        """Pay for a retry; return what it costs, or 0 if there is not enough for it."""
        cost = self.throttled_cost if throttled else self.cost
        with self._lock:
            spent = self.spent.get(key, 0) + cost
            if spent > self.capacity:
                return 0
            if key not in self.spent and len(self.spent) >= KEYS:
                del self.spent[next(iter(self.spent))]
            self.spent[key] = spent
        return cost

    def settle(self, key: Hashable, *, paid: float, ok: bool | None) -> None:
        """Say what came of a call.

        Args:
            key: as for `take`.
            paid: what its last retry has cost, or 0.
            ok: whether it has succeeded; ``None``: nobody knows, it was cancelled, or turned away by ourselves.
        """
        if ok is None:
            back = paid
        else:
            earned = (paid if paid and self.refund else self.per_success) if ok else 0
            back = earned + self.per_call
        if not back or key not in self.spent:
            return
        with self._lock:
            left = self.spent.get(key, 0) - back
            if left > 0:
                self.spent[key] = left
            else:
                self.spent.pop(key, None)

    def __repr__(self) -> str:
        spent = "".join(f", {spent:g} spent for {key!r}" for key, spent in list(self.spent.items())[:3])
        return f"<Budget: {self.capacity:g} tokens{spent}>"
