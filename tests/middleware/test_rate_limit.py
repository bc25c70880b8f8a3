import asyncio
import json
import logging
import multiprocessing
import re

import pytest

from formation import wrap
from formation.for_asgi import FormationMiddleware as OnAsgi
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.http import Headers, Request
from formation.middleware import rate_limit
from formation.middleware.rate_limit import client_ip, header
from formation.resilience.rates import Standing, Verdict
from formation.storage import Redis
from tests.middleware.worlds import Asked, app, every_lift, every_world, on_server
from tests.server import edges
from tests.server.asgi_host import Host
from tests.server.edges import Reply, Sent

SILENT = logging.getLogger("tests.silent")
STRATEGIES = ["gcra", "moving-window", "sliding-window-counter"]


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Heard:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.said = []

    def warning(self, event, **fields):
        self.said.append((event, fields))

    debug = info = error = lambda self, event, **fields: None


@pytest.fixture
def time():
    return Time()


def made(time, limits="2/minute", *args, **settings):
    return rate_limit(limits, *args, **{"logger": SILENT, "clock": time, **settings})


def asked(peer="192.0.2.7", headers=(), **more):
    ctx = on_server(headers=list(headers), **more)
    ctx["fmtn.req.http"].peer = peer
    return ctx


def status(out):
    return out["fmtn.res.http"].status_code if isinstance(out, dict) else out


def field(out, name):
    return out["fmtn.res.http"].headers.getall(name, [])


def never(ctx):
    raise AssertionError("the app was asked")


@every_world
def test_who_asks_too_often_is_told_when_to_come_again_and_is_let_in_then(world, time):
    limit = made(time)
    assert [status(world(limit, asked(), app())) for _ in range(2)] == [200, 200]
    for _ in range(3):
        out = world(limit, asked(), never)
        assert status(out) == 429
        assert field(out, "Retry-After") == ["30"]
    time.now += 30
    assert status(world(limit, asked(), app())) == 200
    assert status(world(limit, asked(), never)) == 429
    assert status(world(limit, asked("192.0.2.8"), app())) == 200


@every_world
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_lets_in_who_comes_back_after_exactly_the_time_told(world, time, strategy):
    limit = made(time, "3/10 seconds; 5/minute", strategy=strategy)
    went = 0
    for _ in range(40):
        time.now += 0.37
        out = world(limit, asked(), app())
        went += status(out) == 200
        if status(out) == 429:
            time.now += int(*field(out, "Retry-After"))
            assert status(world(limit, asked(), app())) == 200
    assert went > 1


@every_world
def test_every_answer_says_what_the_limits_are_and_what_is_left(world, time):
    limit = made(time, "2/second; 3/minute", strategy="moving-window")
    said = []
    for _ in range(4):
        out = world(limit, asked(), app(404))
        assert field(out, "RateLimit-Policy") == ['"2/second";q=2;w=1, "3/minute";q=3;w=60']
        said += field(out, "RateLimit") + field(out, "Retry-After")
        time.now += 0.4
    assert said == [
        '"2/second";r=1;t=1, "3/minute";r=2;t=60',
        '"2/second";r=0;t=1, "3/minute";r=1;t=60',
        '"2/second";r=0;t=1',
        "1",
        '"2/second";r=0;t=1, "3/minute";r=0;t=59',
    ]
    out = world(limit, asked(), never)
    assert field(out, "RateLimit") == ['"3/minute";r=0;t=59']
    assert field(out, "Retry-After") == ["59"]


@every_world
def test_a_client_that_spreads_what_is_left_over_the_time_told_keeps_to_the_limit(world, time):
    limit = made(time, "100/minute")
    for _ in range(100):
        (said,) = field(world(limit, asked(), app()), "RateLimit")
        left, seconds = map(int, re.fullmatch(r'"100/minute";r=(\d+);t=(\d+)', said).groups())
        assert left / max(seconds, 1) <= 100 / 60
        assert seconds <= 60


@every_world
def test_who_is_turned_away_reads_why_and_the_body_is_not_read(world, time):
    limit = made(time, "1/minute")
    world(limit, asked(), app())
    ctx = asked(method="POST", body=b"four")
    out = world(limit, ctx, never)
    problem = json.loads(out["fmtn.res.http"].content)
    assert field(out, "Content-Type") == ["application/problem+json"]
    assert (problem["status"], problem["violated-policies"]) == (429, ["1/minute"])
    assert not out["fmtn.req.http"].body_read
    assert out["fmtn.state"]["shed"] == "rate_limit"


@every_world
def test_of_several_limits_none_is_charged_where_one_says_no(world, time):
    limit = made(time, ["1/second", "3/hour"])
    for _ in range(20):
        world(limit, asked(), app())
    for _ in range(2):
        time.now += 1
        assert status(world(limit, asked(), app())) == 200
    time.now += 1
    assert field(world(limit, asked(), never), "Retry-After") == [str(1200 - 3)]


@every_world
def test_health_checks_are_not_counted_and_others_that_are_exempt_either(world, time):
    limit = made(time, "1/hour")
    for _ in range(3):
        out = world(limit, asked(url="https://shop/health"), app())
        assert (status(out), field(out, "RateLimit")) == (200, [])
    picky = made(time, "1/hour", exempt=lambda ctx: ctx["fmtn.req.http"].method == "OPTIONS")
    for _ in range(3):
        assert status(world(picky, asked(method="OPTIONS"), app())) == 200
    assert status(world(picky, asked(url="https://shop/health"), app())) == 200
    assert status(world(picky, asked(url="https://shop/health"), never)) == 429


# who asks


@every_world
def test_a_header_tells_clients_apart_and_who_has_none_is_told_by_the_address(world, time):
    limit = made(time, "1/hour", header("X-API-Key"))
    assert status(world(limit, asked(headers=[("X-API-Key", "a")]), app())) == 200
    assert status(world(limit, asked(headers=[("x-api-key", "b")]), app())) == 200
    assert status(world(limit, asked("192.0.2.8", headers=[("X-API-Key", "a")]), never)) == 429
    assert status(world(limit, asked(), app())) == 200
    assert status(world(limit, asked(), never)) == 429


@every_world
def test_a_function_tells_clients_apart_and_none_is_by_the_address(world, time):
    limit = made(time, "1/hour", lambda ctx: ctx["fmtn.session"].get("uid"))
    anna = {"fmtn.session": {"uid": "anna"}}
    assert status(world(limit, asked(**anna), app())) == 200
    assert status(world(limit, asked("192.0.2.8", **anna), never)) == 429
    assert status(world(limit, asked(), app())) == 200


@every_world
def test_nobody_uses_up_the_limit_of_another_by_taking_his_address_as_a_name(world, time):
    limit = made(time, "1/hour", lambda ctx: ctx["fmtn.req.http"].headers.get("X-Name"))
    assert status(world(limit, asked("192.0.2.9", headers=[("X-Name", "192.0.2.7")]), app())) == 200
    assert status(world(limit, asked(), app())) == 200


@every_world
def test_proxies_that_are_listed_are_believed_and_nobody_else(world, time):
    limit = made(time, "1/hour", trusted_proxies=["10.0.0.0/8"])

    def come(peer, *said):
        return status(world(limit, asked(peer, headers=[("X-Forwarded-For", each) for each in said]), app()))

    assert come("10.0.0.1", "1.1.1.1, 192.0.2.1") == 200
    assert come("10.0.0.2", "2.2.2.2, 192.0.2.1, 10.9.9.9") == 429
    assert come("10.0.0.1", "192.0.2.2") == 200
    assert come("192.0.2.3", "192.0.2.4") == 200
    assert come("192.0.2.3", "192.0.2.5") == 429
    naive = made(time, "1/hour")
    assert status(world(naive, asked("10.0.0.1", headers=[("Forwarded", "for=1.1.1.1")]), app())) == 200
    assert status(world(naive, asked("10.0.0.1", headers=[("Forwarded", "for=1.1.1.2")]), never)) == 429


@every_world
def test_addresses_of_one_network_of_ipv6_are_one_client(world, time):
    limit, fine = made(time, "1/hour"), made(time, "1/hour", ipv6_prefix=128)
    assert status(world(limit, asked("2001:db8::1"), app())) == 200
    assert status(world(limit, asked("2001:db8::2"), never)) == 429
    assert status(world(limit, asked("2001:db8:0:1::2"), app())) == 200
    assert [status(world(fine, asked(f"2001:db8::{last}"), app())) for last in (1, 2, 1)] == [200, 200, 429]


@every_world
@pytest.mark.parametrize("peer", [None, "", "nonsense", "unix:/run/app.sock"], ids=repr)
def test_who_has_no_address_shares_one_limit(world, time, peer):
    limit = made(time, "1/hour")
    assert [status(world(limit, asked(peer), app())) for _ in range(2)] == [200, 429]


# where it stands


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None, {"fmtn.req.http": Request("GET", "https://h/")}], ids=repr)
def test_on_a_client_and_around_a_function_it_does_nothing(world, time, ctx):
    limit = made(time, "1/hour")
    for _ in range(3):
        assert world(limit, ctx, lambda ctx: ctx or {"out": 1}) == (ctx or {"out": 1})


@every_lift
def test_it_lets_any_function_be(lifted, time):
    limit = made(time, "1/hour")
    assert [lifted([limit], lambda x: x + 1, 1)[0] for _ in range(3)] == [2, 2, 2]


@every_world
def test_two_limits_in_one_stack_both_say_what_is_left(world, time):
    outer, inner = made(time, "2/second"), made(time, "1/minute", lambda ctx: "everybody")

    def both(ctx, call):
        return outer(ctx, lambda ctx: inner(ctx, call))

    out = world(both, asked(), app())
    assert field(out, "RateLimit") == ['"1/minute";r=0;t=60', '"2/second";r=1;t=1']
    out = world(both, asked(), never)
    assert status(out) == 429
    assert field(out, "Retry-After") == ["60"]


@every_world
def test_an_error_of_the_app_passes_and_the_request_was_counted(world, time):
    def fails(ctx):
        raise KeyError("bug")

    limit = made(time, "1/hour")
    assert type(world(limit, asked(), fails)) is KeyError
    assert status(world(limit, asked(), never)) == 429


@pytest.mark.parametrize("edge", edges.EDGES, ids=lambda edge: edge.name)
def test_it_stands_on_every_server(edge, time):
    served = edge.build(lambda seen: Reply(headers=[("X-A", "1")]), [made(time, "2/minute")])
    first, second, third = (edge.serve(served, Sent()) for _ in range(3))
    assert [each.status for each in (first, second, third)] == [200, 200, 429]
    assert first.lines("RateLimit") == ['"2/minute";r=1;t=30']
    assert third.lines("Retry-After") == ["30"]
    assert third.lines("RateLimit") == ['"2/minute";r=0;t=30']
    assert b"violated-policies" in third.body


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}], ids=["old server", "new server"])
def test_a_websocket_is_one_request_and_is_denied_like_any(time, extensions):
    async def echo(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    served, sent = OnAsgi(echo, middleware=[made(time, "1/minute")]), []
    for _ in range(2):
        host = Host({"type": "websocket.connect"}, type="websocket", scheme="ws", extensions=extensions)
        asyncio.run(served(host.scope, host.receive, host.send))
        sent.append(host.sent[0])
    assert sent[0]["type"] == "websocket.accept"
    assert (b"ratelimit", b'"1/minute";r=0;t=60') in [(name.lower(), value) for name, value in sent[0]["headers"]]
    if extensions:
        assert sent[1]["status"] == 429
        assert (b"retry-after", b"60") in [(name.lower(), value) for name, value in sent[1]["headers"]]
    else:
        assert sent[1]["type"] == "websocket.close"


class Rpc:
    path, name, peer = "/shop.Users/Get", "/shop.Users/Get", "ipv4:192.0.2.7:50051"
    headers = Headers()


def test_a_request_without_http_is_counted_by_its_peer(time):
    told = []
    limit = made(time, "1/minute", storage=Listening(told))
    ctx = {"fmtn.side": "server", "fmtn.req.rpc": Rpc()}
    assert wrap(lambda ctx: ctx, [limit])(ctx) is ctx
    assert told == [("ip", "192.0.2.7")]
    assert wrap(lambda ctx: ctx, [made(time, exempt=["/shop.Users/Get"], storage=Listening(told))])(ctx) is ctx
    assert len(told) == 1


class Listening:
    """Rates that let everybody in."""

    def __init__(self, told):
        self.told = told

    def hit(self, key, /):
        self.told.append(key)
        return Verdict(True, [Standing(0, 1, 1)])  # noqa: FBT003


# many processes


@every_world
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_servers_on_one_redis_count_together(world, redis_server, time, strategy):
    storage = Redis(redis_server.url)
    here, there = (made(time, "3/hour", strategy=strategy, storage=each) for each in (storage, redis_server.url))
    assert [status(world(each, asked(), app())) for each in (here, there, here)] == [200] * 3
    out = world(there, asked(), never)
    assert status(out) == 429
    assert 1100 <= int(*field(out, "Retry-After")) <= 3600
    assert field(out, "RateLimit") == [f'"3/hour";r=0;t={int(*field(out, "Retry-After"))}']
    storage.close()


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here you are"]


def serve(url, pipe):
    """Answer requests of one client in another process, as long as they are let in."""
    served = FormationMiddleware(
        shop, middleware=[rate_limit("50/hour", storage=Redis(url, timeout=20), logger=SILENT)]
    )
    with build(base_uri="https://shop", endpoint=endpoint(served)) as api:
        pipe.send([api.get("/").status_code for _ in range(40)])


def test_processes_together_let_in_exactly_what_one_would(redis_server):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    workers = [context.Process(target=serve, args=(redis_server.url, there)) for _ in range(3)]
    for worker in workers:
        worker.start()
    answers = [status for _ in workers for status in here.recv()]
    for worker in workers:
        worker.join()
    assert (answers.count(200), answers.count(429)) == (50, 70)


@every_world
def test_where_redis_does_not_answer_everybody_is_let_in_and_it_is_told_once_a_minute(world, time):
    heard = Heard()
    limit = made(time, "1/hour", storage="redis://127.0.0.1:1/0", logger=heard)
    for _ in range(5):
        out = world(limit, asked(), app())
        assert (status(out), field(out, "RateLimit")) == (200, [])
    time.now += 60
    world(limit, asked(), app())
    assert [event for event, _ in heard.said] == ["storage.unavailable"] * 2
    assert heard.said[0][1]["middleware"] == "rate_limit"


@every_world
def test_or_nobody_is(world, time):
    limit = made(time, storage="redis://127.0.0.1:1/0", fail_open=False)
    out = world(limit, asked(), never)
    assert status(out) == 503
    assert field(out, "Retry-After") == ["1"]


def test_a_redis_that_hangs_delays_one_request_and_its_flushing_begins_anew(fresh_redis_server, time):
    storage = Redis(fresh_redis_server.url, timeout=0.05, pause=5, clock=time)
    limit = made(time, "1/hour", storage=storage)
    chain = wrap(app(), [limit])
    assert [status(chain(asked())) for _ in range(2)] == [200, 429]
    fresh_redis_server.pause()
    assert [status(chain(asked())) for _ in range(20)] == [200] * 20
    fresh_redis_server.go_on()
    time.now += 5
    assert status(chain(asked())) == 429
    fresh_redis_server.flush()
    assert [status(chain(asked())) for _ in range(2)] == [200, 429]


def test_tasks_count_together_while_the_loop_goes_on(redis_server):
    limit = rate_limit("20/hour", storage=Redis(redis_server.url, timeout=20), logger=SILENT)
    beats = []

    async def endpoint(ctx):
        await asyncio.sleep(0)
        return app()(ctx)

    async def main():
        chain = wrap(endpoint, [limit])
        tasks = [asyncio.create_task(chain(asked())) for _ in range(60)]
        while not all(task.done() for task in tasks):
            beats.append(1)
            await asyncio.sleep(0)
        return [status(task.result()) for task in tasks]

    answers = asyncio.run(main())
    assert (answers.count(200), answers.count(429)) == (20, 40)
    assert len(beats) > 10


@pytest.mark.parametrize(("workers", "told"), [("4", 1), ("1", 0), ("", 0), ("many", 0)])
def test_in_memory_with_several_processes_it_says_that_each_counts_by_itself(monkeypatch, workers, told):
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    heard = Heard()
    rate_limit("1/hour", logger=heard)
    rate_limit("1/hour", storage="redis://h", logger=heard)
    assert [event for event, _ in heard.said] == ["rate_limit.per_process"] * told
    assert not told or heard.said[0][1] == {"processes": 4, "limits": '"1/hour";q=1;w=3600'}


@pytest.mark.parametrize(
    ("peer", "header", "named", "told"),
    [
        ("10.0.0.1", "X-Forwarded-For", [], ["10.0.0.1"]),
        ("fd00::1", "Forwarded", [], ["fd00::1"]),
        (None, "X-Forwarded-For", [], ["unix"]),
        ("10.0.0.1", "X-Forwarded-For", ["10.0.0.0/8"], []),
        ("10.0.0.1", "X-Request-ID", [], []),
        ("8.8.8.8", "X-Forwarded-For", [], []),
    ],
)
def test_that_all_behind_a_proxy_count_as_one_for_it_is_not_named_is_told_once(time, peer, header, named, told):
    heard = Heard()
    chain = wrap(app(), [made(time, "1/hour", trusted_proxies=named, logger=heard)])
    for _ in range(3):
        chain(asked(peer, headers=[(header, "for=1.2.3.4" if header == "Forwarded" else "1.2.3.4")]))
    assert [fields["peer"] for event, fields in heard.said if event == "rate_limit.behind_proxy"] == told


def test_who_is_turned_away_is_told_of_without_his_secret(time):
    heard = Heard()
    limit = made(time, "1/hour", header("Authorization"), logger=heard)
    for _ in range(2):
        wrap(app(), [limit])(asked(headers=[("Authorization", "Bearer s3cret")]))
    ((event, fields),) = heard.said
    assert (event, fields["retry_after"], fields["request"]) == ("rate_limit.rejected", 3600, "GET /users/7")
    assert "s3cret" not in repr(fields)


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"limits": "often"}, ValueError, "expected a limit such as '100/minute' or '5/10 seconds', got 'often'"),
        ({"limits": 100}, TypeError, "expected limits such as '100/minute', got 100"),
        ({"key": "X-API-Key"}, TypeError, "expected key as a function of the context, got 'X-API-Key'"),
        ({"strategy": "fixed-window"}, ValueError, "lets twice the limit through around the end of a window"),
        ({"burst": 0}, ValueError, "expected burst as a whole number, 1 or more, got 0"),
        ({"storage": 7}, TypeError, "expected storage as a Redis or a URL"),
        ({"exempt": "/health"}, TypeError, "expected exempt as a list of paths or a function"),
        ({"trusted_proxies": "10.0.0.0/8"}, TypeError, "expected proxies as a list of addresses and networks"),
        ({"trusted_proxies": ["proxy"]}, ValueError, "expected an address or a network such as '10.0.0.0/8'"),
        ({"ipv6_prefix": 0}, ValueError, "expected ipv6_prefix as a whole number, 1 or more, got 0"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_given(settings, kind, said):
    with pytest.raises(kind, match=re.escape(said)):
        rate_limit(**{"limits": "1/minute", **settings})


def test_no_header_has_a_name_that_breaks_the_message():
    with pytest.raises(ValueError, match="header"):
        header("X\r\n")


def test_a_client_without_an_address_has_none():
    assert client_ip({"fmtn.req.http": Asked({"headers": ()}, "GET", None)}) is None
