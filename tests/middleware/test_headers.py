import pytest

from formation import reply, wrap
from formation.for_requests import build
from formation.http import Request
from formation.middleware import headers
from tests.middleware.worlds import app, every_lift, every_world, on_server

CHANGES = {
    "set takes the place of all lines": (
        {"set": {"x-a": "new"}},
        [("X-A", "1"), ("X-A", "2"), ("X-B", "3")],
        {"x-a": "new", "X-B": "3"},
    ),
    "set adds what is not there": ({"set": {"X-A": "new"}}, [], {"X-A": "new"}),
    "default adds what is not there": ({"default": {"X-A": "new"}}, [], {"X-A": "new"}),
    "default keeps what is there": ({"default": {"x-a": "new"}}, [("X-A", "1"), ("X-A", "2")], {"X-A": "1, 2"}),
    "default keeps what is empty": ({"default": {"X-A": "new"}}, [("X-A", "")], {"X-A": ""}),
    "remove takes all lines": ({"remove": ["x-a"]}, [("X-A", "1"), ("X-A", "2"), ("X-B", "3")], {"X-B": "3"}),
    "remove does not mind what is not there": ({"remove": ["X-A"]}, [("X-B", "3")], {"X-B": "3"}),
    "one name is a list of one": ({"remove": "X-A"}, [("X-A", "1")], {}),
    "what is removed may be set again": (
        {"remove": ["X-A", "X-B"], "set": {"X-A": "new"}, "default": {"X-B": "new"}},
        [("X-A", "1"), ("X-B", "2")],
        {"X-A": "new", "X-B": "new"},
    ),
    "set goes before default": ({"set": {"X-A": "1"}, "default": {"X-A": "2"}}, [], {"X-A": "1"}),
    "nothing": ({}, [("X-A", "1")], {"X-A": "1"}),
}


def on_client(fields=()):
    return {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/", headers=fields)}


def as_dict(found):
    return {name: found.get(name) for name in found}


@every_world
@pytest.mark.parametrize(("settings", "before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes_the_response_of_a_server(world, settings, before, after):
    out = world(headers(**settings), on_server(headers=before), app(headers=before))
    assert as_dict(out["fmtn.res.http"].headers) == after
    assert not out["fmtn.req.http"].headers_changed


@every_world
@pytest.mark.parametrize(("settings", "before", "after"), CHANGES.values(), ids=CHANGES)
def test_changes_the_request_of_a_client(world, settings, before, after):
    seen = []

    def endpoint(ctx):
        seen.append(as_dict(ctx["fmtn.req.http"].headers))
        return reply(ctx, 200, before)

    out = world(headers(**settings), on_client(before), endpoint)
    assert seen == [after]
    assert list(out["fmtn.res.http"].headers.items()) == before


@every_world
def test_changes_the_other_one_if_told_to(world):
    out = world(headers({"X-A": "1"}, on="request"), on_server(), app())
    assert out["fmtn.req.http"].headers["X-A"] == "1"
    assert "X-A" not in out["fmtn.res.http"].headers
    out = world(headers({"X-A": "1"}, on="response"), on_client(), lambda ctx: reply(ctx, 200))
    assert out["fmtn.res.http"].headers["X-A"] == "1"
    assert "X-A" not in out["fmtn.req.http"].headers


@every_world
def test_what_changes_nothing_leaves_the_response_as_it_came(world):
    out = world(headers(default={"X-A": "2"}, remove=["X-B"]), on_server(), app(headers={"X-A": "1"}))
    assert not out["fmtn.res.http"].headers_changed


@every_world
@pytest.mark.parametrize("on", [None, "request", "response"])
def test_passes_what_has_no_such_message_through(world, on):
    assert world(headers({"X-A": "1"}, on=on), {"fmtn.side": "server"}, lambda ctx: ctx) == {"fmtn.side": "server"}
    assert world(headers({"X-A": "1"}, on=on), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([headers({"X-A": "1"})], len, "four")[0] == 4


def test_the_settings_are_read_once():
    fields = {"X-A": "1"}
    middleware = headers(fields)
    fields["X-A"] = "2"
    assert middleware(on_client(), lambda ctx: ctx)["fmtn.req.http"].headers["X-A"] == "1"


def test_a_client_sends_them(server):
    with build(base_uri=server.url, middleware=[headers({"X-A": "1"}, remove=["X-B"])]) as api, server.watch() as seen:
        api.get("/echo", headers={"X-B": "2"})
    assert seen.requests[0].header("x-a") == "1"
    assert seen.requests[0].header("x-b") is None


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"set": {"X A": "1"}}, ValueError),
        ({"set": {"X-A": "1\r\nX-Evil: 1"}}, ValueError),
        ({"default": {"X-A": 1}}, TypeError),
        ({"remove": ["X A"]}, ValueError),
        ({"remove": [1]}, TypeError),
        ({"on": "both"}, ValueError),
    ],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error):
    with pytest.raises(error):
        headers(**settings)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [headers()])) == "wrap(<lambda>, [headers])"
