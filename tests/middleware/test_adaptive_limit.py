import asyncio
import gc
import logging
from importlib import import_module

import pytest
from structlog.testing import capture_logs

from formation import lift, reply, wrap
from formation.errors import BulkheadRejected, DeadlineExceeded, ThrottleRejected
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.http import Request
from formation.middleware import adaptive_limit, deadline
from formation.resilience import concurrency
from formation.resilience.concurrency import AIMD, Seat
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.resilience.interrupts import at_each_point

SILENT = logging.getLogger("tests.silent")
LONG = 10.0


class Seen:
    """An algorithm that keeps what it is told."""

    def __init__(self, limit=1):
        self.limit, self.samples = limit, []

    def sample(self, now, seconds, in_flight, *, dropped):
        self.samples.append((seconds, in_flight, dropped))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen():
    return Seen()


def made(seen, clock=None, **settings):
    return adaptive_limit(**{"algorithm": lambda: seen, "logger": SILENT, "clock": clock or Clock(), **settings})


def hold(middleware, key=None):
    """Take a place, as a call that is under way does."""
    assert middleware.limiters[key].admit(Seat())


def get(url="https://h/users/7", **more):
    return {"fmtn.req.http": Request("GET", url), **more}


def never(ctx):
    raise AssertionError("the app was asked")


def status_of(out):
    return out["fmtn.res.http"].status_code if isinstance(out, dict) else type(out)


@every_world
def test_a_call_is_a_sample_of_how_long_it_took(world, seen, clock):
    def endpoint(ctx):
        clock.now += 0.25
        return app(200)(ctx)

    assert status_of(world(made(seen, clock), on_server(), endpoint)) == 200
    assert seen.samples == [(0.25, 1, False)]


@every_world
@pytest.mark.parametrize(("random", "after"), [(0.0, "1"), (0.99, "1"), (1.5, "2"), (2.99, "3"), (3.0, "3")])
def test_over_the_limit_a_server_answers_503_and_when_to_come_back(world, seen, random, after):
    limit = made(seen, random=lambda low, high: random)
    hold(limit)
    out = world(limit, on_server("POST", body=b"four"), never)
    assert status_of(out) == 503
    assert out["fmtn.res.http"].headers["Retry-After"] == after
    assert not out["fmtn.req.http"].body_read
    assert seen.samples == []
    assert limit.limiters[None].in_flight == 1


@every_world
def test_in_a_client_it_is_an_error_and_each_origin_has_a_limit_of_its_own(world, seen):
    limit = made(seen)
    hold(limit, "https://a")
    error = world(limit, get("https://a/1"), never)
    assert type(error) is BulkheadRejected
    assert (error.name, error.retry_after) == ("https://a", None)
    assert status_of(world(limit, get("https://b/1"), lambda ctx: reply(ctx, 200))) == 200


@every_world
@pytest.mark.parametrize(
    ("status", "dropped"), [(200, False), (404, False), (429, False), (500, True), (503, True), (504, True)]
)
def test_a_status_tells_whether_the_server_has_done_it(world, seen, status, dropped):
    world(made(seen), on_server(), app(status))
    assert seen.samples == [(0, 1, dropped)]


@every_world
@pytest.mark.parametrize("error", [ValueError("bug"), DeadlineExceeded("late"), OSError("gone")], ids=repr)
def test_an_error_is_a_call_that_has_failed(world, seen, error):
    def endpoint(ctx):
        raise error

    limit = made(seen)
    assert world(limit, on_server(), endpoint) is error
    assert seen.samples == [(0, 1, True)]
    assert limit.limiters[None].in_flight == 0


@every_world
@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), BulkheadRejected("full"), ThrottleRejected("no")],
    ids=repr,
)
def test_what_was_cancelled_or_turned_away_says_nothing_and_its_place_is_free(world, seen, error):
    def endpoint(ctx):
        raise error

    limit = made(seen)
    assert world(limit, on_server(), endpoint) is error
    assert seen.samples == []
    assert limit.limiters[None].in_flight == 0


@every_world
def test_what_is_cancelled_when_its_deadline_has_come_took_too_long(world, seen, clock):
    def endpoint(ctx):
        clock.now += 5
        raise asyncio.CancelledError

    assert type(world(made(seen, clock), on_server(**{"fmtn.deadline": 1005.0}), endpoint)) is asyncio.CancelledError
    assert type(world(made(seen, clock), on_server(**{"fmtn.deadline": 1050.0}), endpoint)) is asyncio.CancelledError
    assert seen.samples == [(5, 1, True)]


def test_so_does_what_a_deadline_outside_ends(seen):
    async def endpoint(ctx):
        await asyncio.sleep(LONG)
        return ctx

    chain = wrap(endpoint, [deadline(0.01, logger=SILENT), adaptive_limit(algorithm=lambda: seen, logger=SILENT)])
    with pytest.raises(DeadlineExceeded):
        asyncio.run(chain({}))
    assert [dropped for _, _, dropped in seen.samples] == [True]


@every_world
def test_what_another_one_inside_has_shed_says_nothing(world, seen):
    limit, inner = made(seen), made(Seen(limit=0))

    def endpoint(ctx):
        return inner(ctx, never)

    assert status_of(world(limit, on_server(), endpoint)) == 503
    assert seen.samples == []


@every_world
@pytest.mark.parametrize(
    "exempt", [("/up",), lambda ctx: ctx["fmtn.req.http"].path == "/up"], ids=["paths", "function"]
)
def test_who_is_exempt_is_let_through_and_not_counted(world, seen, exempt):
    limit = made(seen, exempt=exempt)
    hold(limit)
    assert status_of(world(limit, on_server(url="https://shop/up"), app(200))) == 200
    assert status_of(world(limit, on_server(url="https://shop/health"), never)) == 503
    assert seen.samples == []


@every_world
@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez", "/readyz", "/ping"])
def test_load_balancers_are(world, seen, path):
    limit = made(seen)
    hold(limit)
    assert status_of(world(limit, on_server(url=f"https://shop{path}?full=1"), app(200))) == 200


@every_world
def test_a_websocket_passes(world, seen):
    limit = made(seen)
    hold(limit)
    assert status_of(world(limit, on_server(**{"fmtn.kind": "websocket"}), app(200))) == 200


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None], ids=repr)
def test_a_context_without_a_request_or_any_other_will_do(world, seen, ctx):
    limit = made(seen)
    assert world(limit, ctx, lambda ctx: ctx or {}) == (ctx or {})
    assert seen.samples == [(0, 1, False)]
    hold(limit)
    assert type(world(limit, ctx, never)) is BulkheadRejected


@every_lift
def test_it_limits_any_function(lifted, seen):
    limit = made(seen)
    assert lifted([limit], lambda x: x + 1, 1)[0] == 2
    hold(limit)
    with pytest.raises(BulkheadRejected, match="as many calls as can be taken are under way: 1"):
        lifted([limit], lambda x: x + 1, 1)


@every_world
def test_the_limit_follows_the_algorithm(world, clock):
    limit = made(None, clock, initial=2, algorithm="aimd", max=4, timeout=0.5)

    def endpoint(ctx):
        clock.now += ctx["seconds"]
        return app(200)(ctx)

    for _ in range(2):  # more than half of it is in use
        hold(limit)
        world(limit, on_server(seconds=0.1), endpoint)
    assert limit.limiters[None].limit == 4
    for _ in range(2):
        world(limit, on_server(seconds=0.6), endpoint)
    assert limit.limiters[None].limit == 3


def test_gradient2_is_what_one_gets():
    limit = adaptive_limit(7, logger=SILENT)
    assert (repr(limit.limiters[None]), type(limit.limiters[None].algorithm).__name__) == (
        "<Limiter: 0 of 7 under way>",
        "Gradient2",
    )


def test_wherever_an_interrupt_comes_no_place_is_lost(seen):
    def prepare():
        limit = made(seen)
        limiter = limit.limiters[None]
        return lambda: limit({}, dict), lambda: limiter.in_flight

    assert set(at_each_point([import_module("formation.middleware.adaptive_limit"), concurrency], prepare)) == {0}


def test_tasks_that_are_cancelled_closed_or_forgotten_leave_no_place_taken(seen):
    seen.limit = 9
    limit = made(seen)

    async def endpoint(ctx):
        await asyncio.sleep(LONG)
        return ctx

    async def main():
        chain = wrap(endpoint, [limit])
        task = asyncio.create_task(chain({}))
        closed, forgotten = chain({}), chain({})
        closed.send(None)
        forgotten.send(None)
        await asyncio.sleep(0)
        assert limit.limiters[None].in_flight == 3
        task.cancel()
        closed.close()
        del forgotten
        gc.collect()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert limit.limiters[None].in_flight == 0
    assert seen.samples == []


@every_world
def test_it_says_who_is_turned_away_and_when_the_limit_changes(world):
    limit = made(None, algorithm=lambda: AIMD(1), logger=None)
    with capture_logs() as events:
        world(limit, on_server(), app(200))
        hold(limit)
        hold(limit)
        world(limit, on_server(), never)
    assert events == [
        {"event": "limit.changed", "log_level": "debug", "key": None, "limit": 2},
        {"event": "limit.rejected", "log_level": "warning", "key": None, "limit": 2, "request": "GET /users/7"},
    ]


def test_behind_wsgi_the_app_is_not_called(seen):
    def shop(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"four"]

    limit = made(seen)
    with build(base_uri="https://h", endpoint=endpoint(FormationMiddleware(shop, middleware=[limit]))) as api:
        assert api.get("/").status_code == 200
        hold(limit)
        assert (api.get("/").status_code, api.get("/health").status_code) == (503, 200)
    assert len(seen.samples) == 1


def test_in_a_client_against_a_server(server, seen):
    limit = made(seen)
    with build(base_uri=server.url, middleware=[limit]) as api:
        assert api.get("/echo").status_code == 200
        hold(limit, server.url)
        with pytest.raises(BulkheadRejected):
            api.get("/echo")


def test_it_can_be_a_decorator_of_a_function(seen):
    @lift(middleware=[made(seen)])
    def walk(steps):
        return walk(steps - 1) if steps else "there"

    assert walk(0) == "there"
    with pytest.raises(BulkheadRejected):
        walk(1)


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"initial": 0}, ValueError, "expected initial as a whole number, 1 or more, got 0"),
        ({"min": 30}, ValueError, "expected min <= initial <= max, got 30, 20, 200"),
        ({"algorithm": "vegas"}, ValueError, "expected algorithm as 'gradient2', 'aimd' or a function that makes one"),
        ({"algorithm": "aimd", "timeout": 0}, ValueError, "expected timeout as a number above 0, got 0"),
        ({"exempt": "/up"}, TypeError, "expected exempt as a list of paths or a function of the context, got '/up'"),
        ({"exempt": 7}, TypeError, "expected exempt as a list of paths or a function of the context, got 7"),
        ({"key": "tenant"}, TypeError, "expected key as a function of the context, got 'tenant'"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, kind, said):
    with pytest.raises(kind, match=said):
        adaptive_limit(**settings)
