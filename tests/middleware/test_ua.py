import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.for_requests import build
from formation.http import Request
from formation.middleware import ua
from tests.middleware.worlds import every_lift, every_world

CASES = {
    "an unset header is filled": ({}, "billing/2.3"),
    "the header of the call wins, in whatever case": ({"user-AGENT": "mine"}, "mine"),
    "an empty header is one, too": ({"User-Agent": ""}, ""),
}


@every_world
@pytest.mark.parametrize(("headers", "expected"), CASES.values(), ids=CASES)
def test_fills_what_is_unset(world, headers, expected):
    ctx = {"fmtn.req.http": Request("GET", "https://h/", headers=headers)}
    sent = []

    def endpoint(ctx):
        sent.append(ctx["fmtn.req.http"].headers.getlist("User-Agent"))
        return ctx

    assert world(ua("billing/2.3"), ctx, endpoint) is ctx
    assert sent == [[expected]]


def test_is_formation_unless_told_otherwise():
    ctx = ua()({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    assert ctx["fmtn.req.http"].headers["User-Agent"] == "formation/1.0.0"


@every_world
def test_passes_a_context_without_a_request_through(world):
    assert world(ua(), {"n": 1}, lambda ctx: {**ctx, "n": 2}) == {"n": 2}


@every_lift
def test_passes_a_plain_function_through(lifted):
    assert lifted([ua()], len, "four")[0] == 4


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (None, TypeError),
        (1.0, TypeError),
        ("", ValueError),
        ("  ", ValueError),
        ("me\nX-Evil: 1", ValueError),
        ("me\r", ValueError),
        ("☃/1", ValueError),
    ],
)
def test_refuses_what_is_no_name_when_it_is_given(name, error):
    with pytest.raises(error):
        ua(name)


def test_says_what_it_expected():
    with pytest.raises(ValueError, match=r"expected a product and version such as 'billing/2.3', got ''"):
        ua("")


@given(own=st.none() | st.from_regex(r"[ -~]*", fullmatch=True))
def test_for_any_header_of_a_call_the_value_is_the_calls_own_or_ours(own):
    headers = {} if own is None else {"user-agent": own}
    ctx = ua("a/1")({"fmtn.req.http": Request("GET", "https://h/", headers=headers)}, lambda ctx: ctx)
    assert ctx["fmtn.req.http"].headers.getlist("User-Agent") == ["a/1" if own is None else own]


def test_a_client_sends_it_in_place_of_its_default_and_a_call_overrides_it(server):
    with build(base_uri=server.url, middleware=[ua("billing/2.3")]) as api, server.watch() as seen:
        api.get("/echo")
        api.get("/echo", headers={"user-agent": "mine"})
    assert [request.header("User-Agent") for request in seen.requests] == ["billing/2.3", "mine"]
