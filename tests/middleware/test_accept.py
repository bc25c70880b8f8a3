import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import wrap
from formation.for_requests import build
from formation.http import Request
from formation.middleware import accept
from tests.middleware.worlds import every_lift, every_world

CASES = {
    "an unset header is filled": ({}, "application/json"),
    "the header of the call wins, in whatever case": ({"ACCEPT": "text/html"}, "text/html"),
    "an empty header is one, too": ({"Accept": ""}, ""),
}


@every_world
@pytest.mark.parametrize(("headers", "expected"), CASES.values(), ids=CASES)
def test_fills_what_is_unset(world, headers, expected):
    ctx = {"fmtn.req.http": Request("GET", "https://h/", headers=headers)}
    sent = []

    def endpoint(ctx):
        sent.append(ctx["fmtn.req.http"].headers.getlist("Accept"))
        return ctx

    assert world(accept("application/json"), ctx, endpoint) is ctx
    assert sent == [[expected]]
    assert "Content-Type" not in ctx["fmtn.req.http"].headers


@every_world
def test_passes_a_context_without_a_request_through(world):
    assert world(accept("text/html"), {"n": 1}, lambda ctx: {**ctx, "n": 2}) == {"n": 2}


@every_lift
def test_passes_a_plain_function_through(lifted):
    result, ctx = lifted([accept("text/html")], len, "four")
    assert result == 4
    assert not [key for key in ctx if key.startswith("fmtn.req")]


@every_world
def test_passes_errors_through(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    assert world(accept("text/html"), {}, endpoint) is error


@pytest.mark.parametrize(
    ("mime", "error"),
    [
        (None, TypeError),
        (b"text/html", TypeError),
        (["text/html"], TypeError),
        ("", ValueError),
        ("json", ValueError),
        ("text/html\r\nX-Evil: 1", ValueError),
        ("text/html\0", ValueError),
        ("text/☃", ValueError),
    ],
)
def test_refuses_what_is_no_media_type_when_it_is_given(mime, error):
    with pytest.raises(error):
        accept(mime)


def test_says_what_it_expected():
    with pytest.raises(ValueError, match="expected media types such as 'application/json', got 'json'"):
        accept("json")


def test_the_inner_one_of_two_changes_nothing():
    chain = wrap(lambda ctx: ctx, [accept("text/html"), accept("text/plain")])
    ctx = chain({"fmtn.req.http": Request("GET", "https://h/")})
    assert ctx["fmtn.req.http"].headers["Accept"] == "text/html"


@given(own=st.none() | st.from_regex(r"[ -~]*", fullmatch=True))
def test_for_any_header_of_a_call_the_value_is_the_calls_own_or_ours(own):
    headers = {} if own is None else {"accept": own}
    ctx = accept("a/b")({"fmtn.req.http": Request("GET", "https://h/", headers=headers)}, lambda ctx: ctx)
    assert ctx["fmtn.req.http"].headers.getlist("Accept") == ["a/b" if own is None else own]


def test_a_client_sends_it_in_place_of_its_default_and_a_call_overrides_it(server):
    with build(base_uri=server.url, middleware=[accept("application/json")]) as api, server.watch() as seen:
        api.get("/echo")
        api.get("/echo", headers={"accept": "text/html"})
    assert [request.header("Accept") for request in seen.requests] == ["application/json", "text/html"]
