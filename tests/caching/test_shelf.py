"""The shelf: stores that are named, and stores that fail."""

import asyncio
import logging

import pytest
from structlog.testing import capture_logs

from formation import await_, wrap
from formation.caching.memory import MemoryStore
from formation.caching.shelf import Shelf, stored_in
from formation.events import Events
from formation.middleware import (
    cache,
)
from tests.caching.origins import URL, Origin, fresh, get, told
from tests.middleware.worlds import every_world


class Broken:
    """A store that fails."""

    def __init__(self):
        self.kept, self.is_broken, self.calls = MemoryStore(), True, []

    def __repr__(self):
        return "Broken()"

    def __getattr__(self, name):
        def call(*args):
            self.calls.append(name)
            if self.is_broken:
                raise OSError("disk full")
            return getattr(self.kept, name)(*args)

        return call


@every_world
def test_a_store_that_fails_fails_no_request_and_is_told_of_once(world, now):
    origin, middleware = Origin(fresh()), cache(Broken(), now=now)
    with capture_logs() as events:
        for method in ("GET", "GET", "PUT"):
            assert told(world(middleware, get(method=method), origin))[:2] == (200, b"tea")
    assert [each["event"] for each in events if each["log_level"] == "warning"] == ["storage.unavailable"]
    assert len(origin.asked) == 3


def test_what_a_store_could_not_drop_is_dropped_before_it_is_used_again(now):
    store = Broken()
    store.is_broken = False
    origin = Origin(fresh(b"old"), fresh(b"done"), fresh(b"new"))
    call = wrap(origin, [cache(store, now=now)])
    call(get())
    store.is_broken = True
    call(get(method="PUT"))
    store.is_broken = False
    assert call(get())["fmtn.res.http"].content == b"new"


def test_what_a_cancelled_request_could_not_drop_is_dropped_before_it_is_used_again(now):
    class Away(MemoryStore):
        waits = True

        def drop(self, key, at):
            if is_away:
                asked.set()
                await_(asyncio.Event().wait())
            super().drop(key, at)

    is_away, asked = True, asyncio.Event()
    origin = Origin(fresh(b"old"), fresh(b"old"), fresh(b"done", Location="/milk"), fresh(b"new"))

    async def endpoint(ctx):
        return origin(ctx)

    async def main():
        nonlocal is_away
        call = wrap(endpoint, [cache(Away(), now=now)])
        await call(get())
        await call(get("https://h/milk"))
        changing = asyncio.create_task(call(get(method="PUT")))
        await asked.wait()
        changing.cancel()
        await asyncio.wait([changing])
        is_away = False
        return [(await call(get(url)))["fmtn.res.http"].content for url in (URL, "https://h/milk")]

    assert asyncio.run(main()) == [b"new", b"new"]


def test_what_a_store_gives_that_is_no_entry_is_a_miss_and_one_may_forget_drops(now):
    class Odd:
        def __init__(self):
            self.found = []

        def get(self, key):
            return self.found

        def put(self, key, entry):
            self.found = [entry]

        def drop(self, key):
            self.found = []

    store = Odd()
    origin = Origin(fresh())
    call = wrap(origin, [cache(store, now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"
    call(get(method="PUT"))
    assert store.found == []
    for found in (None, 7, [None], [b"x"], ["entry"], {"a": 1}):
        store.found = found
        assert told(call(get()))[:2] == (200, b"tea")


def test_only_so_many_drops_are_owed(now, monkeypatch):
    monkeypatch.setattr("formation.caching.shelf.OWED", 2)
    store = Broken()
    call = wrap(Origin(fresh()), [cache(store, now=now)])
    for number in range(3):
        call(get(f"{URL}/{number}", method="PUT"))
    store.is_broken, store.calls = False, []
    for number in range(3):
        call(get(f"{URL}/{number}"))
    assert store.calls.count("drop") == 2


def test_a_store_is_named_or_given(tmp_path):
    assert isinstance(stored_in(None), MemoryStore)
    assert isinstance(stored_in("memory"), MemoryStore)
    assert repr(stored_in(f"sqlite:///{tmp_path}/c.db")) == f"SQLiteStore('{tmp_path}/c.db')"
    assert repr(stored_in("redis://h:1/2")) == "RedisStore(Redis('h:1/2'))"
    given = MemoryStore()
    assert cache(given).store is given
    from formation.storage.redis import Redis

    assert repr(stored_in(Redis("redis://h:1/2"))) == "RedisStore(Redis('h:1/2'))"


@pytest.mark.parametrize("store", ["memcached://h", "sqlite://", "sqlite:///", "file"])
def test_a_url_of_no_store_is_refused(store):
    with pytest.raises(ValueError, match="expected store as None"):
        cache(store)


def test_sqlite_and_redis_keep_for_the_next_process(now, tmp_path, redis_server):
    for store in (f"sqlite:///{tmp_path}/c.db", redis_server.url):
        origin = Origin(fresh())
        wrap(origin, [cache(store, now=now)])(get())
        assert told(wrap(origin, [cache(store, now=now)])(get())) == (200, b"tea", "hit; ttl=60")
        assert len(origin.asked) == 1


def test_a_redis_that_is_killed_or_hangs_in_the_middle_stops_no_request(now, fresh_redis_server):
    origin, call = Origin(fresh()), None
    call = wrap(origin, [cache(fresh_redis_server.url, now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"
    fresh_redis_server.pause()
    assert told(call(get()))[:2] == (200, b"tea")
    fresh_redis_server.go_on()
    fresh_redis_server.stop()
    assert told(call(get()))[:2] == (200, b"tea")


def test_a_drop_that_fails_while_an_earlier_one_is_made_good_stays_owed():
    class Store(MemoryStore):
        fails, meanwhile = True, None

        def drop(self, key, at):
            if self.fails:
                raise OSError("away")
            if self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                meanwhile()
            super().drop(key, at)

    store = Store()
    shelf = Shelf(store, Events(logging.getLogger("quiet")))

    def fail_again():
        store.fails = True
        shelf.drop(["key"], 2.0)
        store.fails = False

    shelf.drop(["key"], 1.0)
    store.fails, store.meanwhile = False, fail_again
    shelf.get("key")
    dropped = []
    store.drop, shelf._drop = None, lambda key, at: dropped.append((key, at))
    shelf.get("key")
    shelf.get("key")
    assert dropped == [("key", 2.0)]
