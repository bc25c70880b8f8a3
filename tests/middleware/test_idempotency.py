import asyncio
import logging
import threading
from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from formation import reply, wrap
from formation.bridge import await_
from formation.errors import BodyAbandoned, StorageUnavailable, ThrottleRejected
from formation.events import Events
from formation.for_asgi import FormationMiddleware as Asgi
from formation.for_wsgi import FormationMiddleware
from formation.middleware import idempotency, load_shed
from formation.resilience.claims import MemoryClaims
from formation.resilience.register import Claim, Register
from formation.resilience.shared_claims import RedisClaims
from formation.storage import Redis
from tests.middleware.worlds import app as answers
from tests.middleware.worlds import every_world, on_server
from tests.server.edges import EDGES, Reply, Sent, environ_of, scope_of

SILENT = logging.getLogger("tests.silent")

every_host = pytest.mark.parametrize("host", EDGES, ids=lambda edge: edge.name)


class Shop:
    """An app that takes orders; each has a number."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.bodies = []

    @property
    def orders(self):
        return len(self.bodies)

    def __call__(self, seen):
        self.bodies.append(seen.body)
        if self.replies:
            made = self.replies.pop(0)
            if isinstance(made, BaseException):
                raise made
            return made
        return Reply(201, [("X-Order", str(self.orders))], [b"order %d" % self.orders])


def order(key="7f3a", body=b"beans", method="POST", path="/orders", query="", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(method, path, query, {**({} if key is None else {"Idempotency-Key": key}), **given}, body)


@pytest.fixture(params=["memory", "redis"])
def storage(request):
    if request.param == "memory":
        yield None
    else:
        with closing(Redis(request.getfixturevalue("redis_server").url)) as redis:
            yield redis


@pytest.fixture
def lone(fresh_redis_server):
    """A Redis that the test may stop, and that is asked again at once."""
    with closing(Redis(fresh_redis_server.url, pause=1e-6)) as redis:
        yield redis


def served(host, shop, *sent, storage=None, **settings):
    built = host.build(shop, [idempotency(storage, logger=SILENT, **settings)])
    return [host.serve(built, each) for each in sent]


def seen(answer):
    return answer.status, answer.body


# The same key


@every_host
def test_the_same_key_gets_the_same_answer_and_the_app_works_once(host, storage):
    shop = Shop()
    first, again, third = served(host, shop, order(), order(), order(), storage=storage)
    assert seen(first) == seen(again) == seen(third) == (201, b"order 1")
    assert shop.bodies == [b"beans"]
    assert first.lines("Idempotency-Replayed") == []
    assert again.lines("Idempotency-Replayed") == ["true"]
    assert again.lines("X-Order") == ["1"]
    assert again.lines("Content-Length") in (["7"], [])  # Django leaves it to CommonMiddleware


@every_host
def test_another_key_is_another_order(host, storage):
    shop = Shop()
    assert [each.body for each in served(host, shop, order("a"), order("b"), storage=storage)] == [
        b"order 1",
        b"order 2",
    ]


@every_host
def test_the_key_may_have_quotes_and_is_the_same_without(host):
    shop = Shop()
    assert {each.body for each in served(host, shop, order('"7f3a"'), order("7f3a"))} == {b"order 1"}


@every_host
@pytest.mark.parametrize(
    "other", [{"body": b"milk"}, {"query": "express=1"}, {"body": b""}], ids=["body", "query", "no body"]
)
def test_the_same_key_for_something_else_is_a_422(host, storage, other):
    shop = Shop()
    _, refused, again = served(host, shop, order(), order(**other), order(), storage=storage)
    assert refused.status == 422
    assert refused.lines("Content-Type") == ["application/problem+json"]
    assert refused.json()["detail"] == "this Idempotency-Key came with another request"
    assert seen(again) == (201, b"order 1")
    assert shop.orders == 1


@every_host
@pytest.mark.parametrize(
    "other",
    [
        {"method": "PATCH"},
        {"path": "/refunds"},
        {"Authorization": "Bearer b"},
        {"X_API_Key": "b"},
        {"Cookie": "session=b"},
    ],
    ids=["method", "path", "authorization", "api key", "cookie"],
)
def test_a_key_belongs_to_a_caller_a_method_and_a_path(host, other):
    shop = Shop()
    served(host, shop, order(), order(**other))
    assert shop.orders == 2


@every_host
def test_who_has_a_token_that_all_have_is_known_by_his_api_key_and_the_other_way_round(host):
    shop = Shop()
    served(host, shop, *(order(Authorization=token, X_API_Key=key) for token in "ab" for key in "cd"))
    assert shop.orders == 4


@every_host
def test_who_has_credentials_is_known_by_these_whatever_his_cookies(host):
    shop = Shop()
    served(host, shop, *(order(Authorization="Bearer a", Cookie=f"seen={n}") for n in range(2)))
    assert shop.orders == 1


@every_world
def test_who_has_logged_in_is_known_by_his_uid_whatever_his_token(world):
    made, orders = idempotency(logger=SILENT), []

    def endpoint(ctx):
        orders.append(1)
        return answers(201)(ctx)

    for token in "ab":
        headers = {"Idempotency-Key": "7f3a", "Authorization": token}
        world(made, on_server("POST", headers=headers, **{"fmtn.session": {"uid": 7}}), endpoint)
    assert len(orders) == 1


@every_world
@pytest.mark.parametrize(
    ("found_out", "done"),
    [
        ({"uid": 7}, 1),
        ({"fmtn.session": {"uid": 7}, "uid": 8}, 1),
        ({"fmtn.session": {}, "uid": 0}, 1),
        ({"fmtn.session": {"uid": ""}, "uid": 7}, 1),
        ({"uid": ""}, 2),
        ({"fmtn.session": {"uid": None}}, 2),
    ],
    ids=repr,
)
def test_the_user_is_that_of_the_session_else_of_the_context_and_an_empty_text_is_nobody(world, found_out, done):
    made, orders = idempotency(logger=SILENT), []

    def endpoint(ctx):
        orders.append(1)
        return answers(201)(ctx)

    for token in "ab":
        headers = {"Idempotency-Key": "7f3a", "Authorization": token}
        world(made, on_server("POST", headers=headers, **found_out), endpoint)
    assert len(orders) == done


@every_world
def test_users_without_a_session_do_not_get_each_others_answers_behind_one_token(world):
    made, orders = idempotency(logger=SILENT), []

    def endpoint(ctx):
        orders.append(ctx["uid"])
        return answers(201)(ctx)

    for uid in ("ann", "bob", "ann"):
        headers = {"Idempotency-Key": "7f3a", "Authorization": "that of the gateway"}
        world(made, on_server("POST", headers=headers, uid=uid), endpoint)
    assert orders == ["ann", "bob"]


@every_host
def test_no_secret_and_no_key_stands_in_redis(host, redis_server):
    with closing(Redis(redis_server.url)) as redis:
        served(host, Shop(), order("k3y", Authorization="Bearer s3cret"), storage=redis)
    (key,) = redis_server.keys()
    assert b"k3y" not in key
    assert b"s3cret" not in key
    assert b"s3cret" not in b"".join(redis_server.client.hgetall(key).values())


# Requests that it is not for


@every_host
@pytest.mark.parametrize("sent", [order(None), order(method="GET", body=b""), order(method="PUT")], ids=repr)
def test_without_a_key_and_with_another_method_nothing_is_done(host, sent):
    shop = Shop()
    assert [each.status for each in served(host, shop, sent, sent)] == [201, 201]
    assert shop.orders == 2


@every_host
def test_a_key_that_is_missing_is_a_400_where_it_is_required(host):
    shop = Shop()
    refused, get = served(host, shop, order(None), Sent(), required=True)
    assert (refused.status, refused.json()["detail"]) == (400, "this request needs a header Idempotency-Key")
    assert (get.status, shop.orders) == (201, 1)


@every_host
@pytest.mark.parametrize("key", ["", '"7f3a', "x" * 256])
def test_a_key_that_is_none_is_a_400(host, key):
    shop = Shop()
    (refused,) = served(host, shop, order(key))
    assert refused.status == 400
    assert refused.json()["detail"].startswith("Idempotency-Key: expected a key")
    assert shop.orders == 0


@every_host
def test_header_methods_and_caller_can_be_others(host):
    shop = Shop()
    settings = {"header": "X-Key", "methods": "PUT", "key": lambda ctx: ctx["fmtn.req.http"].headers.get("X-Tenant")}
    sent = [
        order(None, method="PUT", X_Key="1", X_Tenant=tenant, Authorization=tenant + str(n))
        for tenant in "ab"
        for n in (1, 2)
    ]
    assert [each.body for each in served(host, shop, *sent, **settings)] == [b"order 1"] * 2 + [b"order 2"] * 2
    served(host, shop, *[order(None, method="PUT", X_Key="1")] * 2, **settings)
    assert shop.orders == 4  # None passes


@every_world
@pytest.mark.parametrize("who", [7, ("a", 7), object()], ids=repr)
def test_a_caller_who_may_have_another_name_in_another_process_is_refused(world, who):
    error = world(idempotency(key=lambda ctx: who), on_server("POST", headers={"Idempotency-Key": "1"}), answers())
    assert type(error) is TypeError
    assert str(error) == f"expected from key a text, a tuple of texts, or None, got {who!r}"


@every_world
def test_on_a_client_around_a_function_and_on_a_websocket_it_does_nothing(world):
    made = idempotency(methods=["GET"], required=True)
    for ctx in ({}, {"fmtn.side": "client"}, on_server(**{"fmtn.kind": "websocket"})):
        out = world(made, ctx, lambda ctx: {**ctx, "asked": True})
        assert out["asked"]


@every_host
def test_the_app_gets_the_body_that_came(host):
    shop, body = Shop(), bytes(range(256)) * 1000
    served(host, shop, order(body=body))
    assert shop.bodies == [body]


def test_a_body_over_the_limit_of_the_edge_is_a_413_and_claims_nothing():
    shop = Shop()
    claims = MemoryClaims()
    for host in EDGES[:2]:
        built = host.build(shop, [idempotency(claims, logger=SILENT)], max_body=4)
        assert host.serve(built, order()).status == 413
    assert (shop.orders, len(claims)) == (0, 0)


# What frees the key


@every_host
@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_is_not_final_frees_the_key(host, storage, status):
    shop = Shop(Reply(status, [], [b"no"]))
    first, second, again = served(host, shop, order(), order(), order(), storage=storage)
    assert [seen(each) for each in (first, second, again)] == [(status, b"no"), (201, b"order 2"), (201, b"order 2")]


@every_host
@pytest.mark.parametrize("status", [200, 302, 400, 402, 404, 409, 422])
def test_a_status_that_is_final_is_kept(host, status):
    shop = Shop(Reply(status, [("Location", "/x")], [b"so"]))
    first, again = served(host, shop, order(), order())
    assert seen(first) == seen(again) == (status, b"so")
    assert again.lines("Location") == ["/x"]


@every_host
def test_an_answer_without_a_body_is_kept(host):
    shop = Shop(Reply(204, [], []))
    assert [seen(each) for each in served(host, shop, order(), order())] == [(204, b"")] * 2
    assert shop.orders == 1


@every_host
def test_which_status_is_final_can_be_said(host):
    shop = Shop(Reply(500, [], [b"no"]))
    assert [each.status for each in served(host, shop, order(), order(), keep=lambda status: True)] == [500, 500]
    assert shop.orders == 1


@every_host
def test_an_app_that_raises_frees_the_key(host, storage):
    shop = Shop(KeyError("no such bean"))
    _, second = served(host, shop, order(), order(), storage=storage)
    assert seen(second) == (201, b"order 2")


@every_world
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), asyncio.CancelledError(), ThrottleRejected("no"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
def test_a_cancelled_call_and_one_that_is_turned_away_free_the_key(world, storage, error):
    made = idempotency(storage, logger=SILENT)

    def ask(endpoint):
        return world(made, on_server("POST", headers={"Idempotency-Key": "1"}), endpoint)

    def fail(ctx):
        raise error

    assert ask(fail) is error
    assert ask(answers(201))["fmtn.res.http"].status_code == 201


@every_world
def test_what_a_middleware_inside_turns_away_is_not_kept_whatever_its_status(world):
    made = idempotency(keep=lambda status: True, logger=SILENT)

    def turned_away(ctx):
        ctx["fmtn.state"]["shed"] = "load_shed"
        return reply(ctx, 503)

    for endpoint, status in [(turned_away, 503), (answers(201), 201)]:
        out = world(made, on_server("POST", headers={"Idempotency-Key": "1"}), endpoint)
        assert out["fmtn.res.http"].status_code == status


# While the first is under way


@every_world
def test_while_the_first_is_under_way_others_with_its_key_get_a_409_and_another_body_a_422(world, storage):
    made, inner = idempotency(storage, logger=SILENT), []

    def ask(body, endpoint):
        return world(made, on_server("POST", headers={"Idempotency-Key": "1"}, body=body), endpoint)

    def endpoint(ctx):
        with threads() as run:
            inner.append(run(lambda: ask(b"beans", answers(500))))
            inner.append(run(lambda: ask(b"milk", answers(500))))
        return answers(201)(ctx)

    assert ask(b"beans", endpoint)["fmtn.res.http"].status_code == 201
    same, other = (each["fmtn.res.http"] for each in inner)
    assert (same.status_code, same.headers["Retry-After"]) == (409, "1")
    assert (other.status_code, "Retry-After" in other.headers) == (422, False)
    assert ask(b"beans", answers(500))["fmtn.res.http"].status_code == 201


class threads:  # noqa: N801  a with statement
    """Run something in a thread of its own, where there is no event loop yet."""

    def __enter__(self):
        return self.run

    def __exit__(self, *error):
        pass

    def run(self, fn):
        out = []
        thread = threading.Thread(target=lambda: out.append(fn()))
        thread.start()
        thread.join()
        return out[0]


@every_world
def test_after_its_lease_a_call_that_was_never_heard_of_again_counts_no_more(world):
    now = [0.0]
    made = idempotency(MemoryClaims(clock=lambda: now[0]), lease=60, logger=SILENT)
    said = []

    def ask(endpoint):
        with threads() as run:
            return run(lambda: world(made, on_server("POST", headers={"Idempotency-Key": "1"}), endpoint))

    def hang(ctx):
        now[0] += 60
        said.append(ask(answers(201))["fmtn.res.http"].status_code)
        return answers(202)(ctx)

    with capture_logs():
        assert ask(hang)["fmtn.res.http"].status_code == 202
    assert said == [201]
    assert ask(answers(500))["fmtn.res.http"].status_code == 201  # what was kept first, stays


# What is not kept


@every_host
def test_an_answer_that_is_too_long_goes_out_whole_and_the_work_is_not_done_twice(host, storage):
    def pieces():
        yield from [b"abcd"] * 5

    for reply_ in (Reply(200, [("ETag", '"a"')], [b"abcd"] * 5), Reply(200, [("ETag", '"a"')], pieces())):
        shop = Shop(reply_)
        key = str(id(reply_))
        first, again, third = served(host, shop, *[order(key)] * 3, storage=storage, max_body=10)
        assert seen(first) == (200, b"abcd" * 5)
        assert first.lines("ETag") == ['"a"']
        for each in (again, third):
            assert each.status == 409
            assert each.json()["detail"] == "what this Idempotency-Key asks for was done; its answer was not kept"
            assert each.lines("Retry-After") == []
        assert shop.orders == 1


@every_world
@pytest.mark.parametrize("taken", [0, 1, 4])
def test_where_nobody_wants_the_rest_of_an_answer_that_is_too_long_the_app_hears_of_it(world, taken):
    ended = []

    def endpoint(ctx):
        ctx = answers(201, body=iter([b"abcd"] * 5))(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: ended.append((count, type(error))))
        return ctx

    out = world(idempotency(max_body=10, logger=SILENT), on_server("POST", headers={"Idempotency-Key": "1"}), endpoint)
    chunks = iter(out["fmtn.res.http"].body)
    assert [next(chunks) for _ in range(taken)] == [b"abcd"] * taken
    assert ended == []
    out["fmtn.res.http"].close()
    assert ended == [(max(taken, 3) * 4, BodyAbandoned)]


@every_host
def test_an_answer_as_long_as_may_be_is_kept(host):
    shop = Shop(Reply(200, [], iter([b"12345", b"67890"])))
    first, again = served(host, shop, order(), order(), max_body=10)
    assert seen(first) == seen(again) == (200, b"1234567890")


@every_host
def test_a_stream_of_events_is_not_held_back(host):
    told = []

    def events():
        told.append("first")
        yield b"data: 1\n\n"
        told.append("second")
        yield b"data: 2\n\n"

    def outside(ctx, call):
        ctx = call(ctx)
        told.append("head")
        return ctx

    def inside(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].headers["Content-Type"] = "text/event-stream; charset=utf-8"
        return ctx

    shop = Shop(Reply(200, [], events()))
    built = host.build(shop, [outside, idempotency(logger=SILENT), inside])
    first, again = host.serve(built, order()), host.serve(built, order())
    assert first.body == b"data: 1\n\ndata: 2\n\n"
    assert told[:3] == ["head", "first", "second"]
    assert (again.status, shop.orders) == (409, 1)


@every_host
def test_an_answer_that_breaks_off_is_not_kept_and_the_work_is_not_done_twice(host):
    def broken():
        yield b"half"
        raise OSError("the disk has gone")

    shop = Shop(Reply(200, [], broken()))
    _, again = served(host, shop, order(), order())
    assert again.status == 409
    assert again.json()["detail"] == "what this Idempotency-Key asks for was done; its answer was not kept"
    assert shop.orders == 1


@every_host
def test_cookies_go_to_the_first_only(host):
    shop = Shop(Reply(201, [("Set-Cookie", "session=s3cret"), ("X-A", "1")], [b"so"]))
    first, again = served(host, shop, order(), order())
    assert first.lines("Set-Cookie") == ["session=s3cret"]
    assert again.lines("Set-Cookie") == []
    assert again.lines("X-A") == ["1"]


def test_the_answer_is_kept_before_it_goes_out():
    claims, shop = MemoryClaims(), Shop()
    made = idempotency(claims, logger=SILENT)

    def app(environ, start_response):
        shop.bodies.append(b"")
        start_response("201 Created", [])
        return iter([b"order 1"])

    wrapped, (wsgi, *_) = FormationMiddleware(app, [made]), EDGES

    def gone(status, headers):
        assert "1 done" in repr(claims)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        wrapped(environ_of(order()), gone)
    assert seen(wsgi.serve(wrapped, order())) == (201, b"order 1")
    assert shop.orders == 1


def test_a_task_that_is_cancelled_while_the_answer_is_gathered_has_done_the_work():
    calls, claims, begun = [], MemoryClaims(), asyncio.Event()

    async def app(scope, receive, send):
        calls.append(1)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        begun.set()
        await asyncio.Event().wait()

    wrapped = Asgi(app, [idempotency(claims, logger=SILENT)])

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def main():
        sent = []

        async def send(message):
            sent.append(message)

        task = asyncio.create_task(wrapped(scope_of(order()), receive, send))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await wrapped(scope_of(order(body=b"")), receive, send)
        return sent

    with capture_logs():
        sent = asyncio.run(main())
    assert [message.get("status") for message in sent] == [409, None]
    assert calls == [1]


def test_at_whatever_point_a_request_is_cancelled_it_can_come_again_and_is_done_once_if_it_was_done(redis_server):
    done = []

    async def app(scope, receive, send):
        done.append(dict(scope["headers"])[b"idempotency-key"])
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"order"})

    async def asked(wrapped, key, turns=None):
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        task = asyncio.create_task(wrapped(scope_of(order(key, body=b"")), receive, send))
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return sent[0]["status"] if sent else None

    async def main():
        came = []
        for turns in range(60):
            key = f"order-{turns}"
            came.append(await asked(here, key, turns))
            assert await asked(here, key) == 201
            assert done.count(key.encode()) <= 2
            await asked(here, f"{key}-next")  # and Redis is told what it has missed
            before = len(done)
            assert await asked(elsewhere, key) == 201
            assert len(done) == before
        return came

    with closing(Redis(redis_server.url)) as one, closing(Redis(redis_server.url)) as other:
        here, elsewhere = (Asgi(app, [idempotency(redis, logger=SILENT)]) for redis in (one, other))
        came = asyncio.run(main())
    assert came[0] is None
    assert len(done) < 3 * len(came)


def test_a_claim_in_a_chain_that_is_dropped_is_free_here_at_once(redis_server):
    class Suspended:
        def __await__(self):
            yield

    with closing(Redis(redis_server.url)) as redis:
        register = Register(redis, 100, 60, Events(SILENT), fail_open=True)
        claim = Claim("place", "print")
        assert register.claim(claim) is None

        def layer(ctx, call):
            try:
                await_(Suspended())
            finally:
                register.release(claim)

        async def endpoint(ctx):
            return ctx

        chain = wrap(endpoint, [layer])({})
        chain.send(None)
        chain.close()
        with closing(Redis(redis_server.url)) as other:
            elsewhere = Register(other, 100, 60, Events(SILENT), fail_open=True)
            assert elsewhere.claim(Claim("place", "print")).outcome is None
        assert register.claim(Claim("place", "print")) is None  # Redis has been told meanwhile


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_claim_that_redis_could_not_be_told_is_free_is_free_when_it_is_back(redis_server, fail_open):
    with closing(Redis(redis_server.url)) as redis, closing(Redis("redis://127.0.0.1:1")) as nowhere:
        register = Register(redis, 100, 60, Events(SILENT), fail_open=fail_open)
        claims = [Claim(str(number), "print") for number in range(3)]
        for claim in claims:
            assert register.claim(claim) is None
        register._shared.redis = nowhere
        for claim in claims:
            register.release(claim)
        register._shared.redis = redis
        assert register.claim(Claim("2", "print")) is None
        assert len(redis_server.keys()) == 1


def test_where_redis_has_got_a_claim_and_nobody_heard_of_it_it_is_free_when_redis_is_back(redis_server):
    with closing(Redis(redis_server.url)) as redis, closing(Redis("redis://127.0.0.1:1")) as nowhere:
        register = Register(redis, 100, 60, Events(SILENT), fail_open=False)
        claim = Claim("place", "print")
        register._shared.claim(claim.place, claim.token, claim.fingerprint, 60)
        register._shared.redis = nowhere
        with pytest.raises(StorageUnavailable):
            register.claim(claim)
        register._shared.redis = redis
        assert register.claim(Claim("place", "print")) is None


def test_to_free_a_key_takes_one_message_from_the_first_time_on_for_a_server_that_stops_has_no_time(redis_server):
    redis_server.flush()
    with closing(Redis(redis_server.url)) as redis:
        claims = RedisClaims(redis)
        assert claims.claim("place", "token", "print", 60) is None
        redis_server.client.config_resetstat()
        claims.release("place", "token")
    stats = redis_server.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in stats
    assert redis_server.keys() == []


def test_what_redis_missed_it_is_told_once_by_whichever_request(fresh_redis_server):
    async def endpoint(ctx):
        return ctx

    async def main():
        register = Register(nowhere, 100, 60, Events(SILENT), fail_open=True)
        for number in range(30):
            claim = Claim(f"missed-{number}", "print")
            assert register.claim(claim) is None
            register.keep(claim, lambda: ("done", ""), {})
        register._shared.redis = redis

        def claims(ctx, call):
            assert register.claim(Claim(ctx["place"], "print")) is None
            return call(ctx)

        await wrap(endpoint, [claims])({"place": "first"})
        fresh_redis_server.client.config_resetstat()
        await asyncio.gather(*[wrap(endpoint, [claims])({"place": f"{number}"}) for number in range(2)])
        return fresh_redis_server.client.info("commandstats")["cmdstat_evalsha"]["calls"]

    with closing(Redis(fresh_redis_server.url)) as redis, closing(Redis("redis://127.0.0.1:1")) as nowhere:
        assert asyncio.run(main()) == 20 + 2
    assert len(fresh_redis_server.keys()) == 30 + 3


def test_what_redis_was_not_asked_for_it_need_not_be_told():
    with closing(Redis("redis://127.0.0.1:1", pause=60)) as nowhere:
        register = Register(nowhere, 100, 60, Events(SILENT), fail_open=False)
        for place in "abc":
            with pytest.raises(StorageUnavailable):
                register.claim(Claim(place, "print"))
        assert [owed.place for owed in register._owed] == ["a"]


def test_a_release_that_is_cancelled_as_well_is_told_when_redis_is_back(fresh_redis_server):
    async def endpoint(ctx):
        return ctx

    async def main():
        register = Register(redis, 100, 60, Events(SILENT), fail_open=True)
        claim = Claim("place", "print")

        def claims(ctx, call):
            assert register.claim(claim) is None
            return call(ctx)

        def releases(ctx, call):
            register.release(claim)
            return call(ctx)

        await wrap(endpoint, [claims])({})
        fresh_redis_server.pause()
        task = asyncio.create_task(wrap(endpoint, [releases])({}))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        fresh_redis_server.go_on()
        return [owed.place for owed in register._owed]

    with closing(Redis(fresh_redis_server.url, timeout=60)) as redis:
        assert asyncio.run(main()) == ["place"]


def test_redis_is_told_of_the_request_that_was_done_and_not_of_one_with_its_key_that_failed(redis_server):
    with closing(Redis(redis_server.url)) as redis, closing(Redis("redis://127.0.0.1:1")) as nowhere:
        register = Register(nowhere, 100, 60, Events(SILENT), fail_open=True)
        failed, done = Claim("place", "one body"), Claim("place", "another")
        assert register.claim(failed) is None
        register.release(failed)
        assert register.claim(done) is None
        register.keep(done, lambda: ("done", ""), {})
        register._shared.redis = redis
        assert register.claim(Claim("elsewhere", "print")) is None
        assert RedisClaims(redis).claim("place", "a token", "another", 60) == ("another", "done")


def test_what_the_memory_has_forgotten_by_then_redis_is_not_told(fresh_redis_server, lone):
    register = Register(lone, 100, 60, Events(SILENT), fail_open=True)
    register._local.max_keys = 1
    fresh_redis_server.stop()
    for place in "ab":
        claim = Claim(place, "print")
        assert register.claim(claim) is None
        register.keep(claim, lambda: ("done", ""), {})
    fresh_redis_server.start()
    for place in "cde":
        assert register.claim(Claim(place, "print")) is None
    assert len(fresh_redis_server.keys()) == len("bcde")


def test_an_answer_that_says_how_long_it_is_is_not_read_where_that_is_too_long():
    read = []

    class File(list):
        length = 1000

        def __iter__(self):
            read.append(1)
            return super().__iter__()

    def endpoint(ctx):
        assert not read
        return answers(201, body=File([b"x" * 1000]))(ctx)

    ctx = on_server("POST", headers={"Idempotency-Key": "1"})
    out = idempotency(max_body=999, logger=SILENT)(ctx, endpoint)
    assert not read
    assert out["fmtn.res.http"].content == b"x" * 1000


@every_host
def test_where_redis_goes_the_key_of_an_app_that_raises_is_free_in_this_process(host, fresh_redis_server, lone):
    shop = Shop(KeyError("no such bean"))

    def app(seen):
        fresh_redis_server.stop()
        return shop(seen)

    built = host.build(app, [idempotency(lone, logger=SILENT)])
    host.serve(built, order())
    assert seen(host.serve(built, order())) == (201, b"order 2")


# Settings and events


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"ttl": 0}, "expected ttl as a number above 0, got 0"),
        ({"lease": -1}, "expected lease as a number above 0, got -1"),
        ({"max_body": -1}, "expected max_body as a whole number, 0 or more, got -1"),
        ({"header": "a b"}, "header name"),
        ({"replay_header": "a b"}, "header name"),
        ({"methods": ["P OST"]}, "method"),
    ],
    ids=repr,
)
def test_a_setting_that_cannot_be_is_refused(settings, error):
    with pytest.raises(ValueError, match=error):
        idempotency(**settings)


@pytest.mark.parametrize("name", ["key", "keep", "storage", "logger"])
def test_a_setting_of_another_type_is_refused(name):
    with pytest.raises(TypeError, match=f"expected {name if name != 'logger' else 'a logger'}"):
        idempotency(**{name: 42})


def test_a_client_of_redis_py_is_a_storage_as_with_the_other_middlewares(redis_server):
    (answer,) = served(EDGES[0], Shop(), order(), storage=redis_server.client)
    assert answer.status == 201
    assert len(redis_server.keys()) == 1


@every_host
def test_no_mark_where_none_is_wanted(host):
    _, again = served(host, Shop(), order(), order(), replay_header=None)
    assert again.lines("Idempotency-Replayed") == []


def test_it_says_what_it_does():
    wsgi, shop = EDGES[0], Shop(Reply(200, [], [b"long"]))
    built = wsgi.build(shop, [idempotency(max_body=3)])
    with capture_logs() as events:
        for sent in [order(), order(), order("b"), order("b"), order("b", b"milk")]:
            wsgi.serve(built, sent)
    done = "what this Idempotency-Key asks for was done; its answer was not kept"
    request = {"request": "POST /orders"}
    assert events == [
        {"event": "idempotency.not_kept", "log_level": "warning", "reason": "longer than 3 bytes", **request},
        {"event": "idempotency.rejected", "log_level": "warning", "status": 409, "reason": done, **request},
        {"event": "idempotency.not_kept", "log_level": "warning", "reason": "longer than 3 bytes", **request},
        {"event": "idempotency.rejected", "log_level": "warning", "status": 409, "reason": done, **request},
        {
            "event": "idempotency.rejected",
            "log_level": "warning",
            "status": 422,
            "reason": "this Idempotency-Key came with another request",
            **request,
        },
    ]


# Redis that does not answer


@every_host
def test_without_redis_it_goes_on_by_itself_and_says_so(host, fresh_redis_server, lone):
    shop = Shop()
    built = host.build(shop, [idempotency(lone)])
    fresh_redis_server.stop()
    with capture_logs() as events:
        first, again = host.serve(built, order()), host.serve(built, order())
    assert seen(first) == seen(again) == (201, b"order 1")
    assert shop.orders == 1
    assert [each["event"] for each in events] == ["storage.unavailable", "idempotency.replayed"]
    fresh_redis_server.start()
    assert seen(host.serve(built, order())) == (201, b"order 1")  # what was done meanwhile is known
    assert shop.orders == 1


@every_host
def test_without_redis_it_turns_keys_away_where_that_is_wanted(host, fresh_redis_server, lone):
    shop = Shop()
    built = host.build(shop, [idempotency(lone, fail_open=False, logger=SILENT)])
    fresh_redis_server.stop()
    refused, passes = host.serve(built, order()), host.serve(built, order(None))
    assert (refused.status, passes.status) == (503, 201)
    assert refused.lines("Retry-After")
    assert shop.orders == 1


@every_host
def test_where_redis_goes_while_the_app_works_the_answer_goes_out_and_this_process_knows_it(
    host, fresh_redis_server, lone
):
    shop = Shop()

    def app(seen):
        fresh_redis_server.stop()
        return shop(seen)

    built = host.build(app, [idempotency(lone, logger=SILENT)])
    assert seen(host.serve(built, order())) == (201, b"order 1")
    assert seen(host.serve(built, order())) == (201, b"order 1")
    assert shop.orders == 1


@every_host
def test_what_redis_does_not_know_of_it_is_told_when_it_is_back(host, fresh_redis_server, lone):
    shop = Shop()

    def app(seen):
        fresh_redis_server.pause()
        try:
            return shop(seen)
        finally:
            if shop.orders == 2:
                fresh_redis_server.go_on()

    def ask(built, *sent):
        return [seen(host.serve(built, each)) for each in sent]

    built = host.build(app, [idempotency(lone, logger=SILENT)])
    assert ask(built, order("a")) == [(201, b"order 1")]
    fresh_redis_server.go_on()
    assert ask(built, order("b")) == [(201, b"order 2")]
    with closing(Redis(fresh_redis_server.url)) as redis:
        elsewhere = host.build(shop, [idempotency(redis, logger=SILENT)])
        assert ask(elsewhere, order("a"), order("b")) == [(201, b"order 1"), (201, b"order 2")]


@pytest.mark.parametrize(("workers", "said"), [("4", [{"processes": 4}]), ("1", []), ("", []), ("many", [])])
def test_the_memory_of_one_process_of_several_says_that_it_is(monkeypatch, workers, said):
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    with capture_logs() as events:
        idempotency()
        idempotency(MemoryClaims())
    assert events == [{"event": "idempotency.per_process", "log_level": "warning", **each} for each in said]


def test_what_another_middleware_inside_sheds_is_asked_again():
    wsgi, shop = EDGES[0], Shop()
    built = wsgi.build(shop, [idempotency(logger=SILENT), load_shed(logger=SILENT)])
    assert seen(wsgi.serve(built, order())) == (201, b"order 1")
