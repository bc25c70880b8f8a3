"""Requests that tell others no more than they have to know."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import for_aiohttp, for_requests, wrap
from formation.http import Request
from formation.http.headers import check_name
from formation.middleware import clean_request
from formation.middleware.clean_request import NETWORK, TRACING, products
from tests.middleware.worlds import every_lift, every_world, on_server


def sent(world, url="https://api.shop/x", headers=(), away=None, cookies=None, **settings):
    request = Request("GET", url, headers=headers, cookies=cookies, extensions={"away": True} if away else {})
    out = world(clean_request(**settings), {"fmtn.req.http": request}, lambda ctx: ctx)
    assert isinstance(out, dict), out
    return out["fmtn.req.http"]


def cleaned(world, *args, **how):
    headers = dict(sent(world, *args, **how).headers)
    headers.pop("User-Agent", None)
    return headers


@every_world
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("shop/1.2", "shop"),
        ("shop/1.2 (Linux 6.1; db-7) requests/2.34", "shop requests"),
        ("a (b (c) d) e (f", "a e"),
        ("a (b \\) c/2", "a c"),
        ("Mozilla/5.0 (X11) Gecko/20100101 Firefox/140.0", "Mozilla Gecko Firefox"),
        ("", "Formation"),
        ("(only a comment)", "Formation"),
        ("/1.0", "Formation"),
    ],
)
def test_the_user_agent_is_products_without_versions_and_comments(world, said, told):
    assert sent(world, headers={"User-Agent": said} if said else {}).headers["User-Agent"] == told


@every_world
def test_or_what_you_say(world):
    assert sent(world, headers={"User-Agent": "shop/1.2"}, user_agent="bot").headers["User-Agent"] == "bot"
    assert sent(world, headers={"User-Agent": "shop/1.2"}, keep="User-Agent").headers["User-Agent"] == "shop/1.2"


@every_world
def test_what_tells_of_the_network_inside_goes(world):
    assert cleaned(world, headers=dict.fromkeys(NETWORK, "10.0.0.7") | {"Accept": "*/*"}) == {"Accept": "*/*"}


@every_world
def test_what_a_gateway_has_checked_it_may_keep(world):
    headers = {"X-Forwarded-For": "10.0.0.7", "X-Real-IP": "10.0.0.7"}
    assert cleaned(world, headers=headers, keep=["x-forwarded-for"]) == {"X-Forwarded-For": "10.0.0.7"}


@every_world
@pytest.mark.parametrize(
    ("url", "said", "told"),
    [
        ("https://api.shop/x", "https://api.shop/y?q=1", "https://api.shop/y?q=1"),
        ("https://api.shop/x", "https://me:pw@api.shop/y#part", "https://api.shop/y"),
        ("https://api.shop/x", "https://API.shop:443/y", "https://API.shop:443/y"),
        ("https://api.shop/x", "https://shop/y", None),
        ("http://api.shop/x", "https://api.shop/y", None),
        ("https://api.shop/x", "/y", None),
        ("https://api.shop/x", "http://[", None),
    ],
)
def test_the_referer_stays_at_its_origin(world, url, said, told):
    assert cleaned(world, url, {"Referer": said}) == ({} if told is None else {"Referer": told})
    assert cleaned(world, url, {"Referer": said}, keep="Referer") == {"Referer": said}


@every_world
@pytest.mark.parametrize(
    ("url", "away", "home", "stays"),
    [
        ("https://api.shop/x", False, (), True),
        ("https://api.shop/x", True, (), False),
        ("https://api.shop/x", True, "https://API.shop:443/base", True),
        ("https://api.shop/x", False, ["https://api.shop"], True),
        ("https://other/x", False, ["https://api.shop"], False),
        ("http://api.shop/x", False, ["https://api.shop"], False),
        ("/x", False, ["https://api.shop"], False),
    ],
)
def test_cookies_stay_at_home(world, url, away, home, stays):
    request = sent(world, url, {"Cookie": "a=1"}, away, {"b": "2"}, home=home)
    assert ("Cookie" in request.headers, bool(request.cookies)) == (stays, stays)
    kept = sent(world, url, {"Cookie": "a=1"}, away, {"b": "2"}, home=home, keep=["Cookie"])
    assert kept.headers["Cookie"] == "a=1"
    assert kept.cookies == {"b": "2"}


@every_world
def test_headers_of_tracing_go_to_foreign_origins_unless_you_say_no(world):
    headers = dict.fromkeys(TRACING, "1")
    assert cleaned(world, headers=headers, away=True).keys() == headers.keys()
    assert cleaned(world, headers=headers, away=True, tracing=False) == {}
    assert cleaned(world, headers=headers, tracing=False).keys() == headers.keys()
    assert cleaned(world, headers=headers, away=True, tracing=False, keep="Baggage") == {"Baggage": "1"}


def test_a_call_that_leads_away_says_so_by_itself(server, fresh_server):
    settings = {
        "base_uri": server.url,
        "allow_origins": [fresh_server.url],
        "middleware": [clean_request(tracing=False)],
    }
    talk = {"Cookie": "a=1", "Traceparent": "00-1", "X-Forwarded-For": "10.0.0.7"}
    with for_requests.build(**settings) as api:
        for url, names in (("/echo", {"cookie", "traceparent"}), (f"{fresh_server.url}/echo", set())):
            seen = api.get(url, headers=talk).response.json()["headers"]
            assert {"cookie", "traceparent", "x-forwarded-for"} & {name.lower() for name in seen} == names
            assert {name.lower(): value for name, value in seen.items()}["user-agent"] == "Formation"


def test_and_so_for_who_awaits(server):
    async def main():
        async with for_aiohttp.build(base_uri=server.url, middleware=[clean_request()]) as api:
            return (await api.get("/echo", headers={"Via": "1.1 a", "User-Agent": "shop/1"})).response.json()["headers"]

    seen = {name.lower(): value for name, value in asyncio.run(main()).items()}
    assert (seen["user-agent"], "via" in seen) == ("shop", False)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80))
def test_no_user_agent_can_break_it_and_no_comment_is_left(value):
    told = products(value)
    assert told
    assert not set("()/\\") & set(told)


@pytest.mark.parametrize("unit", ["(", ")", "()", "a/1 ", "\\", "((a) "])
def test_a_mebibyte_is_read_in_no_time_to_speak_of(unit):
    assert products(unit * (2**20 // len(unit)))


def test_every_name_is_one_and_is_listed_once():
    names = [check_name(name).lower() for name in (*NETWORK, *TRACING)]
    assert len(set(names)) == len(names)


@every_world
def test_on_a_server_nothing_is_removed(world):
    ctx = on_server(headers={"X-Forwarded-For": "10.0.0.7"})
    out = world(clean_request(), ctx, lambda ctx: ctx)
    assert "X-Forwarded-For" in out["fmtn.req.http"].headers


@every_world
def test_passes_what_has_no_request_through(world):
    assert world(clean_request(), {}, lambda ctx: ctx) == {}
    assert world(clean_request(), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([clean_request()], len, "four")[0] == 4


@pytest.mark.parametrize("settings", [{"home": "api.shop"}, {"home": ["/x"]}, {"keep": ["X A"]}])
def test_refuses_wrong_settings_when_they_are_given(settings):
    with pytest.raises(ValueError, match=r"expected an absolute URL|no header name"):
        clean_request(**settings)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [clean_request()])) == "wrap(<lambda>, [clean_request])"
