import logging
import subprocess
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from formation.for_requests import build
from formation.middleware import context, context_logger, request_id
from tests.middleware.worlds import app, every_lift, every_world, on_server

LINE = {"event": "context", "log_level": "info"}

CASES = {
    "what was gathered": ({"fmtn.context": {"ns": "billing", "uid": 42}}, LINE | {"ns": "billing", "uid": 42}),
    "nothing was gathered": ({}, LINE),
    "nothing at all": ({"fmtn.context": None}, LINE),
}


@every_world
@pytest.mark.parametrize(("ctx", "expected"), CASES.values(), ids=CASES)
def test_logs_the_context_before_the_call(world, ctx, expected):
    counts = []
    with capture_logs() as lines:

        def endpoint(ctx):
            counts.append(len(lines))
            return ctx

        out = world(context_logger(), dict(ctx), endpoint)
    assert lines == [expected]
    assert counts == [1]
    assert out == ctx


@every_lift
def test_logs_the_context_of_a_lifted_function(lifted):
    with capture_logs() as lines:
        middleware = [request_id(idgen=lambda: "7f3a"), context(namespace="billing"), context_logger()]
        result, _ = lifted(middleware, len, "four")
    assert result == 4
    assert [(line["event"], line["ns"], line["rid"]) for line in lines] == [("context", "billing", "7f3a")]


@every_world
def test_passes_errors_through(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    with capture_logs() as lines:
        assert world(context_logger(), {}, endpoint) is error
    assert lines == [LINE]


def test_takes_any_logger_that_binds():
    with capture_logs() as lines:
        context_logger(structlog.get_logger().bind(app="shop"))({"fmtn.context": {"app": "billing"}}, dict)
        context_logger(structlog.stdlib.get_logger("shop"))({}, dict)
    assert lines == [LINE | {"app": "billing"}, LINE]


@pytest.mark.parametrize("logger", [print, "shop", 7])
def test_refuses_what_is_no_logger_when_it_is_given(logger):
    with pytest.raises(TypeError, match="expected a logger, got "):
        context_logger(logger)


def test_a_wrapped_logger_of_the_standard_library_will_do(caplog):
    logger = structlog.wrap_logger(logging.getLogger("shop"), processors=[structlog.stdlib.render_to_log_kwargs])
    with caplog.at_level("INFO", "shop"):
        context_logger(logger)({"fmtn.context": {"ns": "billing"}}, dict)
    assert [(record.name, record.message, record.ns) for record in caplog.records] == [("shop", "context", "billing")]


def test_a_logger_that_raises_does_not_fail_the_call(caplog):
    class Broken:
        def info(self, event, **fields):
            raise OSError("no space left")

        debug = warning = error = info

    assert context_logger(Broken())({"n": 1}, dict) == {"n": 1}
    assert "no space left" in caplog.text


def test_a_logger_that_does_not_take_the_fields_gets_the_line_without_them(caplog):
    context_of_a_strange_kind = {"fmtn.context": {1: "one"}}
    with capture_logs() as lines:
        assert context_logger()(context_of_a_strange_kind, dict) == context_of_a_strange_kind
    assert lines == [LINE]
    assert "keywords must be strings" in caplog.text


def test_without_structlog_it_logs_through_logging():
    code = """
import logging, sys
sys.modules["structlog"] = None
from formation.middleware import context_logger
logging.basicConfig(format="%(name)s %(message)s", level="INFO", stream=sys.stdout)
context_logger()({"fmtn.context": {"ns": "shop"}}, dict)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert run.stdout.splitlines() == ["formation context ns='shop'"]


def test_a_client_logs_the_context_of_each_call(server):
    middleware = [request_id(), context(namespace="billing"), context_logger()]
    with capture_logs() as lines, build(base_uri=server.url, middleware=middleware) as api:
        ids = [api.get("/echo").request.headers["x-request-id"] for _ in range(2)]
    assert [(line["event"], line["rid"]) for line in lines] == [("context", each) for each in ids]


@every_world
def test_a_server_logs_it_before_its_app_is_called(world):
    with capture_logs() as lines:
        out = world(context_logger(), on_server(**{"fmtn.context": {"ns": "shop"}}), app())
    assert lines == [{"ns": "shop", "event": "context", "log_level": "info"}]
    assert not out["fmtn.res.http"].headers_changed
