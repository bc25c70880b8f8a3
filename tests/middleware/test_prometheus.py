import asyncio
import gc
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from formation import for_aiohttp, for_asgi, for_requests, for_wsgi, reply
from formation.errors import BulkheadRejected, ClientGone, ConnectError, DeadlineExceeded
from formation.http import Body, Request, Response
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    cache,
    circuit_breaker,
    fallback,
    prometheus,
    retry,
    throttle,
)
from formation.middleware.prometheus import MOST
from formation.telemetry.measured import BUCKETS
from formation.telemetry.metrics import FAMILIES, metrics_of
from tests.middleware.worlds import app, every_lift, every_world, on_server

CALL = {"side": "client", "kind": "http", "origin": "https://h", "route": "/items/{id}", "method": "GET"}


@pytest.fixture
def registry():
    return CollectorRegistry()


def samples(registry, name):
    """What Prometheus would read: the lines of that name, as labels and value."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return [(sample.labels, sample.value) for family in families for sample in family.samples if sample.name == name]


def one(registry, name):
    [found] = samples(registry, name)
    return found


def get(url="https://h/items/7", method="GET", template="/items/{id}", **more):
    return {
        "fmtn.side": "client",
        "fmtn.kind": "http",
        "fmtn.req.http": Request(method, url, template=template),
        **more,
    }


def answer(status=200, body=b""):
    return lambda ctx: reply(ctx, status, body=body)


def raising(error):
    def endpoint(ctx):
        raise error

    return endpoint


@every_world
def test_calls_are_counted_and_timed(world, registry):
    middleware = prometheus(registry)
    for status in (200, 204, 404, 503):
        world(middleware, get(), answer(status))
    assert samples(registry, "formation_requests_total") == [
        ({**CALL, "status": "2xx", "outcome": "ok"}, 2),
        ({**CALL, "status": "4xx", "outcome": "ok"}, 1),
        ({**CALL, "status": "5xx", "outcome": "failed"}, 1),
    ]
    assert one(registry, "formation_request_duration_seconds_count") == (CALL, 4)
    assert one(registry, "formation_requests_in_flight")[1] == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectError("no"), "failed"),
        (BulkheadRejected("full", name="h"), "rejected"),
        (DeadlineExceeded("late"), "deadline"),
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
@every_world
def test_an_error_is_an_outcome(world, registry, error, outcome):
    assert type(world(prometheus(registry), get(), raising(error))) is type(error)
    assert one(registry, "formation_requests_total") == ({**CALL, "status": "", "outcome": outcome}, 1)
    assert one(registry, "formation_requests_in_flight")[1] == 0


def test_a_client_that_has_gone_is_no_failure(registry):
    with pytest.raises(ClientGone):
        prometheus(registry)(on_server(), raising(ClientGone("gone")))
    assert one(registry, "formation_requests_total")[0]["outcome"] == "disconnected"


def test_an_answer_in_place_of_a_failure_is_degraded(registry):
    with for_requests.build(
        base_uri="https://h", middleware=[prometheus(registry), fallback("sorry")], endpoint=answer(503)
    ) as client:
        client.get("/items/{id}", path={"id": 7})
    assert one(registry, "formation_requests_total")[0]["outcome"] == "degraded"


def test_calls_under_way_are_counted(registry):
    during = []

    def endpoint(ctx):
        during.append(one(registry, "formation_requests_in_flight"))
        return reply(ctx, 200)

    prometheus(registry)(get(), endpoint)
    assert during == [({"side": "client", "kind": "http", "origin": "https://h"}, 1)]


@every_lift
def test_a_function_is_counted_by_its_name(lifted, registry):
    def area(width, height):
        return width * height

    assert lifted([prometheus(registry)], area, 3, 4)[0] == 12
    labels, _ = one(registry, "formation_requests_total")
    assert (labels["kind"], labels["route"], labels["outcome"]) == ("call", "area", "ok")


def test_a_server_is_counted_by_its_route_when_the_body_has_been_sent(registry):
    out = prometheus(registry)(on_server(), app(200, template="/users/{id}"))
    assert not samples(registry, "formation_requests_total")
    assert one(registry, "formation_requests_in_flight")[1] == 1
    list(out["fmtn.res.http"].body)
    labels, _ = one(registry, "formation_requests_total")
    assert (labels["side"], labels["origin"], labels["route"]) == ("server", "", "/users/{id}")
    assert one(registry, "formation_requests_in_flight")[1] == 0


def test_a_websocket_is_counted_and_not_timed(registry):
    prometheus(registry)(on_server(**{"fmtn.kind": "websocket", "fmtn.template": "/talk"}), answer(403))
    assert one(registry, "formation_requests_total")[0]["route"] == "/talk"
    assert not samples(registry, "formation_request_duration_seconds_count")


@pytest.mark.parametrize(("code", "outcome"), [("OK", "ok"), ("NOT_FOUND", "ok"), ("UNAVAILABLE", "failed")])
def test_a_remote_call_is_counted_by_its_method_and_code(registry, code, outcome):
    rpc = pytest.importorskip("formation.rpc")

    def endpoint(ctx):
        ctx["fmtn.res.rpc"] = rpc.Result(code)
        return ctx

    call = rpc.Call("/shop.Users/Get")
    prometheus(registry)({"fmtn.side": "client", "fmtn.req.rpc": call, "fmtn.template": call.method}, endpoint)
    labels, value = one(registry, "formation_requests_total")
    assert (labels["kind"], labels["route"], labels["method"]) == ("rpc", "/shop.Users/Get", "")
    assert (labels["status"], labels["outcome"], value) == (code, outcome, 1)


def test_neither_a_url_nor_a_made_up_method_becomes_a_label(registry):
    middleware = prometheus(registry)
    middleware(get("https://h/items/secret?token=1", "BREW", None, **{"fmtn.template": "/items/secret"}), answer())
    assert "secret" not in generate_latest(registry).decode()
    labels, _ = one(registry, "formation_requests_total")
    assert (labels["route"], labels["method"]) == ("", "_OTHER")


def test_labels_are_bounded(registry):
    middleware = prometheus(registry, most=10)
    for number in range(50):
        middleware(get(f"https://h{number}/", template=f"/{number}"), answer())
    found = samples(registry, "formation_requests_total")
    assert len(found) <= 11
    assert sum(value for _, value in found) == 50
    others = [value for labels, value in found if labels["origin"] == labels["route"] == "other"]
    assert len(others) == 1
    assert others[0] >= 40
    assert len(samples(registry, "formation_requests_in_flight")) <= 11
    assert all(value == 0 for _, value in samples(registry, "formation_requests_in_flight"))


def test_two_middlewares_share_what_is_in_one_registry(registry):
    prometheus(registry)(get(), answer())
    prometheus(registry)(get(), answer())
    assert one(registry, "formation_requests_total")[1] == 2
    prometheus(registry, namespace="attempts")(get(), answer())
    assert one(registry, "attempts_requests_total")[1] == 1


def test_the_same_names_with_other_buckets_are_refused(registry):
    prometheus(registry)
    with pytest.raises(ValueError, match="give them another namespace"):
        prometheus(registry, buckets=[1, 2])
    prometheus(registry, buckets=[1, 2], namespace="slow")(get(), answer())
    bounds = [labels["le"] for labels, _ in samples(registry, "slow_request_duration_seconds_bucket")]
    assert bounds == ["1.0", "2.0", "+Inf"]


def test_buckets_and_limits_that_are_none_are_refused(registry):
    with pytest.raises(ValueError, match="Buckets not in sorted order"):
        prometheus(registry, buckets=[2, 1])
    with pytest.raises(ValueError, match="most"):
        prometheus(registry, most=0)
    prometheus(registry)


def test_a_name_that_is_taken_is_refused(registry):
    Counter("formation_retries_total", "Somebody else's.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus(registry)


def test_retries_are_counted_once_around_them(registry):
    statuses = [503, 503, 200]
    with for_requests.build(
        base_uri="https://h",
        middleware=[prometheus(registry), retry(base=0), prometheus(registry, namespace="attempts")],
        endpoint=lambda ctx: reply(ctx, statuses.pop(0)),
    ) as client:
        client.get("/items/{id}", path={"id": 7})
    assert one(registry, "formation_retries_total")[1] == 2
    assert one(registry, "formation_requests_total")[1] == 1
    assert sum(value for _, value in samples(registry, "attempts_requests_total")) == 3
    assert not samples(registry, "attempts_retries_total")


def test_what_the_cache_does_is_counted(registry):
    def endpoint(ctx):
        return reply(ctx, 200, {"Cache-Control": "max-age=60"}, b"kept")

    with for_requests.build(
        base_uri="https://h", middleware=[prometheus(registry), cache()], endpoint=endpoint
    ) as client:
        for _ in range(3):
            client.get("/items/{id}", path={"id": 7})
        client.post("/items/{id}", path={"id": 7})
    found = {labels["outcome"]: value for labels, value in samples(registry, "formation_cache_total")}
    assert found == {"uri-miss": 1, "hit": 2, "method": 1}


def test_what_is_watched_is_read_at_each_scrape(registry):
    statuses = [200] * 3 + [503] * 10
    metrics = prometheus(registry)
    breaker = circuit_breaker(fail_max=2)
    stack = [metrics, retry(2, base=0), breaker, throttle(1000), bulkhead(3), adaptive_limit(initial=5)]
    seen = {}

    def endpoint(ctx):
        for name in FAMILIES:
            seen.setdefault(name, samples(registry, f"formation_{name}"))
        return reply(ctx, statuses.pop(0))

    with for_requests.build(base_uri="https://h", middleware=stack, endpoint=endpoint) as client:
        assert metrics.watch(client) is None
        metrics.watch(client)  # twice is once
        client.get("/")
        key = {"key": "https://h"}
        assert seen["bulkhead_in_use"] == [(key, 1)]
        assert seen["bulkhead_waiting"] == [(key, 0)]
        assert seen["bulkhead_limit"] == [(key, 3)]
        assert seen["adaptive_limit_in_use"] == [(key, 1)]
        assert seen["adaptive_limit_limit"] == [(key, 5)]
        assert seen["throttle_booked_seconds"][0][1] <= 0.001
        circuit = {"circuit": "https://h"}
        assert seen["circuits"] == [
            ({**circuit, "state": "closed"}, 1),
            ({**circuit, "state": "half-open"}, 0),
            ({**circuit, "state": "open"}, 0),
        ]
        assert not samples(registry, "formation_retry_budget_spent")
        statuses[:] = [503] * 10
        client.get("/")
    assert samples(registry, "formation_circuits")[2] == ({**circuit, "state": "open"}, 1)
    assert samples(registry, "formation_bulkhead_in_use") == [(key, 0)]
    assert samples(registry, "formation_retry_budget_spent") == [(key, 14)]
    assert samples(registry, "formation_retry_budget_capacity") == [(key, 500)]


def test_what_is_watched_may_go(registry):
    metrics = prometheus(registry)
    metrics.watch([bulkhead(3), metrics])
    assert not samples(registry, "formation_bulkhead_limit")


def test_circuits_beyond_the_limit_are_summed_up(registry):
    metrics, breaker = prometheus(registry, most=6), circuit_breaker()
    metrics.watch([breaker])
    for number in range(5):
        breaker(get(f"https://h{number}/"), answer())
    breaker.gates["https://h4"].open()
    found = {(labels["circuit"], labels["state"]): value for labels, value in samples(registry, "formation_circuits")}
    assert found["other", "closed"] == 2
    assert found["other", "open"] == 1
    assert len(found) == 9


@pytest.mark.parametrize("stack", [42, "retry", len])
def test_only_stacks_are_watched(registry, stack):
    with pytest.raises(TypeError, match="expected a list of middleware"):
        prometheus(registry).watch(stack)


def test_a_scrape_does_not_change_what_is_kept(registry):
    metrics, breaker = prometheus(registry), circuit_breaker()
    metrics.watch([breaker])
    generate_latest(registry)
    assert len(breaker.gates) == 0


def test_a_stream_that_is_forgotten_ends_in_a_collection_which_waits_for_no_lock(registry):
    middleware = prometheus(registry)

    def forget():
        request = Request("GET", "https://h/", template="/forgotten")
        response = Response(200, body=Body(iter([b"a", b"b"])), request=request)
        ctx = {"fmtn.side": "client", "fmtn.kind": "http", "fmtn.req.http": request}
        out = middleware(ctx, lambda ctx: ctx | {"fmtn.res.http": response})
        chunks = iter(out["fmtn.res.http"].body)
        next(chunks)
        circle = [chunks]
        circle.append(circle)

    metrics = metrics_of(registry, "formation", BUCKETS, MOST)
    gc.disable()
    try:
        forget()
        with metrics.requests._lock:  # as a scrape has it, or a call that is counted for the first time
            gc.collect()
    finally:
        gc.enable()
    assert not samples(registry, "formation_requests_total")
    middleware(get(), answer())
    assert {labels["route"]: value for labels, value in samples(registry, "formation_requests_total")} == {
        "/items/{id}": 1,
        "/forgotten": 1,
    }


def test_real_edges_are_counted(registry, server):
    shop = Flask("shop")

    @shop.get("/items/<int:number>")
    def item(number):
        return {"number": number}

    served = for_wsgi.FormationMiddleware(shop, [prometheus(registry)])
    with for_requests.build(base_uri="http://shop", endpoint=for_wsgi.endpoint(served)) as client:
        client.get("/items/7")
        client.get("/nowhere")

    async def hello(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"oh"})

    async def ask():
        around = for_asgi.FormationMiddleware(hello, [prometheus(registry)])
        async with for_aiohttp.build(base_uri="http://shop", endpoint=for_asgi.endpoint(around)) as client:
            await client.get("/")
        async with for_aiohttp.build(base_uri=server.url, middleware=[prometheus(registry)]) as client:
            await client.get("/status/{code}", path={"code": 404})

    asyncio.run(ask())
    found = {
        (labels["side"], labels["route"], labels["status"], labels["outcome"]): value
        for labels, value in samples(registry, "formation_requests_total")
    }
    assert found == {
        ("server", "/items/{number}", "2xx", "ok"): 1,
        ("server", "", "4xx", "ok"): 1,
        ("server", "", "5xx", "failed"): 1,
        ("client", "/status/{code}", "4xx", "ok"): 1,
    }


def test_processes_add_up(tmp_path: Path):
    program = """
from formation import lift
from formation.middleware import prometheus
area = lift(lambda: 12, middleware=[prometheus()])
area()
"""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    read = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=50
        ).stdout
        for code in (program, program, read)
    ]
    families = text_string_to_metric_families(told[2])
    values = [each.value for family in families for each in family.samples if each.name == "formation_requests_total"]
    assert values == [2]


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "formation.telemetry.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'formation\[prometheus\]'"):
        prometheus()
