"""The state of a circuit in Redis, which changes in steps; each is a script, so it happens as a whole.

*A period*, from one change of state to the next, has a name, and what is said of another period than the one that lies
there counts for nothing: who has not heard yet that others have closed a circuit does not open it, and the trials of a
period end with it.

*The time is that of Redis*, in which nobody's clock matters; a process is told how many seconds are left.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from uuid import uuid4

from formation.errors import StorageUnavailable
from formation.storage.redis import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.storage.redis import Redis

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


class Told(NamedTuple):
    """What Redis has said."""

    state: State
    period: str
    left: float
    """Seconds until a trial is due."""
    granted: bool
    ticket: int
    """Who asked later knows better."""


class SharedState:
    """The state of one circuit, in one hash.

    Args:
        redis: where it lies.
        key: under which.
        unavailable: told what Redis has answered in place of an answer.
        lease: seconds after which a trial that has not ended no longer keeps others out.
        trials: under way at a time.
        successes: that close it.
    """

    def __init__(
        self,
        redis: Redis,
        key: str,
        unavailable: Callable[[StorageUnavailable], object],
        *,
        lease: float,
        trials: int,
        successes: int,
    ) -> None:
        self.redis, self._key, self._unavailable = redis, key, unavailable
        self._settings = _milliseconds(lease), _milliseconds(KEPT), trials, successes
        self._tickets = count()

    def take(self, step: Step, period: str, reset: float, token: str = "") -> Told | None:
        """Take a step; return what the state is by that, or ``None``: Redis does not answer.

        Args:
            step: what to do.
            period: the one that is known.
            reset: seconds that the circuit stays open, if it is opened.
            token: of a trial.
        """
        args: list[str | int] = [step, period, token or uuid4().hex, _milliseconds(reset), *self._settings]
        ticket = next(self._tickets)
        try:
            state, name, left, granted = self.redis.run(_STEP, [self._key], args)
        except StorageUnavailable as error:
            self._unavailable(error)
            return None
        is_open = state == b"open"
        return Told("open" if is_open else "closed", name.decode(), float(left) / 1000, bool(granted), ticket)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
