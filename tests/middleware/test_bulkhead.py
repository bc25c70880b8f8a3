import asyncio
import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module as module
from time import monotonic
from wsgiref.util import setup_testing_defaults

import pytest
import requests
from structlog.testing import capture_logs

from formation import for_aiohttp, for_httpx, lift, reply, wrap
from formation.errors import BulkheadRejected
from formation.for_asgi import FormationMiddleware as AsgiMiddleware
from formation.for_requests import Adapter, build
from formation.for_wsgi import FormationMiddleware
from formation.http import Request
from formation.middleware import bulkhead, retry
from formation.resilience import permits as permits_
from formation.resilience.permits import Place
from tests.middleware.worlds import app, every_lift, every_world, on_server
from tests.resilience.interrupts import at_each_point

SILENT = logging.getLogger("tests.silent")
LONG = 10.0


def made(limit=1, **settings):
    return bulkhead(limit, **{"logger": SILENT, **settings})


def get(url="https://h/users/7", **more):
    return {"fmtn.req.http": Request("GET", url), **more}


def ok(ctx):
    return reply(ctx, 200)


def never(ctx):
    raise AssertionError("the endpoint was asked")


def in_use(middleware, key="https://h"):
    return middleware.places[key].in_use


def hold(middleware, key="https://h"):
    """Take a place, as a call that is under way does; return what gives it back."""
    permits, place = middleware.places[key], Place()
    assert permits.acquire(place)
    return lambda: permits.release(place)


@every_world
def test_a_call_has_a_place_while_it_runs_and_not_longer(world):
    wall, seen = made(2), []

    def endpoint(ctx):
        seen.append(in_use(wall))
        return reply(ctx, 200)

    for _ in range(3):
        assert world(wall, get(), endpoint)["fmtn.res.http"].status_code == 200
    assert (seen, in_use(wall)) == ([1, 1, 1], 0)


@every_world
def test_who_comes_when_all_places_are_taken_is_turned_away_at_once(world):
    wall = made(2)
    hold(wall)
    assert isinstance(world(wall, get(), ok), dict)
    hold(wall)
    error = world(wall, get(), never)
    assert type(error) is BulkheadRejected
    assert (error.name, error.retry_after) == ("https://h", None)
    assert str(error) == "as many calls as allowed are under way: 2, and 0 wait"


@every_world
@pytest.mark.parametrize(
    "error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()], ids=repr
)
def test_however_a_call_ends_its_place_is_free(world, error):
    def endpoint(ctx):
        raise error

    wall = made()
    for _ in range(3):
        assert world(wall, get(), endpoint) is error
    assert in_use(wall) == 0


@every_world
def test_each_origin_has_a_bulkhead_of_its_own(world):
    wall = made()
    hold(wall, "https://a")
    assert type(world(wall, get("https://a/1"), never)) is BulkheadRejected
    assert isinstance(world(wall, get("https://b/1"), ok), dict)
    assert isinstance(world(wall, get("/path"), ok), dict)


@every_world
def test_on_a_server_all_calls_share_one_and_it_lasts_until_the_answer_is_sent(world):
    wall = made()
    out = world(wall, on_server(url="https://a/1"), app(body=iter([b"four"])))
    assert in_use(wall, None) == 1
    assert type(world(wall, on_server(url="https://b/1"), never)) is BulkheadRejected
    out["fmtn.res.http"].close()
    assert in_use(wall, None) == 0


@every_world
def test_a_key_may_be_finer(world):
    wall = made(key=lambda ctx: ctx["tenant"])
    hold(wall, "a")
    assert type(world(wall, get(tenant="a"), never)) is BulkheadRejected
    assert isinstance(world(wall, get(tenant="b"), ok), dict)


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None], ids=repr)
def test_a_context_without_a_request_or_any_other_will_do(world, ctx):
    wall = made(queue=1, max_wait=0.001)
    assert world(wall, ctx, lambda ctx: ctx or {}) == (ctx or {})
    hold(wall, None)
    assert type(world(wall, ctx, never)) is BulkheadRejected


@every_lift
def test_calls_of_any_function_share_one(lifted):
    wall = made()
    assert lifted([wall], lambda x: x + 1, 1)[0] == 2
    hold(wall, None)
    with pytest.raises(BulkheadRejected) as caught:
        lifted([wall], lambda x: x + 1, 1)
    assert caught.value.name == "bulkhead"


# Waiting


@every_world
def test_who_waits_gets_the_place_that_becomes_free(world):
    wall = made(queue=1, max_wait=LONG)
    release = hold(wall)

    def leave():
        while not wall.places["https://h"].waiting:
            pass
        release()

    thread = threading.Thread(target=leave)
    thread.start()
    assert isinstance(world(wall, get(), ok), dict)
    thread.join()
    assert in_use(wall) == 0


@every_world
def test_who_has_waited_long_enough_is_turned_away_and_leaves_the_line(world):
    wall = made(queue=1, max_wait=0.01)
    hold(wall)
    for _ in range(3):
        assert type(world(wall, get(), never)) is BulkheadRejected
    assert (in_use(wall), wall.places["https://h"].waiting) == (1, 0)


@every_world
def test_nobody_waits_past_its_deadline(world):
    wall = made(queue=1, max_wait=1000)
    release = hold(wall)
    assert type(world(wall, get(**{"fmtn.deadline": monotonic() + 0.01}), never)) is BulkheadRejected
    assert type(world(wall, get(**{"fmtn.deadline": monotonic() - 1}), never)) is BulkheadRejected
    release()
    assert isinstance(world(wall, get(**{"fmtn.deadline": monotonic() - 1}), ok), dict)


def test_the_queue_is_full_when_it_is_full():
    wall = made(queue=2, max_wait=LONG)

    async def main():
        leave = asyncio.Event()

        async def endpoint(ctx):
            await leave.wait()
            return ctx

        chain = wrap(endpoint, [wall])
        tasks = [asyncio.create_task(chain({})) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leave.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    out = asyncio.run(main())
    assert [type(each) for each in out] == [dict, dict, dict, BulkheadRejected, BulkheadRejected]
    assert str(out[4]) == "as many calls as allowed are under way: 1, and 2 wait"


@pytest.mark.parametrize("lifo", [False, True])
def test_they_go_in_the_order_in_which_they_came_or_the_other_way_round(lifo):
    wall, order = made(queue=9, max_wait=LONG, lifo=lifo), []

    async def endpoint(ctx):
        order.append(ctx["n"])
        await asyncio.sleep(0)
        return ctx

    async def main():
        chain = wrap(endpoint, [wall])
        await asyncio.gather(*(chain({"n": n}) for n in range(5)))

    asyncio.run(main())
    assert order == ([0, 4, 3, 2, 1] if lifo else [0, 1, 2, 3, 4])


def test_threads_and_tasks_share_it_and_cancelled_ones_leave_nothing_behind():
    wall, lock = made(5, queue=1000, max_wait=LONG), threading.Lock()
    now, most = 0, 0

    def enter():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def leave():
        nonlocal now
        with lock:
            now -= 1

    def endpoint(ctx):
        enter()
        threading.Event().wait(0.001)
        leave()
        return ctx

    async def later(ctx):
        enter()
        try:
            await asyncio.sleep(0.001)
        finally:
            leave()
        return ctx

    async def tasks():
        chain = wrap(later, [wall])
        running = [asyncio.create_task(chain({})) for _ in range(100)]
        for task in running[::5]:
            await asyncio.sleep(0)
            task.cancel()
        return await asyncio.gather(*running, return_exceptions=True)

    chain = wrap(endpoint, [wall])
    with ThreadPoolExecutor(20) as pool:
        loop = pool.submit(asyncio.run, tasks())
        list(pool.map(lambda _: chain({}), range(100)))
        assert {type(each) for each in loop.result()} <= {dict, asyncio.CancelledError}
    assert (most, now, in_use(wall, None)) == (5, 0, 0)


@pytest.mark.parametrize("streamed", [False, True])
def test_wherever_an_interrupt_comes_no_place_is_lost(streamed):
    def endpoint(ctx):
        return reply(ctx, 200, body=iter([b"four"]) if streamed else b"four")

    def prepare():
        wall = made(2)
        ctx = get()
        in_use(wall)

        def outcome():
            if "fmtn.res.http" in ctx:
                ctx["fmtn.res.http"].close()
            return in_use(wall)

        return lambda: wall(ctx, endpoint), outcome

    assert set(at_each_point([module("formation.middleware.bulkhead"), permits_], prepare)) == {0}


def test_a_coroutine_that_is_closed_and_one_that_is_forgotten_give_their_places_back():
    wall = made(2)

    async def endpoint(ctx):
        await asyncio.sleep(LONG)
        return ctx

    async def main():
        closed, forgotten = (wrap(endpoint, [wall])({}) for _ in range(2))
        closed.send(None)
        forgotten.send(None)
        assert in_use(wall, None) == 2
        closed.close()
        del forgotten
        gc.collect()

    asyncio.run(main())
    assert in_use(wall, None) == 0


def test_a_retry_outside_holds_no_place_in_its_pause():
    wall, seen = made(), []
    chain = wrap(
        lambda ctx: reply(ctx, 503), [retry(3, logger=SILENT, sleep=lambda _: seen.append(in_use(wall))), wall]
    )
    chain(get())
    assert seen == [0, 0]


# Streams


def test_a_stream_holds_its_place_until_it_has_been_read_or_dropped(server):
    wall = made()
    with build(base_uri=server.url, middleware=[wall]) as api:
        with api.get("/chunks/3", stream=True) as result:
            assert in_use(wall, server.url) == 1
            with pytest.raises(BulkheadRejected):
                api.get("/echo")
            assert b"".join(result.response.body)
            assert in_use(wall, server.url) == 0
            result.response.close()
        with api.get("/chunks/3", stream=True):
            assert in_use(wall, server.url) == 1
        assert in_use(wall, server.url) == 0
        assert api.get("/chunks/3").status_code == 200
        assert in_use(wall, server.url) == 0


def test_a_stream_that_is_forgotten_holds_its_place_no_longer():
    wall = made()
    out = wrap(lambda ctx: reply(ctx, 200, body=iter([b"four"])), [wall])(get())
    assert in_use(wall) == 1
    del out
    gc.collect()
    assert in_use(wall) == 0


@pytest.mark.parametrize("edge", [for_httpx, for_aiohttp], ids=lambda edge: edge.__name__)
def test_a_stream_in_an_async_client_too(server, edge):
    wall = made()
    build = getattr(edge, "build_async", None) or getattr(edge, "async_build", None) or edge.build

    async def main():
        async with build(base_uri=server.url, middleware=[wall]) as api:
            async with api.get("/chunks/3", stream=True) as result:
                assert in_use(wall, server.url) == 1
                assert [chunk async for chunk in result.response.body]
                assert in_use(wall, server.url) == 0
            async with api.get("/chunks/3", stream=True):
                assert in_use(wall, server.url) == 1
            assert in_use(wall, server.url) == 0
            assert (await api.get("/chunks/3")).status_code == 200
            assert in_use(wall, server.url) == 0

    asyncio.run(main())


def test_with_retries_each_stream_that_has_failed_gives_its_place_back(server):
    wall = made()
    again = retry(3, logger=SILENT, sleep=lambda seconds: None)
    with (
        build(base_uri=server.url, middleware=[again, wall]) as api,
        api.get("/status/503", stream=True) as result,
    ):
        assert len(result.attempts) == 3
    assert in_use(wall, server.url) == 0


def test_in_a_session_of_requests_the_place_is_free_when_the_body_has_been_read(server):
    wall = made()
    with requests.Session() as session:
        session.mount("http://", Adapter(middleware=[wall]))
        for _ in range(2):
            assert session.get(f"{server.url}/chunks/3").status_code == 200
        with session.get(f"{server.url}/chunks/3", stream=True):
            with pytest.raises(requests.ConnectionError) as caught:
                session.get(f"{server.url}/echo")
            assert isinstance(caught.value.__cause__, BulkheadRejected)
        assert in_use(wall, server.url) == 0


def test_behind_wsgi_the_place_is_free_when_the_answer_has_been_sent():
    wall = made()

    def shop(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"four"
        assert in_use(wall, None) == 1
        yield b"more"

    environ = {}
    setup_testing_defaults(environ)
    answer = FormationMiddleware(shop, middleware=[wall])(environ, lambda *args: None)
    assert b"".join(answer) == b"fourmore"
    answer.close()
    assert in_use(wall, None) == 0


def test_behind_asgi_the_place_is_free_when_the_answer_has_been_sent():
    wall, sent = made(), []

    async def shop(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"four", "more_body": True})
        assert in_use(wall, None) == 1
        await send({"type": "http.response.body", "body": b"more"})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"h")],
        "scheme": "http",
        "server": ("h", 80),
        "client": ("192.0.2.7", 1),
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "root_path": "",
    }
    asyncio.run(AsgiMiddleware(shop, middleware=[wall])(scope, receive, send))
    assert len(sent) == 3
    assert in_use(wall, None) == 0


@every_world
def test_it_says_who_is_turned_away(world):
    wall = made(logger=None)
    hold(wall)
    with capture_logs() as events:
        world(wall, get(), never)
    assert events == [
        {
            "event": "bulkhead.rejected",
            "log_level": "warning",
            "key": "https://h",
            "limit": 1,
            "waiting": 0,
            "request": "GET /users/7",
        }
    ]


def test_places_that_are_taken_are_kept_however_many_keys_there_are():
    wall = made(key=lambda ctx: ctx["tenant"])
    hold(wall, 0)
    for tenant in range(1, 3000):
        wrap(lambda ctx: ctx, [wall])({"tenant": tenant})
    assert len(wall.places) <= 1024
    with pytest.raises(BulkheadRejected):
        wrap(never, [wall])({"tenant": 0})


def test_it_can_be_a_decorator_of_a_function():
    @lift(middleware=[made(2)])
    def walk(steps):
        return walk(steps - 1) if steps else "there"

    assert walk(1) == "there"
    with pytest.raises(BulkheadRejected):
        walk(2)
    assert walk(1) == "there"


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"limit": 0}, ValueError, "expected limit as a whole number, 1 or more, got 0"),
        ({"queue": -1}, ValueError, "expected queue as a whole number, 0 or more, got -1"),
        ({"max_wait": -1}, ValueError, "expected max_wait in seconds, 0 or more, got -1"),
        ({"queue": 5}, ValueError, "expected both queue and max_wait, or none, got 5 and 0: nobody would wait"),
        ({"max_wait": 5}, ValueError, "expected both queue and max_wait, or none, got 0 and 5: nobody would wait"),
        ({"key": "tenant"}, TypeError, "expected key as a function of the context, got 'tenant'"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, kind, said):
    with pytest.raises(kind, match=said):
        bulkhead(**settings)
