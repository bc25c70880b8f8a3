import asyncio
import threading

import pytest

from formation import wrap
from formation.resilience import collapse as module
from formation.resilience.collapse import ALONE, PASS, PASSING, STORED, Collapse


class Clock:
    at = 0.0

    def __call__(self):
        return self.at


def test_one_goes_and_the_others_follow_until_it_has_landed():
    collapse = Collapse()
    trip, leads = collapse.join("tea")
    assert leads
    assert collapse.join("tea") == (trip, False)
    assert collapse.join("milk")[1]
    collapse.land("tea", trip, STORED)
    assert trip.brought is STORED
    other, leads = collapse.join("tea")
    assert leads
    assert other is not trip


def test_landing_twice_changes_nothing_and_takes_nobody_elses_place():
    collapse = Collapse()
    first, _ = collapse.join("tea")
    collapse.land("tea", first, ALONE)
    second, _ = collapse.join("tea")
    collapse.land("tea", first, STORED)
    assert first.brought is ALONE
    assert collapse.join("tea") == (second, False)
    collapse.land("tea", second, STORED)
    assert len(collapse) == 0


def test_what_is_not_to_be_shared_is_remembered_for_a_while():
    clock = Clock()
    collapse = Collapse(clock)
    trip, _ = collapse.join("tea")
    collapse.land("tea", trip, PASS)
    assert collapse.join("tea") is None
    clock.at = PASSING - 1
    assert collapse.join("tea") is None
    clock.at = PASSING
    assert collapse.join("tea")[1]


def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "_PASSED", 2)
    collapse = Collapse()
    for key in "abc":
        collapse.land(key, collapse.join(key)[0], PASS)
    assert [collapse.join(key) is None for key in "abc"] == [False, True, True]


def test_a_thread_waits_until_it_has_landed_or_for_so_long():
    collapse, woken = Collapse(), []
    trip, _ = collapse.join("tea")
    thread = threading.Thread(target=lambda: woken.append(trip.wait(20)))
    thread.start()
    collapse.land("tea", trip, STORED)
    thread.join()
    other, _ = collapse.join("tea")
    thread = threading.Thread(target=lambda: woken.append(other.wait(0.01)))
    thread.start()
    thread.join()
    assert woken == [True, False]


def test_nobody_waits_in_the_very_thread_that_would_have_to_go_on():
    trip, _ = Collapse().join("tea")
    assert trip.wait(20) is False


@pytest.mark.parametrize("outcome", [STORED, None])
def test_a_task_waits_on_the_bridge(outcome):
    collapse = Collapse()

    async def main():
        trip, _ = collapse.join("tea")

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
