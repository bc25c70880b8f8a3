import asyncio
import threading

import pytest

from formation import wrap
from formation.resilience import collapse as module
from formation.resilience.collapse import ALONE, PASS, PASSING, STORED, Collapse
from formation.resilience.together import Trip


class Clock:
    at = 0.0

    def __call__(self):
        return self.at


def join(collapse, key):
    mine = Trip()
    trip = collapse.join(key, mine)
    return trip, trip is mine


def test_one_goes_and_the_others_follow_until_it_has_landed():
    collapse = Collapse()
    trip, leads = join(collapse, "tea")
    assert leads
    assert join(collapse, "tea") == (trip, False)
    assert join(collapse, "milk")[1]
    collapse.land("tea", trip, STORED)
    assert trip.brought is STORED
    other, leads = join(collapse, "tea")
    assert leads
    assert other is not trip


def test_landing_twice_changes_nothing_and_takes_nobody_elses_place():
    collapse = Collapse()
    first, _ = join(collapse, "tea")
    collapse.land("tea", first, ALONE)
    second, _ = join(collapse, "tea")
    collapse.land("tea", first, STORED)
    assert first.brought is ALONE
    assert join(collapse, "tea") == (second, False)
    collapse.land("tea", second, STORED)
    assert len(collapse) == 0


def test_what_is_not_to_be_shared_is_remembered_for_a_while():
    clock = Clock()
    collapse = Collapse(clock)
    trip, _ = join(collapse, "tea")
    collapse.land("tea", trip, PASS)
    assert collapse.passes("tea")
    assert not collapse.passes("milk")
    clock.at = PASSING - 1
    assert collapse.passes("tea")
    clock.at = PASSING
    assert not collapse.passes("tea")


def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "_PASSED", 2)
    collapse = Collapse()
    for key in "abc":
        collapse.land(key, join(collapse, key)[0], PASS)
    assert [collapse.passes(key) for key in "abc"] == [False, True, True]


def test_a_thread_waits_until_it_has_landed_or_for_so_long():
    collapse, woken = Collapse(), []
    trip, _ = join(collapse, "tea")
    thread = threading.Thread(target=lambda: woken.append(trip.wait(20)))
    thread.start()
    collapse.land("tea", trip, STORED)
    thread.join()
    other, _ = join(collapse, "tea")
    thread = threading.Thread(target=lambda: woken.append(other.wait(0.01)))
    thread.start()
    thread.join()
    assert woken == [True, False]


def test_nobody_waits_in_the_very_thread_that_would_have_to_go_on():
    trip, _ = join(Collapse(), "tea")
    assert trip.wait(20) is False


@pytest.mark.parametrize("outcome", [STORED, None])
def test_a_task_waits_on_the_bridge(outcome):
    collapse = Collapse()

    async def main():
        trip, _ = join(collapse, "tea")

        def follow(ctx, call):
            ctx["landed"] = trip.wait(20)
            return call(ctx)

        async def endpoint(ctx):
            return ctx

        task = asyncio.create_task(wrap(endpoint, [follow])({}))
        await asyncio.sleep(0)
        collapse.land("tea", trip, outcome)
        return (await task)["landed"], trip.brought

    assert asyncio.run(main()) == (True, outcome)
