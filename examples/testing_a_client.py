"""Tests of a client that need no server: a script, a stub, a rehearsal, and an hour of back-off in no time."""

import asyncio
import time

from structlog.testing import capture_logs

from formation import req
from formation.errors import ConnectTimeout
from formation.for_aiohttp import Client as AsyncClient
from formation.for_requests import client, json_response
from formation.middleware import bearer, circuit_breaker, retry
from formation.testing import Stub, rehearse, script, simulate


@client
class Jobs:
    base_uri = "https://jobs.example/v2"
    middleware = [retry(8, base=60, cap=3600), bearer("s3cret")]
    response_as = json_response

    def start(self, name):
        return self.request.put("/jobs/{name}", path={"name": name}, json={"state": "running"}, expect=(200, 201))

    def state(self, name):
        return self.request.get("/jobs/{name}", path={"name": name}).body["state"]


def test_a_job_is_started_with_its_name():
    request = rehearse(Jobs().start, "night's work")
    assert request.url == "https://jobs.example/v2/jobs/night%27s%20work"
    assert request.json == {"state": "running"}
    print(" ", request.curl())


def test_the_state_is_read_from_the_body():
    answers = script([{"state": "running"}, {"state": "done"}])
    jobs = Jobs(endpoint=answers)
    assert [jobs.state("a"), jobs.state("a")] == ["running", "done"]
    assert [request.path for request in answers.requests] == ["/v2/jobs/a", "/v2/jobs/a"]


def test_a_call_too_many_is_noticed():
    jobs = Jobs(endpoint=script([{"state": "running"}]))
    jobs.state("a")
    try:
        jobs.state("a")
    except AssertionError as error:
        print(" ", error)
    else:
        raise AssertionError("nobody has noticed")


def test_a_service_that_is_not_there_keeps_its_state():
    known = {}

    def start(ctx):
        known[req(ctx).path] = req(ctx).json["state"]
        return 201

    stub = Stub({"PUT /jobs/{name}": start, "GET /jobs/{name}": lambda ctx: {"state": known[req(ctx).path]}})
    jobs = Jobs(endpoint=stub)
    jobs.start("a")
    assert jobs.state("a") == "running"
    try:
        jobs.request.get("/job/a")
    except AssertionError as error:
        print(" ", error)


def test_hours_of_trouble_are_outlived():
    started = time.perf_counter()
    with simulate(Jobs(), [503, ConnectTimeout, 429, 503, 503, 503, {"state": "done"}]) as run:
        assert run.client.state("a") == "done"
    print(f"  {len(run.slept)} pauses, {run.elapsed / 60:.0f} minutes, in {time.perf_counter() - started:.1f} s")


def test_an_open_circuit_is_tried_again_after_a_minute():
    jobs = Jobs(middleware=[circuit_breaker(fail_max=2, reset_timeout=60)])
    with simulate(jobs, [503, 503, 200, 200]) as run:
        run.client.request.get("/")
        run.client.request.get("/")
        run.advance(60)
        assert run.client.request.get("/").status_code == 200


def test_the_same_with_an_async_client():
    class AsyncJobs(AsyncClient):
        base_uri = "https://jobs.example/v2"
        middleware = [retry(8, base=60, cap=3600)]

    async def main():
        with simulate(AsyncJobs(), [503, 503, 200]) as run:
            result = await run.client.request.get("/jobs/a")
        assert result.status_code == 200
        assert len(run.slept) == 2

    asyncio.run(main())


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            print(name.removeprefix("test_").replace("_", " "))
            with capture_logs():
                test()


if __name__ == "__main__":
    main()
