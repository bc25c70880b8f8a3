"""Claims in a Redis, so that many processes do what is asked under a key once. See `formation.resilience.claims`.

A key is a hash there: ``token`` and ``fingerprint`` while it is under way, ``fingerprint`` and ``outcome`` afterwards.
Each step is a script, so it happens as a whole, and at the time of Redis, whatever the clocks of the processes say. All
are one script, which Redis knows from the claim on: a server that stops has no time to send the text of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.resilience.claims import Found
from formation.storage.redis import Script

if TYPE_CHECKING:
    from formation.storage.redis import Redis

_STEP: Final = Script("""
local step, token, fingerprint, time, outcome = unpack(ARGV)
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'outcome', 'token')
if step == 'claim' then
  if found[1] then return {found[1], found[2]} end
  redis.call('HSET', KEYS[1], 'token', token, 'fingerprint', fingerprint)
  redis.call('PEXPIRE', KEYS[1], time)
elseif step == 'settle' then
  if found[1] and found[3] ~= token then return 0 end
  redis.call('HDEL', KEYS[1], 'token')
  redis.call('HSET', KEYS[1], 'fingerprint', fingerprint, 'outcome', outcome)
  redis.call('PEXPIRE', KEYS[1], time)
  return 1
elseif found[3] == token then
  redis.call('DEL', KEYS[1])
end
return false
""")


class RedisClaims:
    """Claims in a Redis. Each method raises `formation.errors.StorageUnavailable` where it does not answer.

    Args:
        redis: the Redis.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def claim(self, key: str, token: str, fingerprint: str, lease: float, /) -> Found | None:
        """Claim ``key`` for ``lease`` seconds; ``None``: it is yours."""
        found = self._run(key, "claim", token, fingerprint, _milliseconds(lease))
        if found is None:
            return None
        was, outcome = found
        return Found(was.decode(), None if outcome is None else outcome.decode())

    def settle(self, key: str, token: str, fingerprint: str, outcome: str, ttl: float, /) -> bool:
        """Keep the outcome for ``ttl`` seconds; ``False``: the lease was over, and somebody else has claimed it."""
        return bool(self._run(key, "settle", token, fingerprint, _milliseconds(ttl), outcome))

    def release(self, key: str, token: str, /) -> None:
        """Let others claim it, unless somebody else has done so already."""
        self._run(key, "release", token)

    def __repr__(self) -> str:
        return f"RedisClaims({self.redis!r})"

    def _run(self, key: str, *args: str | int) -> list[bytes] | None:
        found: list[bytes] | None = self.redis.run(_STEP, [self.redis.key("idempotency", key)], args)
        return found


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
