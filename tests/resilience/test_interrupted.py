"""Whoever is interrupted, wherever it waits, leaves nothing behind: no place, no token, no count, no task.

The endpoint waits ten times; some middlewares wait before that, or between two attempts. At each of these waits an
error is raised in turn, as by a cancellation, an interrupt, and the end of a coroutine that is closed.
"""

import asyncio
from contextlib import suppress
from functools import partial
from itertools import count

import pytest

from formation import sleep, wrap
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    chaos,
    circuit_breaker,
    client_throttle,
    coalesce,
    deadline,
    fallback,
    hedge,
    idempotency_key,
    load_shed,
    retry,
    throttle,
    timeout,
)
from formation.resilience.budget import Budget
from formation.resilience.permits import Place
from formation.resilience.turns import MemoryTurns
from simulate.virtual import SILENT, run

POINTS = 10
INTERRUPTS = [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()]


class Down(Exception):
    pass


class Interrupted:
    """Await something; at its wait number ``at`` an error is raised in its place."""

    def __init__(self, coroutine, at, error):
        self.coroutine, self.at, self.error, self.has_come = coroutine, at, error, False

    def __await__(self):
        step, value = self.coroutine, None
        for number in count():
            try:
                if number == self.at + 1:
                    self.has_come = True
                    waits = step.throw(self.error)
                else:
                    waits = step.send(value)
            except StopIteration as stop:
                return stop.value
            if number != self.at:
                value = yield waits
        raise AssertionError


class Case:
    """A middleware, how it is made to wait, and what it holds."""

    def __init__(self, middleware, held=lambda asked: None, before=None, fails=0):
        self.middleware, self.held, self.before, self.fails = middleware, held, before, fails
        self.asked = 0

    async def endpoint(self, ctx):
        self.asked += 1
        number = self.asked
        for _ in range(POINTS):
            await asyncio.sleep(0.01)
        if number <= self.fails:
            raise Down
        return ctx


def retrying():
    budget = Budget()
    return Case(
        retry(budget=budget, logger=SILENT, sleep=lambda seconds: sleep(0.01)),
        lambda asked: dict(budget.spent),
        fails=1,
    )


def through_a_circuit():
    made = circuit_breaker(SILENT, fail_max=1)
    gate = made.gates[None]
    return Case(made, lambda asked: (gate.state, gate._breaker.fail_counter, len(gate._trials)))


def through_a_circuit_that_counts_a_ratio():
    made = circuit_breaker(SILENT, ratio=0.5, min_calls=1)
    gate = made.gates[None]
    return Case(made, lambda asked: (gate.state, gate._window.calls, len(gate._trials)))


def on_trial():
    made = circuit_breaker(SILENT, reset_timeout=0)
    gate = made.gates[None]
    return Case(made, lambda asked: len(gate._trials), gate.open)


def waiting_for_a_turn():
    store = MemoryTurns()
    made = throttle(1, storage=store, logger=SILENT)
    # A turn is spent by who has called; who was still waiting has given it back.
    return Case(made, lambda asked: store._lines[None].next - asked, lambda: wrap(lambda ctx: ctx, [made])({}))


def in_a_bulkhead():
    made = bulkhead(1, logger=SILENT)
    return Case(made, lambda asked: (made.places[None].in_use, made.places[None].waiting))


def waiting_for_a_place():
    made = bulkhead(1, queue=3, max_wait=100, logger=SILENT)
    places = made.places[None]

    def before():
        taken = Place()
        places.acquire(taken)
        asyncio.get_running_loop().call_later(5, places.release, taken)

    async def held(asked):
        await asyncio.sleep(6)
        return places.in_use, places.waiting

    return Case(made, held, before)


def limited():
    made = adaptive_limit(logger=SILENT)
    return Case(made, lambda asked: (made.limiters[None].in_flight, made.limiters[None].algorithm._count))


def counted():
    made = client_throttle(logger=SILENT)
    return Case(made, lambda asked: (made.counts[None].requests, made.counts[None].accepts))


def alive():
    return len([each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()])


def in_time():
    return Case(timeout(60, logger=SILENT), lambda asked: (alive(), asyncio.current_task().cancelling()))


def in_all_time():
    return Case(deadline(60, logger=SILENT), lambda asked: (alive(), asyncio.current_task().cancelling()))


def hedged():
    async def held(asked):
        await asyncio.sleep(1)
        return len(asyncio.all_tasks())  # the token of a second call that was sent is spent

    return Case(hedge(0.001, logger=SILENT), held)


def together():
    made = coalesce(key=lambda ctx: "tea")
    cells = [cell.cell_contents for cell in made.__closure__]
    (trips,) = [each for each in cells if type(each).__name__ == "Together"]
    return Case(made, lambda asked: len(trips))


def answered_for():
    told = []
    return Case(fallback(told.append, logger=SILENT), lambda asked: list(told))


def disturbed():
    return Case(chaos(0, 1, 0, enabled=True, delay=0, logger=SILENT))


def with_a_key():
    return Case(idempotency_key())


def shed():
    return Case(load_shed(logger=SILENT))


CASES = [
    retrying,
    through_a_circuit,
    through_a_circuit_that_counts_a_ratio,
    on_trial,
    waiting_for_a_turn,
    in_a_bulkhead,
    waiting_for_a_place,
    limited,
    counted,
    in_time,
    in_all_time,
    hedged,
    together,
    answered_for,
    disturbed,
    with_a_key,
    shed,
]


async def said(case):
    found = case.held(case.asked)
    return await found if asyncio.iscoroutine(found) else found


@pytest.mark.parametrize("error", INTERRUPTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_nothing_is_left_behind_at_whichever_wait_it_is(make, error):
    async def interrupted(at):
        """Tell whether there was such a wait."""
        untouched, case = make(), make()
        for each in (untouched, case):
            if each.before is not None:
                each.before()
        chain = wrap(case.endpoint, [case.middleware])
        call = Interrupted(chain({}), at, type(error)())
        with suppress(type(error)):
            await call
        if not call.has_come:
            return False
        asked = case.asked
        if asked <= 1:  # a second attempt has been paid for
            assert await said(case) == await said(untouched)
        await asyncio.sleep(1)
        assert case.asked == asked
        case.fails = 0
        await asyncio.wait_for(chain({}), 50)
        return True

    points = 0
    while run(partial(interrupted, points)):
        points += 1
    assert points >= (1 if make is hedged else POINTS)  # the tasks of a hedge wait, itself once for each
