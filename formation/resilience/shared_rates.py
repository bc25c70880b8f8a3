"""The limits of `rates` in Redis: one count for many processes, on many machines.

All limits of a client are one key, so that one script looks at all of them and counts for all or for none, in one round
trip, by the clock of Redis. Where that clock is set back, the times that are kept are set back with it. A key expires
when all of its limits are full again.

The library ``limits`` would ask for each limit by itself, and count for the first what the second does not let in; its
moving window goes by the clock of each client, and its counter lets more than the limit through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.resilience.rates import Standing, Verdict, counter_of
from formation.storage.names import name_of
from formation.storage.redis import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from formation.resilience.rates import Limit, Strategy
    from formation.storage.redis import Redis

_US: Final = 1e6  # of a second; times are microseconds, as those of Redis

# A strategy says how the state is read, how one limit stands (look), how a request is counted (take), and how the state
# is kept (save); back is by how much the clock was set back since.
_COMMON: Final = """
local amounts, pers, bursts, now = {}, {}, {}, tonumber(ARGV[1])
for at = 2, #ARGV, 3 do
  local each = #amounts + 1
  amounts[each], pers[each], bursts[each] = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
end
if not now then local time = redis.call('TIME') now = time[1] * 1e6 + time[2] end
local function exact(number) return string.format('%.17g', number) end
local function numbers()
  local kept, all = redis.call('GET', KEYS[1]), {}
  for each in string.gmatch(kept or '', '%S+') do all[#all + 1] = tonumber(each) end
  return all, math.max((all[1] or now) - now, 0)
end
local function keep(all, time)
  for at = 1, #all do all[at] = exact(all[at]) end
  redis.call('SET', KEYS[1], table.concat(all, ' '), 'PX', math.ceil(time / 1000) + 1)
end
"""

_ANSWER: Final = """
local let_in = 1
for each = 1, #amounts do
  if look(each) >= 1 then let_in = 0 end  -- microseconds; less is what a sum of floats is off by
end
if let_in == 1 then take() end
if let_in == 1 or back > 0 then save() end
local answer = {let_in}
for each = 1, #amounts do
  local wait, left, full = look(each)
  if wait < 1 then wait = 0 else left = 0 end  -- who is told of no wait is let in
  answer[#answer + 1] = exact(wait)
  answer[#answer + 1] = exact(math.max(left, 0))
  answer[#answer + 1] = exact(math.max(full, 0))
end
return table.concat(answer, ' ')  -- one text, for a client is slow to read many
"""

_SLOTS: Final = """
local all, back = numbers()
local nexts = {}
for each = 1, #amounts do nexts[each] = math.max((all[each + 1] or now) - back, now) end
local function look(each)
  local between, ahead = pers[each] / amounts[each], nexts[each] - now
  return ahead - (bursts[each] - 1) * between, bursts[each] - math.ceil((ahead - 1) / between), ahead
end
local function take()
  for each = 1, #amounts do nexts[each] = nexts[each] + pers[each] / amounts[each] end
end
local function save() keep({now, unpack(nexts)}, math.max(unpack(nexts)) - now) end
"""

_TIMES: Final = """
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local back = last[2] and tonumber(last[2]) - now or 0
if back > 0 then
  local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do redis.call('ZADD', KEYS[1], exact(all[at + 1] - back), all[at]) end
end
local longest = math.max(unpack(pers))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', exact(now - longest + 1))
local function look(each)
  local from = '(' .. exact(now - pers[each] + 1)
  local oldest = redis.call('ZREVRANGE', KEYS[1], amounts[each] - 1, amounts[each] - 1, 'WITHSCORES')
  local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return oldest[2] and oldest[2] + pers[each] - now or 0,
    amounts[each] - redis.call('ZCOUNT', KEYS[1], from, '+inf'),
    newest[2] and newest[2] + pers[each] - now or 0
end
local function take()
  redis.call('ZADD', KEYS[1], exact(now), exact(now) .. ' ' .. redis.call('ZCARD', KEYS[1]))
end
local function save() redis.call('PEXPIRE', KEYS[1], math.ceil(longest / 1000) + 1) end
"""

_PARTS: Final = """
local all, back = numbers()
local limits, at = {}, 2
for each = 1, #amounts do
  local parts = {}
  for _ = 1, all[at] or 0 do
    local first, last, many = all[at + 1] - back, all[at + 2] - back, all[at + 3]
    if last + pers[each] - now >= 1 then parts[#parts + 1] = {first, last, many} end
    at = at + 3
  end
  at, limits[each] = at + 1, parts
end
local function look(each)
  local over, wait, last = -amounts[each], 0, now - pers[each]
  for _, part in ipairs(limits[each]) do over, last = over + part[3], part[2] end
  local left = -over
  for _, part in ipairs(limits[each]) do
    if over < 0 then break end
    over, wait = over - part[3], part[2] + pers[each] - now
  end
  return wait, left, last + pers[each] - now
end
local function take()
  for each, parts in ipairs(limits) do
    local newest = parts[#parts]
    if newest and (now - newest[1]) * 10 < pers[each] then newest[2], newest[3] = now, newest[3] + 1
    else parts[#parts + 1] = {now, now, 1} end
  end
end
local function save()
  local all = {now}
  for _, parts in ipairs(limits) do
    all[#all + 1] = #parts
    for _, part in ipairs(parts) do
      for at = 1, 3 do all[#all + 1] = part[at] end
    end
  end
  keep(all, math.max(unpack(pers)))
end
"""

_SCRIPTS: Final = {
    "gcra": Script(_COMMON + _SLOTS + _ANSWER),
    "moving-window": Script(_COMMON + _TIMES + _ANSWER),
    "sliding-window-counter": Script(_COMMON + _PARTS + _ANSWER),
}


class RedisRates:
    """Requests counted in Redis.

    Args:
        redis: where.
        limits: all must let a request in.
        strategy: how to count.
        burst: as in `MemoryRates`.
        clock: seconds, for tests; ``None``: that of Redis.

    Raises:
        ValueError: another strategy, or no such burst.
    """

    def __init__(
        self,
        redis: Redis,
        limits: Sequence[Limit],
        strategy: Strategy = "gcra",
        burst: int | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        counter_of(strategy, burst)
        self._redis = redis
        self._clock = clock
        self._script = _SCRIPTS[strategy]
        self._args = [
            number
            for limit in limits
            for number in (limit.amount, limit.per * _US, min(burst or limit.amount, limit.amount))
        ]
        self._name = redis.key("rate_limit", strategy, *(limit.name for limit in limits), burst)

    def hit(self, key: Hashable, /) -> Verdict:
        """Count a request if all limits let it in; if one does not, count nothing.

        Raises:
            StorageUnavailable: Redis does not answer. The request may have been counted all the same.
        """
        now = "" if self._clock is None else repr(self._clock() * _US)
        name = f"{self._name}|{name_of(key)}"
        is_let_in, *answer = map(float, self._redis.run(self._script, [name], [now, *self._args]).split())
        return Verdict(
            is_let_in == 1,
            [
                Standing(wait / _US, int(left), full / _US)
                for wait, left, full in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
            ],
        )
