import pytest

from formation import reply, wrap
from formation.http import Request
from formation.middleware import hide_server
from formation.middleware.hide_server import NAMES
from tests.middleware.worlds import app, every_lift, every_world, on_server

TALK = {
    "server": "gunicorn/23.0",
    "X-Powered-By": "PHP/8.4",
    "Via": "1.1 cache-7",
    "X-AspNet-Version": "4.0",
    "X-AspNetMvc-Version": "5.2",
    "X-Runtime": "0.04",
    "ETag": '"1"',
}


@every_world
def test_a_server_does_not_tell_what_it_is_made_of(world):
    out = world(hide_server(), on_server(), app(headers=TALK))
    assert list(out["fmtn.res.http"].headers) == ["ETag"]


@every_world
def test_all_lines_of_a_name_go(world):
    lines = [("Via", "1.1 a"), ("via", "1.1 b"), ("X-A", "1"), ("VIA", "1.1 c")]
    assert list(world(hide_server(), on_server(), app(headers=lines))["fmtn.res.http"].headers) == ["X-A"]


@every_world
def test_an_answer_of_a_middleware_does_not_either(world):
    out = world(hide_server(), on_server(), lambda ctx: reply(ctx, 200, TALK))
    assert list(out["fmtn.res.http"].headers) == ["ETag"]


@every_world
@pytest.mark.parametrize("also", [["X-Backend", "etag"], "X-Backend"])
def test_more_can_be_hidden(world, also):
    out = world(hide_server(also), on_server(), app(headers={"X-BACKEND": "db-7", "Via": "a", "X-A": "1"}))
    assert list(out["fmtn.res.http"].headers) == ["X-A"]


@every_world
@pytest.mark.parametrize("keep", [["via", "X-Runtime"], ("VIA",), "Via"])
def test_and_less(world, keep):
    out = world(hide_server(keep=keep), on_server(), app(headers={"Server": "a", "Via": "1.1 proxy"}))
    assert list(out["fmtn.res.http"].headers) == ["Via"]


@every_world
def test_what_tells_nothing_is_left_as_it_came(world):
    out = world(hide_server(), on_server(), app(headers={"ETag": '"1"'}))
    assert not out["fmtn.res.http"].headers_changed


@every_world
def test_on_a_client_nothing_is_removed(world):
    ctx = {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/")}
    out = world(hide_server(), ctx, lambda ctx: reply(ctx, 200, TALK))
    assert len(out["fmtn.res.http"].headers) == len(TALK)


@every_world
def test_passes_what_has_no_response_through(world):
    assert world(hide_server(), on_server(), lambda ctx: {"fmtn.side": "server"}) == {"fmtn.side": "server"}
    assert world(hide_server(), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([hide_server()], len, "four")[0] == 4


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"also": ["X A"]}, ValueError), ({"also": [1]}, TypeError), ({"keep": ["X A"]}, ValueError)],
)
def test_refuses_wrong_settings_when_they_are_given(settings, error):
    with pytest.raises(error):
        hide_server(**settings)


def test_each_name_is_listed_once():
    assert len({name.lower() for name in NAMES}) == len(NAMES)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [hide_server()])) == "wrap(<lambda>, [hide_server])"
