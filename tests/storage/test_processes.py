"""Several real processes that share a Redis: what is done once, is done once by all of them; one of them is killed."""

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0


class Service:
    """The processes of a service."""

    def __init__(self, kind, server, **settings):
        self.kind, self.server, self.settings = kind, server, settings
        self._stack = ExitStack()
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()

    def start(self, count):
        """Start as many processes; return them."""
        command = [sys.executable, "-m", "tests.storage.service", self.kind, self.server.url]
        made = [Process([*command, json.dumps(self.settings)]) for _ in range(count)]
        for process in made:
            self._stack.callback(process.end)
        for process in made:
            process.begin()
        self.processes += made
        return made

    @property
    def runs(self):
        return int(self.server.client.get("runs") or 0)

    @contextmanager
    def held(self):
        """Let whoever works wait until the end of this."""
        client = self.server.client
        client.set("hold", 1)
        try:
            yield
        finally:
            client.delete("hold")
            client.rpush("go", *range(50))


class Process:
    def __init__(self, command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)

    def begin(self):
        self.port = int(self._process.stdout.readline())

    def kill(self):
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def end(self):
        self.kill()
        self._process.stdout.close()

    def post(self, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * PATIENCE)
        try:
            connection.request("POST", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())
        finally:
            connection.close()

    def order(self, key="7f3a"):
        status, body, _ = self.post("/orders", Idempotency_Key=key)
        return status, body

    def call(self, *, fails=False):
        return json.loads(self.post("/call?fail" if fails else "/call")[1])


def until(ask, wanted):
    """Ask until what comes is wanted; return it."""
    give_up = time.monotonic() + PATIENCE
    while not wanted(came := ask()):
        assert time.monotonic() < give_up, came
        time.sleep(0.02)
    return came


@pytest.fixture(params=["wsgi", "asgi"])
def service(request, redis_server):
    def made(**settings):
        return Service(request.param, redis_server, **settings)

    return made


def test_of_many_posts_at_once_with_one_key_one_is_worked_on_and_the_others_are_told_so(service):
    with service() as shop, ThreadPoolExecutor(12) as pool:
        shop.start(4)
        with shop.held():
            asked = [pool.submit(process.order) for process in shop.processes * 3]
            until(lambda: sum(each.done() for each in asked), lambda done: done == 11)
            assert shop.runs == 1
            assert [each.result()[0] for each in asked if each.done()] == [409] * 11
        assert [each.result() for each in asked if each.result()[0] != 409] == [(201, b"order 1")]
        assert [process.order() for process in shop.processes] == [(201, b"order 1")] * 4
        assert shop.runs == 1


def test_of_many_posts_with_one_key_all_get_the_one_answer_or_a_409(service):
    with service() as shop, ThreadPoolExecutor(12) as pool:
        shop.start(3)
        for key in "abc":
            came = list(pool.map(lambda process, key=key: process.order(key), shop.processes * 4))
            assert len({each for each in came if each[0] == 201}) == 1
            assert {each[0] for each in came} <= {201, 409}
        assert shop.runs == 3


def test_a_process_that_is_killed_at_work_holds_its_key_until_the_lease_is_over(service):
    with service(idempotency={"lease": 2}) as shop, ThreadPoolExecutor(1) as pool:
        one, other = shop.start(2)
        with shop.held():
            lost = pool.submit(one.order)
            until(lambda: shop.runs, lambda runs: runs == 1)
            one.kill()
            assert isinstance(lost.exception(), (OSError, http.client.HTTPException))
            assert other.order()[0] == 409
        assert until(other.order, lambda came: came[0] != 409) == (201, b"order 2")
        assert other.order() == (201, b"order 2")


def test_what_one_process_opens_is_open_in_all_and_in_one_that_starts_then(service):
    with service(breaker={"fail_max": 3, "reset_timeout": 60}) as shop:
        one, other = shop.start(2)
        assert other.call() == {"outcome": "ok", "retry_after": None}
        assert [one.call(fails=True)["outcome"] for _ in range(4)] == ["failed"] * 3 + ["rejected"]
        came = until(other.call, lambda came: came["outcome"] == "rejected")
        assert 60 - PATIENCE < came["retry_after"] <= 60
        (fresh,) = shop.start(1)
        assert fresh.call()["outcome"] == "rejected"


def test_of_six_processes_one_makes_the_trial_and_closes_the_circuit_for_all(service):
    with (
        service(breaker={"fail_max": 3, "reset_timeout": 2, "trial_lease": PATIENCE}) as shop,
        ThreadPoolExecutor(6) as pool,
    ):
        one, *others = shop.start(6)
        for _ in range(3):
            one.call(fails=True)
        for each in others:
            until(each.call, lambda came: came["outcome"] == "rejected")
        before = shop.runs
        with shop.held():
            trials = [
                pool.submit(until, each.call, lambda came: came["outcome"] != "rejected") for each in shop.processes
            ]
            until(lambda: shop.runs, lambda runs: runs > before)
            for each in shop.processes:
                until(each.call, lambda came: came == {"outcome": "rejected", "retry_after": None})
            assert shop.runs == before + 1
        assert [each.result()["outcome"] for each in trials] == ["ok"] * 6


def test_a_process_that_is_killed_in_its_trial_leaves_it_to_another_when_the_lease_is_over(service):
    with (
        service(breaker={"fail_max": 1, "reset_timeout": 0.2, "trial_lease": 2}) as shop,
        ThreadPoolExecutor(1) as pool,
    ):
        one, other = shop.start(2)
        one.call(fails=True)
        before = shop.runs
        with shop.held():
            lost = pool.submit(until, one.call, lambda came: came["outcome"] != "rejected")
            until(lambda: shop.runs, lambda runs: runs > before)
            one.kill()
            assert isinstance(lost.exception(), (OSError, http.client.HTTPException))
        assert until(other.call, lambda came: came["outcome"] == "ok")
