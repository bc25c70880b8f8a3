"""A store in a Redis, which the processes of many machines share.

A key is a hash with two fields for each variant, the entry and when it was asked for; it is changed by scripts, which
Redis runs one at a time. A second key remembers a drop. Both lie in one slot of a cluster.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from formation.caching.store import REMEMBERED, VARIANTS, name_of_variant, packed, unpacked
from formation.storage import Redis, Script, of

if TYPE_CHECKING:
    from formation.caching.entry import Entry

KEPT: Final = 86400.0
"""Seconds for which an entry stays after the last moment at which it may be used without asking: for a day it is worth
validating. What Redis does when its memory is full is its own setting (``maxmemory-policy``)."""

LONGEST: Final = 30 * 86400.0
"""Seconds for which an entry stays at most: nobody misses what nobody has changed for a month."""

_PUT: Final = Script("""
local dropped = redis.call('GET', KEYS[2])
if dropped and tonumber(dropped) >= tonumber(ARGV[2]) then return 0 end
local asked = redis.call('HGET', KEYS[1], 'a' .. ARGV[1])
if asked and tonumber(asked) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'a' .. ARGV[1], ARGV[2], 'e' .. ARGV[1], ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
if redis.call('HLEN', KEYS[1]) > 2 * tonumber(ARGV[5]) then
  local oldest, name
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field:sub(1, 1) == 'a' then
      local at = tonumber(redis.call('HGET', KEYS[1], field))
      if not oldest or at < oldest then oldest, name = at, field:sub(2) end
    end
  end
  redis.call('HDEL', KEYS[1], 'a' .. name, 'e' .. name)
end
return 1
""")
_DROP: Final = Script("""
local dropped = redis.call('GET', KEYS[2])
if not dropped or tonumber(dropped) < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
return redis.call('DEL', KEYS[1])
""")


class RedisStore:
    """Keep entries in Redis.

    Args:
        storage: a `formation.storage.redis.Redis`, or a URL such as ``redis://localhost:6379/0``.

    Raises:
        ImportError: redis-py is not installed.
        TypeError: ``storage`` is neither.
    """

    def __init__(self, storage: Redis | str) -> None:
        self.storage = of(storage)

    def get(self, key: str, /) -> list[Entry]:
        """Return the entries of ``key``; what is no entry is left out."""
        found = self.storage.command("HGETALL", self._keys(key)[0])
        # Redis before RESP3 gives a flat list, redis-py makes a dict of it where it knows the command.
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return [entry for name, data in pairs if name[:1] == b"e" and (entry := unpacked(data)) is not None]

    def put(self, key: str, entry: Entry, /) -> None:
        """Keep ``entry``."""
        if entry.received_at - entry.requested_at > REMEMBERED:
            return
        usable = max(entry.lifetime, 0) + max(entry.stale_while_revalidate, entry.stale_if_error or 0)
        stays = int(min(usable + KEPT, LONGEST) * 1000)
        self.storage.run(
            _PUT,
            self._keys(key),
            (name_of_variant(entry), repr(float(entry.requested_at)), packed(entry), stays, VARIANTS),
        )

    def drop(self, key: str, at: float, /) -> None:
        """Forget the entries of ``key``."""
        self.storage.run(_DROP, self._keys(key), (repr(float(at)), int(REMEMBERED * 1000)))

    def __repr__(self) -> str:
        return f"RedisStore({self.storage!r})"

    def _keys(self, key: str) -> tuple[str, str]:
        name = f"{{{self.storage.key('cache', name_of_key(key))}}}"  # in braces: what tells the slot
        return name, f"{name}:dropped"


def name_of_key(key: str) -> str:
    """Return a short name for a key, which may hold what nobody is to read in a list of names."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
