import logging

import pytest
from structlog.testing import capture_logs

from formation import wrap
from formation.errors import DeadlineExceeded
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.http import Request
from formation.middleware import bulkhead, deadline, load_shed
from tests.middleware.worlds import app, every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


class Time:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def wall(self):
        return 1_790_000_000 + self.seconds


@pytest.fixture
def time():
    return Time()


def made(time, **settings):
    return load_shed(**{"trusted": True, "logger": SILENT, "clock": time, "now": time.wall, **settings})


def waited(time, seconds, url="https://shop/users/7", **more):
    return on_server(url=url, headers=[("X-Request-Start", f"t={time.wall() - seconds:.3f}")], **more)


def never(ctx):
    raise AssertionError("the app was asked")


def status_of(out):
    return out["fmtn.res.http"].status_code if isinstance(out, dict) else type(out)


def overload(time, world, shed):
    """Let requests be late for a whole interval."""
    for _ in range(11):
        assert status_of(world(shed, waited(time, 0.5), app(200))) == 200
        time.seconds += 0.0999
    time.seconds += 0.01


@every_world
def test_a_request_whose_deadline_has_passed_is_not_begun(world, time):
    shed = made(time, random=lambda low, high: 1.5)
    out = world(shed, on_server("POST", body=b"four", **{"fmtn.deadline": time.seconds}), never)
    assert status_of(out) == 503
    assert out["fmtn.res.http"].headers["Retry-After"] == "2"
    assert not out["fmtn.req.http"].body_read
    assert status_of(world(shed, on_server(**{"fmtn.deadline": time.seconds + 0.1}), app(200))) == 200


@every_world
def test_late_requests_are_turned_away_once_all_have_been_late_for_a_whole_interval(world, time):
    shed = made(time)
    overload(time, world, shed)
    assert status_of(world(shed, waited(time, 0.5), never)) == 503
    assert status_of(world(shed, waited(time, 0.05), app(200))) == 200
    assert status_of(world(shed, waited(time, 0.5), app(200))) == 200


@every_world
def test_a_header_that_is_not_trusted_or_not_there_says_nothing(world, time):
    shed = made(time, trusted=False)
    for _ in range(50):
        assert status_of(world(shed, waited(time, 0.5), app(200))) == 200
        time.seconds += 0.1
    shed = made(time)
    for _ in range(50):
        assert status_of(world(shed, on_server(), app(200))) == 200
        time.seconds += 0.1


@every_world
def test_the_header_may_have_another_name_and_the_times_be_others(world, time):
    shed = made(time, target=1, interval=5, header="X-Queued-At")

    def asked():
        return on_server(headers=[("x-queued-at", f"{int(time.wall() * 1000) - 2000}")])

    for _ in range(51):
        assert status_of(world(shed, asked(), app(200))) == 200
        time.seconds += 0.0999
    assert status_of(world(shed, asked(), never)) == 503


@every_world
@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez", "/readyz", "/ping"])
def test_load_balancers_are_answered_whatever_the_load(world, time, path):
    shed = made(time)
    overload(time, world, shed)
    assert status_of(world(shed, waited(time, 0.5, f"https://shop{path}"), app(200))) == 200


@every_world
@pytest.mark.parametrize("exempt", [["/up"], lambda ctx: ctx["fmtn.req.http"].path == "/up"], ids=["paths", "function"])
def test_so_is_who_is_exempt(world, time, exempt):
    shed = made(time, exempt=exempt)
    late = {"fmtn.deadline": 0.0}
    assert status_of(world(shed, on_server(url="https://shop/up", **late), app(200))) == 200
    assert status_of(world(shed, on_server(url="https://shop/health", **late), never)) == 503


@every_world
def test_a_websocket_passes(world, time):
    ctx = on_server(**{"fmtn.deadline": 0.0, "fmtn.kind": "websocket"})
    assert status_of(world(made(time), ctx, app(200))) == 200


@every_world
@pytest.mark.parametrize(
    "ctx",
    [{"fmtn.deadline": 5.0}, {"fmtn.deadline": 5.0, "fmtn.req.http": Request("GET", "https://h/1")}],
    ids=["fn", "client"],
)
def test_where_nothing_can_be_answered_it_is_an_error(world, time, ctx):
    error = world(made(time), ctx, never)
    assert type(error) is DeadlineExceeded
    assert str(error) == "the deadline had passed before the call was made"


@every_world
@pytest.mark.parametrize("ctx", [{}, 42, None], ids=repr)
def test_a_context_without_a_request_or_any_other_will_do(world, time, ctx):
    assert world(made(time), ctx, lambda ctx: ctx or {}) == (ctx or {})


@every_lift
def test_a_function_is_called_while_there_is_time(lifted, time):
    assert lifted([made(time)], lambda x: x + 1, 1)[0] == 2


@every_world
def test_what_the_app_raises_passes(world, time):
    error = ValueError("bug")

    def broken(ctx):
        raise error

    assert world(made(time), on_server(), broken) is error


def test_who_has_waited_too_long_for_a_place_in_a_bulkhead_is_not_begun(time):
    chain = wrap(app(200), [bulkhead(1, logger=SILENT), made(time)])
    assert status_of(chain(on_server(**{"fmtn.deadline": time.seconds - 1}))) == 503
    assert status_of(chain(on_server(**{"fmtn.deadline": time.seconds + 1}))) == 200


@every_world
def test_it_says_who_is_turned_away_and_why(world, time):
    shed = made(time, logger=None)
    with capture_logs() as events:
        overload(time, world, shed)
        world(shed, waited(time, 0.5), never)
        world(shed, on_server(**{"fmtn.deadline": 0.0}), never)
    common = {"event": "load_shed.rejected", "log_level": "warning", "request": "GET /users/7"}
    assert events == [{**common, "reason": "queue", "waited": 0.5}, {**common, "reason": "deadline"}]


def test_behind_wsgi_the_app_is_not_called(time):
    calls = []

    def shop(environ, start_response):
        calls.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"four"]

    late = {"X-Request-Start": f"t={time.wall() - 1}"}
    edge = endpoint(FormationMiddleware(shop, middleware=[made(time, interval=0.1)]))
    with build(base_uri="https://h", endpoint=edge) as api:
        for path in ("/first", "/second"):
            assert api.get(path, headers=late).status_code == 200
            time.seconds += 0.06
        result = api.get("/third", headers=late)
    assert (result.status_code, calls) == (503, ["/first", "/second"])
    assert result.headers["Retry-After"] in {"1", "2", "3"}


def test_inside_of_a_deadline_it_sees_what_is_left():
    chain = wrap(app(200), [deadline(30, logger=SILENT), load_shed(logger=SILENT)])
    assert status_of(chain(on_server())) == 200


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"target": -1}, ValueError, "expected target in seconds, 0 or more, got -1"),
        ({"interval": 0}, ValueError, "expected interval as a number above 0, got 0"),
        ({"header": "a b"}, ValueError, "a b"),
        ({"exempt": "/up"}, TypeError, "expected exempt as a list of paths or a function of the context, got '/up'"),
        ({"logger": "x"}, TypeError, "expected a logger, got 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, kind, said):
    with pytest.raises(kind, match=said):
        load_shed(**settings)
