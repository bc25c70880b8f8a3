import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from formation import wrap
from formation.caching.redis import RedisStore
from formation.errors import StorageUnavailable
from formation.storage.redis import Redis
from tests.caching.entries import entry

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from formation.caching.redis import RedisStore
from tests.caching.entries import entry
url, number = sys.argv[1:]
store = RedisStore(url)
store.get("a")
print("ready", flush=True)
sys.stdin.readline()
for each in range(50):
    store.put("a", entry(f"{number} {each}".encode(), asked=float(each), vary=(("accept", number),)))
    store.put("same", entry(f"{number} {each}".encode(), asked=float(each)))
    for found in store.get("same"):
        assert float(found.body.split()[1]) == found.requested_at
"""


def test_eight_processes_on_one_redis_lose_nothing_of_each_other(redis_server):
    command = [sys.executable, "-c", WRITER, redis_server.url]
    writers = [
        subprocess.Popen([*command, number], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in "12345678"
    ]
    for each in writers:
        assert each.stdout.readline() == "ready\n"
    for each in writers:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in writers:
        each.communicate(timeout=60)
        assert each.returncode == 0
    store = RedisStore(redis_server.url)
    assert sorted(each.body for each in store.get("a")) == [b"%d 49" % number for number in range(1, 9)]
    (last,) = store.get("same")
    assert last.requested_at == 49.0
    store.storage.close()


def test_an_async_chain_uses_the_same_entries(redis_server):
    store = RedisStore(Redis(redis_server.url))
    store.put("a", entry())

    def ask(ctx, call):
        ctx["found"] = store.get("a")
        store.put("b", entry(b"async"))
        store.drop("a", 200.0)
        return call(ctx)

    async def main():
        async def endpoint(ctx):
            return ctx

        return await wrap(endpoint, [ask])({})

    assert asyncio.run(main())["found"] == [entry()]
    assert store.get("a") == []
    assert [each.body for each in store.get("b")] == [b"async"]
    store.storage.close()


def test_what_somebody_else_has_written_is_no_entry(redis_server):
    store = RedisStore(redis_server.url)
    store.put("a", entry())
    (name,) = redis_server.client.keys("*")
    (field,) = [field for field in redis_server.client.hkeys(name) if field[:1] == b"e"]
    for data in (b"\x80\x04N.", b"", b"text"):
        redis_server.client.hset(name, field, data)
        assert store.get("a") == []
    redis_server.client.delete(name)
    redis_server.client.set(name, "a text")
    with pytest.raises(StorageUnavailable, match="WRONGTYPE"):
        store.get("a")
    store.storage.close()


def test_an_entry_goes_by_itself_in_the_end(redis_server):
    store = RedisStore(redis_server.url)
    store.put("a", entry(lifetime=60.0, stale_if_error=40.0))
    store.drop("b", 100.0)
    ttls = sorted(redis_server.client.ttl(name) for name in redis_server.client.keys("*"))
    assert 590 <= ttls[0] <= 600
    assert 86490 <= ttls[1] <= 86500
    store.storage.close()


def test_a_redis_that_is_gone_says_so(fresh_redis_server):
    store = RedisStore(fresh_redis_server.url)
    store.put("a", entry())
    fresh_redis_server.stop()
    with pytest.raises(StorageUnavailable):
        store.get("a")
    store.storage.close()


def test_a_storage_that_is_none_is_refused():
    with pytest.raises(TypeError, match="expected storage as a Redis or a URL"):
        RedisStore(7)
