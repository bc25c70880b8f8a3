"""A circuit that processes share over a Redis: what one has found out, the others know within a second.

Theory of operation
-------------------
Each process has a `Gate` of its own, which counts, decides and turns away as ever, without asking anybody. What is
shared is the state: *open, the next trial due then*, or *closed*, and who makes a trial. It lies in Redis, see
`shared_state`.

*Looking.* The first call in each second, `EVERY`, asks Redis for the state, and the gate follows it. So a call costs
the look at a clock, and a process that has just started knows of an open circuit at its first call.

*Telling.* When the gate opens by what it has counted, it says so. An open circuit is not opened anew, so those who
fail a bit later do not put off its next trial.

*Trials.* Whoever is let through by his gate when the trial is due has to be granted it by Redis as well: so many leases
are granted to all processes together, and who gets none does not ask again for `EVERY` seconds. What a trial has shown
goes to Redis, which opens the circuit anew, or closes it for all.

*Without Redis* the gate goes on by itself, as if it were alone, trials too. What it has decided meanwhile it says when
Redis is back. If Redis has forgotten everything, an open gate stays open until its own trial.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from formation.resilience.gate import CircuitOpenError, Gate, Permit
from formation.resilience.shared_state import SharedState, State, Step, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.errors import StorageUnavailable
    from formation.resilience.verdicts import Verdict
    from formation.storage.redis import Redis

EVERY: Final = 1.0
"""Seconds between two looks of a process: short beside the seconds that a circuit is open, long beside those of a call
of Redis."""


class SharedGate(Gate):
    """A circuit, which the threads and tasks of many processes may share. See `Gate` for the other settings.

    Args:
        name: what errors and events call it.
        redis: where its state lies.
        key: under which.
        unavailable: told what Redis has answered in place of an answer.
        settings: of a `Gate`.
    """

    def __init__(
        self,
        name: str,
        *,
        redis: Redis,
        key: str,
        unavailable: Callable[[StorageUnavailable], object],
        **settings: Any,
    ) -> None:
        self._follows = False  # the state is taken over, and not our own finding
        self._untold_turn: State | None = None  # our own, which Redis does not know yet
        super().__init__(name, **settings)
        self._shared = SharedState(
            redis, key, unavailable, lease=self.trial_lease, trials=self.max_trials, successes=self.success_threshold
        )
        self._known = ""  # the period in Redis that the gate goes by
        self._next_look = self._next_try = float("-inf")
        self._granted: dict[Permit, str] = {}  # trials, and their tokens
        self._newest = -1  # the last ticket of what Redis has said that the gate goes by

    def open(self) -> None:
        """Open it for all, for `reset_timeout` from now."""
        super().open()
        self._set("set open")

    def close(self) -> None:
        """Close it for all."""
        super().close()
        self._set("set closed")

    def admit(self) -> Permit:
        """Return a permit for one call. The first call in a second looks at the state in Redis.

        Raises:
            CircuitOpenError: it is open, or half-open and its trials are under way, here or elsewhere.
        """
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + EVERY
            self._look()
        if now < self._next_try and self.state == "half-open":
            raise self._busy()
        permit = super().admit()
        return self._try(permit) if permit in self._trials else permit

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """Hand a permit back, and say what the call has shown of the endpoint; of a trial, to Redis."""
        token, told = self._granted.pop(permit, None), None
        if token is not None:
            try:
                told = self._ask(verdict, token)
            except BaseException as error:  # the lease ends by itself
                super().settle(permit, "neutral")
                if verdict == "neutral" and isinstance(error, Exception):  # the chain is closed: nobody can wait
                    return
                raise
        if told is None:
            knew = self._untold_turn
            super().settle(permit, verdict)
            if knew is None and self._untold_turn is not None:
                self._tell_turn()
            return
        with self._lock:
            self._trials.pop(permit, None)
        self._follow(told)

    def _try(self, permit: Permit) -> Permit:
        token = uuid4().hex
        try:
            told = self._ask("try", token)
        except BaseException:  # cancelled: nobody knows whether it was granted
            super().settle(permit, "neutral")
            with suppress(Exception):
                self._ask("neutral", token)
            raise
        if told is None:
            return permit
        if told.granted:
            self._known, self._newest = told.period, told.ticket
            self._granted[permit] = token
            return permit
        super().settle(permit, "neutral")
        self._follow(told)
        if self.state != "half-open":
            return self.admit()  # it is closed, or open for so many seconds
        self._next_try = self._clock() + EVERY
        raise self._busy()

    def _set(self, step: Step) -> None:
        told = self._ask(step)
        if told is not None:
            self._untold_turn = None
            self._follow(told)

    def _busy(self) -> CircuitOpenError:
        with self._lock:
            error = self._rejection(f"circuit {self.name!r} is half-open, and its trials are under way", None)
        self._tell()
        return error

    def _look(self) -> None:
        if self._untold_turn is not None:
            self._tell_turn()
        else:
            self._follow(self._ask("look"))

    def _tell_turn(self) -> None:
        """Say what the gate has found out by itself."""
        with self._lock:
            turn, self._untold_turn = self._untold_turn, None
            left = self.reset_timeout
            if self._opened_at is not None:
                left += self._opened_at - self._clock()
        if turn is None:  # another thread was faster
            return
        told = None
        try:
            told = self._ask("open" if turn == "open" else "close", reset=max(left, 0))
        finally:
            if told is None:
                self._untold_turn = self._untold_turn or turn
        self._follow(told)

    def _follow(self, told: Told | None) -> None:
        """Go by what Redis has said, if that is another period than the one the gate goes by."""
        if told is None:
            return
        with self._lock:
            if told.ticket > self._newest and told.period != self._known and not self._untold_turn:
                self._known, self._newest = told.period, told.ticket
                if told.period:
                    self._take_over(told)
        self._tell()

    def _take_over(self, told: Told) -> None:
        state, self._follows = self.state, True
        try:
            if told.state == "closed":
                if state != "closed":
                    self._breaker.close()
            elif state == "closed" or (state == "half-open" and told.left):
                self._due_in = told.left
                self._breaker.open()
            elif state == "open":
                self._opened_at = self._clock() + told.left - self.reset_timeout
        finally:
            self._follows, self._due_in = False, None

    def _turned(self, state: str) -> None:
        super()._turned(state)
        if not self._follows:
            self._untold_turn = "open" if state == "open" else "closed" if state == "closed" else self._untold_turn

    def _ask(self, step: Step, token: str = "", reset: float | None = None) -> Told | None:
        return self._shared.take(step, self._known, self.reset_timeout if reset is None else reset, token)
