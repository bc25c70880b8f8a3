"""Refreshing: what may be used stale is asked for behind."""

import asyncio
import gc
import threading
import time

import pytest

from formation import wrap
from formation.errors import ConnectError
from formation.exchange import reply
from formation.middleware import (
    cache,
)
from formation.resilience import background
from tests.caching.origins import Origin, Slow, fresh, get, settled, told


def refreshed(world_is_async, now, answer):
    origin = Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60", ETag='"1"'), answer)
    done = threading.Event()

    def watched(ctx):
        try:
            return origin(ctx)
        finally:
            if len(origin.asked) > 1:
                done.set()

    middleware = cache(now=now)
    if not world_is_async:
        call = wrap(watched, [middleware])
        call(get())
        now.at += 61
        out = told(call({**get(), "fmtn.deadline": time.monotonic() + 60}))
        assert done.wait(5)
        for thread in [each for each in threading.enumerate() if each.name == "formation.cache"]:
            thread.join()
        return out, told(call(get())), origin

    async def endpoint(ctx):
        await asyncio.sleep(0)
        return watched(ctx)

    async def main():
        call = wrap(endpoint, [middleware])
        await call(get())
        now.at += 61
        out = told(await call({**get(), "fmtn.deadline": time.monotonic() + 60}))
        await settled()
        return out, told(await call(get())), origin

    return asyncio.run(main())


@pytest.mark.parametrize("world_is_async", [False, True])
@pytest.mark.parametrize("answer", [(304, {"Cache-Control": "max-age=60"}, b""), fresh(b"coffee")])
def test_what_may_be_stale_while_it_is_validated_is_answered_at_once_and_validated_behind(world_is_async, now, answer):
    first, then, origin = refreshed(world_is_async, now, answer)
    assert first == (200, b"tea", "hit; ttl=-1")
    assert then == (200, answer[2] or b"tea", "hit; ttl=60")
    assert len(origin.asked) == 2
    assert origin.asked[1][1]["If-None-Match"] == '"1"'


def test_one_refresh_is_made_for_many_who_ask_and_no_deadline_or_cancellation_reaches_it(now):
    seen = []

    async def origin(ctx):
        seen.append(ctx.get("fmtn.deadline"))
        await asyncio.sleep(0.02 if len(seen) > 1 else 0)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    async def main():
        call = wrap(origin, [cache(now=now)])
        await call(get())
        now.at += 61
        tasks = [asyncio.create_task(call({**get(), "fmtn.deadline": time.monotonic() + 9})) for _ in range(10)]
        await asyncio.gather(*tasks)
        for task in tasks:
            task.cancel()
        await settled()
        return told(await call(get()))[2]

    assert asyncio.run(main()) == "hit; ttl=60"
    assert seen == [None, None]


def test_a_refresh_that_the_event_loop_does_not_wait_for_leaves_nothing_behind(now):
    async def origin(ctx):
        if now.at > 1e9:
            await asyncio.sleep(60)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    middleware = cache(now=now)

    async def main():
        call = wrap(origin, [middleware])
        await call(get())
        now.at += 61
        return told(await call(get()))[2]

    assert asyncio.run(main()) == "hit; ttl=-1"
    gc.collect()
    now.at = 1e9 + 0.5
    assert asyncio.run(main()) == "hit; ttl=-2"  # by a second and a half; and another refresh has begun


def test_a_refresh_that_fails_is_no_error_and_is_tried_again(now):
    origin = Slow(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), ConnectError("no"), fresh(b"new"))

    async def main():
        call, states = wrap(origin, [cache(now=now)]), []
        await call(get())
        now.at += 61
        for _ in range(3):
            states.append(told(await call(get()))[1:])
            await settled()
        return states

    assert asyncio.run(main()) == [(b"tea", "hit; ttl=-1"), (b"tea", "hit; ttl=-1"), (b"new", "hit; ttl=60")]


def test_an_event_loop_that_is_just_closed_takes_its_refresh_with_it(now):
    async def origin(ctx):
        await asyncio.sleep(60 if now.at > 1e9 else 0)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    call = wrap(origin, [cache(now=now)])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(get()))
    now.at += 61
    loop.run_until_complete(call(get()))
    loop.close()
    assert len(background._tasks) == 1

    async def main():
        ended = []
        assert background.in_background(lambda: None, lambda: ended.append(1), "other")
        await settled()
        return ended

    assert asyncio.run(main()) == [1]
    gc.collect()
    assert not background._tasks


def test_event_loops_of_two_threads_begin_something_at_the_same_time():
    other, ended, meanwhile = asyncio.new_event_loop(), [], []

    class Loop(asyncio.SelectorEventLoop):
        def is_closed(self):
            if meanwhile:
                thread = threading.Thread(target=other.run_until_complete, args=(meanwhile.pop(),))
                thread.start()
                thread.join()
            return super().is_closed()

    async def begin(name):
        return background.in_background(lambda: None, lambda: ended.append(name), name)

    async def main():
        await begin("first")
        meanwhile.append(begin("theirs"))
        await begin("second")
        loop = asyncio.get_running_loop()
        await asyncio.wait([task for task in background._tasks if task.get_loop() is loop])

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    other.run_until_complete(settled())
    other.close()
    assert sorted(ended) == ["first", "second", "theirs"]


def test_where_there_are_no_more_threads_what_may_be_stale_is_validated_first(now, monkeypatch):
    class Full(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, "Thread", Full)
    call = wrap(Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), fresh(b"new")), [cache(now=now)])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"new"


def test_on_trio_what_may_be_stale_is_validated_first(now):
    import trio

    origin = Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), fresh(b"new"))

    async def endpoint(ctx):
        await trio.lowlevel.checkpoint()
        return origin(ctx)

    async def main():
        call = wrap(endpoint, [cache(now=now)])
        await call(get())
        now.at += 61
        return told(await call(get()))[1]

    assert trio.run(main) == b"new"


def test_a_refresh_does_not_read_on_when_there_is_nothing_left_to_keep(now):
    read, closed = [], threading.Event()

    def endless():
        try:
            while True:
                read.append(1)
                yield b"x" * 100
        finally:
            closed.set()

    may = "max-age=60, stale-while-revalidate=60"
    origin = Origin(fresh(Cache_Control=may), fresh(endless))
    call = wrap(origin, [cache(now=now, max_entry=1000)])
    call(get())
    now.at += 61
    call(get())
    assert closed.wait(10)
    assert len(read) == 11


def test_a_refresh_does_not_read_what_is_not_to_be_kept(now):
    read, closed = [], threading.Event()

    class Body:
        def __iter__(self):
            read.append(1)
            yield b"x"

        def close(self):
            closed.set()

    origin = Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), fresh(Body, Cache_Control="no-store"))
    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    call(get())
    assert closed.wait(10)
    assert read == []


def test_threads_that_find_it_stale_at_the_same_time_begin_one_refresh(now, monkeypatch):
    begun, start = [], threading.Barrier(8)
    monkeypatch.setattr("formation.caching.refreshing.in_background", lambda *_: begun.append(1) or True)
    call = wrap(Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60")), [cache(now=now)])
    call(get())
    now.at += 61

    def ask():
        start.wait()
        call(get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == [1]
