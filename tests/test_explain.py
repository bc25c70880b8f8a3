import inspect
import logging
from contextlib import suppress
from functools import partial, wraps

import pytest

import formation.middleware
from formation import compose, for_asgi, for_wsgi, lift, wrap
from formation.explain import explain, place, settings
from formation.for_aiohttp import build as build_aiohttp
from formation.for_requests import Client, build
from formation.introspection import name_of
from formation.middleware import (
    api_key,
    basic,
    bearer,
    bulkhead,
    cache,
    circuit_breaker,
    compress,
    deadline,
    headers,
    oauth2_client_credentials,
    rate_limit,
    retry,
    throttle,
    timeout,
    ua,
)
from formation.trace import trace

SECRET = "hunter2-S3cret"


def log(ctx, call):
    return call(ctx)


async def later(ctx, call):
    return await call(ctx)


def fetch(ctx):
    return ctx


async def fetch_async(ctx):
    return ctx


def add(number=1, *, prefix="", logger=None):
    def add(ctx, call):
        return call(ctx + number) if prefix or logger else call(ctx)

    return add


class Quota:
    def __init__(self, limit, name="all", token=None):
        self.limit = limit
        self._name = name
        self.token = token

    def __call__(self, ctx, call):
        return call(ctx)


def line(fn):
    return fn.__code__.co_firstlineno


def test_a_chain_is_told_from_the_outside_in():
    here = place(fetch).rpartition(":")[0]
    assert here.endswith("test_explain.py")
    assert wrap(fetch, [log, add(3)]).explain().splitlines() == [
        "sync chain, 2 layers, outermost first",
        "",
        f"log (plain, {here}:{line(log)})",
        f"└ add (plain, {here}:{line(add) + 1})",
        "      number=3",
        f"  └ fetch (endpoint, sync, {here}:{line(fetch)})",
        "",
        "check finds nothing to say",
    ]


def test_in_an_async_chain_a_plain_layer_is_on_the_bridge():
    told = wrap(fetch_async, [log, later]).explain().splitlines()
    assert told[0] == "async chain, 2 layers, outermost first"
    assert told[2].startswith("log (plain, on the bridge, ")
    assert told[3].startswith("└ later (async, ")
    assert told[4].startswith("  └ fetch_async (endpoint, async, ")


def test_what_check_has_to_say_is_at_the_end():
    told = wrap(fetch, [circuit_breaker(), retry()]).explain().splitlines()
    at = told.index("check says:")
    assert told[at + 1].startswith("- circuit_breaker stands outside of retry: ")
    assert told[at + 2].startswith("- retry has no timeout inside: ")


def test_long_settings_go_on_in_the_next_line():
    told = explain([deadline(), retry(), timeout(3)]).splitlines()
    assert all(len(each) <= 110 for each in told)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (bulkhead(5, queue=2, max_wait=1), {"limit": "5", "queue": "2", "max_wait": "1"}),
        (retry(7, base=0.5, cap=9), {"attempts": "7", "base": "0.5", "cap": "9"}),
        (circuit_breaker(fail_max=9, window=12), {"fail_max": "9", "window": "12"}),
        (throttle(5, 60, burst=3), {"rate": "5", "per": "60", "burst": "3"}),
        (timeout(3), {"seconds": "3"}),
        (deadline(12), {"total": "12"}),
        (rate_limit("5/minute"), {"limits": "[<Limit>]"}),
        (compress(min_size=9), {"min_size": "9"}),
        (cache(), {"store": "<MemoryStore>"}),
        (ua("shop/1.0"), {"name": "'shop/1.0'"}),
        (add(4), {"number": "4"}),
        (add(), {"number": "1"}),
        (add(prefix="/api"), {"number": "1", "prefix": "'…'"}),
        (add(2, logger=logging.getLogger("x")), {"number": "2"}),
        (Quota(5), {"limit": "5", "name": "'…'"}),
        (Quota(5, token=SECRET), {"limit": "5", "name": "'…'", "token": "[redacted]"}),
        (log, {}),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_the_settings_of_a_middleware_are_found(layer, expected):
    found = settings(layer)
    assert {name: found.get(name) for name in expected} == expected
    if not (layer.__module__ or "").startswith("formation."):
        assert found == expected


def test_the_settings_of_a_partial_are_its_arguments():
    def give(ctx, call, *, times, token):
        return call(ctx)

    assert settings(partial(give, times=3, token=SECRET)) == {"times": "3", "token": "[redacted]"}


def test_the_settings_of_a_method_are_those_of_its_object():
    class Shop:
        def __init__(self, limit, *more, **named):
            self.limit = limit

        def log(self, ctx, call):
            return call(ctx)

    assert settings(Shop(5).log) == {"limit": "5"}


def test_what_has_any_attribute_has_no_settings():
    class Wide:
        def __getattr__(self, name):
            return self

        def __call__(self, ctx, call):
            return call(ctx)

    assert settings(Wide()) == {}


def test_a_variable_that_is_not_there_yet_is_none_of_the_settings():
    def early(number):
        def give(ctx, call):
            return call(ctx) + number + later_on

        found = settings(give)
        later_on = 5
        return found, settings(give), later_on

    assert early(3)[:2] == ({"number": "3"}, {"later_on": "5", "number": "3"})


def test_sets_and_mappings_are_shown_by_their_items_and_keys():
    def give(ctx, call, **_):
        return call(ctx)

    told = settings(partial(give, numbers={3, 1, 2}, words=["a"], pairs={"a": 1}, many=range(3), list=list(range(20))))
    assert told == {
        "numbers": "[1, 2, 3]",
        "words": "['…']",
        "pairs": "{…}",
        "many": "<range>",
        "list": "[0, 1, 2, 3, 4, 5, 6, 7, …]",
    }


def test_of_a_factory_that_nobody_can_look_up_only_numbers_are_shown():
    def inner(times, word):
        def give(ctx, call):
            return call(ctx) * times if word else ctx

        return give

    assert settings(inner(3, SECRET)) == {"times": "3"}


def test_a_middleware_that_is_decorated_is_looked_through():
    inside = add(4)

    @wraps(inside)
    def decorated(ctx, call):
        return inside(ctx, call)

    assert settings(decorated) == settings(inside)
    assert explain([decorated]).splitlines()[3:] == explain([inside]).splitlines()[3:]


# Secrets


SECRETIVE = [
    bearer(SECRET),
    basic("me", SECRET),
    api_key(SECRET),
    oauth2_client_credentials("https://h/token", "me", SECRET, params={"audience": SECRET}),
    headers({"Authorization": SECRET, "X-Any": SECRET}),
    add(prefix=SECRET),
    Quota(5, name=SECRET, token=SECRET),
]


@pytest.mark.parametrize("layer", SECRETIVE, ids=name_of)
def test_no_secret_is_shown(layer):
    for told in (explain([layer]), wrap(fetch, [layer]).explain(), trace(wrap(fetch, [layer])).explain()):
        assert SECRET not in told


def takes(factory):
    names = {"token", "password", "key", "client_secret", "user", "client_id", "token_url"}
    known = {} if inspect.isclass(factory) else inspect.signature(factory).parameters
    return {name: f"https://h/?token={SECRET}" if name == "token_url" else SECRET for name in names & set(known)}


def test_what_is_called_as_a_secret_is_never_shown_whichever_middleware_has_it():
    tried = []
    for name in formation.middleware.__all__:
        factory = getattr(formation.middleware, name)
        given = takes(factory)
        with suppress(TypeError, ValueError):  # it takes a function there
            if given and name != "request_id":  # whose key is one of the context
                assert SECRET not in explain([factory(**given)])
                tried.append(name)
    assert {"api_key", "basic", "bearer"} <= set(tried)


def test_a_url_in_a_setting_has_no_user_info():
    layer = partial(ua("x"), url="https://me:pw@h/?token=5")
    assert "pw" not in explain([layer])


# Whatever has middleware


def shop(environ, start_response):
    start_response("200 OK", [])
    return [b""]


async def async_shop(scope, receive, send):
    pass


def test_a_lifted_function_is_explained():
    @lift(middleware=[log])
    def area(width):
        return width

    assert [each.split(" (")[0] for each in explain(area).splitlines()[2:4]] == ["log", "└ area"]


def test_a_client_is_explained_and_its_class():
    class Shop(Client):
        base_uri = "http://shop/"
        middleware = [log]  # noqa: RUF012
        per_hop = [add(2)]  # noqa: RUF012

    with Shop(base_uri="http://app/") as api:
        told = explain(api).splitlines()
        sender = explain(api.request).splitlines()
    assert told[0] == (
        "sync client Shop, 2 layers, outermost first: base_uri='http://app/', max_redirects=10, max_body=67108864"
    )
    assert [each.split(" (")[0] for each in told[2:6]] == ["log", "└ add", "      number=2", "  └ what sends"]
    assert sender[2:] == told[2:]
    said = explain(Shop)
    assert said.splitlines()[0].startswith("sync client Shop, 2 layers")
    assert "base_uri='http://shop/'" in said


def test_a_sender_is_explained():
    with build(base_uri="http://app/", endpoint=for_wsgi.endpoint(shop), middleware=[log]) as api:
        assert "└ wsgi (endpoint, sync, " in explain(api)
    told = explain(build_aiohttp(base_uri="http://app/", middleware=[log]))
    assert told.startswith("async client, 1 layer, ")
    assert "log (plain, on the bridge" in told


def test_servers_are_explained():
    told = explain(for_wsgi.FormationMiddleware(shop, [log])).splitlines()
    assert told[0] == "sync server, 1 layer, outermost first"
    assert told[3].startswith("└ shop (endpoint, sync, ")
    told = explain(for_asgi.FormationMiddleware(async_shop, [log])).splitlines()
    assert told[0] == "async server, 1 layer, outermost first"
    assert told[2].startswith("log (plain, on the bridge, ")
    assert told[3].startswith("└ async_shop (endpoint, async, ")


def test_a_list_and_what_is_composed_are_explained():
    assert explain([log]).splitlines()[0] == "stack, 1 layer, outermost first"
    assert explain(compose(log, compose(log))).splitlines()[0] == "stack, 2 layers, outermost first"
    assert explain([]).splitlines()[0] == "stack, 0 layers, outermost first"


def test_a_traced_chain_is_explained_as_the_chain():
    chain = wrap(fetch, [log, add(2), timeout(3)])
    assert trace(chain).explain() == chain.explain()


def test_what_is_written_in_c_has_no_place():
    assert place(len) == ""
    assert "print (endpoint, sync)" in wrap(print, [log]).explain()


@pytest.mark.parametrize("thing", [3, "name", log])
def test_what_has_no_middleware_is_refused(thing):
    with pytest.raises(TypeError, match="expected a list of middleware, or what has one"):
        explain(thing)
