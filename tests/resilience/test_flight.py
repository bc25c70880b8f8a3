"""Single flight: threads and tasks that share one `Flight`, or that wait for one `Signal`."""

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

import pytest
import trio
import trio.testing

from formation import await_, wrap
from formation.errors import DeadlineExceeded
from formation.resilience import flight, together
from formation.resilience.flight import Flight
from formation.resilience.signal import Signal
from tests.resilience.interrupts import at_each_point

LONG = 10.0
"""Seconds after which a test gives up."""


def waiting(shelf):
    """Return who waits on the bridge for the flight that is under way."""
    return shelf.flight._together._trips[None].signal._wakers


class Shelf:
    """A value to be made once, by one flight; counts who makes it, and how many at a time."""

    def __init__(self):
        self.flight = Flight()
        self.value = None
        self.made = self.at_once = self.most = 0
        self.lock = threading.Lock()

    def landed(self):
        return self.value

    def get(self, work, until=None):
        """Get the value; who leads does ``work()`` and puts what it returns on the shelf."""

        def make():
            with self.lock:
                self.made += 1
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            try:
                self.value = work()
            finally:
                with self.lock:
                    self.at_once -= 1
            return self.value

        return self.flight.do(make, self.landed, until)

    async def aget(self, work, until=None):
        """The same from a task: a plain middleware on the bridge."""

        def ask(ctx, call):
            ctx["value"] = self.get(work, until)
            return call(ctx)

        return (await wrap(endpoint, [ask])({}))["value"]

    @property
    def is_idle(self):
        return len(self.flight) == 0 and self.at_once == 0


async def endpoint(ctx):
    return ctx


async def turns(count=1):
    for _ in range(count):
        await asyncio.sleep(0)


def arun(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LONG))


def test_fifty_threads_at_once_make_one_value():
    shelf, start = Shelf(), threading.Barrier(50)

    def work():
        threading.Event().wait(0.05)  # long enough for the others to come
        return "value"

    def caller():
        start.wait(LONG)
        return shelf.get(work)

    with ThreadPoolExecutor(50) as pool:
        got = [each.result(LONG) for each in [pool.submit(caller) for _ in range(50)]]
    assert got == ["value"] * 50
    assert (shelf.made, shelf.most, shelf.is_idle) == (1, 1, True)


def test_two_hundred_tasks_at_once_make_one_value():
    shelf = Shelf()

    def work():
        await_(turns(20))
        return "value"

    async def main():
        return await asyncio.gather(*(shelf.aget(work) for _ in range(200)))

    assert arun(main()) == ["value"] * 200
    assert (shelf.made, shelf.is_idle) == (1, True)


def test_threads_and_tasks_of_several_loops_wait_for_each_other():
    shelf, start = Shelf(), threading.Barrier(30)

    def slowly():
        threading.Event().wait(0.05)
        return "value"

    def patiently():
        await_(asyncio.sleep(0.05))
        return "value"

    async def main():
        return await asyncio.gather(*(shelf.aget(patiently) for _ in range(20)))

    def caller(number):
        start.wait(LONG)
        return [shelf.get(slowly)] if number % 2 else arun(main())

    with ThreadPoolExecutor(30) as pool:
        got = [each.result(LONG) for each in [pool.submit(caller, number) for number in range(30)]]
    assert {value for values in got for value in values} == {"value"}
    assert (shelf.made, shelf.is_idle) == (1, True)


@pytest.mark.parametrize("make_fails", [0, 1, 3])
def test_who_fails_has_the_error_and_the_next_one_tries_in_tasks(make_fails):
    shelf = Shelf()

    def work():
        mine = shelf.made
        await_(turns(5))
        if mine <= make_fails:
            raise OSError(mine)
        return "value"

    async def main():
        return await asyncio.gather(*(shelf.aget(work) for _ in range(10)), return_exceptions=True)

    got = arun(main())
    assert sorted(error.args[0] for error in got if isinstance(error, OSError)) == list(range(1, make_fails + 1))
    assert got.count("value") == 10 - make_fails
    assert (shelf.made, shelf.most, shelf.is_idle) == (make_fails + 1, 1, True)


def test_who_fails_has_the_error_and_the_next_one_tries_in_threads():
    shelf, start = Shelf(), threading.Barrier(10)

    def work():
        mine = shelf.made
        threading.Event().wait(0.02)
        if mine <= 3:
            raise OSError(mine)
        return "value"

    def caller():
        start.wait(LONG)
        try:
            return shelf.get(work)
        except OSError as error:
            return error.args[0]

    with ThreadPoolExecutor(10) as pool:
        got = [each.result(LONG) for each in [pool.submit(caller) for _ in range(10)]]
    assert sorted(map(str, got)) == ["1", "2", "3"] + ["value"] * 7
    assert (shelf.made, shelf.most, shelf.is_idle) == (4, 1, True)


def test_a_leader_that_is_cancelled_makes_room_for_the_next():
    shelf = Shelf()

    async def main():
        never = asyncio.Event()
        leader = asyncio.create_task(shelf.aget(lambda: await_(never.wait())))
        await turns(3)
        followers = [asyncio.create_task(shelf.aget(lambda: "value")) for _ in range(5)]
        await turns(3)
        assert (shelf.made, [each.done() for each in followers]) == (1, [False] * 5)
        leader.cancel()
        got = await asyncio.gather(leader, *followers, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        return got[1:]

    assert arun(main()) == ["value"] * 5
    assert (shelf.made, shelf.is_idle) == (2, True)


def test_a_leader_in_a_loop_that_is_cancelled_makes_room_for_a_thread():
    shelf = Shelf()
    leads = threading.Event()

    async def lead():
        never = asyncio.Event()

        def work():
            leads.set()
            await_(never.wait())

        with suppress(TimeoutError):
            await asyncio.wait_for(shelf.aget(work), 0.1)

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(asyncio.run, lead())
        leads.wait(LONG)
        follower = pool.submit(shelf.get, lambda: "value")
        assert follower.result(LONG) == "value"
        leader.result(LONG)
    assert (shelf.made, shelf.is_idle) == (2, True)


def test_a_follower_that_is_cancelled_disturbs_nobody_and_is_forgotten():
    shelf = Shelf()

    async def main():
        goes_on = asyncio.Event()

        def work():
            await_(goes_on.wait())
            return "value"

        leader = asyncio.create_task(shelf.aget(work))
        await turns(3)
        followers = [asyncio.create_task(shelf.aget(work)) for _ in range(4)]
        await turns(3)
        for each in followers[::2]:
            each.cancel()
        await turns(3)
        assert len(waiting(shelf)) == 2
        goes_on.set()
        return await asyncio.gather(leader, *followers, return_exceptions=True)

    got = arun(main())
    assert [str(each) for each in got] == ["value", "", "value", "", "value"]
    assert (shelf.made, shelf.is_idle) == (1, True)


def test_the_event_loop_goes_on_while_a_task_waits_for_a_thread():
    shelf, leads, goes_on = Shelf(), threading.Event(), threading.Event()

    def work():
        leads.set()
        goes_on.wait(LONG)
        return "value"

    async def main():
        task = asyncio.create_task(shelf.aget(work))
        await turns(100)
        assert not task.done()
        goes_on.set()
        return await task

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(shelf.get, work)
        leads.wait(LONG)
        assert arun(main()) == "value"
        assert leader.result(LONG) == "value"
    assert shelf.made == 1


def test_what_has_landed_is_not_made_again():
    shelf = Shelf()
    shelf.value = "old"
    assert shelf.get(lambda: "new") == "old"
    assert (shelf.made, shelf.is_idle) == (0, True)


@pytest.mark.parametrize("until", [0.05, -1.0])
def test_a_thread_waits_until_its_deadline_and_no_longer(until):
    shelf, leads, goes_on = Shelf(), threading.Event(), threading.Event()

    def work():
        leads.set()
        goes_on.wait(LONG)
        return "value"

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(shelf.get, work)
        leads.wait(LONG)
        with pytest.raises(DeadlineExceeded):
            shelf.get(work, monotonic() + until)
        goes_on.set()
        assert leader.result(LONG) == "value"
    assert (shelf.made, shelf.is_idle) == (1, True)


@pytest.mark.parametrize("until", [0.05, -1.0])
def test_a_task_waits_until_its_deadline_and_no_longer(until):
    shelf = Shelf()

    async def main():
        goes_on = asyncio.Event()

        def work():
            await_(goes_on.wait())
            return "value"

        leader = asyncio.create_task(shelf.aget(work))
        await turns(3)
        with pytest.raises(DeadlineExceeded):
            await shelf.aget(work, monotonic() + until)
        assert not waiting(shelf)
        patient = asyncio.create_task(shelf.aget(work, monotonic() + LONG))
        await turns(3)
        goes_on.set()
        return await asyncio.gather(leader, patient)

    assert arun(main()) == ["value", "value"]
    assert (shelf.made, shelf.is_idle) == (1, True)


def test_a_plain_call_in_the_thread_of_a_suspended_leader_makes_its_own():
    shelf = Shelf()

    async def main():
        goes_on = asyncio.Event()

        def work():
            await_(goes_on.wait())
            return "the task's"

        leader = asyncio.create_task(shelf.aget(work))
        await turns(3)
        own = shelf.flight.do(lambda: "my own", shelf.landed)  # waiting would stop the loop that the leader needs
        goes_on.set()
        return own, await leader

    assert arun(main()) == ("my own", "the task's")
    assert shelf.is_idle


def test_a_leader_whose_coroutine_is_closed_makes_room():
    shelf = Shelf()

    async def forever():
        await asyncio.sleep(LONG)

    async def main():
        coroutine = shelf.aget(lambda: await_(forever()))
        with suppress(StopIteration):
            coroutine.send(None)
        assert not shelf.is_idle
        coroutine.close()
        return await shelf.aget(lambda: "value")

    assert arun(main()) == "value"
    assert (shelf.made, shelf.is_idle) == (2, True)


def test_an_event_loop_that_is_gone_does_not_stop_the_others():
    signal, waits = Signal(), threading.Event()
    loop = asyncio.new_event_loop()
    gone = asyncio.new_event_loop()

    async def middle(ctx):
        return ctx

    def ask(ctx, call):
        signal.wait()
        return call(ctx)

    lost = gone.create_task(wrap(middle, [ask])({}))
    gone.run_until_complete(turns(3))
    gone.close()  # with the task still waiting in it
    waiting = loop.create_task(wrap(middle, [ask])({}))
    loop.run_until_complete(turns(3))
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(lambda: waits.set() or signal.wait())
        waits.wait(LONG)
        signal.set()
        assert thread.result(LONG) is True
    assert loop.run_until_complete(asyncio.wait_for(waiting, LONG)) == {}
    loop.close()
    lost._log_destroy_pending = False
    lost.get_coro().close()


def test_a_signal_can_be_waited_for_again_and_set_again():
    signal = Signal()
    assert signal.wait(0) is False
    assert signal.wait(0.01) is False
    signal.set()
    signal.set()
    assert [signal.wait(), signal.wait(1), signal.wait(0)] == [True] * 3


def test_nothing_is_held_when_it_is_over():
    class Value:
        pass

    def signals():
        return {id(each) for each in gc.get_objects() if type(each) is Signal}

    gc.collect()
    others = signals()  # of tests that have gone before
    shelf, value = Shelf(), Value()
    gone = weakref.ref(value)
    held = [value]
    del value

    async def main():
        def work():
            await_(turns(3))
            raise LookupError(held.pop())

        got = await asyncio.gather(shelf.aget(work), shelf.aget(lambda: "value"), return_exceptions=True)
        return [type(each).__name__ for each in got]

    assert arun(main()) == ["LookupError", "str"]
    gc.collect()
    assert gone() is None
    assert not signals() - others


async def nap(seconds):
    await trio.sleep(seconds)


def test_under_trio_it_works_as_well():
    shelf, got = Shelf(), []

    def work():
        await_(nap(0.01))
        if shelf.made == 1:
            raise OSError("no")
        return "value"

    async def caller():
        try:
            got.append(await shelf.aget(work, monotonic() + LONG))
        except OSError:
            got.append("failed")

    async def late():
        with pytest.raises(DeadlineExceeded):
            await shelf.aget(lambda: await_(nap(LONG)), monotonic() + 0.02)
        got.append("late")

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(caller)
        shelf.value = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shelf.aget, lambda: await_(nap(LONG)))
            await trio.testing.wait_all_tasks_blocked()
            await late()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert sorted(got) == ["failed", "late", "value", "value", "value", "value"]
    assert (shelf.made, shelf.is_idle) == (3, True)


def test_a_signal_that_comes_together_with_a_cancellation_disturbs_nobody():
    signal = Signal()

    def ask(ctx, call):
        signal.wait(LONG)
        return call(ctx)

    async def main():
        waiting = [asyncio.create_task(wrap(endpoint, [ask])({})) for _ in range(2)]
        await turns(3)
        signal.set()
        waiting[0].cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    cancelled, woken = arun(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert woken == {}


def test_wherever_an_interrupt_comes_the_next_one_makes_it():
    def prepare():
        shelf = Shelf()
        return lambda: shelf.get(lambda: "value"), lambda: (shelf.get(lambda: "value", monotonic()), len(shelf.flight))

    outcomes = list(at_each_point([flight, together], prepare))
    assert outcomes == [("value", 0)] * len(outcomes)
