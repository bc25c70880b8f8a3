"""Keys: whose answer it is, and what a request outdates."""

from http.cookiejar import CookieJar

import pytest

from formation import wrap
from formation.caching.memory import MemoryStore
from formation.exchange import reply
from formation.http import Request, Response
from formation.http.cookies import cookie_header, keep
from formation.middleware import (
    api_key,
    basic,
    bearer,
    cache,
)
from tests.caching.origins import URL, Clock, Origin, fresh, get, told
from tests.middleware.worlds import app, every_world, on_server


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


def test_a_client_and_a_server_with_one_store_do_not_mix_what_is_decoded_with_what_is_not(now):
    store = MemoryStore()
    on_client = wrap(Origin(fresh(b"decoded", Content_Encoding="gzip")), [cache(store, shared=True, now=now)])
    on_client(get("https://shop/users/7"))
    served = wrap(app(headers={"Cache-Control": "max-age=60"}), [cache(store, shared=True, now=now)])(on_server())
    assert b"".join(served["fmtn.res.http"].body) == b"four"


def test_who_signs_a_change_makes_what_he_read_without_signing_outdated_too(now):
    origin, middleware = Origin(fresh()), cache(now=now)
    ask = wrap(origin, [middleware])
    ask(get())
    ask(get(auth=("ann", "x")))
    ask(get(auth=("bob", "x")))
    ask(get(method="PUT", auth=("ann", "x")))
    assert [told(ask(get(**who)))[2][:3] for who in ({}, {"auth": ("ann", "x")}, {"auth": ("bob", "x")})] == [
        "fwd",
        "fwd",
        "hit",
    ]


def test_a_key_is_made_of_the_url_that_a_change_names_without_the_parameters_of_the_change(now):
    origin = Origin(fresh(), fresh(Location="/b", status=201), fresh())
    call = wrap(origin, [cache(now=now, key=lambda ctx: ctx["fmtn.req.http"].target)])
    call(get("https://h/b"))
    call(get("https://h/a", method="POST", params={"x": "1"}))
    assert told(call(get("https://h/b")))[2] == "fwd=uri-miss; stored"


def test_who_is_somebody_else_after_a_change_has_made_outdated_what_he_read_as_he_came(now):
    def login(ctx, call):
        out = call(ctx)
        if ctx["fmtn.req.http"].method == "PUT":
            ctx["uid"] = "bob"
        return out

    call = wrap(Origin(fresh()), [cache(now=now), login])
    call(get(uid="ann"))
    call(get(uid="bob"))
    call(get(method="PUT", uid="ann"))
    assert [told(call(get(uid=who)))[2][:3] for who in ("ann", "bob")] == ["fwd", "hit"]
