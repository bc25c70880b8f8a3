"""The ambient context: what a server chain has published, the client chains below it begin with."""

import asyncio
import contextvars
import threading

import pytest

from formation import ambient
from formation.client import wire
from formation.http import Request


@pytest.fixture
def published():
    tokens = []

    def publish(ctx):
        token = ambient.publish(ctx)
        if token is not None:
            tokens.append(token)
        return token

    yield publish
    for token in reversed(tokens):
        ambient.restore(token)


def inherited(**ctx):
    ambient.inherit(ctx)
    return ctx


def test_without_a_server_chain_nothing_is_inherited():
    assert inherited() == {}


def test_a_chain_that_says_nothing_publishes_nothing(published):
    assert published({"fmtn.kind": "http"}) is None
    assert ambient.current.get() is None


def test_the_request_id_is_the_id_and_the_parent_of_the_calls_below(published):
    published({"req.id": "a1"})
    assert inherited() == {"req.id": "a1", "req.parent.id": "a1"}


def test_the_shorter_deadline_counts(published):
    published({"fmtn.deadline": 10.0})
    assert inherited()["fmtn.deadline"] == 10.0
    assert inherited(**{"fmtn.deadline": 5.0})["fmtn.deadline"] == 5.0
    assert inherited(**{"fmtn.deadline": 50.0})["fmtn.deadline"] == 10.0


@pytest.mark.parametrize(("inner", "shorter"), [(None, 10.0), (20.0, 10.0), (5.0, 5.0)])
def test_a_chain_inside_another_never_has_more_time(published, inner, shorter):
    published({"fmtn.deadline": 10.0})
    published({"req.id": "inner"} | ({} if inner is None else {"fmtn.deadline": inner}))
    assert inherited()["fmtn.deadline"] == shorter


def test_a_chain_inside_another_keeps_what_that_one_has_said(published):
    published({"req.id": "a1", "fmtn.trace": {"traceparent": "00-aa-bb-01"}})
    published({"fmtn.deadline": 10.0})
    assert inherited() == {
        "req.id": "a1",
        "req.parent.id": "a1",
        "fmtn.trace": {"traceparent": "00-aa-bb-01"},
        "fmtn.deadline": 10.0,
    }
    published({"req.id": "b2"})
    assert inherited()["req.id"] == "b2"
    assert inherited()["fmtn.trace"] == {"traceparent": "00-aa-bb-01"}


def test_what_has_been_taken_back_is_gone():
    token = ambient.publish({"req.id": "a1"})
    assert token is not None
    ambient.restore(token)
    assert inherited() == {}


def test_in_another_context_than_its_own_taking_back_leaves_nothing_either():
    context = contextvars.copy_context()
    token = context.run(ambient.publish, {"req.id": "a1"})
    contextvars.copy_context().run(ambient.restore, token)
    assert inherited() == {}


def test_once_the_answer_is_out_the_deadline_binds_nobody_and_the_id_stays(published):
    published({"req.id": "a1", "fmtn.deadline": 10.0})
    there = ambient.current.get()
    assert there is not None
    there.answered()
    assert inherited() == {"req.id": "a1", "req.parent.id": "a1"}
    assert repr(there) == "<Ambient: request_id 'a1', trace None, deadline None>"


def test_tasks_and_threads_below_begin_with_it(published):
    async def main():
        published({"req.id": "a1"})

        async def child():
            return inherited()["req.id"]

        return await asyncio.create_task(child()), await asyncio.to_thread(lambda: inherited()["req.id"])

    assert asyncio.run(main()) == ("a1", "a1")


def test_a_thread_in_a_copy_of_the_context_begins_with_it_and_any_other_does_not(published):
    published({"req.id": "a1"})
    found = []
    for run in (contextvars.copy_context().run, lambda fn: fn()):
        thread = threading.Thread(target=run, args=(lambda: found.append(inherited().get("req.id")),))
        thread.start()
        thread.join()
    assert found == ["a1", None]


def test_a_client_sends_the_trace_on_unless_the_request_has_one(published):
    published({"fmtn.trace": {"traceparent": "00-aa-bb-01", "tracestate": "x=1"}})
    ctx = {"fmtn.req.http": Request("GET", "https://h/", headers={"tracestate": "mine=1"})}
    wire.inherit(ctx)
    assert dict(ctx["fmtn.req.http"].headers) == {"traceparent": "00-aa-bb-01", "tracestate": "mine=1"}
    assert ctx["fmtn.trace"]["traceparent"] == "00-aa-bb-01"
