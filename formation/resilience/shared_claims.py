"""Claims in a Redis, so that many processes do what is asked under a key once. See `formation.resilience.claims`.

A key is a hash there: ``token`` and ``fingerprint`` while it is under way, ``fingerprint`` and ``outcome`` afterwards.
Each step is a script, so it happens as a whole, and at the time of Redis, whatever the clocks of the processes say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formation.resilience.claims import Found
from formation.storage.redis import Script

if TYPE_CHECKING:
    from formation.storage.redis import Redis

CLAIM: Final = Script("""
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'outcome')
if found[1] then
  return found
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'fingerprint', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return false
""")

SETTLE: Final = Script("""
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'token')
if found[1] and found[2] ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[2], 'outcome', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
""")

RELEASE: Final = Script("""
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
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
        found = self._run(CLAIM, key, token, fingerprint, _milliseconds(lease))
        if found is None:
            return None
        was, outcome = found
        return Found(was.decode(), None if outcome is None else outcome.decode())

    def settle(self, key: str, token: str, fingerprint: str, outcome: str, ttl: float, /) -> bool:
        """Keep the outcome for ``ttl`` seconds; ``False``: the lease was over, and somebody else has claimed it."""
        return bool(self._run(SETTLE, key, token, fingerprint, outcome, _milliseconds(ttl)))

    def release(self, key: str, token: str, /) -> None:
        """Let others claim it, unless somebody else has done so already."""
        self._run(RELEASE, key, token)

    def __repr__(self) -> str:
        return f"RedisClaims({self.redis!r})"

    def _run(self, script: Script, key: str, *args: str | int) -> list[bytes] | None:
        found: list[bytes] | None = self.redis.run(script, [self.redis.key("idempotency", key)], args)
        return found


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
