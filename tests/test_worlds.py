"""Every built-in middleware in every world: one table of cases, the same outcome, the same context, the same events."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

import formation.middleware as package
from formation import compose, reply
from formation.clock import Virtual, virtual
from formation.errors import ConnectError
from formation.http import Request, Response
from formation.keys import NATIVE, REQ_HTTP, SENSITIVE, SESSION, STATE, TEMPLATE
from formation.middleware import (
    accept,
    adaptive_limit,
    api_key,
    basic,
    bearer,
    bulkhead,
    cache,
    chaos,
    circuit_breaker,
    clean_request,
    client_throttle,
    coalesce,
    compress,
    compress_request,
    content_type,
    context,
    context_logger,
    deadline,
    decompress,
    default_stack,
    etag,
    exception_handler,
    fallback,
    headers,
    hedge,
    hide_server,
    idempotency,
    idempotency_key,
    load_shed,
    oauth2_client_credentials,
    otel,
    problem_details,
    prometheus,
    raise_for_status,
    rate_limit,
    request_duration,
    request_id,
    request_logger,
    retry,
    security_headers,
    throttle,
    timeout,
    trigger_breaker_if,
    ua,
    watched,
)
from tests.middleware.worlds import WORLDS

LOGGED = ["request.http", "request.http", "response.http", "response.http"]
TOKEN = {"access_token": "t0ken", "token_type": "Bearer"}

# By name: what makes the middlewares, what answers one call after another, and the events that are told meanwhile.
CASES = {
    "accept": (lambda: [accept("text/html")], [200], []),
    "adaptive_limit": (lambda: [adaptive_limit()], [200, ConnectError("no")], []),
    "api_key": (lambda: [api_key("s3cret", "key", place="query")], [200], []),
    "basic": (lambda: [basic("me", "s3cret")], [200, 401], []),
    "bearer": (lambda: [bearer(lambda: "s3cret")], [200, 401], []),
    "bulkhead": (lambda: [bulkhead(2)], [200, ConnectError("no")], []),
    "cache": (lambda: [cache(now=lambda: 1e9)], [200, 404, ConnectError("no")], ["cache.miss", "cache.miss"]),
    "chaos": (lambda: [chaos(0, 1, 0, enabled=True)], [200, ConnectError("no")], ["chaos.injected", "chaos.injected"]),
    "circuit_breaker": (
        lambda: [circuit_breaker(fail_max=2)],
        [200, 503, ConnectError("no"), 200],
        ["breaker.opened", "breaker.rejected"],
    ),
    "clean_request": (lambda: [clean_request()], [200], []),
    "client_throttle": (lambda: [client_throttle()], [200, 503, ConnectError("no")], []),
    "coalesce": (lambda: [coalesce()], [200, ConnectError("no")], []),
    "compress": (lambda: [compress()], [200], []),  # it is for servers
    "compress_request": (lambda: [compress_request(min_size=1)], [200, ConnectError("no")], []),
    "content_type": (lambda: [content_type("text/csv")], [200], []),
    "context": (lambda: [context(namespace="shop", getpid=lambda: 1, gettid=lambda: 2)], [200], []),
    "context_logger": (lambda: [context(), context_logger()], [200, ConnectError("no")], ["context", "context"]),
    "deadline": (lambda: [deadline(30, header=None)], [200, ConnectError("no")], []),
    "decompress": (lambda: [decompress()], [200, ConnectError("no")], []),
    "default_stack": (default_stack, [200], LOGGED),
    "etag": (lambda: [etag()], [200], []),  # it is for servers
    "exception_handler": (lambda: [exception_handler()], [200, ConnectError("no")], []),  # it is for servers
    "fallback": (lambda: [fallback("sorry")], [200, 503, ConnectError("no")], ["fallback.used", "fallback.used"]),
    "headers": (lambda: [headers({"X-A": "1"}, remove=["X-B"])], [200], []),
    "hedge": (lambda: [hedge()], [200, ConnectError("no")], []),
    "hide_server": (lambda: [hide_server()], [200], []),
    "idempotency": (lambda: [idempotency(methods=["GET"])], [200, ConnectError("no")], []),  # it is for servers
    "idempotency_key": (lambda: [idempotency_key(keygen=iter("abcd").__next__, methods=["GET"])], [200, 503], []),
    "load_shed": (lambda: [load_shed()], [200, ConnectError("no")], []),
    "oauth2_client_credentials": (
        lambda: [oauth2_client_credentials("https://h/token", "me", "s3cret")],
        [TOKEN, 401, TOKEN, 200, 200, 401, 400],
        [],
    ),
    "otel": (lambda: [otel()], [200, 404, ConnectError("no")], []),  # nobody listens
    "problem_details": (lambda: [problem_details()], [200, 404, ConnectError("no")], []),
    "prometheus": (lambda: [prometheus(CollectorRegistry())], [200, 404, ConnectError("no")], []),
    "raise_for_status": (lambda: [raise_for_status()], [200, 404, 503], []),
    "rate_limit": (lambda: [rate_limit("1/hour")], [200, ConnectError("no")], []),  # it is for servers
    "request_duration": (lambda: [request_duration(iter(range(9)).__next__)], [200, ConnectError("no")], []),
    "request_id": (lambda: [request_id(idgen=iter("abcd").__next__)], [200, 404], []),
    "request_logger": (
        lambda: [request_logger()],
        [503, ConnectError("no"), KeyboardInterrupt()],
        [*LOGGED, *LOGGED[:2], "failure.http", *LOGGED[:2], "cancelled.http"],
    ),
    "retry": (
        lambda: [retry(3)],
        [503, ConnectError("no"), 200, 429, 429, 503],
        ["retry.scheduled", "retry.scheduled", "retry.scheduled", "retry.scheduled", "retry.exhausted"],
    ),
    "security_headers": (lambda: [security_headers()], [200], []),
    "throttle": (lambda: [throttle(2)], [200, 200, ConnectError("no")], ["throttle.delayed", "throttle.delayed"]),
    "timeout": (lambda: [timeout((1, 2))], [200], []),
    "trigger_breaker_if": (
        lambda: [circuit_breaker(fail_max=1), trigger_breaker_if(lambda response: response.status_code == 299)],
        [200, 299, 200],
        ["breaker.opened", "breaker.rejected"],
    ),
    "ua": (lambda: [ua("shop/1.0")], [200], []),
    "watched": (lambda: [watched()], [200, 503, ConnectError("no")], []),
}


def told(world, make, answers):
    """All there is to see of the calls: the requests that were sent, what came out, the events, the sleeps."""
    middleware, left, sent, came = compose(*make()), list(answers), [], []

    def endpoint(ctx):
        sent.append(plain(dict(ctx)))
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return reply(ctx, answer) if isinstance(answer, int) else reply(ctx, 200, body=Response(json=answer).content)

    clock = Virtual(seed=1)
    token = virtual.set(clock)
    try:
        with capture_logs() as lines:
            for _ in answers:
                ctx = {REQ_HTTP: Request("GET", "https://h/users/7"), TEMPLATE: "/users/{id}", SENSITIVE: set()}
                out = world(middleware, {**ctx, STATE: {"endpoint": endpoint}, SESSION: {}, NATIVE: {}}, endpoint)
                came.append(plain(out))
                if not left:
                    break
    finally:
        virtual.reset(token)
    return {"sent": sent, "came": came, "events": plain(lines), "slept": clock.slept, "left": left}


def plain(value, name=""):
    """What can be compared: no identities, no durations, no random ids."""
    if "duration" in name or name in {"elapsed", "rid", "req.id", "x-request-id", "fmtn.deadline"}:
        return type(value).__name__
    if isinstance(value, dict):
        return {key: plain(each, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Request):
        return [value.method, value.target, plain(dict(value.headers)), value.timeout, value.content]
    if isinstance(value, Response):
        return [value.status_code, plain(dict(value.headers)), value.content]
    if hasattr(value, "__attrs_attrs__"):
        return [
            type(value).__name__,
            {each.name: plain(getattr(value, each.name), each.name) for each in value.__attrs_attrs__},
        ]
    return re.sub(r" at 0x\w+", "", repr(value))


def test_every_middleware_is_in_the_table():
    stems = {file.stem for file in Path(package.__file__).parent.glob("*.py") if not file.stem.startswith("_")}
    assert stems == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_same_in_every_world(name):
    make, answers, events = CASES[name]
    seen = {world.__name__: told(world, make, answers) for world in WORLDS}
    assert seen["direct"]["sent"]
    assert [line["event"] for line in seen["direct"]["events"]] == [repr(event) for event in events]
    for world in WORLDS:
        assert seen[world.__name__] == seen["direct"]
