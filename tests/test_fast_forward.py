"""Tasks side by side in no time: who waits for whom, in which order, and for how long by the clock of the loop."""

import asyncio
import threading
import time

import pytest

from formation import clock, sleep, wrap
from formation.errors import AttemptTimeout, BulkheadRejected, DeadlineExceeded
from formation.fast_forward import LoopClock, fast_forward
from formation.middleware import bulkhead, deadline, retry, throttle, timeout
from simulate.virtual import SILENT


def now():
    return asyncio.get_running_loop().time()


async def hour(ctx):
    await asyncio.sleep(ctx.get("seconds", 3600))
    return ctx


def test_tasks_sleep_side_by_side_in_the_order_of_their_times():
    told = []

    async def later(name, seconds):
        await asyncio.sleep(seconds)
        told.append((name, now()))

    async def main():
        started = clock.monotonic(), clock.time()
        await asyncio.gather(later("b", 3600), later("a", 60), later("c", 3600))
        return clock.monotonic() - started[0], clock.time() - started[1]

    assert fast_forward(main()) == (3600, 3600)
    assert told == [("a", 60), ("b", 3600), ("c", 3600)]


def test_the_clock_is_the_loops_for_whatever_asks_for_the_time():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        assert now() == 10

        def sleeper(ctx, call):
            sleep(5)
            return call(ctx)

        await asyncio.gather(*(wrap(hour, [sleeper])({"seconds": 1}) for _ in range(3)))
        return now()

    assert fast_forward(main()) == 16


@pytest.mark.parametrize(
    ("middleware", "error", "seconds"),
    [(timeout(30, logger=SILENT), AttemptTimeout, 30), (deadline(20, logger=SILENT), DeadlineExceeded, 20)],
    ids=["timeout", "deadline"],
)
def test_a_call_that_takes_too_long_is_ended_in_time(middleware, error, seconds):
    async def main():
        with pytest.raises(error):
            await wrap(hour, [middleware])({})
        return now()

    assert fast_forward(main()) == seconds


def test_who_waits_for_a_place_in_a_bulkhead_gets_it_when_another_has_left_or_gives_up():
    async def main():
        chain = wrap(hour, [bulkhead(1, queue=2, max_wait=100, logger=SILENT)])
        first, second, third = (asyncio.create_task(chain({"seconds": each})) for each in (60, 50, 1))
        await first
        assert now() == 60
        with pytest.raises(BulkheadRejected):
            await third
        assert now() == 100
        await second
        return now()

    assert fast_forward(main()) == 110


def test_pauses_of_calls_side_by_side_do_not_add_up():
    async def main():
        chain = wrap(hour, [throttle(1, logger=SILENT)])
        await asyncio.gather(*(chain({"seconds": 0}) for _ in range(11)))
        return now()

    assert fast_forward(main()) == 10


def test_the_same_seed_is_the_same_luck():
    def pauses(seed):
        async def down(ctx):
            raise ConnectionError

        async def main():
            with pytest.raises(ConnectionError):
                await wrap(down, [retry(4, logger=SILENT)])({})

        seen = LoopClock(seed)
        fast_forward(main(), clock=seen)
        assert seen.elapsed == sum(seen.slept)
        return seen.slept

    assert pauses(1) == pauses(1) != pauses(2)
    assert len(pauses(1)) == 3


def test_a_sync_chain_moves_the_clock_itself():
    async def main():
        wrap(lambda ctx: ctx, [throttle(1, logger=SILENT)])({})
        sleep(7)
        return now()

    assert fast_forward(main()) == 7


def test_another_thread_can_end_a_wait_that_has_no_end_of_its_own():
    async def main():
        event = asyncio.Event()
        thread = threading.Thread(target=asyncio.get_running_loop().call_soon_threadsafe, args=(event.set,))
        thread.start()
        await event.wait()
        thread.join()
        return await asyncio.to_thread(time.monotonic) > 0

    assert fast_forward(main())


def test_what_is_ready_in_a_socket_is_seen():
    async def main():
        async def serve(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return answer

    assert fast_forward(main()) == b"hello\n"


def test_afterwards_the_clock_is_the_machines_also_after_an_error():
    async def main():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fast_forward(main())
    assert clock.virtual.get() is None
