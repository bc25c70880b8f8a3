"""The built-in middlewares around calls of gRPC: unchanged, on both sides, sync and asyncio."""

import threading

import grpc
import pytest
from structlog.testing import capture_logs

from formation import ambient, req, res
from formation.clock import monotonic
from formation.errors import CircuitOpenError
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
    context,
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
    problem_details,
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
)
from formation.rpc import Code
from tests.grpc.hosts import SECONDS, every_server, every_world

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
WAYS = [("one", b"a"), ("many", b"a"), ("collect", [b"a", b"b"]), ("both", [b"a", b"b"])]
every_arity = pytest.mark.parametrize(("way", "request_"), WAYS)
ROUNDED = 0.2
"""Seconds: gRPC rounds a timeout up on the wire."""


class Slept(list):
    """A sleep that does not."""

    def __call__(self, seconds):
        self.append(seconds)


class Keep:
    """What the contexts had in them in the end."""

    def __init__(self, *keys):
        self.keys, self.kept = keys, []

    def __call__(self, ctx, call):
        try:
            ctx = call(ctx)
        finally:
            self.kept.append(tuple(ctx.get(key) for key in self.keys))
        return ctx


def retrying(slept, **more):
    return retry(idempotent=True, sleep=slept, random=lambda low, high: high, **more)


@every_server
@every_arity
def test_a_request_id_travels_as_metadata_and_comes_back(running, way, request_):
    on_server, on_client = Keep("req.id"), Keep("req.id")
    with running([on_server, request_id()], [on_client, request_id(idgen=lambda: "7f3a")]) as caller:
        outcome = getattr(caller, way)(request_)
    assert caller.seen.calls[0]["x-request-id"] == "7f3a"
    assert on_server.kept == on_client.kept == [("7f3a",)]
    assert {**outcome.headers, **outcome.trailers}["x-request-id"] == "7f3a"


@every_world
@every_arity
def test_the_logger_tells_of_the_call_and_of_what_came_of_it(running, way, request_):
    with capture_logs() as lines, running([context(), request_logger()], [request_logger()]) as caller:
        getattr(caller, way)(request_, metadata=[("authorization", "secret")])
    said = [line for line in lines if line["log_level"] == "info"]
    name = f"/test.Service/{way.title()}"
    assert sorted((line["event"], line["method"], line.get("status"), line.get("outcome")) for line in said) == sorted(
        [("request.rpc", name, None, None), ("response.rpc", name, Code.OK, "ok")] * 2, key=str
    )
    assert "secret" not in str(lines)
    assert all(line["duration_us"] > 0 for line in said if line["event"] == "response.rpc")


@every_world
def test_the_logger_warns_of_what_is_a_500_elsewhere(running):
    with capture_logs() as lines, running([], [request_logger()]) as caller:
        caller.seen.script = [UNAVAILABLE, grpc.StatusCode.NOT_FOUND]
        caller.one(b"a")
        caller.one(b"a")
    said = [
        (each["log_level"], each["status"]) for each in lines if each["event"] == "response.rpc" and "status" in each
    ]
    assert said == [("warning", "UNAVAILABLE"), ("info", "NOT_FOUND")]


@every_world
def test_the_duration_is_that_of_the_stream(running):
    ticks = iter(range(100))
    kept, seen = Keep("req.duration_us"), []

    def each(ctx, call):
        seen.append(next(ticks))
        return call(ctx)

    around = [kept, request_duration(now=lambda: next(ticks))]
    with running((around, [each])) as caller:
        caller.many(b"a")
    assert kept.kept == [(4_000_000,)]  # a tick for each of three messages, and one for the end


@every_server
@every_arity
def test_an_error_of_a_handler_is_internal_and_says_nothing_from_inside(running, way, request_):
    request_ = b"boom" if isinstance(request_, bytes) else [b"boom"]
    with capture_logs() as lines, running([request_id(idgen=lambda: "7f3a"), exception_handler()]) as caller:
        outcome = getattr(caller, way)(request_)
        aborted = getattr(caller, way)(b"abort" if isinstance(request_, bytes) else [b"abort"])
    assert (outcome.code, outcome.details) == ("INTERNAL", "Internal Server Error; request_id: 7f3a")
    assert [(line["event"], line["error"], line["status"]) for line in lines] == [
        ("exception.handled", "ValueError", 500)
    ]
    assert (aborted.code, aborted.details) == ("NOT_FOUND", "no such thing")


@every_world
def test_what_was_turned_away_says_when_to_come_back(running):
    with capture_logs(), running([exception_handler(), throttle(1, 1000, max_wait=0)]) as caller:
        assert caller.one(b"a").code == "OK"
        outcome = caller.one(b"a")
    assert outcome.code == "RESOURCE_EXHAUSTED"
    after = int(outcome.trailers["retry-after"])
    assert outcome.trailers["grpc-retry-pushback-ms"] == str(after * 1000)
    assert 900 < after <= 1000


# Retry


@every_world
@pytest.mark.parametrize("way", ["one", "many"])
def test_retry_tries_again_by_code(running, way):
    slept, kept = Slept(), Keep("fmtn.attempts", "attempt")
    with capture_logs(), running([], [kept, retrying(slept, attempt_header="X-Attempt")]) as caller:
        caller.seen.script = [UNAVAILABLE, grpc.StatusCode.INTERNAL]
        outcome = getattr(caller, way)(b"a")
    assert (outcome.code, len(outcome.messages)) == ("OK", 1 if way == "one" else 3)
    assert slept == [0.1, 0.2]
    (ledger, attempt) = kept.kept[0]
    assert ([each.status for each in ledger], attempt) == ([503, 500, 200], 3)
    assert [call.get("x-attempt") for call in caller.seen.calls] == [None, "2", "3"]


@every_world
@pytest.mark.parametrize("code", ["NOT_FOUND", "CANCELLED", "ABORTED", "UNIMPLEMENTED"])
def test_retry_leaves_other_codes_alone(running, code):
    with running([], [retrying(Slept())]) as caller:
        caller.seen.script = [grpc.StatusCode[code]]
        assert caller.one(b"a").code == code
    assert len(caller.seen.calls) == 1


@every_world
def test_retry_may_be_told_codes_by_name(running):
    with capture_logs(), running([], [retrying(Slept(), on=[Code.ABORTED, "DATA_LOSS"])]) as caller:
        caller.seen.script = [grpc.StatusCode.ABORTED, grpc.StatusCode.DATA_LOSS, UNAVAILABLE]
        assert caller.one(b"a").code == "UNAVAILABLE"
    assert len(caller.seen.calls) == 3


@every_world
def test_retry_does_not_repeat_what_may_not_be_repeated(running):
    with running([], [retry(sleep=Slept())]) as caller:
        caller.seen.script = [UNAVAILABLE]
        assert caller.one(b"a").code == "UNAVAILABLE"
    with capture_logs(), running([], [idempotency_key(keygen=lambda: "k1"), retry(sleep=Slept())]) as caller:
        caller.seen.script = [UNAVAILABLE]
        assert caller.one(b"a").code == "OK"
    assert [call["idempotency-key"] for call in caller.seen.calls] == ["k1", "k1"]


@every_world
@pytest.mark.parametrize("way", ["collect", "both"])
def test_retry_does_not_repeat_a_stream_of_requests(running, way):
    with running([], [retrying(Slept())]) as caller:
        caller.seen.script = [UNAVAILABLE]
        assert getattr(caller, way)([b"a"]).code == "UNAVAILABLE"
    assert len(caller.seen.calls) == 1


@every_server
def test_retry_does_not_repeat_after_the_first_message(running):
    with running([], [retrying(Slept(), on=["NOT_FOUND"])]) as caller:
        outcome = caller.many(b"abort")
    assert (outcome.code, len(outcome.messages)) == ("NOT_FOUND", 3)
    assert len(caller.seen.calls) == 1


@every_world
@pytest.mark.parametrize("way", ["one", "many"])
@pytest.mark.parametrize(("pushback", "slept_", "calls"), [("70", [0.077], 2), ("-1", [], 1), ("soon", [], 1)])
def test_retry_heeds_the_pushback_of_the_server(running, way, pushback, slept_, calls):
    slept = Slept()
    with capture_logs(), running([], [retrying(slept, base=0)]) as caller:
        caller.seen.script = [(UNAVAILABLE, (("grpc-retry-pushback-ms", pushback),))]
        assert getattr(caller, way)(b"a").code == ("OK" if calls == 2 else "UNAVAILABLE")
    assert [round(each, 6) for each in slept] == slept_
    assert len(caller.seen.calls) == calls


@every_world
def test_a_server_tries_a_handler_again(running):
    with capture_logs(), running([retrying(Slept())]) as caller:
        caller.seen.script = [UNAVAILABLE, None, UNAVAILABLE]
        assert caller.one(b"a").message == b"<a>"
        assert caller.many(b"a").messages == [b"a0", b"a1", b"a2"]
        caller.seen.script = [UNAVAILABLE]
        assert caller.collect([b"a"]).code == "UNAVAILABLE"  # its requests can be had once


# Time


@every_world
@pytest.mark.parametrize("way", ["one", "many"])
def test_a_deadline_is_the_timeout_on_the_wire(running, way):
    with running([], [deadline(5)]) as caller:
        getattr(caller, way)(b"a")
        assert 0 < caller.seen.left <= 5 + ROUNDED
        getattr(caller, way)(b"a", timeout=2)
        assert 0 < caller.seen.left <= 2 + ROUNDED
        getattr(caller, way)(b"a", timeout=60)
        assert 2 < caller.seen.left <= 5 + ROUNDED


@every_world
def test_a_timeout_is_for_each_attempt(running):
    with capture_logs(), running([], [retrying(Slept()), timeout((1, 3))]) as caller:
        caller.seen.script = [UNAVAILABLE]
        caller.one(b"a")
        assert 0 < caller.seen.left <= 3 + ROUNDED
        caller.one(b"a", timeout=2)
        assert 0 < caller.seen.left <= 2 + ROUNDED


@every_world
def test_no_time_left_is_a_deadline_exceeded_without_a_call(running):
    def late(ctx, call):
        ctx["fmtn.deadline"] = monotonic() - 1
        return call(ctx)

    with capture_logs(), running([], [late]) as caller:
        assert caller.one(b"a").code == "DEADLINE_EXCEEDED"
    with capture_logs(), running([], [late, deadline(5)]) as caller:
        assert caller.one(b"a").code == "DEADLINE_EXCEEDED"
    assert not caller.seen.calls
    with capture_logs(), running([late, deadline(5)]) as caller:
        outcome = caller.one(b"a")
    assert (outcome.code, outcome.details) == ("DEADLINE_EXCEEDED", "Gateway Timeout")
    with capture_logs(), running([late, load_shed()]) as caller:
        outcome = caller.one(b"a")
    assert (outcome.code, "grpc-retry-pushback-ms" in outcome.trailers) == ("UNAVAILABLE", True)


@every_server
def test_a_deadline_on_the_server_is_what_the_handler_has_left(running):
    with running([deadline(3)]) as caller:
        caller.one(b"a")
        assert 0 < caller.seen.left <= 3 + ROUNDED
        caller.many(b"a", timeout=1)
        assert 0 < caller.seen.left <= 1 + ROUNDED


@every_server
@every_arity
def test_a_handler_publishes_what_its_chain_has_found_out(running, way, request_):
    found = []

    def look(ctx, call):
        found.append(ambient.current.get())
        return call(ctx)

    def inside(ctx, call):
        req(ctx).on_receive(lambda message: found.append(ambient.current.get()))
        return call(ctx)

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    around = [request_id(), deadline(30), look, inside]
    with running(around) as caller:
        getattr(caller, way)(request_, metadata=[("x-request-id", "7f3a"), ("traceparent", trace)])
    assert found[0] is None
    for published in found[1:]:
        assert (published.request_id, published.trace) == ("7f3a", {"traceparent": trace})
        assert published.deadline is not None


@every_world
def test_a_client_begins_with_what_the_server_chain_around_has_published(running):
    kept = Keep("req.id", "req.parent.id")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    said = {"req.id": "7f3a", "fmtn.trace": {"traceparent": trace}, "fmtn.deadline": monotonic() + 4}
    with running([], [kept, request_id()]) as caller:
        if not hasattr(caller, "loop"):
            token = ambient.publish(said)
            try:
                outcomes = [caller.one(b"a"), caller.many(b"a")]
            finally:
                ambient.restore(token)
        else:

            async def below():
                ambient.publish(said)
                one = await caller.channel.unary_unary("/test.Service/One")(b"a")
                return [one, [each async for each in caller.channel.unary_stream("/test.Service/Many")(b"a")]]

            outcomes = caller.run(below())
    assert len(outcomes) == 2
    assert kept.kept == [("7f3a", "7f3a")] * 2
    assert [(call["x-request-id"], call["traceparent"]) for call in caller.seen.calls] == [("7f3a", trace)] * 2
    assert 0 < caller.seen.left <= 4 + ROUNDED


# Limits


@every_world
def test_a_circuit_opens_for_its_service(running):
    breaker = circuit_breaker(fail_max=2)
    with capture_logs() as lines, running([], [breaker]) as caller:
        caller.seen.script = [UNAVAILABLE, UNAVAILABLE]
        assert [caller.one(b"a").code for _ in range(2)] == ["UNAVAILABLE"] * 2
        outcome = caller.one(b"a")
        assert (outcome.code, isinstance(outcome.error.__cause__, CircuitOpenError)) == ("UNAVAILABLE", True)
        assert len(caller.seen.calls) == 2
    assert lines[0]["circuit"] == "test.Service"


@every_world
def test_a_stream_that_fails_in_the_middle_counts_for_the_circuit(running):
    breaker = circuit_breaker(fail_max=1)
    with capture_logs() as lines, running([], [breaker]) as caller:
        assert len(caller.many(b"boom").messages) == 3
    assert [line["event"] for line in lines] == ["breaker.opened"]


@every_world
def test_a_place_of_a_bulkhead_is_held_until_the_stream_has_ended(running):
    guard = bulkhead(1)
    with capture_logs(), running([guard]) as caller:
        assert caller.one(b"a").code == "OK"
        done = threading.Thread(target=lambda: caller.many(b"hold", timeout=1))
        done.start()
        assert caller.seen.held.wait(SECONDS)
        assert caller.one(b"a").code == "UNAVAILABLE"
        done.join()
        assert caller.seen.gone.wait(SECONDS)
        while guard.places[None].in_use:
            threading.Event().wait(0.001)
        assert caller.one(b"a").code == "OK"


@every_world
def test_others_that_limit_and_watch(running):
    client = [client_throttle(), throttle(1000), bulkhead(), adaptive_limit(), hedge(), timeout(10)]
    server = [adaptive_limit(), load_shed(), bulkhead(), throttle(1000), deadline(30)]
    with capture_logs(), running(server, client) as caller:
        for way, request_ in WAYS:
            assert getattr(caller, way)(request_).code == "OK"


@every_world
def test_what_is_about_http_passes_calls_on(running):
    client = [
        accept("a/b"),
        decompress(),
        compress_request(),
        raise_for_status(),
        cache(),
        coalesce(),
        idempotency_key(),
    ]
    server = [hide_server(), security_headers(), problem_details(), clean_request(), idempotency(), etag(), compress()]
    with capture_logs(), running(server, client) as caller:
        for way, request_ in WAYS:
            assert getattr(caller, way)(request_).code == "OK"


@every_world
def test_a_predicate_of_the_result_opens_the_circuit(running):
    around = [circuit_breaker(fail_max=1), trigger_breaker_if(lambda result: result.code == "NOT_FOUND")]
    with capture_logs() as lines, running([], around) as caller, pytest.raises(Exception, match="is true for the 404"):
        caller.one(b"abort")
    assert [line["event"] for line in lines] == ["breaker.opened"]


# What is sent


@every_world
def test_credentials_are_metadata(running):
    around = [
        bearer("t0k3n"),
        api_key("s3cret", "X-Key"),
        api_key("query", "key", place="query"),
        headers({"X-Region": "eu"}),
    ]
    with running([headers({"X-From": "here"})], around) as caller:
        outcome = caller.one(b"a")
    assert caller.seen.calls == [{"authorization": "Bearer t0k3n", "x-key": "s3cret", "x-region": "eu"}]
    assert outcome.headers == {"x-from": "here"}
    with running([], [basic("ann", "secret")]) as caller:
        caller.one(b"a")
    assert caller.seen.calls[0]["authorization"] == "Basic YW5uOnNlY3JldA=="


@every_world
def test_a_message_to_fall_back_to(running):
    with capture_logs(), running([], [fallback(b"sorry")]) as caller:
        caller.seen.script = [UNAVAILABLE]
        assert caller.one(b"a").message == b"sorry"


@every_world
def test_chaos_answers_with_a_code(running):
    with capture_logs(), running([], [chaos(0, 0, 1, enabled=True)]) as caller:
        assert caller.one(b"a").code == "UNAVAILABLE"
    assert not caller.seen.calls


@every_world
def test_the_default_stack(running):
    with capture_logs(), running([], default_stack()) as caller:
        for way, request_ in WAYS:
            assert getattr(caller, way)(request_).code == "OK"


@every_world
def test_on_the_way_out_there_is_a_result_even_after_a_retry(running):
    kept = []

    def look(ctx, call):
        ctx = call(ctx)
        kept.append((res(ctx).code, res(ctx).trailers.get("why")))
        return ctx

    with capture_logs(), running([], [look, retrying(Slept())]) as caller:
        caller.seen.script = [UNAVAILABLE, (grpc.StatusCode.NOT_FOUND, (("why", "script"),))]
        caller.one(b"a")
    assert kept == [("NOT_FOUND", "script")]


@every_world
def test_a_rate_limit_counts_callers_and_says_when_to_come_back(running):
    with capture_logs(), running([rate_limit("1/hour")]) as caller:
        first, second = caller.one(b"a"), caller.one(b"a")
    assert (first.code, first.headers["ratelimit-policy"]) == ("OK", '"1/hour";q=1;w=3600')
    assert (second.code, second.details) == ("RESOURCE_EXHAUSTED", "Too Many Requests")
    assert 3500_000 < int(second.trailers["grpc-retry-pushback-ms"]) <= 3600_000
    assert "content-type" not in second.trailers
