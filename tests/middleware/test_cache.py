import asyncio
import gc
import logging
import sys
import threading
import time
from contextlib import suppress
from http.cookiejar import CookieJar
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from formation import wrap
from formation.caching.memory import MemoryStore
from formation.caching.shelf import stored_in
from formation.client.follow import authorize
from formation.clock import Virtual, virtual
from formation.errors import BodyConsumed, ConnectError, DeadlineExceeded, ReadTimeout
from formation.exchange import reply
from formation.http import Request, Response
from formation.http.cookies import cookie_header, keep
from formation.middleware import (
    accept,
    api_key,
    basic,
    bearer,
    cache,
    circuit_breaker,
    fallback,
    raise_for_status,
    retry,
)
from formation.resilience import background
from formation.resilience.collapse import PATIENCE
from tests.middleware.worlds import app, every_lift, every_world, on_server

URL = "https://h/tea"


def plain(ctx, call):
    return call(ctx)


class Clock:
    """Seconds that a test moves."""

    def __init__(self):
        self.at = 1e9

    def __call__(self):
        return self.at


class Origin:
    """Answers with what it is told, one answer after another, the last one again and again; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, ctx):
        request = ctx["fmtn.req.http"]
        self.asked.append((request.method, dict(request.headers)))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        status, headers, body = answer
        if callable(body):
            body = body()
        return reply(ctx, status, headers, body)


def fresh(body=b"tea", seconds=60, status=200, **more):
    return status, {"Cache-Control": f"max-age={seconds}", **{k.replace("_", "-"): v for k, v in more.items()}}, body


def get(url=URL, method="GET", headers=(), session=None, uid=None, **more):
    ctx = {"fmtn.req.http": Request(method, url, headers=headers, **more), "fmtn.state": {}}
    if session:
        ctx["fmtn.session"] = session
    if uid:
        ctx["uid"] = uid
    return ctx


def told(out):
    return out["fmtn.res.http"].status_code, out["fmtn.res.http"].content, out["fmtn.state"]["cache"]


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
def test_long_urls_are_told_apart_and_their_keys_are_short(world, now):
    store = MemoryStore()
    origin, middleware = Origin(fresh(b"one"), fresh(b"two")), cache(store, now=now)
    long = f"{URL}?{'x' * 5000}"
    for _ in range(2):
        assert [told(world(middleware, get(long + end), origin))[1] for end in "12"] == [b"one", b"two"]
    assert len(store) == 2
    assert all(len(key) < 100 for key in store._kept)
    world(middleware, get(long + "1", method="DELETE"), Origin(fresh()))
    assert len(store) == 1


@every_world
@pytest.mark.parametrize(("name", "status"), [("If-Match", 412), ("If-Unmodified-Since", 412), ("Range", 416)])
def test_who_asks_without_conditions_does_not_get_what_they_came_to(world, now, name, status):
    origin, middleware = Origin(fresh(b"", status=status), fresh(), fresh(b"", status=status)), cache(now=now)
    assert told(world(middleware, get(headers={name: "bytes=9-"}), origin))[0] == status
    assert told(world(middleware, get(), origin))[:2] == (200, b"tea")
    world(middleware, get(headers={"If-Match": '"2"'}), origin)
    assert told(world(middleware, get(), origin)) == (200, b"tea", "hit; ttl=60")


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


def test_the_callers_own_conditions_are_replaced_by_ours_and_answered_afterwards(now):
    origin = Origin(fresh(ETag='"1"'), (304, {"ETag": '"1"'}, b""))
    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    out = call(get(headers={"If-None-Match": '"mine"', "Range": "bytes=0-0"}))
    assert told(out)[:2] == (206, b"t")
    assert origin.asked[1][1]["If-None-Match"] == '"1"'
    assert "Range" not in origin.asked[1][1]


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


def test_a_head_that_says_otherwise_makes_what_is_kept_outdated_and_one_that_does_not_makes_it_fresh(now):
    same = (200, {"Cache-Control": "max-age=60", "ETag": '"1"', "Content-Length": "3"}, b"")
    other = (200, {"Cache-Control": "max-age=60", "ETag": '"2"', "Content-Length": "3"}, b"")
    for answer, then in ((same, b"tea"), (other, b"new")):
        origin = Origin(fresh(ETag='"1"'), answer, fresh(b"new"))
        call = wrap(origin, [cache(now=now)])
        call(get())
        now.at += 61
        call(get(method="HEAD"))
        assert told(call(get()))[1] == then


@every_world
def test_a_chain_that_returns_no_response_is_left_alone(world, now):
    middleware = cache(now=now)
    for method in ("GET", "PUT"):
        assert "fmtn.res.http" not in world(middleware, get(method=method), lambda ctx: ctx)
    assert told(world(middleware, get(), Origin(fresh())))[1] == b"tea"


def test_what_has_no_body_is_kept_at_once(now):
    origin = Origin((204, {"Cache-Control": "max-age=60"}, b""))
    call = wrap(origin, [cache(now=now)])
    call(get())
    assert told(call(get())) == (204, b"", "hit; ttl=60")


def test_what_is_announced_as_too_large_is_not_even_copied(now):
    origin = Origin(fresh(lambda: iter([b"x" * 100]), Content_Length="100"))
    out = wrap(origin, [cache(now=now, max_entry=50)])(get())
    assert told(out)[2] == 'fwd=uri-miss; detail="too large"'


def test_a_body_that_somebody_inside_has_begun_to_read_is_an_error_of_theirs_and_nobody_waits_for_it(now):
    def begins(ctx, call):
        ctx = call(ctx)
        next(iter(ctx["fmtn.res.http"].body))
        return ctx

    middleware = cache(now=now)
    origin = Origin(fresh(lambda: iter([b"te", b"a"])))
    for _ in range(2):
        with pytest.raises(BodyConsumed):
            wrap(origin, [middleware, begins])(get())


# Users


@pytest.mark.parametrize(
    ("ann", "bob"),
    [
        ({"headers": {"Authorization": "Bearer a"}}, {"headers": {"Authorization": "Bearer b"}}),
        ({"headers": {"Cookie": "s=a"}}, {"headers": {"Cookie": "s=b"}}),
        ({"cookies": {"s": "a"}}, {"cookies": {"s": "b"}}),
        ({"auth": ("ann", "x")}, {"auth": ("bob", "x")}),
        ({"auth": basic("ann", "x")}, {"auth": basic("bob", "x")}),
        ({"session": {"user": "ann"}}, {"session": {"user": "bob"}}),
        ({"uid": "ann"}, {"uid": "bob"}),
        ({"extensions": {"jar": Clock()}}, {"extensions": {"jar": Clock()}}),
        ({"uid": "ann"}, {}),
    ],
)
def test_each_user_of_a_private_cache_has_entries_of_his_own(now, ann, bob):
    origin = Origin(fresh(b"ann's"), fresh(b"bob's"))
    call = wrap(origin, [cache(now=now)])
    assert call(get(**ann))["fmtn.res.http"].content == b"ann's"
    assert call(get(**bob))["fmtn.res.http"].content == b"bob's"
    assert told(call(get(**ann))) == (200, b"ann's", "hit; ttl=60")
    assert told(call(get(**bob))) == (200, b"bob's", "hit; ttl=60")


def test_who_logs_in_as_somebody_else_with_the_same_jar_gets_nothing_of_the_one_before(now, tmp_path):
    jar = CookieJar()
    asks = {"extensions": {"jar": jar}}

    def log_in(user):
        keep(jar, Request("GET", URL), Response(200, {"Set-Cookie": f"user={user}"}))

    def origin(ctx):
        user = cookie_header(ctx["fmtn.req.http"], jar) or "nobody"
        if later:
            log_in(later.pop())
        return reply(ctx, *fresh(user.encode()))

    later = []
    call = wrap(origin, [cache(f"sqlite:///{tmp_path}/cache.db", now=now)])
    seen = [told(call(get(**asks)))[1:]]
    for user in ("ann", "bob", "ann"):
        log_in(user)
        seen += [told(call(get(**asks)))[1:]]
    assert seen == [
        (b"nobody", "fwd=uri-miss; stored"),
        (b"user=ann", "fwd=uri-miss; stored"),
        (b"user=bob", "fwd=uri-miss; stored"),
        (b"user=ann", "hit; ttl=60"),
    ]
    now.at += 61
    later.append("bob")  # while ann's page is under way
    assert "stored" not in told(call(get(**asks)))[2]


def test_what_is_authenticated_inside_of_a_private_cache_is_not_kept(now):
    users = iter(["ann", "bob"])
    origin = Origin(fresh())
    call = wrap(origin, [cache(now=now), bearer(lambda: next(users))])
    for _ in range(2):
        assert call(get())["fmtn.state"]["cache"] == 'fwd=uri-miss; detail="authenticated inside of the cache"'
    assert [headers["Authorization"] for _, headers in origin.asked] == ["Bearer ann", "Bearer bob"]


def test_a_shared_cache_keeps_nothing_that_is_asked_for_with_credentials_it_cannot_see(now):
    origin = Origin(fresh())
    call = wrap(origin, [cache(now=now, shared=True), bearer("ann")])
    call(get())
    call(get(auth=("ann", "x")))
    assert "hit" not in call(get())["fmtn.state"]["cache"]
    public = Origin(fresh(Cache_Control="public, max-age=60"))
    call = wrap(public, [cache(now=now, shared=True), bearer("ann")])
    call(get())
    assert call(get())["fmtn.state"]["cache"] == "hit; ttl=60"


def test_a_shared_cache_gives_nobody_what_was_asked_for_with_the_key_of_another(now):
    def ask(middleware, answer, user):
        call = wrap(Origin(answer), [api_key(user, "X-Api-Key"), middleware])
        return told(call(get()))[1:]

    middleware = cache(now=now, shared=True)
    for user in (b"ann", b"bob"):  # RFC 9111, 3.5, which knows of one header only
        said = (user, "fwd=uri-miss; detail=authorization")
        assert ask(middleware, fresh(user), user.decode()) == said
    ask(middleware, fresh(b"all", Cache_Control="public, max-age=60"), "ann")
    assert ask(middleware, fresh(b"none"), "bob") == (b"all", "hit; ttl=60")
    keyed = cache(now=now, shared=True, key=lambda ctx: ctx["fmtn.req.http"].headers["X-Api-Key"])
    for _ in range(2):
        assert [ask(keyed, fresh(user.encode()), user)[0] for user in ("ann", "bob")] == [b"ann", b"bob"]
    assert ask(keyed, fresh(b"none"), "ann") == (b"ann", "hit; ttl=60")


@pytest.mark.parametrize(
    ("inside", "asked", "vary"),
    [
        (bearer("s3cret"), {}, "Authorization"),
        (accept("text/html"), {}, "Accept"),
        (plain, {"cookies": {"s": "a"}}, "Cookie"),
        (plain, {"extensions": {"jar": {}}}, "Cookie"),
        (plain, {"auth": ("ann", "x")}, "X-A, Authorization"),
    ],
)
def test_what_varies_by_a_header_that_is_added_inside_of_a_shared_cache_is_not_kept(now, inside, asked, vary):
    def authorized(ctx, call):
        authorize(ctx["fmtn.req.http"])
        return call(ctx)

    origin = Origin(fresh(Cache_Control="public, max-age=60", Vary=vary))
    call = wrap(origin, [cache(now=now, shared=True), inside, authorized])
    for _ in range(2):
        assert told(call(get(**asked)))[2] == 'fwd=uri-miss; detail="varies by what is added inside of the cache"'


def test_a_304_that_is_the_callers_own_is_no_entry(now):
    origin = Origin((304, {"Cache-Control": "max-age=60", "ETag": '"1"'}, b""), fresh())
    call = wrap(origin, [cache(now=now)])
    assert told(call(get(headers={"If-None-Match": '"1"'})))[0] == 304
    assert told(call(get()))[:2] == (200, b"tea")


def test_what_a_fallback_inside_has_answered_is_not_kept(now):
    origin = Origin(ConnectError("no"), fresh())
    sorry = fallback(lambda ctx: reply(ctx, *fresh(b"sorry")))
    call = wrap(origin, [cache(now=now), sorry])
    assert told(call(get()))[1:] == (b"sorry", "fwd=uri-miss; detail=degraded")
    assert told(call(get()))[1] == b"tea"


def test_a_newer_answer_that_may_not_be_kept_takes_the_older_one_away(now):
    origin = Origin(fresh(Cache_Control="max-age=60, stale-if-error=600"), (200, {"Cache-Control": "no-store"}, b"new"),
                    ConnectError("no"))  # fmt: skip
    call = wrap(origin, [cache(now=now)])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"new"
    with pytest.raises(ConnectError):
        call(get())


def test_who_cannot_be_named_for_other_processes_is_not_kept_in_a_store_of_theirs(now, tmp_path):
    origin = Origin(fresh())
    call = wrap(origin, [cache(f"sqlite:///{tmp_path}/cache.db", now=now)])
    for _ in range(2):
        assert call(get(auth=basic("ann", "x")))["fmtn.state"]["cache"] == "fwd=bypass"
    assert len(origin.asked) == 2


def test_a_key_says_what_entries_are_found_by(now):
    origin = Origin(fresh())
    call = wrap(origin, [cache(now=now, key=lambda ctx: ctx["fmtn.req.http"].url.partition("?")[0])])
    call(get(URL + "?utm=1", auth=("ann", "x")))
    assert told(call(get(URL + "?utm=2")))[2] == "hit; ttl=60"
    call(get(URL + "?utm=3", method="DELETE"))
    assert told(call(get(URL)))[2] == "fwd=uri-miss; stored"
    never = wrap(Origin(fresh()), [cache(key=lambda ctx: None)])
    never(get())
    assert never(get())["fmtn.state"]["cache"] == "fwd=bypass"


# Streams


@every_world
def test_a_stream_is_kept_when_it_has_come_to_its_end(world, now):
    origin, middleware = Origin(fresh(lambda: iter([b"te", b"a"]))), cache(now=now)
    first = world(middleware, get(), origin)
    assert b"".join(first["fmtn.res.http"].body) == b"tea"
    assert told(world(middleware, get(), origin)) == (200, b"tea", "hit; ttl=60")


@every_world
def test_a_stream_that_is_left_or_breaks_or_is_too_short_or_too_long_is_not_kept(world, now):
    def breaks():
        yield b"te"
        raise ConnectError("gone")

    def leave(response):
        next(iter(response.body))
        response.close()

    def read(response):
        with suppress(Exception):
            list(response.body)

    for body, length, do in (
        (lambda: iter([b"te", b"a"]), {}, leave),
        (breaks, {}, read),
        (lambda: iter([b"te"]), {"Content-Length": "3"}, read),
        (lambda: iter([b"te", b"a" * 99]), {}, read),
        (lambda: iter([b"te", b"a" * 99]), {"Content-Length": "101"}, read),
    ):
        origin, middleware = Origin(fresh(body, **length)), cache(now=now, max_entry=50)
        do(world(middleware, get(), origin)["fmtn.res.http"])
        assert "hit" not in world(middleware, get(), origin)["fmtn.state"]["cache"]
        assert len(middleware.store) == 0


def test_what_passes_and_is_not_kept_takes_no_memory(now):
    import tracemalloc

    chunk = b"x" * 65536
    origin = Origin(fresh(lambda: (chunk for _ in range(2000)), seconds=60))
    call = wrap(origin, [cache(now=now, max_entry=1 << 20)])
    tracemalloc.start()
    try:
        total = sum(map(len, call(get())["fmtn.res.http"].body))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 2000 * 65536
    assert peak < 8 << 20


# At the same time


def together(endpoint, *ctxs, middleware):
    async def main():
        chain = wrap(endpoint, [middleware])
        return await asyncio.gather(*(chain(ctx) for ctx in ctxs), return_exceptions=True)

    return asyncio.run(main())


class Slow(Origin):
    """An origin that takes a few turns of the event loop."""

    async def __call__(self, ctx):
        for _ in range(20):
            await asyncio.sleep(0)
        return Origin.__call__(self, ctx)


def test_ten_who_miss_at_the_same_time_make_one_call(now):
    origin = Slow(fresh())
    outs = together(origin, *(get() for _ in range(10)), middleware=cache(now=now))
    assert len(origin.asked) == 1
    assert [told(out)[1] for out in outs] == [b"tea"] * 10
    assert sum("collapsed" in told(out)[2] for out in outs) == 9


def test_ten_threads_that_miss_at_the_same_time_make_one_call(now):
    start, calls, outs = threading.Barrier(10), [], []

    def origin(ctx):
        calls.append(1)
        time.sleep(0.05)
        return reply(ctx, *fresh())

    call = wrap(origin, [cache(now=now)])

    def ask():
        start.wait()
        outs.append(told(call(get()))[1])

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outs == [b"tea"] * 10
    assert len(calls) == 1


def test_a_head_is_nothing_that_a_get_waits_for(now):
    origin = Slow(fresh())
    outs = together(origin, get(method="HEAD"), get(), get(), get(method="HEAD"), middleware=cache(now=now))
    assert sorted(method for method, _ in origin.asked) == ["GET", "HEAD"]
    assert [told(out)[1] for out in outs[1:3]] == [b"tea", b"tea"]


def test_ten_who_find_it_stale_validate_it_once(now):
    origin = Slow(fresh(ETag='"1"'), (304, {"Cache-Control": "max-age=60"}, b""))
    middleware = cache(now=now)
    together(origin, get(), middleware=middleware)
    now.at += 61
    outs = together(origin, *(get() for _ in range(10)), middleware=middleware)
    assert [told(out)[1] for out in outs] == [b"tea"] * 10
    assert len(origin.asked) == 2


def test_nobody_waits_for_what_is_not_to_be_shared(now):
    waiting, most = [], []

    async def origin(ctx):
        waiting.append(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        most.append(len(waiting))
        waiting.pop()
        return reply(ctx, 200, {"Cache-Control": "private, max-age=60"}, b"mine")

    middleware = cache(now=now, shared=True)
    for _ in range(2):
        outs = together(origin, *(get() for _ in range(10)), middleware=middleware)
        assert [told(out)[1] for out in outs] == [b"mine"] * 10
    assert max(most) == 10
    assert len(most) == 20


def test_a_request_that_is_not_to_be_kept_says_nothing_about_others(now):
    origin = Slow(fresh())
    middleware = cache(now=now)
    together(origin, get(headers={"Cache-Control": "no-store"}), middleware=middleware)
    together(origin, *(get() for _ in range(5)), middleware=middleware)
    assert len(origin.asked) == 2


def test_with_credentials_everybody_asks_a_shared_cache_and_the_others_wait_for_one_of_theirs(now):
    origin, middleware = Slow(fresh()), cache(now=now, shared=True)
    signed = {"Authorization": "Bearer x"}
    together(origin, *(get(headers=signed) for _ in range(3)), middleware=middleware)
    assert len(origin.asked) == 3
    together(origin, *(get(headers=signed if n == 0 else {}) for n in range(6)), middleware=middleware)
    assert len(origin.asked) == 5


def test_without_single_flight_everybody_asks(now):
    origin = Slow(fresh())
    together(origin, *(get() for _ in range(3)), middleware=cache(now=now, single_flight=False))
    assert len(origin.asked) == 3


def test_if_the_one_who_asks_is_cancelled_another_one_asks(now):
    asked = []

    async def origin(ctx):
        asked.append(1)
        if len(asked) == 1:
            await asyncio.sleep(60)
        return reply(ctx, *fresh())

    async def main():
        chain = wrap(origin, [cache(now=now)])
        first, second, third = (asyncio.create_task(chain(get())) for _ in range(3))
        await asyncio.sleep(0.01)
        first.cancel()
        outs = await asyncio.gather(second, third)
        assert first.cancelled()
        return [told(out)[1] for out in outs]

    assert asyncio.run(main()) == [b"tea", b"tea"]
    assert len(asked) == 2


def test_if_asking_fails_the_others_ask_for_themselves(now):
    origin = Slow(ConnectError("no"), fresh(), fresh())
    outs = together(origin, get(), get(), get(), middleware=cache(now=now))
    assert isinstance(outs[0], ConnectError)
    assert [told(out)[1] for out in outs[1:]] == [b"tea", b"tea"]


def test_who_waits_for_a_body_that_does_not_end_goes_for_himself_after_a_while():
    clock = Virtual(0)
    assert PATIENCE == 5.0
    origin = Origin(fresh(lambda: iter([b"te", b"a"])))
    middleware = cache()
    call = wrap(origin, [middleware])
    held = call(get())["fmtn.res.http"]  # read by nobody yet
    token = virtual.set(clock)
    try:
        assert told(call(get()))[1] == b"tea"  # in the very thread: nobody waits for himself
    finally:
        virtual.reset(token)
    assert held.content == b"tea"


# In the background


async def settled():
    """Wait until nothing is done in the background."""
    if background._tasks:
        await asyncio.wait(background._tasks)


def refreshed(world_is_async, now, answer):
    origin = Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60", ETag='"1"'), answer)
    done = threading.Event()

    def watched(ctx):
        try:
            return origin(ctx)
        finally:
            if len(origin.asked) > 1:
                done.set()

    middleware = cache(now=now)
    if not world_is_async:
        call = wrap(watched, [middleware])
        call(get())
        now.at += 61
        out = told(call({**get(), "fmtn.deadline": time.monotonic() + 60}))
        assert done.wait(5)
        for thread in [each for each in threading.enumerate() if each.name == "formation.cache"]:
            thread.join()
        return out, told(call(get())), origin

    async def endpoint(ctx):
        await asyncio.sleep(0)
        return watched(ctx)

    async def main():
        call = wrap(endpoint, [middleware])
        await call(get())
        now.at += 61
        out = told(await call({**get(), "fmtn.deadline": time.monotonic() + 60}))
        await settled()
        return out, told(await call(get())), origin

    return asyncio.run(main())


@pytest.mark.parametrize("world_is_async", [False, True])
@pytest.mark.parametrize("answer", [(304, {"Cache-Control": "max-age=60"}, b""), fresh(b"coffee")])
def test_what_may_be_stale_while_it_is_validated_is_answered_at_once_and_validated_behind(world_is_async, now, answer):
    first, then, origin = refreshed(world_is_async, now, answer)
    assert first == (200, b"tea", "hit; ttl=-1")
    assert then == (200, answer[2] or b"tea", "hit; ttl=60")
    assert len(origin.asked) == 2
    assert origin.asked[1][1]["If-None-Match"] == '"1"'


def test_one_refresh_is_made_for_many_who_ask_and_no_deadline_or_cancellation_reaches_it(now):
    seen = []

    async def origin(ctx):
        seen.append(ctx.get("fmtn.deadline"))
        await asyncio.sleep(0.02 if len(seen) > 1 else 0)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    async def main():
        call = wrap(origin, [cache(now=now)])
        await call(get())
        now.at += 61
        tasks = [asyncio.create_task(call({**get(), "fmtn.deadline": time.monotonic() + 9})) for _ in range(10)]
        await asyncio.gather(*tasks)
        for task in tasks:
            task.cancel()
        await settled()
        return told(await call(get()))[2]

    assert asyncio.run(main()) == "hit; ttl=60"
    assert seen == [None, None]


def test_a_refresh_that_the_event_loop_does_not_wait_for_leaves_nothing_behind(now):
    async def origin(ctx):
        if now.at > 1e9:
            await asyncio.sleep(60)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    middleware = cache(now=now)

    async def main():
        call = wrap(origin, [middleware])
        await call(get())
        now.at += 61
        return told(await call(get()))[2]

    assert asyncio.run(main()) == "hit; ttl=-1"
    gc.collect()
    now.at = 1e9 + 0.5
    assert asyncio.run(main()) == "hit; ttl=-2"  # by a second and a half; and another refresh has begun


def test_a_refresh_that_fails_is_no_error_and_is_tried_again(now):
    origin = Slow(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), ConnectError("no"), fresh(b"new"))

    async def main():
        call, states = wrap(origin, [cache(now=now)]), []
        await call(get())
        now.at += 61
        for _ in range(3):
            states.append(told(await call(get()))[1:])
            await settled()
        return states

    assert asyncio.run(main()) == [(b"tea", "hit; ttl=-1"), (b"tea", "hit; ttl=-1"), (b"new", "hit; ttl=60")]


def test_an_event_loop_that_is_just_closed_takes_its_refresh_with_it(now):
    async def origin(ctx):
        await asyncio.sleep(60 if now.at > 1e9 else 0)
        return reply(ctx, *fresh(Cache_Control="max-age=60, stale-while-revalidate=60"))

    call = wrap(origin, [cache(now=now)])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(get()))
    now.at += 61
    loop.run_until_complete(call(get()))
    loop.close()
    assert len(background._tasks) == 1

    async def main():
        ended = []
        assert background.in_background(lambda: None, lambda: ended.append(1), "other")
        await settled()
        return ended

    assert asyncio.run(main()) == [1]
    gc.collect()
    assert not background._tasks


def test_where_there_are_no_more_threads_what_may_be_stale_is_validated_first(now, monkeypatch):
    class Full(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, "Thread", Full)
    call = wrap(Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), fresh(b"new")), [cache(now=now)])
    call(get())
    now.at += 61
    assert told(call(get()))[1] == b"new"


def test_on_trio_what_may_be_stale_is_validated_first(now):
    import trio

    origin = Origin(fresh(Cache_Control="max-age=60, stale-while-revalidate=60"), fresh(b"new"))

    async def endpoint(ctx):
        await trio.lowlevel.checkpoint()
        return origin(ctx)

    async def main():
        call = wrap(endpoint, [cache(now=now)])
        await call(get())
        now.at += 61
        return told(await call(get()))[1]

    assert trio.run(main) == b"new"


# Stores


class Broken:
    """A store that fails."""

    def __init__(self):
        self.kept, self.is_broken, self.calls = MemoryStore(), True, []

    def __repr__(self):
        return "Broken()"

    def __getattr__(self, name):
        def call(*args):
            self.calls.append(name)
            if self.is_broken:
                raise OSError("disk full")
            return getattr(self.kept, name)(*args)

        return call


@every_world
def test_a_store_that_fails_fails_no_request_and_is_told_of_once(world, now):
    origin, middleware = Origin(fresh()), cache(Broken(), now=now)
    with capture_logs() as events:
        for method in ("GET", "GET", "PUT"):
            assert told(world(middleware, get(method=method), origin))[:2] == (200, b"tea")
    assert [each["event"] for each in events if each["log_level"] == "warning"] == ["storage.unavailable"]
    assert len(origin.asked) == 3


def test_what_a_store_could_not_drop_is_dropped_before_it_is_used_again(now):
    store = Broken()
    store.is_broken = False
    origin = Origin(fresh(b"old"), fresh(b"done"), fresh(b"new"))
    call = wrap(origin, [cache(store, now=now)])
    call(get())
    store.is_broken = True
    call(get(method="PUT"))
    store.is_broken = False
    assert call(get())["fmtn.res.http"].content == b"new"


def test_what_a_store_gives_that_is_no_entry_is_a_miss_and_one_may_forget_drops(now):
    class Odd:
        def __init__(self):
            self.found = []

        def get(self, key):
            return self.found

        def put(self, key, entry):
            self.found = [entry]

        def drop(self, key):
            self.found = []

    store = Odd()
    origin = Origin(fresh())
    call = wrap(origin, [cache(store, now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"
    call(get(method="PUT"))
    assert store.found == []
    for found in (None, 7, [None], [b"x"], ["entry"], {"a": 1}):
        store.found = found
        assert told(call(get()))[:2] == (200, b"tea")


def test_only_so_many_drops_are_owed(now, monkeypatch):
    monkeypatch.setattr("formation.caching.shelf.OWED", 2)
    store = Broken()
    call = wrap(Origin(fresh()), [cache(store, now=now)])
    for number in range(3):
        call(get(f"{URL}/{number}", method="PUT"))
    store.is_broken, store.calls = False, []
    for number in range(3):
        call(get(f"{URL}/{number}"))
    assert store.calls.count("drop") == 2


def test_a_store_is_named_or_given(tmp_path):
    assert isinstance(stored_in(None), MemoryStore)
    assert isinstance(stored_in("memory"), MemoryStore)
    assert repr(stored_in(f"sqlite:///{tmp_path}/c.db")) == f"SQLiteStore('{tmp_path}/c.db')"
    assert repr(stored_in("redis://h:1/2")) == "RedisStore(Redis('h:1/2'))"
    given = MemoryStore()
    assert cache(given).store is given
    from formation.storage.redis import Redis

    assert repr(stored_in(Redis("redis://h:1/2"))) == "RedisStore(Redis('h:1/2'))"


@pytest.mark.parametrize("store", ["memcached://h", "sqlite://", "sqlite:///", "file"])
def test_a_url_of_no_store_is_refused(store):
    with pytest.raises(ValueError, match="expected store as None"):
        cache(store)


@pytest.mark.parametrize(("wrong", "error"), [
    ({"store": 7}, TypeError), ({"key": "x"}, TypeError), ({"logger": "x"}, TypeError), ({"max_entry": 0}, ValueError),
    ({"heuristic": -1}, ValueError), ({"stale_if_error": "x"}, ValueError),
])  # fmt: skip
def test_a_wrong_argument_is_refused_where_it_is_given(wrong, error):
    with pytest.raises(error, match="expected"):
        cache(**wrong)


def test_sqlite_and_redis_keep_for_the_next_process(now, tmp_path, redis_server):
    for store in (f"sqlite:///{tmp_path}/c.db", redis_server.url):
        origin = Origin(fresh())
        wrap(origin, [cache(store, now=now)])(get())
        assert told(wrap(origin, [cache(store, now=now)])(get())) == (200, b"tea", "hit; ttl=60")
        assert len(origin.asked) == 1


def test_a_redis_that_is_killed_or_hangs_in_the_middle_stops_no_request(now, fresh_redis_server):
    origin, call = Origin(fresh()), None
    call = wrap(origin, [cache(fresh_redis_server.url, now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"
    fresh_redis_server.pause()
    assert told(call(get()))[:2] == (200, b"tea")
    fresh_redis_server.go_on()
    fresh_redis_server.stop()
    assert told(call(get()))[:2] == (200, b"tea")


def test_a_stream_in_an_event_loop_is_put_into_redis_without_standing_in_the_way(now, redis_server):
    async def origin(ctx):
        return reply(ctx, *fresh(chunks()))

    async def chunks():
        yield b"te"
        yield b"a"

    async def main():
        call = wrap(origin, [cache(redis_server.url, now=now)])
        first = (await call(get()))["fmtn.res.http"]
        assert b"".join([chunk async for chunk in first.body]) == b"tea"
        await settled()
        return told(await call(get()))

    assert asyncio.run(main()) == (200, b"tea", "hit; ttl=60")


# On servers


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


def test_a_client_and_a_server_with_one_store_do_not_mix_what_is_decoded_with_what_is_not(now):
    store = MemoryStore()
    on_client = wrap(Origin(fresh(b"decoded", Content_Encoding="gzip")), [cache(store, shared=True, now=now)])
    on_client(get("https://shop/users/7"))
    served = wrap(app(headers={"Cache-Control": "max-age=60"}), [cache(store, shared=True, now=now)])(on_server())
    assert b"".join(served["fmtn.res.http"].body) == b"four"


def test_a_range_of_what_a_client_has_decoded_is_asked_for(now):
    origin = Origin(fresh(b"decoded", Content_Encoding="gzip"), (206, {"Content-Range": "bytes 0-1/9"}, b"\x1f\x8b"))
    call = wrap(origin, [cache(now=now)])
    call(get())
    assert told(call(get(headers={"Range": "bytes=0-1"})))[:2] == (206, b"\x1f\x8b")


def test_what_was_redirected_to_is_not_kept_for_where_it_began(now):
    def origin(ctx):
        ctx = reply(ctx, *fresh())
        ctx["fmtn.res.http"].history = (ctx["fmtn.res.http"],)
        return ctx

    call = wrap(origin, [cache(now=now)])
    for _ in range(2):
        assert told(call(get()))[2] == "fwd=uri-miss; detail=redirected"


# Elsewhere


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


def test_hits_are_told_to_who_has_set_up_logging(now, caplog):
    call = wrap(Origin(fresh(ETag='"1"'), (304, {}, b"")), [cache(now=now)])
    with capture_logs() as events:
        call(get())
        call(get())
        now.at += 61
        call(get())
    assert [(each["event"], each["log_level"]) for each in events] == [
        ("cache.miss", "debug"),
        ("cache.hit", "debug"),
        ("cache.revalidated", "debug"),
    ]
    with caplog.at_level(logging.DEBUG, logger="mine"):
        wrap(Origin(fresh()), [cache(now=now, logger=logging.getLogger("mine"))])(get())
    assert "cache.miss status=200 request='GET /tea'" in caplog.text


def test_while_another_thread_loads_structlog_hits_are_not_told(now, monkeypatch):
    monkeypatch.setitem(sys.modules, "structlog", ModuleType("structlog"))
    call = wrap(Origin(fresh()), [cache(now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"


def test_an_attempt_that_is_retried_inside_is_kept_once(now):
    origin = Origin((503, {}, b""), fresh())
    call = wrap(origin, [cache(now=now), retry(2, sleep=lambda seconds: None)])
    assert told(call(get()))[1:] == (b"tea", "fwd=uri-miss; stored")
    assert told(call(get()))[2] == "hit; ttl=60"
