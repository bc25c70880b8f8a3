"""Keeping: which responses are kept, and that what streams is kept when all of it has come."""

import asyncio
from contextlib import suppress

import pytest

from formation import wrap
from formation.client.follow import authorize
from formation.errors import BodyConsumed, ConnectError
from formation.exchange import reply
from formation.middleware import (
    accept,
    bearer,
    cache,
    fallback,
)
from tests.caching.origins import Origin, fresh, get, settled, told
from tests.middleware.worlds import every_world, on_server


def plain(ctx, call):
    return call(ctx)


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


def test_what_was_redirected_to_is_not_kept_for_where_it_began(now):
    def origin(ctx):
        ctx = reply(ctx, *fresh())
        ctx["fmtn.res.http"].history = (ctx["fmtn.res.http"],)
        return ctx

    call = wrap(origin, [cache(now=now)])
    for _ in range(2):
        assert told(call(get()))[2] == "fwd=uri-miss; detail=redirected"


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


def test_on_a_server_what_varies_by_the_cookie_that_came_is_kept_in_however_many_lines_it_came(now):
    middleware = cache(now=now)
    call = wrap(Origin(fresh(Cache_Control="public, max-age=60", Vary="Cookie")), [middleware])

    def ask(*cookies):
        return call(on_server(headers=[("Cookie", each) for each in cookies]))["fmtn.state"]["cache"]

    assert ask("a=1", "b=2") == "fwd=uri-miss; stored"
    assert ask("a=1; b=2") == "hit; ttl=60"
    assert ask("a=1, b=2") == "fwd=vary-miss; stored"
