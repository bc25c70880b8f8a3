"""The call and the result."""

import asyncio
from math import inf

import pytest

from formation import reply, req, res
from formation.errors import BodyConsumed
from formation.rpc import Call, Code, Messages, Result
from formation.rpc.calls import trace_of

METHOD = "/shop.Items/Get"


def test_metadata_that_nobody_has_changed_is_not_made_anew():
    call = Call(METHOD, metadata=[("a", "1")])
    assert call.changed is None
    assert call.headers["A"] == "1"
    assert call.changed is None
    call.headers["b"] = "2"
    assert call.changed == (("a", "1"), ("b", "2"))


def test_metadata_is_assigned():
    call = Call(METHOD, metadata=[("a", "1")])
    call.headers = call.headers
    assert call.changed is None
    call.headers = {"b": "2"}
    assert call.changed == (("b", "2"),)
    call.headers = None
    assert call.changed == ()


def test_a_fork_has_metadata_of_its_own_and_shares_what_has_come_of_it():
    call = Call(METHOD, metadata=[("a", "1")])
    untouched = call.fork()
    call.headers["b"] = "2"
    fork = call.fork()
    fork.headers["c"] = "3"
    assert (call.changed, fork.changed) == ((("a", "1"), ("b", "2")), (("a", "1"), ("b", "2"), ("c", "3")))
    assert untouched.changed is None
    read = Call(METHOD, metadata=[("a", "1")])
    assert read.headers["a"] == "1"
    assert read.fork().changed is None
    assert call.replayable
    fork.begin()
    assert not call.replayable
    with pytest.raises(BodyConsumed, match="cannot be called again"):
        call.rewind()


def test_a_stream_is_had_once():
    call = Call(METHOD, "stream_unary", messages=iter([1, 2]))
    assert (call.request_streaming, call.response_streaming, call.replayable) == (True, False, False)
    assert repr(call.messages) == "<Messages>"
    assert list(call.messages) == [1, 2]
    assert repr(call.messages) == "<Messages taken>"
    with pytest.raises(BodyConsumed, match="can be had once"):
        list(call.messages)


def test_a_stream_is_had_by_async_for():
    async def numbers():
        yield 1
        yield 2

    async def taken():
        return [each async for each in Messages(numbers(), [])]

    assert asyncio.run(taken()) == [1, 2]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv6:%5B::1%5D:50051", "::1"),
        ("ipv6:[2001:db8::7]:1", "2001:db8::7"),
        ("unix:/run/app", "unix:/run/app"),
        ("", None),
        (None, None),
    ],
)
def test_the_peer_is_an_address(peer, address):
    call = Call(METHOD, peer=lambda: peer)
    assert call.peer == call.peer == address


def test_a_timeout_is_checked():
    call = Call(METHOD)
    call.timeout = 3
    assert call.timeout == 3
    with pytest.raises(ValueError, match="expected a timeout"):
        call.timeout = 0


def test_a_call_says_what_it_is():
    call = Call(METHOD)
    assert (repr(call), call.extensions, call.auth, call.template) == (f"<Call {METHOD}>", {}, None, METHOD)


def test_a_result_tells_whether_it_has_been_changed():
    result = Result("OK", headers=lambda: [("a", "1")], trailers=(("b", "2"),), message=1)
    assert (result.headers["a"], result.trailers["b"]) == ("1", "2")
    assert not result.is_changed
    result.headers = result.headers
    result.trailers = result.trailers
    assert not result.is_changed
    result.trailers["c"] = "3"
    assert result.is_changed
    assert result.changed_headers is None
    other = Result("OK", message=1)
    other.headers = {"a": "1"}
    other.trailers = {"b": "2"}
    assert (other.changed_headers.fields(), other.changed_trailers.fields()) == ((("a", "1"),), (("b", "2"),))
    for name, value in (("code", "ABORTED"), ("details", "why"), ("message", 2), ("status_code", 404)):
        changed = Result("OK", message=1)
        setattr(changed, name, value)
        assert changed.is_changed


def test_a_status_that_is_that_of_the_code_leaves_the_code():
    result = Result("ALREADY_EXISTS")
    result.status_code = 409
    assert result.code is Code.ALREADY_EXISTS
    result.status_code = 429
    assert result.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("said", "seconds"), [("250", 0.25), ("0", 0.0), ("-1", inf), ("soon", inf), ("9" * 5000, inf)]
)
def test_the_pushback_is_in_the_trailers(said, seconds):
    assert Result("UNAVAILABLE", trailers=[("grpc-retry-pushback-ms", said)]).pushback == seconds
    assert Result("OK", trailers=[("grpc-retry-pushback-ms", said)]).pushback is None
    assert Result("UNAVAILABLE").pushback is None


def test_hooks_run_once_when_the_call_is_over(caplog):
    result, told = Result("OK"), []

    def broken(count, error):
        raise ZeroDivisionError

    result.on_close(broken)
    result.on_close(lambda count, error: told.append((count, error)))
    error = ValueError("why")
    result.end(3, error)
    result.end(4)
    result.on_close(lambda count, error: told.append((count, str(error))))
    assert told == [(3, error), (3, "why")]
    assert "an on_close hook raised" in caplog.text


def test_an_error_that_cannot_be_copied_is_told_of_late():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    result, told = Result("OK"), []
    result.end(0, Odd(1, 2))
    result.on_close(lambda count, error: told.append(str(error)))
    assert told == ["the call ended before its time: Odd(1)"]


def test_a_result_that_is_given_up_closes_its_messages():
    closed = []

    def messages():
        try:
            yield 1
        finally:
            closed.append(True)

    stream = messages()
    next(stream)
    Result("OK", messages=stream).close()
    Result("OK").close()
    assert closed == [True]


def test_the_trace_is_that_of_w3c():
    trace = ("traceparent", "00-1-2-01")
    assert trace_of([("a", "1"), trace, ("tracestate", "x=1")]) == dict([trace, ("tracestate", "x=1")])
    assert trace_of([("tracestate", "x=1")]) is None
    assert trace_of(None) is None


def test_reply_answers_a_call():
    ctx = {"fmtn.req.rpc": Call(METHOD)}
    assert req(ctx).name == METHOD
    assert reply(ctx, 429, {"Retry-After": "2"}) is ctx
    assert (res(ctx).code, res(ctx).details, res(ctx).pushback) == ("RESOURCE_EXHAUSTED", "Too Many Requests", 2)
    assert res(reply(ctx, 200, {"a": "1"}, "message")).message == "message"
    assert res(ctx).headers["a"] == "1"
    assert res(reply(ctx, 599, body="why")).details == "why"
    assert res(reply(ctx, 599, body=b"")).details == ""
    stream = {"fmtn.req.rpc": Call(METHOD, "unary_stream")}
    assert res(reply(stream, 200, body=[1, 2])).messages == [1, 2]


def test_metadata_of_a_result_may_be_given_as_a_mapping():
    result = Result("OK", headers={"a": "1"}, trailers=[("b", "2")])
    assert (result.headers["a"], result.trailers["b"], result.is_changed) == ("1", "2", False)
