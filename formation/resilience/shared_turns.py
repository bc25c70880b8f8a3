"""The slots of `turns` in Redis: one rate for many processes, on many machines.

It goes by the clock of Redis, for those of the machines differ. That one can be set, too: where it is set back, the
slots are set back with it, so that nobody waits for an hour that has been already.

A key is a text of numbers: when it was last written, the next slot, and the slots given back. It expires with its last
slot, so nothing stays. It is named by the rate as well: two rates do not meet in one key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.storage.names import name_of
from formation.storage.redis import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from formation.resilience.turns import Quota, Taken
    from formation.storage.redis import Redis

_US: Final = 1e6  # of a second; times are microseconds, as those of Redis

_LINE: Final = """
local interval, now, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), redis.call('GET', KEYS[1])
if not now then local time = redis.call('TIME') now = time[1] * 1e6 + time[2] end
local next, free, back = now, {}, 0
if kept then
  local numbers = {}
  for each in string.gmatch(kept, '%S+') do numbers[#numbers + 1] = tonumber(each) end
  back = math.max(numbers[1] - now, 0)
  next = numbers[2] - back
  for at = 3, #numbers do free[#free + 1] = numbers[at] - back end
end
local function exact(number) return string.format('%.17g', number) end
local function keep()
  if next <= now then return redis.call('DEL', KEYS[1]) end
  local numbers = {exact(now), exact(next)}
  for _, slot in ipairs(free) do numbers[#numbers + 1] = exact(slot) end
  redis.call('SET', KEYS[1], table.concat(numbers, ' '), 'PX', math.ceil((next - now) / 1000) + 1)
end
"""

_RESERVE: Final = Script(
    _LINE
    + """
local tolerance, patience = tonumber(ARGV[3]), tonumber(ARGV[4])
while free[1] and free[1] < now do table.remove(free, 1) end
local slot = free[1] or math.max(now, next)
local wait = slot - tolerance - now
if wait < 1 then wait = 0
elseif patience and wait > patience + 1 then
  if back > 0 then keep() end
  return exact(wait)
end
if free[1] then table.remove(free, 1) else next = slot + interval end
keep()
return exact(wait) .. ' ' .. exact(slot)
"""
)

_GIVE_BACK: Final = Script(
    _LINE
    + """
local slot = tonumber(ARGV[3])
local near = 1.5 * interval
if next - slot > near then
  free[#free + 1] = slot
  table.sort(free)
elseif next - slot > 0.5 * interval then  -- else it is not one of these, for the clock was set
  next = slot
  while free[1] and next - free[#free] < near do next = table.remove(free) end
else return end
keep()
"""
)


class RedisTurns:
    """Slots in Redis.

    Args:
        redis: where.
        clock: seconds, for tests; ``None``: that of Redis.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._clock = clock
        self._named: tuple[Quota | None, str] = None, ""  # the last one, for mostly there is one only

    def reserve(self, key: Hashable, quota: Quota, patience: float | None = None, /) -> Taken:
        """Take a slot, at most ``patience`` seconds from now; ``None``: however long.

        Raises:
            StorageUnavailable: Redis does not answer. The slot may have been taken all the same; then it is lost.
        """
        patient = "" if patience is None else repr(patience * _US)
        wait, *slot = self._run(_RESERVE, key, quota, repr(quota.tolerance * _US), patient)
        return float(wait) / _US, float(slot[0]) / _US if slot else None

    def give_back(self, key: Hashable, quota: Quota, slot: float, /) -> None:
        """Let the next who comes have a slot that is not past.

        Raises:
            StorageUnavailable: Redis does not answer.
        """
        self._run(_GIVE_BACK, key, quota, repr(slot * _US))

    def _run(self, script: Script, key: Hashable, quota: Quota, *args: str) -> list[bytes]:
        now = "" if self._clock is None else repr(self._clock() * _US)
        of, prefix = self._named
        if of is not quota:
            prefix = self._redis.key("throttle", quota.interval, quota.tolerance)
            self._named = quota, prefix
        name = f"{prefix}|{name_of(key)}"
        answer: bytes | None = self._redis.run(script, [name], [repr(quota.interval * _US), now, *args])
        return (answer or b"").split()
