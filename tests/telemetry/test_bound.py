import asyncio
import gc
import sys
from threading import Thread
from types import MappingProxyType, ModuleType

import pytest
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from formation.telemetry.bound import bind

FIELDS = {"rid": "7f3a", "ns": "billing"}


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    found = get_contextvars()
    clear_contextvars()
    assert not found


def test_fields_are_there_until_they_are_taken_out():
    unbind = bind({"fmtn.context": FIELDS})
    assert get_contextvars() == FIELDS
    unbind()


def test_what_was_there_before_comes_back():
    bind_contextvars(rid="outer", user="ada")
    unbind = bind({"fmtn.context": FIELDS})
    assert get_contextvars() == {**FIELDS, "user": "ada"}
    unbind()
    assert get_contextvars() == {"rid": "outer", "user": "ada"}
    clear_contextvars()


def test_what_the_program_has_bound_meanwhile_stays():
    unbind = bind({"fmtn.context": FIELDS})
    bind_contextvars(ns="shop", user="ada")
    unbind()
    assert get_contextvars() == {"ns": "shop", "user": "ada"}
    clear_contextvars()


def test_fields_that_change_in_the_context_are_taken_out_as_they_were():
    ctx = {"fmtn.context": dict(FIELDS)}
    unbind = bind(ctx)
    ctx["fmtn.context"].clear()
    unbind()


@pytest.mark.parametrize("given", [None, {}, 42, {7: "a number"}, MappingProxyType({})], ids=repr)
def test_what_has_no_names_is_left_out(given):
    unbind = bind({"fmtn.context": given})
    assert get_contextvars() == {}
    unbind()


@pytest.mark.parametrize("side", ["client", None])
def test_around_a_remote_call_of_a_client_nothing_is_bound(side):
    ctx = {"fmtn.context": FIELDS, "fmtn.req.rpc": object()} | ({"fmtn.side": side} if side else {})
    unbind = bind(ctx)
    assert get_contextvars() == {}
    unbind()


def test_around_one_of_a_server_they_are():
    unbind = bind({"fmtn.context": FIELDS, "fmtn.req.rpc": object(), "fmtn.side": "server"})
    assert get_contextvars() == FIELDS
    unbind()


def test_without_structlog_nothing_is_bound(monkeypatch):
    monkeypatch.delitem(sys.modules, "structlog.contextvars")
    unbind = bind({"fmtn.context": FIELDS})
    monkeypatch.undo()
    assert get_contextvars() == {}
    unbind()


def test_as_long_as_another_thread_loads_structlog_nothing_is_bound(monkeypatch):
    monkeypatch.setitem(sys.modules, "structlog.contextvars", ModuleType("structlog.contextvars"))
    unbind = bind({"fmtn.context": FIELDS})
    monkeypatch.undo()
    assert get_contextvars() == {}
    unbind()


def test_elsewhere_nothing_is_taken_out():
    unbind, found = bind({"fmtn.context": FIELDS}), []

    def other():
        bind_contextvars(rid="another")
        unbind()
        found.append(get_contextvars())

    thread = Thread(target=other)
    thread.start()
    thread.join()
    assert found == [{"rid": "another"}]
    unbind()


def test_they_may_be_taken_out_in_another_task():
    async def ends(unbind):
        unbind()
        return get_contextvars()

    async def main():
        unbind = bind({"fmtn.context": FIELDS})
        assert await asyncio.create_task(ends(unbind)) == {}
        unbind()

    asyncio.run(main())
    gc.collect()
