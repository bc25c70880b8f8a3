import asyncio
import gc
import io
import logging
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import httpx2 as httpx
import pytest
import requests
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from formation import compose, for_aiohttp, for_httpx, in_async_chain, reply, sleep, wrap
from formation.errors import (
    AttemptTimeout,
    BodyConsumed,
    BreakerTriggerException,
    BulkheadRejected,
    ConnectError,
    ConnectTimeout,
    DeadlineExceeded,
    DecodeError,
    ProtocolError,
    ReadTimeout,
    StatusError,
    ThrottleRejected,
    TLSError,
    TransportError,
)
from formation.for_requests import Adapter, build, endpoint
from formation.http import Body, Request, Response
from formation.middleware import raise_for_status, retry
from formation.resilience.attempts import Attempt
from formation.resilience.budget import Budget
from tests.client.edges import EDGES
from tests.middleware.worlds import every_lift, every_world
from tests.servers import refused

EPOCH = 1_800_000_000.0


class Time:
    """A clock that only sleeping moves, and random numbers that are as large as they may be."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(round(seconds, 9))
        self.now += seconds

    @property
    def tools(self):
        return {
            "sleep": self.sleep,
            "clock": lambda: self.now,
            "now": lambda: EPOCH + self.now - 1000,
            "random": lambda low, high: high,
            "logger": logging.getLogger("tests.silent"),
        }


class Script:
    """An endpoint that plays its steps: a status, (status, headers), an error, or a function of ctx."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.seen = []

    def __call__(self, ctx):
        step = self.steps[min(len(self.seen), len(self.steps) - 1)]
        self.seen.append(ctx)
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            return step(ctx)
        status, headers = step if isinstance(step, tuple) else (step, {})
        return reply(ctx, status, headers, f"attempt {len(self.seen)}")

    @property
    def calls(self):
        return len(self.seen)


@pytest.fixture
def at():
    return Time()


def get(method="GET", url="https://h/users/7", headers=None, content=None, **more):
    return {"fmtn.req.http": Request(method, url, headers=headers, content=content), **more}


def status_of(out):
    assert isinstance(out, dict), out
    return out["fmtn.res.http"].status_code


def ledger(out):
    return [(each.number, each.status, each.error, round(each.delay, 9)) for each in out["fmtn.attempts"]]


# Which outcomes


@every_world
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_retried_and_the_last_response_returned(world, at, status):
    script = Script(status)
    out = world(retry(**at.tools), get(), script)
    assert status_of(out) == status
    assert out["fmtn.res.http"].content == b"attempt 3"
    assert script.calls == 3
    assert len(at.slept) == 2


@every_world
@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 409, 418, 422, 501, 505])
def test_any_other_status_is_returned_as_it_is(world, at, status):
    script = Script(status)
    assert status_of(world(retry(**at.tools), get(), script)) == status
    assert (script.calls, at.slept) == (1, [])


@every_world
@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused"),
        ConnectTimeout("slow"),
        ReadTimeout("slow"),
        ProtocolError("reset"),
        TransportError("broken"),
        AttemptTimeout("slow"),
        TimeoutError("slow"),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_connections_and_of_time_are_retried_and_the_last_one_raised(world, at, error):
    script = Script(error)
    assert world(retry(**at.tools), get(), script) is error
    assert (script.calls, len(at.slept)) == (3, 2)


@every_world
@pytest.mark.parametrize(
    "error",
    [
        TLSError("expired"),
        DecodeError(status_code=200, content_type="", head=b""),
        ValueError("a bug"),
        KeyError("a bug"),
        OSError("a file"),
        ThrottleRejected("later"),
        BulkheadRejected("full"),
        DeadlineExceeded("late"),
        KeyboardInterrupt(),
        SystemExit(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_passes_at_once(world, at, error):
    script = Script(error)
    raised = world(retry(**at.tools), get(), script)
    assert type(raised) is type(error)
    assert (script.calls, at.slept) == (1, [])


@every_world
def test_a_status_that_a_layer_inside_has_made_an_error_of_is_retried_all_the_same(world, at):
    script = Script(503, 503, 200)
    out = world(compose(retry(**at.tools), raise_for_status()), get(), script)
    assert status_of(out) == 200
    assert ledger(out) == [(1, 503, "StatusError", 0), (2, 503, "StatusError", 0.1), (3, 200, None, 0.2)]
    error = world(compose(retry(**at.tools), raise_for_status()), get(), Script(404))
    assert (type(error), error.status_code) == (StatusError, 404)


@every_world
def test_an_error_that_carries_a_response_is_judged_by_its_status(world, at):
    bad, good = BreakerTriggerException("no"), BreakerTriggerException("no")
    bad.response, good.response = Response(502), Response(200)
    script = Script(bad)
    assert world(retry(**at.tools), get(), script) is bad
    assert script.calls == 3
    script = Script(good)
    assert world(retry(**at.tools), get(), script) is good
    assert script.calls == 1


# Which requests


@every_world
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
def test_idempotent_methods_are_retried(world, at, method):
    script = Script(503)
    world(retry(**at.tools), get(method), script)
    assert script.calls == 3


@every_world
@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
@pytest.mark.parametrize("step", [503, ReadTimeout("slow"), ProtocolError("reset")], ids=str)
def test_others_are_sent_once_whatever_comes(world, at, method, step):
    script = Script(step)
    out = world(retry(**at.tools), get(method), script)
    assert out is step or status_of(out) == 503
    assert (script.calls, at.slept) == (1, [])


@every_world
@pytest.mark.parametrize("name", ["Idempotency-Key", "x-idempotency-key"])
def test_an_idempotency_key_makes_any_method_one(world, at, name):
    script = Script(ReadTimeout("slow"), 503, 200)
    out = world(retry(**at.tools), get("POST", headers={name: "7f3a"}), script)
    assert status_of(out) == 200
    assert [ctx["fmtn.req.http"].headers[name] for ctx in script.seen] == ["7f3a"] * 3


@every_world
def test_a_key_that_is_another_one_for_each_attempt_does_not(world, at):
    def key(ctx, call):
        ctx["fmtn.req.http"].headers["Idempotency-Key"] = str(ctx["attempt"])
        return call(ctx)

    script = Script(503)
    world(compose(retry(**at.tools), key), get("POST"), script)
    assert script.calls == 1


@every_world
def test_what_was_never_sent_is_sent_again_whatever_the_method(world, at):
    script = Script(ConnectError("refused"), ConnectTimeout("slow"), 201)
    assert status_of(world(retry(**at.tools), get("POST"), script)) == 201


@every_world
def test_idempotent_true_says_that_every_request_may_be_repeated(world, at):
    script = Script(503, 200)
    assert status_of(world(retry(idempotent=True, **at.tools), get("POST"), script)) == 200


# Bodies


BODIES = {
    "none": lambda: None,
    "bytes": lambda: b"body",
    "str": lambda: "body",
    "file": lambda: io.BytesIO(b"body"),
    "factory": lambda: lambda: iter([b"bo", b"dy"]),
}
ONE_SHOT = {
    "generator": lambda: (piece for piece in [b"bo", b"dy"]),
    "iterator": lambda: iter([b"body"]),
    "pipe": lambda: _Pipe(b"body"),
}


class _Pipe(io.RawIOBase):
    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.content.read(size)


def sends(step):
    """Make a step that reads the request's body as a transport does."""

    def send(ctx):
        ctx["sent"] = b"".join(ctx["fmtn.req.http"].body)
        if isinstance(step, BaseException):
            raise step
        return reply(ctx, step)

    return send


@every_world
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_can_be_sent_again_is_the_same_each_time(world, at, kind):
    script = Script(sends(503), sends(ReadTimeout("slow")), sends(200))
    out = world(retry(**at.tools), get("PUT", content=BODIES[kind]()), script)
    assert status_of(out) == 200
    assert [ctx["sent"] for ctx in script.seen] == [b"" if kind == "none" else b"body"] * 3


@every_world
def test_a_file_starts_where_it_stood_at_the_call(world, at):
    file = io.BytesIO(b"head body")
    file.seek(5)
    script = Script(sends(503), sends(200))
    world(retry(**at.tools), get("PUT", content=file), script)
    assert [ctx["sent"] for ctx in script.seen] == [b"body", b"body"]


@every_world
@pytest.mark.parametrize("kind", ONE_SHOT)
@pytest.mark.parametrize("step", [503, ReadTimeout("slow")], ids=str)
def test_a_body_that_cannot_is_sent_once_and_its_outcome_returned_with_no_pause(world, at, kind, step):
    script = Script(sends(step))
    out = world(retry(**at.tools), get("PUT", content=ONE_SHOT[kind]()), script)
    assert out is step or status_of(out) == 503
    assert (script.calls, at.slept, script.seen[0]["sent"]) == (1, [], b"body")


@every_world
def test_a_file_that_was_closed_meanwhile_is_not_sent_again_and_says_nothing_of_it(world, at):
    file = io.BytesIO(b"body")

    def send(ctx):
        file.close()
        return reply(ctx, 503)

    script = Script(send)
    assert status_of(world(retry(**at.tools), get("PUT", content=file), script)) == 503
    assert (script.calls, at.slept) == (1, [])


@every_world
def test_what_a_layer_does_to_the_body_in_one_attempt_is_not_done_again_to_the_next(world, at):
    def shout(ctx, call):
        ctx["fmtn.req.http"].body.map(bytes.upper, lambda: b"!")
        return call(ctx)

    for content in (b"body", io.BytesIO(b"body")):
        script = Script(sends(503), sends(503), sends(200))
        world(compose(retry(**at.tools), shout), get("PUT", content=content), script)
        assert [ctx["sent"] for ctx in script.seen] == [b"BODY!"] * 3


# The context


@every_world
def test_each_attempt_has_a_context_of_its_own_with_its_number(world, at):
    def tag(ctx, call):
        ctx["fmtn.req.http"].headers.add("X-Tag", "t")
        ctx["fmtn.state"]["seen"] = ctx["fmtn.state"].get("seen", 0) + 1
        ctx.setdefault("mark", ctx["attempt"])
        return call(ctx)

    script = Script(503, 503, 200)
    ctx = get(**{"fmtn.state": {}, "fmtn.native": {}, "fmtn.sensitive": set()})
    out = world(compose(retry(**at.tools), tag), ctx, script)
    assert [each["attempt"] for each in script.seen] == [1, 2, 3]
    assert [each["fmtn.req.http"].headers["X-Tag"] for each in script.seen] == ["t"] * 3
    assert len({id(each) for each in script.seen}) == 3
    assert (out["mark"], out["attempt"], out["fmtn.state"]) == (3, 3, {"seen": 1})


@every_world
@pytest.mark.parametrize("steps", [(200,), (503, 200), (503, 503, 503)], ids=str)
def test_outer_layers_see_the_same_dict_and_bags_with_what_the_last_attempt_has_put_there(world, at, steps):
    def inner(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.state"]["status"] = ctx["fmtn.res.http"].status_code
        ctx["inner"] = ctx["attempt"]
        del ctx["doomed"]
        return ctx

    state = {"own": 1}
    ctx = get(**{"fmtn.state": state, "doomed": True})
    held = []

    def outer(ctx, call):
        out = call(ctx)
        held.append((out is ctx, out["fmtn.state"] is state))
        return out

    out = world(compose(outer, retry(**at.tools), inner), ctx, Script(*steps))
    assert held == [(True, True)]
    assert out is ctx
    assert out["inner"] == out["attempt"] == len(steps)
    assert state == {"own": 1, "status": steps[-1]}
    assert "doomed" not in out
    assert out["fmtn.res.http"].content == f"attempt {len(steps)}".encode()


@every_world
def test_the_ledger_has_an_entry_for_each_attempt(world, at):
    def slow(step):
        def send(ctx):
            at.now += 0.25
            return Script(step)(ctx)

        return send

    script = Script(slow(503), slow(ReadTimeout("slow")), slow(200))
    out = world(retry(**at.tools), get(), script)
    assert out["fmtn.attempts"] == [
        Attempt(number=1, status=503, error=None, delay=0, elapsed=0.25),
        Attempt(number=2, status=None, error="ReadTimeout", delay=0.1, elapsed=0.25),
        Attempt(number=3, status=200, error=None, delay=0.2, elapsed=0.25),
    ]


@every_world
def test_the_ledger_is_there_when_an_error_comes_out_too(world, at):
    ctx = get()
    world(retry(**at.tools), ctx, Script(503, ReadTimeout("slow")))
    assert ledger(ctx) == [(1, 503, None, 0), (2, None, "ReadTimeout", 0.1), (3, None, "ReadTimeout", 0.2)]
    assert "fmtn.res.http" not in ctx
    ctx = get()
    world(retry(**at.tools), ctx, Script(KeyboardInterrupt()))
    assert ledger(ctx) == [(1, None, "KeyboardInterrupt", 0)]


@every_world
def test_the_header_of_the_attempt_is_sent_from_the_second_on(world, at):
    script = Script(503, 503, 200)
    world(retry(attempt_header="X-Attempt", **at.tools), get(), script)
    assert [ctx["fmtn.req.http"].headers.get("X-Attempt") for ctx in script.seen] == [None, "2", "3"]


@every_world
def test_a_failed_response_is_closed_before_the_pause_and_the_last_one_is_left_open(world, at):
    events = []

    def stream(status):
        def send(ctx):
            def pieces():
                yield b"piece"

            ctx["fmtn.res.http"] = Response(status, body=pieces())
            ctx["fmtn.res.http"].on_close(lambda count, error: events.append(f"close {status}"))
            return ctx

        return send

    def sleep(seconds):
        events.append("sleep")

    script = Script(stream(503), stream(502), stream(500))
    out = world(retry(**{**at.tools, "sleep": sleep}), get(), script)
    assert events == ["close 503", "sleep", "close 502", "sleep"]
    assert out["fmtn.res.http"].content == b"piece"


@every_world
def test_a_response_that_cannot_be_closed_does_not_stop_it(world, at):
    class Answer(Response):
        def close(self):
            raise OSError("gone")

    def broken(ctx):
        ctx["fmtn.res.http"] = Answer(503)
        return ctx

    assert status_of(world(retry(**at.tools), get(), Script(broken, 200))) == 200


# What we turn away ourselves


@every_world
@pytest.mark.parametrize("error", [ThrottleRejected("later"), DeadlineExceeded("late")], ids=lambda e: type(e).__name__)
def test_if_a_later_attempt_is_turned_away_the_earlier_outcome_counts(world, at, error):
    out = world(retry(**at.tools), get(), Script(503, error))
    assert status_of(out) == 503
    assert out["fmtn.res.http"].content == b"attempt 1"
    assert out["attempt"] == 1
    assert ledger(out) == [(1, 503, None, 0), (2, None, type(error).__name__, 0.1)]
    reset = ProtocolError("reset")
    assert world(retry(**at.tools), get(), Script(reset, error)) is reset


@every_world
@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (503, lambda: Body(iter([b"the kettle", b" is cold"])), b"the kettle is cold"),
        (503, lambda: Body(iter([])), b""),
        (503, lambda: Body(iter([b"x" * 4000, b"x" * 96])), b"x" * 4096),
        (503, lambda: Body(iter([b"x" * 4000, b"x" * 97, b"x"])), None),
        (503, lambda: Body(iter([b"the kettle"]), limit=9), None),
        (200, lambda: Body(iter([b"event"])), None),
    ],
    ids=["short", "empty", "as long as may be", "too long", "longer than its limit", "no error"],
)
def test_of_a_stream_that_counts_in_the_end_a_short_error_is_kept(world, at, status, body, kept):
    ends = []

    def stream(ctx):
        ctx["fmtn.res.http"] = Response(status, body=body())
        ctx["fmtn.res.http"].on_close(lambda count, error: ends.append(type(error).__name__))
        return ctx

    out = world(retry(on=status, **at.tools), get(), Script(stream, ThrottleRejected("later")))["fmtn.res.http"]
    assert ends == ["NoneType" if kept is not None else "BodyAbandoned"]
    if kept is None:
        with pytest.raises(BodyConsumed):
            _ = out.content
    else:
        assert (out.content, b"".join(out.body)) == (kept, kept)


@every_world
def test_a_stream_that_breaks_off_is_not_kept_and_it_is_tried_again(world, at):
    def stream(ctx):
        def pieces():
            yield b"piece"
            raise ProtocolError("reset")

        ctx["fmtn.res.http"] = Response(503, body=pieces())
        return ctx

    assert status_of(world(retry(**at.tools), get(), Script(stream, 200))) == 200


@every_world
def test_who_is_cancelled_while_a_failed_stream_is_read_is_not_held_up(world, at):
    ends = []

    def stream(ctx):
        def pieces():
            yield b"piece"
            raise asyncio.CancelledError

        ctx["fmtn.res.http"] = Response(503, body=pieces())
        ctx["fmtn.res.http"].on_close(lambda count, error: ends.append(count))
        return ctx

    script = Script(stream, 200)
    assert type(world(retry(**at.tools), get(), script)) is asyncio.CancelledError
    assert (script.calls, ends, at.slept) == (1, [5], [])


@every_world
def test_a_later_error_that_is_not_to_be_retried_is_raised(world, at):
    bug = ValueError("a bug")
    script = Script(503, bug)
    assert world(retry(**at.tools), get(), script) is bug
    assert script.calls == 2


@every_world
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError], ids=lambda e: e.__name__)
def test_what_is_no_exception_passes_at_once_at_a_later_attempt_too(world, at, error):
    script = Script(503, error(), 200)
    assert type(world(retry(**at.tools), get(), script)) is error
    assert (script.calls, at.slept) == (2, [0.1])


# The pause


@every_world
def test_the_bound_of_the_pause_doubles_up_to_the_cap(world, at):
    world(retry(8, base=1, cap=20, **at.tools), get(), Script(503))
    assert at.slept == [1, 2, 4, 8, 16, 20, 20]


@every_world
def test_after_a_429_it_starts_higher(world, at):
    world(retry(**at.tools), get(), Script(429, 429, 200))
    assert at.slept == [1, 2]


def test_it_is_random_between_nothing_and_the_bound(at):
    asked = []

    def random(low, high):
        asked.append((low, high))
        return 0.07

    retry(**{**at.tools, "random": random})(get(), Script(503))
    assert asked[:2] == [(0, 0.1), (0, 0.2)]
    assert at.slept == [0.07, 0.07]


@every_world
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_waited_for_and_a_little_more(world, at, status):
    world(retry(**at.tools), get(), Script((status, {"Retry-After": "7"}), 200))
    assert at.slept == [7.7]


@every_world
def test_retry_after_as_a_date_is_waited_for(world, at):
    said = format_datetime(datetime.fromtimestamp(EPOCH + 5, UTC), usegmt=True)
    world(retry(**at.tools), get(), Script((503, {"Retry-After": said}), 200))
    assert at.slept == [5.5]


@every_world
def test_it_counts_only_with_429_and_503(world, at):
    world(retry(**at.tools), get(), Script((500, {"Retry-After": "7"}), 200))
    assert at.slept == [0.1]


@every_world
@pytest.mark.parametrize(
    "said", ["-1", "soon", "", "nan", "inf", "1e3", "\u0667", "Thu, 01 Jan 2026 00:00:00 GMT", "7, 8"]
)
def test_what_cannot_be_read_or_is_past_is_ignored(world, at, said):
    headers = {"Retry-After": said} if said.isascii() else {}
    world(retry(**at.tools), get(), Script((503, headers), 200))
    assert at.slept == [0.1]


@every_world
@pytest.mark.parametrize("said", ["31", "3600", "999999999999", "9" * 300, "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_wants_to_be_left_alone_for_long_is_and_its_answer_returned_now(world, at, said):
    script = Script((503, {"Retry-After": said}), 200)
    assert status_of(world(retry(**at.tools), get(), script)) == 503
    assert (script.calls, at.slept) == (1, [])


@every_world
def test_as_long_as_is_allowed_is_not_too_long(world, at):
    world(retry(**at.tools), get(), Script((503, {"Retry-After": "30"}), 200))
    assert at.slept == [31]


@every_world
def test_how_long_is_for_the_caller_to_say(world, at):
    world(retry(max_retry_after=None, **at.tools), get(), Script((503, {"Retry-After": "3600"}), 200))
    world(retry(max_retry_after=0, **at.tools), get(), Script((503, {"Retry-After": "1"}), 200))
    assert at.slept == [3601]


@every_world
def test_other_headers_may_say_when_too(world, at):
    tools = {**at.tools, "headers": ("Retry-After", "X-RateLimit-Reset")}
    world(retry(**tools), get(), Script((429, {"X-RateLimit-Reset": str(int(EPOCH) + 4)}), 200))
    assert at.slept == [4.4]


@every_world
def test_no_pause_ends_after_the_deadline(world, at):
    script = Script(503)
    out = world(retry(None, base=0.4, stop=tenacity.stop_never, **at.tools), get(**{"fmtn.deadline": 1001.0}), script)
    assert status_of(out) == 503
    assert (at.slept, at.now) == ([0.4], 1000.4)  # 0.8 more would end at 1.2


@every_world
def test_a_pause_that_ends_at_the_very_deadline_is_not_made(world, at):
    script = Script(503)
    world(retry(base=0.5, **at.tools), get(**{"fmtn.deadline": 1000.5}), script)
    assert (script.calls, at.slept) == (1, [])


def test_without_arguments_it_sleeps_for_real_and_monotonically():
    started = time.monotonic()
    out = wrap(Script(503, 200), [retry(base=0.001, logger=logging.getLogger("tests.silent"))])(get())
    assert status_of(out) == 200
    assert out["fmtn.attempts"][1].delay <= 0.001
    assert time.monotonic() - started < 5


def test_in_an_async_chain_the_loop_goes_on_while_it_sleeps():
    done = []

    async def other():
        done.append("other")

    async def fetch(ctx):
        return reply(ctx, 503 if ctx["attempt"] == 1 else 200)

    async def main():
        chain = wrap(fetch, [retry(base=0.01, random=lambda low, high: high, logger=logging.getLogger("tests.silent"))])
        task = asyncio.create_task(chain(get()))
        await asyncio.sleep(0)
        await other()
        assert not task.done()
        return await task

    assert status_of(asyncio.run(main())) == 200
    assert done == ["other"]


# tenacity's own objects


@every_world
def test_a_wait_of_tenacity_takes_the_place_of_the_random_pause(world, at):
    world(retry(4, wait=tenacity.wait_incrementing(1, 2), **at.tools), get(), Script(503))
    assert at.slept == [1, 3, 5]


@every_world
def test_a_wait_that_looks_at_the_error_sees_it(world, at):
    def wait(state):
        return float(str(state.outcome.exception()))

    world(retry(wait=wait, **at.tools), get(), Script(ConnectError("3"), ConnectError("4"), 200))
    assert at.slept == [3, 4]


@every_world
def test_retry_after_counts_with_a_wait_of_tenacity_too(world, at):
    world(retry(wait=tenacity.wait_fixed(2), **at.tools), get(), Script((503, {"Retry-After": "7"}), 503, 200))
    assert at.slept == [7.7, 2]


@every_world
def test_a_stop_of_tenacity_stops_besides_the_attempts(world, at):
    script = Script(503)
    world(retry(9, base=1, cap=1, stop=tenacity.stop_after_delay(2.5), **at.tools), get(), script)
    assert at.slept == [1, 1, 1]
    script = Script(503)
    world(retry(2, stop=tenacity.stop_after_delay(100), **at.tools), get(), script)
    assert script.calls == 2


@every_world
def test_the_time_of_the_first_attempt_counts_for_a_stop(world, at):
    def slow(ctx):
        at.now += 10
        return reply(ctx, 503)

    script = Script(slow)
    world(retry(stop=tenacity.stop_after_delay(10), **at.tools), get(), script)
    assert script.calls == 1


@every_world
def test_a_condition_of_tenacity_sees_the_context_or_the_error(world, at):
    on = tenacity.retry_if_result(lambda ctx: status_of(ctx) == 404) | tenacity.retry_if_exception_type(ValueError)
    script = Script(404, ValueError("odd"), 200)
    assert status_of(world(retry(on=on, **at.tools), get(), script)) == 200
    script = Script(503)
    assert status_of(world(retry(on=on, **at.tools), get(), script)) == 503
    assert script.calls == 1


@every_world
def test_a_condition_that_would_retry_everything_retries_no_cancellation_and_nothing_we_turn_away(world, at):
    on = tenacity.retry_if_not_exception_type(ZeroDivisionError)
    for error in (asyncio.CancelledError(), KeyboardInterrupt(), ThrottleRejected("later")):
        script = Script(error)
        assert world(retry(on=on, **at.tools), get(), script) is error
        assert script.calls == 1


@every_world
def test_a_condition_does_not_set_aside_which_requests_may_be_repeated(world, at):
    script = Script(404)
    world(retry(on=tenacity.retry_if_result(lambda ctx: True), **at.tools), get("POST"), script)
    assert script.calls == 1


@every_world
def test_types_of_errors_and_statuses_take_the_place_of_the_usual_ones(world, at):
    for on in ((404, KeyError), [KeyError, 404]):
        script = Script(404, KeyError("k"), 200)
        assert status_of(world(retry(on=on, **at.tools), get(), script)) == 200
    for on in (404, KeyError, ()):
        script = Script(503)
        assert status_of(world(retry(on=on, **at.tools), get(), script)) == 503
        assert script.calls == 1


# Around a function without a request


@every_lift
def test_around_a_function_any_error_is_retried(lifted, at):
    answers = [ValueError("a"), OSError("b"), "yes"]

    def ask(name):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return f"{name}: {answer}"

    result, ctx = lifted([retry(**at.tools)], ask, "ann")
    assert result == "ann: yes"
    assert ledger(ctx) == [(1, None, "ValueError", 0), (2, None, "OSError", 0.1), (3, None, None, 0.2)]


@every_world
def test_but_not_what_we_have_turned_away(world, at):
    script = Script(BulkheadRejected("full"))
    assert world(retry(**at.tools), {}, script) is script.steps[0]
    assert script.calls == 1


@every_world
def test_a_context_may_be_anything(world, at):
    answers = [OSError("no"), 42]

    def ask(n):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return n + answer

    assert world(retry(**at.tools), 1, ask) == 43


# Nesting, events


def test_a_retry_inside_of_a_retry_is_warned_of_once():
    at = Time()
    with capture_logs() as lines:
        tools = {**at.tools, "logger": None}
        chain = wrap(Script(200), [retry(**tools), retry(**tools)])
        chain(get())
        out = chain(get())
    assert [(line["event"], line["log_level"], line["depth"]) for line in lines] == [("retry.nested", "warning", 2)]
    assert "retry_depth" not in out


@every_world
def test_the_ledger_is_that_of_the_outer_one(world, at):
    script = Script(503, 503, 503, 200)
    out = world(compose(retry(2, **at.tools), retry(3, **at.tools)), get(), script)
    assert ledger(out) == [(1, 503, None, 0), (2, 200, None, 0.1)]
    assert (script.calls, out["attempt"]) == (4, 2)


def test_two_calls_one_after_the_other_with_one_context_are_not_nested():
    at = Time()

    def twice(ctx, call):
        return call(call(ctx))

    with capture_logs() as lines:
        wrap(Script(200), [twice, retry(**{**at.tools, "logger": None})])(get())
    assert lines == []


@every_world
def test_each_pause_is_announced_and_the_end_of_all_patience(world, at):
    with capture_logs() as lines:
        world(retry(**{**at.tools, "logger": None}), get(), Script((429, {"Retry-After": "3"}), ReadTimeout("slow")))
    assert lines == [
        {"event": "retry.scheduled", "log_level": "warning", "attempt": 1, "status": 429, "delay": 3.3,
         "retry_after": 3.0, "request": "GET /users/7"},
        {"event": "retry.scheduled", "log_level": "warning", "attempt": 2, "error": "ReadTimeout", "delay": 0.2,
         "retry_after": None, "request": "GET /users/7"},
        {"event": "retry.exhausted", "log_level": "error", "attempt": 3, "error": "ReadTimeout",
         "stopped_by": "attempts", "request": "GET /users/7"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stopped_by", "settings", "more", "step"),
    [
        ("attempts", {"attempts": 1}, {}, 503),
        ("stop", {"stop": tenacity.stop_after_delay(0)}, {}, 503),
        ("retry_after", {}, {}, (503, {"Retry-After": "3600"})),
        ("deadline", {}, {"fmtn.deadline": 1000.05}, 503),
    ],
)
def test_the_end_tells_its_reason(at, stopped_by, settings, more, step):
    with capture_logs() as lines:
        retry(**{**at.tools, **settings, "logger": None})(get(**more), Script(step))
    assert [(line["event"], line["stopped_by"]) for line in lines] == [("retry.exhausted", stopped_by)]


def test_a_success_and_what_may_not_be_repeated_say_nothing(at):
    with capture_logs() as lines:
        silent = {**at.tools, "logger": None}
        retry(**silent)(get(), Script(200))
        retry(**silent)(get("POST"), Script(503))
        retry(**silent)(get(), Script(404))
    assert lines == []


def test_a_logger_of_logging_will_do(at, caplog):
    with caplog.at_level("WARNING", "app"):
        retry(**{**at.tools, "logger": logging.getLogger("app")})(get(), Script(503, 200))
    assert caplog.messages == ["retry.scheduled attempt=1 status=503 delay=0.1 retry_after=None request='GET /users/7'"]


def test_a_logger_that_raises_changes_nothing(at, caplog):
    class Broken(logging.LoggerAdapter):
        def warning(self, *args, **kwargs):
            raise OSError("the disk is full")

    tools = {**at.tools, "logger": Broken(logging.getLogger("app"))}
    assert status_of(retry(**tools)(get(), Script(503, 200))) == 200
    assert [record.name for record in caplog.records] == ["formation"]


def test_without_structlog_it_logs_through_logging():
    code = """
import logging, sys
sys.modules["structlog"] = None
logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
from formation import lift
from formation.middleware import retry
answers = [OSError("no"), None]
def ask():
    answer = answers.pop(0)
    if answer: raise answer
lift(ask, [retry(base=0)])()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert (
        done.stdout
        == "formation WARNING retry.scheduled attempt=1 error='OSError' delay=0.0 retry_after=None fn='ask'\n"
    )


def test_without_tenacity_it_says_what_to_install():
    code = "import sys; sys.modules['tenacity'] = None; from formation.middleware import retry"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert "ImportError: tenacity is not installed: pip install 'formation[resilience]'" in done.stderr


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"attempts": 0}, ValueError, "expected attempts as a whole number, 1 or more, got 0"),
        ({"attempts": -1}, ValueError, "got -1"),
        ({"attempts": True}, ValueError, "got True"),
        ({"attempts": 2.5}, ValueError, "got 2.5"),
        ({"attempts": None}, ValueError, "to try for ever, say stop=stop_never"),
        ({"base": -0.1}, ValueError, "expected base in seconds, 0 or more, got -0.1"),
        ({"throttled_base": "1"}, ValueError, "expected throttled_base in seconds"),
        ({"cap": float("nan")}, ValueError, "expected cap in seconds"),
        ({"max_retry_after": -1}, ValueError, "expected max_retry_after in seconds"),
        ({"on": "503"}, TypeError, "expected on as types of errors and statuses"),
        ({"on": [503, "504"]}, TypeError, "expected on as types of errors and statuses"),
        ({"on": KeyboardInterrupt}, TypeError, "expected on as types of errors and statuses"),
        ({"on": 5.5}, TypeError, "expected on as types of errors and statuses"),
        ({"wait": 1}, TypeError, "expected wait as one of tenacity's wait_ objects, or a function, got 1"),
        ({"stop": 3}, TypeError, "expected stop as one of tenacity's stop_ objects, or a function, got 3"),
        ({"sleep": asyncio.sleep}, TypeError, "expected sleep as a plain function"),
        ({"logger": "app"}, TypeError, "expected a logger, got 'app'"),
        ({"attempt_header": "X Attempt"}, ValueError, "X Attempt"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_once(settings, error, said):
    with pytest.raises(error) as raised:
        retry(**settings)
    assert said in str(raised.value)


def test_attempts_and_base_may_be_given_by_position_as_in_0_1(at):
    script = Script(503)
    retry(5, 0, **at.tools)(get(), script)
    assert (script.calls, at.slept) == (5, [0, 0, 0, 0])


def test_one_attempt_never_sleeps(at):
    script = Script(503)
    retry(1, **at.tools)(get(), script)
    assert (script.calls, at.slept) == (1, [])


# Laws


@given(
    st.lists(
        st.sampled_from([200, 404, 408, 429, 500, 503, "timeout", "refused", "bug", "full"]), min_size=1, max_size=6
    ),
    st.integers(1, 5),
    st.sampled_from(["GET", "POST"]),
)
def test_the_ledger_is_as_long_as_the_attempts_and_the_pauses_one_less(steps, attempts, method):
    errors = {
        "timeout": ReadTimeout("slow"),
        "refused": ConnectError("no"),
        "bug": ValueError("bug"),
        "full": BulkheadRejected("full"),
    }
    at, ctx = Time(), get(method)
    script = Script(*(errors.get(step, step) for step in steps))
    try:
        wrap(script, [retry(attempts, **at.tools)])(ctx)
    except Exception as error:  # noqa: BLE001
        assert error in errors.values()  # noqa: PT017
    assert len(ctx["fmtn.attempts"]) == script.calls == len(at.slept) + 1 <= attempts
    assert [each.number for each in ctx["fmtn.attempts"]] == list(range(1, script.calls + 1))
    assert [each.delay for each in ctx["fmtn.attempts"]][1:] == pytest.approx(at.slept)


SCENARIOS = {
    "success": ([200], {}, {}),
    "success at last": ([503, (429, {"Retry-After": "2"}), 200], {}, {}),
    "errors": ([ReadTimeout("a"), ConnectError("b"), ProtocolError("c")], {}, {}),
    "turned away": ([503, ThrottleRejected("later")], {}, {}),
    "deadline": ([503], {"attempts": 9}, {"fmtn.deadline": 1000.5}),
    "too long": ([(503, {"Retry-After": "99"})], {}, {}),
    "interrupted": ([503, KeyboardInterrupt()], {}, {}),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_happens_in_the_same_order_in_a_sync_and_in_an_async_chain(name):
    steps, settings, more = SCENARIOS[name]

    def run(run_chain):
        events, at = [], Time()

        def sleep(seconds):
            events.append(("sleep", seconds, in_async_chain()))
            at.sleep(seconds)

        def tell(ctx, call):
            events.append(("attempt", ctx["attempt"]))
            try:
                return call(ctx)
            finally:
                events.append(("end", ctx["attempt"]))

        with capture_logs() as lines:
            middleware = [retry(**{**at.tools, **settings, "sleep": sleep, "logger": None}), tell]
            ctx = get(**more)
            try:
                out = run_chain(Script(*steps), middleware, ctx)
                events.append(("out", status_of(out), out is ctx))
            except BaseException as error:  # noqa: BLE001
                events.append(("error", repr(error)))
        return [event[:2] for event in events], lines, ledger(ctx)

    def in_sync(script, middleware, ctx):
        return wrap(script, middleware)(ctx)

    def in_async(script, middleware, ctx):
        async def fetch(ctx):
            await asyncio.sleep(0)
            return script(ctx)

        return asyncio.run(wrap(fetch, middleware)(ctx))

    assert run(in_sync) == run(in_async)


# Tasks and threads


@pytest.mark.parametrize("moment", ["first attempt", "pause", "second attempt"])
def test_a_cancelled_task_ends_there_and_is_cancelled(moment):
    calls = []

    async def main():
        reached = asyncio.Event()

        async def fetch(ctx):
            calls.append(ctx["attempt"])
            if moment == "first attempt" or (moment == "second attempt" and len(calls) == 2):
                reached.set()
                await asyncio.sleep(60)
            return reply(ctx, 503)

        def pause(seconds):
            if moment == "pause":
                reached.set()
                sleep(60)

        chain = wrap(fetch, [retry(sleep=pause, logger=logging.getLogger("tests.silent"))])
        task = asyncio.create_task(chain(get()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert len(calls) == (2 if moment == "second attempt" else 1)


def test_asyncio_timeout_cuts_a_chain_that_would_retry_for_ever():
    async def fetch(ctx):
        return reply(ctx, 503)

    async def main():
        forever = retry(
            None, budget=None, base=0.001, cap=0.001, stop=tenacity.stop_never, logger=logging.getLogger("tests.silent")
        )
        async with asyncio.timeout(0.05):
            await wrap(fetch, [forever])(get())

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_calls_of_many_tasks_and_threads_do_not_mix_their_attempts():
    middleware = retry(base=0.0005, budget=None, logger=logging.getLogger("tests.silent"))
    fails = [n % 3 for n in range(120)]

    def answer(ctx):
        return reply(ctx, 503 if ctx["attempt"] <= ctx["fails"] else 200)

    async def fetch(ctx):
        await asyncio.sleep(0)
        return answer(ctx)

    async def tasks():
        chain = wrap(fetch, [middleware])
        return await asyncio.gather(*(chain(get(fails=n)) for n in fails))

    outs = []
    chain = wrap(answer, [middleware])
    threads = [threading.Thread(target=lambda: outs.extend(chain(get(fails=n)) for n in fails)) for _ in range(4)]
    for thread in threads:
        thread.start()
    outs += asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert len(outs) == 5 * len(fails)
    assert {(status_of(out), len(out["fmtn.attempts"]) - out["fails"]) for out in outs} == {(200, 1)}


@pytest.mark.parametrize("last", [ReadTimeout, ThrottleRejected, KeyboardInterrupt], ids=lambda kind: kind.__name__)
def test_an_error_holds_nothing_once_it_is_dropped(at, last):
    def fetch(ctx):
        raise (ReadTimeout if ctx["attempt"] == 1 else last)("no")

    def watched():
        ctx = get()
        try:
            wrap(fetch, [retry(**at.tools)])(ctx)
        except BaseException as error:  # noqa: BLE001
            assert error.__traceback__.tb_next is not None  # noqa: PT017
        return weakref.ref(ctx["fmtn.req.http"])

    gc.collect()
    gc.disable()
    try:
        assert watched()() is None
    finally:
        gc.enable()


def test_the_traceback_of_an_error_leads_to_where_it_came_from(at):
    def fetch(ctx):
        raise ReadTimeout("slow")

    with pytest.raises(ReadTimeout) as raised:
        wrap(fetch, [retry(**at.tools)])(get())
    assert raised.traceback[-1].name == "fetch"


def test_an_error_keeps_the_context_it_was_raised_in_when_it_is_raised_again(at):
    def fetch(ctx):
        try:
            {}["first"]
        except KeyError:
            raise ReadTimeout("second")  # noqa: B904

    try:
        int("handled outside")
    except ValueError:
        with pytest.raises(ReadTimeout) as raised:
            wrap(fetch, [retry(**at.tools)])(get())
    assert isinstance(raised.value.__context__, KeyError)


# A function that succeeds at once


@every_lift
def test_a_function_that_succeeds_at_once_has_one_attempt_in_its_ledger(lifted, at):
    result, ctx = lifted([retry(**at.tools)], lambda: 42)
    assert (result, ctx["attempt"], ledger(ctx)) == (42, 1, [(1, None, None, 0)])
    assert "retry_depth" not in ctx


@every_world
def test_a_context_without_a_request_stays_the_same_dict_and_keeps_what_is_put_into_it(world, at):
    ctx = {"a": 1}

    def add(ctx):
        ctx["b"] = ctx["attempt"], ctx["retry_depth"]
        return ctx

    out = world(retry(**at.tools), ctx, add)
    assert out is ctx
    assert (out["a"], out["b"]) == (1, (1, 1))


@every_world
def test_what_a_first_attempt_without_a_request_has_left_does_not_reach_the_second(world, at):
    ctx = {"a": 1}

    def fail_once(ctx):
        if ctx["attempt"] == 1:
            ctx["left"] = True
            raise OSError("no")
        ctx["b"] = 2
        return ctx

    out = world(retry(**at.tools), ctx, fail_once)
    assert out is ctx
    assert ("left" in out, out["b"], out["attempt"], len(out["fmtn.attempts"])) == (False, 2, 2, 2)


@every_world
def test_another_context_that_comes_back_at_once_is_merged(world, at):
    ctx = {"a": 1}
    out = world(retry(**at.tools), ctx, lambda ctx: {"b": 2})
    assert out is ctx
    assert ("a" in out, out["b"], out["attempt"]) == (False, 2, 1)


@every_world
def test_a_retry_in_a_retry_around_a_function_leaves_the_outer_ledger(world, at):
    out = world(compose(retry(**at.tools), retry(**at.tools)), {}, lambda ctx: ctx)
    assert (ledger(out), out["attempt"], "retry_depth" in out) == ([(1, None, None, 0)], 1, False)


# The budget


def spent(budget):
    return dict(budget.spent)


@every_world
def test_a_retry_is_paid_for_and_one_that_helped_gets_its_tokens_back(world, at):
    budget = Budget()
    middleware = retry(budget=budget, **at.tools)
    world(middleware, get(), Script(503))
    assert spent(budget) == {"https://h": 28}
    world(middleware, get(), Script(503, 503, 200))
    assert spent(budget) == {"https://h": 42}
    world(middleware, get(), Script(200))
    assert spent(budget) == {"https://h": 41}


@every_world
def test_without_tokens_the_outcome_is_returned_at_once_and_the_log_says_so(world, at):
    budget = Budget(20)
    middleware = retry(budget=budget, **{**at.tools, "logger": None})
    with capture_logs() as events:
        assert status_of(world(middleware, get(), script := Script(503))) == 503
    assert (script.calls, at.slept) == (2, [0.1])
    assert [(each["event"], each["log_level"], each["attempt"]) for each in events] == [
        ("retry.scheduled", "warning", 1),
        ("retry.budget_exhausted", "warning", 2),
    ]


@every_world
def test_an_error_without_tokens_is_the_error_itself(world, at):
    error = ConnectError("refused")
    assert world(retry(budget=Budget(1), **at.tools), get(), script := Script(error)) is error
    assert script.calls == 1


@every_world
def test_each_origin_has_an_account_of_its_own(world, at):
    middleware = retry(budget=Budget(14), **at.tools)
    for host, calls in (("a", 2), ("a", 1), ("b", 2)):
        world(middleware, get(url=f"https://{host}/"), script := Script(503))
        assert script.calls == calls


@every_lift
def test_around_functions_there_is_one_account(lifted, at):
    def ask():
        raise OSError("no")

    budget = Budget()
    with pytest.raises(OSError, match="no"):
        lifted([retry(budget=budget, **at.tools)], ask)
    assert spent(budget) == {None: 28}
    lifted([retry(budget=budget, **at.tools)], lambda: 42)
    assert spent(budget) == {None: 27}


@every_world
def test_a_retry_after_a_429_costs_less(world, at):
    budget = Budget()
    world(retry(budget=budget, **at.tools), get(), Script(429))
    assert spent(budget) == {"https://h": 10}


@every_world
@pytest.mark.parametrize("settings", [{"attempts": 1}, {"stop": tenacity.stop_after_attempt(1)}], ids=["one", "stop"])
def test_the_last_attempt_takes_no_token(world, at, settings):
    budget = Budget()
    world(retry(budget=budget, **settings, **at.tools), get(), Script(503))
    assert spent(budget) == {}


@every_world
def test_what_is_not_waited_for_takes_no_token(world, at):
    budget = Budget()
    middleware = retry(budget=budget, **at.tools)
    world(middleware, get(), Script((503, {"Retry-After": "100"})))
    world(middleware, get(**{"fmtn.deadline": at.now}), Script(503))
    world(middleware, get("POST"), Script(503))
    world(middleware, get("PUT", content=iter([b"gone"])), Script(503))
    assert spent(budget) == {}


@every_world
@pytest.mark.parametrize("last", [ThrottleRejected("later"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_a_retry_that_is_turned_away_or_cancelled_gets_its_tokens_back(world, at, last):
    budget = Budget()
    world(retry(budget=budget, **at.tools), get(), Script(503, last))
    assert spent(budget) == {}


@every_world
def test_a_pause_that_is_cancelled_gets_its_tokens_back(world, at):
    def interrupted(seconds):
        raise KeyboardInterrupt

    budget = Budget()
    out = world(retry(budget=budget, **{**at.tools, "sleep": interrupted}), get(), Script(503))
    assert isinstance(out, KeyboardInterrupt)
    assert spent(budget) == {}


@every_world
@pytest.mark.parametrize("ctx", [get, dict], ids=["request", "function"])
def test_of_a_pause_that_is_cancelled_the_context_says_what_was_tried_and_is_as_good_as_new(world, at, ctx):
    def interrupted(seconds):
        raise KeyboardInterrupt

    def fail(ctx):
        if "fmtn.req.http" in ctx:
            return reply(ctx, 503)
        raise OSError

    ctx = ctx()
    before = {*ctx}
    assert isinstance(world(retry(**{**at.tools, "sleep": interrupted}), ctx, fail), KeyboardInterrupt)
    assert {*ctx} - before == {"fmtn.attempts", "attempt"}
    assert (len(ctx["fmtn.attempts"]), ctx["attempt"]) == (1, 1)


def test_a_task_cancelled_in_its_pause_and_a_closed_coroutine_get_their_tokens_back():
    budget = Budget()

    async def fetch(ctx):
        return reply(ctx, 503)

    async def main():
        chain = wrap(
            fetch,
            [retry(base=1000, random=lambda low, high: high, budget=budget, logger=logging.getLogger("tests.silent"))],
        )
        task = asyncio.create_task(chain(get()))
        closed = chain(get())
        for _ in range(5):
            await asyncio.sleep(0)
        closed.send(None)
        assert spent(budget) == {"https://h": 28}
        closed.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert spent(budget) == {}

    asyncio.run(main())


@every_world
def test_a_404_is_a_success_of_the_endpoint(world, at):
    budget = Budget()
    middleware = retry(budget=budget, **at.tools)
    world(middleware, get(), Script(503))
    world(middleware, get(), Script(404))
    world(middleware, get("POST"), Script(503))  # cannot be retried, and is none
    assert spent(budget) == {"https://h": 27}


@every_world
def test_a_condition_of_tenacity_decides_what_a_success_is(world, at):
    budget = Budget()
    middleware = retry(on=tenacity.retry_if_result(lambda ctx: ctx["attempt"] < 3), budget=budget, **at.tools)
    world(middleware, get(), Script(200))
    assert spent(budget) == {"https://h": 14}


@every_world
def test_a_ratio_is_so_many_retries_for_each_call(world, at):
    middleware = retry(2, budget=0.5, **at.tools)
    assert sum(len(world(middleware, get(), Script(503))["fmtn.attempts"]) - 1 for _ in range(100)) == 10 + 49


@every_world
def test_without_a_budget_every_call_is_retried(world, at):
    middleware = retry(budget=None, **at.tools)
    assert {len(world(middleware, get(), Script(503))["fmtn.attempts"]) for _ in range(50)} == {3}


@pytest.mark.parametrize("budget", ["a lot", object(), []])
def test_what_is_no_budget_is_refused(budget):
    with pytest.raises(TypeError, match="expected budget as 'quota', a number of retries for each call, a Budget or"):
        retry(budget=budget)
    with pytest.raises(ValueError, match="expected ratio as a number above 0"):
        retry(budget=0)


# With a real server


def client(server, *middleware, **settings):
    return build(base_uri=server.url, middleware=middleware, **settings)


def patient(at, attempts=3, **settings):
    return retry(attempts, **{**at.tools, **settings})


def test_a_flaky_server_is_asked_until_it_answers(server, at):
    with server.watch() as seen, client(server, patient(at)) as api:
        result = api.get("/flaky/until-it-answers")
    assert result.status_code == 200
    assert [each.status for each in result.attempts] == [503, 503, 200]
    assert len(seen.requests) == 3
    assert seen.connections == 1
    assert at.slept == [0.1, 0.2]


def test_a_server_that_hangs_up_is_asked_again(server, at):
    with client(server, patient(at)) as api:
        result = api.get("/flaky/hangs-up", params={"status": 0})
    assert [each.error for each in result.attempts] == ["ProtocolError", "ProtocolError", None]


def test_a_post_is_not_unless_it_has_a_key(server, at):
    with server.watch() as seen, client(server, patient(at)) as api:
        assert api.post("/flaky/post", json={"pay": 1}).status_code == 503
        assert api.post("/flaky/key", json={"pay": 1}, headers={"Idempotency-Key": "1"}).status_code == 200
    assert [each.path for each in seen.requests] == ["/flaky/post", *["/flaky/key"] * 3]
    assert {each.body for each in seen.requests} == {b'{"pay":1}'}


def test_a_post_that_found_nobody_is_sent_again(at):
    with build(base_uri=refused(), middleware=[patient(at)]) as api, pytest.raises(ConnectError) as raised:
        api.post("/", json={})
    assert len(at.slept) == 2
    assert "attempts 3" in raised.value.__notes__[-1]


def test_retry_after_of_a_real_server_is_heeded(scripted, at):
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 4\r\n\r\nbusy"
    fine = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
    with client(scripted(busy, fine, keep=True), patient(at)) as api:
        assert api.get("/").body == b"fine"
    assert at.slept == [2.2]


UPLOADS = {
    "bytes": lambda: {"content": b"body" * 1000},
    "json": lambda: {"json": {"a": ["b"] * 100}},
    "form": lambda: {"data": {"a": "ä", "b": "2"}},
    "file": lambda: {"content": io.BytesIO(b"file" * 50_000)},
    "factory": lambda: {"content": lambda: iter([b"one", b"two"])},
    "multipart": lambda: {"files": {"f": ("f.bin", io.BytesIO(b"part" * 50_000))}, "data": {"a": "1"}},
}


@contextmanager
def through(edge, server, *middleware, **settings):
    sender = edge.build(base_uri=server.url, middleware=middleware, **settings)
    try:
        yield sender
    finally:
        sender.close()


every_edge = pytest.mark.parametrize("edge", [edge for edge in EDGES if edge.app is None], ids=lambda edge: edge.name)


@every_edge
@pytest.mark.parametrize("kind", UPLOADS)
def test_an_upload_arrives_byte_for_byte_at_each_attempt(edge, server, at, kind):
    with server.watch() as seen, through(edge, server, patient(at)) as api:
        assert api.send("PUT", f"/flaky/upload-{kind}-{edge.name}", **UPLOADS[kind]()).status_code == 200
    first, *others = seen.requests
    assert first.size > 0
    assert [(each.sha256, each.size, each.framing) for each in others] == [
        (first.sha256, first.size, first.framing)
    ] * 2
    assert {each.header("Content-Type") for each in seen.requests} == {first.header("Content-Type")}


@every_edge
def test_a_streamed_upload_is_sent_once(edge, server, at):
    with server.watch() as seen, through(edge, server, patient(at)) as api:
        result = api.send("PUT", f"/flaky/stream-{edge.name}", content=(piece for piece in [b"one", b"two"]))
    assert result.status_code == 503
    assert [each.body for each in seen.requests] == [b"onetwo"]
    assert at.slept == []


@pytest.mark.timeout(20)
def test_three_503_with_one_connection_and_streams_do_not_lock_each_other_out(server, at):
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True))
    with (
        session,
        build(base_uri=server.url, middleware=[patient(at, 4)], endpoint=endpoint(session)) as api,
        api.get("/flaky/one-connection", params={"fail": 3}, stream=True, timeout=5) as result,
    ):
        assert result.status_code == 200
        assert b"".join(result.body)
        assert [each.status for each in result.attempts] == [503, 503, 503, 200]


@pytest.mark.timeout(20)
def test_nor_do_they_on_httpx(server, at):
    limits = httpx.Limits(max_connections=1)
    with (
        httpx.Client(limits=limits) as mine,
        for_httpx.build(
            base_uri=server.url, middleware=[patient(at, 4)], endpoint=for_httpx.endpoint(mine), timeout=5
        ) as api,
        api.get("/flaky/one-connection-httpx?fail=3", stream=True) as result,
    ):
        assert (result.status_code, len(result.attempts)) == (200, 4)
        assert b"".join(result.body)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
def test_nor_do_they_in_an_event_loop(server, at, library):
    async def main():
        if library == "httpx":
            mine = httpx.AsyncClient(limits=httpx.Limits(max_connections=1))
            build, endpoint = for_httpx.async_build, for_httpx.async_endpoint
        else:
            mine = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
            build, endpoint = for_aiohttp.build, for_aiohttp.endpoint
        async with (
            mine,
            build(base_uri=server.url, middleware=[patient(at, 4)], endpoint=endpoint(mine), timeout=5) as api,
            api.get(f"/flaky/one-connection-of-{library}?fail=3", stream=True) as result,
        ):
            assert (result.status_code, len(result.attempts)) == (200, 4)
            assert b"".join([chunk async for chunk in result.body])

    asyncio.run(main())


@every_edge
def test_a_failed_stream_can_be_read_where_a_later_attempt_is_turned_away(edge, server, at):
    def once(ctx, call):
        if ctx["attempt"] > 1:
            raise ThrottleRejected("later")
        return call(ctx)

    with (
        server.watch() as seen,
        through(edge, server, patient(at), once) as api,
        api.stream(f"/flaky/turned-away-{edge.name}") as result,
    ):
        assert (result.status_code, api.content(result)) == (503, b"not yet")
        assert b"".join(api.chunks(result)) == b"not yet"
        assert api.get("/echo").status_code == 200
    assert seen.connections == 1


def test_a_stream_that_has_begun_is_not_retried(server, at):
    with (
        client(server, patient(at)) as api,
        server.watch() as seen,
        pytest.raises(ProtocolError),
        api.get("/close-mid-body", stream=True) as result,
    ):
        b"".join(result.body)
    assert len(seen.requests) == 1


def test_a_body_that_breaks_off_is_fetched_again_where_it_is_read_at_once(server, at):
    with client(server, patient(at)) as api, server.watch() as seen, pytest.raises(ProtocolError):
        api.get("/close-mid-body")
    assert len(seen.requests) == 3


def test_a_read_timeout_is_retried(server, at):
    with client(server, patient(at, 2), timeout=0.05) as api, pytest.raises(ReadTimeout):
        api.get("/hang")
    assert len(at.slept) == 1


def test_redirects_start_anew_at_each_attempt(server, at):
    with server.watch() as seen, client(server, patient(at)) as api:
        result = api.get("/redirect/302", params={"to": "/flaky/redirected?fail=1"})
    assert result.status_code == 200
    assert [each.path for each in seen.requests] == ["/redirect/302", "/flaky/redirected"] * 2
    assert result.request.url == f"{server.url}/redirect/302"


def test_it_works_in_a_session_of_requests(server, at):
    with requests.Session() as session, server.watch() as seen:
        session.mount("http://", Adapter(middleware=[patient(at)]))
        answer = session.put(f"{server.url}/flaky/session", data=io.BytesIO(b"file"))
        assert answer.status_code == 200
        assert answer.json()["body"] == "file"
    assert [(each.body, each.framing) for each in seen.requests] == [(b"file", "length")] * 3
