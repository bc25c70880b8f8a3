import asyncio
import time

import pytest
import trio
from structlog.testing import capture_logs

from formation import ambient, for_asgi, reply, wrap
from formation.clock import Virtual, monotonic, virtual
from formation.errors import DeadlineExceeded, ReadTimeout
from formation.for_aiohttp import build as asgi_client
from formation.for_requests import build
from formation.http import Request
from formation.middleware import deadline, exception_handler, retry
from formation.testing import script
from tests.middleware.worlds import app, every_lift, every_world, on_server

PAST = {"fmtn.deadline": 0.0}
ENVOY = "x-envoy-expected-rq-timeout-ms"


def get(**more):
    return {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/users/7"), **more}


def left(ctx):
    return ctx["fmtn.deadline"] - monotonic()


def never(ctx):
    pytest.fail("it was called")


@pytest.fixture
def clock():
    token = virtual.set(Virtual(1))
    yield virtual.get()
    virtual.reset(token)


async def forever(ctx):
    await asyncio.get_running_loop().create_future()


# --- what is in the context ---


@every_world
def test_says_when_the_call_has_to_be_over(world):
    seen = []
    ctx = {}
    assert world(deadline(20), ctx, lambda ctx: seen.append(left(ctx)) or ctx) is ctx
    assert 10 < seen[0] <= 20


@every_world
@pytest.mark.parametrize(("total", "given", "most"), [(20, 5, 5), (5, 20, 5), (None, 5, 5), (20, None, 20)])
def test_the_shorter_time_counts_and_is_never_extended(world, total, given, most):
    ctx = {} if given is None else {"fmtn.deadline": monotonic() + given}
    before = ctx.get("fmtn.deadline")
    out = world(deadline(total), ctx, lambda ctx: ctx)
    assert most - 3 < left(out) <= most
    assert before is None or out["fmtn.deadline"] <= before


@every_world
def test_of_two_the_shorter_one_counts_whichever_is_outside(world):
    for outer, inner in ((5, 20), (20, 5)):
        out = world(deadline(outer), {}, wrap(lambda ctx: ctx, [deadline(inner)]))
        assert 2 < left(out) <= 5


@every_world
def test_without_a_time_of_its_own_it_passes_what_there_is(world):
    assert world(deadline(None), {}, lambda ctx: ctx) == {}


@every_lift
def test_bounds_a_function(lifted):
    result, ctx = lifted([deadline(20)], len, "four")
    assert result == 4
    assert left(ctx) <= 20


@every_world
def test_passes_any_context_through(world):
    assert world(deadline(20), 42, lambda n: n + 1) == 43


# --- when it has come ---


@every_world
@pytest.mark.parametrize(("total", "ctx"), [(20, PAST), (None, PAST), (0, {}), (0, get()), (20, get(**PAST))])
def test_without_any_time_nothing_is_called(world, total, ctx):
    with capture_logs() as lines:
        error = world(deadline(total), dict(ctx), never)
    assert type(error) is DeadlineExceeded
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "deadline.exceeded")]


@every_world
@pytest.mark.parametrize("total", [20, None])
def test_a_server_that_has_no_time_left_answers_504(world, total):
    out = world(deadline(total), on_server(**PAST), never)
    assert out["fmtn.res.http"].status_code == 504


@pytest.mark.parametrize("ctx", [{}, get(), on_server(), 42], ids=["nothing", "client", "server", "no dict"])
def test_what_is_awaited_is_ended(ctx):
    with capture_logs() as lines, pytest.raises(DeadlineExceeded) as caught:
        asyncio.run(wrap(forever, [deadline(0.005)])(ctx))
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert [line["event"] for line in lines] == ["deadline.exceeded"]


def test_exception_handler_makes_a_504_of_it():
    with capture_logs():
        out = asyncio.run(wrap(forever, [exception_handler(), deadline(0.005)])(on_server()))
    assert out["fmtn.res.http"].status_code == 504


def test_a_cancellation_from_outside_stays_one():
    async def main():
        task = asyncio.ensure_future(wrap(forever, [deadline(60), retry(3, base=0)])({}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_logs() as lines:
        asyncio.run(main())
    assert lines == []


def test_on_trio_it_is_in_the_context_and_nothing_is_ended():
    async def endpoint(ctx):
        await trio.sleep(0.002)
        return ctx

    out = trio.run(wrap(endpoint, [deadline(0.001)]), {})
    assert left(out) < 0


def test_in_a_sync_chain_the_pauses_of_retry_keep_to_it(clock):
    def fail(ctx):
        raise OSError("no")

    with capture_logs() as lines, pytest.raises(OSError, match="no"):
        wrap(fail, [deadline(3), retry(100, base=1)])({})
    assert clock.elapsed <= 3
    assert lines[-1]["stopped_by"] == "deadline"


@every_world
def test_it_is_told_once_by_who_has_set_it(world):
    def late(ctx):
        raise DeadlineExceeded("the deadline has passed")

    now = monotonic()
    with capture_logs() as lines:
        for middleware, ctx in (
            (deadline(60), get()),  # of somebody inside, who has less time
            (deadline(60), get(**{"fmtn.deadline": now + 50})),  # of somebody outside
        ):
            assert type(world(middleware, ctx, late)) is DeadlineExceeded
    assert lines == []


def test_one_that_passes_while_something_blocks_is_told_too():
    def late(ctx):
        while monotonic() < ctx["fmtn.deadline"]:
            pass
        raise DeadlineExceeded("the deadline has passed")

    with capture_logs() as lines, pytest.raises(DeadlineExceeded):
        wrap(late, [deadline(0.001)])(get())
    assert lines == [{"event": "deadline.exceeded", "log_level": "error", "request": "GET /users/7"}]


@every_world
def test_a_websocket_is_no_call_that_ends_soon(world):
    ctx = on_server(**{"fmtn.kind": "websocket"})
    assert "fmtn.deadline" not in world(deadline(20), ctx, lambda ctx: ctx)


# --- on the wire ---


@every_world
@pytest.mark.parametrize(("header", "most"), [("x-timeout-ms", "20000"), (ENVOY, "20000"), ("grpc-timeout", "20000m")])
def test_a_client_tells_how_much_is_left(world, header, most):
    out = world(deadline(20, header=header), get(), lambda ctx: ctx)
    said = out["fmtn.req.http"].headers[header]
    assert said.isdigit() == most.isdigit()
    assert 10_000 < int(said.rstrip("m")) <= 20_000


@every_world
def test_a_client_says_nothing_unless_asked_and_a_server_tells_its_app_nothing(world):
    assert world(deadline(20), get(), lambda ctx: ctx)["fmtn.req.http"].headers == {}
    out = world(deadline(20, header=ENVOY), on_server(), app())
    assert ENVOY not in out["fmtn.req.http"].headers
    assert world(deadline(20, header=ENVOY), {}, lambda ctx: ctx).keys() == {"fmtn.deadline"}


def test_each_attempt_tells_what_is_left_then(clock):
    seen = []

    def fail(ctx):
        seen.append(int(ctx["fmtn.req.http"].headers[ENVOY]))
        return reply(ctx, 503)

    with capture_logs():
        wrap(fail, [deadline(20, header=ENVOY), retry(3, base=1, random=lambda low, high: 1.5)])(get())
    assert clock.slept == [1.5, 1.5]
    assert seen == [20_000, 18_500, 17_000]


@every_world
@pytest.mark.parametrize(
    ("header", "value", "most"),
    [(ENVOY, "5000", 5), ("grpc-timeout", "5S", 5), (ENVOY, "60000", 20), (ENVOY, "soon", 20), (ENVOY, "", 20)],
)
def test_a_server_takes_the_shorter_time_of_those_it_trusts(world, header, value, most):
    ctx = on_server(headers={header: value})
    assert most - 3 < left(world(deadline(20, header=header, trusted=True), ctx, app())) <= most


@every_world
def test_a_server_without_a_time_of_its_own_takes_that_of_its_caller(world):
    ctx = on_server(headers={ENVOY: "5000"})
    assert 2 < left(world(deadline(None, header=ENVOY, trusted=True), ctx, app())) <= 5


@every_world
def test_a_server_trusts_nobody_unless_told_and_a_client_never(world):
    ctx = on_server(headers={ENVOY: "5000"})
    assert left(world(deadline(20, header=ENVOY), ctx, app())) > 15
    ctx = get()
    ctx["fmtn.req.http"].headers[ENVOY] = "5000"
    assert left(world(deadline(20, header=ENVOY, trusted=True), ctx, lambda ctx: ctx)) > 15


@every_world
def test_a_caller_who_has_gone_by_now_is_answered_504(world):
    out = world(deadline(20, header=ENVOY, trusted=True), on_server(headers={ENVOY: "0"}), never)
    assert out["fmtn.res.http"].status_code == 504


def test_a_client_below_a_server_has_no_more_time_than_the_server():
    seen = []

    def endpoint(ctx):
        seen.append(left(ctx))
        return reply(ctx, 200)

    api = build(base_uri="https://h", middleware=[deadline(60)], endpoint=endpoint)

    def handler(ctx):
        token = ambient.publish(ctx)
        api.get("/")
        ambient.restore(token)
        return app()(ctx)

    wrap(handler, [deadline(5)])(on_server())
    assert 2 < seen[0] <= 5


@pytest.mark.parametrize("how", ["in its own task", "in a task of its own"])
def test_over_asgi_the_app_is_ended_and_504_answered(how):
    ended = []

    async def wait():
        try:
            await forever({})
        finally:
            ended.append(asyncio.current_task().cancelling() > 0)

    async def slow(scope, receive, send):
        if scope["type"] == "http" and how == "in its own task":
            await wait()
        elif scope["type"] == "http":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(wait())

    async def main():
        served = for_asgi.FormationMiddleware(slow, middleware=[exception_handler(), deadline(0.01)])
        async with asgi_client(base_uri="http://shop", endpoint=for_asgi.endpoint(served)) as api:
            return await api.get("/")

    with capture_logs():
        result = asyncio.run(main())
    assert (result.status_code, ended) == (504, [True])


def test_over_asgi_an_app_may_answer_from_a_task_of_its_own_and_take_its_time_for_the_body():
    async def answer(send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"done"})

    async def served(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.create_task(answer(send))

    async def main():
        wrapped = for_asgi.FormationMiddleware(served, middleware=[deadline(0.05)])
        async with asgi_client(base_uri="http://shop", endpoint=for_asgi.endpoint(wrapped)) as api:
            return await api.get("/")

    assert asyncio.run(main()).body == b"done"


def test_a_server_that_says_nothing_is_given_up_in_time(server):
    with build(base_uri=server.url, middleware=[deadline(0.05), retry(5, base=0.01)]) as api, capture_logs():
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            api.get("/hang")
        assert time.monotonic() - started < 10


def test_a_client_sends_it_with_each_attempt(server):
    middleware = [deadline(20, header=ENVOY), retry(2, base=0)]
    with build(base_uri=server.url, middleware=middleware) as api, server.watch() as seen, capture_logs():
        api.get("/status/503")
    said = [int(request.header(ENVOY)) for request in seen.requests]
    assert len(said) == 2
    assert 20_000 >= said[0] >= said[1] > 10_000


def test_a_failure_that_has_nothing_to_do_with_it_passes():
    endpoint = script([ReadTimeout("too slow")])
    with capture_logs() as lines, pytest.raises(ReadTimeout):
        wrap(endpoint, [deadline(20)])(get())
    assert lines == []


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"total": -1}, ValueError),
        ({"total": "20"}, ValueError),
        ({"total": float("inf")}, ValueError),
        ({"header": "x timeout"}, ValueError),
        ({"header": 1}, TypeError),
        ({"logger": "log"}, TypeError),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error):
    with pytest.raises(error):
        deadline(**settings)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [deadline()])) == "wrap(<lambda>, [deadline])"
