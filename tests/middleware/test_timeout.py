import asyncio
import time

import pytest
import trio
from structlog.testing import capture_logs

from formation import compose, wrap
from formation.clock import Virtual, virtual
from formation.errors import AttemptTimeout, ConnectTimeout, DeadlineExceeded, ReadTimeout
from formation.for_requests import build
from formation.http import UNSET, Request
from formation.middleware import deadline, exception_handler, retry, timeout
from formation.testing import script
from tests.client.edges import EDGES
from tests.middleware.worlds import app, every_lift, every_world, on_server

CASES = {
    "nothing is said": (UNSET, 2.5, 2.5),
    "a pair": (UNSET, (1, 2), (1, 2)),
    "a part without limit": (UNSET, (None, 2), (None, 2)),
    "the call says": (9, 2.5, 9),
    "the call waits for ever": (None, 2.5, None),
    "the middleware says for ever": (UNSET, None, None),
    "the call says otherwise": (9, None, 9),
    "the middleware says nothing": (UNSET, UNSET, UNSET),
}


@every_world
@pytest.mark.parametrize(("said", "seconds", "expected"), CASES.values(), ids=CASES)
def test_fills_the_timeout_that_nobody_has_set(world, said, seconds, expected):
    seen = []

    def endpoint(ctx):
        seen.append(ctx["fmtn.req.http"].timeout)
        return ctx

    ctx = {"fmtn.req.http": Request("GET", "https://h/", timeout=said)}
    assert world(timeout(seconds), ctx, endpoint) is ctx
    assert seen == [expected]


@every_world
def test_without_an_argument_it_changes_nothing(world):
    out = world(timeout(), {"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    assert out["fmtn.req.http"].timeout is UNSET


@every_world
def test_the_outer_one_of_two_wins_for_it_speaks_first(world):
    ctx = {"fmtn.req.http": Request("GET", "https://h/")}
    chain = [timeout(1), timeout(2)]
    out = world(chain[0], ctx, lambda ctx: chain[1](ctx, lambda ctx: ctx))
    assert out["fmtn.req.http"].timeout == 1


@every_world
def test_passes_a_context_without_a_request_through(world):
    assert world(timeout(1), {}, lambda ctx: ctx) == {}
    assert world(timeout(1), 42, lambda n: n + 1) == 43


@every_lift
def test_and_a_function(lifted):
    assert lifted([timeout(1)], len, "four")[0] == 4


@pytest.mark.parametrize("seconds", [0, -1, "1", True, (1,), (1, 2, 3), (1, 0), [1, 2]])
def test_what_is_no_timeout_is_refused_at_once(seconds):
    with pytest.raises(ValueError, match="expected a timeout in seconds, above 0, or a pair"):
        timeout(seconds)


def test_a_server_that_says_nothing_is_given_up_in_time(server):
    with build(base_uri=server.url, middleware=[timeout(0.05)]) as api:
        started = time.monotonic()
        with pytest.raises(ReadTimeout):
            api.get("/hang")
        assert time.monotonic() - started < 10


def test_the_timeout_of_the_call_and_of_the_client_win(server):
    with build(base_uri=server.url, middleware=[timeout(0.001)]) as api:
        assert api.get("/slow", params={"seconds": 0.05}, timeout=20).status_code == 200
    with build(base_uri=server.url, middleware=[timeout(0.001)], timeout=20) as api:
        assert api.get("/slow", params={"seconds": 0.05}).status_code == 200


# --- a whole attempt ---


@pytest.fixture
def clock():
    token = virtual.set(Virtual(1))
    yield virtual.get()
    virtual.reset(token)


def get(**more):
    return {"fmtn.req.http": Request("GET", "https://h/users/7"), "fmtn.state": {}, **more}


@pytest.mark.parametrize("client", [edge for edge in EDGES if "wsgi" not in edge.name], ids=lambda edge: edge.name)
def test_a_server_that_trickles_is_late_as_a_whole_or_never(client, fresh_server):
    for body, how in (("deadline", "count=1000&delay=0.02"), ("idle", "count=30&delay=0.02")):
        sender = client.build(base_uri=fresh_server.url, middleware=[timeout(0.4, body=body)])
        try:
            with capture_logs() as lines:
                if body == "idle":
                    assert len(sender.get(f"/drip?{how}").body) == 30
                else:
                    with pytest.raises(AttemptTimeout, match=r"it took longer than 0\.4 s") as caught:
                        sender.get(f"/drip?{how}")
                    assert isinstance(caught.value.__cause__, DeadlineExceeded)
            said = [(line["event"], line["error"], line["request"]) for line in lines]
            assert said == ([("timeout.attempt", "AttemptTimeout", "GET /drip")] if body == "deadline" else [])
        finally:
            sender.close()


@every_world
def test_each_attempt_has_the_whole_time_and_retry_tries_again(world, clock):
    seen = []

    def late(ctx):
        seen.append(round(ctx["fmtn.deadline"] - clock.monotonic(), 6))
        clock.advance(2)
        raise DeadlineExceeded("the deadline has passed")

    ctx = get()
    with capture_logs():
        error = world(compose(retry(3, base=0), timeout(2, body="deadline")), ctx, late)
    assert type(error) is AttemptTimeout
    assert seen == [2, 2, 2]
    assert "fmtn.deadline" not in ctx


@every_world
@pytest.mark.parametrize(("own", "others", "kind"), [(2, 1, DeadlineExceeded), (1, 2, AttemptTimeout)])
def test_of_the_attempt_and_the_deadline_the_earlier_one_counts(world, clock, own, others, kind):
    def late(ctx):
        clock.advance(min(own, others))
        raise DeadlineExceeded("the deadline has passed")

    until = clock.monotonic() + others
    ctx = get(**{"fmtn.deadline": until})
    with capture_logs() as lines:
        assert type(world(timeout(own, body="deadline"), ctx, late)) is kind
    assert ctx["fmtn.deadline"] == until
    assert len(lines) == (kind is AttemptTimeout)


@every_world
def test_somebody_inside_who_has_less_time_is_not_blamed_on_the_attempt(world, clock):
    endpoint = script([DeadlineExceeded("the deadline has passed")])
    assert type(world(timeout(5, body="deadline"), get(), endpoint)) is DeadlineExceeded


@every_world
def test_what_the_call_says_is_for_the_whole_attempt_too(world, clock):
    seen = []

    def endpoint(ctx):
        seen.append(ctx.get("fmtn.deadline"))
        return ctx

    for said in (9, (1, 9), None, (9, None)):
        world(timeout(2, body="deadline"), {"fmtn.req.http": Request("GET", "https://h/", timeout=said)}, endpoint)
    assert seen == [clock.monotonic() + 9, clock.monotonic() + 9, None, None]


@every_world
def test_a_server_is_told_how_much_time_the_attempt_has(world, clock):
    ctx = get()
    stack = compose(deadline(30, header="x-timeout-ms"), timeout(10, body="deadline"))
    assert world(stack, ctx, lambda ctx: ctx)["fmtn.req.http"].headers["x-timeout-ms"] == "10000"
    assert ctx["fmtn.deadline"] == clock.monotonic() + 30


@every_world
def test_a_request_that_takes_too_long_is_told_by_who_has_set_the_time(world):
    for error, events in ((ReadTimeout("slow"), 1), (ConnectTimeout("slow"), 1), (OSError("no"), 0)):
        with capture_logs() as lines:
            assert type(world(timeout(2), get(), script([error]))) is type(error)
            world(timeout(2), {"fmtn.req.http": Request("GET", "https://h/", timeout=9)}, script([error]))
        assert [line["event"] for line in lines] == ["timeout.attempt"] * events


def test_the_connect_has_a_time_of_its_own():
    seen = {}
    for connect in (3, None, UNSET):
        request = Request("GET", "https://h/")
        timeout(10, connect=connect)({"fmtn.req.http": request}, lambda ctx: ctx)
        seen[connect] = request.timeout
    assert seen == {3: (3, 10), None: (None, 10), UNSET: 10}


@pytest.mark.parametrize(
    ("seconds", "settings", "said"),
    [
        ((1, 2), {"connect": 3}, r"seconds as a number beside connect=3, got \(1, 2\)"),
        (UNSET, {"connect": 3}, "seconds as a number beside connect=3, got UNSET"),
        (1, {"connect": 0}, "expected a timeout in seconds, above 0"),
        (1, {"body": "total"}, "expected body as 'idle' or 'deadline', got 'total'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(seconds, settings, said):
    with pytest.raises(ValueError, match=said):
        timeout(seconds, **settings)


# --- around a function, and on a server ---


async def forever(ctx):
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("ctx", [{}, 42, {"fmtn.fn": len}, on_server()], ids=["nothing", "no dict", "lifted", "server"])
@pytest.mark.parametrize("seconds", [0.005, (60, 0.005)])
def test_a_function_and_the_app_of_a_server_are_ended_where_they_wait(ctx, seconds):
    with capture_logs() as lines, pytest.raises(AttemptTimeout, match=r"it took longer than 0\.005 s") as caught:
        asyncio.run(wrap(forever, [timeout(seconds)])(ctx))
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert [(line["log_level"], line["event"], line["seconds"]) for line in lines] == [
        ("warning", "timeout.attempt", 0.005)
    ]


def test_retry_tries_again_after_it():
    calls = []

    async def slow_at_first(ctx):
        calls.append(1)
        return ctx if len(calls) == 3 else await forever(ctx)

    with capture_logs():
        out = asyncio.run(wrap(slow_at_first, [retry(3, base=0), timeout(0.005)])({}))
    assert [attempt.error for attempt in out["fmtn.attempts"]] == ["AttemptTimeout", "AttemptTimeout", None]


def test_exception_handler_makes_a_504_of_it():
    with capture_logs():
        out = asyncio.run(wrap(forever, [exception_handler(), timeout(0.005)])(on_server()))
    assert out["fmtn.res.http"].status_code == 504


def test_a_cancellation_from_outside_stays_one():
    async def main():
        task = asyncio.ensure_future(wrap(forever, [timeout(60)])({}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@every_world
@pytest.mark.parametrize("seconds", [60, None, (1, None), UNSET])
def test_on_a_server_what_is_over_in_time_is_left_alone(world, seconds):
    ctx = on_server()
    assert world(timeout(seconds), ctx, app()) is ctx
    assert ctx["fmtn.req.http"].timeout is UNSET


def test_a_websocket_is_no_call_that_ends_soon():
    async def talk(ctx):
        await asyncio.sleep(0.01)
        return ctx

    ctx = on_server(**{"fmtn.kind": "websocket"})
    assert asyncio.run(wrap(talk, [timeout(0.001)])(ctx)) is ctx


def test_on_trio_nothing_is_ended():
    async def endpoint(ctx):
        await trio.sleep(0.002)
        return ctx

    assert trio.run(wrap(endpoint, [timeout(0.001)]), {"a": 1}) == {"a": 1}


def test_what_is_no_logger_is_refused_at_once():
    with pytest.raises(TypeError, match="expected a logger"):
        timeout(1, logger="log")


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [timeout(1)])) == "wrap(<lambda>, [timeout])"
