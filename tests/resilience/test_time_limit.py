"""A time limit inside of a chain: what it ends, what it leaves alone, and where it cannot do anything."""

import asyncio

import pytest
import trio

from formation import sleep, wrap
from formation.resilience.time_limit import TimeLimit

SOON = 0.005


class Late(Exception):
    pass


def limited(seconds=SOON, otherwise=Late):
    def limited(ctx, call):
        with TimeLimit(seconds, otherwise):
            return call(ctx)

    return limited


async def forever(ctx):
    await asyncio.get_running_loop().create_future()


def timers():
    return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]


async def soon(ctx):
    await asyncio.sleep(0)
    return ctx


@pytest.mark.parametrize("middleware", [[limited()], [limited(), limited(60)], [limited(60), limited(), limited(60)]])
def test_what_is_awaited_is_cancelled_and_another_error_raised(middleware):
    ended = []

    async def endpoint(ctx):
        try:
            await forever(ctx)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(Late) as caught:
        asyncio.run(wrap(endpoint, middleware)({}))
    assert ended == ["cancelled"]
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_the_task_goes_on_as_if_nobody_had_cancelled_it():
    async def main():
        with pytest.raises(Late):
            await wrap(forever, [limited()])({})
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("seconds", [60, None])
def test_what_is_over_in_time_is_left_alone(seconds):
    async def main():
        out = await wrap(soon, [limited(seconds)])({"a": 1})
        await asyncio.sleep(0)
        return out

    assert asyncio.run(main()) == {"a": 1}


def test_no_timer_is_left_behind():
    async def main():
        await wrap(soon, [limited(3600)])({})
        assert timers() == []

    asyncio.run(main())


def test_an_error_in_time_is_what_it_is():
    async def endpoint(ctx):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(wrap(endpoint, [limited(60)])({}))


def test_a_cancellation_from_outside_stays_one():
    async def main():
        task = asyncio.ensure_future(wrap(forever, [limited(60)])({}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_cancellation_from_outside_at_the_same_moment_stays_one():
    async def main():
        async def endpoint(ctx):
            try:
                await forever(ctx)
            finally:
                task.cancel()  # before the first one is through

        task = asyncio.ensure_future(wrap(endpoint, [limited()])({}))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_at_all_is_over_at_the_first_wait(seconds):
    with pytest.raises(Late):
        asyncio.run(wrap(forever, [limited(seconds)])({}))


def test_who_swallows_the_cancellation_has_his_result():
    async def stubborn(ctx):
        try:
            await forever(ctx)
        except asyncio.CancelledError:
            return ctx

    async def main():
        out = await wrap(stubborn, [limited()])({"a": 1})
        return out, asyncio.current_task().cancelling()

    assert asyncio.run(main()) == ({"a": 1}, 0)


def test_who_makes_another_error_of_the_cancellation_has_his_error():
    async def translating(ctx):
        try:
            await forever(ctx)
        except asyncio.CancelledError:
            raise ValueError("late") from None

    with pytest.raises(ValueError, match="late"):
        asyncio.run(wrap(translating, [limited()])({}))


def test_of_two_limits_at_once_the_outer_one_counts():
    class Outer(Exception):
        pass

    with pytest.raises(Outer):
        asyncio.run(wrap(forever, [limited(0, Outer), limited(0)])({}))


def test_a_plain_function_that_sleeps_is_ended_too():
    def sleeper(ctx, call):
        sleep(60)
        return call(ctx)

    with pytest.raises(Late):
        asyncio.run(wrap(soon, [limited(), sleeper])({}))


def test_another_task_may_leave_the_block():
    class Handed:
        def __await__(self):
            return (yield)

    async def endpoint(ctx):
        return await Handed()

    async def main():
        chain = wrap(endpoint, [limited(60)])({})
        chain.send(None)

        async def go_on():  # as the app of an ASGI server does, which sends from a task of its own
            with pytest.raises(StopIteration) as ended:
                chain.send({"a": 1})
            return ended.value.value

        assert await asyncio.create_task(go_on()) == {"a": 1}
        assert timers() == []

    asyncio.run(main())


def test_in_a_sync_chain_nothing_is_done():
    assert wrap(lambda ctx: ctx, [limited(0)])({"a": 1}) == {"a": 1}


def test_on_trio_nothing_is_done():
    async def endpoint(ctx):
        await trio.lowlevel.checkpoint()
        return ctx

    assert trio.run(wrap(endpoint, [limited(0)]), {"a": 1}) == {"a": 1}


def test_a_chain_that_is_closed_leaves_no_timer():
    async def main():
        chain = wrap(forever, [limited(60)])({})
        chain.send(None)
        assert len(timers()) == 1
        chain.close()
        assert timers() == []

    asyncio.run(main())
