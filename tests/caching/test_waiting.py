"""Waiting: of those who miss the same at the same time one asks."""

import asyncio
import logging
import threading
import time

from formation import await_, wrap
from formation.caching import asking, keeping, lookup, serving, waiting
from formation.caching.memory import MemoryStore
from formation.clock import Virtual, virtual
from formation.errors import ConnectError
from formation.exchange import reply
from formation.middleware import (
    cache,
)
from formation.resilience import collapse
from formation.resilience import together as together_
from formation.resilience.collapse import PATIENCE
from tests.caching.origins import Origin, Slow, fresh, get, together, told
from tests.resilience.interrupts import at_each_point


def test_ten_who_miss_at_the_same_time_make_one_call(now):
    origin = Slow(fresh())
    outs = together(origin, *(get() for _ in range(10)), middleware=cache(now=now))
    assert len(origin.asked) == 1
    assert [told(out)[1] for out in outs] == [b"tea"] * 10
    assert sum("collapsed" in told(out)[2] for out in outs) == 9


def test_ten_threads_that_miss_at_the_same_time_make_one_call(now):
    start, calls, outs = threading.Barrier(10), [], []

    def origin(ctx):
        calls.append(1)
        time.sleep(0.05)
        return reply(ctx, *fresh())

    call = wrap(origin, [cache(now=now)])

    def ask():
        start.wait()
        outs.append(told(call(get()))[1])

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outs == [b"tea"] * 10
    assert len(calls) == 1


def test_wherever_an_interrupt_comes_nobody_waits_for_who_asks_no_more(now):
    def prepare():
        middleware = cache(now=now, logger=logging.getLogger("tests.silent"))
        cells = [cell.cell_contents for cell in middleware.__closure__]
        (caching,) = [each for each in cells if type(each).__name__ == "Caching"]
        return lambda: middleware(get(), Origin(fresh())), lambda: len(caching.collapse)

    assert set(at_each_point([asking, keeping, lookup, serving, waiting, collapse, together_], prepare)) == {0}


def test_a_head_is_nothing_that_a_get_waits_for(now):
    origin = Slow(fresh())
    outs = together(origin, get(method="HEAD"), get(), get(), get(method="HEAD"), middleware=cache(now=now))
    assert sorted(method for method, _ in origin.asked) == ["GET", "HEAD"]
    assert [told(out)[1] for out in outs[1:3]] == [b"tea", b"tea"]


def test_ten_who_find_it_stale_validate_it_once(now):
    origin = Slow(fresh(ETag='"1"'), (304, {"Cache-Control": "max-age=60"}, b""))
    middleware = cache(now=now)
    together(origin, get(), middleware=middleware)
    now.at += 61
    outs = together(origin, *(get() for _ in range(10)), middleware=middleware)
    assert [told(out)[1] for out in outs] == [b"tea"] * 10
    assert len(origin.asked) == 2


def test_nobody_waits_for_what_is_not_to_be_shared(now):
    waiting, most = [], []

    async def origin(ctx):
        waiting.append(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        most.append(len(waiting))
        waiting.pop()
        return reply(ctx, 200, {"Cache-Control": "private, max-age=60"}, b"mine")

    middleware = cache(now=now, shared=True)
    for _ in range(2):
        outs = together(origin, *(get() for _ in range(10)), middleware=middleware)
        assert [told(out)[1] for out in outs] == [b"mine"] * 10
    assert max(most) == 10
    assert len(most) == 20


def test_a_request_that_is_not_to_be_kept_says_nothing_about_others(now):
    origin = Slow(fresh())
    middleware = cache(now=now)
    together(origin, get(headers={"Cache-Control": "no-store"}), middleware=middleware)
    together(origin, *(get() for _ in range(5)), middleware=middleware)
    assert len(origin.asked) == 2


def test_with_credentials_everybody_asks_a_shared_cache_and_the_others_wait_for_one_of_theirs(now):
    origin, middleware = Slow(fresh()), cache(now=now, shared=True)
    signed = {"Authorization": "Bearer x"}
    together(origin, *(get(headers=signed) for _ in range(3)), middleware=middleware)
    assert len(origin.asked) == 3
    together(origin, *(get(headers=signed if n == 0 else {}) for n in range(6)), middleware=middleware)
    assert len(origin.asked) == 5


def test_without_single_flight_everybody_asks(now):
    origin = Slow(fresh())
    together(origin, *(get() for _ in range(3)), middleware=cache(now=now, single_flight=False))
    assert len(origin.asked) == 3


def test_if_the_one_who_asks_is_cancelled_another_one_asks(now):
    asked = []

    async def origin(ctx):
        asked.append(1)
        if len(asked) == 1:
            await asyncio.sleep(60)
        return reply(ctx, *fresh())

    async def main():
        chain = wrap(origin, [cache(now=now)])
        first, second, third = (asyncio.create_task(chain(get())) for _ in range(3))
        await asyncio.sleep(0.01)
        first.cancel()
        outs = await asyncio.gather(second, third)
        assert first.cancelled()
        return [told(out)[1] for out in outs]

    assert asyncio.run(main()) == [b"tea", b"tea"]
    assert len(asked) == 2


def test_if_asking_fails_the_others_ask_for_themselves(now):
    origin = Slow(ConnectError("no"), fresh(), fresh())
    outs = together(origin, get(), get(), get(), middleware=cache(now=now))
    assert isinstance(outs[0], ConnectError)
    assert [told(out)[1] for out in outs[1:]] == [b"tea", b"tea"]


def test_who_waits_for_a_body_that_does_not_end_goes_for_himself_after_a_while():
    clock = Virtual(0)
    assert PATIENCE == 5.0
    origin = Origin(fresh(lambda: iter([b"te", b"a"])))
    middleware = cache()
    call = wrap(origin, [middleware])
    held = call(get())["fmtn.res.http"]  # read by nobody yet
    token = virtual.set(clock)
    try:
        assert told(call(get()))[1] == b"tea"  # in the very thread: nobody waits for himself
    finally:
        virtual.reset(token)
    assert held.content == b"tea"


def test_if_the_one_who_is_to_ask_is_cancelled_while_he_looks_again_another_one_asks(now):
    class Store(MemoryStore):
        """Of which the second look does not come back."""

        looks = 0

        def get(self, key):
            self.looks += 1
            if self.looks == 2:
                await_(asyncio.sleep(60))
            return super().get(key)

    async def main():
        chain = wrap(Slow(fresh()), [cache(Store(), now=now)])
        first = asyncio.create_task(chain(get()))
        for _ in range(5):
            await asyncio.sleep(0)
        second = asyncio.create_task(chain(get()))
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        token = virtual.set(Virtual(0))
        try:
            return told(await asyncio.wait_for(second, 2))[1:]
        finally:
            virtual.reset(token)

    assert asyncio.run(main()) == (b"tea", "fwd=uri-miss; stored")
