"""Simulations, and the clock that they go by."""

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from formation import clock, sleep
from formation.errors import DeadlineExceeded
from formation.for_aiohttp import Client as AsyncClient
from formation.for_requests import Client, build
from formation.http import Response
from formation.keys import DEADLINE
from formation.middleware import circuit_breaker, retry
from formation.testing import Stub, script, simulate
from tests.testing.cases import BASE


class Slow(Client):
    base_uri = BASE
    middleware = (retry(6, base=600, cap=7200),)

    def stars(self) -> Any:
        return self.request.get("/stars")


class AsyncSlow(AsyncClient):
    base_uri = BASE
    middleware = (retry(6, base=600, cap=7200),)

    def stars(self) -> Any:
        return self.request.get("/stars")


ANSWERS = [503, 503, 503, 503, {"stars": 1}]


def run_sync() -> tuple[Any, ...]:
    with capture_logs(), simulate(Slow(), ANSWERS) as run:
        result = run.client.stars()
    return result.status_code, run.slept, run.elapsed, len(run.calls), [request.path for request in run.requests]


def run_async() -> tuple[Any, ...]:
    async def main() -> tuple[Any, ...]:
        with capture_logs(), simulate(AsyncSlow(), ANSWERS) as run:
            result = await run.client.stars()
        return result.status_code, run.slept, run.elapsed, len(run.calls), [request.path for request in run.requests]

    return asyncio.run(main())


def test_hours_of_back_off_take_no_time_and_are_the_same_each_time_sync_and_async() -> None:
    started = time.monotonic()
    outcome = run_sync()
    assert outcome == run_sync() == run_async()
    assert time.monotonic() - started < 30
    status, slept, elapsed, calls, paths = outcome
    assert (status, calls, len(slept), paths) == (200, 5, 4, ["/v1/stars"] * 5)
    assert elapsed == sum(slept) > 600


def test_another_seed_is_another_run() -> None:
    def slept(seed: int) -> list[float]:
        with capture_logs(), simulate(Slow(), ANSWERS, seed=seed) as run:
            run.client.stars()
        return run.slept

    assert slept(1) == slept(1) != slept(2)


def test_retry_after_is_slept_to_the_second_and_a_date_counts_from_the_clock_of_the_run() -> None:
    from email.utils import formatdate

    with capture_logs(), simulate(Slow(middleware=[retry(3, base=0, max_retry_after=None)])) as outer:
        date = formatdate(clock.time() + 100, usegmt=True)
        answers = script([Response(503, {"Retry-After": "40"}), Response(503, {"Retry-After": date}), 200])
        assert outer.client.extend(endpoint=answers).stars().status_code == 200
    first, second = outer.slept
    assert 40 <= first <= 41
    assert 40 <= second <= 61


def test_a_circuit_breaker_closes_again_when_its_time_has_come() -> None:
    from formation.errors import CircuitOpenError

    breaker = circuit_breaker(fail_max=1, reset_timeout=3600)
    with capture_logs(), simulate(Slow(middleware=[breaker]), [503, 200, 200]) as run:
        run.client.stars()
        with pytest.raises(CircuitOpenError):
            run.client.stars()
        run.advance(3600)
        assert run.client.stars().status_code == 200
    assert run.elapsed == 3600
    assert run.slept == []


def test_a_deadline_passes_by_the_clock_of_the_run() -> None:
    def in_a_minute(ctx: Any, call: Any) -> Any:
        ctx[DEADLINE] = clock.monotonic() + 60
        sleep(61)
        return call(ctx)

    with simulate(Slow(middleware=[in_a_minute]), [200]) as run, pytest.raises(DeadlineExceeded):
        run.client.stars()


def test_a_simulation_without_a_script_goes_to_the_clients_own_endpoint() -> None:
    stub = Stub({"GET /stars": script([503, 200])})
    with capture_logs(), simulate(Slow(endpoint=stub)) as run:
        assert run.client.stars().status_code == 200
    assert (run.script, run.calls, run.requests, len(stub.calls)) == (None, [], [], 2)


def test_a_sender_can_be_simulated_and_what_is_no_client_cannot() -> None:
    with simulate(build(base_uri=BASE), [204]) as run:
        assert run.client.get("/").status_code == 204
    with pytest.raises(TypeError, match="expected a client"), simulate(print):
        pass


def test_the_simulation_ends_with_its_block_and_is_not_seen_by_other_threads() -> None:
    seen: list[Any] = []
    with suppress(LookupError), simulate(Slow(), []) as run:
        sleep(3600)
        thread = threading.Thread(target=lambda: seen.append(clock.virtual.get()))
        thread.start()
        thread.join()
        raise LookupError
    assert run.elapsed == 3600
    assert seen == [None]
    assert clock.virtual.get() is None
    assert abs(clock.monotonic() - time.monotonic()) < 30


def test_a_simulated_sleep_lets_other_tasks_have_their_turn() -> None:
    events: list[str] = []

    def doze(ctx: Any, call: Any) -> Any:
        sleep(3600)
        events.append("slept")
        return call(ctx)

    async def main() -> None:
        with simulate(AsyncSlow(middleware=[doze]), [200]) as run:
            other = asyncio.create_task(asyncio.sleep(0))
            other.add_done_callback(lambda _: events.append("other"))
            await asyncio.sleep(0)
            await run.client.stars()
            assert run.slept == [3600]

    asyncio.run(main())
    assert sorted(events) == ["other", "slept"]


def test_the_clock_is_the_machines_where_there_is_no_simulation() -> None:
    assert abs(clock.time() - time.time()) < 30
    draws = {clock.uniform(1, 2) for _ in range(10)}
    assert len(draws) > 1
    assert all(1 <= draw <= 2 for draw in draws)
