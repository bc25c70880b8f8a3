import asyncio
import inspect
import logging
import re
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from formation import compose, reply, stacks, wrap
from formation.check import OUTSIDE, faults
from formation.clock import Virtual, virtual
from formation.errors import CircuitOpenError, ConnectError, DeadlineExceeded
from formation.http import Request
from formation.introspection import name_of
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    circuit_breaker,
    client_throttle,
    coalesce,
    deadline,
    retry,
    throttle,
    timeout,
)
from formation.stacks import resilient
from formation.testing import script
from tests.client import edges as clients
from tests.middleware.worlds import every_lift, every_world
from tests.server import edges as servers
from tests.server.edges import Reply, Sent

SILENT = logging.getLogger("tests.silent")
CLIENT = [
    "watched",
    "request_id",
    "context",
    "request_logger",
    "fallback",
    "deadline",
    "idempotency_key",
    "retry",
    "circuit_breaker",
    "throttle",
    "bulkhead",
    "timeout",
]
SERVER = [
    "watched",
    "request_id",
    "context",
    "request_logger",
    "exception_handler",
    "deadline",
    "load_shed",
    "adaptive_limit",
    "rate_limit",
    "idempotency",
    "timeout",
]

every_client = pytest.mark.parametrize("client", clients.EDGES, ids=lambda edge: edge.name)
every_server = pytest.mark.parametrize("host", servers.EDGES, ids=lambda edge: edge.name)


def names(stack):
    return list(map(name_of, stack))


def hasty(stack):
    """Without pauses."""
    return [retry(base=0) if name_of(layer) == "retry" else layer for layer in stack]


def test_the_order_is_the_recommended_one():
    assert names(resilient(rate=10, instead="none", once=True)) == CLIENT
    assert names(resilient()) == [name for name in CLIENT if name not in {"fallback", "idempotency_key", "throttle"}]
    assert names(resilient("server", limit="100/minute", once=True)) == SERVER
    assert names(resilient("server")) == [name for name in SERVER if name not in {"rate_limit", "idempotency"}]


@pytest.mark.parametrize(
    "stack", [resilient(), resilient(rate=5, instead=[], once=True), resilient("server", limit="9/s", once=True)]
)
def test_every_recommended_stack_passes_the_check(stack):
    assert faults(stack) == []


def test_a_neighbour_of_the_recommended_stack_that_the_table_knows_does_not_pass_the_check():
    stack = resilient(rate=5, instead=[], once=True)
    for at, (outer, inner) in enumerate(pairwise(CLIENT)):
        swapped = [*stack[:at], stack[at + 1], stack[at], *stack[at + 2 :]]
        known = any(row[:2] == (inner, outer) for row in OUTSIDE)
        assert bool(faults(swapped)) == known


def test_it_is_a_plain_list_of_ones_own():
    stack = resilient()
    assert type(stack) is list
    stack.clear()
    assert len(resilient()) == 9


def test_each_line_of_the_stacks_says_its_reason():
    lines = re.findall(r"(?m)^        \S.*\),?.*$|^        \*.*$", inspect.getsource(stacks))
    listed = [line for line in lines if re.search(r"\),$|\),  # |\]\),  # ", line)]
    assert len(listed) == len(CLIENT) + len(SERVER)
    assert all("  # " in line for line in listed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"side": "proxy"}, "expected side as 'client' or 'server', got 'proxy'"),
        ({"side": "server", "rate": 3}, "expected no rate and no instead on a server, got 3 and None"),
        ({"side": "server", "instead": "x"}, "expected no rate and no instead on a server, got None and 'x'"),
        ({"limit": "9/s"}, "expected no limit on a client, got '9/s'"),
        ({"side": "server", "limit": "often"}, "expected a limit such as '100/minute'"),
        ({"total": -1}, "total"),
        ({"attempt": 0}, "timeout"),
        ({"at_once": 0}, "limit"),
        ({"rate": 0}, "rate"),
    ],
)
def test_what_cannot_be_is_refused_when_the_stack_is_made(arguments, said):
    with pytest.raises(ValueError, match=said):
        resilient(**arguments)


@every_server
def test_a_server_that_does_what_is_asked_once_takes_one_order(host):
    orders = []

    def app(seen):
        orders.append(seen.body)
        return Reply(201, chunks=[b"order %d" % len(orders)])

    built = host.build(app, resilient("server", once=True, logger=SILENT))
    sent = Sent("POST", headers={"Idempotency-Key": "7f3a"}, body=b"beans")
    assert {host.serve(built, sent).body for _ in range(3)} == {b"order 1"}


@every_server
def test_a_server_with_a_limit_tells_who_asks_too_often_when_to_come_again(host):
    built = host.build(lambda seen: Reply(), resilient("server", limit="2/hour", logger=SILENT))
    answers = [host.serve(built, Sent()) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].lines("Retry-After") == ["1800"]


@pytest.mark.parametrize("once", [42, ["redis://localhost"]], ids=str)
def test_what_is_no_redis_is_refused_when_the_stack_is_made(once):
    with pytest.raises(TypeError, match="expected storage"):
        resilient("server", once=once)
    with pytest.raises(TypeError, match="expected once"):
        resilient(once=once)


def test_what_is_no_logger_is_refused_when_the_stack_is_made():
    with pytest.raises(TypeError, match="expected a logger"):
        resilient(logger="shop")


def test_the_page_has_the_stacks_and_the_orders_that_hurt_as_they_are():
    page = (Path(__file__).parents[1] / "docs" / "stacks.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| \[`(\w+)`\]", page) == CLIENT + SERVER
    assert tuple(re.findall(r"(?m)^\| `(\w+)` \| `(\w+)` \| (.+) \|$", page)) == OUTSIDE


# --- around real calls ---


@every_client
def test_a_client_gets_its_answer_by_the_second_attempt_under_one_id_and_with_one_line(client, fresh_server):
    sender = client.build(base_uri=fresh_server.url, middleware=resilient(rate=1000, once=True))
    try:
        with capture_logs() as lines, fresh_server.watch() as seen:
            result = sender.post("/flaky/stack?fail=1")
    finally:
        sender.close()
    assert result.status_code == 200
    assert len(seen.requests) == 2
    for header in ("x-request-id", "idempotency-key"):
        assert len({request.header(header) for request in seen.requests}) == 1
        assert seen.requests[0].header(header)
    (line,) = [line for line in lines if line["event"] == "response.http" and line["log_level"] == "info"]
    assert (line["status"], line["attempts"]) == (200, 2)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["retry.scheduled"]


@every_client
def test_a_post_is_not_sent_again_to_a_server_of_which_nobody_has_said_that_it_knows_keys(client, fresh_server):
    sender = client.build(base_uri=fresh_server.url, middleware=resilient(logger=SILENT))
    try:
        with fresh_server.watch() as seen:
            assert sender.post("/flaky/order?fail=1").status_code == 503
    finally:
        sender.close()
    assert len(seen.requests) == 1


@every_client
def test_a_client_answers_with_something_else_when_the_server_is_down_and_the_circuit_opens(client, fresh_server):
    sender = client.build(base_uri=fresh_server.url, middleware=hasty(resilient(instead=b"of yesterday")))
    try:
        with capture_logs() as lines, fresh_server.watch() as seen:
            results = [sender.get("/status/503") for _ in range(3)]
    finally:
        sender.close()
    assert {(result.status_code, result.body) for result in results} == {(200, b"of yesterday")}
    assert len(seen.requests) == 5  # the circuit has opened in the second call
    assert [line["event"] for line in lines if line["event"] == "breaker.opened"] == ["breaker.opened"]


@every_server
def test_a_server_answers_and_answers_safely_to_what_its_app_raises(host):
    def app(seen):
        if seen.path == "/broken":
            raise KeyError("no such thing")
        return Reply(chunks=[b"all is well"])

    built = host.build(app, resilient("server"))
    with capture_logs() as lines:
        well = host.serve(built, Sent(path="/", headers={"X-Request-Id": "order-7"}))
        broken = host.serve(built, Sent(path="/broken"))
    assert (well.status, well.body, well.error) == (200, b"all is well", None)
    assert (broken.status, broken.error) == (500, None)
    assert b"no such thing" not in broken.body
    assert [line["status"] for line in lines if line["event"] == "response.http" and "status" in line][:1] == [200]
    assert {line.get("rid") for line in lines if line.get("path") == "/"} <= {"order-7", None}


@every_lift
def test_a_function_is_tried_again_and_then_answered_for(lifted):
    calls = []

    def stock():
        calls.append(1)
        raise ConnectionError("nobody there")

    with capture_logs() as lines:
        result, ctx = lifted(hasty(resilient(instead=0)), stock)
    assert (result, len(calls), ctx["degraded"]) == (0, 3, "ConnectionError")
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "request.call",
        "retry.scheduled",
        "retry.scheduled",
        "retry.exhausted",
        "fallback.used",
        "response.call",
    ]


# --- the line that ends a call ---


@pytest.fixture
def clock():
    token = virtual.set(Virtual(1))
    yield virtual.get()
    virtual.reset(token)


def ended(world, stack, steps, calls=1, **more):
    """The outcome of the last of the calls, and the line that ends it."""
    endpoint, middleware = script(steps), compose(*stack)
    for _ in range(calls):
        ctx = {"fmtn.req.http": Request("GET", "https://h/"), "fmtn.state": {}, **more}
        with capture_logs() as lines:
            out = world(middleware, ctx, endpoint)
    (line,) = [line for line in lines if "outcome" in line]
    return out, line


def said(line):
    return tuple(line[name] for name in ("event", "outcome", "attempts", "breaker"))


@every_world
@pytest.mark.parametrize("failures", [0, 1, 2])
def test_of_a_success_it_says_how_many_attempts_it_took_and_how_long_was_slept(world, clock, failures):
    out, line = ended(world, resilient(), [503] * failures + [200])
    assert said(line) == ("response.http", "ok", failures + 1, "closed")
    assert line["slept"] == pytest.approx(sum(clock.slept), abs=0.001)
    assert len(out["fmtn.attempts"]) == failures + 1


@every_world
def test_of_attempts_that_are_used_up(world, clock):
    _, line = ended(world, resilient(), [503] * 3)
    assert said(line) == ("response.http", "failed", 3, "closed")
    error, line = ended(world, resilient(), [ConnectError("no")] * 3)
    assert said(line) == ("failure.http", "failed", 3, "closed")
    assert isinstance(error, ConnectError)


@every_world
def test_of_a_circuit_that_opens_and_one_that_is_open(world, clock):
    stack = resilient()
    _, line = ended(world, stack, [503] * 5, calls=2)
    assert said(line) == ("response.http", "failed", 3, "open")
    error, line = ended(world, stack, [])
    assert said(line) == ("failure.http", "rejected", 1, "open")
    assert isinstance(error, CircuitOpenError)


@every_world
def test_of_a_deadline_that_has_passed_before_the_first_attempt_and_after_it(world, clock):
    error, line = ended(world, resilient(), [], **{"fmtn.deadline": 0.0})
    assert (line["outcome"], line["attempts"], line["slept"]) == ("deadline", 0, 0)
    assert isinstance(error, DeadlineExceeded)

    def late(ctx, call):
        clock.advance(60)
        raise DeadlineExceeded("the deadline has passed")

    _, line = ended(world, [*resilient(), late], [])
    assert said(line) == ("failure.http", "deadline", 1, "closed")


@every_world
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_of_a_call_that_is_cancelled_in_an_attempt_or_in_a_pause(world, clock, error):
    def cancel(*args):
        raise error

    _, line = ended(world, [*resilient(), cancel], [])
    assert said(line) == ("cancelled.http", "cancelled", 1, "closed")
    paused = [retry(sleep=cancel) if name_of(layer) == "retry" else layer for layer in resilient()]
    _, line = ended(world, paused, [503])
    assert said(line) == ("cancelled.http", "cancelled", 1, "closed")


@every_world
def test_of_an_answer_in_place_of_a_failure(world, clock):
    out, line = ended(world, resilient(instead="of yesterday"), [503] * 3)
    assert said(line) == ("response.http", "degraded", 3, "closed")
    assert out["fmtn.res.http"].status_code == 200


@every_lift
def test_of_a_function(lifted, clock):
    def stock():
        raise ConnectionError("nobody there")

    with capture_logs() as lines, pytest.raises(ConnectionError):
        lifted(resilient(), stock)
    assert said(lines[-1]) == ("failure.call", "failed", 3, "closed")


# --- whatever ends a call ---


class Watched:
    """A stack of all that counts something, and what it has counted."""

    def __init__(self, logger=None):
        self.bulkhead, self.limit = bulkhead(2, queue=5, max_wait=0.01, logger=logger), adaptive_limit(5, logger=logger)
        self.breaker, self.throttle = circuit_breaker(logger), client_throttle(logger=logger)
        self.stack = [
            coalesce(),
            deadline(30, logger=logger),
            retry(3, base=0, logger=logger),
            self.breaker,
            self.throttle,
            throttle(1e6, logger=logger),
            self.bulkhead,
            self.limit,
            timeout(10, body="deadline", logger=logger),
        ]

    def left(self):
        gate = self.breaker.gates["https://h"]
        return (
            self.bulkhead.places["https://h"].in_use,
            self.limit.limiters["https://h"].in_flight,
            gate.state,
            len(asyncio.all_tasks()) - 1,
        )


async def in_three_steps(ctx):
    for _ in range(3):
        await asyncio.sleep(0)
    return reply(ctx, 503 if ctx["attempt"] < 3 else 200)


async def cancelled(call, steps):
    task = asyncio.ensure_future(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    is_over = task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert is_over or task.cancelled()  # nobody has made another error of it, or an answer
    return is_over


async def closed(call, steps):
    try:
        for _ in range(steps):
            call.send(None)
    except StopIteration:
        return True
    call.close()
    return False


@pytest.mark.parametrize("end", [cancelled, closed], ids=lambda end: end.__name__)
def test_wherever_a_call_is_ended_no_place_is_taken_nor_a_failure_counted(end):
    async def main():
        steps, is_over = -1, False
        while not is_over:
            steps += 1
            watched = Watched()
            ctx = {"fmtn.req.http": Request("GET", "https://h/"), "fmtn.state": {}}
            is_over = await end(wrap(in_three_steps, watched.stack)(ctx), steps)
            assert watched.left() == (0, 0, "closed", 0)
        assert len(ctx["fmtn.attempts"]) == 3
        return steps

    with capture_logs():
        assert asyncio.run(main()) >= 10


def test_nothing_is_logged_under_a_lock():
    seen, chains = set(), []

    def say(event, **fields):
        """Let another thread make a call through the same, as the logger of a server does that sends its lines."""
        if event not in seen and threading.current_thread() is threading.main_thread():
            seen.add(event)
            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            thread.join(10)
            assert not thread.is_alive(), event

    def ask(depth=0):
        with suppress(Exception):
            chains[0]({"fmtn.req.http": Request("POST", "https://h/"), "fmtn.state": {}, "depth": depth})

    def endpoint(ctx):
        if ctx["depth"]:
            ask(ctx["depth"] - 1)
        return reply(ctx, 503)

    chains.append(wrap(endpoint, Watched(SimpleNamespace(debug=say, info=say, warning=say, error=say)).stack))
    for depth in (3, 3, 0, 0, 0, 0, 0, 0):
        ask(depth)
    assert seen >= {"bulkhead.rejected", "breaker.opened", "breaker.rejected"}
