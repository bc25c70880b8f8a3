"""Asking: what comes of conditions of ours, and when an entry covers an error up."""

import pytest
from structlog.testing import capture_logs

from formation import wrap
from formation.errors import ConnectError, DeadlineExceeded, ReadTimeout
from formation.exchange import reply
from formation.middleware import (
    cache,
    circuit_breaker,
    raise_for_status,
)
from tests.caching.origins import Origin, fresh, get, told
from tests.middleware.worlds import every_world


@every_world
def test_what_is_stale_is_validated_and_the_caller_sees_nothing_of_it(world, now):
    origin = Origin(fresh(ETag='"1"'), (304, {"Cache-Control": "max-age=60", "X-New": "1"}, b""))
    middleware = cache(now=now)
    world(middleware, get(), origin)
    now.at += 61
    ctx = get()
    request = ctx["fmtn.req.http"]
    out = world(middleware, ctx, origin)
    assert out is ctx
    assert out["fmtn.req.http"] is request
    assert "If-None-Match" not in request.headers
    assert told(out) == (200, b"tea", "fwd=stale; fwd-status=304; ttl=60")
    assert out["fmtn.res.http"].headers["X-New"] == "1"
    assert origin.asked[1][1]["If-None-Match"] == '"1"'
    assert told(world(middleware, get(), origin))[2] == "hit; ttl=60"
    assert len(origin.asked) == 2


@every_world
def test_what_has_changed_replaces_what_was_stale(world, now):
    origin = Origin(fresh(ETag='"1"'), fresh(b"coffee", ETag='"2"'))
    middleware = cache(now=now)
    world(middleware, get(), origin)
    now.at += 61
    assert told(world(middleware, get(), origin)) == (200, b"coffee", "fwd=stale; fwd-status=200; stored")
    assert told(world(middleware, get(), origin)) == (200, b"coffee", "hit; ttl=60")


@every_world
def test_an_error_is_covered_up_for_as_long_as_the_response_allows_it(world, now):
    answer = fresh(Cache_Control="max-age=60, stale-if-error=100", ETag='"1"')
    for failure in (503, ConnectError("refused"), ReadTimeout("slow"), DeadlineExceeded("late"), TimeoutError()):
        origin = Origin(answer, failure if isinstance(failure, Exception) else (failure, {}, b"sorry"))
        middleware = cache(now=now)
        world(middleware, get(), origin)
        now.at += 61
        with capture_logs() as events:
            out = world(middleware, get(), origin)
        assert told(out)[:2] == (200, b"tea")
        assert out["fmtn.state"]["cache"].startswith("fwd=stale; ")
        assert out["degraded"] == "stale"
        assert [each["event"] for each in events if each["log_level"] == "warning"] == ["cache.stale"]
        now.at += 100
        out = world(middleware, get(), origin)
        assert out is failure if isinstance(failure, Exception) else told(out)[:2] == (503, b"sorry")


def test_an_open_circuit_is_covered_up_and_an_error_in_the_program_is_not(now):
    origin = Origin(fresh(), ConnectError("no"), ValueError("x"))
    call = wrap(origin, [cache(now=now, stale_if_error=600), breaker := circuit_breaker(fail_max=1)])
    call(get())
    now.at += 61
    assert call(get())["degraded"] == "stale"
    assert told(call(get()))[2] == "fwd=stale; ttl=-1; detail=CircuitOpenError"
    assert len(origin.asked) == 2
    plain = wrap(origin, [call.middleware[0]])
    assert breaker is not None
    with pytest.raises(ValueError, match="x"):
        plain(get())


def test_a_status_that_somebody_inside_has_raised_is_covered_up_too(now):
    origin = Origin(fresh(), (503, {}, b""), (404, {}, b""))
    call = wrap(origin, [cache(now=now, stale_if_error=600), raise_for_status()])
    call(get())
    now.at += 61
    assert told(call(get()))[2] == "fwd=stale; fwd-status=503; ttl=-1"
    with pytest.raises(Exception, match="404"):
        call(get())


def test_what_must_be_revalidated_covers_up_nothing(now):
    origin = Origin(fresh(Cache_Control="max-age=60, must-revalidate"), ConnectError("refused"))
    call = wrap(origin, [cache(now=now, stale_if_error=600)])
    call(get())
    now.at += 61
    with pytest.raises(ConnectError):
        call(get())


def test_the_callers_own_conditions_are_replaced_by_ours_and_answered_afterwards(now):
    origin = Origin(fresh(ETag='"1"'), (304, {"ETag": '"1"'}, b""))
    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    out = call(get(headers={"If-None-Match": '"mine"', "Range": "bytes=0-0"}))
    assert told(out)[:2] == (206, b"t")
    assert origin.asked[1][1]["If-None-Match"] == '"1"'
    assert "Range" not in origin.asked[1][1]


def test_a_304_about_something_else_is_asked_again_without_conditions(now):
    origin = Origin(fresh(ETag='"1"'), (304, {"ETag": '"9"'}, b""), fresh(b"coffee", ETag='"9"'))
    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"coffee"
    assert "If-None-Match" not in origin.asked[2][1]


def test_a_304_after_a_redirect_is_not_about_what_is_kept(now):
    answers = iter([fresh(ETag='"1"'), (304, {"ETag": '"1"'}, b""), fresh(b"coffee")])

    def origin(ctx):
        status, headers, body = next(answers)
        ctx = reply(ctx, status, headers, body)
        if status == 304:
            ctx["fmtn.res.http"].history = (ctx["fmtn.res.http"],)
        return ctx

    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"coffee"


def test_a_304_may_forbid_to_keep_what_it_makes_fresh(now):
    origin = Origin(fresh(ETag='"1"'), (304, {"Cache-Control": "no-store"}, b""), fresh(b"coffee"))
    middleware = cache(now=now)
    call = wrap(origin, [middleware])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"tea"
    assert len(middleware.store) == 0


def test_a_304_that_is_the_callers_own_is_no_entry(now):
    origin = Origin((304, {"Cache-Control": "max-age=60", "ETag": '"1"'}, b""), fresh())
    call = wrap(origin, [cache(now=now)])
    assert told(call(get(headers={"If-None-Match": '"1"'})))[0] == 304
    assert told(call(get()))[:2] == (200, b"tea")
