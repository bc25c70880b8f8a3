import asyncio
import contextvars
import importlib
import logging
import pkgutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from flask import Flask
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from websockets.asyncio.client import connect

import formation.middleware.otel as module  # the function: that is what the package gives
from formation import ambient, for_aiohttp, for_asgi, for_httpx, for_requests, for_wsgi, lift, reply, wrap
from formation.errors import ClientGone, ConnectError, StatusError
from formation.http import Request
from formation.middleware import otel, raise_for_status, retry
from formation.telemetry.measured import BUCKETS
from tests.middleware.worlds import app, every_lift, every_world, on_server

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331

ERROR, UNSET = StatusCode.ERROR, StatusCode.UNSET


class Told:
    """What OpenTelemetry itself has been told."""

    def __init__(self, **settings):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False, **settings)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def otel(self, **settings):
        return otel(self.tracers, self.meters, **settings)

    @property
    def spans(self):
        return list(self.exporter.get_finished_spans())

    def in_the_end(self, count):
        """Return the spans, once there are so many: a server's ends after its client has the answer."""
        until = time.monotonic() + 20
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.01)
        return self.spans

    @property
    def span(self):
        (span,) = self.spans
        return span

    @property
    def metrics(self):
        """By name: the data points, as pairs of attributes and point."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = [each for scope in data.resource_metrics[0].scope_metrics for each in scope.metrics]
        return {each.name: [(dict(point.attributes), point) for point in each.data.data_points] for each in found}


@pytest.fixture
def told():
    return Told()


@pytest.fixture(autouse=True)
def _nothing_is_left(caplog):
    before = contexts.get_current()
    yield
    assert contexts.get_current() == before, "a span is still current"
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")], "OpenTelemetry complains"


def get(url="https://h:8443/items/7?page=2", method="GET", template="/items/{id}", **more):
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


def header(span):
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@every_world
def test_a_client_has_a_span_and_sends_its_trace_along(world, told):
    ctx = get()
    world(told.otel(), ctx, answer())
    span = told.span
    assert (span.name, span.kind, span.parent, span.status.status_code) == (
        "GET /items/{id}",
        SpanKind.CLIENT,
        None,
        UNSET,
    )
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "h",
        "server.port": 8443,
        "url.full": "https://h:8443/items/7?page=2",
        "url.scheme": "https",
        "url.template": "/items/{id}",
    }
    assert span.instrumentation_scope.name == "formation"
    assert ctx["fmtn.req.http"].headers.getlist("traceparent") == [header(span)]


@every_world
def test_a_server_continues_the_trace_and_is_named_by_the_route(world, told):
    seen = []

    def endpoint(ctx):
        seen.append((trace.get_current_span().get_span_context().span_id, baggage.get_baggage("tenant")))
        return app(200, body=b"", template="/users/{id}")(ctx)

    ctx = on_server(
        headers={"traceparent": PARENT, "baggage": "tenant=blue", "user-agent": "curl/8"},
        url="https://shop/users/7?token=s3cret",
        **{"fmtn.native": {"scope": {"http_version": "2"}}},
    )
    out = world(told.otel(), ctx, endpoint)
    out["fmtn.res.http"].close()
    span = told.span
    assert (span.name, span.kind, span.context.trace_id, span.parent.span_id) == (
        "GET /users/{id}",
        SpanKind.SERVER,
        TRACE,
        SPAN,
    )
    assert seen == [(span.context.span_id, "blue")]
    assert span.attributes == {
        "client.address": "192.0.2.7",
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/users/{id}",
        "network.peer.address": "192.0.2.7",
        "network.protocol.version": "2",
        "server.address": "shop",
        "server.port": 443,
        "url.path": "/users/7",
        "url.query": "token=REDACTED",
        "url.scheme": "https",
        "user_agent.original": "curl/8",
    }


@every_lift
def test_a_function_has_a_span_of_its_name(lifted, told):
    def area(width, height):
        assert trace.get_current_span().is_recording()
        return width * height

    assert lifted([told.otel()], area, 3, 4)[0] == 12
    assert (told.span.name, told.span.kind) == ("area", SpanKind.INTERNAL)
    assert told.span.attributes["code.function.name"].endswith("test_a_function_has_a_span_of_its_name.<locals>.area")
    assert not told.metrics


def test_every_name_is_one_of_the_conventions(told):
    known = set()
    for package in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
        for each in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            known |= {value for value in vars(importlib.import_module(each.name)).values() if isinstance(value, str)}
    direct = told.otel()
    direct(get(method="BREW", attempt=2), answer(404))
    out = direct(on_server(url="https://shop/?a=1", headers={"user-agent": "x"}), app(500, template="/"))
    out["fmtn.res.http"].close()
    direct({"fmtn.fn": len}, lambda ctx: ctx)
    used = {name for span in told.spans for name in span.attributes}
    assert len(used) > 15
    assert used <= known, used - known


@pytest.mark.parametrize("status", [200, 301, 404, 500])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_client_takes_404_for_an_error_and_a_server_does_not(told, side, status):
    if side == "client":
        told.otel()(get(), answer(status))
    else:
        told.otel()(on_server(), answer(status))
    is_error = status >= (400 if side == "client" else 500)
    assert told.span.status.status_code is (ERROR if is_error else UNSET)
    assert told.span.status.description is None
    assert told.span.attributes.get("error.type") == (str(status) if is_error else None)
    [(attributes, _)] = told.metrics[f"http.{side}.request.duration"]
    assert attributes.get("error.type") == (str(status) if is_error else None)


@every_world
def test_an_exception_is_recorded_without_its_secrets(world, told):
    error = ConnectError("no way to https://me:pw@h/?token=1")
    assert world(told.otel(), get(), raising(error)) is error
    span = told.span
    assert (span.status.status_code, span.status.description) == (
        ERROR,
        "no way to https://[redacted]@h/?token=[redacted]",
    )
    assert span.attributes["error.type"] == "formation.errors.ConnectError"
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "formation.errors.ConnectError"
    assert "ConnectError: no way to https://[redacted]@h/?token=[redacted]" in event.attributes["exception.stacktrace"]
    assert "http.response.status_code" not in span.attributes


@every_world
@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_call_that_is_cancelled_is_an_error_and_no_exception(world, told, error):
    assert type(world(told.otel(), get(), raising(error))) is type(error)
    assert told.span.status.status_code is ERROR
    assert told.span.attributes["error.type"].endswith(type(error).__name__)
    assert not told.span.events


def test_a_client_that_has_gone_is_an_error_and_no_exception(told):
    with pytest.raises(ClientGone):
        told.otel()(on_server(), raising(ClientGone("gone")))
    assert told.span.attributes["error.type"] == "formation.errors.ClientGone"
    assert not told.span.events


def test_what_only_tells_its_path_is_named_by_the_method(told):
    told.otel()(get(template=None, **{"fmtn.template": "/items/7"}), answer())
    assert told.span.name == "GET"
    assert "url.template" not in told.span.attributes


def test_a_word_that_somebody_made_up_is_no_method_of_its_own(told):
    told.otel()(get(method="BREW"), answer())
    assert told.span.name == "HTTP /items/{id}"
    assert told.span.attributes["http.request.method"] == "_OTHER"
    assert told.span.attributes["http.request.method_original"] == "BREW"
    told.otel(methods=["GET", "BREW"])(get(method="BREW"), answer())
    assert told.spans[1].name == "BREW /items/{id}"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("/items/7", {}),
        ("https://[::1]/", {"server.address": "::1", "server.port": 443, "url.scheme": "https"}),
        ("http://h:77777/", {}),  # no port
        ("unix://h/", {"server.address": "h", "url.scheme": "unix"}),
    ],
)
def test_a_url_may_have_no_place(told, url, place):
    told.otel()(get(url), answer())
    names = {"server.address", "server.port", "url.scheme"}
    assert {name: value for name, value in told.span.attributes.items() if name in names} == place


def test_a_server_may_not_know_who_asks_for_what(told):
    ctx = on_server("BREW", url="/users")
    ctx["fmtn.req.http"].peer = None
    ctx["fmtn.native"] = {"environ": {"SERVER_PROTOCOL": "HTTP/7.7"}}
    told.otel()(ctx, answer())
    assert told.span.name == "HTTP"
    assert told.span.attributes == {
        "http.request.method": "_OTHER",
        "http.request.method_original": "BREW",
        "http.response.status_code": 200,
        "url.path": "/users",
        "url.scheme": "http",
    }


def test_a_context_of_nothing_known_has_a_span_all_the_same(told):
    told.otel()({}, lambda ctx: ctx)
    assert (told.span.name, dict(told.span.attributes)) == ("call", {})


def test_an_error_that_has_a_response_has_its_status(told):
    with (
        for_requests.build(
            base_uri="https://h", middleware=[told.otel(), raise_for_status()], endpoint=answer(404)
        ) as client,
        pytest.raises(StatusError),
    ):
        client.get("/")
    assert told.span.attributes["http.response.status_code"] == 404
    assert told.span.attributes["error.type"] == "formation.errors.StatusError"


def test_the_version_of_the_protocol_is_told_where_the_library_does(told, server):
    with for_httpx.build(base_uri=server.url, middleware=[told.otel()]) as client:
        client.get("/echo")
    assert told.span.attributes["network.protocol.version"] == "1.1"


def test_a_chain_that_is_collected_elsewhere_leaves_what_is_current_there(told):
    async def wait(ctx):
        await asyncio.get_running_loop().create_future()

    async def main():
        chain = wrap(wait, [told.otel()])({})
        contextvars.copy_context().run(chain.send, None)
        with told.tracers.get_tracer("another").start_as_current_span("mine") as mine:
            chain.close()
            assert trace.get_current_span() is mine

    asyncio.run(main())
    assert sorted(span.name for span in told.spans) == ["call", "mine"]


def test_a_body_that_ends_elsewhere_leaves_what_is_current_there(told):
    async def main():
        chain = wrap(app(200), [told.otel()], is_async=True)
        return await asyncio.create_task(chain(on_server()))

    out = asyncio.run(main())
    with told.tracers.get_tracer("another").start_as_current_span("mine") as mine:
        out["fmtn.res.http"].close()
        assert trace.get_current_span() is mine


def test_secrets_do_not_get_into_a_url(told):
    url = "https://me:pw@h/a?api_key=1&mine=2&page=3"
    told.otel()(get(url, **{"fmtn.sensitive": {"mine"}}), answer())
    assert told.span.attributes["url.full"] == ("https://REDACTED:REDACTED@h/a?api_key=REDACTED&mine=REDACTED&page=3")


# Attempts


def test_each_attempt_has_a_span_and_says_which_it_is(told):
    statuses, sent = [503, 503, 200], []

    def endpoint(ctx):
        sent.append(ctx["fmtn.req.http"].headers.getlist("traceparent"))
        return reply(ctx, statuses.pop(0))

    with for_requests.build(base_uri="https://h", middleware=[retry(base=0), told.otel()], endpoint=endpoint) as client:
        assert client.get("/items/{id}", path={"id": 7}).status_code == 200
    spans = told.spans
    assert [span.attributes.get("http.request.resend_count") for span in spans] == [None, 1, 2]
    assert [[header(span)] for span in spans] == sent


def test_one_span_around_all_attempts_says_how_many_there_were(told):
    statuses = [503, 503, 200]
    with for_requests.build(
        base_uri="https://h",
        middleware=[told.otel(), retry(base=0)],
        endpoint=lambda ctx: reply(ctx, statuses.pop(0)),
    ) as client:
        client.get("/items")
    assert told.span.attributes["http.request.resend_count"] == 2


# The trace


def test_a_client_below_a_server_is_its_child_by_opentelemetry_alone(told):
    def endpoint(ctx):
        told.otel()(get(), answer())
        return reply(ctx, 200)

    told.otel()(on_server(headers={"traceparent": PARENT}), endpoint)
    client, server = told.spans
    assert client.parent.span_id == server.context.span_id
    assert client.context.trace_id == TRACE


@pytest.mark.parametrize("is_told", [True, False])
def test_a_client_that_knows_nothing_sends_the_span_of_the_server(told, is_told):
    sent = []

    def stock(ctx):
        sent.append(ctx["fmtn.req.http"].headers.getlist("traceparent"))
        return reply(ctx, 200)

    def view(environ, start_response):
        start_response("200 OK", [])

        def late():  # iterated by the server, when the chain is through
            client.get("/")
            yield b"done"

        return late()

    with (
        for_requests.build(base_uri="https://h", endpoint=stock, middleware=[told.otel()] if is_told else []) as client,
        for_requests.build(
            base_uri="https://shop", endpoint=for_wsgi.endpoint(for_wsgi.FormationMiddleware(view, [told.otel()]))
        ) as caller,
    ):
        caller.get("/", headers={"traceparent": PARENT, "tracestate": "a=1"})
    server = next(span for span in told.spans if span.kind is SpanKind.SERVER)
    if is_told:
        client_span = next(span for span in told.spans if span.kind is SpanKind.CLIENT)
        assert client_span.parent.span_id == server.context.span_id
        assert sent == [[header(client_span)]]
    else:
        assert sent == [[header(server)]]


def test_inside_of_another_server_span_there_is_an_internal_one(told):
    tracer = told.tracers.get_tracer("another")
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER):
        told.otel()(on_server(headers={"traceparent": PARENT}), answer())
    inner, outer = told.spans
    assert (inner.kind, inner.parent.span_id) == (SpanKind.INTERNAL, outer.context.span_id)


def test_what_is_not_sampled_is_handed_on_and_measured():
    told, ctx = Told(sampler=ALWAYS_OFF), get()
    told.otel()(ctx, answer())
    assert not told.spans
    assert ctx["fmtn.req.http"].headers["traceparent"][-2:] in {"00", "02"}  # the bit of "sampled" is not set
    assert [point.count for _, point in told.metrics["http.client.request.duration"]] == [1]


def test_another_propagator_writes_its_own_headers(told):
    class Mine:
        fields = frozenset({"x-trace"})

        def inject(self, carrier, context, setter=None):
            carrier["x-trace"] = "here"

        def extract(self, carrier, context, getter):
            read.update({name: getter.get(carrier, name) for name in getter.keys(carrier)})
            return context

    ctx, read = get(), {}
    told.otel(propagator=Mine())(ctx, answer())
    assert ctx["fmtn.req.http"].headers["x-trace"] == "here"
    assert "traceparent" not in ctx["fmtn.req.http"].headers
    assert not read
    told.otel(propagator=Mine())(on_server(headers=[("x-trace", "a"), ("x-trace", "b")]), answer())
    assert read == {"x-trace": ["a", "b"]}


def test_tasks_have_their_own_spans(told):
    seen = {}

    async def view(number):
        await asyncio.sleep(0)
        seen[number] = trace.get_current_span().get_span_context().span_id
        return number

    lifted = lift(view, middleware=[told.otel()])

    async def all_of_them():
        await asyncio.gather(*map(lifted, range(20)))

    asyncio.run(all_of_them())
    assert len(set(seen.values())) == 20
    assert set(seen.values()) == {span.context.span_id for span in told.spans}


# Metrics


def test_durations_are_measured_by_the_conventions(told):
    told.otel()(get(), answer())
    told.otel()(on_server(), app(200, body=b"", template="/users/{id}"))["fmtn.res.http"].close()
    [(attributes, point)] = told.metrics["http.client.request.duration"]
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "h",
        "server.port": 8443,
        "url.scheme": "https",
        "url.template": "/items/{id}",
    }
    assert point.explicit_bounds == BUCKETS
    [(attributes, _)] = told.metrics["http.server.request.duration"]
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/users/{id}",
        "url.scheme": "https",
    }


def test_requests_under_way_are_counted(told):
    during = []

    def endpoint(ctx):
        during.extend(point.value for _, point in told.metrics["http.server.active_requests"])
        raise OSError(5, "disk")

    with pytest.raises(OSError, match="disk"):
        told.otel()(on_server(), endpoint)
    [(attributes, point)] = told.metrics["http.server.active_requests"]
    assert (during, point.value) == ([1], 0)
    assert attributes == {"http.request.method": "GET", "url.scheme": "https"}


def test_a_size_of_more_digits_than_python_reads_is_not_measured(told):
    told.otel(body_sizes=True)(on_server("POST", headers={"content-length": "9" * 5000}), answer())
    assert "http.server.request.body.size" not in told.metrics


def test_sizes_are_measured_if_somebody_asks(told):
    ctx = {"fmtn.side": "client", "fmtn.kind": "http", "fmtn.req.http": Request("POST", "https://h/", content=b"12345")}
    told.otel(body_sizes=True)(ctx, answer(200, b"four"))
    for kind, text in (("websocket", {}), ("http", {"content-length": "7"})):
        told.otel(body_sizes=True)(on_server("POST", headers=text, **{"fmtn.kind": kind}), answer())
    sums = {name: point.sum for name, [(_, point)] in told.metrics.items() if name.endswith("size")}
    assert sums == {
        "http.client.request.body.size": 5,
        "http.client.response.body.size": 4,
        "http.server.request.body.size": 7,
        "http.server.response.body.size": 0,
    }


# Streams


def test_a_stream_of_a_client_ends_its_span_with_the_body(told, server):
    with for_requests.build(base_uri=server.url, middleware=[told.otel()]) as client:
        with client.get("/chunks/10", params={"size": "10"}, stream=True) as result:
            assert not trace.get_current_span().is_recording()
            assert not told.spans
            list(result.body)
        assert told.span.status.status_code is UNSET
        with client.get("/chunks/10", stream=True):
            pass  # nobody reads it
        assert [span.status.status_code for span in told.spans] == [UNSET, UNSET]
        with pytest.raises(Exception, match=r"."), client.get("/close-mid-body", stream=True) as result:
            list(result.body)
    assert told.spans[2].status.status_code is ERROR


def test_a_stream_of_an_async_client_ends_its_span_in_whatever_task_reads_it(told, server):
    async def read(body):
        async for _ in body:
            pass

    async def ask():
        async with (
            for_aiohttp.build(base_uri=server.url, middleware=[told.otel()]) as client,
            client.get("/chunks/10", stream=True) as result,
        ):
            assert not told.spans
            assert not trace.get_current_span().is_recording()
            await asyncio.create_task(read(result.body))
            assert told.spans

    asyncio.run(ask())
    assert told.span.attributes["http.response.status_code"] == 200


# Real servers


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def wsgi(app):
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def asgi(app):
    """Serve an app with uvicorn, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_one_trace_goes_through_two_services(told):
    stock = Flask("stock")

    @stock.get("/left/<item>")
    def left(item):
        return {"left": 3}

    stock.wsgi_app = for_wsgi.FormationMiddleware(stock.wsgi_app, [told.otel()])
    shop = FastAPI()
    with wsgi(stock) as stock_url:
        to_stock = for_requests.build(base_uri=stock_url, middleware=[told.otel()])

        @shop.get("/sync/{item}")
        def sync_item(item: str):
            return to_stock.get("/left/{item}", path={"item": item}).response.json()

        @shop.get("/items/{item}")
        async def async_item(item: str):
            async with for_aiohttp.build(base_uri=stock_url, middleware=[told.otel()]) as client:
                return (await client.get("/left/{item}", path={"item": item})).response.json()

        shop.add_middleware(for_asgi.FormationMiddleware, middleware=[told.otel()])
        with asgi(shop) as shop_url, to_stock:
            for path in ("/sync/{item}", "/items/{item}"):
                told.exporter.clear()
                with for_requests.build(base_uri=shop_url, middleware=[told.otel()]) as client:
                    assert client.get(path, path={"item": "ring"}).response.json() == {"left": 3}
                spans = {span.context.span_id: span for span in told.in_the_end(4)}
                chain = [next(each for each in spans.values() if each.parent is None)]
                while following := [each for each in spans.values() if each.parent and
                                    each.parent.span_id == chain[-1].context.span_id]:  # fmt: skip
                    chain += following
                assert [(span.kind.name, span.name) for span in chain] == [
                    ("CLIENT", f"GET {path}"),
                    ("SERVER", f"GET {path}"),
                    ("CLIENT", "GET /left/{item}"),
                    ("SERVER", "GET /left/{item}"),
                ]
                assert len({span.context.trace_id for span in chain}) == 1
                assert chain[1].attributes["network.protocol.version"] == "1.1"


def test_an_app_that_streams_is_in_its_span_to_the_end(told):
    shop, seen = FastAPI(), []

    @shop.get("/lines")
    async def lines():
        async def each():
            for _ in range(3):
                seen.append(trace.get_current_span().get_span_context().span_id)
                yield "line\n"

        return StreamingResponse(each())

    shop.add_middleware(for_asgi.FormationMiddleware, middleware=[told.otel(body_sizes=True)])
    with asgi(shop) as url, for_requests.build(base_uri=url) as client:
        for _ in range(2):  # on one connection
            assert client.get("/lines").body
    first, second = told.spans
    assert seen == [first.context.span_id] * 3 + [second.context.span_id] * 3
    assert first.parent is None is second.parent
    [(_, point)] = told.metrics["http.server.response.body.size"]
    assert point.sum == 30
    [(_, point)] = told.metrics["http.server.active_requests"]
    assert point.value == 0


def test_a_websocket_has_one_span_and_is_not_measured(told):
    shop = FastAPI()

    @shop.websocket("/talk/{room}")
    async def talk(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(f"{trace.get_current_span().is_recording()}")
        await websocket.close()

    shop.add_middleware(for_asgi.FormationMiddleware, middleware=[told.otel()])

    async def speak(url):
        async with connect(url, proxy=None) as socket:
            return await socket.recv()

    with asgi(shop) as url:
        assert asyncio.run(speak(url.replace("http", "ws", 1) + "/talk/7")) == "True"
    assert (told.span.name, told.span.kind) == ("GET /talk/{room}", SpanKind.SERVER)
    assert told.span.attributes["http.response.status_code"] == 101
    assert not told.metrics


def test_an_error_of_an_app_ends_its_span(told, caplog):
    async def broken(scope, receive, send):
        raise OSError(5, "disk")

    caplog.set_level(logging.CRITICAL)
    with asgi(for_asgi.FormationMiddleware(broken, [told.otel()])) as url, for_requests.build(base_uri=url) as client:
        assert client.get("/").status_code == 500
    assert told.span.attributes["error.type"] == "OSError"


# gRPC


@pytest.fixture
def shop(told):
    """A channel to a server, both told of."""
    grpc = pytest.importorskip("grpc")
    for_grpc = pytest.importorskip("formation.for_grpc")
    seen = []

    def get(request, context):
        seen.append(trace.get_current_span().get_span_context().span_id)
        if request == b"9":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such user")
        return request

    def watch(request, context):
        for number in range(3):
            seen.append(trace.get_current_span().get_span_context().span_id)
            yield b"%d" % number

    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
    }
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[for_grpc.server_interceptor([told.otel()])])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Users", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as bare:
        channel = grpc.intercept_channel(bare, for_grpc.client_interceptor([told.otel()]))
        yield channel, seen
    server.stop(None).wait()


def ended(told, count):
    """The spans, once there are so many: a server ends its own after it has answered."""
    until = time.monotonic() + 20
    while len(told.spans) < count:
        assert time.monotonic() < until
    return sorted(told.spans, key=lambda span: span.start_time)


def test_a_remote_call_has_a_span_on_both_sides(told, shop):
    channel, seen = shop
    assert channel.unary_unary("/shop.Users/Get")(b"7") == b"7"
    client, server = ended(told, 2)
    assert (client.name, client.kind, server.name, server.kind) == (
        "shop.Users/Get",
        SpanKind.CLIENT,
        "shop.Users/Get",
        SpanKind.SERVER,
    )
    said = {"rpc.system.name": "grpc", "rpc.method": "shop.Users/Get", "rpc.response.status_code": "OK"}
    assert client.attributes == said
    assert server.attributes == {**said, "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1"}
    assert server.parent.span_id == client.context.span_id
    assert seen == [server.context.span_id]
    assert {name: [attributes for attributes, _ in points] for name, points in told.metrics.items()} == {
        "rpc.client.call.duration": [said],
        "rpc.server.call.duration": [said],
    }


def test_a_code_may_be_the_callers_fault(told, shop):
    channel, _ = shop
    with pytest.raises(Exception, match="no such user"):
        channel.unary_unary("/shop.Users/Get")(b"9")
    client, server = ended(told, 2)
    assert (client.status.status_code, client.attributes["error.type"]) == (ERROR, "NOT_FOUND")
    assert server.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert (server.status.status_code, "error.type" in server.attributes) == (UNSET, False)


def test_a_stream_of_messages_is_one_span_and_the_callers_own_stay_theirs(told, shop):
    channel, seen = shop
    tracer = told.tracers.get_tracer("caller")
    call = channel.unary_stream("/shop.Users/Watch")(b"")
    with tracer.start_as_current_span("loop") as loop:
        for _ in call:
            assert trace.get_current_span() is loop
    spans = {(span.name, span.kind): span for span in ended(told, 3)}
    server = spans["shop.Users/Watch", SpanKind.SERVER]
    assert seen == [server.context.span_id] * 3
    assert server.parent.span_id == spans["shop.Users/Watch", SpanKind.CLIENT].context.span_id


# Off


def test_where_nobody_listens_nothing_is_done():
    ctx = on_server(headers={"traceparent": PARENT})
    before = contexts.get_current()

    def endpoint(inner):
        assert inner is ctx
        assert contexts.get_current() is before
        return reply(inner, 200)

    otel()(ctx, endpoint)
    assert "fmtn.trace" not in ctx
    client = get()
    otel()(client, answer())
    assert not client["fmtn.req.http"].headers


def test_a_provider_that_the_program_sets_later_is_told():
    program = """
from formation import lift
from formation.middleware import otel
from opentelemetry import trace, metrics
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

area = lift(lambda: 12, middleware=[otel()])
area()
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
area()
print(len(exporter.get_finished_spans()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    assert run.stdout == "1\n"


@pytest.mark.parametrize("wrong", [{"tracer_provider": 1}, {"meter_provider": "mine"}, {"propagator": len}])
def test_what_is_no_provider_is_refused(wrong):
    with pytest.raises(TypeError, match=r"expected something with \w+\(\)"):
        otel(**wrong)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "formation.telemetry.spans", None)
    with pytest.raises(ImportError, match=r"pip install 'formation\[otel\]'"):
        otel()
    assert module is otel


def test_the_ambient_trace_is_that_of_the_span(told):
    def endpoint(ctx):
        token = ambient.publish(ctx)
        inherited = {}
        ambient.inherit(inherited)
        ambient.restore(token)
        ctx["seen"] = inherited["fmtn.trace"]["traceparent"]
        return reply(ctx, 200)

    out = told.otel()(on_server(), endpoint)
    assert out["seen"] == header(told.span)
