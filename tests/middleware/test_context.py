import os
import threading

import pytest

from formation import wrap
from formation.for_requests import build
from formation.middleware import context, get_context, request_id
from tests.middleware.worlds import app, every_lift, every_world, on_server

DEFAULTS = {"v": "0.01", "sha": "dev", "env": "local", "scope": "all", "ns": "service"}
NOBODY = {"uid": None, "rid": None, "rid_p": None}

CASES = {
    "an empty context": ({}, NOBODY),
    "a request id": ({"req.id": "7f3a"}, NOBODY | {"rid": "7f3a"}),
    "the id of the request above": ({"req.parent.id": "0b1c"}, NOBODY | {"rid_p": "0b1c"}),
    "the user of the session": ({"fmtn.session": {"uid": 42}}, NOBODY | {"uid": 42}),
    "the user of the context": ({"uid": 7}, NOBODY | {"uid": 7}),
    "the session goes before the context": ({"fmtn.session": {"uid": 42}, "uid": 7}, NOBODY | {"uid": 42}),
    "a session without a user": ({"fmtn.session": {}, "uid": 7}, NOBODY | {"uid": 7}),
    "a session whose user is nobody": ({"fmtn.session": {"uid": ""}, "uid": 7}, NOBODY | {"uid": 7}),
    "an empty text is nobody": ({"uid": ""}, NOBODY),
    "a user whose number is 0": ({"fmtn.session": {"uid": 0}, "uid": 7}, NOBODY | {"uid": 0}),
    "no session": ({"fmtn.session": None}, NOBODY),
    "a context of before": ({"fmtn.context": {"ns": "old"}}, NOBODY),
}


@every_world
@pytest.mark.parametrize(("ctx", "expected"), CASES.values(), ids=CASES)
def test_gathers_what_log_lines_should_have(world, ctx, expected):
    seen = []

    def endpoint(ctx):
        seen.append(ctx["fmtn.context"])
        return ctx

    out = world(context(getpid=lambda: 1, gettid=lambda: 2), dict(ctx), endpoint)
    assert seen == [DEFAULTS | {"pid": 1, "tid": 2} | expected]
    assert out["fmtn.context"] is seen[0]


@every_world
def test_every_setting_arrives(world):
    middleware = context(namespace="billing", scope="invoices", env="live", sha="1a2b", version="2.3")
    gathered = world(middleware, {}, lambda ctx: ctx)["fmtn.context"]
    settings = {"ns": "billing", "scope": "invoices", "env": "live", "sha": "1a2b", "v": "2.3"}
    assert gathered == settings | NOBODY | {"pid": os.getpid(), "tid": threading.get_ident()}


@every_lift
def test_a_lifted_function_has_a_context(lifted):
    result, ctx = lifted([request_id(idgen=lambda: "7f3a"), context(namespace="billing")], len, "four")
    assert (result, ctx["fmtn.context"]["ns"], ctx["fmtn.context"]["rid"]) == (4, "billing", "7f3a")


@every_world
def test_passes_errors_through(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    assert world(context(), {}, endpoint) is error


def test_process_and_thread_are_asked_at_each_call():
    pids, tids = iter([1, 2]), iter([3, 4])
    chain = wrap(lambda ctx: ctx, [context(getpid=lambda: next(pids), gettid=lambda: next(tids))])
    gathered = [chain({})["fmtn.context"] for _ in range(2)]
    assert [(each["pid"], each["tid"]) for each in gathered] == [(1, 3), (2, 4)]
    assert gathered[0] is not gathered[1]


def test_the_order_of_the_settings_is_that_of_formation_0_1():
    gathered = context(get_context, "ns", "scope", "env", "sha", "v", lambda: 1, lambda: 2)({}, dict)["fmtn.context"]
    expected = {"ns": "ns", "scope": "scope", "env": "env", "sha": "sha", "v": "v", "pid": 1, "tid": 2}
    assert gathered == expected | NOBODY


def test_a_function_of_ones_own_gets_all_by_keyword():
    middleware = context(dict, namespace="billing", getpid=os.getpid, gettid=threading.get_ident)
    gathered = middleware({"req.id": "7f3a", "uid": 42}, lambda ctx: ctx)["fmtn.context"]
    assert gathered == {
        "request_id": "7f3a",
        "request_parent_id": None,
        "namespace": "billing",
        "scope": "all",
        "env": "local",
        "sha": "dev",
        "version": "0.01",
        "uid": 42,
        "getpid": os.getpid,
        "gettid": threading.get_ident,
    }


def test_get_context_has_the_defaults_of_formation_0_1():
    assert get_context(getpid=lambda: 1, gettid=lambda: 2) == {
        "v": "0.0.1",
        "sha": "dev",
        "env": "local",
        "pid": 1,
        "tid": 2,
        "uid": None,
        "scope": "service",
        "ns": "service",
        "rid": None,
        "rid_p": None,
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"context_fn": None}, "expected context_fn as a function, got None"),
        ({"getpid": 1}, "expected getpid as a function, got 1"),
        ({"gettid": 1}, "expected gettid as a function, got 1"),
        ({"namespace": None}, "expected namespace as a str, got None"),
        ({"scope": 1}, "expected scope as a str, got 1"),
        ({"env": b"live"}, "expected env as a str, got b'live'"),
        ({"sha": None}, "expected sha as a str, got None"),
        ({"version": 0.01}, r"expected version as a str, got 0\.01"),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, expected):
    with pytest.raises(TypeError, match=expected):
        context(**settings)


def test_a_client_takes_the_user_from_its_call(server):
    with build(base_uri=server.url, middleware=[request_id(), context(namespace="billing")]) as api:
        result = api.get("/echo", session_context={"uid": 42}, response_as=lambda ctx: ctx["fmtn.context"])
    assert (result.body["ns"], result.body["uid"]) == ("billing", 42)
    assert result.body["rid"] == result.request.headers["x-request-id"]


@every_world
def test_on_a_server_it_says_whose_request_is_served(world):
    ctx = on_server(**{"req.id": "7f3a", "fmtn.session": {"uid": 42}})
    said = world(context(namespace="shop"), ctx, app())["fmtn.context"]
    assert (said["ns"], said["rid"], said["rid_p"], said["uid"]) == ("shop", "7f3a", None, 42)
