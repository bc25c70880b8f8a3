"""The cache as a middleware: what it answers, and where it stands."""

import pytest

from formation import wrap
from formation.exchange import reply
from formation.middleware import (
    cache,
    retry,
)
from tests.caching.origins import URL, Clock, Origin, fresh, get, told
from tests.middleware.worlds import app, every_lift, every_world, on_server


@pytest.fixture
def now():
    return Clock()


@every_world
def test_what_is_fresh_is_asked_for_once(world, now):
    origin, middleware = Origin(fresh()), cache(now=now)
    assert told(world(middleware, get(), origin)) == (200, b"tea", "fwd=uri-miss; stored")
    now.at += 59
    out = world(middleware, get(), origin)
    assert told(out) == (200, b"tea", "hit; ttl=1")
    assert out["fmtn.res.http"].headers["Age"] == "59"
    assert out["fmtn.res.http"].url == URL
    assert len(origin.asked) == 1


@every_world
@pytest.mark.parametrize(("name", "status"), [("If-Match", 412), ("If-Unmodified-Since", 412), ("Range", 416)])
def test_who_asks_without_conditions_does_not_get_what_they_came_to(world, now, name, status):
    origin, middleware = Origin(fresh(b"", status=status), fresh(), fresh(b"", status=status)), cache(now=now)
    assert told(world(middleware, get(headers={name: "bytes=9-"}), origin))[0] == status
    assert told(world(middleware, get(), origin))[:2] == (200, b"tea")
    world(middleware, get(headers={"If-Match": '"2"'}), origin)
    assert told(world(middleware, get(), origin)) == (200, b"tea", "hit; ttl=60")


@every_world
def test_what_may_not_be_kept_passes(world, now):
    origin, middleware = Origin((200, {"Cache-Control": "no-store"}, b"tea")), cache(now=now)
    for number in (1, 2):
        assert told(world(middleware, get(), origin))[:2] == (200, b"tea")
        assert len(origin.asked) == number


@every_world
def test_a_change_that_works_makes_what_is_kept_outdated(world, now):
    origin = Origin(fresh(), (500, {}, b""), fresh(), (204, {"Location": "/milk"}, b""), fresh())
    middleware = cache(now=now)
    world(middleware, get(), origin)
    world(middleware, get(method="POST", content=b"x"), origin)
    assert told(world(middleware, get(), origin))[2].startswith("hit")
    world(middleware, get("https://h/milk"), origin)
    out = world(middleware, get(method="PUT", content=b"x"), origin)
    assert out["fmtn.state"]["cache"] == "fwd=method"
    assert told(world(middleware, get(), origin))[2] == "fwd=uri-miss; stored"
    assert told(world(middleware, get("https://h/milk"), origin))[2] == "fwd=uri-miss; stored"


def test_head_ranges_and_conditions_are_answered_from_what_is_kept(now):
    origin = Origin(fresh(b"0123456789", ETag='"1"'))
    call = wrap(origin, [cache(now=now)])
    call(get())
    assert told(call(get(method="HEAD"))) == (200, b"", "hit; ttl=60")
    assert told(call(get(headers={"Range": "bytes=2-4"})))[:2] == (206, b"234")
    assert told(call(get(headers={"If-None-Match": '"1"'})))[:2] == (304, b"")
    assert told(call(get(headers={"If-None-Match": '"2"'})))[:2] == (200, b"0123456789")
    assert len(origin.asked) == 1


def test_only_if_cached_asks_nobody(now):
    origin = Origin(fresh())
    out = wrap(origin, [cache(now=now)])(get(headers={"Cache-Control": "only-if-cached"}))
    assert out["fmtn.res.http"].status_code == 504
    assert not origin.asked


def test_variants_are_kept_side_by_side_and_one_is_never_given_for_another(now):
    def origin(ctx):
        language = ctx["fmtn.req.http"].headers.get("Accept-Language", "")
        return reply(ctx, 200, {"Cache-Control": "max-age=60", "Vary": "Accept-Language"}, language.encode())

    call = wrap(origin, [cache(now=now)])
    states = [told(call(get(headers={"Accept-Language": language})))[1:] for _ in range(2) for language in ("fr", "de")]
    assert states == [
        (b"fr", "fwd=uri-miss; stored"), (b"de", "fwd=vary-miss; stored"),
        (b"fr", "hit; ttl=60"), (b"de", "hit; ttl=60"),
    ]  # fmt: skip


def test_set_cookie_lines_stay_apart(now):
    def origin(ctx):
        headers = [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        return reply(ctx, 200, headers, b"tea")

    call = wrap(origin, [cache(now=now)])
    call(get())
    assert call(get())["fmtn.res.http"].headers.getlist("Set-Cookie") == ["a=1", "b=2"]


@every_world
def test_a_chain_that_returns_no_response_is_left_alone(world, now):
    middleware = cache(now=now)
    for method in ("GET", "PUT"):
        assert "fmtn.res.http" not in world(middleware, get(method=method), lambda ctx: ctx)
    assert told(world(middleware, get(), Origin(fresh())))[1] == b"tea"


@pytest.mark.parametrize(("wrong", "error"), [
    ({"store": 7}, TypeError), ({"key": "x"}, TypeError), ({"logger": "x"}, TypeError), ({"max_entry": 0}, ValueError),
    ({"heuristic": -1}, ValueError), ({"stale_if_error": "x"}, ValueError),
])  # fmt: skip
def test_a_wrong_argument_is_refused_where_it_is_given(wrong, error):
    with pytest.raises(error, match="expected"):
        cache(**wrong)


@every_world
def test_on_a_server_it_is_shared_and_says_so_in_the_answer(world, now):
    headers = {"Cache-Control": "max-age=60", "Cache-Status": "origin; hit"}
    middleware = cache(now=now)
    out = world(middleware, on_server(), app(headers=headers))
    assert out["fmtn.res.http"].headers.getlist("Cache-Status") == ["origin; hit", "formation; fwd=uri-miss; stored"]
    list(out["fmtn.res.http"].body)
    out = world(middleware, on_server(), app(headers=headers, body=(b"other",)))
    assert out["fmtn.res.http"].headers.getlist("Cache-Status") == ["origin; hit", "formation; hit; ttl=60"]
    assert b"".join(out["fmtn.res.http"].body) == b"four"
    private = cache(now=now)
    for _ in range(2):
        out = world(private, on_server(), app(headers={"Cache-Control": "private, max-age=60"}))
        assert "hit" not in out["fmtn.res.http"].headers["Cache-Status"]
        list(out["fmtn.res.http"].body)


def test_a_range_of_what_a_client_has_decoded_is_asked_for(now):
    origin = Origin(fresh(b"decoded", Content_Encoding="gzip"), (206, {"Content-Range": "bytes 0-1/9"}, b"\x1f\x8b"))
    call = wrap(origin, [cache(now=now)])
    call(get())
    assert told(call(get(headers={"Range": "bytes=0-1"})))[:2] == (206, b"\x1f\x8b")


@every_lift
def test_around_a_function_it_does_nothing(lifted):
    middleware, calls = cache(), []

    def fn(item):
        calls.append(item)
        return item

    for _ in range(2):
        assert lifted([middleware], fn, "tea")[0] == "tea"
    assert calls == ["tea", "tea"]
    assert middleware(7, lambda ctx: ctx + 1) == 8
    assert middleware({"fmtn.kind": "websocket", **get()}, lambda ctx: "passed") == "passed"


def test_an_attempt_that_is_retried_inside_is_kept_once(now):
    origin = Origin((503, {}, b""), fresh())
    call = wrap(origin, [cache(now=now), retry(2, sleep=lambda seconds: None)])
    assert told(call(get()))[1:] == (b"tea", "fwd=uri-miss; stored")
    assert told(call(get()))[2] == "hit; ttl=60"
