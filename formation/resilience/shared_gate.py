"""A circuit that processes share over a Redis: what one has found out, the others know within a second.

Theory of operation
-------------------
Each process has a `Gate` of its own, which counts, decides and turns away as ever, without asking anybody. What is
shared is the state: *open, the next trial due then*, or *closed*, and who makes a trial. It lies in one hash in Redis.

*Looking.* The first call in each second, `EVERY`, asks Redis for the state, and the gate follows it. So a call costs
the look at a clock, and a process that has just started knows of an open circuit at its first call.

*Telling.* When the gate opens by what it has counted, it says so. An open circuit is not opened anew, so those who
fail a bit later do not put off its next trial.

*Trials.* Whoever is let through by his gate when the trial is due has to be granted it by Redis as well: so many leases
are granted to all processes together, and who gets none does not ask again for `EVERY` seconds. What a trial has shown
goes to Redis, which opens the circuit anew, or closes it for all.

*A period* in Redis has a name, and what is said of another period than the one that lies there counts for nothing: who
has not heard yet that others have closed a circuit does not open it, and the trials of a period end with it.

*The time is that of Redis*, in which nobody's clock matters; a process takes over how many seconds are left.

*Without Redis* the gate goes on by itself, as if it were alone, trials too. What it has decided meanwhile it says when
Redis is back. If Redis has forgotten everything, an open gate stays open until its own trial.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias
from uuid import uuid4

from formation.errors import StorageUnavailable
from formation.resilience.gate import CircuitOpenError, Gate, Permit
from formation.storage.redis import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.resilience.verdicts import Verdict
    from formation.storage.redis import Redis

EVERY: Final = 1.0
"""Seconds between two looks of a process: short beside the seconds that a circuit is open, long beside those of a call
of Redis."""

KEPT: Final = 3600.0
"""Seconds for which a state is kept after a trial is due: an endpoint that nobody has tried for an hour may be well."""

State: TypeAlias = Literal["open", "closed"]
Step: TypeAlias = Literal["look", "open", "close", "set open", "set closed", "try", "ok", "fail", "neutral"]

_STEP: Final = Script("""
local step, known, token = ARGV[1], ARGV[2], ARGV[3]
local reset, lease, kept = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local most, enough = tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local there = redis.call('HMGET', KEYS[1], 'state', 'period', 'due', 'reset')
local state, period, due, granted = there[1] or 'closed', there[2] or '', tonumber(there[3] or 0), 0

local function turn(to)
  state, period, due = to, token .. '/' .. step, now -- a token takes two steps, that of a trial
  if to == 'open' then due = now + reset end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'state', state, 'period', period, 'due', string.format('%.3f', due), 'reset', reset)
  redis.call('PEXPIRE', KEYS[1], math.ceil(due - now + kept))
end

if state == 'open' and due - now > tonumber(there[4]) then -- the clock of Redis was set back
  due = now + there[4]
  redis.call('HSET', KEYS[1], 'due', string.format('%.3f', due))
end

if step == 'set open' then turn('open')
elseif step == 'set closed' then turn('closed')
elseif step == 'open' then
  if now >= due and (period == known or period == '') then turn('open') end
elseif step == 'close' then
  if period == known then turn('closed') end
elseif step == 'try' then
  if period == '' then -- forgotten: there has to be something to make a trial of
    turn('open')
    due = now
    redis.call('HSET', KEYS[1], 'due', string.format('%.3f', due))
  end
  if state == 'open' and now >= due then
    local trials = 0
    local all = redis.call('HGETALL', KEYS[1])
    for at = 1, #all, 2 do
      if string.sub(all[at], 1, 6) == 'trial:' then
        local left = tonumber(all[at + 1]) - now
        if left <= 0 or left > lease then redis.call('HDEL', KEYS[1], all[at]) else trials = trials + 1 end
      end
    end
    if trials < most then
      redis.call('HSET', KEYS[1], 'trial:' .. token, string.format('%.3f', now + lease))
      redis.call('PEXPIRE', KEYS[1], math.ceil(lease + kept))
      granted = 1
    end
  end
elseif step ~= 'look' then -- what a trial has shown; those of another period are gone with it
  if redis.call('HDEL', KEYS[1], 'trial:' .. token) == 1 then
    if step == 'fail' then turn('open')
    elseif step == 'ok' and redis.call('HINCRBY', KEYS[1], 'successes', 1) >= enough then turn('closed') end
  end
end
return {state, period, string.format('%.3f', math.max(due - now, 0)), granted}
""")


class _Told(NamedTuple):
    """What Redis has said."""

    state: State
    period: str
    left: float
    """Seconds until a trial is due."""
    granted: bool
    ticket: int
    """Who asked later knows better."""


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
        self._redis = redis
        self._key = key
        self._unavailable = unavailable
        self._known = ""  # the period in Redis that the gate goes by
        self._next_look = self._next_try = float("-inf")
        self._granted: dict[Permit, str] = {}  # trials, and their tokens
        self._tickets = count()
        self._newest = -1

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

    def _follow(self, told: _Told | None) -> None:
        """Go by what Redis has said, if that is another period than the one the gate goes by."""
        if told is None:
            return
        with self._lock:
            if told.ticket > self._newest and told.period != self._known and not self._untold_turn:
                self._known, self._newest = told.period, told.ticket
                if told.period:
                    self._take_over(told)
        self._tell()

    def _take_over(self, told: _Told) -> None:
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

    def _ask(self, step: Step, token: str = "", reset: float | None = None) -> _Told | None:
        args: list[str | int] = [
            step,
            self._known,
            token or uuid4().hex,
            _milliseconds(self.reset_timeout if reset is None else reset),
            _milliseconds(self.trial_lease),
            _milliseconds(KEPT),
            self.max_trials,
            self.success_threshold,
        ]
        ticket = next(self._tickets)
        try:
            state, name, left, granted = self._redis.run(_STEP, [self._key], args)
        except StorageUnavailable as error:
            self._unavailable(error)
            return None
        is_open = state == b"open"
        return _Told("open" if is_open else "closed", name.decode(), float(left) / 1000, bool(granted), ticket)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
