"""Permits: never more than there are, in the order of arrival, and none is lost, whoever waits and however it ends."""

import asyncio
import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic, sleep

import pytest
import trio
import trio.testing

from formation import await_, wrap
from formation.resilience import permits as permits_
from formation.resilience.permits import Place
from tests.resilience.collection import at_each_line
from tests.resilience.interrupts import at_each_point
from tests.resilience.stress import in_threads

LONG = 10.0
"""Seconds after which a test gives up."""


class Permits(permits_.Permits):
    """Permits whose places are kept here: whoever gives one back, gives back the one that was taken last."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.taken = []

    def acquire(self, seconds=0):
        place = Place()
        try:
            got = super().acquire(place, seconds)
        except BaseException:
            super().release(place)
            raise
        if got:
            self.taken.append(place)
        return got

    def release(self):
        super().release(self.taken.pop())


class Counter:
    """Counts who is inside, and how many were at a time."""

    def __init__(self):
        self.lock, self.now, self.most, self.passed = threading.Lock(), 0, 0, 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *error):
        with self.lock:
            self.now -= 1
            self.passed += 1


async def endpoint(ctx):
    return ctx


def asking(permits, work=lambda: None, seconds=LONG):
    """Make an async chain that takes a permit, works, and gives it back; ``ctx["got"]`` tells."""

    def ask(ctx, call):
        ctx["got"] = permits.acquire(seconds)
        if ctx["got"]:
            try:
                work()
            finally:
                permits.release()
        return call(ctx)

    return wrap(endpoint, [ask])


def until(condition):
    deadline = monotonic() + LONG
    while not condition():
        assert monotonic() < deadline
        sleep(0.001)


def test_there_are_as_many_as_there_are():
    permits = Permits(3)
    assert [permits.acquire() for _ in range(5)] == [True, True, True, False, False]
    permits.release()
    assert [permits.acquire(), permits.acquire()] == [True, False]
    assert repr(permits) == "<Permits: 3 of 3 in use, 0 waiting>"


def test_a_full_queue_turns_away_at_once_and_a_wait_without_a_queue_too():
    permits = Permits(1)
    assert permits.acquire()
    assert not permits.acquire(LONG * 100)


def test_who_waits_long_enough_gives_up_and_leaves_nothing_behind():
    permits = Permits(1, queue=1)
    assert permits.acquire()
    assert not permits.acquire(0.001)
    assert (permits.in_use, permits.waiting) == (1, 0)
    permits.release()
    assert permits.acquire()


@pytest.mark.parametrize("lifo", [False, True])
def test_threads_get_them_in_the_order_in_which_they_came_or_the_other_way_round(lifo):
    permits, order = Permits(1, queue=9, lifo=lifo), []

    def work(number):
        assert permits.acquire(LONG)
        order.append(number)
        permits.release()

    assert permits.acquire()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: permits.waiting == number + 1)
    permits.release()
    [thread.join() for thread in threads]
    assert order == (list(range(6))[::-1] if lifo else list(range(6)))


def test_threads_and_tasks_stand_in_one_line():
    permits, order = Permits(1, queue=9), []

    def work(number):
        assert permits.acquire(LONG)
        order.append(number)
        permits.release()

    async def main():
        loop = asyncio.get_running_loop()
        threads, tasks = [], []
        assert permits.acquire()
        for number in range(6):
            if number % 2:
                threads.append(loop.run_in_executor(None, work, number))
            else:
                chain = asking(permits, lambda number=number: order.append(number))
                tasks.append(asyncio.create_task(chain({})))
            while permits.waiting <= number:  # noqa: ASYNC110  a thread may be the next
                await asyncio.sleep(0.001)
        permits.release()
        await asyncio.gather(*threads, *tasks)

    asyncio.run(main())
    assert order == list(range(6))
    assert permits.in_use == 0


def test_threads_and_tasks_with_random_cancellations_are_never_too_many_and_lose_none():
    chance, permits, inside = random.Random(3), Permits(5, queue=1000), Counter()

    def in_thread(pause):
        assert permits.acquire(LONG)
        try:
            with inside:
                sleep(pause)
        finally:
            permits.release()

    def in_task():
        with inside:
            await_(asyncio.sleep(0.001))

    async def tasks():
        running = [asyncio.create_task(asking(permits, in_task)({})) for _ in range(100)]
        for task in chance.sample(running, 20):
            await asyncio.sleep(chance.uniform(0, 0.001))
            task.cancel()
        return await asyncio.gather(*running, return_exceptions=True)

    with ThreadPoolExecutor(50) as pool:
        loop = pool.submit(asyncio.run, tasks())
        list(pool.map(in_thread, [0.001] * 100))
        ended = loop.result()
    assert {type(each) for each in ended} <= {dict, asyncio.CancelledError}
    assert inside.most <= 5
    assert inside.passed >= 180
    assert (permits.in_use, permits.waiting) == (0, 0)


def test_under_stress_none_is_lost():
    permits, inside = Permits(3, queue=100), Counter()

    def work(_):
        for seconds in (LONG, 0.0001, 0) * 30:
            if permits.acquire(seconds):
                with inside:
                    pass
                permits.release()

    in_threads(work)
    assert inside.most <= 3
    assert (permits.in_use, permits.waiting) == (0, 0)


@pytest.mark.parametrize("when", ["waiting", "handed over"])
def test_a_task_that_is_cancelled_gives_back_what_it_was_given_and_no_more(when):
    permits = Permits(1, queue=5)

    async def main():
        assert permits.acquire()
        first, second = (asyncio.create_task(asking(permits)({})) for _ in range(2))
        await asyncio.sleep(0)
        if when == "handed over":
            permits.release()  # to the first, which has not run since
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        if when == "waiting":
            assert permits.waiting == 1
            permits.release()
        return await second

    assert asyncio.run(main())["got"]
    assert (permits.in_use, permits.waiting) == (0, 0)


@pytest.mark.parametrize("how", ["closed", "forgotten"])
@pytest.mark.parametrize("when", ["waiting", "inside"])
def test_a_coroutine_that_is_dropped_gives_its_permit_and_its_place_back(how, when):
    permits = Permits(1, queue=5)

    async def main():
        if when == "waiting":
            assert permits.acquire()
        chain = asking(permits, lambda: await_(asyncio.sleep(LONG)))({})
        chain.send(None)
        if how == "closed":
            chain.close()
        del chain
        gc.collect()
        assert permits.waiting == 0
        if when == "waiting":
            permits.release()
        assert permits.in_use == 0

    asyncio.run(main())


def test_an_interrupt_while_a_thread_waits_gives_its_place_back(monkeypatch):
    permits = Permits(1, queue=5)
    assert permits.acquire()

    def interrupt(signal, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("formation.resilience.signal.Signal.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        permits.acquire(LONG)
    assert (permits.in_use, permits.waiting) == (1, 0)


@pytest.mark.parametrize("waits", [False, True])
def test_wherever_an_interrupt_comes_no_permit_is_lost_and_nobody_is_left_in_the_line(waits):
    def prepare():
        permits, before, place = permits_.Permits(1, queue=5), Place(), Place()

        def run():
            try:
                permits.acquire(place, 0.001)
            finally:
                try:
                    permits.release(place)
                finally:
                    permits.release(place)

        def outcome():
            permits.release(before)
            return permits.in_use, permits.waiting, permits.acquire(Place())

        if waits:
            permits.acquire(before)
        return run, outcome

    outcomes = list(at_each_point([permits_], prepare))
    assert len(outcomes) > 3
    assert set(outcomes) == {(0, 0, True)}


def test_wherever_an_interrupt_comes_whoever_is_given_the_permit_is_told():
    def prepare():
        permits, place, heir, told = permits_.Permits(1, queue=5), Place(), Place(), []
        permits.acquire(place)
        waiting = threading.Thread(target=lambda: told.append(permits.acquire(heir, LONG)))
        waiting.start()
        until(lambda: permits.waiting)

        def run():
            try:
                permits.release(place)
            finally:
                permits.release(place)

        def outcome():
            waits = not heir.signal.wait(0)
            waiting.join()
            permits.release(heir)
            return waits, told, permits.in_use

        return run, outcome

    outcomes = list(at_each_point([permits_], prepare))
    assert outcomes == [(False, [True], 0)] * len(outcomes)


def test_tasks_of_trio_wait_as_well():
    permits, order = Permits(1, queue=5), []

    async def task(number):
        await asking(permits, lambda: order.append(number))({})

    async def main():
        assert permits.acquire()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(task, number)
                await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.001):
                await asking(permits)({})
            assert permits.waiting == 3
            permits.release()

    trio.run(main)
    assert order == [0, 1, 2]
    assert permits.in_use == 0


def test_a_task_that_waits_lets_its_loop_go_on_and_a_thread_can_wake_it():
    permits, woken = Permits(1, queue=1), Event()

    async def main():
        assert permits.acquire()
        task = asyncio.create_task(asking(permits, woken.set)({}))
        await asyncio.sleep(0)
        assert permits.waiting == 1
        thread = threading.Thread(target=permits.release)
        thread.start()
        await task
        thread.join()

    asyncio.run(main())
    assert woken.is_set()


def test_whenever_a_collection_ends_who_holds_it_the_permit_is_not_lost():
    def prepare():
        permits = Permits(1, queue=1)
        assert permits.acquire()  # by a call that is forgotten
        return partial(take, permits), permits.release

    def take(permits):
        return permits.acquire(0.01), permits

    outcomes = [(got, permits.in_use, permits.waiting) for got, permits in at_each_line(permits_, prepare)]
    assert set(outcomes) == {(True, 1, 0), (False, 0, 0)}
    assert outcomes.count((False, 0, 0)) < 4  # at the end, where the wait was over already
